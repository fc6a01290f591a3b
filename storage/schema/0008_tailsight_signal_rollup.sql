-- Samples by minute, for windows over which every sample would be too many: one row an hour and series. Filled by
-- load/signal_rollup.sql once an hour is over. A mean with its count and a last value merge into those of longer steps.
CREATE TABLE IF NOT EXISTS tailsight_signal_rollup
(
    metric       LowCardinality(String) COMMENT 'name in lower case',
    series_id    UInt64,
    hour         DateTime('UTC') COMMENT 'start of the hour' CODEC(Delta, ZSTD(1)),
    last         Array(Float64) COMMENT 'the newest value of each of the 60 minutes; NaN: no sample' CODEC(ZSTD(1)),
    mean         Array(Float64) COMMENT 'the mean of each minute; NaN: no sample' CODEC(ZSTD(1)),
    count        Array(UInt32) COMMENT 'the samples of each minute' CODEC(ZSTD(1)),
    rolled_up_at DateTime64(3, 'UTC') COMMENT 'of several rows of an hour the newest counts'
)
ENGINE = ReplacingMergeTree(rolled_up_at)
PARTITION BY toDate(hour)
ORDER BY (metric, series_id, hour)
SETTINGS ttl_only_drop_parts = 1;

-- How many samples of each hour there are, told by views/sample_hours.sql as they come, and how many of them the rollup
-- holds. An hour that a late sample came to holds more than was rolled up, so it is done again.
CREATE TABLE IF NOT EXISTS tailsight_sample_hours
(
    hour      DateTime('UTC') COMMENT 'start of the hour of event time',
    samples   SimpleAggregateFunction(sum, UInt64) COMMENT 'samples in tailsight_samples',
    rolled_up SimpleAggregateFunction(max, UInt64) COMMENT 'of these, when the hour was last rolled up; 0: never'
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(hour)
ORDER BY hour
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
