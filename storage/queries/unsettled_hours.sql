-- The hours of a window that hold more requests or samples than cost was settled from, newest first.
SELECT toDateTime64(counted.hour, 6, 'UTC') AS hour, counted.requests AS requests, counted.samples AS samples
FROM
(
    SELECT found.hour AS hour, sum(found.requests) AS requests, sum(found.samples) AS samples
    FROM
    (
        SELECT toStartOfHour(time) AS hour, count() AS requests, toUInt64(0) AS samples
        FROM tailsight_requests
        WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
        GROUP BY hour
        UNION ALL
        SELECT hour, toUInt64(0), sum(samples)
        FROM tailsight_sample_hours
        WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
        GROUP BY hour
    ) AS found
    GROUP BY hour
) AS counted
LEFT JOIN
(
    SELECT hour, argMax(requests, settled_at) AS requests, argMax(samples, settled_at) AS samples, max(settled_at) AS last_settled_at, toUInt8(1) AS is_settled
    FROM tailsight_cost_hours
    WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
    GROUP BY hour
) AS settled USING hour
WHERE settled.is_settled = 0
    OR (last_settled_at < {settled_before:DateTime64(6, 'UTC')}
        AND counted.requests >= settled.requests
        AND (counted.requests > settled.requests OR counted.samples > settled.samples))
ORDER BY hour DESC
LIMIT {limit:UInt32}
