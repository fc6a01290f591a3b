-- The series of some 15 s of somebody else's table: what one is, and how long it was seen, merges with what is known.
INSERT INTO tailsight_series
(
    metric, series_id, job, instance, node, gpu, port, replica, service, model, attributes, first_seen, last_seen
)
WITH
{points},
    tailsight_new_series AS (SELECT * FROM tailsight_points)
SELECT *
FROM
(
{select}
)
