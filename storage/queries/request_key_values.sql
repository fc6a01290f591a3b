-- How many values each key of the request rollup had since then.
SELECT entry.1 AS key, uniq(entry.2) AS values_count, any(entry.2) AS example
FROM tailsight_request_rollup
ARRAY JOIN [('service', toString(service)), ('tenant', toString(tenant)), ('model', toString(model)), ('version', toString(version)), ('replica', toString(replica))] AS entry
WHERE time >= toDateTime({since:DateTime64(6, 'UTC')})
GROUP BY key
ORDER BY key
LIMIT 10
