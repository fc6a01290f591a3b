-- The entity a series belongs to: the first label of each list that is not empty; else what the resource says.
-- A port is an adapter's (device and port), that of the adapter over a network interface (rdma_device and rdma_port), or
-- a switch's (switch and port, without a device): then the switch stands where else the node does. Labels are among what
-- is grouped by: they say the same of all rows of a group, and any() of a map costs as much as all the rest.
-- A series is told of once a quarter of an hour: to work out what it is costs ten times as much as to see that it is known.
-- So nothing was seen after its last_seen; when exactly it was seen last is told by tailsight_series_seen.
CREATE MATERIALIZED VIEW tailsight_series_{points}_mv TO tailsight_series
AS
SELECT
    lower(MetricName) AS metric,
    cityHash64(MetricName, ServiceName, {'service.instance.id' of ResourceAttributes}, arraySum(arrayMap(
        (name, text) -> cityHash64(name, text), mapKeys({all of Attributes}), mapValues({all of Attributes})))) AS series_id,
    ServiceName AS job,
    {'service.instance.id' of ResourceAttributes} AS instance,
    arrayFirst(text -> text != '', [
        if({'device' of Attributes} = '' AND {'port' of Attributes} != '', {'switch' of Attributes}, ''),
        {node_labels of Attributes},
        {node_attributes of ResourceAttributes},
        splitByChar(':', {'instance' of Attributes})[1],
        splitByChar(':', {'service.instance.id' of ResourceAttributes})[1]]) AS node,
    if({gpu_labels of Attributes} = '', '', concat({gpu_labels of Attributes}, if({'GPU_I_ID' of Attributes} = '', '', concat('/', {'GPU_I_ID' of Attributes})))) AS gpu,
    multiIf(
        {'rdma_device' of Attributes} != '', concat({'rdma_device' of Attributes}, '/', {'rdma_port' of Attributes}),
        {'port' of Attributes} = '', '',
        {'device' of Attributes} != '', concat({'device' of Attributes}, '/', {'port' of Attributes}),
        {'switch' of Attributes} != '', {'port' of Attributes},
        '') AS port,
    arrayFirst(text -> text != '', [{replica_labels of Attributes}, {'k8s.pod.name' of ResourceAttributes}]) AS replica,
    {service_labels of Attributes} AS service,
    {model_labels of Attributes} AS model,
    CAST(mapSort({all of Attributes}), 'Map(String, String)') AS attributes,
    minSimpleState(toTimeZone(toDateTime(TimeUnix), 'UTC')) AS first_seen,
    maxSimpleState(toStartOfFifteenMinutes(toTimeZone(toDateTime(TimeUnix), 'UTC')) + 900) AS last_seen
FROM otel_metrics_{points}
WHERE bitAnd({Flags or 0}, 1) = 0
    AND {AggregationTemporality or 0} != 1 -- sums only
    AND cityHash64(series_id, toStartOfFifteenMinutes(toTimeZone(toDateTime(TimeUnix), 'UTC')) + 900) NOT IN tailsight_series_known -- only: view
GROUP BY metric, series_id, job, instance, node, gpu, port, replica, service, model, attributes;
