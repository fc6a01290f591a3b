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
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- Requests by 15 s, for long windows: counts, and latency sketches that merge (relative error 1 %).
CREATE TABLE IF NOT EXISTS tailsight_request_rollup
(
    time          DateTime('UTC') COMMENT 'start of the 15 s bucket' CODEC(Delta, ZSTD(1)),
    service       LowCardinality(String),
    tenant        LowCardinality(String),
    model         LowCardinality(String),
    version       LowCardinality(String),
    replica       LowCardinality(String),
    requests      SimpleAggregateFunction(sum, UInt64) COMMENT 'requests',
    errors        SimpleAggregateFunction(sum, UInt64) COMMENT 'requests',
    ttft_requests SimpleAggregateFunction(sum, UInt64) COMMENT 'requests that did not fail and have a time to first token',
    input_tokens  SimpleAggregateFunction(sum, UInt64) COMMENT 'tokens',
    output_tokens SimpleAggregateFunction(sum, UInt64) COMMENT 'tokens',
    latency_ms    AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64) COMMENT 'ms, of requests that did not fail' CODEC(ZSTD(1)),
    ttft_ms       AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64) COMMENT 'ms, of requests that have one' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(time)
ORDER BY (service, tenant, model, version, replica, time)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
