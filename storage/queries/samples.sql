-- Samples of some series by step: the last value of the step (for counters) and the mean (for gauges).
SELECT
    series_id,
    toDateTime64(toStartOfInterval(samples.time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    argMax(samples.value, samples.time) AS last,
    avg(samples.value) AS mean
FROM tailsight_samples AS samples
WHERE metric IN {metrics:Array(String)} AND series_id IN {series_ids:Array(UInt64)}
    AND samples.time >= {start:DateTime64(6, 'UTC')} AND samples.time < {end:DateTime64(6, 'UTC')}
GROUP BY series_id, time
ORDER BY series_id, time
LIMIT 50000000
