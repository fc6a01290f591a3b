-- The hours that are over and hold samples that the rollup by minute does not, newest first.
SELECT toDateTime64(tailsight_sample_hours.hour, 6, 'UTC') AS hour, sum(samples) AS samples_count
FROM tailsight_sample_hours
WHERE tailsight_sample_hours.hour >= {start:DateTime('UTC')} AND tailsight_sample_hours.hour < {end:DateTime('UTC')}
GROUP BY hour
HAVING max(rolled_up) < samples_count
ORDER BY hour DESC
LIMIT {limit:UInt32}
