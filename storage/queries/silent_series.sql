-- How many rows of series, one an entity that a series belonged to, were last seen before some time.
SELECT count() AS rows FROM tailsight_series WHERE last_seen < {before:DateTime64(6, 'UTC')} LIMIT 1
