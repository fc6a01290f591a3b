-- The newest version of each weekly report that was kept, in a line, the newest week first.
SELECT
    name AS week,
    JSONExtractString(document, 'headline', 'state') AS state,
    JSONExtractString(document, 'read_at') AS read_at,
    JSONExtract(document, 'cost', 'cost_usd', 'Nullable(Float64)') AS cost_usd,
    JSONExtractUInt(document, 'incidents', 'count') AS incidents_count
FROM tailsight_documents FINAL
WHERE kind = {kind:String} AND document != ''
ORDER BY week DESC
LIMIT {limit:UInt32}
