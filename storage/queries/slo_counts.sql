-- Good and all requests by step. A request that failed is bad. One that did not is good when it was within the thresholds,
-- and left out of both when that is not known. Time per token is that of the tokens after the first: a request of fewer
-- than two has none, so it is left out of those counts, and of goodput only its first token is judged.
SELECT
    toDateTime64(toStartOfInterval(time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    countIf(requests.has_time AND (requests.is_error OR isNotNull(within))) AS total,
    countIf(requests.has_time AND NOT requests.is_error AND within) AS good
FROM
(
    SELECT
        time,
        is_error,
        {tpot_ms} <= {tpot_threshold_ms:Float64} AS is_paced,
        {indicator:String} != 'tpot' OR ifNull(output_tokens >= 2, false) AS has_time,
        multiIf(
            {indicator:String} = 'ttft', ttft_ms <= {threshold_ms:Float64},
            {indicator:String} = 'latency', latency_ms <= {threshold_ms:Float64},
            {indicator:String} = 'tpot', is_paced,
            {indicator:String} = 'goodput', ttft_ms <= {threshold_ms:Float64} AND (output_tokens < 2 OR is_paced),
            toNullable(true)) AS within
    FROM tailsight_requests
    WHERE service = {service:String} AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
        AND ({model:String} = '' OR model = {model:String})
        AND ({version:String} = '' OR version = {version:String})
        AND ({tenant:String} = '' OR tenant = {tenant:String})
        AND ({pool:String} = '' OR pool = {pool:String})
) AS requests
GROUP BY time
ORDER BY time
LIMIT 1000000
