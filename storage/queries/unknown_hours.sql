-- The hours of samples that tailsight_sample_hours was not told of, as those from before there was such a table, with how many.
SELECT toDateTime64(found.hour, 6, 'UTC') AS hour, toUInt64(samples_count - known_count) AS samples_count
FROM (SELECT toStartOfHour(time) AS hour, count() AS samples_count FROM tailsight_samples WHERE toDate(time) IN {days:Array(Date)} GROUP BY hour) AS found
LEFT JOIN (SELECT hour, sum(samples) AS known_count FROM tailsight_sample_hours GROUP BY hour) AS known ON known.hour = found.hour
WHERE samples_count > known_count
ORDER BY hour
LIMIT 100000
