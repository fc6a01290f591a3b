-- What cost is split by, an hour at a time, once the hour is over. An hour is settled by its row in tailsight_cost_hours,
-- written last; only rows of the newest settlement of an hour count, so one that was cut short counts for nothing.
CREATE TABLE IF NOT EXISTS tailsight_cost_hours
(
    hour       DateTime('UTC') COMMENT 'start of the hour' CODEC(Delta, ZSTD(1)),
    requests   UInt64 COMMENT 'requests that it was settled from; where there are more now, it is settled again',
    samples    UInt64 COMMENT 'samples that it was settled from; the same',
    settled_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toDate(hour)
ORDER BY hour
SETTINGS ttl_only_drop_parts = 1;

-- Which share of a replica's engine time went to whose requests. Empty text means: not known.
CREATE TABLE IF NOT EXISTS tailsight_request_hours
(
    hour          DateTime('UTC') COMMENT 'start of the hour' CODEC(Delta, ZSTD(1)),
    service       LowCardinality(String),
    model         LowCardinality(String),
    version       LowCardinality(String),
    pool          LowCardinality(String),
    tenant        LowCardinality(String),
    replica       LowCardinality(String),
    node          LowCardinality(String),
    is_error      Bool,
    requests      UInt64 COMMENT 'requests that began in the hour',
    input_tokens  UInt64 COMMENT 'tokens, of these',
    output_tokens UInt64 COMMENT 'tokens, of these',
    engine_ms     Float64 COMMENT 'ms of the engine within the hour, by the Shapley share of each step; estimated',
    input_engine_ms Float64 COMMENT 'ms, the part of it that read prompts',
    settled_at    DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toDate(hour)
ORDER BY (hour, service, model, version, pool, tenant, replica, node, is_error)
SETTINGS ttl_only_drop_parts = 1;

-- What each GPU did with its time: busy, or idle for a cause.
CREATE TABLE IF NOT EXISTS tailsight_gpu_hours
(
    hour        DateTime('UTC') COMMENT 'start of the hour' CODEC(Delta, ZSTD(1)),
    gpu         String COMMENT 'UUID, or UUID/instance of MIG',
    node        LowCardinality(String),
    gpu_model   LowCardinality(String),
    pool        LowCardinality(String),
    replica     LowCardinality(String),
    service     LowCardinality(String),
    model       LowCardinality(String),
    slice_ratio Float64 COMMENT 'share of a whole GPU, 0-1',
    state       LowCardinality(String) COMMENT 'busy, or a cause of idleness',
    seconds     Float64 COMMENT 's, of this GPU or slice',
    settled_at  DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toDate(hour)
ORDER BY (hour, gpu, node, gpu_model, pool, replica, service, model, slice_ratio, state)
SETTINGS ttl_only_drop_parts = 1;
