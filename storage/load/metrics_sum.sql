-- OTLP bytes to sum points, decoded by the engine.
INSERT INTO otel_metrics_sum
(
    ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Flags,
    Value, AggregationTemporality, IsMonotonic, Exemplars.FilteredAttributes, Exemplars.TimeUnix, Exemplars.Value, Exemplars.SpanId, Exemplars.TraceId
)
WITH
    {attribute_functions}
SELECT
    resource_attributes, resource_schema_url, scope.name, scope.version, attributes_map(scope.attributes),
    scope.dropped_attributes_count, scope_schema_url, resource_attributes['service.name'],
    name, description, unit, attributes_map(point.attributes),
    time32(point.start_time_unix_nano), time32(point.time_unix_nano), point.flags,
    if(point.value = 'as_int', toFloat64(point.as_int), point.as_double), temporality, monotonic,
    arrayMap(attributes -> attributes_map(attributes), point.exemplars.filtered_attributes),
    arrayMap(time -> time32(time), point.exemplars.time_unix_nano),
    arrayMap(exemplar -> if(exemplar.value = 'as_int', toFloat64(exemplar.as_int), exemplar.as_double), point.exemplars),
    arrayMap(id -> if(id = '', '0000000000000000', lower(hex(id))), point.exemplars.span_id),
    arrayMap(id -> if(id = '', '00000000000000000000000000000000', lower(hex(id))), point.exemplars.trace_id)
FROM
(
    SELECT resource_attributes, resource_schema_url, scope, scope_schema_url,
        metric.name AS name, metric.description AS description, metric.unit AS unit,
        metric.sum.aggregation_temporality AS temporality, metric.sum.is_monotonic AS monotonic,
        arrayJoin(metric.sum.data_points) AS point
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
