-- How many requests took how long: by step, and by quarter-octave of milliseconds (bucket b covers 2^(b/4) to 2^((b+1)/4) ms).
SELECT
    toDateTime64(toStartOfInterval(time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    toInt32(floor(4 * log2(greatest(measured, 0.001)))) AS bucket,
    count() AS requests
FROM
(
    SELECT time, if({indicator:String} = 'ttft', ttft_ms, toNullable(latency_ms)) AS measured
    FROM tailsight_requests
    WHERE service = {service:String} AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')} AND NOT is_error
)
WHERE isNotNull(measured)
GROUP BY time, bucket
ORDER BY time, bucket
LIMIT 200000
