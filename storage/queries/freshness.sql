-- The newest request and the newest sample.
SELECT 'requests' AS source, maxOrNull(time) AS newest FROM tailsight_requests WHERE time >= {start:DateTime64(6, 'UTC')}
UNION ALL
SELECT 'samples' AS source, toDateTime64(maxOrNull(time), 6, 'UTC') AS newest FROM tailsight_samples WHERE time >= {start:DateTime64(6, 'UTC')}
LIMIT 10
