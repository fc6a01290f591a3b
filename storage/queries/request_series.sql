-- Requests by step, service and model: counts, and exact percentiles of those that did not fail. By start of the request.
WITH
    coalesce(requests.decode_ms, requests.latency_ms - requests.ttft_ms) / (toInt64(requests.output_tokens) - 1) AS tpot,
    NOT requests.is_error AND requests.output_tokens > 1 AND isNotNull(tpot) AS tpot_is_known
SELECT
    toDateTime64(toStartOfInterval(time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    service,
    model,
    count() AS requests,
    countIf(requests.is_error) AS errors,
    if(latency_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(requests.latency_ms, NOT requests.is_error)) AS latency_ms,
    if(ttft_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(requests.ttft_ms), isNotNull(requests.ttft_ms) AND NOT requests.is_error)) AS ttft_ms,
    if(tpot_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(tpot), tpot_is_known)) AS tpot_ms,
    countIf(NOT requests.is_error) AS latency_count,
    countIf(tpot_is_known) AS tpot_count,
    countIf(isNotNull(requests.ttft_ms) AND NOT requests.is_error) AS ttft_count,
    avg(requests.input_tokens) AS input_tokens_mean,
    avg(requests.output_tokens) AS output_tokens_mean
FROM tailsight_requests AS requests
WHERE requests.time >= {start:DateTime64(6, 'UTC')} AND requests.time < {end:DateTime64(6, 'UTC')}
    AND ({service:String} = '' OR service = {service:String})
GROUP BY time, service, model
ORDER BY service, model, time
LIMIT 2000000
