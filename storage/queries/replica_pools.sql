-- Which pool and model each replica served requests in, over a window.
SELECT replica, argMax(pool, time) AS pool, argMax(model, time) AS model
FROM tailsight_requests
WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')} AND replica != ''
GROUP BY replica
LIMIT 100000
