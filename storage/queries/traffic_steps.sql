-- Requests of every service by five minutes, from the rollup, and when the first and the last of them began (to 15 s).
SELECT service, toDateTime64(toStartOfInterval(rollup.time, toIntervalSecond(300)), 6, 'UTC') AS time,
    sum(rollup.requests) AS requests, toDateTime64(min(rollup.time), 6, 'UTC') AS oldest,
    toDateTime64(max(rollup.time), 6, 'UTC') AS newest
FROM tailsight_request_rollup AS rollup
WHERE measure != 'ttft' AND rollup.time >= toDateTime({start:DateTime64(6, 'UTC')}) AND rollup.time < {end:DateTime64(6, 'UTC')}
GROUP BY service, time
ORDER BY service, time
LIMIT 1000000
