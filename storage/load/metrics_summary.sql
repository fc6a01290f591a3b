-- OTLP bytes to summary points, decoded by the engine.
INSERT INTO otel_metrics_summary
(
    ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Flags,
    Count, Sum, ValueAtQuantiles.Quantile, ValueAtQuantiles.Value
)
WITH
    {attribute_functions}
SELECT
    resource_attributes, resource_schema_url, scope.name, scope.version, attributes_map(scope.attributes),
    scope.dropped_attributes_count, scope_schema_url, resource_attributes['service.name'],
    name, description, unit, attributes_map(point.attributes),
    time32(point.start_time_unix_nano), time32(point.time_unix_nano), point.flags,
    point.count, point.sum, point.quantile_values.quantile, point.quantile_values.value
FROM
(
    SELECT resource_attributes, resource_schema_url, scope, scope_schema_url,
        metric.name AS name, metric.description AS description, metric.unit AS unit,
        arrayJoin(metric.summary.data_points) AS point
    FROM
    (
        SELECT resource_attributes, resource_schema_url, scope_metrics.scope AS scope,
            scope_metrics.schema_url AS scope_schema_url, arrayJoin(scope_metrics.metrics) AS metric
        FROM
        (
            SELECT attributes_map(resource_metrics.resource.attributes) AS resource_attributes,
                resource_metrics.schema_url AS resource_schema_url,
                arrayJoin(resource_metrics.scope_metrics) AS scope_metrics
            FROM (SELECT arrayJoin(resource_metrics) AS resource_metrics FROM {source})
        )
    )
)
