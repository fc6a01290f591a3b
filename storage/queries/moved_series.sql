-- The series of some metrics of which the value changed within the window, as told by its first and last five minutes and a
-- minute now and then between them.
SELECT series_id
FROM tailsight_samples
WHERE metric IN {metrics:Array(String)} AND time >= toDateTime({start:DateTime64(6, 'UTC')}) AND time < toDateTime({end:DateTime64(6, 'UTC')})
    AND (time < toDateTime({start:DateTime64(6, 'UTC')}) + 300 OR time >= toDateTime({end:DateTime64(6, 'UTC')}) - 300
        OR toUnixTimestamp(time) % {every_s:UInt32} < 60)
GROUP BY series_id
HAVING min(value) < max(value)
LIMIT 2000000
