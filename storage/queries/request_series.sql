-- Requests by step, service and model: counts, and exact percentiles of those that did not fail. By start of the request.
-- The paced ones are of the time over what requests of like length (a factor of two) usually took, times what all did:
-- lengths vary by factors of hundred and hide how the service itself does. Slow are those that took longer, so paced, than
-- 99 % of the window; long are those that did as they are. Time per token of a few tokens means little.
SELECT
    toDateTime64(toStartOfInterval(time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    service,
    model,
    count() AS requests,
    countIf(requests.is_error) AS errors,
    if(latency_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(requests.latency_ms, NOT requests.is_error)) AS latency_ms,
    if(ttft_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(requests.ttft_ms), ttft_is_known)) AS ttft_ms,
    if(tpot_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(tpot), tpot_is_known)) AS tpot_ms,
    if(latency_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(paced_latency, NOT requests.is_error)) AS paced_latency_ms,
    if(ttft_count = 0, [], quantilesExactIf(0.5, 0.95, 0.99)(paced_ttft, ttft_is_known)) AS paced_ttft_ms,
    countIf(NOT requests.is_error) AS latency_count,
    countIf(tpot_is_known) AS tpot_count,
    countIf(ttft_is_known) AS ttft_count,
    countIf(NOT requests.is_error AND paced_latency > high_latency) AS latency_slow,
    countIf(ttft_is_known AND paced_ttft > high_ttft) AS ttft_slow,
    countIf(tpot_is_known AND tpot > high_tpot) AS tpot_slow,
    countIf(NOT requests.is_error AND requests.latency_ms > long_latency) AS latency_long,
    countIf(ttft_is_known AND assumeNotNull(requests.ttft_ms) > long_ttft) AS ttft_long,
    avg(requests.input_tokens) AS input_tokens_mean,
    avg(requests.output_tokens) AS output_tokens_mean
FROM
(
    SELECT
        *,
        quantileExactIf(0.99)(paced_latency, NOT is_error) OVER all_of AS high_latency,
        quantileExactIf(0.99)(paced_ttft, ttft_is_known) OVER all_of AS high_ttft,
        quantileExactIf(0.99)(assumeNotNull(tpot), tpot_is_known) OVER all_of AS high_tpot,
        quantileExactIf(0.99)(latency_ms, NOT is_error) OVER all_of AS long_latency,
        quantileExactIf(0.99)(assumeNotNull(ttft_ms), ttft_is_known) OVER all_of AS long_ttft
    FROM
    (
        SELECT
            *,
            latency_ms * quantileExactIf(0.5)(latency_ms, NOT is_error) OVER all_of
                / greatest(quantileExactIf(0.5)(latency_ms, NOT is_error) OVER like, 0.001) AS paced_latency,
            assumeNotNull(ttft_ms) * quantileExactIf(0.5)(assumeNotNull(ttft_ms), ttft_is_known) OVER all_of
                / greatest(quantileExactIf(0.5)(assumeNotNull(ttft_ms), ttft_is_known) OVER like_prompt, 0.001) AS paced_ttft
        FROM
        (
            SELECT
                time, service, model, is_error, latency_ms, ttft_ms, input_tokens, output_tokens,
                {tpot_ms} AS tpot,
                NOT is_error AND output_tokens >= 16 AND isNotNull(tpot) AS tpot_is_known,
                NOT is_error AND isNotNull(ttft_ms) AS ttft_is_known,
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
    )
    WINDOW all_of AS (PARTITION BY service, model)
) AS requests
GROUP BY time, service, model
ORDER BY service, model, time
LIMIT 2000000
