-- A value of any type as text.
    (any -> multiIf(
        any.value = 'stringValue', any.stringValue,
        any.value = 'intValue', toString(any.intValue),
        any.value = 'doubleValue', number_text(any.doubleValue),
        any.value = 'boolValue', if(any.boolValue, 'true', 'false'),
        any.value = 'bytesValue', base64Encode(any.bytesValue),
        throwIf(any.value IN ('arrayValue', 'kvlistValue'), 'an array or a map is no text yet') = 0, '',
        '')) AS any_text
