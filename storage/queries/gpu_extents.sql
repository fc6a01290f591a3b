-- The GPUs that were heard of near a window: what each is, and when it was first and last heard of at all.
SELECT gpu, any(node) AS node, any(attributes['modelName']) AS gpu_model, any(attributes['GPU_I_PROFILE']) AS profile,
    toDateTime64(min(first_seen), 6, 'UTC') AS first_seen, toDateTime64(max(last_seen), 6, 'UTC') AS last_seen
FROM tailsight_series
WHERE metric IN {metrics:Array(String)} AND gpu != ''
GROUP BY gpu
HAVING last_seen >= {start:DateTime64(6, 'UTC')} AND first_seen < {end:DateTime64(6, 'UTC')}
LIMIT 1000000
