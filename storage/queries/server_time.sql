-- Seconds since 1970 by the clock that all who ask share.
SELECT toFloat64(now64(3)) AS now LIMIT 1
