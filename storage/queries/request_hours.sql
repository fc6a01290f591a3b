-- Engine time of settled hours, by whose requests it went to. The newest rows of this table count, whatever became of the
-- others of their settlement: a merge keeps no older row of a key.
SELECT toDateTime64(hour, 6, 'UTC') AS time, service, model, version, pool, tenant, replica, node, is_error, requests, input_tokens,
    output_tokens, engine_ms, input_engine_ms
FROM tailsight_request_hours
WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
    AND hour IN
    (
        SELECT hour
        FROM tailsight_cost_hours
        WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
    )
    AND (hour, settled_at) IN
    (
        SELECT hour, max(settled_at)
        FROM tailsight_request_hours
        WHERE hour >= toDateTime({start:DateTime64(6, 'UTC')}) AND hour < {end:DateTime64(6, 'UTC')}
        GROUP BY hour
    )
LIMIT 20000000
