-- Which label of a metric has the most values among the series that are new since then (among all, when none is new).
SELECT entry.1 AS label, uniq(entry.2) AS values_count, any(entry.2) AS example
FROM
(
    SELECT labels, job, instance, is_new, max(is_new) OVER () AS any_is_new
    FROM
    (
        SELECT min(first_seen) >= toDateTime({since:DateTime64(6, 'UTC')}) AS is_new, any(job) AS job, any(instance) AS instance,
            any(attributes) AS labels
        FROM tailsight_series
        WHERE metric = {metric:String}
        GROUP BY series_id
        HAVING max(last_seen) >= toDateTime({since:DateTime64(6, 'UTC')})
        ORDER BY is_new DESC
        LIMIT 200000
    )
)
ARRAY JOIN arrayConcat(arrayZip(mapKeys(labels), mapValues(labels)), [('service.name', toString(job)), ('service.instance.id', toString(instance))]) AS entry
WHERE is_new = any_is_new
GROUP BY label
HAVING values_count > 1
ORDER BY values_count DESC, label
LIMIT 1
