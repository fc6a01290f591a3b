-- When the first request, or sample of a target's own, was seen at all; NULL when none was.
SELECT minOrNull(found.first) AS first
FROM
(
    SELECT minOrNull(time) AS first FROM tailsight_requests
    WHERE {data:String} = 'requests' AND service = {service:String}
        AND ({model:String} = '' OR model = {model:String})
        AND ({version:String} = '' OR version = {version:String})
        AND ({tenant:String} = '' OR tenant = {tenant:String})
        AND ({pool:String} = '' OR pool = {pool:String})
    UNION ALL
    SELECT toDateTime64(minOrNull(first_seen), 6, 'UTC') AS first FROM tailsight_series
    WHERE {data:String} = 'samples' AND metric NOT IN ('up', 'scrape_duration_seconds', 'scrape_samples_scraped')
) AS found
LIMIT 1
