-- Times of the tables: nanoseconds of spans and log records, seconds of data points.
    (nanoseconds -> fromUnixTimestamp64Nano(toInt64(nanoseconds))) AS time64,
    (nanoseconds -> toDateTime(intDiv(nanoseconds, 1000000000))) AS time32
