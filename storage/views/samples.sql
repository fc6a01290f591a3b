-- Absent is not zero: values without a recording (flag 1), not finite, or DCGM's blank sentinels never become samples.
CREATE MATERIALIZED VIEW tailsight_samples_{points}_mv TO tailsight_samples
AS SELECT
    lower(MetricName) AS metric,
    cityHash64(MetricName, ServiceName, ResourceAttributes['service.instance.id'], mapSort(Attributes)) AS series_id,
    toTimeZone(TimeUnix, 'UTC') AS time,
    Value AS value
FROM otel_metrics_{points}
WHERE bitAnd(Flags, 1) = 0 AND isFinite(Value) AND Value < 9.2e18 AND Value NOT IN (2147483632, 2147483633, 2147483634, 2147483635, 140737488355328, 140737488355329, 140737488355330, 140737488355331);
