-- OTLP bytes to gauge points, decoded by the engine.
INSERT INTO otel_metrics_gauge
(
    ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Flags,
    Exemplars.FilteredAttributes, Exemplars.TimeUnix, Exemplars.Value, Exemplars.SpanId, Exemplars.TraceId, -- only: full
    Value
)
WITH
    {functions}
SELECT
    resource_attributes, resource_schema_url, scope_name, scope_version, scope_attributes,
    scope_dropped_attributes_count, scope_schema_url, service_name,
    name, description, unit, attributes_map(point.attributes),
    time32(point.startTimeUnixNano), time32(point.timeUnixNano), point.flags,
    arrayMap(attributes -> attributes_map(attributes), point.exemplars.filteredAttributes), -- only: full
    arrayMap(time -> time32(time), point.exemplars.timeUnixNano), -- only: full
    arrayMap(exemplar -> number_value(exemplar), point.exemplars), -- only: full
    arrayMap(id -> if(id = '', '0000000000000000', id_text(id)), point.exemplars.spanId), -- only: full
    arrayMap(id -> if(id = '', '00000000000000000000000000000000', id_text(id)), point.exemplars.traceId), -- only: full
    number_value(point)
FROM
{points}
