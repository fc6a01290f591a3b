-- The GPUs that were heard of near a window: what each is, and when it was first and last heard of at all.
SELECT series.gpu AS gpu, any(series.node) AS node, any(series.attributes['modelName']) AS gpu_model,
    any(series.attributes['GPU_I_PROFILE']) AS profile,
    toDateTime64(min(if(seen.series_id = 0, series.first_seen, least(seen.first_seen, series.first_seen))), 6, 'UTC') AS first_seen,
    toDateTime64(max(if(seen.series_id = 0, series.last_seen, least(seen.last_seen, series.last_seen))), 6, 'UTC') AS last_seen
FROM tailsight_series AS series
LEFT JOIN
(
    SELECT series_id, min(tailsight_series_seen.first_seen) AS first_seen, max(tailsight_series_seen.last_seen) AS last_seen
    FROM tailsight_series_seen
    WHERE metric IN {metrics:Array(String)}
    GROUP BY series_id
) AS seen ON seen.series_id = series.series_id
WHERE series.metric IN {metrics:Array(String)} AND series.gpu != ''
GROUP BY gpu
HAVING last_seen >= {start:DateTime64(6, 'UTC')} AND first_seen < {end:DateTime64(6, 'UTC')}
LIMIT 1000000
