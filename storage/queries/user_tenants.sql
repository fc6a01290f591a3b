-- The users of a window, each with the tenant of most of its requests.
SELECT user, topK(1)(tenant)[1] AS tenant
FROM tailsight_requests
WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')} AND user != ''
GROUP BY user
ORDER BY user
LIMIT {limit:UInt32}
