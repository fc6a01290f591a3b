-- Incidents that were going on in the window, newest first.
SELECT id, document
FROM tailsight_incidents FINAL
WHERE started_at < {end:DateTime64(6, 'UTC')} AND ifNull(ended_at, {end:DateTime64(6, 'UTC')}) >= {start:DateTime64(6, 'UTC')}
    AND ({service:String} = '' OR service = {service:String} OR has(JSONExtract(document, 'services_affected', 'Array(String)'), {service:String}))
    AND ({status:String} = '' OR status = {status:String})
ORDER BY started_at DESC, id
LIMIT {limit:UInt64}
