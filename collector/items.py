"""A checked request taken apart into requests of one span, data point or log record each.

Seldom needed, and slow (tens of microseconds an item): for a request that the engine refuses, to find the item at
fault, and for one whose items lie many days apart, or carry more than one insert can take.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from collector.composites import LISTS
from collector.otlp import REQUESTS
from storage.otlp import Encoding

# In all signals the resources are field 1 of the request, the scopes field 2 of a resource, the items field 2 of a
# scope; the points are field 1 of each kind of metric.
_RESOURCES, _SCOPES, _ITEMS, _POINTS = 1, 2, 2, 1
# What an item's partition is made from: the first that is set.
_TIMES: Mapping[str, tuple[str, ...]] = {
    "traces": ("start_time_unix_nano",),
    "metrics": ("time_unix_nano",),
    "logs": ("time_unix_nano", "observed_time_unix_nano"),
}


class _Scope(Protocol):
    """What items have around them: a resource and a scope."""

    def request(self, contents: Iterable[Any]) -> bytes:
        """An encoded request with these items and no others."""


@dataclass(frozen=True, slots=True)
class Item:
    """One span, data point or log record: its time (Unix nanoseconds), what is around it, and what it is."""

    time_unix_ns: int
    scope: _Scope
    content: Any

    @property
    def payload(self) -> bytes:
        """An encoded request that holds nothing else."""
        return self.scope.request([self.content])


def request_of(items: Sequence[Item]) -> bytes:
    """An encoded request of some items of one request; what is around several in a row is written once."""
    runs = groupby(items, key=lambda item: id(item.scope))
    return b"".join(run[0].scope.request(item.content for item in run) for run in (list(found) for _, found in runs))


def items_apart(signal: str, encoding: Encoding, table: str, payload: bytes) -> list[Item]:
    """The items of a request that go to an upstream table, in their order; none when it cannot be taken apart."""
    kind = table.removeprefix("otel_metrics_")
    try:
        return list(_READERS[encoding](signal, kind, payload))
    except (DecodeError, ValueError, TypeError, AttributeError, RecursionError):  # it is not what it claims to be
        return []


def _protobuf_items(signal: str, kind: str, payload: bytes) -> Iterator[Item]:
    resources, scopes, items = LISTS[signal]
    for resource in getattr(REQUESTS[signal].FromString(payload), resources):
        resource_rest = _without(resource, scopes)
        for scope in getattr(resource, scopes):
            scope_rest = _without(scope, items)
            members = (
                _point_metrics(scope.metrics, kind) if signal == "metrics" else _whole(signal, getattr(scope, items))
            )
            around = _ProtobufScope(resource_rest, scope_rest)
            for time_unix_ns, item in members:
                yield Item(time_unix_ns, around, item)


@dataclass(frozen=True, slots=True)
class _ProtobufScope:
    resource_rest: bytes
    scope_rest: bytes

    def request(self, contents: Iterable[bytes]) -> bytes:
        items = b"".join(_field(_ITEMS, item) for item in contents)
        return _field(_RESOURCES, self.resource_rest + _field(_SCOPES, self.scope_rest + items))


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
    resources, scopes, items = (_camel_case(name) for name in LISTS[signal])
    points = _camel_case(kind)
    for resource in json.loads(payload).get(resources) or ():
        for scope in resource.get(scopes) or ():
            members: Iterator[dict[str, Any]] = iter(scope.get(items) or ())
            if signal == "metrics":
                members = chain.from_iterable(_json_point_metrics(metric, points) for metric in members)
            around = _JsonScope(resource, scope, (resources, scopes, items))
            for member in members:
                timed = member[points]["dataPoints"][0] if signal == "metrics" else member
                time_unix_ns = _first(int(timed.get(_camel_case(name)) or 0) for name in _TIMES[signal])
                yield Item(time_unix_ns, around, member)


@dataclass(frozen=True, slots=True)
class _JsonScope:
    resource: Mapping[str, Any]
    scope: Mapping[str, Any]
    lists: tuple[str, str, str]

    def request(self, contents: Iterable[Any]) -> bytes:
        resources, scopes, items = self.lists
        document = {resources: [{**self.resource, scopes: [{**self.scope, items: list(contents)}]}]}
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"


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
