"""Spans of long backfills as protobuf, by the hundred thousand: a byte template filled in by numpy.

All spans of one replica, tenant and outcome have one shape. Numbers of variable width are padded varints
(every byte but the last with its continuation bit set), which the protobuf encoding allows; so each span of a
shape has the same length and every field its place. What is not in the span itself (resource, scope) is
encoded by the SDK, and a test holds the whole to the SDK's own encoding, field by field.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from simulator.cloud import Cloud, Replica, Upstream
from simulator.spans import (
    CLIENT_NAME,
    ERRORS,
    SCOPE,
    SPAN_NAME,
    UPSTREAM_SCOPE,
    CallColumns,
    RequestColumns,
    Startup,
    client_attributes,
    request_name,
    resource_of,
    server_attributes,
    server_name,
    startup_spans,
    upstream_resource,
    user_name,
)

Bytes = NDArray[np.uint8]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf wire types
TOKENS_WIDTH = 3  # bytes of a padded varint: token counts below 2^21
LENGTH_WIDTH = 5  # bytes of a padded varint: messages below 2^35 bytes
_STAGES = ("time_to_first_token", "time_in_queue", "time_in_model_prefill", "time_in_model_decode")
_HEX_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


Encoded = dict[tuple[int, ...], list[bytes]]
"""Spans by whose they are: (replica, version), or (upstream, instance, -1)."""


class HistoryEncoder:
    """Encodes requests of one cloud; templates are made once and kept.

    `calls_one_in`: of how many traces one tells of the calls of upstream services. `skews_s`: by how much the clock of
    each replica's node is ahead.
    """

    def __init__(self, cloud: Cloud, *, calls_one_in: int = 1, skews_s: NDArray[np.float64] | None = None) -> None:
        self._cloud = cloud
        self._calls_one_in = calls_one_in
        self._skews_s = skews_s
        self._templates: dict[tuple[int, ...], _SpanTemplate] = {}
        self._client_templates = [
            _CallTemplate(CLIENT_NAME, SpanKind.CLIENT, client_attributes(upstream), remote=False)
            for upstream in cloud.upstreams
        ]
        self._server_templates = [
            _CallTemplate(server_name(upstream), SpanKind.SERVER, server_attributes(upstream), remote=True)
            for upstream in cloud.upstreams
        ]
        self._resources: dict[tuple[int, ...], tuple[bytes, bytes]] = {}

    def encode(self, requests: NDArray[np.void], startups: Sequence[Startup] = ()) -> bytes:
        """An ExportTraceServiceRequest with the spans of each request (shape (n,) of `engine.REQUEST`).

        Spans are grouped by replica; within a tenant's share of a group they keep the order of `requests`.
        """
        columns = RequestColumns(requests, self._skews_s)
        found: Encoded = {}
        keys = np.stack([columns.replica, columns.version, columns.tenant, columns.error], axis=1)
        for key, rows in _groups(keys):
            replica, version, _, _ = key
            found.setdefault((replica, version), []).append(self._template(key).fill(columns, rows))
        for number, upstream in enumerate(self._cloud.upstreams):
            calls = CallColumns(requests, columns, number, len(upstream.instances), self._calls_one_in)
            self._add_calls(found, number, columns, calls)
        encoded = b"".join(self._resource_spans(owner, b"".join(parts)) for owner, parts in found.items())
        started = [span for startup in startups for span in startup_spans(self._cloud, startup)]
        return encoded + (encode_spans(started).SerializeToString() if started else b"")

    def _add_calls(self, found: Encoded, number: int, columns: RequestColumns, calls: CallColumns) -> None:
        owners = np.stack([columns.replica[calls.rows], columns.version[calls.rows]], axis=1)
        traces = (columns.trace_id_high[calls.rows], columns.trace_id_low[calls.rows])
        parents = columns.span_id[calls.rows]
        for owner, chosen in _groups(owners):
            spans = self._client_templates[number].fill(
                traces, calls.client_id, parents, calls.start_ns, calls.end_ns, chosen
            )
            found.setdefault(owner, []).append(spans)
        for (instance,), chosen in _groups(calls.instance[:, None]):
            spans = self._server_templates[number].fill(
                traces, calls.server_id, calls.client_id, calls.served_start_ns, calls.served_end_ns, chosen
            )
            found.setdefault((number, instance, -1), []).append(spans)

    def _template(self, key: tuple[int, ...]) -> "_SpanTemplate":
        if key not in self._templates:
            replica, _, tenant, error = key
            self._templates[key] = _SpanTemplate(self._cloud.replicas[replica], self._cloud.tenants[tenant], error)
        return self._templates[key]

    def _resource_spans(self, owner: tuple[int, ...], spans: bytes) -> bytes:
        if owner not in self._resources:
            self._resources[owner] = self._resource_and_scope(owner)
        resource, scope = self._resources[owner]
        return _field(1, _field(1, resource) + _field(2, _field(1, scope) + spans))

    def _resource_and_scope(self, owner: tuple[int, ...]) -> tuple[bytes, bytes]:
        """Resource and scope of somebody's spans, as the SDK encodes them."""
        upstreams = self._cloud.upstreams
        if len(owner) == 2:
            resource, scope = resource_of(self._cloud.replicas[owner[0]], owner[1]), SCOPE
        else:
            upstream: Upstream = upstreams[owner[0]]
            resource, scope = upstream_resource(upstream, upstream.instances[owner[1]]), UPSTREAM_SCOPE
        example = ReadableSpan(
            SPAN_NAME,
            context=SpanContext(1, 1, is_remote=False),
            resource=resource,
            kind=SpanKind.SERVER,
            start_time=0,
            end_time=0,
            instrumentation_scope=InstrumentationScope(scope),
        )
        message = encode_spans([example]).resource_spans[0]
        return message.resource.SerializeToString(), message.scope_spans[0].scope.SerializeToString()


def _groups(keys: NDArray[np.int64]) -> Iterator[tuple[tuple[int, ...], NDArray[np.intp]]]:
    """Each different row of `keys` (shape (n, columns)), and where it stands, in order."""
    if not len(keys):
        return
    order = np.lexsort(keys.T[::-1])
    differs = (np.diff(keys[order], axis=0) != 0).any(axis=1)
    for rows in np.split(order, np.flatnonzero(differs) + 1):
        yield tuple(keys[rows[0]].tolist()), rows


class _Slots:
    """A message with places for what differs."""

    def __init__(self) -> None:
        self._slots: dict[str, tuple[int, int]] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._offset = 0
        self._bytes = np.zeros(0, np.uint8)

    def _finish(self) -> None:
        body = b"".join(self._parts)
        head = _tag(2, BYTES) + _padded(len(body), LENGTH_WIDTH)  # ScopeSpans.spans
        self._offset = len(head)
        self._bytes = np.frombuffer(head + body, np.uint8)

    def _put(self, spans: Bytes, name: str, values: Bytes) -> None:
        start, width = self._slots[name]
        first = self._offset + start
        spans[:, first : first + width] = values

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)

    def _slot(self, name: str, width: int, head: bytes) -> None:
        self._add(head)
        self._slots[name] = (self._size, width)
        self._add(bytes(width))

    def _number(self, key: str, width: int, value_tag: bytes) -> None:
        self._slot(key, width, _attribute(key, value_tag + bytes(width))[:-width])

    def _text(self, key: str, width: int) -> None:
        self._slot(key, width, _attribute(key, _field(1, bytes(width)))[:-width])


class _CallTemplate(_Slots):
    """One side of the call of an upstream service."""

    def __init__(self, name: str, kind: SpanKind, attributes: Mapping[str, AttributeValue], *, remote: bool) -> None:
        super().__init__()
        self._slot("trace_id", 16, _tag(1, BYTES) + b"\x10")
        self._slot("span_id", 8, _tag(2, BYTES) + b"\x08")
        self._slot("parent", 8, _tag(4, BYTES) + b"\x08")
        # The numbers of kinds on the wire are one more than the SDK's.
        self._add(_field(5, name.encode()) + _tag(6, VARINT) + bytes([kind.value + 1]))
        self._slot("start", 8, _tag(7, FIXED64))
        self._slot("end", 8, _tag(8, FIXED64))
        for key, value in attributes.items():
            encoded = (
                _field(1, value.encode()) if isinstance(value, str) else _tag(3, VARINT) + _varint(int(str(value)))
            )
            self._add(_attribute(key, encoded))
        flags = int(SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
        if remote:
            flags |= int(SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
        self._add(_field(15, b"") + _tag(16, FIXED32) + flags.to_bytes(4, "little"))
        self._finish()

    def fill(
        self,
        traces: tuple[NDArray[np.uint64], NDArray[np.uint64]],
        span_ids: NDArray[np.uint64],
        parents: NDArray[np.uint64],
        starts_ns: NDArray[np.int64],
        ends_ns: NDArray[np.int64],
        rows: NDArray[np.intp],
    ) -> bytes:
        """The spans of those rows, one after another."""
        spans = np.repeat(self._bytes[None, :], len(rows), axis=0)
        self._put(spans, "trace_id", _as_bytes(np.stack([half[rows] for half in traces], axis=1), ">u8"))
        self._put(spans, "span_id", _as_bytes(span_ids[rows], ">u8"))
        self._put(spans, "parent", _as_bytes(parents[rows], ">u8"))
        self._put(spans, "start", _as_bytes(starts_ns[rows], "<u8"))
        self._put(spans, "end", _as_bytes(ends_ns[rows], "<u8"))
        return spans.tobytes()


class _SpanTemplate(_Slots):
    """The span of one replica, tenant and outcome (`error` of `engine.REQUEST`), with slots for what differs."""

    def __init__(self, replica: Replica, tenant: str, error: int) -> None:
        super().__init__()
        self._failed = bool(error)
        self._slot("trace_id", 16, _tag(1, BYTES) + b"\x10")
        self._slot("span_id", 8, _tag(2, BYTES) + b"\x08")
        self._add(_field(5, SPAN_NAME.encode()) + _tag(6, VARINT) + bytes([2]))  # SPAN_KIND_SERVER
        self._slot("start", 8, _tag(7, FIXED64))
        self._slot("end", 8, _tag(8, FIXED64))
        self._add(_attribute("gen_ai.request.model", _field(1, replica.service.model.name.encode())))
        self._text("gen_ai.request.id", len(request_name(0)))
        maximum = replica.service.workload.output.tokens[-1]
        self._add(_attribute("gen_ai.request.max_tokens", _tag(3, VARINT) + _padded(maximum, TOKENS_WIDTH)))
        self._number("gen_ai.usage.prompt_tokens", TOKENS_WIDTH, _tag(3, VARINT))
        self._number("gen_ai.latency.e2e", 8, _tag(4, FIXED64))
        self._add(_attribute("tenant.id", _field(1, tenant.encode())))
        self._text("user.id", len(user_name(0)))
        if error:
            error_type, message = ERRORS[error]
            self._add(_attribute("error.type", _field(1, error_type.encode())))
            status = _field(2, message.encode()) + _tag(3, VARINT) + bytes([StatusCode.ERROR.value])
        else:
            self._number("gen_ai.usage.completion_tokens", TOKENS_WIDTH, _tag(3, VARINT))
            for name in _STAGES:
                self._number(f"gen_ai.latency.{name}", 8, _tag(4, FIXED64))
            status = b""
        self._add(_field(15, status))
        flags = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
        self._add(_tag(16, FIXED32) + int(flags).to_bytes(4, "little"))
        self._finish()

    def fill(self, columns: RequestColumns, rows: NDArray[np.intp]) -> bytes:
        """The spans of those rows, one after another."""
        spans = np.repeat(self._bytes[None, :], len(rows), axis=0)
        ids = np.stack([columns.trace_id_high[rows], columns.trace_id_low[rows]], axis=1)
        self._put(spans, "trace_id", _as_bytes(ids, ">u8"))
        self._put(spans, "span_id", _as_bytes(columns.span_id[rows], ">u8"))
        self._put(spans, "start", _as_bytes(columns.start_ns[rows], "<u8"))
        self._put(spans, "end", _as_bytes(columns.end_ns[rows], "<u8"))
        self._put(spans, "gen_ai.request.id", _hex_names(columns.request_id[rows]))
        self._put(spans, "gen_ai.usage.prompt_tokens", _varints(columns.prompt_tokens[rows]))
        self._put(spans, "gen_ai.latency.e2e", _as_bytes(columns.end_to_end_s[rows], "<f8"))
        self._put(spans, "user.id", _user_names(columns.user[rows]))
        if not self._failed:
            self._put(spans, "gen_ai.usage.completion_tokens", _varints(columns.output_tokens[rows]))
            stages_s = (columns.first_token_s, columns.queue_s, columns.prefill_s, columns.decode_s)
            for name, seconds in zip(_STAGES, stages_s, strict=True):
                self._put(spans, f"gen_ai.latency.{name}", _as_bytes(seconds[rows], "<f8"))
        return spans.tobytes()


def _attribute(key: str, value: bytes) -> bytes:
    """`Span.attributes`: a KeyValue with an AnyValue whose encoded field is `value`."""
    return _field(9, _field(1, key.encode()) + _field(2, value))


def _field(number: int, content: bytes) -> bytes:
    return _tag(number, BYTES) + _varint(len(content)) + content


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _padded(value: int, width: int) -> bytes:
    """A varint of exactly `width` bytes."""
    groups = [value >> 7 * place & 0x7F for place in range(width)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _varints(values: NDArray[np.int64]) -> Bytes:
    """Padded varints, shape (n, TOKENS_WIDTH)."""
    groups = values[:, None] >> 7 * np.arange(TOKENS_WIDTH) & 0x7F
    groups[:, :-1] |= 0x80
    return groups.astype(np.uint8)


def _as_bytes(values: NDArray[np.generic], dtype: str) -> Bytes:
    """The bytes of each row, shape (n, bytes per row)."""
    return np.ascontiguousarray(values, dtype).view(np.uint8).reshape(len(values), -1)


def _hex_names(numbers: NDArray[np.uint64]) -> Bytes:
    """`request_name` of each number, shape (n, 25)."""
    octets = _as_bytes(numbers, ">u8")
    digits = np.stack([octets >> 4, octets & 0x0F], axis=2).reshape(len(numbers), 16)
    prefix = np.frombuffer(b"chatcmpl-", np.uint8)
    return np.concatenate([np.broadcast_to(prefix, (len(numbers), prefix.size)), _HEX_DIGITS[digits]], axis=1)


def _user_names(numbers: NDArray[np.int64]) -> Bytes:
    """`user_name` of each number, shape (n, 8)."""
    digits = numbers[:, None] // np.array([100, 10, 1]) % 10 + ord("0")
    prefix = np.frombuffer(b"user-", np.uint8)
    return np.concatenate([np.broadcast_to(prefix, (len(numbers), prefix.size)), digits.astype(np.uint8)], axis=1)
