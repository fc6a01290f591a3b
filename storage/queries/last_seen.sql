-- When these series were heard of last.
SELECT series_id, toDateTime64(max(tailsight_series_seen.last_seen), 6, 'UTC') AS last_seen
FROM tailsight_series_seen
WHERE metric IN {metrics:Array(String)} AND series_id IN {series_ids:Array(UInt64)}
GROUP BY series_id
LIMIT 2000000
