-- The series of some metrics of which the value changed within the window, as a minute of every five tells, and the last five.
SELECT series_id
FROM tailsight_samples
WHERE metric IN {metrics:Array(String)} AND time >= toDateTime({start:DateTime64(6, 'UTC')}) AND time < toDateTime({end:DateTime64(6, 'UTC')})
    AND (toUnixTimestamp(time) % 300 < 60 OR time >= toDateTime({end:DateTime64(6, 'UTC')}) - 300)
GROUP BY series_id
HAVING min(value) < max(value)
LIMIT 2000000
