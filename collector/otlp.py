"""OTLP export requests: from the body of a request to bytes that the engine can decode, without a loop over attributes.

A request whose items are all acceptable goes to the log as it came. Only one with items outside the accepted times, or
with arrays or maps among its values, is written anew.
"""

import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.composites import rewrite_composites
from collector.errors import TooLargeError, UndecodableError
from collector.otlp_json import JsonRequest
from collector.survey import DELTA, survey
from storage.otlp import METRIC_KINDS, Encoding

_DAY_NS = 86_400 * 10**9
REQUESTS: Mapping[str, Any] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
"""The export request of each signal."""

_CARRIED_BYTES_MAX = 4 << 30
# Old exporters wrote JSON with the names of the .proto files; unknown fields are ignored, so nothing would be left.
_SNAKE_CASE = re.compile(rb'"((?:resource|scope)_(?:spans|metrics|logs)|log_records|data_points)"\s*:')


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The event times that are accepted, both ends included, in Unix nanoseconds."""

    oldest_unix_ns: int
    newest_unix_ns: int

    def fault(self, oldest_unix_ns: int, newest_unix_ns: int) -> str | None:
        """Why an item with these times is not accepted."""
        if oldest_unix_ns < self.oldest_unix_ns:
            return "too_old"
        return "in_future" if newest_unix_ns > self.newest_unix_ns else None


@dataclass(slots=True)
class Rejections:
    """What was taken out of a request: counts by reason, and a sentence about the first."""

    counts: dict[str, int] = field(default_factory=dict)
    message: str = ""

    @property
    def total(self) -> int:
        """Items taken out."""
        return sum(self.counts.values())

    def add(self, reason: str, what: str, time_unix_ns: int, accepted: TimeRange) -> None:
        """Count one item; the first is the one the sender is told about."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.message = self.message or (
            f"{what} at {_time_text(time_unix_ns)} is {reason.replace('_', ' ')}: accepted are times from "
            f"{_time_text(accepted.oldest_unix_ns)} to {_time_text(accepted.newest_unix_ns)}. "
            "Check the clock of the sender, or widen collector.accepted_times"
        )


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """An export request that the engine can decode.

    Attributes:
        payload: the request, without the rejected items; JSON on one line, with its end.
        items: spans, data points or log records by upstream table; only tables with any.
        rejections: what was taken out.
        days: the first and the last day (since 1970-01-01, UTC) of its items; None when it has none.
        carried_bytes: what its items take at most when each carries a copy of its resource, as rows do.
        ends_before_start: spans that are kept with a duration of 0.
        delta_points: points of delta sums, which are kept in their table and become no samples.
        is_plain: it may be decoded as plain (`storage.otlp.Form`).
    """

    payload: bytes
    items: Mapping[str, int]
    rejections: Rejections
    days: tuple[int, int] | None
    carried_bytes: int
    ends_before_start: int = 0
    delta_points: int = 0
    is_plain: bool = False


def checked_traces(payload: bytes, accepted: TimeRange, encoding: Encoding = "protobuf") -> CheckedRequest:
    """A trace export request that the engine can decode, with its spans counted.

    Raises:
        UndecodableError: when the payload is no ExportTraceServiceRequest.
        TooLargeError: when its items carry too much.
    """
    request = _READERS[encoding]("traces", payload)
    if (told := _told(request, accepted)) is not None:
        return told
    scopes = _scopes(request.message.resource_spans, "scope_spans")
    starts, ends = _span_times(scopes)
    rejections = Rejections()
    if starts and (min(starts) < accepted.oldest_unix_ns or max(*starts, *ends) > accepted.newest_unix_ns):
        scopes = _scopes(request.writable().resource_spans, "scope_spans")
        for scope in scopes:
            _keep(scope.spans, partial(_accepts_span, accepted, rejections))
        starts, ends = _span_times(scopes)
    return CheckedRequest(
        payload=request.payload(),
        items={"otel_traces": len(starts)} if starts else _nothing(encoding, payload, rejections),
        rejections=rejections,
        days=_days(starts),
        carried_bytes=_carried_bytes(request, request.message.resource_spans, len(starts)),
        ends_before_start=sum(map(operator.lt, ends, starts)),
    )


def checked_logs(payload: bytes, accepted: TimeRange, encoding: Encoding = "protobuf") -> CheckedRequest:
    """A logs export request that the engine can decode, with its records counted.

    Raises:
        UndecodableError: when the payload is no ExportLogsServiceRequest.
        TooLargeError: when its items carry too much.
    """
    request = _READERS[encoding]("logs", payload)
    if (told := _told(request, accepted)) is not None:
        return told
    scopes = _scopes(request.message.resource_logs, "scope_logs")
    times = [_record_time(record) for scope in scopes for record in scope.log_records or ()]
    rejections = Rejections()
    if times and (min(times) < accepted.oldest_unix_ns or max(times) > accepted.newest_unix_ns):
        scopes = _scopes(request.writable().resource_logs, "scope_logs")
        for scope in scopes:
            _keep(scope.log_records, partial(_accepts, "a log record", _record_time, accepted, rejections))
        times = [_record_time(record) for scope in scopes for record in scope.log_records or ()]
    items = {"otel_logs": len(times)} if times else _nothing(encoding, payload, rejections)
    carried_bytes = _carried_bytes(request, request.message.resource_logs, len(times))
    return CheckedRequest(request.payload(), items, rejections, _days(times), carried_bytes)


def checked_metrics(payload: bytes, accepted: TimeRange, encoding: Encoding = "protobuf") -> CheckedRequest:
    """A metrics export request that the engine can decode, with its data points counted.

    Raises:
        UndecodableError: when the payload is no ExportMetricsServiceRequest.
        TooLargeError: when its items carry too much.
    """
    request = _READERS[encoding]("metrics", payload)
    if (told := _told(request, accepted)) is not None:
        return told
    metrics = _data_of_metrics(request, request.message)
    items, deltas = _points_counts(metrics)
    times = _times_of(metrics)
    rejections = Rejections()
    if times and (min(times) < accepted.oldest_unix_ns or max(times) > accepted.newest_unix_ns):
        metrics = _data_of_metrics(request, request.writable())
        for metric, _, data in metrics:
            accepts = partial(_accepts, f"a data point of {metric.name!r}", _point_time, accepted, rejections)
            _keep(data.data_points, accepts)
        items, deltas = _points_counts(metrics)
        times = _times_of(metrics)
    carried_bytes = _carried_bytes(request, request.message.resource_metrics, sum(items.values()))
    items = items or _nothing(encoding, payload, rejections)
    return CheckedRequest(
        request.payload(),
        items,
        rejections,
        _days(times),
        carried_bytes,
        delta_points=deltas,
        is_plain=isinstance(request, _ProtobufRequest) and request.survey.is_plain,
    )


CHECKS: Mapping[str, Callable[[bytes, TimeRange, Encoding], CheckedRequest]] = {
    "traces": checked_traces,
    "metrics": checked_metrics,
    "logs": checked_logs,
}
"""How each signal's requests are checked."""


def canonical(signal: str, payload: bytes) -> bytes:
    """A protobuf request as the libraries write it: what upb reads in it, and nothing else.

    Protobuf lets a message be written in many ways. The engine reads most of them as upb does and refuses the rest:
    two members of a oneof, a field of another type than declared, groups, integers that are too large for their field.

    Raises:
        UndecodableError: when the payload is no such request.
    """
    request = _ProtobufRequest(signal, payload)
    message = request.writable()
    message.DiscardUnknownFields()
    return request.payload()


class _ProtobufRequest:
    """A request in protobuf; what `JsonRequest` is for JSON."""

    def __init__(self, signal: str, payload: bytes) -> None:
        self._type = REQUESTS[signal]
        self._payload = payload
        self._is_changed = False
        self.survey = survey(signal, payload)

    @cached_property
    def message(self) -> Any:
        """The message, for a look at each item. Arrays and maps are text in it.

        Raises:
            UndecodableError: when the payload is no such request.
        """
        try:
            message = self._type.FromString(self._payload)
        except DecodeError as error:
            raise UndecodableError(
                f"the body is no {self._type.DESCRIPTOR.name} in protobuf ({error}): "
                f"{len(self._payload)} bytes, the first are {self._payload[:8].hex(' ')}"
            ) from None
        self._is_changed = self.survey.has_composites and rewrite_composites(message)
        return message

    @staticmethod
    def size_bytes(message: Any) -> int:
        """How much a part of it takes."""
        size: int = message.ByteSize()
        return size

    def writable(self) -> Any:
        """The message, which may be changed; from then on `payload` writes it anew."""
        message = self.message
        self._is_changed = True
        return message

    def payload(self) -> bytes:
        """The request in bytes."""
        return self.message.SerializeToString() if self._is_changed else self._payload


_READERS: Mapping[Encoding, Callable[[str, bytes], "_ProtobufRequest | JsonRequest"]] = {
    "protobuf": _ProtobufRequest,
    "json": JsonRequest,
}


def _told(request: "_ProtobufRequest | JsonRequest", accepted: TimeRange) -> CheckedRequest | None:
    """The request as it came, when nothing in it takes a look at each item."""
    if isinstance(request, JsonRequest):
        return None
    found = request.survey
    count = sum(found.items.values())
    if not found.is_told or found.has_composites or sum(found.resource_bytes) * count > _CARRIED_BYTES_MAX:
        return None
    if found.times and accepted.fault(min(found.times), max((*found.times, *found.ends))):
        return None
    return CheckedRequest(
        payload=request.payload(),
        items=found.items,
        rejections=Rejections(),
        days=_days(found.times),
        carried_bytes=max(found.resource_bytes, default=0) * count,
        ends_before_start=found.ends_before_start,
        is_plain=found.is_plain,
    )


def _scopes(resources: Iterable[Any] | None, name: str) -> list[Any]:
    return [scope for resource in resources or () for scope in getattr(resource, name) or ()]


def _carried_bytes(request: "_ProtobufRequest | JsonRequest", resources: Iterable[Any] | None, items: int) -> int:
    """The items times the largest resource.

    Raises:
        TooLargeError: when no store should be asked to write so much for one request.
    """
    largest_bytes = max((request.size_bytes(one.resource) for one in resources or () if one.resource), default=0)
    if largest_bytes * items > _CARRIED_BYTES_MAX:
        raise TooLargeError(
            f"{items} items carry up to {largest_bytes} bytes of resource attributes each, and at most "
            f"{_CARRIED_BYTES_MAX} bytes are accepted for all: leave out the large ones (often process.command_args), "
            "or send smaller batches"
        )
    return largest_bytes * items


def _span_times(scopes: Iterable[Any]) -> tuple[list[int], list[int]]:
    """Starts and ends, in one pass: each access to a span costs more than its times."""
    starts, ends = [], []
    for scope in scopes:
        for span in scope.spans or ():
            starts.append(span.start_time_unix_nano or 0)
            ends.append(span.end_time_unix_nano or 0)
    return starts, ends


def _data_of_metrics(request: "_ProtobufRequest | JsonRequest", message: Any) -> list[tuple[Any, str, Any]]:
    """Each metric with its kind and what it holds of that kind."""
    kinds_of = _json_kinds if isinstance(request, JsonRequest) else _protobuf_kinds
    return [
        (metric, kind, getattr(metric, kind))
        for scope in _scopes(message.resource_metrics, "scope_metrics")
        for metric in scope.metrics or ()
        for kind in kinds_of(metric)
    ]


def _points_counts(metrics: Iterable[tuple[Any, str, Any]]) -> tuple[dict[str, int], int]:
    """Points by upstream table, only tables with any; and how many of them are deltas of sums."""
    counts = dict.fromkeys(METRIC_KINDS, 0)
    deltas = 0
    for _, kind, data in metrics:
        count = len(data.data_points or ())
        counts[kind] += count
        if kind == "sum" and data.aggregation_temporality == DELTA:
            deltas += count
    return {f"otel_metrics_{kind}": count for kind, count in counts.items() if count}, deltas


def _times_of(metrics: Iterable[tuple[Any, str, Any]]) -> set[int]:
    """The times of the points, each once, by a look at each."""
    return {_point_time(point) for _, _, data in metrics for point in data.data_points or ()}


def _protobuf_kinds(metric: Any) -> tuple[str, ...]:
    kind = metric.WhichOneof("data")
    return (kind,) if kind else ()


def _json_kinds(metric: Any) -> tuple[str, ...]:
    """Only one is allowed; of several, the engine stores each."""
    return tuple(kind for kind in METRIC_KINDS if getattr(metric, kind) is not None)


def _nothing(encoding: Encoding, payload: bytes, rejections: Rejections) -> dict[str, int]:
    """No items; a mistake of the sender's when they are there under other names.

    Raises:
        UndecodableError: when a JSON request is written in snake_case.
    """
    found = _SNAKE_CASE.search(payload) if encoding == "json" and not rejections.total else None
    if found is not None:
        name = found[1].decode()
        head, tail = name.split("_")
        raise UndecodableError(
            f"the body is no OTLP/JSON: found the field {name!r}, valid is {head + tail.capitalize()!r}. "
            "Names are lowerCamelCase, ids are in hex: update the exporter, or send protobuf"
        )
    return {}


def _days(times: Collection[int]) -> tuple[int, int] | None:
    return (min(times) // _DAY_NS, max(times) // _DAY_NS) if times else None


def _point_time(point: Any) -> int:
    return point.time_unix_nano or 0


def _record_time(record: Any) -> int:
    return record.time_unix_nano or record.observed_time_unix_nano or 0


def _keep(items: Any, accepts: Callable[[Any], bool]) -> None:
    if items:
        kept = [item for item in items if accepts(item)]
        del items[:]
        items.extend(kept)


def _accepts_span(accepted: TimeRange, rejections: Rejections, span: Any) -> bool:
    start, end = span.start_time_unix_nano or 0, span.end_time_unix_nano or 0
    reason = accepted.fault(start, max(start, end))
    if reason is not None:
        rejections.add(reason, f"span {span.name!r}", start if reason == "too_old" else max(start, end), accepted)
    return reason is None


def _accepts(what: str, time_of: Callable[[Any], int], accepted: TimeRange, rejections: Rejections, item: Any) -> bool:
    time_unix_ns = time_of(item)
    reason = accepted.fault(time_unix_ns, time_unix_ns)
    if reason is not None:
        rejections.add(reason, what, time_unix_ns, accepted)
    return reason is None


def _time_text(time_unix_ns: int) -> str:
    if time_unix_ns == 0:
        return "no time (0)"
    try:
        return datetime.fromtimestamp(time_unix_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time_unix_ns} ns"
