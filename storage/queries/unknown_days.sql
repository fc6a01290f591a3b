-- The days of which tailsight_samples holds more rows than tailsight_sample_hours was told of.
SELECT day
FROM (SELECT toDate(partition) AS day, sum(rows) AS samples_count FROM system.parts WHERE database = currentDatabase() AND table = 'tailsight_samples' AND active GROUP BY day) AS found
LEFT JOIN (SELECT toDate(hour) AS day, sum(samples) AS known_count FROM tailsight_sample_hours GROUP BY day) AS known USING (day)
WHERE samples_count > known_count
LIMIT 40000
