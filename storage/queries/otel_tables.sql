-- The tables with upstream names in this database, with what tells ours: the comments and the settings of our schema.
SELECT
    tables.name AS name,
    toBool(max(columns.comment IN ('start of the span', 'first span of the trace in one insert', 'the labels of the data point'))) AS has_comments,
    toBool(any(tables.engine_full LIKE '%non_replicated_deduplication_window = 1000%')) AS has_window
FROM system.tables AS tables
INNER JOIN system.columns AS columns ON columns.database = tables.database AND columns.table = tables.name
WHERE tables.database = currentDatabase() AND columns.database = currentDatabase()
    AND replaceRegexpOne(tables.name, '^tailsight_', '') IN (
        'otel_traces', 'otel_traces_trace_id_ts', 'otel_logs', 'otel_metrics_gauge', 'otel_metrics_sum',
        'otel_metrics_histogram', 'otel_metrics_exponential_histogram', 'otel_metrics_summary')
GROUP BY name
LIMIT 100
