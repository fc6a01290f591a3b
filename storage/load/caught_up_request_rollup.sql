-- What the rollup lacks of some 15 s: requests and their rollup are two commits, and a crash may come between them.
INSERT INTO tailsight_request_rollup
(
    time, service, tenant, model, version, replica, measure, bucket, requests, input_tokens, output_tokens
)
SELECT time, service, tenant, model, version, replica, measure, bucket,
    sum(counted.requests) AS requests, sum(counted.input_tokens) AS input_tokens, sum(counted.output_tokens) AS output_tokens
FROM
(
    SELECT time, service, tenant, model, version, replica, toString(measure) AS measure, bucket,
        toInt64(requests) AS requests, toInt64(input_tokens) AS input_tokens, toInt64(output_tokens) AS output_tokens
    FROM ({select})
    WHERE time IN {buckets:Array(DateTime('UTC'))}
    UNION ALL
    SELECT time, service, tenant, model, version, replica, toString(measure), bucket,
        -toInt64(requests), -toInt64(input_tokens), -toInt64(output_tokens)
    FROM tailsight_request_rollup
    WHERE time IN {buckets:Array(DateTime('UTC'))}
) AS counted
GROUP BY time, service, tenant, model, version, replica, measure, bucket
HAVING sum(counted.requests) > 0
