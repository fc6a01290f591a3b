-- What protobuf tells in its own way: ids are bytes, and the member of a value that is set has a name.
    (id -> lower(hex(id))) AS id_text,
    (point -> if(point.value = 'asInt', toFloat64(point.asInt), point.asDouble)) AS number_value
