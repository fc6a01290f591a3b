-- The newest request, or sample of a target's own, of each minute that had any.
SELECT toDateTime64(toStartOfMinute(found.time), 6, 'UTC') AS time, max(found.time) AS newest
FROM
(
    SELECT time FROM tailsight_requests
    WHERE {data:String} = 'requests' AND service = {service:String}
        AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
        AND ({model:String} = '' OR model = {model:String})
        AND ({version:String} = '' OR version = {version:String})
        AND ({tenant:String} = '' OR tenant = {tenant:String})
        AND ({pool:String} = '' OR pool = {pool:String})
    UNION ALL
    SELECT toDateTime64(time, 6, 'UTC') AS time FROM tailsight_samples
    WHERE {data:String} = 'samples' AND time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
        AND metric NOT IN ('up', 'scrape_duration_seconds', 'scrape_samples_scraped')
) AS found
GROUP BY time
ORDER BY time
LIMIT 1000000
