-- Which migration steps were run.
SELECT name, checksum FROM tailsight_migrations FINAL LIMIT 1000
