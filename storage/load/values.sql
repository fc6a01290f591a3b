-- OTLP values as the text the upstream tables hold. Numbers as ECMAScript writes them (OpenTelemetry attribute mapping);
-- arrays and maps have become JSON text before the log (collector/composites.py).
    (number -> multiIf(
        isNaN(number), 'NaN',
        isInfinite(number), if(number > 0, 'Infinity', '-Infinity'),
        abs(number) >= 1e21, replaceOne(toString(number), 'e', 'e+'),
        toString(number))) AS number_text,
    (pairs -> CAST((pairs.key, arrayMap(any -> any_text(any), pairs.value)), 'Map(LowCardinality(String), String)'))
        AS attributes_map
