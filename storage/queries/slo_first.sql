-- When the first request, or sample of a target's own, before an end was seen; NULL when none was. In the table's own order, so
-- that a request is looked for no further than the first that fits.
SELECT minOrNull(found.first) AS first
FROM
(
    SELECT toNullable(time) AS first
    FROM
    (
        SELECT time FROM tailsight_requests
        WHERE {data:String} = 'requests' AND service = {service:String} AND time < {end:DateTime64(6, 'UTC')}
            AND ({model:String} = '' OR model = {model:String})
            AND ({version:String} = '' OR version = {version:String})
            AND ({tenant:String} = '' OR tenant = {tenant:String})
            AND ({pool:String} = '' OR pool = {pool:String})
        ORDER BY service, time
        LIMIT 1
    )
    UNION ALL
    SELECT toDateTime64(minOrNull(first_seen), 6, 'UTC') AS first FROM tailsight_series
    WHERE {data:String} = 'samples' AND first_seen < {end:DateTime64(6, 'UTC')}
        AND metric NOT IN ('up', 'scrape_duration_seconds', 'scrape_samples_scraped')
) AS found
LIMIT 1
