"""Spans per CPU-second, from the socket to a row that can be queried.

    python -m benchmarks.ingest [--quick] [--runs N] [--spans N]

A collector with an embedded store runs in a process of its own; the client sends OTLP/HTTP, protobuf, gzip. Counted is
all CPU time of the server's process, every thread of the engine included: receive, unpack, check, log, sync, decode,
write `otel_traces`, and the views behind it (trace times, requests, request rollup). Once with merges stopped, and once
with merges on, until nothing is left to merge. The client's CPU time is not counted.
"""

import argparse
import asyncio
import gzip
import http.client
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from collector.service import Collector
from collector.settings import CollectorSettings
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings
from storage.store import Store

ROOT = Path(__file__).parent.parent
SPANS_A_REQUEST = 512
SPANS_A_TRACE = 4
CONNECTIONS = 4
DISTINCT_REQUESTS = 128
WARM_UP_REQUESTS = 8


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run: spans that can be queried, and what they took."""

    spans: int
    cpu_s: float
    cpu_s_with_merges: float
    wall_s: float
    lag_s: float
    parts: int

    @property
    def spans_per_cpu_second(self) -> float:
        """Merges stopped."""
        return self.spans / self.cpu_s

    @property
    def spans_per_cpu_second_with_merges(self) -> float:
        """Until nothing was left to merge."""
        return self.spans / self.cpu_s_with_merges


# -- the payload ---------------------------------------------------------------------------------------------------


def request_body(randomness: random.Random, now_unix_ns: int) -> bytes:
    """One request as an inference service sends it: traces of four spans, random ids, 12 attributes a span."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    for key, value in {
        "service.name": randomness.choice(("chat", "code", "search", "agents")),
        "service.version": "2026.11.3",
        "service.instance.id": f"llama-70b-{randomness.randrange(64)}",
        "k8s.pod.name": f"llama-70b-{randomness.randrange(64)}",
        "k8s.namespace.name": "serving",
        "k8s.node.name": f"gpu-node-{randomness.randrange(16):02}",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "1.45.2",
    }.items():
        resource_spans.resource.attributes.add(key=key).value.string_value = value
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "vllm.llm_engine"
    for _ in range(SPANS_A_REQUEST // SPANS_A_TRACE):
        trace_id, parent_id = randomness.randbytes(16), b""
        start = now_unix_ns - randomness.randrange(30 * 10**9)
        for depth, (name, kind) in enumerate(
            (("POST /v1/chat/completions", 2), ("route", 1), ("llm_request", 2), ("prefill", 1))
        ):
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
            add_attributes(span, randomness)
    body: bytes = request.SerializeToString()
    return body


def add_attributes(span: Any, randomness: random.Random) -> None:
    """The twelve attributes of a span: names as vLLM and the GenAI conventions write them."""
    values: dict[str, str | int | float] = {
        "gen_ai.request.model": randomness.choice(("llama-70b", "llama-8b", "qwen-32b")),
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
    for key, value in values.items():
        attribute = span.attributes.add(key=key).value
        if isinstance(value, str):
            attribute.string_value = value
        elif isinstance(value, int):
            attribute.int_value = value
        else:
            attribute.double_value = value


# -- the server's process ------------------------------------------------------------------------------------------


def cpu_s() -> float:
    """CPU time of this process and of the children it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def ask(store: Store, statement: str) -> list[list[Any]]:
    """The rows that a statement answers."""
    if store.engine is None:
        raise ValueError("the benchmark measures an embedded store")
    answer = store.engine.read(statement, "JSONCompactEachRow").body
    return [json.loads(line) for line in answer.splitlines()]


def serve(folder: Path) -> None:
    """Print the port, then obey one command a line: `flush`, `merge`, `quit`; each answers one JSON object."""
    store = open_owned(StoreSettings(url=f"chdb://{folder}"))
    migrate(store)
    store.execute("SYSTEM STOP MERGES")
    collector = Collector(CollectorSettings(), store, folder, CollectorRegistry())
    collector.start()
    server = uvicorn.Server(uvicorn.Config(collector.otlp_app, port=0, log_level="warning", lifespan="off"))

    def run() -> None:
        asyncio.run(server.serve())

    threading.Thread(target=run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    for line in sys.stdin:
        match line.strip():
            case "flush":
                collector.flush(600)
            case "merge":
                store.execute("SYSTEM START MERGES")
                wait_for_merges(store)
            case "quit":
                break
        ((spans,),) = ask(store, "SELECT count() FROM otel_traces")
        ((requests,),) = ask(store, "SELECT count() FROM tailsight_requests")
        ((rolled_up,),) = ask(store, "SELECT sum(requests) FROM tailsight_request_rollup WHERE measure != 'ttft'")
        ((parts,),) = ask(store, "SELECT count() FROM system.parts WHERE active AND table = 'otel_traces'")
        answer = {"cpu_s": cpu_s(), "spans": int(spans), "parts": int(parts), "rollup": int(requests) == int(rolled_up)}
        print(json.dumps(answer), flush=True)
    collector.close()
    store.close()
    os._exit(0)  # the server's thread serves for ever


def wait_for_merges(store: Store) -> None:
    """Until no merge has begun for three seconds."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 3:
        time.sleep(0.2)
        if ask(store, "SELECT 1 FROM system.merges LIMIT 1"):
            quiet_since = time.monotonic()


# -- the client ----------------------------------------------------------------------------------------------------


class Server:
    """The server's process, as the client sees it."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ingest", "--serve", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._read_line())

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command; what it answers."""
        self._write_line(command)
        answer: dict[str, Any] = json.loads(self._read_line())
        return answer

    def quit(self) -> None:
        """End the process."""
        self._write_line("quit")
        self._process.communicate(timeout=60)

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _write_line(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)


def send(port: int, bodies: Sequence[bytes]) -> None:
    """Send each body, over a few connections, each waiting for its answers."""

    def send_share(share: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        for body in share:
            connection.request("POST", "/v1/traces", body, headers)
            answer = connection.getresponse()
            if answer.read() or answer.status != http.client.OK:
                raise RuntimeError(f"the server answered {answer.status}")
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send_share, [bodies[first::CONNECTIONS] for first in range(CONNECTIONS)]))


def measure(bodies: Sequence[bytes], requests: int) -> Measurement:
    """One run against a fresh server."""
    with tempfile.TemporaryDirectory(prefix="tailsight-bench-") as folder:
        server = Server(Path(folder) / "data")
        send(server.port, bodies[:WARM_UP_REQUESTS])
        before = server.ask("flush")
        started_s = time.monotonic()
        send(server.port, list(islice(cycle(bodies), requests)))
        sent_s = time.monotonic()
        loaded = server.ask("flush")
        loaded_s = time.monotonic()
        merged = server.ask("merge")
        server.quit()
    spans = loaded["spans"] - before["spans"]
    if spans != requests * SPANS_A_REQUEST or not merged["rollup"]:
        raise RuntimeError(f"sent {requests * SPANS_A_REQUEST} spans, {spans} are in the store")
    return Measurement(
        spans=spans,
        cpu_s=loaded["cpu_s"] - before["cpu_s"],
        cpu_s_with_merges=merged["cpu_s"] - before["cpu_s"],
        wall_s=loaded_s - started_s,
        lag_s=loaded_s - sent_s,
        parts=loaded["parts"],
    )


def report(console: Console, runs: Sequence[Measurement], wire_bytes: int, body_bytes: int) -> dict[str, Any]:
    """Print the table; the figures."""
    table = Table(title="OTLP/HTTP to queryable rows, one server process")
    for heading in ("run", "spans", "CPU s", "spans / CPU s", "with merges", "wall s", "last row after, s", "parts"):
        table.add_column(heading, justify="right")
    for number, run in enumerate(runs, start=1):
        table.add_row(
            str(number),
            f"{run.spans:,}",
            f"{run.cpu_s:.2f}",
            f"{run.spans_per_cpu_second:,.0f}",
            f"{run.spans_per_cpu_second_with_merges:,.0f}",
            f"{run.wall_s:.1f}",
            f"{run.lag_s:.2f}",
            str(run.parts),
        )
    console.print(f"{os.cpu_count()} CPUs, {platform.machine()}, {cpu_model()}, Python {platform.python_version()}")
    console.print(
        f"{SPANS_A_REQUEST} spans of 12 attributes a request, {body_bytes / SPANS_A_REQUEST:.0f} bytes a span, "
        f"{wire_bytes / SPANS_A_REQUEST:.0f} gzipped; {DISTINCT_REQUESTS} distinct requests; "
        "half of the spans are requests"
    )
    console.print(table)
    return {
        "spans_per_cpu_second": round(statistics.median(run.spans_per_cpu_second for run in runs)),
        "spans_per_cpu_second_with_merges": round(
            statistics.median(run.spans_per_cpu_second_with_merges for run in runs)
        ),
        "spans_per_second_wall": round(statistics.median(run.spans / run.wall_s for run in runs)),
        "runs": len(runs),
        "measurements": [{name: round(value, 3) for name, value in asdict(run).items()} for run in runs],
    }


def cpu_model() -> str:
    """What the machine says about its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--spans", type=int, default=400_000, help="spans of a run")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    runs, spans = (1, 40_000) if arguments.quick else (arguments.runs, arguments.spans)
    randomness = random.Random(1)
    raw_bodies = [request_body(randomness, time.time_ns()) for _ in range(DISTINCT_REQUESTS)]
    bodies = [gzip.compress(body, 6) for body in raw_bodies]
    measurements = [measure(bodies, -(-spans // SPANS_A_REQUEST)) for _ in range(runs)]
    wire_bytes = round(statistics.mean(map(len, bodies)))
    figures = report(Console(), measurements, wire_bytes, round(statistics.mean(map(len, raw_bodies))))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
