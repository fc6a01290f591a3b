-- The entity a series belongs to: the first label of each list that is not empty; else what the resource says.
CREATE MATERIALIZED VIEW tailsight_series_{points}_mv TO tailsight_series
AS
SELECT
    lower(MetricName) AS metric,
    cityHash64(MetricName, ServiceName, ResourceAttributes['service.instance.id'], mapSort(Attributes)) AS series_id,
    ServiceName AS job,
    ResourceAttributes['service.instance.id'] AS instance,
    arrayFirst(text -> text != '', [
        {node_labels of Attributes},
        {node_attributes of ResourceAttributes},
        splitByChar(':', Attributes['instance'])[1],
        splitByChar(':', ResourceAttributes['service.instance.id'])[1]]) AS node,
    if(Attributes['UUID'] = '', '', concat(Attributes['UUID'], if(Attributes['GPU_I_ID'] = '', '', concat('/', Attributes['GPU_I_ID'])))) AS gpu,
    if(Attributes['device'] = '' OR Attributes['port'] = '', '', concat(Attributes['device'], '/', Attributes['port'])) AS port,
    arrayFirst(text -> text != '', [{replica_labels of Attributes}, ResourceAttributes['k8s.pod.name']]) AS replica,
    {service_labels of Attributes} AS service,
    {model_labels of Attributes} AS model,
    anySimpleState(CAST(Attributes, 'Map(String, String)')) AS attributes,
    minSimpleState(toTimeZone(TimeUnix, 'UTC')) AS first_seen,
    maxSimpleState(toTimeZone(TimeUnix, 'UTC')) AS last_seen
FROM otel_metrics_{points}
WHERE bitAnd(Flags, 1) = 0
GROUP BY metric, series_id, job, instance, node, gpu, port, replica, service, model;
