-- Tables of this database that are out of use until the next start.
SELECT table FROM system.detached_tables WHERE database = currentDatabase() AND NOT is_permanently LIMIT 1000
