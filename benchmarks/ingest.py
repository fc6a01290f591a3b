"""Spans per CPU-second, from the socket to a row that can be queried; and a peer beside it.

    python -m benchmarks.ingest [--quick] [--runs N] [--spans N] [--spans-per-request N] [--no-peer]

A collector with an embedded store runs in a process of its own; the client sends OTLP/HTTP, gzip. Counted is all CPU
time of the server's process, every thread of the engine included: receive, unpack, check, log, sync, decode, write
`otel_traces`, and the views behind it (trace times, requests, request rollup). Once with merges stopped, and once, for
five times as long, with merges on, until those that are due are done. The client's CPU time is not counted. In a longer
time more is merged again: `benchmarks.soak` tells of twenty minutes.

The same is measured without the views, with the exporter's whole set of indexes, with requests of 10 spans, and with
OTLP/JSON; and how many bytes a span takes on the disk once all parts are merged into one.

The peer is rotel (benchmarks/rotel.py): the same client sends the same requests to it, it writes RowBinary to a sink
that is not counted, and the engine takes those very bytes into an `otel_traces` without views, merges stopped. The two
CPU times together are what "rotel + engine" cost. In ours there is more: a log that is synced, the check of each
request, deduplication; only the figure without views leaves the views out. In theirs the server's side of HTTP is left
out. Runs of ours and of theirs take turns, because machines are noisy; a ratio is the median over such pairs.
"""

import argparse
import base64
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from rich.table import Table

from benchmarks import rotel
from benchmarks.server import (
    WARM_UP_REQUESTS,
    Measurement,
    Payload,
    RefusedError,
    Server,
    machine,
    measure,
    median,
    merged,
    send,
    zipped,
)

SPANS_A_REQUEST = 512
SPANS_A_SMALL_REQUEST = 10
SPANS_A_TRACE = 4
DISTINCT_SPANS = 131_072
SPANS_A_RUN = 1_000_000  # of 300,000 a fifth of the CPU time is the clearing of memory that the engine asks for once
DISTINCT_JSON_REQUESTS = 32
JSON = "application/json"
MODELS = ("llama-70b", "llama-8b", "qwen-32b")
STAGES = (("POST /v1/chat/completions", 2), ("route", 1), ("llm_request", 2), ("prefill", 1))


Attributes: TypeAlias = Mapping[str, str | int | float | bool]
AttributesOfTrace: TypeAlias = Callable[[random.Random], Sequence[Attributes]]


@dataclass(frozen=True, slots=True)
class PeerMeasurement:
    """One run of the peer: its own CPU time, and the engine's for the rows that it wrote."""

    items: int
    cpu_s: float
    engine_cpu_s: float
    inserts: int

    @property
    def items_per_cpu_second(self) -> float:
        """The peer alone."""
        return self.items / self.cpu_s

    @property
    def items_per_cpu_second_with_engine(self) -> float:
        """The peer and the engine."""
        return self.items / (self.cpu_s + self.engine_cpu_s)


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes on the disk a span, of `otel_traces` and of each column of it."""

    bytes_per_span: float
    column_bytes_per_span: Mapping[str, float]


# -- the payload -------------------------------------------------------------------------------------------------------


def equal_attributes(randomness: random.Random) -> list[Attributes]:
    """Twelve attributes for each stage of a trace, named as vLLM and the GenAI conventions do, no two spans alike.

    That is more than services write: there is a request id and four latencies in each span, each time others.
    """
    return [
        {
            "gen_ai.request.model": randomness.choice(MODELS),
            "gen_ai.request.id": f"cmpl-{randomness.getrandbits(128):032x}",
            "gen_ai.request.max_tokens": randomness.choice((256, 1024, 4096)),
            "gen_ai.request.temperature": 0.7,
            "gen_ai.usage.prompt_tokens": int(randomness.lognormvariate(6, 1)),
            "gen_ai.usage.completion_tokens": int(randomness.lognormvariate(5, 1)),
            "gen_ai.latency.time_in_queue": randomness.expovariate(20),
            "gen_ai.latency.time_to_first_token": randomness.lognormvariate(-1, 0.5),
            "gen_ai.latency.time_in_model_prefill": randomness.lognormvariate(-2, 0.5),
            "gen_ai.latency.time_in_model_decode": randomness.lognormvariate(0, 1),
            "tenant.id": f"tenant-{int(randomness.paretovariate(1)) % 200}",
            "user.id": f"user-{randomness.randrange(100_000)}",
        }
        for _ in STAGES
    ]


def typical_attributes(randomness: random.Random) -> list[Attributes]:
    """What each stage of a trace is seen to write: a gateway by the HTTP conventions, a router, vLLM, its prefill."""
    tenant = f"tenant-{int(randomness.paretovariate(1)) % 200}"
    model = randomness.choice(MODELS)
    request_id = f"chatcmpl-{randomness.getrandbits(128):032x}"
    prompt_tokens = int(randomness.lognormvariate(6, 1))
    queue_s, prefill_s, decode_s = (randomness.lognormvariate(mean, 0.5) for mean in (-3, -2, 0))
    gateway: Attributes = {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": randomness.choices((200, 429, 500), (97, 2, 1))[0],
        "url.path": "/v1/chat/completions",
        "url.scheme": "https",
        "server.address": "api.example.com",
        "server.port": 443,
        "client.address": f"10.{randomness.randrange(16)}.{randomness.randrange(256)}.{randomness.randrange(256)}",
        "network.protocol.version": "1.1",
        "user_agent.original": randomness.choice(("openai-python/2.9.0", "openai-node/6.9.1", "curl/8.17.0")),
        "tenant.id": tenant,
        "user.id": f"user-{randomness.randrange(100_000)}",
    }
    router: Attributes = {
        "gen_ai.request.model": model,
        "gen_ai.request.id": request_id,
        "tenant.id": tenant,
        "router.policy": "prefix_cache_aware",
        "router.replica": f"llama-70b-{randomness.randrange(64)}",
        "router.candidates": 8,
        "router.queue_depth": randomness.randrange(20),
        "router.prefix_hit": randomness.random() < 0.4,
    }
    engine: Attributes = {
        "gen_ai.response.model": model,
        "gen_ai.request.id": request_id,
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.max_tokens": randomness.choice((256, 1024, 4096)),
        "gen_ai.request.n": 1,
        "gen_ai.usage.prompt_tokens": prompt_tokens,
        "gen_ai.usage.completion_tokens": int(randomness.lognormvariate(5, 1)),
        "gen_ai.latency.time_in_queue": queue_s,
        "gen_ai.latency.time_to_first_token": queue_s + prefill_s,
        "gen_ai.latency.time_in_model_prefill": prefill_s,
        "gen_ai.latency.time_in_model_decode": decode_s,
        "gen_ai.latency.time_in_model_inference": prefill_s + decode_s,
        "gen_ai.latency.e2e": queue_s + prefill_s + decode_s,
    }
    prefill: Attributes = {
        "gen_ai.request.id": request_id,
        "gen_ai.usage.prompt_tokens": prompt_tokens,
        "prefill.cached_tokens": randomness.randrange(prompt_tokens + 1),
        "prefill.chunks": 1 + prompt_tokens // 2048,
    }
    return [gateway, router, engine, prefill]


def request_body(
    randomness: random.Random,
    now_unix_ns: int,
    spans: int = SPANS_A_REQUEST,
    attributes_of_trace: AttributesOfTrace = equal_attributes,
) -> bytes:
    """One request as an inference service sends it: traces of four spans, random ids."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    add_attributes(
        resource_spans.resource.attributes,
        {
            "service.name": randomness.choice(("chat", "code", "search", "agents")),
            "service.version": "2026.11.3",
            "service.instance.id": f"llama-70b-{randomness.randrange(64)}",
            "k8s.pod.name": f"llama-70b-{randomness.randrange(64)}",
            "k8s.namespace.name": "serving",
            "k8s.node.name": f"gpu-node-{randomness.randrange(16):02}",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.version": "1.45.2",
        },
    )
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "vllm.llm_engine"
    while len(scope_spans.spans) < spans:
        trace_id, parent_id = randomness.randbytes(16), b""
        start = now_unix_ns - randomness.randrange(30 * 10**9)
        attributes = attributes_of_trace(randomness)
        for depth, (name, kind) in enumerate(STAGES[: spans - len(scope_spans.spans)]):
            span = scope_spans.spans.add(
                trace_id=trace_id,
                span_id=randomness.randbytes(8),
                parent_span_id=parent_id,
                name=name,
                kind=kind,
                start_time_unix_nano=start + depth * 1_000_000,
                end_time_unix_nano=start + int(randomness.lognormvariate(0, 1) * 1e9) // (depth + 1),
            )
            parent_id = span.span_id
            add_attributes(span.attributes, attributes[depth])
    body: bytes = request.SerializeToString()
    return body


def add_attributes(attributes: Any, values: Attributes) -> None:
    """Append values to a message's list of attributes, each as its own type."""
    for key, value in values.items():
        attribute = attributes.add(key=key).value
        match value:
            case bool():
                attribute.bool_value = value
            case str():
                attribute.string_value = value
            case int():
                attribute.int_value = value
            case float():
                attribute.double_value = value


def as_json(body: bytes) -> bytes:
    """The same request in OTLP/JSON, where ids are hexadecimal.

    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
    """
    request = MessageToDict(ExportTraceServiceRequest.FromString(body), use_integers_for_enums=True)
    for resource_spans in request["resourceSpans"]:
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                for key in {"traceId", "spanId", "parentSpanId"} & span.keys():
                    span[key] = base64.b64decode(span[key]).hex()
    return json.dumps(request, separators=(",", ":")).encode()


def payload(
    seed: int,
    requests: int,
    spans_a_request: int = SPANS_A_REQUEST,
    attributes_of_trace: AttributesOfTrace = equal_attributes,
) -> Payload:
    """Distinct requests, and others to warm up."""
    randomness = random.Random(seed)
    bodies = [
        request_body(randomness, time.time_ns(), spans_a_request, attributes_of_trace)
        for _ in range(WARM_UP_REQUESTS + requests)
    ]
    return zipped(bodies, spans_a_request)


def json_payload(seed: int, requests: int) -> Payload:
    """The same in JSON."""
    randomness = random.Random(seed)
    bodies = [as_json(request_body(randomness, time.time_ns())) for _ in range(WARM_UP_REQUESTS + requests)]
    return zipped(bodies, SPANS_A_REQUEST, content_type=JSON)


# -- runs of other kinds -----------------------------------------------------------------------------------------------


def measure_peer(binary: Path, sent: Payload, spans: int) -> PeerMeasurement:
    """One run of rotel, and of the engine with what it wrote.

    Raises:
        RuntimeError: when not all that was sent is in the store.
    """
    bodies = sent.of(spans)
    with tempfile.TemporaryDirectory(prefix="tailsight-bench-") as name:
        folder = Path(name)
        (rows := folder / "rows").mkdir()
        cpu_s, inserts = rotel.measure(
            binary, rows, lambda port: send(port, sent.warm_up), lambda port: send(port, bodies)
        )
        with Server(folder / "data", with_views=False) as server:
            before = server.ask(f"insert {rows} 0 {inserts.warm_up}")
            after = server.ask(f"insert {rows} {inserts.warm_up} {inserts.count}")
            server.quit()
    stored = after["traces"] - before["traces"]
    if stored != len(bodies) * sent.items_a_request:
        raise RuntimeError(f"sent {len(bodies) * sent.items_a_request} spans to rotel, it wrote {stored}")
    return PeerMeasurement(stored, cpu_s, after["cpu_s"] - before["cpu_s"], inserts.count - inserts.warm_up)


def measure_storage(sent: Payload) -> Storage:
    """Bytes on the disk of a span, when each body was sent once and all is one part."""
    state = merged(sent, ["otel_traces"], with_views=False)
    columns = {column: size / state["traces"] for column, size in state["span_bytes_by_column"].items()}
    return Storage(state["stored_bytes"]["otel_traces"] / state["traces"], columns)


# -- the report --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Runs:
    """All that was run; a list is empty when it was left out."""

    ours: Sequence[Measurement]
    merging: Sequence[Measurement]
    without_views: Sequence[Measurement]
    upstream_indexes: Sequence[Measurement]
    small: Sequence[Measurement]
    json: Sequence[Measurement]
    peer: Sequence[PeerMeasurement]
    storage: Storage
    storage_of_equal: Storage


def figures_of(runs: Runs) -> dict[str, Any]:
    """The figures by name; None for what was not measured."""
    ours = [run.items_per_cpu_second for run in runs.ours]
    bare = [run.items_per_cpu_second for run in runs.without_views]
    peer = [run.items_per_cpu_second_with_engine for run in runs.peer]
    return {
        "spans_per_cpu_second": median(ours),
        "spans_per_cpu_second_with_merges": median(rates_of(runs.merging)),
        "spans_per_cpu_second_without_views": median(bare),
        "spans_per_cpu_second_upstream_indexes": median(run.items_per_cpu_second for run in runs.upstream_indexes),
        "spans_per_cpu_second_10_span_requests": median(run.items_per_cpu_second for run in runs.small),
        "json_spans_per_cpu_second": median(run.items_per_cpu_second for run in runs.json),
        "rotel_spans_per_cpu_second": median(run.items_per_cpu_second for run in runs.peer),
        "rotel_and_engine_spans_per_cpu_second": median(peer),
        "ratio_to_rotel": median((a / b for a, b in zip(ours, peer, strict=False)), digits=2),
        "ratio_to_rotel_without_views": median((a / b for a, b in zip(bare, peer, strict=False)), digits=2),
        "spans_per_second_wall": median(run.items / run.wall_s for run in runs.ours),
        "stored_bytes_per_span": round(runs.storage.bytes_per_span, 1),
        "stored_bytes_per_span_of_equal_attributes": round(runs.storage_of_equal.bytes_per_span, 1),
        "peak_rss_mib": round(max(run.peak_rss_mib for run in runs.ours)),
        "runs": len(runs.ours),
        "measurements": [
            {name: value if value is None else round(value, 3) for name, value in asdict(run).items()}
            for run in runs.ours
        ],
    }


def report(console: Console, runs: Runs, figures: dict[str, Any], sent: Payload) -> None:
    """Print what was measured, and on what."""
    console.print(machine())
    console.print(
        f"{sent.items_a_request} spans of 12 attributes a request unless it says otherwise, "
        f"{sent.unzipped_bytes / sent.distinct_items:.0f} bytes a span, "
        f"{sum(map(len, sent.bodies)) / sent.distinct_items:.0f} gzipped; {len(sent.bodies)} distinct requests; "
        "half of the spans are requests of users"
    )
    table = Table(title="OTLP/HTTP to queryable rows: spans per CPU-second")
    table.add_column("what")
    for heading in ("runs", "spans a run", "median", "lowest", "highest"):
        table.add_column(heading, justify="right")
    for what, spans, rates in (
        ("Tailsight", spans_of(runs.ours), rates_of(runs.ours)),
        ("Tailsight, merges on", spans_of(runs.merging), rates_of(runs.merging)),
        ("Tailsight without views", spans_of(runs.without_views), rates_of(runs.without_views)),
        ("Tailsight, upstream indexes", spans_of(runs.upstream_indexes), rates_of(runs.upstream_indexes)),
        (f"Tailsight, {SPANS_A_SMALL_REQUEST} spans a request", spans_of(runs.small), rates_of(runs.small)),
        ("Tailsight, OTLP/JSON", spans_of(runs.json), rates_of(runs.json)),
        (f"rotel {rotel.VERSION} alone", spans_of(runs.peer), rates_of(runs.peer)),
        ("rotel + engine", spans_of(runs.peer), [run.items_per_cpu_second_with_engine for run in runs.peer]),
    ):
        if rates:
            shown = (statistics.median(rates), min(rates), max(rates))
            table.add_row(what, str(len(rates)), f"{spans:,}", *(f"{rate:,.0f}" for rate in shown))
    console.print(table)
    if runs.peer:
        console.print(
            f"To rotel + engine, which make no views: {figures['ratio_to_rotel']} times with all views, "
            f"{figures['ratio_to_rotel_without_views']} times without. rotel batches {rotel.BATCH_SPANS:,} spans or "
            f"{rotel.BATCH_TIMEOUT}, uncompressed; {runs.peer[-1].inserts} inserts a run. "
            "Its figure leaves out the server's side of HTTP; ours has a synced log and deduplication besides."
        )
    for what, storage in (("typical traces", runs.storage), ("the spans above", runs.storage_of_equal)):
        largest = sorted(storage.column_bytes_per_span.items(), key=lambda column: -column[1])[:6]
        console.print(
            f"otel_traces takes {storage.bytes_per_span:.1f} bytes a span of {what}, merged into one part; "
            + ", ".join(f"{name} {size:.1f}" for name, size in largest)
        )
    last = runs.ours[-1]
    console.print(
        f"The server's peak RSS was {figures['peak_rss_mib']} MiB. In the last run the last row could be queried "
        f"{last.lag_s:.1f} s after it was acknowledged; {last.parts} parts."
    )


def spans_of(runs: Sequence[Measurement | PeerMeasurement]) -> int:
    """Spans of one run; 0 when there was none."""
    return runs[0].items if runs else 0


def rates_of(runs: Sequence[Measurement | PeerMeasurement]) -> list[float]:
    """Spans per CPU-second of each run."""
    return [run.items_per_cpu_second for run in runs]


def run_all(console: Console, *, runs: int, spans: int, spans_a_request: int, with_peer: bool) -> tuple[Runs, Payload]:
    """Every run there is; what cannot be run here is left out, with its reason."""
    few = min(runs, 3)  # of what is only a variant
    distinct = min(DISTINCT_SPANS, spans)
    ours, merging, without_views, upstream, small, json_runs, peer = [], [], [], [], [], [], []
    with console.status("building requests") as status:
        sent = payload(1, distinct // spans_a_request, spans_a_request)
        binary = peer_binary(console) if with_peer else None
        for run in range(runs):
            status.update(f"run {run + 1} of {runs}")
            ours.append(measure(sent, spans))
            merging.append(measure(sent, 5 * spans, merges="on"))
            if binary:
                peer.append(measure_peer(binary, sent, spans))
            if run < few:
                without_views.append(measure(sent, spans, with_views=False))
                upstream.append(measure(sent, spans, index_profile="upstream"))
        status.update("small requests and JSON")
        small_sent, json_sent = payload(2, 2_000, SPANS_A_SMALL_REQUEST), json_payload(3, DISTINCT_JSON_REQUESTS)
        for run in range(few):
            small.append(measure(small_sent, spans // 10))
            try:
                json_runs.append(measure(json_sent, spans // 4))
            except RefusedError as error:
                if run == 0:
                    console.print(f"OTLP/JSON left out: {error}")
        status.update("bytes a span")
        typical = measure_storage(payload(4, distinct // SPANS_A_REQUEST, attributes_of_trace=typical_attributes))
        return Runs(
            ours, merging, without_views, upstream, small, json_runs, peer, typical, measure_storage(sent)
        ), sent


def peer_binary(console: Console) -> Path | None:
    """Rotel's program, or None with a line that says why."""
    try:
        return rotel.find_binary()
    except rotel.PeerMissingError as error:
        console.print(f"rotel left out: {error}")
        return None


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run of each, to see that it works")
    parser.add_argument("--runs", type=int, default=5, help="variants are run three times at most")
    parser.add_argument("--spans", type=int, default=SPANS_A_RUN, help="spans of a run; fewer of variants")
    parser.add_argument("--spans-per-request", type=int, default=SPANS_A_REQUEST)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="rotel beside ours")
    arguments = parser.parse_args()
    runs, spans = (1, 40_000) if arguments.quick else (arguments.runs, arguments.spans)
    console = Console()
    done, sent = run_all(
        console, runs=runs, spans=spans, spans_a_request=arguments.spans_per_request, with_peer=arguments.peer
    )
    figures = figures_of(done)
    report(console, done, figures, sent)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
