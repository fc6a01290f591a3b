-- The hours of a window whose cost was settled.
SELECT toDateTime64(hour, 6, 'UTC') AS hour, max(settled_at) AS settled_at
FROM tailsight_cost_hours
WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
GROUP BY hour
ORDER BY hour
LIMIT 100000
