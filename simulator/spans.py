"""Requests as real OpenTelemetry spans, in the manner of vLLM: one `llm_request` span each, kind SERVER."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from simulator.cloud import Cloud, Replica
from simulator.engine import WAIT_LIMIT_S

SPAN_NAME = "llm_request"
SCOPE = "vllm.tracing.otel"
TIMEOUT_MESSAGE = f"no sequence slot or KV blocks within {WAIT_LIMIT_S:.0f} s"


class RequestColumns:
    """The fields of spans, as columns over requests (shape (n,) of `engine.REQUEST`).

    Both encoders (SDK and template) read these, so they cannot disagree. Durations are seconds, times ns
    since the epoch; durations are NaN for failed requests, which have none.
    """

    def __init__(self, requests: NDArray[np.void]) -> None:
        arrived_at = requests["arrived_at"]
        self.failed: NDArray[np.bool_] = requests["failed"]
        self.replica: NDArray[np.int64] = requests["replica"]
        self.tenant: NDArray[np.int64] = requests["tenant"]
        self.user: NDArray[np.int64] = requests["user"]
        self.prompt_tokens: NDArray[np.int64] = requests["prompt_tokens"]
        self.output_tokens: NDArray[np.int64] = requests["output_tokens"]
        self.trace_id_high: NDArray[np.uint64] = requests["trace_id_high"]
        self.trace_id_low: NDArray[np.uint64] = requests["trace_id_low"]
        self.span_id: NDArray[np.uint64] = requests["span_id"]
        self.request_id: NDArray[np.uint64] = requests["request_id"]
        with np.errstate(invalid="ignore"):  # inf - inf of failed requests is the NaN we want
            self.end_to_end_s = requests["ended_at"] - arrived_at
            self.queue_s = np.where(self.failed, np.nan, requests["admitted_at"] - arrived_at)
            prefill_s = requests["prefilled_at"] - requests["admitted_at"] + requests["stall_s"]
            self.prefill_s = np.where(self.failed, np.nan, prefill_s)
            self.first_token_s = self.queue_s + self.prefill_s
            self.decode_s = requests["released_at"] - requests["prefilled_at"]
        self.start_ns: NDArray[np.int64] = np.rint(arrived_at * 1e9).astype(np.int64)
        self.end_ns: NDArray[np.int64] = self.start_ns + np.rint(self.end_to_end_s * 1e9).astype(np.int64)


def request_name(number: int) -> str:
    """As vLLM's OpenAI server names requests; always 25 characters."""
    return f"chatcmpl-{number:016x}"


def user_name(number: int) -> str:
    """A user within a tenant; always 8 characters."""
    return f"user-{number:03d}"


def resource_of(replica: Replica) -> Resource:
    """What `OTEL_RESOURCE_ATTRIBUTES` and the SDK say about one engine process."""
    return Resource.create(
        {
            "service.name": replica.service.name,
            "service.version": replica.service.version,
            "service.instance.id": replica.instance_id,
            "k8s.namespace.name": replica.service.namespace,
            "k8s.pod.name": replica.pod,
            "k8s.node.name": replica.node,
        }
    )


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
        return attributes | {"error.type": "timeout"}
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
    """One tracer provider per replica, as in the real cloud, all feeding one span processor."""

    def __init__(self, cloud: Cloud, processor: SpanProcessor) -> None:
        self._cloud = cloud
        self._ids = _GivenIds()
        self._processor = processor
        self._tracers: Mapping[int, Tracer] = {replica.ordinal: self._tracer(replica) for replica in cloud.replicas}

    def record(self, requests: NDArray[np.void]) -> None:
        """Start and end the span of each request, at its own times."""
        columns = RequestColumns(requests)
        for row in range(len(requests)):
            replica = self._cloud.replicas[int(columns.replica[row])]
            self._ids.trace_id = (int(columns.trace_id_high[row]) << 64) | int(columns.trace_id_low[row])
            self._ids.span_id = int(columns.span_id[row])
            span = self._tracers[replica.ordinal].start_span(
                SPAN_NAME,
                kind=SpanKind.SERVER,
                attributes=attributes_of(columns, row, replica, self._cloud.tenants),
                start_time=int(columns.start_ns[row]),
            )
            if columns.failed[row]:
                span.set_status(Status(StatusCode.ERROR, TIMEOUT_MESSAGE))
            span.end(end_time=int(columns.end_ns[row]))

    def shutdown(self) -> None:
        """Flush and stop the span processor."""
        self._processor.shutdown()

    def _tracer(self, replica: Replica) -> Tracer:
        provider = TracerProvider(resource=resource_of(replica), id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return provider.get_tracer(SCOPE)


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
