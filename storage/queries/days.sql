-- How much some tables hold of each day; only of those that are cut by day.
SELECT parts.table AS table, partition_id, toDate32(parts.partition) AS day, sum(parts.rows) AS rows, sum(parts.bytes_on_disk) AS size_bytes
FROM system.parts AS parts
INNER JOIN system.tables AS tables ON tables.database = parts.database AND tables.name = parts.table
WHERE parts.database = currentDatabase() AND tables.database = currentDatabase() AND parts.active AND parts.rows > 0
    AND parts.table IN {tables:Array(String)} AND match(tables.partition_key, '^toDate\\(\\w+\\)$')
GROUP BY table, partition_id, day
ORDER BY table, day
LIMIT 1000000
