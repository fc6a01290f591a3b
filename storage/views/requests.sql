-- A request is a root span, or a SERVER or CONSUMER span. Identity: the first attribute of each list that is not empty.
CREATE MATERIALIZED VIEW tailsight_requests_mv TO tailsight_requests
AS
WITH
    ((attributes, names) -> arrayFirst(text -> text != '', arrayMap(name -> attributes[name], names))) AS first_of,
    (text -> toFloat64OrNull(text)) AS number,
    (text -> accurateCastOrNull(toFloat64OrNull(text), 'UInt32')) AS tokens
SELECT
    toTimeZone(toDateTime64(Timestamp, 6), 'UTC') AS time,
    ServiceName AS service,
    first_of(SpanAttributes, {model_attributes}) AS model,
    first_of(ResourceAttributes, {version_attributes}) AS version,
    first_of(ResourceAttributes, {replica_attributes}) AS replica,
    first_of(ResourceAttributes, {node_attributes}) AS node,
    first_of(ResourceAttributes, {pool_attributes}) AS pool,
    first_of(SpanAttributes, {tenant_attributes}) AS tenant,
    first_of(SpanAttributes, {user_attributes}) AS user,
    TraceId AS trace_id,
    StatusCode IN ('Error', 'STATUS_CODE_ERROR') AS is_error,
    Duration / 1e6 AS latency_ms,
    coalesce(number(first_of(SpanAttributes, {ttft_seconds_attributes})) * 1000, number(first_of(SpanAttributes, {ttft_ms_attributes}))) AS ttft_ms,
    number(first_of(SpanAttributes, {queue_seconds_attributes})) * 1000 AS queue_ms,
    number(first_of(SpanAttributes, {prefill_seconds_attributes})) * 1000 AS prefill_ms,
    number(first_of(SpanAttributes, {decode_seconds_attributes})) * 1000 AS decode_ms,
    tokens(first_of(SpanAttributes, {input_tokens_attributes})) AS input_tokens,
    tokens(first_of(SpanAttributes, {output_tokens_attributes})) AS output_tokens
FROM otel_traces
WHERE ServiceName != '' AND (ParentSpanId = '' OR SpanKind IN ('Server', 'Consumer', 'SPAN_KIND_SERVER', 'SPAN_KIND_CONSUMER'));
