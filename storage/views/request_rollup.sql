-- Failed requests count as errors; their latency says nothing about serving, so it is left out of the sketches.
CREATE MATERIALIZED VIEW tailsight_request_rollup_mv TO tailsight_request_rollup
AS SELECT
    toStartOfInterval(time, toIntervalSecond(15), 'UTC') AS time,
    service, tenant, model, version, replica,
    count() AS requests,
    countIf(requests.is_error) AS errors,
    countIf(isNotNull(requests.ttft_ms) AND NOT requests.is_error) AS ttft_requests,
    sum(ifNull(requests.input_tokens, 0)) AS input_tokens,
    sum(ifNull(requests.output_tokens, 0)) AS output_tokens,
    quantilesDDStateIf(0.01, 0.5, 0.95, 0.99)(requests.latency_ms, NOT requests.is_error) AS latency_ms,
    quantilesDDStateIf(0.01, 0.5, 0.95, 0.99)(assumeNotNull(requests.ttft_ms), isNotNull(requests.ttft_ms) AND NOT requests.is_error) AS ttft_ms
FROM tailsight_requests AS requests
GROUP BY time, service, tenant, model, version, replica;
