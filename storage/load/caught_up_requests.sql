-- Requests of some 15 s of somebody else's table that ours lacks. A span is one request, however often it was written and
-- whenever it came. A request without a span id was put in by the view: of the same span, when the rest is the same.
INSERT INTO tailsight_requests
(
    time, service, model, version, replica, node, pool, tenant, user, trace_id, span_id, is_error, latency_ms, ttft_ms,
    queue_ms, prefill_ms, decode_ms, input_tokens, output_tokens, cached_tokens
)
WITH otel_traces AS
(
    SELECT *
    FROM {source}
    WHERE Timestamp >= {start:DateTime64(6, 'UTC')} AND Timestamp < {end:DateTime64(6, 'UTC')}
        AND toStartOfInterval(Timestamp, toIntervalSecond(15), 'UTC') IN {buckets:Array(DateTime('UTC'))}
        AND (ServiceName, toTimeZone(toDateTime64(Timestamp, 6), 'UTC'), TraceId, SpanId) NOT IN
        (
            SELECT service, time, trace_id, span_id
            FROM tailsight_requests
            WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
        )
)
SELECT *
FROM
(
{select}
)
WHERE (service, time, trace_id, latency_ms) NOT IN
(
    SELECT service, time, trace_id, latency_ms
    FROM tailsight_requests
    WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')} AND span_id = ''
)
LIMIT 1 BY service, time, trace_id, span_id
