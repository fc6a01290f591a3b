"""OTLP export requests: from the body of a request to bytes that the engine can decode, without a loop over spans.

A request whose items are all acceptable goes to the log byte for byte. Only one with items outside the accepted times,
or with arrays or maps among its attributes, is written anew.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from isal import isal_zlib
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from collector.composites import rewrite_composites
from collector.errors import TooLargeError, UndecodableError, UnsupportedError

_GZIP = 31  # zlib's window bits for the gzip format
_METRIC_TABLES = {
    "gauge": "otel_metrics_gauge",
    "sum": "otel_metrics_sum",
    "histogram": "otel_metrics_histogram",
    "exponential_histogram": "otel_metrics_exponential_histogram",
    "summary": "otel_metrics_summary",
}


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
        payload: the request, without the rejected items.
        items: spans or data points by upstream table; only tables with any.
        rejections: what was taken out.
        ends_before_start: spans that are kept with a duration of 0.
    """

    payload: bytes
    items: Mapping[str, int]
    rejections: Rejections
    ends_before_start: int = 0


def decompressed(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body of a request as its sender wrote it. No more than `bytes_max` are ever unpacked.

    Raises:
        TooLargeError: when the body is over the limit, packed or unpacked.
        UndecodableError: when gzip is broken or cut off.
        UnsupportedError: when the encoding is neither gzip nor identity.
    """
    if encoding not in ("", "identity", "gzip"):
        raise UnsupportedError(f"Content-Encoding {encoding!r} is not served; send gzip or identity")
    if encoding != "gzip":
        if len(body) > bytes_max:
            raise TooLargeError(
                f"the body is {len(body)} bytes, at most {bytes_max} are accepted: send smaller batches"
            )
        return body
    parts: list[bytes] = []
    left = bytes_max
    while body:  # a gzip body may be several members one after the other
        member = isal_zlib.decompressobj(wbits=_GZIP)
        try:
            part = member.decompress(body, left + 1)
        except isal_zlib.error as error:  # type: ignore[misc]  # untyped: mypy cannot know that it is an exception
            raise UndecodableError(f"the body is no gzip ({error}), although Content-Encoding says so") from None
        left -= len(part)
        if left < 0:
            raise TooLargeError(f"the body is over {bytes_max} bytes after decompression: send smaller batches")
        if not member.eof:
            raise UndecodableError(f"the gzip body ends too early, after {len(body)} bytes: it was cut off on its way")
        parts.append(part)
        body = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def checked_traces(payload: bytes, accepted: TimeRange) -> CheckedRequest:
    """A trace export request that the engine can decode, with its spans counted.

    Raises:
        UndecodableError: when the payload is no ExportTraceServiceRequest.
    """
    request = _parsed(ExportTraceServiceRequest, payload)
    scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
    starts = [span.start_time_unix_nano for scope in scopes for span in scope.spans]
    ends = [span.end_time_unix_nano for scope in scopes for span in scope.spans]
    rejections = Rejections()
    if starts and (min(starts) < accepted.oldest_unix_ns or max(*starts, *ends) > accepted.newest_unix_ns):
        for scope in scopes:
            _keep(scope.spans, partial(_accepts_span, accepted, rejections))
        ends = [span.end_time_unix_nano for scope in scopes for span in scope.spans]
        starts = [span.start_time_unix_nano for scope in scopes for span in scope.spans]
    return CheckedRequest(
        payload=_payload(request, payload, rejections),
        items={"otel_traces": len(starts)} if starts else {},
        rejections=rejections,
        ends_before_start=sum(map(operator.lt, ends, starts)),
    )


def checked_metrics(payload: bytes, accepted: TimeRange) -> CheckedRequest:
    """A metrics export request that the engine can decode, with its data points counted.

    Raises:
        UndecodableError: when the payload is no ExportMetricsServiceRequest.
    """
    request = _parsed(ExportMetricsServiceRequest, payload)
    items: dict[str, int] = {}
    rejections = Rejections()
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                points = getattr(metric, kind).data_points
                times = [point.time_unix_nano for point in points]
                if times and (min(times) < accepted.oldest_unix_ns or max(times) > accepted.newest_unix_ns):
                    _keep(points, partial(_accepts_point, metric.name, accepted, rejections))
                if points:
                    table = _METRIC_TABLES[kind]
                    items[table] = items.get(table, 0) + len(points)
    return CheckedRequest(_payload(request, payload, rejections), items, rejections)


CHECKS: Mapping[str, Callable[[bytes, TimeRange], CheckedRequest]] = {
    "traces": checked_traces,
    "metrics": checked_metrics,
}
"""How each signal's requests are checked."""


def response_body(signal: str, rejections: Rejections) -> bytes:
    """The encoded answer to an export request: empty, unless items were rejected."""
    if not rejections.total:
        return b""
    answer: Any
    if signal == "traces":
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = rejections.total
    else:
        answer = ExportMetricsServiceResponse()
        answer.partial_success.rejected_data_points = rejections.total
    answer.partial_success.error_message = rejections.message
    body: bytes = answer.SerializeToString()
    return body


def status_body(code: int, message: str) -> bytes:
    """An encoded google.rpc.Status, the body of every OTLP error."""
    body: bytes = Status(code=code, message=message).SerializeToString()
    return body


def _parsed(request_type: Any, payload: bytes) -> Any:
    try:
        return request_type.FromString(payload)
    except DecodeError as error:
        raise UndecodableError(
            f"the body is no {request_type.DESCRIPTOR.name} in protobuf ({error}): "
            f"{len(payload)} bytes, the first are {payload[:8].hex(' ')}"
        ) from None


def _payload(request: Message, payload: bytes, rejections: Rejections) -> bytes:
    if rejections.total:
        payload = request.SerializeToString()
    return rewrite_composites(request, payload) or payload


def _keep(items: Any, accepts: Callable[[Any], bool]) -> None:
    kept = [item for item in items if accepts(item)]
    del items[:]
    items.extend(kept)


def _accepts_span(accepted: TimeRange, rejections: Rejections, span: Any) -> bool:
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    reason = accepted.fault(start, max(start, end))
    if reason is not None:
        rejections.add(reason, f"span {span.name!r}", start if reason == "too_old" else max(start, end), accepted)
    return reason is None


def _accepts_point(metric: str, accepted: TimeRange, rejections: Rejections, point: Any) -> bool:
    time = point.time_unix_nano
    reason = accepted.fault(time, time)
    if reason is not None:
        rejections.add(reason, f"a data point of {metric!r}", time, accepted)
    return reason is None


def _time_text(time_unix_ns: int) -> str:
    if time_unix_ns == 0:
        return "no time (0)"
    try:
        return datetime.fromtimestamp(time_unix_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time_unix_ns} ns"
