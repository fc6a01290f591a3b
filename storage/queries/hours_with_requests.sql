-- The hours of a window in which a request began.
SELECT toDateTime64(toStartOfHour(rollup.time), 6, 'UTC') AS hour
FROM tailsight_request_rollup AS rollup
WHERE rollup.time >= {start:DateTime64(6, 'UTC')} AND rollup.time < {end:DateTime64(6, 'UTC')}
GROUP BY hour
ORDER BY hour
LIMIT 100000
