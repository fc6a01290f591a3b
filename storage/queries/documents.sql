-- The newest version of each document of a kind; of these names only where some are given.
SELECT name, document
FROM tailsight_documents FINAL
WHERE kind = {kind:String} AND document != '' AND (empty({names:Array(String)}) OR name IN {names:Array(String)})
ORDER BY name
LIMIT 100000
