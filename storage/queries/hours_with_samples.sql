-- The hours of a window that hold samples.
SELECT toDateTime64(tailsight_sample_hours.hour, 6, 'UTC') AS hour
FROM tailsight_sample_hours
WHERE tailsight_sample_hours.hour >= {start:DateTime64(6, 'UTC')} AND tailsight_sample_hours.hour < {end:DateTime64(6, 'UTC')}
GROUP BY hour
HAVING sum(samples) > 0
ORDER BY hour
LIMIT 100000
