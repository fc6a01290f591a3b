-- Percentiles over any window from the 15 s buckets, by the dimensions asked for; relative error at most 1 %.
-- Of some models, or of all when none is named.
SELECT
    toDateTime64(toStartOfInterval(time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    if({by_model:Bool}, rollup.model, '') AS model,
    if({by_replica:Bool}, rollup.replica, '') AS replica,
    if({by_tenant:Bool}, rollup.tenant, '') AS tenant,
    if({by_version:Bool}, rollup.version, '') AS version,
    sumIf(rollup.requests, measure != 'ttft') AS requests,
    sumIf(rollup.requests, measure = 'error') AS errors,
    sumIf(rollup.requests, measure = 'ttft') AS ttft_requests,
    sum(rollup.input_tokens) AS input_tokens,
    sum(rollup.output_tokens) AS output_tokens,
    if(requests = errors, [], arrayMap(bucket -> exp2((bucket + 0.5) / 36),
        quantilesExactWeightedIf(0.5, 0.95, 0.99)(bucket, rollup.requests, measure = 'latency'))) AS latency_ms,
    if(ttft_requests = 0, [], arrayMap(bucket -> exp2((bucket + 0.5) / 36),
        quantilesExactWeightedIf(0.5, 0.95, 0.99)(bucket, rollup.requests, measure = 'ttft'))) AS ttft_ms
FROM tailsight_request_rollup AS rollup
WHERE service = {service:String}
    AND (empty({models:Array(String)}) OR rollup.model IN {models:Array(String)})
    AND rollup.time >= toStartOfInterval({start:DateTime64(6, 'UTC')}, toIntervalSecond(15))
    AND rollup.time < {end:DateTime64(6, 'UTC')}
GROUP BY time, model, replica, tenant, version
ORDER BY time, model, replica, tenant, version
LIMIT 200000
