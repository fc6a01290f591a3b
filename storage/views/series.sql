-- Series that were not told of yet in this quarter of an hour. Nearly all were, and to tell what a series is costs ten
-- times as much as to find that it is known. It is told now and then, not once, so that what is forgotten comes again.
CREATE MATERIALIZED VIEW tailsight_series_{points}_mv TO tailsight_new_series
AS SELECT
    lower(MetricName) AS metric,
    cityHash64(MetricName, ServiceName, {'service.instance.id' of ResourceAttributes}, arraySum(arrayMap(
        (name, text) -> cityHash64(name, text), mapKeys({all of Attributes}), mapValues({all of Attributes})))) AS series_id,
    toTimeZone(toDateTime(TimeUnix), 'UTC') AS time,
    ServiceName AS job,
    {all of ResourceAttributes} AS resource,
    {all of Attributes} AS labels
FROM otel_metrics_{points}
WHERE bitAnd({Flags or 0}, 1) = 0
    AND {AggregationTemporality or 0} != 1 -- sums only
    AND cityHash64(series_id, toStartOfFifteenMinutes(time)) NOT IN tailsight_series_known -- only: view
;
