-- The newest version of each document of a kind.
SELECT name, document
FROM tailsight_documents FINAL
WHERE kind = {kind:String} AND document != ''
ORDER BY name
LIMIT {limit:UInt32}
