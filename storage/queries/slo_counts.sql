-- Good and all requests by step. A request that failed is bad; with a threshold, so is one that took longer, or one
-- of which the time is asked for and not known although it succeeded is left out of both.
SELECT
    toDateTime64(toStartOfInterval(time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    countIf(requests.is_error OR isNotNull(measured)) AS total,
    countIf(NOT requests.is_error AND measured <= {threshold_ms:Float64}) AS good
FROM
(
    SELECT time, is_error, multiIf({indicator:String} = 'ttft', ttft_ms, {indicator:String} = 'latency', toNullable(latency_ms), toNullable(0.)) AS measured
    FROM tailsight_requests
    WHERE service = {service:String} AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
) AS requests
GROUP BY time
ORDER BY time
LIMIT 100000
