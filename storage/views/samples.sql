-- A series is told by the sum of its labels' hashes: labels come in any order, and sorting them costs a fifth of the view.
-- Absent is not zero: values without a recording (flag 1), not finite, or DCGM's blank sentinels never become samples.
-- Nor does a delta (temporality 1): a rate is told from the rise of a counter, and of deltas it would be nonsense.
-- The scraper (collector/exposition.py) has the same rule: 2^62 and more is nothing that a source has counted, and the
-- smaller blanks, just below 2^31 and from 2^47 on, are blanks in DCGM's metrics only: elsewhere they are numbers.
CREATE MATERIALIZED VIEW tailsight_samples_{points}_mv TO tailsight_samples
AS SELECT
    lower(MetricName) AS metric,
    cityHash64(MetricName, ServiceName, {'service.instance.id' of ResourceAttributes}, arraySum(arrayMap(
        (name, text) -> cityHash64(name, text), mapKeys({all of Attributes}), mapValues({all of Attributes})))) AS series_id,
    toTimeZone(toDateTime(TimeUnix), 'UTC') AS time,
    Value AS value
FROM otel_metrics_{points}
WHERE bitAnd({Flags or 0}, 1) = 0
    AND {AggregationTemporality or 0} != 1 -- sums only
    AND isFinite(Value)
    AND Value < 4611686018427387904
    AND NOT (
        startsWith(lower(MetricName), 'dcgm_')
        AND Value IN (
            2147483632, 2147483633, 2147483634, 2147483635,
            140737488355328, 140737488355329, 140737488355330, 140737488355331
        )
    );
