-- The same from the rollup by minute, of whole hours that it holds all samples of; steps are minutes that divide the hour.
WITH
    toUInt8({step_s:UInt32} / 60) AS minutes,
    range(1, 61, minutes) AS firsts,
    arrayMap((mean, count) -> if(count = 0, 0, mean * count), mean, count) AS sums
SELECT
    series_id,
    toDateTime64(hour, 6, 'UTC') AS time,
    multiIf(
        {value:String} = 'last' AND minutes = 1, last,
        {value:String} = 'last', arrayMap(first -> if(arraySum(arraySlice(count, first, minutes)) = 0, nan,
            arrayLast(value -> NOT isNaN(value), arraySlice(last, first, minutes))), firsts),
        minutes = 1, mean,
        arrayMap(first -> arraySum(arraySlice(sums, first, minutes)) / arraySum(arraySlice(count, first, minutes)), firsts)) AS values
FROM tailsight_signal_rollup FINAL
WHERE metric IN {metrics:Array(String)} AND series_id IN {series_ids:Array(UInt64)} AND hour IN {hours:Array(DateTime('UTC'))}
LIMIT 10000000
