-- How many series each metric had since then, most first.
SELECT metric, uniq(series_id) AS series_count
FROM tailsight_series
WHERE last_seen >= toDateTime({since:DateTime64(6, 'UTC')})
GROUP BY metric
ORDER BY series_count DESC, metric
LIMIT 100000
