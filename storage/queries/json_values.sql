-- Does the engine know JSONAllValues (ClickHouse 26.4).
SELECT name FROM system.functions WHERE name = 'JSONAllValues' LIMIT 1
