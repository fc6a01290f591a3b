-- The series of some metrics (names in lower case), of one node unless that is empty, that were alive in the window, with
-- the device each belongs to: of whole fleets, so that nothing is worked out but the newest row of each.
SELECT metric, series_id, job, instance, node, gpu, port, replica, service, model,
    arrayMap(label -> attributes[label], {labels:Array(String)}) AS labels
FROM tailsight_series
WHERE metric IN {metrics:Array(String)} AND ({node:String} = '' OR node = {node:String})
    AND last_seen >= toDateTime({start:DateTime64(6, 'UTC')}) AND first_seen < {end:DateTime64(6, 'UTC')}
ORDER BY metric, series_id, last_seen DESC
LIMIT 1 BY metric, series_id
LIMIT 2000000
