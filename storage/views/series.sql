-- The entity a series belongs to: the first label of each list that is not empty; else what the resource says.
-- A port is an adapter's (device and port), that of the adapter over a network interface (rdma_device and rdma_port), or
-- a switch's (switch and port, without a device): then the switch stands where else the node does. Labels are among what
-- is grouped by: they say the same of all rows of a group, and any() of a map costs as much as all the rest.
-- A series is told of once a quarter of an hour, so nothing was seen after its last_seen; when exactly it was seen last is
-- told by tailsight_series_seen.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_series_mv TO tailsight_series
AS
SELECT
    metric,
    series_id,
    job,
    {'service.instance.id' of resource} AS instance,
    arrayFirst(text -> text != '', [
        if({'device' of labels} = '' AND {'port' of labels} != '', {'switch' of labels}, ''),
        {node_labels of labels},
        {node_attributes of resource},
        splitByChar(':', {'instance' of labels})[1],
        splitByChar(':', {'service.instance.id' of resource})[1]]) AS node,
    if({gpu_labels of labels} = '', '', concat({gpu_labels of labels}, if({'GPU_I_ID' of labels} = '', '', concat('/', {'GPU_I_ID' of labels})))) AS gpu,
    multiIf(
        {'rdma_device' of labels} != '', concat({'rdma_device' of labels}, '/', {'rdma_port' of labels}),
        {'port' of labels} = '', '',
        {'device' of labels} != '', concat({'device' of labels}, '/', {'port' of labels}),
        {'switch' of labels} != '', {'port' of labels},
        '') AS port,
    arrayFirst(text -> text != '', [{replica_labels of labels}, {'k8s.pod.name' of resource}]) AS replica,
    {service_labels of labels} AS service,
    {model_labels of labels} AS model,
    CAST(mapSort(labels), 'Map(String, String)') AS attributes,
    minSimpleState(time) AS first_seen,
    maxSimpleState(toStartOfFifteenMinutes(time) + 900) AS last_seen
FROM tailsight_new_series
GROUP BY metric, series_id, job, instance, node, gpu, port, replica, service, model, attributes;
