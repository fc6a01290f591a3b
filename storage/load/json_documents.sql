-- JSON documents, one a line. One that the engine's JSON functions cannot read is empty for them: that must not pass for
-- a request without items. An array of nothing but empty objects is an empty array here, as in `"links": [{}]`.
(
    SELECT JSONExtract(document, {name}, {type}) AS {column}
    FROM input('document String')
    WHERE NOT throwIf(empty({column}) AND NOT isValidJSON(document), 'a document is no JSON')
)
