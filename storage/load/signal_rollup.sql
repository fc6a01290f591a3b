-- Some hours of one day of samples, by minute. Read in the order of the table, so the memory it takes does not depend on
-- how many series there are. Of a metric that has more than it may have only the first ones of those
-- alive in these hours: what ended before takes no place from what came after it.
INSERT INTO tailsight_signal_rollup (metric, series_id, hour, last, mean, count, rolled_up_at)
SELECT
    metric,
    series_id,
    toStartOfHour(samples.time) AS hour,
    arrayMap((value, samples) -> if(samples = 0, nan, value),
        argMaxResample(0, 3600, 60)(samples.value, samples.time, toUnixTimestamp(samples.time) % 3600), count) AS last,
    avgResample(0, 3600, 60)(samples.value, toUnixTimestamp(samples.time) % 3600) AS mean,
    arrayMap(samples -> toUInt32(samples), countResample(0, 3600, 60)(toUnixTimestamp(samples.time) % 3600)) AS count,
    now64(3, 'UTC')
FROM tailsight_samples AS samples
WHERE samples.time >= {start:DateTime('UTC')} AND samples.time < {end:DateTime('UTC')}
    AND toStartOfHour(samples.time) IN {hours:Array(DateTime('UTC'))}
    AND (metric NOT IN {crowded:Array(String)} OR series_id IN
    (
        SELECT series_id
        FROM tailsight_series
        WHERE metric IN {crowded:Array(String)}
        GROUP BY metric, series_id
        HAVING max(last_seen) >= {start:DateTime('UTC')} AND min(first_seen) < {end:DateTime('UTC')}
        ORDER BY min(first_seen), series_id
        LIMIT {series_max:UInt32} BY metric
    ))
GROUP BY metric, series_id, hour
SETTINGS optimize_aggregation_in_order = 1
