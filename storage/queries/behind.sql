-- Which 15 s of event time hold another number of rows in somebody else's table than when they were last read, newest first.
SELECT toDateTime64(found.bucket, 6, 'UTC') AS bucket, found.rows AS rows,
    toInt64(found.rows) - toInt64(known.rows) AS more
FROM
(
    SELECT toDateTime(toStartOfInterval({time_column:Identifier}, toIntervalSecond(15), 'UTC'), 'UTC') AS bucket, count() AS rows
    FROM {database:Identifier}.{table:Identifier}
    WHERE {time_column:Identifier} >= {start:DateTime64(6, 'UTC')} AND {time_column:Identifier} < {end:DateTime64(6, 'UTC')}
    GROUP BY bucket
) AS found
LEFT JOIN
(
    SELECT bucket, argMax(rows, read_at) AS rows
    FROM tailsight_caught_up
    WHERE source = {source:String} AND bucket >= {start:DateTime64(6, 'UTC')} AND bucket < {end:DateTime64(6, 'UTC')}
    GROUP BY bucket
) AS known ON known.bucket = found.bucket
WHERE found.rows != known.rows
ORDER BY bucket DESC
LIMIT 100000
