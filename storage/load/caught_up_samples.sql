-- Samples of some 15 s of somebody else's table that ours lacks. A value of a series at a time counts once.
INSERT INTO tailsight_samples (metric, series_id, time, value)
WITH
{points}
SELECT *
FROM
(
{select}
)
WHERE (series_id, time, value) NOT IN
(
    SELECT series_id, time, value
    FROM tailsight_samples
    WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
)
LIMIT 1 BY series_id, time, value
