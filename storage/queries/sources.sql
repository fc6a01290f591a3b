-- Who sends: services by their requests, and jobs and instances by their series; with the newest of each, and what the last
-- scrape of a target said. What we say of a scrape ourselves comes in when it fails too, so it makes nothing newer.
SELECT 'requests' AS kind, service AS name, '' AS instance, max(time) AS newest, CAST(NULL, 'Nullable(Float64)') AS up
FROM tailsight_requests
WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
GROUP BY service
UNION ALL
SELECT
    'metrics' AS kind, series.job AS name, series.instance AS instance,
    toDateTime64(maxOrNullIf(series.last_seen, series.metric NOT IN ('up', 'scrape_duration_seconds', 'scrape_samples_scraped')), 6, 'UTC') AS newest,
    anyIf(scraped.up, series.metric = 'up' AND scraped.up IS NOT NULL) AS up
FROM
(
    SELECT known.metric AS metric, known.series_id AS series_id, known.job AS job, known.instance AS instance,
        if(seen.series_id = 0, known.last_seen, least(seen.last_seen, known.last_seen)) AS last_seen
    FROM
    (
        SELECT metric, series_id, job, instance, max(tailsight_series.last_seen) AS last_seen
        FROM tailsight_series
        GROUP BY metric, series_id, job, instance
        HAVING last_seen >= toDateTime({start:DateTime64(6, 'UTC')})
    ) AS known
    LEFT JOIN
    (
        SELECT series_id, max(tailsight_series_seen.last_seen) AS last_seen
        FROM tailsight_series_seen
        GROUP BY series_id
    ) AS seen ON seen.series_id = known.series_id
    WHERE last_seen >= toDateTime({start:DateTime64(6, 'UTC')})
) AS series
LEFT JOIN
(
    SELECT series_id, argMax(toNullable(value), time) AS up
    FROM tailsight_samples
    WHERE metric = 'up' AND time >= toDateTime({recent:DateTime64(6, 'UTC')}) AND time < {end:DateTime64(6, 'UTC')}
    GROUP BY series_id
) AS scraped ON scraped.series_id = series.series_id
GROUP BY name, instance
ORDER BY kind DESC, name, instance
LIMIT 20000
