-- One incident by its id.
SELECT id, document FROM tailsight_incidents FINAL WHERE id = {id:String} LIMIT 1
