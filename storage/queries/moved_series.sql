-- The series of some metrics of which the value changed within the window: of counters of errors few do.
SELECT series_id
FROM tailsight_samples
WHERE metric IN {metrics:Array(String)} AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
GROUP BY series_id
HAVING min(value) < max(value)
LIMIT 2000000
