-- What a point's exemplars are, in the order of `Exemplars.*` (storage/otlp.py).
    arrayMap(attributes -> attributes_map(attributes), point.exemplars.filteredAttributes),
    arrayMap(time -> time32(time), point.exemplars.timeUnixNano),
    arrayMap(exemplar -> number_value(exemplar), point.exemplars),
    arrayMap(id -> if(id = '', '0000000000000000', id_text(id)), point.exemplars.spanId),
    arrayMap(id -> if(id = '', '00000000000000000000000000000000', id_text(id)), point.exemplars.traceId)
