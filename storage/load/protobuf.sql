-- What protobuf tells in its own way: ids are bytes, and the member of a value that is set has a name.
    (id -> lower(hex(id))) AS id_text,
    (point -> if(point.value = 'asInt', toFloat64(point.asInt), point.asDouble)) AS number_value,
    (any -> multiIf(
        any.value = 'stringValue', any.stringValue,
        any.value = 'intValue', toString(any.intValue),
        any.value = 'doubleValue', number_text(any.doubleValue),
        any.value = 'boolValue', if(any.boolValue, 'true', 'false'),
        any.value = 'bytesValue', base64Encode(any.bytesValue),
        throwIf(any.value IN ('arrayValue', 'kvlistValue'), 'an array or a map is no text yet') = 0, '',
        '')) AS any_text
