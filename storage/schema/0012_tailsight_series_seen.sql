-- When each series was seen, apart from what it is: of the one each sample tells, the other is told once a quarter of an
-- hour, so last_seen of tailsight_series is the end of one. Filled by views/seen_series.sql.
CREATE TABLE IF NOT EXISTS tailsight_series_seen
(
    metric     LowCardinality(String) COMMENT 'name in lower case',
    series_id  UInt64,
    first_seen SimpleAggregateFunction(min, DateTime('UTC')),
    last_seen  SimpleAggregateFunction(max, DateTime('UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (metric, series_id)
SETTINGS min_bytes_for_wide_part = 134217728;

-- The series that were told of, as hashes of series and quarter of an hour. In memory only: one that is forgotten is told
-- of again. Filled by views/known_series.sql.
CREATE TABLE IF NOT EXISTS tailsight_series_known (series UInt64)
ENGINE = Set
SETTINGS persistent = 0;
