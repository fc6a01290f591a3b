-- Here and not behind tailsight_series, for what was told of somebody else's points is told anew when it fails.
CREATE MATERIALIZED VIEW tailsight_series_known_mv TO tailsight_series_known
AS SELECT cityHash64(series_id, toStartOfFifteenMinutes(time)) AS series
FROM tailsight_new_series;
