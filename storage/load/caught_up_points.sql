-- The points of some 15 s of somebody else's table, in place of the landing table.
    otel_metrics_{kind} AS
    (
        SELECT *
        FROM {source}
        WHERE TimeUnix >= {start:DateTime64(6, 'UTC')} AND TimeUnix < {end:DateTime64(6, 'UTC')}
            AND toStartOfInterval(TimeUnix, toIntervalSecond(15), 'UTC') IN {buckets:Array(DateTime('UTC'))}
    ),
    tailsight_points AS
    (
{select}
    )
