-- OTLP bytes to spans, decoded by the engine. An end before its start gives Duration 0, never a wrapped number.
INSERT INTO otel_traces
(
    Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, ResourceAttributes,
    ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage,
    Events.Timestamp, Events.Name, Events.Attributes, Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes
)
WITH
    {functions}
SELECT
    time64(span.startTimeUnixNano),
    id_text(span.traceId),
    id_text(span.spanId),
    id_text(span.parentSpanId),
    span.traceState,
    span.name,
    transform(span.kind, [1, 2, 3, 4, 5], ['Internal', 'Server', 'Client', 'Producer', 'Consumer'], 'Unspecified'),
    resource_attributes['service.name'],
    resource_attributes,
    scope_name,
    scope_version,
    attributes_map(span.attributes),
    if(span.endTimeUnixNano > span.startTimeUnixNano, span.endTimeUnixNano - span.startTimeUnixNano, 0),
    transform(span.status.code, [1, 2], ['Ok', 'Error'], 'Unset'),
    span.status.message,
    arrayMap(time -> time64(time), span.events.timeUnixNano),
    span.events.name,
    arrayMap(attributes -> attributes_map(attributes), span.events.attributes),
    arrayMap(id -> id_text(id), span.links.traceId),
    arrayMap(id -> id_text(id), span.links.spanId),
    span.links.traceState,
    arrayMap(attributes -> attributes_map(attributes), span.links.attributes)
FROM
(
    SELECT resource_attributes, scope_spans.scope.name AS scope_name, scope_spans.scope.version AS scope_version,
        arrayJoin(scope_spans.spans) AS span
    FROM
    (
        SELECT attributes_map(resource_spans.resource.attributes) AS resource_attributes,
            arrayJoin(resource_spans.scopeSpans) AS scope_spans
        FROM (SELECT arrayJoin(resourceSpans) AS resource_spans FROM {source})
    )
)
