-- Shared by the load statements: OTLP values as the text the upstream tables hold. Numbers as ECMAScript writes them
-- (OpenTelemetry attribute mapping); arrays and maps have become JSON text before the log (collector/otlp.py).
    (number -> multiIf(
        isNaN(number), 'NaN',
        isInfinite(number), if(number > 0, 'Infinity', '-Infinity'),
        abs(number) >= 1e21, replaceOne(toString(number), 'e', 'e+'),
        toString(number))) AS number_text,
    (pairs -> CAST((pairs.key, arrayMap(any -> multiIf(
        any.value = 'string_value', any.string_value,
        any.value = 'int_value', toString(any.int_value),
        any.value = 'double_value', number_text(any.double_value),
        any.value = 'bool_value', if(any.bool_value = 1, 'true', 'false'),
        any.value = 'bytes_value', base64Encode(any.bytes_value),
        ''), pairs.value)), 'Map(LowCardinality(String), String)')) AS attributes_map,
    (nanoseconds -> fromUnixTimestamp64Nano(toInt64(nanoseconds))) AS time64,
    (nanoseconds -> toDateTime(intDiv(nanoseconds, 1000000000))) AS time32
