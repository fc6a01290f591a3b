-- The last value of each step of all series of some metrics, a row each. Bounds are compared as the column is: in 64 bits
-- that takes twice as long.
SELECT
    series_id,
    toDateTime64(toUInt32(toUnixTimestamp(samples.time) - toUnixTimestamp(samples.time) % {step_s:UInt32}), 6, 'UTC') AS time,
    argMax(samples.value, samples.time) AS value
FROM tailsight_samples AS samples
WHERE metric IN {metrics:Array(String)}
    AND samples.time >= toDateTime({start:DateTime64(6, 'UTC')}) AND samples.time < toDateTime({end:DateTime64(6, 'UTC')})
GROUP BY series_id, time
LIMIT 20000000
