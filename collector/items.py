"""A checked request taken apart into requests of one span, data point or log record each.

Seldom needed, and slow (tens of microseconds an item): for a request that the engine refuses, to find the item at
fault, and for one whose items lie many days apart.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from storage.otlp import Encoding

_REQUESTS: Mapping[str, Any] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
# Request, resource and scope each hold the next as a list of this name.
_LISTS: Mapping[str, tuple[str, str, str]] = {
    "traces": ("resource_spans", "scope_spans", "spans"),
    "metrics": ("resource_metrics", "scope_metrics", "metrics"),
    "logs": ("resource_logs", "scope_logs", "log_records"),
}
# In all signals the resources are field 1 of the request, the scopes field 2 of a resource, the items field 2 of a
# scope; the points are field 1 of each kind of metric.
_RESOURCES, _SCOPES, _ITEMS, _POINTS = 1, 2, 2, 1
# What an item's partition is made from: the first that is set.
_TIMES: Mapping[str, tuple[str, ...]] = {
    "traces": ("start_time_unix_nano",),
    "metrics": ("time_unix_nano",),
    "logs": ("time_unix_nano", "observed_time_unix_nano"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One span, data point or log record: its time (Unix nanoseconds) and a request that holds nothing else."""

    time_unix_ns: int
    payload: bytes


def items_apart(signal: str, encoding: Encoding, table: str, payload: bytes) -> list[Item]:
    """The items of a request that go to an upstream table, in their order; none when it cannot be taken apart."""
    kind = table.removeprefix("otel_metrics_")
    try:
        return list(_READERS[encoding](signal, kind, payload))
    except (DecodeError, ValueError, TypeError, AttributeError, RecursionError):  # it is not what it claims to be
        return []


def _protobuf_items(signal: str, kind: str, payload: bytes) -> Iterator[Item]:
    resources, scopes, items = _LISTS[signal]
    for resource in getattr(_REQUESTS[signal].FromString(payload), resources):
        resource_rest = _without(resource, scopes)
        for scope in getattr(resource, scopes):
            scope_rest = _without(scope, items)
            members = (
                _point_metrics(scope.metrics, kind) if signal == "metrics" else _whole(signal, getattr(scope, items))
            )
            for time_unix_ns, item in members:
                of_scope = _field(_SCOPES, scope_rest + _field(_ITEMS, item))
                yield Item(time_unix_ns, _field(_RESOURCES, resource_rest + of_scope))


def _whole(signal: str, items: Any) -> Iterator[tuple[int, bytes]]:
    for item in items:
        yield _first(getattr(item, name) for name in _TIMES[signal]), item.SerializeToString()


def _point_metrics(metrics: Any, kind: str) -> Iterator[tuple[int, bytes]]:
    """Each data point of that kind as a metric of its own."""
    for metric in metrics:
        if metric.WhichOneof("data") != kind:
            continue
        data = getattr(metric, kind)
        metric_rest, data_rest = _without(metric, kind), _without(data, "data_points")
        number = metric.DESCRIPTOR.fields_by_name[kind].number
        for point in data.data_points:
            one = _field(number, data_rest + _field(_POINTS, point.SerializeToString()))
            yield point.time_unix_nano, metric_rest + one


def _without(message: Any, name: str) -> bytes:
    """The encoded message without one of its fields."""
    rest = type(message)()
    rest.CopyFrom(message)
    rest.ClearField(name)
    encoded: bytes = rest.SerializeToString()
    return encoded


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field: https://protobuf.dev/programming-guides/encoding/#length-types."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _json_items(signal: str, kind: str, payload: bytes) -> Iterator[Item]:
    resources, scopes, items = (_camel_case(name) for name in _LISTS[signal])
    points = _camel_case(kind)
    for resource in json.loads(payload).get(resources) or ():
        for scope in resource.get(scopes) or ():
            members: Iterator[dict[str, Any]] = iter(scope.get(items) or ())
            if signal == "metrics":
                members = chain.from_iterable(_json_point_metrics(metric, points) for metric in members)
            for member in members:
                request = {resources: [{**resource, scopes: [{**scope, items: [member]}]}]}
                timed = member[points]["dataPoints"][0] if signal == "metrics" else member
                time_unix_ns = _first(int(timed.get(_camel_case(name)) or 0) for name in _TIMES[signal])
                line = json.dumps(request, separators=(",", ":")) + "\n"
                yield Item(time_unix_ns, line.encode())


def _json_point_metrics(metric: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    data: dict[str, Any] = metric.get(kind) or {}
    for point in data.get("dataPoints") or ():
        yield {**metric, kind: {**data, "dataPoints": [point]}}


def _first(times: Iterator[int]) -> int:
    return next(filter(None, times), 0)


def _camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


_READERS: Mapping[Encoding, Callable[[str, str, bytes], Iterator[Item]]] = {
    "protobuf": _protobuf_items,
    "json": _json_items,
}
