-- Gauges and counters as series: labels once, samples narrow. Filled by views/samples.sql and views/series.sql.
CREATE TABLE IF NOT EXISTS tailsight_samples
(
    metric    LowCardinality(String) COMMENT 'name in lower case',
    series_id UInt64 COMMENT 'hash of name, job, instance and labels',
    time      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    value     Float64 COMMENT 'in the unit of the metric' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (metric, series_id, time)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS tailsight_series
(
    metric     LowCardinality(String) COMMENT 'name in lower case',
    series_id  UInt64,
    job        LowCardinality(String) COMMENT 'resource attribute service.name',
    instance   LowCardinality(String) COMMENT 'resource attribute service.instance.id',
    node       LowCardinality(String),
    gpu        LowCardinality(String) COMMENT 'UUID, or UUID/instance for MIG',
    port       LowCardinality(String) COMMENT 'device/port on the node',
    replica    LowCardinality(String),
    service    LowCardinality(String) COMMENT 'of the workload, where a label names it',
    model      LowCardinality(String),
    attributes SimpleAggregateFunction(any, Map(String, String)) COMMENT 'the labels' CODEC(ZSTD(1)),
    first_seen SimpleAggregateFunction(min, DateTime('UTC')),
    last_seen  SimpleAggregateFunction(max, DateTime('UTC'))
)
ENGINE = AggregatingMergeTree
PRIMARY KEY (metric, series_id)
ORDER BY (metric, series_id, job, instance, node, gpu, port, replica, service, model);
