-- How many requests succeeded within their promised times, and for how many users, by the dimensions asked for. A time
-- that nobody promised (0) is kept by all; one that is promised and not known is not kept. A single token has no pace.
SELECT
    if({by_service:Bool}, requests.service, '') AS service,
    if({by_model:Bool}, requests.model, '') AS model,
    if({by_tenant:Bool}, requests.tenant, '') AS tenant,
    if({by_version:Bool}, requests.version, '') AS version,
    if({by_pool:Bool}, requests.pool, '') AS pool,
    count() AS requests,
    countIf(NOT is_error
        AND (ttft_max = 0 OR ifNull(ttft_ms <= ttft_max, false))
        AND (latency_max = 0 OR latency_ms <= latency_max)
        AND (tpot_max = 0 OR ifNull(output_tokens, 0) < 2 OR ifNull({tpot_ms} <= tpot_max, false))) AS good,
    countIf(is_error) AS errors,
    uniqExactIf(requests.user, requests.user != '') AS users
FROM
(
    SELECT *,
        {ttft_ms:Array(Float64)}[indexOf({services:Array(String)}, service)] AS ttft_max,
        {latency_ms:Array(Float64)}[indexOf({services:Array(String)}, service)] AS latency_max,
        {tpot_ms:Array(Float64)}[indexOf({services:Array(String)}, service)] AS tpot_max
    FROM tailsight_requests
    WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
        AND toStartOfHour(time) NOT IN {left_out:Array(DateTime('UTC'))}
) AS requests
GROUP BY service, model, tenant, version, pool
ORDER BY requests DESC
LIMIT 2000000
