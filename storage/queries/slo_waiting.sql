-- Minutes in which requests waited in the engines of a service: the greatest queue of each. An engine is the service's
-- when its series says so, or when its replica served a request of the service in the day before.
SELECT toDateTime64(toStartOfMinute(samples.time), 6, 'UTC') AS time, max(samples.value) AS waiting
FROM tailsight_samples AS samples
WHERE metric IN {metrics:Array(String)}
    AND samples.time >= {start:DateTime64(6, 'UTC')} AND samples.time < {end:DateTime64(6, 'UTC')}
    AND samples.value > 0 AND samples.value < 1e7
    AND series_id IN
    (
        SELECT series_id FROM tailsight_series
        WHERE metric IN {metrics:Array(String)} AND ({model:String} = '' OR model IN ('', {model:String}))
            AND (service = {service:String} OR replica IN
            (
                SELECT replica FROM tailsight_requests
                WHERE service = {service:String} AND replica != '' AND ({model:String} = '' OR model = {model:String})
                    AND time >= {start:DateTime64(6, 'UTC')} - INTERVAL 1 DAY AND time < {end:DateTime64(6, 'UTC')}
                    AND ({pool:String} = '' OR pool = {pool:String})
            ))
    )
GROUP BY time
ORDER BY time
LIMIT 1000000
