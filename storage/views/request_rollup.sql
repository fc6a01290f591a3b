-- Failed requests count as errors; their latency says nothing about serving, so it counts nowhere.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_request_rollup_mv TO tailsight_request_rollup
AS
WITH
    (milliseconds -> toInt16(floor(36 * log2(greatest(milliseconds, 1e-6))))) AS bucket_of
SELECT
    toStartOfInterval(requests.time, toIntervalSecond(15), 'UTC') AS time,
    service, tenant, model, version, replica,
    event.1 AS measure,
    event.2 AS bucket,
    count() AS requests,
    sumIf(ifNull(requests.input_tokens, 0), measure != 'ttft') AS input_tokens,
    sumIf(ifNull(requests.output_tokens, 0), measure != 'ttft') AS output_tokens
FROM tailsight_requests AS requests
ARRAY JOIN arrayConcat(
    [if(requests.is_error, ('error', toInt16(0)), ('latency', bucket_of(requests.latency_ms)))],
    if(isNull(requests.ttft_ms) OR requests.is_error, [], [('ttft', bucket_of(ifNull(requests.ttft_ms, 1)))])) AS event
GROUP BY time, service, tenant, model, version, replica, measure, bucket;
