-- OTLP bytes to gauge points, decoded by the engine.
INSERT INTO otel_metrics_gauge
(
    ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Flags,
    {exemplar_columns}Value
)
WITH
    {functions}
SELECT
    resource_attributes, resource_schema_url, scope_name, scope_version, scope_attributes,
    scope_dropped_attributes_count, scope_schema_url, service_name,
    name, description, unit, attributes_map(point.attributes),
    time32(point.startTimeUnixNano), time32(point.timeUnixNano), point.flags,
    {exemplars}number_value(point)
FROM
{points}
