-- One row an insert and hour, so the price of a sample is that of counting it.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_sample_hours_mv TO tailsight_sample_hours
AS SELECT toStartOfHour(time) AS hour, count() AS samples, toUInt64(0) AS rolled_up
FROM tailsight_samples
GROUP BY hour;
