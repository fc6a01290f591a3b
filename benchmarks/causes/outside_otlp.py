"""Spans and series of the outsider's sites as OTLP export requests."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

Attribute = str | int | float
_SPANS_A_REQUEST = 8_000


@dataclass(frozen=True, slots=True)
class Series:
    """One time series: `time_s` (unix seconds, shape n) and `values` (shape n) of one metric with one set of labels."""

    metric: str
    kind: Literal["gauge", "counter"]
    job: str
    instance: str
    labels: Mapping[str, str]
    time_s: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One span; times in unix seconds, `resource` the attributes of who sent it."""

    resource: tuple[tuple[str, str], ...]
    scope: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: "Span.SpanKind.ValueType"
    began_s: float
    ended_s: float
    attributes: Sequence[tuple[str, Attribute]]
    error: str = ""


def metrics_request(series: Iterable[Series]) -> bytes:
    """An ExportMetricsServiceRequest, as a Collector's Prometheus receiver sends one for each target."""
    request = ExportMetricsServiceRequest()
    targets: dict[tuple[str, str], Any] = {}
    metrics: dict[tuple[str, str, str], Any] = {}
    for one in series:
        target = (one.job, one.instance)
        if target not in targets:
            resource = request.resource_metrics.add()
            resource.resource.attributes.extend(
                [_attribute("service.name", one.job), _attribute("service.instance.id", one.instance)]
            )
            targets[target] = resource.scope_metrics.add()
            targets[target].scope.name = "prometheusreceiver"
        key = (*target, one.metric)
        if key not in metrics:
            metrics[key] = targets[target].metrics.add(name=one.metric)
        data = metrics[key].gauge if one.kind == "gauge" else metrics[key].sum
        if one.kind == "counter":
            data.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            data.is_monotonic = True
        data.MergeFromString(_points(one))
    return bytes(request.SerializeToString())


def _points(series: Series) -> bytes:
    """The data points of a series, as field 1 of a Gauge or Sum.

    A hundred thousand messages built one by one cost seconds. The points of a series differ in sixteen bytes only, so
    the array is laid out as protobuf lays it out: field 3 (fixed64 time), field 4 (double value), field 7 (labels).
    """
    labels = NumberDataPoint(attributes=[_attribute(name, value) for name, value in series.labels.items()])
    tail = labels.SerializeToString()
    head = b"\x0a" + _varint(18 + len(tail))
    layout = np.dtype(
        [
            ("head", f"V{len(head)}"),
            ("t", "V1"),
            ("time", "<u8"),
            ("v", "V1"),
            ("value", "<f8"),
            ("tail", f"V{len(tail)}"),
        ]
        if tail
        else [("head", f"V{len(head)}"), ("t", "V1"), ("time", "<u8"), ("v", "V1"), ("value", "<f8")]
    )
    points = np.empty(len(series.values), layout)
    points["head"] = np.void(head)
    points["t"] = np.void(b"\x19")
    points["time"] = (series.time_s * 1000).round().astype(np.uint64) * 1_000_000
    points["v"] = np.void(b"\x21")
    points["value"] = series.values
    if tail:
        points["tail"] = np.void(tail)
    return points.tobytes()


def spans_requests(rows: Iterable[SpanRow]) -> bytes:
    """ExportTraceServiceRequests one after the other, which are one valid request."""
    written: list[bytes] = []
    request, scopes = ExportTraceServiceRequest(), {}
    for count, row in enumerate(rows, 1):
        key = (row.resource, row.scope)
        if key not in scopes:
            sender = request.resource_spans.add()
            sender.resource.attributes.extend(_attribute(name, value) for name, value in row.resource)
            scopes[key] = sender.scope_spans.add()
            scopes[key].scope.name = row.scope
        _add_span(scopes[key], row)
        if count % _SPANS_A_REQUEST == 0:
            written.append(request.SerializeToString())
            request, scopes = ExportTraceServiceRequest(), {}
    written.append(request.SerializeToString())
    return b"".join(written)


def _add_span(scope: ScopeSpans, row: SpanRow) -> None:
    scope.spans.add(
        trace_id=row.trace_id,
        span_id=row.span_id,
        parent_span_id=row.parent_id,
        name=row.name,
        kind=row.kind,
        start_time_unix_nano=int(row.began_s * 1e6) * 1000,
        end_time_unix_nano=int(row.ended_s * 1e6) * 1000,
        attributes=[_attribute(name, value) for name, value in row.attributes],
        status=Status(code=Status.STATUS_CODE_ERROR, message=row.error) if row.error else None,
    )


def _attribute(name: str, value: Attribute) -> KeyValue:
    if isinstance(value, str):
        return _text_attribute(name, value)
    if isinstance(value, int):
        return KeyValue(key=name, value=AnyValue(int_value=value))
    return KeyValue(key=name, value=AnyValue(double_value=value))


@lru_cache(maxsize=10_000)
def _text_attribute(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=value))


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return struct.pack(f"{len(parts) + 1}B", *parts, value)
