-- The views that are there, whether or not it was noted that they were made.
SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView' LIMIT 1000
