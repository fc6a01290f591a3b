-- Which of these 15 s have more requests than their rollup says. Not those with requests from our own door (they have no
-- span id): their rollup may be on its way this moment, and after a failure it comes with the insert's repetition.
SELECT toDateTime64(found.bucket, 6, 'UTC') AS bucket
FROM
(
    SELECT toDateTime(toStartOfInterval(time, toIntervalSecond(15), 'UTC'), 'UTC') AS bucket, count() AS requests
    FROM tailsight_requests
    WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
    GROUP BY bucket
    HAVING countIf(span_id = '') = 0
) AS found
LEFT JOIN
(
    SELECT time AS bucket, sum(rollup.requests) AS requests
    FROM tailsight_request_rollup AS rollup
    WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')} AND measure != 'ttft'
    GROUP BY bucket
) AS told ON told.bucket = found.bucket
WHERE found.requests > told.requests AND found.bucket IN {buckets:Array(DateTime('UTC'))}
LIMIT 100000
