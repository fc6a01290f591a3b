-- Landing tables, which keep nothing: a point is read once from the exporter's tables (views/points.sql), and whatever
-- is made of it starts from here. So labels are hashed once, all further views know one form of them, and what is long to
-- analyse (views/series.sql) waits for a series that is new (views/new_series.sql).
DROP VIEW IF EXISTS tailsight_samples_gauge_mv;

DROP VIEW IF EXISTS tailsight_samples_sum_mv;

DROP VIEW IF EXISTS tailsight_series_gauge_mv;

DROP VIEW IF EXISTS tailsight_series_sum_mv;

CREATE TABLE IF NOT EXISTS tailsight_points
(
    metric    LowCardinality(String) COMMENT 'name in lower case',
    series_id UInt64 COMMENT 'hash of name, job, instance and labels',
    job       LowCardinality(String) COMMENT 'resource attribute service.name',
    resource  Map(LowCardinality(String), String) COMMENT 'the resource attributes',
    labels    Map(LowCardinality(String), String) COMMENT 'the labels of the data point',
    time      DateTime('UTC'),
    value     Float64 COMMENT 'in the unit of the metric'
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS tailsight_new_series AS tailsight_points
ENGINE = Null;
