"""OTLP export requests by hand: only what a test says is in them."""

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from storage.otlp import OTLP_TABLES
from tests.scenarios.otlp_doors import REQUEST_TYPES, to_json

SECOND_NS = 1_000_000_000
T0_S = 1_760_000_010  # a moment in October 2025, and the start of a 15 s bucket
T0_NS = T0_S * SECOND_NS
TRACE_ID, SPAN_ID = bytes.fromhex("0af7651916cd43dd8448eb211c80319c"), bytes.fromhex("b7ad6b7169203331")

_FIELDS = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """Key-value pairs; None is a value that is not set."""
    return [
        KeyValue(key=key, value=AnyValue() if value is None else AnyValue(**{_FIELDS[type(value)]: value}))
        for key, value in values.items()
    ]


def span(name: str = "generate", *, start_ns: int = T0_NS, duration_ns: int = SECOND_NS, **fields: Any) -> Span:
    """A root span; `attributes` may be a mapping."""
    fields["attributes"] = attributes(fields.get("attributes", {}))
    defaults = {"trace_id": bytes(range(16)), "span_id": bytes(range(8))}
    return Span(
        name=name, start_time_unix_nano=start_ns, end_time_unix_nano=start_ns + duration_ns, **(defaults | fields)
    )


def traces(*spans: Span, resource: Mapping[str, Any] | None = None, scope: InstrumentationScope | None = None) -> bytes:
    """An export request of one resource and one scope."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(attributes({"service.name": "chat"} if resource is None else resource))
    scope_spans = resource_spans.scope_spans.add()
    if scope is not None:
        scope_spans.scope.CopyFrom(scope)
    scope_spans.spans.extend(spans)
    payload: bytes = request.SerializeToString()
    return payload


def metrics(
    *metrics_: Metric,
    resource: Mapping[str, Any] | None = None,
    scope: InstrumentationScope | None = None,
    resource_schema_url: str = "",
    scope_schema_url: str = "",
) -> bytes:
    """An export request of one resource and one scope."""
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add(schema_url=resource_schema_url)
    resource_metrics.resource.attributes.extend(attributes({"service.name": "dcgm"} if resource is None else resource))
    scope_metrics = resource_metrics.scope_metrics.add(schema_url=scope_schema_url)
    if scope is not None:
        scope_metrics.scope.CopyFrom(scope)
    scope_metrics.metrics.extend(metrics_)
    payload: bytes = request.SerializeToString()
    return payload


def logs(
    *records: LogRecord,
    resource: Mapping[str, Any] | None = None,
    scope: InstrumentationScope | None = None,
    resource_schema_url: str = "",
    scope_schema_url: str = "",
) -> bytes:
    """An export request of one resource and one scope."""
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add(schema_url=resource_schema_url)
    resource_logs.resource.attributes.extend(attributes({"service.name": "chat"} if resource is None else resource))
    scope_logs = resource_logs.scope_logs.add(schema_url=scope_schema_url)
    if scope is not None:
        scope_logs.scope.CopyFrom(scope)
    scope_logs.log_records.extend(records)
    payload: bytes = request.SerializeToString()
    return payload


def record(body: Any = "hello", *, time_ns: int = T0_NS, **fields: Any) -> LogRecord:
    """A log record; `attributes` may be a mapping."""
    fields["attributes"] = attributes(fields.get("attributes", {}))
    (pair,) = attributes({"": body})
    return LogRecord(time_unix_nano=time_ns, body=pair.value, **fields)


def as_json(table: str, payload: bytes) -> bytes:
    """The same request as OTLP/JSON, as the store takes it: on a line of its own."""
    return to_json(REQUEST_TYPES[OTLP_TABLES[table]].FromString(payload)) + b"\n"


def point(value: float | None = None, *, time_ns: int = T0_NS, **fields: Any) -> NumberDataPoint:
    """A number; `attributes` may be a mapping, None leaves the value unset."""
    fields["attributes"] = attributes(fields.get("attributes", {}))
    if value is not None:
        fields["as_int" if isinstance(value, int) else "as_double"] = value
    return NumberDataPoint(time_unix_nano=time_ns, **fields)


def gauge(name: str, *points: NumberDataPoint, **fields: Any) -> Metric:
    metric = Metric(name=name, **fields)
    metric.gauge.data_points.extend(points)
    return metric


def counter(name: str, points: Iterable[NumberDataPoint], **fields: Any) -> Metric:
    """A cumulative, monotonic sum."""
    metric = Metric(name=name, **fields)
    metric.sum.aggregation_temporality = 2
    metric.sum.is_monotonic = True
    metric.sum.data_points.extend(points)
    return metric


def exemplar(**fields: Any) -> Exemplar:
    """A second after `T0_NS`, of the tenant acme."""
    return Exemplar(time_unix_nano=T0_NS + SECOND_NS, filtered_attributes=attributes({"tenant": "acme"}), **fields)


def histogram() -> Metric:
    """One delta point with every field set."""
    metric = Metric(name="http.server.duration", description="How long", unit="ms")
    metric.histogram.aggregation_temporality = 1
    metric.histogram.data_points.append(
        HistogramDataPoint(
            start_time_unix_nano=T0_NS - 60 * SECOND_NS,
            time_unix_nano=T0_NS,
            attributes=attributes({"route": "/v1"}),
            count=7,
            sum=42.5,
            bucket_counts=[1, 2, 4],
            explicit_bounds=[5.0, 10.0],
            min=0.5,
            max=12.25,
            flags=0,
            exemplars=[exemplar(as_double=12.25, trace_id=TRACE_ID, span_id=SPAN_ID)],
        )
    )
    return metric


def exponential_histogram() -> Metric:
    """One cumulative point with every field set; its exemplar belongs to no trace."""
    metric = Metric(name="ttft", unit="s")
    metric.exponential_histogram.aggregation_temporality = 2
    metric.exponential_histogram.data_points.append(
        ExponentialHistogramDataPoint(
            start_time_unix_nano=T0_NS - 60 * SECOND_NS,
            time_unix_nano=T0_NS,
            attributes=attributes({"model": "llama"}),
            count=9,
            sum=-1.5,
            scale=-2,
            zero_count=2,
            positive=ExponentialHistogramDataPoint.Buckets(offset=-3, bucket_counts=[1, 0, 300]),
            negative=ExponentialHistogramDataPoint.Buckets(offset=4, bucket_counts=[5]),
            min=-8.0,
            max=4.0,
            exemplars=[exemplar(as_int=-4)],
        )
    )
    return metric


def summary() -> Metric:
    """One point with two quantiles."""
    metric = Metric(name="rpc_duration_seconds")
    metric.summary.data_points.append(
        SummaryDataPoint(
            time_unix_nano=T0_NS,
            count=100,
            sum=25.0,
            quantile_values=[
                SummaryDataPoint.ValueAtQuantile(quantile=0.5, value=0.2),
                SummaryDataPoint.ValueAtQuantile(quantile=0.99, value=1.5),
            ],
        )
    )
    return metric


PAYLOADS: dict[str, bytes] = {
    "otel_traces": traces(span("a"), span("b", start_ns=T0_NS + SECOND_NS)),
    "otel_logs": logs(record("a"), record("b", time_ns=T0_NS + SECOND_NS)),
    "otel_metrics_gauge": metrics(gauge("DCGM_FI_DEV_GPU_UTIL", point(1.0), point(2.0, time_ns=T0_NS + SECOND_NS))),
    "otel_metrics_sum": metrics(counter("requests_total", [point(5), point(6, time_ns=T0_NS + SECOND_NS)])),
    "otel_metrics_histogram": metrics(histogram()),
    "otel_metrics_exponential_histogram": metrics(exponential_histogram()),
    "otel_metrics_summary": metrics(summary()),
}
"""A small payload for each upstream table that OTLP is loaded into."""
