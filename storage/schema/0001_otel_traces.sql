-- Spans, as the OpenTelemetry Collector's ClickHouse exporter makes them (columns, types). Lines marked "only: upstream"
-- are left out of the lean index profile: they cut the write speed to less than half. Its order keeps the spans of a
-- trace together: ids that repeat side by side take a quarter less of the disk (docs/adr/0012).
CREATE TABLE IF NOT EXISTS otel_traces
(
    Timestamp          DateTime64(9) COMMENT 'start of the span' CODEC(Delta, ZSTD(1)),
    TraceId            String COMMENT '32 lower-case hex digits' CODEC(ZSTD(1)),
    SpanId             String COMMENT '16 lower-case hex digits' CODEC(ZSTD(1)),
    ParentSpanId       String COMMENT 'empty for a root' CODEC(ZSTD(1)),
    TraceState         String CODEC(ZSTD(1)),
    SpanName           LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind           LowCardinality(String) COMMENT 'Unspecified, Internal, Server, Client, Producer, Consumer' CODEC(ZSTD(1)),
    ServiceName        LowCardinality(String) COMMENT 'resource attribute service.name' CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName          String CODEC(ZSTD(1)),
    ScopeVersion       String CODEC(ZSTD(1)),
    SpanAttributes     Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration           UInt64 COMMENT 'ns' CODEC(ZSTD(1)),
    StatusCode         LowCardinality(String) COMMENT 'Unset, Ok, Error' CODEC(ZSTD(1)),
    StatusMessage      String CODEC(ZSTD(1)),
    Events Nested
    (
        Timestamp  DateTime64(9),
        Name       LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested
    (
        TraceId    String,
        SpanId     String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,     -- only: upstream
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1, -- only: upstream
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,        -- only: upstream
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,    -- only: upstream
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1,                                        -- only: upstream
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))           -- only: upstream
ORDER BY (ServiceName, toDateTime(Timestamp), TraceId, Timestamp) -- only: lean
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS otel_traces_trace_id_ts
(
    TraceId String CODEC(ZSTD(1)),
    Start   DateTime COMMENT 'first span of the trace in one insert' CODEC(Delta, ZSTD(1)),
    End     DateTime COMMENT 'last span of the trace in one insert' CODEC(Delta, ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts
AS SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId;
