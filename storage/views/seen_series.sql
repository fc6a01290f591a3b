-- When a series was seen, of each sample; what it is, views/series.sql tells now and then.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_seen_series_mv TO tailsight_series_seen
AS SELECT metric, series_id, minSimpleState(time) AS first_seen, maxSimpleState(time) AS last_seen
FROM tailsight_samples
GROUP BY metric, series_id;
