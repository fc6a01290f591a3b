-- The requests of one service (and one model, unless empty), one row each; of many, always the same one in so many.
SELECT time, model, version, replica, node, pool, tenant, trace_id, is_error, latency_ms, ttft_ms, queue_ms, prefill_ms,
    decode_ms, input_tokens, output_tokens
FROM tailsight_requests
WHERE service = {service:String} AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
    AND ({model:String} = '' OR model = {model:String}) AND cityHash64(trace_id) % {one_in:UInt32} = 0
ORDER BY time
LIMIT 4000000
