-- One narrow row a request, filled by views/requests.sql from the spans. Empty text and NULL mean: not known.
CREATE TABLE IF NOT EXISTS tailsight_requests
(
    time          DateTime64(6, 'UTC') COMMENT 'start of the request' CODEC(Delta, ZSTD(1)),
    service       LowCardinality(String),
    model         LowCardinality(String),
    version       LowCardinality(String),
    replica       LowCardinality(String),
    node          LowCardinality(String),
    pool          LowCardinality(String),
    tenant        LowCardinality(String),
    user          String CODEC(ZSTD(1)),
    trace_id      String CODEC(ZSTD(1)),
    is_error      Bool,
    latency_ms    Float64 COMMENT 'ms, whole request' CODEC(ZSTD(1)),
    ttft_ms       Nullable(Float64) COMMENT 'ms, to the first token' CODEC(ZSTD(1)),
    queue_ms      Nullable(Float64) COMMENT 'ms, waiting in the engine' CODEC(ZSTD(1)),
    prefill_ms    Nullable(Float64) COMMENT 'ms, reading the prompt' CODEC(ZSTD(1)),
    decode_ms     Nullable(Float64) COMMENT 'ms, writing the answer' CODEC(ZSTD(1)),
    input_tokens  Nullable(UInt32) COMMENT 'tokens' CODEC(ZSTD(1)),
    output_tokens Nullable(UInt32) COMMENT 'tokens' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (service, time)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;

-- Requests by 15 s, for long windows: how many took how long, in buckets that merge by adding up. Bucket b of a duration
-- covers 2^(b/36) to 2^((b+1)/36) ms, so its geometric middle is within 1 % of every duration in it.
CREATE TABLE IF NOT EXISTS tailsight_request_rollup
(
    time          DateTime('UTC') COMMENT 'start of the 15 s' CODEC(Delta, ZSTD(1)),
    service       LowCardinality(String),
    tenant        LowCardinality(String),
    model         LowCardinality(String),
    version       LowCardinality(String),
    replica       LowCardinality(String),
    measure       Enum8('error' = 0, 'latency' = 1, 'ttft' = 2) COMMENT 'a request is one error or one latency; and one ttft if it has one',
    bucket        Int16 COMMENT 'of the duration; 0 for an error',
    requests      UInt64 COMMENT 'requests',
    input_tokens  UInt64 COMMENT 'tokens, told with error and latency',
    output_tokens UInt64 COMMENT 'tokens, told with error and latency'
)
ENGINE = SummingMergeTree
PARTITION BY toDate(time)
ORDER BY (service, tenant, model, version, replica, measure, time, bucket)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;
