"""A slow, obvious OTLP decoder: what each upstream table must hold for a request, column by column.

Independent of the product: no SQL, no shortcut. The rules are those of the OpenTelemetry Collector's ClickHouse
exporter. Times are Unix nanoseconds for spans and log records and Unix seconds for metrics, as the tables keep them;
NaN is the text "nan".
"""

import base64
import math
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Row = dict[str, Any]

KINDS = {1: "Internal", 2: "Server", 3: "Client", 4: "Producer", 5: "Consumer"}
STATUS_CODES = {1: "Ok", 2: "Error"}
SECOND_NS = 1_000_000_000


def trace_rows(payload: bytes) -> list[Row]:
    """The rows of otel_traces."""
    rows: list[Row] = []
    for resource_spans in ExportTraceServiceRequest.FromString(payload).resource_spans:
        resource = attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                rows.append(  # noqa: PERF401  # nested loops read plainer
                    {
                        "Timestamp": span.start_time_unix_nano,
                        "TraceId": span.trace_id.hex(),
                        "SpanId": span.span_id.hex(),
                        "ParentSpanId": span.parent_span_id.hex(),
                        "TraceState": span.trace_state,
                        "SpanName": span.name,
                        "SpanKind": KINDS.get(span.kind, "Unspecified"),
                        "ServiceName": resource.get("service.name", ""),
                        "ResourceAttributes": resource,
                        "ScopeName": scope_spans.scope.name,
                        "ScopeVersion": scope_spans.scope.version,
                        "SpanAttributes": attributes(span.attributes),
                        "Duration": max(0, span.end_time_unix_nano - span.start_time_unix_nano),
                        "StatusCode": STATUS_CODES.get(span.status.code, "Unset"),
                        "StatusMessage": span.status.message,
                        "Events.Timestamp": [event.time_unix_nano for event in span.events],
                        "Events.Name": [event.name for event in span.events],
                        "Events.Attributes": [attributes(event.attributes) for event in span.events],
                        "Links.TraceId": [link.trace_id.hex() for link in span.links],
                        "Links.SpanId": [link.span_id.hex() for link in span.links],
                        "Links.TraceState": [link.trace_state for link in span.links],
                        "Links.Attributes": [attributes(link.attributes) for link in span.links],
                    }
                )
    return rows


def log_rows(payload: bytes) -> list[Row]:
    """The rows of otel_logs."""
    rows: list[Row] = []
    for resource_logs in ExportLogsServiceRequest.FromString(payload).resource_logs:
        resource = attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                rows.append(  # noqa: PERF401  # nested loops read plainer
                    {
                        "Timestamp": record.time_unix_nano or record.observed_time_unix_nano,
                        "TraceId": record.trace_id.hex(),
                        "SpanId": record.span_id.hex(),
                        "TraceFlags": record.flags & 0xFF,
                        "SeverityText": record.severity_text,
                        "SeverityNumber": record.severity_number % 256,
                        "ServiceName": resource.get("service.name", ""),
                        "Body": text(record.body),
                        "ResourceSchemaUrl": resource_logs.schema_url,
                        "ResourceAttributes": resource,
                        "ScopeSchemaUrl": scope_logs.schema_url,
                        "ScopeName": scope_logs.scope.name,
                        "ScopeVersion": scope_logs.scope.version,
                        "ScopeAttributes": attributes(scope_logs.scope.attributes),
                        "LogAttributes": attributes(record.attributes),
                        "EventName": record.event_name,
                    }
                )
    return rows


def metric_rows(payload: bytes) -> dict[str, list[Row]]:
    """The rows of each otel_metrics_* table, by table; tables without any are left out."""
    tables: dict[str, list[Row]] = {}
    for resource_metrics in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                data = getattr(metric, kind)
                for point in data.data_points:
                    row = common_columns(resource_metrics, scope_metrics, metric, point)
                    row |= OWN_COLUMNS[kind](data, point)
                    if kind != "summary":
                        row |= exemplar_columns(point)
                    tables.setdefault(f"otel_metrics_{kind}", []).append(row)
    return tables


def common_columns(resource_metrics: Any, scope_metrics: Any, metric: Any, point: Any) -> Row:
    resource = attributes(resource_metrics.resource.attributes)
    return {
        "ResourceAttributes": resource,
        "ResourceSchemaUrl": resource_metrics.schema_url,
        "ScopeName": scope_metrics.scope.name,
        "ScopeVersion": scope_metrics.scope.version,
        "ScopeAttributes": attributes(scope_metrics.scope.attributes),
        "ScopeDroppedAttrCount": scope_metrics.scope.dropped_attributes_count,
        "ScopeSchemaUrl": scope_metrics.schema_url,
        "ServiceName": resource.get("service.name", ""),
        "MetricName": metric.name,
        "MetricDescription": metric.description,
        "MetricUnit": metric.unit,
        "Attributes": attributes(point.attributes),
        "StartTimeUnix": point.start_time_unix_nano // SECOND_NS,
        "TimeUnix": point.time_unix_nano // SECOND_NS,
        "Flags": point.flags,
    }


def gauge_columns(_data: Any, point: Any) -> Row:
    return {"Value": number_value(point)}


def sum_columns(data: Any, point: Any) -> Row:
    return {
        "Value": number_value(point),
        "AggregationTemporality": data.aggregation_temporality,
        "IsMonotonic": data.is_monotonic,
    }


def histogram_columns(data: Any, point: Any) -> Row:
    return {
        "Count": point.count,
        "Sum": double(point.sum),
        "BucketCounts": list(point.bucket_counts),
        "ExplicitBounds": [double(bound) for bound in point.explicit_bounds],
        "Min": double(point.min),
        "Max": double(point.max),
        "AggregationTemporality": data.aggregation_temporality,
    }


def exponential_histogram_columns(data: Any, point: Any) -> Row:
    return {
        "Count": point.count,
        "Sum": double(point.sum),
        "Scale": point.scale,
        "ZeroCount": point.zero_count,
        "PositiveOffset": point.positive.offset,
        "PositiveBucketCounts": list(point.positive.bucket_counts),
        "NegativeOffset": point.negative.offset,
        "NegativeBucketCounts": list(point.negative.bucket_counts),
        "Min": double(point.min),
        "Max": double(point.max),
        "AggregationTemporality": data.aggregation_temporality,
    }


def summary_columns(_data: Any, point: Any) -> Row:
    return {
        "Count": point.count,
        "Sum": double(point.sum),
        "ValueAtQuantiles.Quantile": [double(value.quantile) for value in point.quantile_values],
        "ValueAtQuantiles.Value": [double(value.value) for value in point.quantile_values],
    }


OWN_COLUMNS = {
    "gauge": gauge_columns,
    "sum": sum_columns,
    "histogram": histogram_columns,
    "exponential_histogram": exponential_histogram_columns,
    "summary": summary_columns,
}


def exemplar_columns(point: Any) -> Row:
    exemplars = point.exemplars
    return {
        "Exemplars.FilteredAttributes": [attributes(exemplar.filtered_attributes) for exemplar in exemplars],
        "Exemplars.TimeUnix": [exemplar.time_unix_nano // SECOND_NS for exemplar in exemplars],
        "Exemplars.Value": [number_value(exemplar) for exemplar in exemplars],
        "Exemplars.SpanId": [exemplar.span_id.hex() or "0" * 16 for exemplar in exemplars],
        "Exemplars.TraceId": [exemplar.trace_id.hex() or "0" * 32 for exemplar in exemplars],
    }


def number_value(point: Any) -> float | str:
    kind = point.WhichOneof("value")
    return 0.0 if kind is None else double(float(getattr(point, kind)))


def double(number: float) -> float | str:
    if math.isnan(number):
        return "nan"
    return number if math.isfinite(number) else ("inf" if number > 0 else "-inf")


def attributes(pairs: Any) -> dict[str, str]:
    return {pair.key: text(pair.value) for pair in pairs}


def text(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    content = getattr(value, kind)
    if kind == "string_value":
        return str(content)
    if kind == "bytes_value":
        return base64.b64encode(content).decode()
    return json_text(value)


def json_text(value: Any) -> str:  # noqa: PLR0911  # a line for each kind is the plainest
    kind = value.WhichOneof("value")
    if kind is None:
        return "null"
    content = getattr(value, kind)
    if kind == "string_value":
        return quoted(content)
    if kind == "bool_value":
        return str(content).lower()
    if kind == "int_value":
        return str(content)
    if kind == "double_value":
        return ecmascript(content)
    if kind == "bytes_value":
        return quoted(base64.b64encode(content).decode())
    if kind == "array_value":
        return "[" + ",".join(nested(element) for element in content.values) + "]"
    members = {pair.key: nested(pair.value) for pair in content.values}
    return "{" + ",".join(quoted(key) + ":" + members[key] for key in sorted(members)) + "}"


def nested(value: Any) -> str:
    """JSON has no number for these; they are texts inside an array or a map."""
    written = json_text(value)
    return quoted(written) if written in ("NaN", "Infinity", "-Infinity") else written


def quoted(content: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
    written = ""
    for character in content:
        if character in escapes:
            written += escapes[character]
        elif character < " " or character in "\u2028\u2029":
            written += f"\\u{ord(character):04x}"
        else:
            written += character
    return f'"{written}"'


def ecmascript(number: float) -> str:  # noqa: PLR0911  # a line for each step of the standard
    """Number::toString of ECMA-262, step by step; the sign of -0 is kept, as Go and ClickHouse keep it."""
    if math.isnan(number):
        return "NaN"
    if number < 0 or math.copysign(1, number) < 0:
        return "-" + ecmascript(-number)
    if math.isinf(number):
        return "Infinity"
    if number == 0:
        return "0"
    s, n = shortest_digits(number)
    k = len(s)
    if k <= n <= 21:
        return s + "0" * (n - k)
    if 0 < n <= 21:
        return s[:n] + "." + s[n:]
    if -6 < n <= 0:
        return "0." + "0" * -n + s
    sign = "+" if n - 1 > 0 else "-"
    return s[0] + ("." + s[1:] if k > 1 else "") + "e" + sign + str(abs(n - 1))


def shortest_digits(number: float) -> tuple[str, int]:
    """The fewest digits s for which 0.s times 10^n is this number and no other; the closest, of two the even one."""
    with localcontext(prec=1200):  # a double has at most 1,075 digits
        return exact_shortest_digits(Decimal(number), number)


def exact_shortest_digits(exact: Decimal, number: float) -> tuple[str, int]:
    n = exact.adjusted() + 1
    for k in range(1, 18):
        unit = Decimal(10) ** (n - k)
        below = (exact / unit).to_integral_value(ROUND_FLOOR)
        candidates = [digits for digits in (below, below + 1) if float(digits * unit) == number]
        if candidates:
            digits = min(candidates, key=lambda digits: (abs(digits * unit - exact), digits % 2))
            written = str(int(digits))
            return written.rstrip("0"), n + len(written) - k
    raise AssertionError(f"17 digits are always enough, not for {number!r}")
