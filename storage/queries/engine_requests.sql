-- The requests of all services that began in a window, as far as cost is told from them.
SELECT time, service, model, version, replica, node, pool, tenant, user, trace_id, is_error, latency_ms, ttft_ms, queue_ms,
    prefill_ms, decode_ms, input_tokens, output_tokens, cached_tokens
FROM tailsight_requests
WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
    AND ({service:String} = '' OR service = {service:String})
ORDER BY time
LIMIT 20000000
