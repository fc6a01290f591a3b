-- Percentiles over any window from the 15 s sketches, by the dimensions asked for; relative error 1 %.
SELECT
    toDateTime64(toStartOfInterval(time, toIntervalSecond({step_s:UInt32})), 6, 'UTC') AS time,
    if({by_model:Bool}, rollup.model, '') AS model,
    if({by_replica:Bool}, rollup.replica, '') AS replica,
    if({by_tenant:Bool}, rollup.tenant, '') AS tenant,
    if({by_version:Bool}, rollup.version, '') AS version,
    sum(rollup.requests) AS requests,
    sum(rollup.errors) AS errors,
    sum(rollup.ttft_requests) AS ttft_requests,
    sum(rollup.input_tokens) AS input_tokens,
    sum(rollup.output_tokens) AS output_tokens,
    quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(rollup.latency_ms) AS latency_ms,
    quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(rollup.ttft_ms) AS ttft_ms
FROM tailsight_request_rollup AS rollup
WHERE service = {service:String}
    AND rollup.time >= toStartOfInterval({start:DateTime64(6, 'UTC')}, toIntervalSecond(15))
    AND rollup.time < {end:DateTime64(6, 'UTC')}
GROUP BY time, model, replica, tenant, version
ORDER BY time, model, replica, tenant, version
LIMIT 200000
