-- The spans of some traces.
SELECT
    TraceId AS trace_id,
    SpanId AS span_id,
    ParentSpanId AS parent_id,
    ServiceName AS service,
    if(SpanKind IN ('Client', 'Producer', 'SPAN_KIND_CLIENT', 'SPAN_KIND_PRODUCER'),
        arrayFirst(name -> name != '', [SpanAttributes['peer.service'], SpanAttributes['server.address']]), '') AS peer,
    toTimeZone(toDateTime64(Timestamp, 6), 'UTC') AS time,
    greatest(toInt64(Duration), 0) / 1e6 AS duration_ms,
    StatusCode IN ('Error', 'STATUS_CODE_ERROR') AS is_error
FROM {table:Identifier}
WHERE TraceId IN {trace_ids:Array(String)} AND Timestamp >= {start:DateTime64(6, 'UTC')} AND Timestamp < {end:DateTime64(6, 'UTC')}
ORDER BY trace_id, time, span_id
LIMIT 1000000
