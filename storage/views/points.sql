-- The points of series, each with the hash of its labels, however the table that they are read from writes them.
-- A series is told by the sum of its labels' hashes: labels come in any order, and sorting them costs a fifth of the view.
-- Who sends no service.instance.id is told apart by the whole resource (OpenTelemetry metrics data model, "Timeseries
-- model"): pods, hosts, or the processes of one.
-- Absent is not zero: a value without a recording (flag 1) is no point. Nor is a delta (temporality 1): a rate is told
-- from the rise of a counter, and of deltas it would be nonsense.
CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_points_{points}_mv TO tailsight_points
AS SELECT
    lower(MetricName) AS metric,
    cityHash64(
        MetricName,
        ServiceName,
        if({'service.instance.id' of ResourceAttributes} != '', {'service.instance.id' of ResourceAttributes}, toString(arraySum(arrayMap(
            (name, text) -> cityHash64(name, text), mapKeys({all of ResourceAttributes}), mapValues({all of ResourceAttributes}))))),
        arraySum(arrayMap(
            (name, text) -> cityHash64(name, text), mapKeys({all of Attributes}), mapValues({all of Attributes})))) AS series_id,
    ServiceName AS job,
    {all of ResourceAttributes} AS resource,
    {all of Attributes} AS labels,
    toTimeZone(toDateTime(TimeUnix), 'UTC') AS time,
    Value AS value
FROM otel_metrics_{points}
WHERE bitAnd({Flags or 0}, 1) = 0
    AND {AggregationTemporality or 0} != 1 -- sums only
;
