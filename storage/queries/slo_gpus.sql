-- By minute and exporter: how many GPUs told of themselves, how many of these of no fault, and whether the exporter
-- answered (the best scrape of the minute; NULL: nobody says). A GPU tells of itself by one of some metrics that it
-- loses with the bus; it tells of a fault when its last XID is one of the hardware.
SELECT
    time, job, instance,
    countIf(gpus.gpu != '' AND gpus.reported) AS reported,
    countIf(gpus.gpu != '' AND gpus.reported AND NOT gpus.faulty) AS healthy,
    maxOrNullIf(gpus.answered, gpus.gpu = '') AS up
FROM
(
    SELECT
        toDateTime64(toStartOfMinute(samples.time), 6, 'UTC') AS time, series.job AS job, series.instance AS instance,
        series.gpu AS gpu,
        countIf(samples.metric IN {alive:Array(String)}) > 0 AS reported,
        argMaxIf(samples.value, samples.time, samples.metric = {xid:String}) IN {xids:Array(Float64)} AS faulty,
        max(samples.value) AS answered
    FROM tailsight_samples AS samples
    INNER JOIN
    (
        SELECT DISTINCT series_id, job, instance, if(metric = 'up', '', gpu) AS gpu
        FROM tailsight_series
        WHERE (metric IN {alive:Array(String)} OR metric = {xid:String}) AND gpu != '' AND node LIKE {nodes:String}
            OR metric = 'up' AND (job, instance) IN
            (
                SELECT job, instance FROM tailsight_series
                WHERE metric IN {alive:Array(String)} AND gpu != '' AND node LIKE {nodes:String}
            )
    ) AS series ON series.series_id = samples.series_id
    WHERE (samples.metric IN {alive:Array(String)} OR samples.metric IN ({xid:String}, 'up'))
        AND samples.time >= {start:DateTime64(6, 'UTC')} AND samples.time < {end:DateTime64(6, 'UTC')}
    GROUP BY time, job, instance, gpu
) AS gpus
GROUP BY time, job, instance
ORDER BY job, instance, time
LIMIT 10000000
