-- OTLP bytes to histogram points, decoded by the engine.
INSERT INTO otel_metrics_histogram
(
    ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Flags,
    {exemplar_columns}Count, Sum, BucketCounts, ExplicitBounds, Min, Max, AggregationTemporality
)
WITH
    {functions}
SELECT
    resource_attributes, resource_schema_url, scope_name, scope_version, scope_attributes,
    scope_dropped_attributes_count, scope_schema_url, service_name,
    name, description, unit, attributes_map(point.attributes),
    time32(point.startTimeUnixNano), time32(point.timeUnixNano), point.flags,
    {exemplars}point.count, point.sum, point.bucketCounts, point.explicitBounds, point.min, point.max, aggregation_temporality
FROM
{points}
