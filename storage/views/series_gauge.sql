-- The entity a series belongs to: the first label of each list that is not empty; else what the resource says.
CREATE MATERIALIZED VIEW tailsight_series_gauge_mv TO tailsight_series
AS
WITH
    ((attributes, names) -> arrayFirst(text -> text != '', arrayMap(name -> attributes[name], names))) AS first_of
SELECT
    lower(MetricName) AS metric,
    cityHash64(MetricName, ServiceName, ResourceAttributes['service.instance.id'], mapSort(Attributes)) AS series_id,
    ServiceName AS job,
    ResourceAttributes['service.instance.id'] AS instance,
    arrayFirst(text -> text != '', [
        first_of(Attributes, {node_labels}),
        first_of(ResourceAttributes, {node_attributes}),
        splitByChar(':', first_of(Attributes, ['instance']))[1],
        splitByChar(':', ResourceAttributes['service.instance.id'])[1]]) AS node,
    if(Attributes['UUID'] = '', '', concat(Attributes['UUID'], if(Attributes['GPU_I_ID'] = '', '', concat('/', Attributes['GPU_I_ID'])))) AS gpu,
    if(Attributes['device'] = '' OR Attributes['port'] = '', '', concat(Attributes['device'], '/', Attributes['port'])) AS port,
    arrayFirst(text -> text != '', [first_of(Attributes, {replica_labels}), first_of(ResourceAttributes, ['k8s.pod.name'])]) AS replica,
    first_of(Attributes, {service_labels}) AS service,
    first_of(Attributes, {model_labels}) AS model,
    anySimpleState(CAST(Attributes, 'Map(String, String)')) AS attributes,
    minSimpleState(toTimeZone(TimeUnix, 'UTC')) AS first_seen,
    maxSimpleState(toTimeZone(TimeUnix, 'UTC')) AS last_seen
FROM otel_metrics_gauge
WHERE bitAnd(Flags, 1) = 0
GROUP BY metric, series_id, job, instance, node, gpu, port, replica, service, model;
