-- A request is a root span, or a SERVER or CONSUMER span. Identity: the first attribute of each list that is not empty.
-- A wrapped duration (the exporter's, when a span ends before it starts) is none: 0. Nor is a number over 1e15 a time:
-- some seconds would be infinite in milliseconds.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_requests_mv TO tailsight_requests
AS
WITH
    (text -> if(toFloat64OrNull(text) BETWEEN 0 AND 1e15, toFloat64OrNull(text), NULL)) AS number,
    (text -> accurateCastOrNull(toFloat64OrNull(text), 'UInt32')) AS tokens
SELECT
    toTimeZone(toDateTime64(Timestamp, 6), 'UTC') AS time,
    ServiceName AS service,
    {model_attributes of SpanAttributes} AS model,
    {version_attributes of ResourceAttributes} AS version,
    {replica_attributes of ResourceAttributes} AS replica,
    {node_attributes of ResourceAttributes} AS node,
    {pool_attributes of ResourceAttributes} AS pool,
    {tenant_attributes of SpanAttributes} AS tenant,
    {user_attributes of SpanAttributes} AS user,
    TraceId AS trace_id,
    SpanId AS span_id, -- only: catch_up
    StatusCode IN ('Error', 'STATUS_CODE_ERROR') AS is_error,
    greatest(toInt64(Duration), 0) / 1e6 AS latency_ms,
    coalesce(number({ttft_seconds_attributes of SpanAttributes}) * 1000, number({ttft_ms_attributes of SpanAttributes})) AS ttft_ms,
    number({queue_seconds_attributes of SpanAttributes}) * 1000 AS queue_ms,
    number({prefill_seconds_attributes of SpanAttributes}) * 1000 AS prefill_ms,
    number({decode_seconds_attributes of SpanAttributes}) * 1000 AS decode_ms,
    tokens({input_tokens_attributes of SpanAttributes}) AS input_tokens,
    tokens({output_tokens_attributes of SpanAttributes}) AS output_tokens,
    tokens({cached_tokens_attributes of SpanAttributes}) AS cached_tokens
FROM otel_traces
WHERE ServiceName != '' AND (ParentSpanId = '' OR SpanKind IN ('Server', 'Consumer', 'SPAN_KIND_SERVER', 'SPAN_KIND_CONSUMER'));
