-- The series of some metrics (names in lower case), of one node unless that is empty, that were alive in the window, with
-- the device each belongs to, the newest last. Of whole fleets: a series has one identity here, without a look at others.
SELECT metric, series_id, any(job) AS job, any(instance) AS instance, any(node) AS node, any(gpu) AS gpu, any(port) AS port,
    any(replica) AS replica, any(service) AS service, any(model) AS model,
    any(arrayMap(label -> attributes[label], {labels:Array(String)})) AS labels
FROM tailsight_series
WHERE metric IN {metrics:Array(String)} AND ({node:String} = '' OR tailsight_series.node = {node:String})
    AND last_seen >= toDateTime({start:DateTime64(6, 'UTC')}) AND first_seen < {end:DateTime64(6, 'UTC')}
GROUP BY metric, series_id
ORDER BY min(first_seen), series_id
LIMIT 2000000
