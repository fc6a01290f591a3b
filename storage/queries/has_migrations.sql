-- Was this database ever migrated.
SELECT count() AS tables FROM system.tables WHERE database = currentDatabase() AND name = 'tailsight_migrations' LIMIT 1
