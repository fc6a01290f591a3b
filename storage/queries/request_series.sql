-- Requests by step, service and model: counts, and exact percentiles of those that did not fail. By start of the request.
-- The paced ones are of the time over what requests of like length (a factor of two) usually took, times what all did:
-- lengths vary by factors of hundred and hide how the service itself does. Time per token of a few tokens means little.
WITH
    coalesce(requests.decode_ms, requests.latency_ms - requests.ttft_ms) / (toInt64(requests.output_tokens) - 1) AS tpot,
    NOT requests.is_error AND requests.output_tokens >= 16 AND isNotNull(tpot) AS tpot_is_known,
    NOT requests.is_error AND isNotNull(requests.ttft_ms) AS ttft_is_known
SELECT
    toDateTime64(toStartOfInterval(time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    service,
    model,
    count() AS requests,
    countIf(requests.is_error) AS errors,
    if(latency_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(requests.latency_ms, NOT requests.is_error)) AS latency_ms,
    if(ttft_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(requests.ttft_ms), ttft_is_known)) AS ttft_ms,
    if(tpot_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(tpot), tpot_is_known)) AS tpot_ms,
    if(latency_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(requests.latency_ms * usual_latency_ms / like_latency_ms, NOT requests.is_error)) AS paced_latency_ms,
    if(ttft_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(requests.ttft_ms) * usual_ttft_ms / like_ttft_ms, ttft_is_known)) AS paced_ttft_ms,
    countIf(NOT requests.is_error) AS latency_count,
    countIf(tpot_is_known) AS tpot_count,
    countIf(ttft_is_known) AS ttft_count,
    avg(requests.input_tokens) AS input_tokens_mean,
    avg(requests.output_tokens) AS output_tokens_mean
FROM
(
    SELECT
        *,
        quantileExactIf(0.5)(latency_ms, NOT is_error) OVER all_of AS usual_latency_ms,
        quantileExactIf(0.5)(assumeNotNull(ttft_ms), NOT is_error AND isNotNull(ttft_ms)) OVER all_of AS usual_ttft_ms,
        greatest(quantileExactIf(0.5)(latency_ms, NOT is_error) OVER like, 0.001) AS like_latency_ms,
        greatest(quantileExactIf(0.5)(assumeNotNull(ttft_ms), NOT is_error AND isNotNull(ttft_ms)) OVER like_prompt, 0.001) AS like_ttft_ms
    FROM
    (
        SELECT
            time, service, model, is_error, latency_ms, ttft_ms, decode_ms, input_tokens, output_tokens,
            floor(log2(ifNull(input_tokens, 0) + 1)) AS prompt_size,
            floor(log2(ifNull(output_tokens, 0) + 1)) AS answer_size
        FROM tailsight_requests
        WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
            AND ({service:String} = '' OR service = {service:String})
    )
    WINDOW
        all_of AS (PARTITION BY service, model),
        like AS (PARTITION BY service, model, prompt_size, answer_size),
        like_prompt AS (PARTITION BY service, model, prompt_size)
) AS requests
GROUP BY time, service, model
ORDER BY service, model, time
LIMIT 2000000
