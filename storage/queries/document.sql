-- The newest version of one document.
SELECT document, updated_at FROM tailsight_documents FINAL WHERE kind = {kind:String} AND name = {name:String} LIMIT 1
