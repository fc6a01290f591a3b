-- The points of one kind, each with what it inherits.
(
    SELECT resource_attributes, resource_schema_url, service_name, scope_name, scope_version, scope_attributes,
        scope_dropped_attributes_count, scope_schema_url,
        metric.name AS name, metric.description AS description, metric.unit AS unit,
        {of_metric}arrayJoin(metric.{kind}.dataPoints) AS point
    FROM
    (
        SELECT resource_attributes, resource_schema_url, service_name,
            scope_metrics.scope.name AS scope_name, scope_metrics.scope.version AS scope_version,
            attributes_map(scope_metrics.scope.attributes) AS scope_attributes,
            scope_metrics.scope.droppedAttributesCount AS scope_dropped_attributes_count,
            scope_metrics.schemaUrl AS scope_schema_url, arrayJoin(scope_metrics.metrics) AS metric
        FROM
        (
            SELECT attributes_map(resource_metrics.resource.attributes) AS resource_attributes,
                resource_metrics.schemaUrl AS resource_schema_url, resource_attributes['service.name'] AS service_name,
                arrayJoin(resource_metrics.scopeMetrics) AS scope_metrics
            FROM (SELECT arrayJoin(resourceMetrics) AS resource_metrics FROM {source})
        )
    )
)
