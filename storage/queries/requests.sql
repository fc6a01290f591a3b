-- The requests of one service, one row each.
SELECT time, model, version, replica, node, pool, tenant, trace_id, is_error, latency_ms, ttft_ms, queue_ms, prefill_ms,
    decode_ms, input_tokens, output_tokens
FROM tailsight_requests
WHERE service = {service:String} AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
ORDER BY time
LIMIT {limit:UInt64}
