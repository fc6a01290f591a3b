-- The series of some 15 s of somebody else's table: what one is, and how long it was seen, merges with what is known.
INSERT INTO tailsight_series
(
    metric, series_id, job, instance, node, gpu, port, replica, service, model, attributes, first_seen, last_seen
)
WITH otel_metrics_{points} AS
(
    SELECT *
    FROM {source}
    WHERE TimeUnix >= {start:DateTime64(6, 'UTC')} AND TimeUnix < {end:DateTime64(6, 'UTC')}
        AND toStartOfInterval(TimeUnix, toIntervalSecond(15), 'UTC') IN {buckets:Array(DateTime('UTC'))}
)
SELECT *
FROM
(
{select}
)
