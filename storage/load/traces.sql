-- OTLP bytes to spans, decoded by the engine. An end before its start gives Duration 0, never a wrapped number.
INSERT INTO otel_traces
(
    Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, ResourceAttributes,
    ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage,
    Events.Timestamp, Events.Name, Events.Attributes, Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes
)
WITH
    {attribute_functions}
SELECT
    time64(span.start_time_unix_nano),
    lower(hex(span.trace_id)),
    lower(hex(span.span_id)),
    lower(hex(span.parent_span_id)),
    span.trace_state,
    span.name,
    transform(span.kind, [1, 2, 3, 4, 5], ['Internal', 'Server', 'Client', 'Producer', 'Consumer'], 'Unspecified'),
    resource_attributes['service.name'],
    resource_attributes,
    scope_name,
    scope_version,
    attributes_map(span.attributes),
    if(span.end_time_unix_nano > span.start_time_unix_nano, span.end_time_unix_nano - span.start_time_unix_nano, 0),
    transform(span.status.code, [1, 2], ['Ok', 'Error'], 'Unset'),
    span.status.message,
    arrayMap(time -> time64(time), span.events.time_unix_nano),
    span.events.name,
    arrayMap(attributes -> attributes_map(attributes), span.events.attributes),
    arrayMap(id -> lower(hex(id)), span.links.trace_id),
    arrayMap(id -> lower(hex(id)), span.links.span_id),
    span.links.trace_state,
    arrayMap(attributes -> attributes_map(attributes), span.links.attributes)
FROM
(
    SELECT resource_attributes, scope_spans.scope.name AS scope_name, scope_spans.scope.version AS scope_version,
        arrayJoin(scope_spans.spans) AS span
    FROM
    (
        SELECT attributes_map(resource_spans.resource.attributes) AS resource_attributes,
            arrayJoin(resource_spans.scope_spans) AS scope_spans
        FROM (SELECT arrayJoin(resource_spans) AS resource_spans FROM {source})
    )
)
