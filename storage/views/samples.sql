-- Values that are not finite, or DCGM's blank sentinels, never become samples.
-- The scraper (collector/exposition.py) has the same rule: 2^62 and more is nothing that a source has counted, and the
-- smaller blanks, just below 2^31 and from 2^47 on, are blanks in DCGM's metrics only: elsewhere they are numbers.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_samples_mv TO tailsight_samples
AS SELECT metric, series_id, time, value
FROM tailsight_points
WHERE isFinite(value)
    AND value < 4611686018427387904
    AND NOT (
        startsWith(metric, 'dcgm_')
        AND value IN (
            2147483632, 2147483633, 2147483634, 2147483635,
            140737488355328, 140737488355329, 140737488355330, 140737488355331
        )
    );
