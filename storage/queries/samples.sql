-- The last or the mean value of each step of some series, from the samples; a row a series and block of steps. NaN: no sample.
SELECT
    series_id,
    toDateTime64(toUInt32(toUnixTimestamp(samples.time) - toUnixTimestamp(samples.time) % {block_s:UInt32}), 6, 'UTC') AS time,
    if({value:String} = 'last',
        arrayMap((value, count) -> if(count = 0, nan, value),
            argMaxResample(0, {block_s:UInt32}, {step_s:UInt32})(samples.value, samples.time, toUnixTimestamp(samples.time) % {block_s:UInt32}),
            countResample(0, {block_s:UInt32}, {step_s:UInt32})(toUnixTimestamp(samples.time) % {block_s:UInt32})),
        avgResample(0, {block_s:UInt32}, {step_s:UInt32})(samples.value, toUnixTimestamp(samples.time) % {block_s:UInt32})) AS values
FROM tailsight_samples AS samples
WHERE metric IN {metrics:Array(String)} AND series_id IN {series_ids:Array(UInt64)}
    AND samples.time >= {start:DateTime64(6, 'UTC')} AND samples.time < {end:DateTime64(6, 'UTC')}
GROUP BY series_id, time
LIMIT 10000000
