-- When each series was seen, apart from what it is: the one is told of each sample, the other only now and then. Filled by
-- views/series_seen.sql. In tailsight_series, first_seen and last_seen are of the quarter of an hour: no series was seen
-- after its last_seen.
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

INSERT INTO tailsight_series_seen (metric, series_id, first_seen, last_seen)
SELECT metric, series_id, min(tailsight_series.first_seen), max(tailsight_series.last_seen)
FROM tailsight_series
GROUP BY metric, series_id;

-- Points on their way: of series that were not told of yet in this quarter of an hour (views/series.sql). Holds nothing.
CREATE TABLE IF NOT EXISTS tailsight_new_series
(
    metric    LowCardinality(String),
    series_id UInt64,
    time      DateTime('UTC'),
    job       LowCardinality(String),
    resource  Map(LowCardinality(String), String),
    labels    Map(LowCardinality(String), String)
)
ENGINE = Null;

-- Which were told of, as hashes of series and quarter of an hour. Only in memory: forgetting one makes it told of again.
CREATE TABLE IF NOT EXISTS tailsight_series_known (series UInt64)
ENGINE = Set
SETTINGS persistent = 0;
