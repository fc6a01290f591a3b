-- When each GPU was seen first and last, by exporter.
SELECT job, instance, gpu, toDateTime64(min(first_seen), 6, 'UTC') AS first, toDateTime64(max(last_seen), 6, 'UTC') AS last
FROM tailsight_series
WHERE metric IN {alive:Array(String)} AND gpu != '' AND node LIKE {nodes:String}
GROUP BY job, instance, gpu
ORDER BY job, instance, gpu
LIMIT 1000000
