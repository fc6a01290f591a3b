-- The points of series that were not told of in this quarter of an hour: to work out what a series is costs ten times as
-- much as to see that it is known.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_new_series_mv TO tailsight_new_series
AS SELECT metric, series_id, job, resource, labels, time, value
FROM tailsight_points
WHERE cityHash64(series_id, toStartOfFifteenMinutes(time) + 900) NOT IN tailsight_series_known;
