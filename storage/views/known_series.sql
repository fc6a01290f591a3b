-- A row that is not stored after all is missed for a quarter of an hour at most; the loader forgets what is known after errors.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_known_series_mv TO tailsight_series_known
AS SELECT cityHash64(series_id, last_seen) AS series
FROM tailsight_series;
