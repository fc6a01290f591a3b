-- The parts in use that were made since then, by inserts and by merges, and where they lie.
SELECT table, name AS part, path
FROM system.parts
WHERE active AND database = currentDatabase() AND modification_time >= toDateTime({since:UInt32})
LIMIT 1000000
