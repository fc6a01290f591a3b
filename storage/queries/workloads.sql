-- Which service and model each replica served most requests of, over a window rounded down to 15 s.
SELECT replica, argMax(service, requests) AS service, argMax(model, requests) AS model
FROM
(
    SELECT replica, service, model, sum(tailsight_request_rollup.requests) AS requests
    FROM tailsight_request_rollup
    WHERE measure != 'ttft' AND replica != ''
        AND time >= toStartOfInterval({start:DateTime64(6, 'UTC')}, toIntervalSecond(15)) AND time < {end:DateTime64(6, 'UTC')}
    GROUP BY replica, service, model
)
GROUP BY replica
LIMIT 1000000
