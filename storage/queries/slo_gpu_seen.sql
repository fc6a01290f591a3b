-- When each GPU that was seen within a window was seen first and last, by exporter.
SELECT series.job AS job, series.instance AS instance, series.gpu AS gpu,
    toDateTime64(min(if(seen.series_id = 0, series.first_seen, least(seen.first_seen, series.first_seen))), 6, 'UTC') AS first,
    toDateTime64(max(if(seen.series_id = 0, series.last_seen, least(seen.last_seen, series.last_seen))), 6, 'UTC') AS last
FROM tailsight_series AS series
LEFT JOIN
(
    SELECT series_id, min(tailsight_series_seen.first_seen) AS first_seen, max(tailsight_series_seen.last_seen) AS last_seen
    FROM tailsight_series_seen
    WHERE metric IN {alive:Array(String)} AND tailsight_series_seen.first_seen < {end:DateTime64(6, 'UTC')}
    GROUP BY series_id
) AS seen ON seen.series_id = series.series_id
WHERE series.metric IN {alive:Array(String)} AND series.gpu != '' AND series.node LIKE {nodes:String}
    AND series.first_seen < {end:DateTime64(6, 'UTC')}
GROUP BY job, instance, gpu
HAVING last >= {start:DateTime64(6, 'UTC')}
ORDER BY job, instance, gpu
LIMIT 1000000
