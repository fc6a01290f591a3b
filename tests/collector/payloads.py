"""Hand-made OTLP requests for the collector's tests."""

import itertools
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SECOND_NS = 1_000_000_000
_IDS = itertools.count(1)


def set_value(any_value: Any, value: object) -> None:
    """Write a Python value into an AnyValue; None leaves it unset."""
    match value:
        case None:
            pass
        case bool():
            any_value.bool_value = value
        case str():
            any_value.string_value = value
        case int():
            any_value.int_value = value
        case float():
            any_value.double_value = value
        case bytes():
            any_value.bytes_value = value
        case list():
            any_value.array_value.SetInParent()
            for element in value:
                set_value(any_value.array_value.values.add(), element)
        case dict():
            any_value.kvlist_value.SetInParent()
            for key, element in value.items():
                set_value(any_value.kvlist_value.values.add(key=key).value, element)
        case _:
            raise TypeError(type(value))


def add_attributes(attributes: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        pair = attributes.add(key=key)
        pair.value.SetInParent()
        set_value(pair.value, value)


def trace_request(
    now_unix_ns: int,
    *,
    service: str = "chat",
    spans: int = 1,
    attributes: dict[str, Any] | None = None,
    start_unix_ns: int | None = None,
    end_unix_ns: int | None = None,
) -> bytes:
    """Server spans of one second that ended just now, with ids that no other request of this process has."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    add_attributes(resource.resource.attributes, {"service.name": service})
    scope = resource.scope_spans.add()
    for _ in range(spans):
        number = next(_IDS)
        span = scope.spans.add(
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            name="llm_request",
            kind=2,
            start_time_unix_nano=now_unix_ns - SECOND_NS if start_unix_ns is None else start_unix_ns,
            end_time_unix_nano=now_unix_ns if end_unix_ns is None else end_unix_ns,
        )
        add_attributes(span.attributes, attributes or {})
    payload: bytes = request.SerializeToString()
    return payload


def gauge_request(time_unix_ns: int, *, metric: str = "queue_depth", points: int = 1) -> bytes:
    """Points of one gauge."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    add_attributes(resource.resource.attributes, {"service.name": "chat"})
    gauge = resource.scope_metrics.add().metrics.add(name=metric).gauge
    for number in range(points):
        point = gauge.data_points.add(time_unix_nano=time_unix_ns, as_double=float(number))
        add_attributes(point.attributes, {"number": number})
    payload: bytes = request.SerializeToString()
    return payload
