-- The newest request and the newest sample of a target's own: what we say of a scrape comes in when it fails too.
SELECT 'requests' AS source, maxOrNull(time) AS newest FROM tailsight_requests WHERE time >= {start:DateTime64(6, 'UTC')}
UNION ALL
SELECT 'samples' AS source, toDateTime64(maxOrNull(time), 6, 'UTC') AS newest FROM tailsight_samples
WHERE time >= {start:DateTime64(6, 'UTC')} AND metric NOT IN ('up', 'scrape_duration_seconds', 'scrape_samples_scraped')
LIMIT 10
