-- The series of some metrics (names in lower case) that were alive in the window, with the entity each belongs to. Of a
-- metric that is wanted in part, those whose label has one of some values. Of a metric that has more than it may have
-- (collector/cardinality.py) the first ones.
SELECT metric, series_id, job, instance, node, gpu, port, replica, service, model,
    arrayMap(label -> any(attributes)[label], {labels:Array(String)}) AS labels
FROM tailsight_series
WHERE metric IN {metrics:Array(String)}
    AND (metric NOT IN {parted:Array(String)} OR has(
        {part_values:Array(Array(String))}[indexOf({parted:Array(String)}, metric)],
        attributes[{part_labels:Array(String)}[indexOf({parted:Array(String)}, metric)]]))
GROUP BY metric, series_id, job, instance, node, gpu, port, replica, service, model
HAVING max(last_seen) >= toDateTime({start:DateTime64(6, 'UTC')}) AND min(first_seen) < {end:DateTime64(6, 'UTC')}
ORDER BY metric, min(first_seen), series_id
LIMIT {series_per_metric_max:UInt32} BY metric
LIMIT 2000000
