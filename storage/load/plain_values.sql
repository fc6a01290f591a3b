-- The counterpart of values.sql where all values are texts.
    (pairs -> CAST((pairs.key, pairs.value.stringValue), 'Map(LowCardinality(String), String)')) AS attributes_map
