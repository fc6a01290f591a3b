-- The parts in use of every table that remembers the tokens of its inserts, and where it keeps them.
SELECT
    tables.name AS table,
    tables.data_paths[1] AS path,
    parts.partition_id AS partition_id,
    parts.min_block_number AS first_block,
    parts.max_block_number AS last_block
FROM system.tables AS tables
LEFT JOIN
(
    SELECT table, partition_id, min_block_number, max_block_number
    FROM system.parts
    WHERE active AND database = currentDatabase()
) AS parts ON parts.table = tables.name
WHERE tables.database = currentDatabase() AND tables.engine_full LIKE '%non_replicated_deduplication_window%'
LIMIT 1000000
