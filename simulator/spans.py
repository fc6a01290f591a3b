"""Requests as real OpenTelemetry spans, in the manner of vLLM: one `llm_request` span each, kind SERVER.

Below it stands each call of an upstream service: our CLIENT span, and below that the upstream's own SERVER span. An
engine that starts writes the tree of its start-up, as vLLM does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from simulator.cloud import Cloud, Instance, Replica, Upstream
from simulator.engine import ENGINE_DEAD, INTERNAL, TIMEOUT, UNAVAILABLE, WAIT_LIMIT_S

SPAN_NAME = "llm_request"
SCOPE = "vllm.tracing.otel"
UPSTREAM_SCOPE = "opentelemetry.instrumentation.asgi"
TIMEOUT_MESSAGE = f"no sequence slot or KV blocks within {WAIT_LIMIT_S:.0f} s"
# By `error` of a request: what the span says. The API server is a process of its own: it outlives its engine, and
# answers for it until the pod has been replaced.
ERRORS: Mapping[int, tuple[str, str]] = {
    TIMEOUT: ("timeout", TIMEOUT_MESSAGE),
    ENGINE_DEAD: ("EngineDeadError", "EngineCore encountered an issue. See stack trace (above) for the root cause."),
    UNAVAILABLE: ("503", "the engine is not running"),
    INTERNAL: ("500", "Internal Server Error"),
}
CLIENT_NAME = "POST"
NETWORK_S = 0.0004  # each way between the two sides of a call, at most a tenth of it
# The parts of an engine's start, by the share of the whole that they take [cost_workloads 4.5].
STARTUP_PARTS = (
    ("Load model", 0.05, 0.55),
    ("Compile", 0.55, 0.8),
    ("Allocate KV cache", 0.8, 0.84),
    ("Warm up", 0.84, 1.0),
)
STARTUP_NAME = "Overall Loading"

Ids = NDArray[np.uint64]


def mixed(ids: Ids, salt: int) -> Ids:
    """Other ids, as random as those given (SplitMix64's finaliser), never 0."""
    with np.errstate(over="ignore"):
        state = ids + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Ids = np.maximum(state ^ (state >> np.uint64(31)), np.uint64(1))
    return result


@dataclass(frozen=True, slots=True)
class Startup:
    """An engine process of a replica: when it began to load, and from when on it served (seconds since the epoch)."""

    replica: int
    version: int
    started_s: float
    ready_s: float


class RequestColumns:
    """The fields of spans, as columns over requests (shape (n,) of `engine.REQUEST`).

    Both encoders (SDK and template) read these, so they cannot disagree. Durations are seconds, times ns
    since the epoch; durations are NaN for failed requests, which have none. `skews_s` has by how much the clock of
    each replica's node is ahead.
    """

    def __init__(self, requests: NDArray[np.void], skews_s: NDArray[np.float64] | None = None) -> None:
        arrived_at = requests["arrived_at"]
        self.failed: NDArray[np.bool_] = requests["failed"]
        self.error: NDArray[np.int64] = requests["error"]
        self.replica: NDArray[np.int64] = requests["replica"]
        self.version: NDArray[np.int64] = requests["version"]
        self.tenant: NDArray[np.int64] = requests["tenant"]
        self.user: NDArray[np.int64] = requests["user"]
        self.prompt_tokens: NDArray[np.int64] = requests["prompt_tokens"]
        self.output_tokens: NDArray[np.int64] = requests["output_tokens"]
        self.trace_id_high: Ids = requests["trace_id_high"]
        self.trace_id_low: Ids = requests["trace_id_low"]
        self.span_id: Ids = requests["span_id"]
        self.request_id: Ids = requests["request_id"]
        with np.errstate(invalid="ignore"):  # inf - inf of failed requests is the NaN we want
            self.end_to_end_s = requests["ended_at"] - arrived_at
            before_s = requests["entered_at"] - arrived_at
            self.queue_s = np.where(self.failed, np.nan, requests["admitted_at"] - requests["entered_at"])
            prefill_s = requests["prefilled_at"] - requests["admitted_at"] + requests["stall_s"]
            self.prefill_s = np.where(self.failed, np.nan, prefill_s)
            self.first_token_s = before_s + self.queue_s + self.prefill_s
            self.decode_s = requests["released_at"] - requests["prefilled_at"]
        skew_ns = 0 if skews_s is None else np.rint(1e9 * skews_s[self.replica]).astype(np.int64)
        self.start_ns: NDArray[np.int64] = np.rint(arrived_at * 1e9).astype(np.int64) + skew_ns
        self.end_ns: NDArray[np.int64] = self.start_ns + np.rint(self.end_to_end_s * 1e9).astype(np.int64)


class CallColumns:
    """The calls of one upstream service (by its position), as columns over the requests that made one.

    `rows` are those requests; `instance` who answered. Only one trace in `one_in` is told of.
    """

    def __init__(
        self, requests: NDArray[np.void], columns: RequestColumns, number: int, instances: int, one_in: int
    ) -> None:
        call_s = requests["upstream_s"][:, number]
        begins_s = requests["upstream_s"][:, :number].sum(axis=1)
        made = (call_s > 0) & (requests["arrived_at"] + begins_s + call_s <= requests["ended_at"])
        made &= requests["trace_id_low"] % np.uint64(one_in) == 0
        self.rows: NDArray[np.intp] = np.flatnonzero(made)
        span_id = columns.span_id[self.rows]
        self.client_id = mixed(span_id, 2 * number + 1)
        self.server_id = mixed(span_id, 2 * number + 2)
        self.instance = (mixed(span_id, 101 + number) % np.uint64(instances)).astype(np.int64)
        length_ns = np.rint(1e9 * call_s[self.rows]).astype(np.int64)
        self.start_ns = columns.start_ns[self.rows] + np.rint(1e9 * begins_s[self.rows]).astype(np.int64)
        self.end_ns = self.start_ns + length_ns
        way_ns = np.minimum(int(NETWORK_S * 1e9), length_ns // 10)
        self.served_start_ns = self.start_ns + way_ns
        self.served_end_ns = self.end_ns - way_ns


def request_name(number: int) -> str:
    """As vLLM's OpenAI server names requests; always 25 characters."""
    return f"chatcmpl-{number:016x}"


def user_name(number: int) -> str:
    """A user within a tenant; always 8 characters."""
    return f"user-{number:03d}"


def resource_of(replica: Replica, version: int = 0) -> Resource:
    """What `OTEL_RESOURCE_ATTRIBUTES` and the SDK say about one engine process, so many releases ahead."""
    return Resource.create(
        {
            "service.name": replica.service.name,
            "service.version": replica.service.released(version),
            "service.instance.id": replica.instance_id,
            "k8s.namespace.name": replica.service.namespace,
            "k8s.pod.name": replica.pod,
            "k8s.node.name": replica.node,
        }
    )


def upstream_resource(upstream: Upstream, instance: Instance) -> Resource:
    """What one process of an upstream service says about itself."""
    return Resource.create(
        {
            "service.name": upstream.name,
            "service.version": upstream.version,
            "service.instance.id": instance.instance_id,
            "k8s.namespace.name": upstream.namespace,
            "k8s.pod.name": instance.pod,
            "k8s.node.name": instance.node,
        }
    )


def client_attributes(upstream: Upstream) -> dict[str, AttributeValue]:
    """Of our span about a call, as the HTTP conventions want them."""
    return {
        "http.request.method": "POST",
        "server.address": f"{upstream.name}.{upstream.namespace}.svc",
        "server.port": 8080,
        "http.response.status_code": 200,
    }


def server_name(upstream: Upstream) -> str:
    """Of the upstream's span."""
    return f"POST {upstream.path}"


def server_attributes(upstream: Upstream) -> dict[str, AttributeValue]:
    """Of the upstream's span about a call."""
    return {"http.request.method": "POST", "http.route": upstream.path, "http.response.status_code": 200}


def startup_spans(cloud: Cloud, startup: Startup) -> list[ReadableSpan]:
    """The tree of spans that an engine writes once it is ready, children first."""
    replica = cloud.replicas[startup.replica]
    resource, scope = resource_of(replica, startup.version), InstrumentationScope(SCOPE)
    seeds = np.array([startup.replica * 2**40 + int(startup.ready_s)], np.uint64)
    trace_id = int(mixed(seeds, 11)[0]) << 64 | int(mixed(seeds, 12)[0])
    context = SpanContext(trace_id, int(mixed(seeds, 13)[0]), is_remote=False, trace_flags=TraceFlags(1))
    whole_s = startup.ready_s - startup.started_s

    def moment_ns(share: float) -> int:
        return round(1e9 * (startup.started_s + share * whole_s))

    def span(name: str, own: SpanContext, parent: SpanContext | None, begins: float, ends: float) -> ReadableSpan:
        return ReadableSpan(
            name,
            context=own,
            parent=parent,
            resource=resource,
            kind=SpanKind.INTERNAL,
            start_time=moment_ns(begins),
            end_time=moment_ns(ends),
            instrumentation_scope=scope,
        )

    children = []
    for number, (name, begins, ends) in enumerate(STARTUP_PARTS):
        own = SpanContext(trace_id, int(mixed(seeds, 20 + number)[0]), is_remote=False, trace_flags=TraceFlags(1))
        children.append(span(name, own, context, begins, ends))
    return [*children, span(STARTUP_NAME, context, None, 0.0, 1.0)]


def attributes_of(
    columns: RequestColumns, row: int, replica: Replica, tenants: Sequence[str]
) -> dict[str, AttributeValue]:
    """The attributes of one request's span; what a failed request never had is left out."""
    workload = replica.service.workload
    attributes: dict[str, AttributeValue] = {
        "gen_ai.request.model": replica.service.model.name,
        "gen_ai.request.id": request_name(int(columns.request_id[row])),
        "gen_ai.request.max_tokens": workload.output.tokens[-1],
        "gen_ai.usage.prompt_tokens": int(columns.prompt_tokens[row]),
        "gen_ai.latency.e2e": float(columns.end_to_end_s[row]),
        "tenant.id": tenants[int(columns.tenant[row])],
        "user.id": user_name(int(columns.user[row])),
    }
    if columns.failed[row]:
        return attributes | {"error.type": ERRORS[int(columns.error[row])][0]}
    return attributes | {
        "gen_ai.usage.completion_tokens": int(columns.output_tokens[row]),
        "gen_ai.latency.time_to_first_token": float(columns.first_token_s[row]),
        "gen_ai.latency.time_in_queue": float(columns.queue_s[row]),
        "gen_ai.latency.time_in_model_prefill": float(columns.prefill_s[row]),
        "gen_ai.latency.time_in_model_decode": float(columns.decode_s[row]),
    }


class _GivenIds(IdGenerator):
    """Hands the SDK the ids that the seed gave the request, so the same seed gives the same bytes."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class Tracers:
    """One tracer provider per replica and version, as in the real cloud, all feeding one span processor.

    `skews_s`: by how much the clock of each replica's node is ahead.
    """

    def __init__(self, cloud: Cloud, processor: SpanProcessor, skews_s: NDArray[np.float64] | None = None) -> None:
        self._cloud = cloud
        self._skews_s = skews_s
        self._ids = _GivenIds()
        self._processor = processor
        self._tracers: dict[tuple[int, int], Tracer] = {}
        self._upstream_tracers = [
            [self._tracer(upstream_resource(upstream, instance), UPSTREAM_SCOPE) for instance in upstream.instances]
            for upstream in cloud.upstreams
        ]

    def record(self, requests: NDArray[np.void], startups: Sequence[Startup] = ()) -> None:
        """Start and end the spans of each request and of each engine that became ready, at their own times."""
        for startup in startups:
            for part in startup_spans(self._cloud, startup):
                self._processor.on_end(part)
        columns = RequestColumns(requests, self._skews_s)
        calls: dict[int, list[tuple[int, CallColumns, int]]] = {}
        for number, upstream in enumerate(self._cloud.upstreams):
            of_upstream = CallColumns(requests, columns, number, len(upstream.instances), 1)
            for position, row in enumerate(of_upstream.rows.tolist()):
                calls.setdefault(row, []).append((number, of_upstream, position))
        for row in range(len(requests)):
            replica = self._cloud.replicas[int(columns.replica[row])]
            tracer = self._tracer_of(replica, int(columns.version[row]))
            self._ids.trace_id = (int(columns.trace_id_high[row]) << 64) | int(columns.trace_id_low[row])
            self._ids.span_id = int(columns.span_id[row])
            span = tracer.start_span(
                SPAN_NAME,
                kind=SpanKind.SERVER,
                attributes=attributes_of(columns, row, replica, self._cloud.tenants),
                start_time=int(columns.start_ns[row]),
            )
            for call in calls.get(row, ()):
                self._record_call(tracer, span.get_span_context(), *call)
            if columns.failed[row]:
                span.set_status(Status(StatusCode.ERROR, ERRORS[int(columns.error[row])][1]))
            span.end(end_time=int(columns.end_ns[row]))

    def shutdown(self) -> None:
        """Flush and stop the span processor."""
        self._processor.shutdown()

    def _record_call(self, tracer: Tracer, parent: SpanContext, number: int, calls: CallColumns, position: int) -> None:
        upstream = self._cloud.upstreams[number]
        self._ids.span_id = int(calls.client_id[position])
        client = tracer.start_span(
            CLIENT_NAME,
            context=set_span_in_context(NonRecordingSpan(parent)),
            kind=SpanKind.CLIENT,
            attributes=client_attributes(upstream),
            start_time=int(calls.start_ns[position]),
        )
        own = client.get_span_context()
        remote = SpanContext(own.trace_id, own.span_id, is_remote=True, trace_flags=own.trace_flags)
        self._ids.span_id = int(calls.server_id[position])
        server = self._upstream_tracers[number][int(calls.instance[position])].start_span(
            server_name(upstream),
            context=set_span_in_context(NonRecordingSpan(remote)),
            kind=SpanKind.SERVER,
            attributes=server_attributes(upstream),
            start_time=int(calls.served_start_ns[position]),
        )
        server.end(end_time=int(calls.served_end_ns[position]))
        client.end(end_time=int(calls.end_ns[position]))

    def _tracer_of(self, replica: Replica, version: int) -> Tracer:
        key = (replica.ordinal, version)
        if key not in self._tracers:
            self._tracers[key] = self._tracer(resource_of(replica, version), SCOPE)
        return self._tracers[key]

    def _tracer(self, resource: Resource, scope: str) -> Tracer:
        provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return provider.get_tracer(scope)


class SpanBatches(SpanProcessor):
    """Hands ended spans on in batches, in the caller's own thread: a replay must wait, not drop.

    (The SDK's BatchSpanProcessor drops spans when they come faster than the receiver takes them.)
    """

    def __init__(self, send: Callable[[Sequence[ReadableSpan]], Any], batch_size: int = 2048) -> None:
        self._send = send
        self._batch_size = batch_size
        self._waiting: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the span; send the batch when it is full."""
        self._waiting.append(span)
        if len(self._waiting) >= self._batch_size:
            self.force_flush()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Send what waits."""
        batch, self._waiting = self._waiting, []
        if batch:
            self._send(batch)
        return True

    def shutdown(self) -> None:
        """Send what waits."""
        self.force_flush()
