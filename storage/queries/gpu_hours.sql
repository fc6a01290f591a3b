-- What the GPUs did in settled hours; the newest rows count, as in request_hours.sql.
SELECT toDateTime64(hour, 6, 'UTC') AS time, gpu, node, gpu_model, pool, replica, service, model, slice_ratio, state, seconds
FROM tailsight_gpu_hours
WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
    AND hour IN
    (
        SELECT hour
        FROM tailsight_cost_hours
        WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
    )
    AND (hour, settled_at) IN
    (
        SELECT hour, max(settled_at)
        FROM tailsight_gpu_hours
        WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
        GROUP BY hour
    )
LIMIT 20000000
