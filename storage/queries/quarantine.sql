-- What could not be stored as it came, newest first.
SELECT received_at AS time, signal, reason, segment, count, substring(detail, 1, 2000) AS detail
FROM tailsight_quarantine
WHERE received_at >= {start:DateTime64(6, 'UTC')} AND received_at < {end:DateTime64(6, 'UTC')}
ORDER BY received_at DESC, segment
LIMIT {limit:UInt32}
