-- OTLP requests to log records, decoded by the engine. A record without a time bears the one it was observed at.
INSERT INTO otel_logs
(
    Timestamp, TraceId, SpanId, TraceFlags, SeverityText, SeverityNumber, ServiceName, Body,
    ResourceSchemaUrl, ResourceAttributes, ScopeSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, LogAttributes, EventName
)
WITH
    {functions}
SELECT
    time64(if(record.timeUnixNano = 0, record.observedTimeUnixNano, record.timeUnixNano)),
    id_text(record.traceId),
    id_text(record.spanId),
    toUInt8(bitAnd(record.flags, 255)),
    record.severityText,
    toUInt8(record.severityNumber),
    service_name,
    any_text(record.body),
    resource_schema_url,
    resource_attributes,
    scope_schema_url,
    scope_name,
    scope_version,
    scope_attributes,
    attributes_map(record.attributes),
    record.eventName
FROM
(
    SELECT resource_attributes, resource_schema_url, service_name,
        scope_logs.scope.name AS scope_name, scope_logs.scope.version AS scope_version,
        attributes_map(scope_logs.scope.attributes) AS scope_attributes, scope_logs.schemaUrl AS scope_schema_url,
        arrayJoin(scope_logs.logRecords) AS record
    FROM
    (
        SELECT attributes_map(resource_logs.resource.attributes) AS resource_attributes,
            resource_logs.schemaUrl AS resource_schema_url, resource_attributes['service.name'] AS service_name,
            arrayJoin(resource_logs.scopeLogs) AS scope_logs
        FROM (SELECT arrayJoin(resourceLogs) AS resource_logs FROM {source})
    )
)
