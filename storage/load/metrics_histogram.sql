-- OTLP bytes to histogram points, decoded by the engine.
INSERT INTO otel_metrics_histogram
(
    ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, StartTimeUnix, TimeUnix, Flags,
    Count, Sum, BucketCounts, ExplicitBounds, Min, Max, AggregationTemporality,
    Exemplars.FilteredAttributes, Exemplars.TimeUnix, Exemplars.Value, Exemplars.SpanId, Exemplars.TraceId
)
WITH
    {functions}
SELECT
    resource_attributes, resource_schema_url, scope_name, scope_version, scope_attributes,
    scope_dropped_attributes_count, scope_schema_url, service_name,
    name, description, unit, attributes_map(point.attributes),
    time32(point.startTimeUnixNano), time32(point.timeUnixNano), point.flags,
    point.count, point.sum, point.bucketCounts, point.explicitBounds, point.min, point.max, aggregation_temporality,
    arrayMap(attributes -> attributes_map(attributes), point.exemplars.filteredAttributes),
    arrayMap(time -> time32(time), point.exemplars.timeUnixNano),
    arrayMap(exemplar -> number_value(exemplar), point.exemplars),
    arrayMap(id -> if(id = '', '0000000000000000', id_text(id)), point.exemplars.spanId),
    arrayMap(id -> if(id = '', '00000000000000000000000000000000', id_text(id)), point.exemplars.traceId)
FROM
{points}
