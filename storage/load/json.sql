-- What OTLP/JSON tells in its own way: ids are hex already, and the member of a value that is set is the one not null.
    (id -> lower(id)) AS id_text,
    (point -> ifNull(toFloat64(point.asInt), ifNull(point.asDouble, 0))) AS number_value,
    (any -> ifNull(any.stringValue, ifNull(toString(any.intValue), multiIf(
        any.doubleValue IS NOT NULL, number_text(assumeNotNull(any.doubleValue)),
        any.boolValue IS NOT NULL, if(assumeNotNull(any.boolValue), 'true', 'false'),
        ifNull(any.bytesValue, ''))))) AS any_text
