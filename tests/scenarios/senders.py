"""Somebody who sends spans and points without a break, and knows what was acknowledged; and the process to send to."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from time import time_ns  # a test that makes the clock of this process jump leaves this one

import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from storage.store import Store

ROOT = Path(__file__).parents[2]
ITEMS_A_REQUEST = 50
PROTOBUF = "application/x-protobuf"
# Answers that promise that the same request may be taken later.
RETRYABLE = {429, 502, 503, 504}

Report = dict[str, dict[str, int]]
"""What a store holds: how many rows of each key, by the questions below."""

_QUESTIONS = {
    "spans": "SELECT SpanId, count() FROM otel_traces GROUP BY SpanId",
    "requests": "SELECT substring(trace_id, 17), count() FROM tailsight_requests GROUP BY trace_id",
    "traces": "SELECT substring(TraceId, 17), count() FROM otel_traces_trace_id_ts GROUP BY TraceId",
    "rollup": "SELECT 'all', sum(requests) FROM tailsight_request_rollup WHERE measure != 'ttft'",
    "points": "SELECT toString(toUInt64(Value)), count() FROM "
    "(SELECT Value FROM otel_metrics_gauge UNION ALL SELECT Value FROM otel_metrics_sum) GROUP BY Value",
    "samples": "SELECT toString(toUInt64(value)), count() FROM tailsight_samples GROUP BY value",
    "sample hours": "SELECT 'all', sum(samples) FROM tailsight_sample_hours",
    "nameless series": "SELECT 'all', uniqExact(series_id) FROM tailsight_samples "
    "WHERE series_id NOT IN (SELECT series_id FROM tailsight_series)",
    "quarantined": "SELECT 'all', sum(count) FROM tailsight_quarantine",
}


class CollectorProcess:
    """A collector in a process of its own; `port` is there once it is ready."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(_command("serve", folder), cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def wait_until_ready(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)

    def terminate(self) -> tuple[int, Counter[str]]:
        """How it ended, and its own counters, summed over their labels."""
        self.process.terminate()
        printed, _ = self.process.communicate(timeout=330)
        counters: Counter[str] = Counter()
        for family in text_string_to_metric_families(printed):
            for sample in family.samples:
                counters[sample.name.removeprefix("tailsight_collector_")] += int(sample.value)
        return self.process.returncode, counters


class Sender(threading.Thread):
    """Sends items that no other request has to whoever listens on `port`: spans, and then as many points.

    While `port` is None it waits.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.port: int | None = None
        self.stopped = threading.Event()
        self.acknowledged: dict[str, set[int]] = {"traces": set(), "metrics": set()}
        self.answers: Counter[int] = Counter()
        self.sent_items = 0

    def run(self) -> None:
        with httpx.Client(headers={"content-type": PROTOBUF}, timeout=60) as client:
            while not self.stopped.is_set():
                for signal in self.acknowledged:
                    port = self.port
                    if port is None:
                        time.sleep(0.01)
                    else:
                        self._send(client, signal, port)

    def stop(self) -> None:
        self.stopped.set()
        self.join(timeout=120)

    def _send(self, client: httpx.Client, signal: str, port: int) -> None:
        numbers = range(self.sent_items + 1, self.sent_items + 1 + ITEMS_A_REQUEST)
        self.sent_items = numbers[-1]
        body = trace_request(numbers) if signal == "traces" else points_request(numbers)
        try:
            answer = client.post(f"http://127.0.0.1:{port}/v1/{signal}", content=body)
        except httpx.HTTPError:  # it may or may not be there; a real sender would send it again
            time.sleep(0.01)
            return
        if answer.headers.get("content-type") != PROTOBUF:  # of somebody who got the port of one that was killed
            return
        self.answers[answer.status_code] += 1
        if answer.status_code == 200:
            assert not answer.content, answer.content
            self.acknowledged[signal].update(numbers)
        else:
            assert answer.status_code in RETRYABLE, answer.content
            time.sleep(0.01)


def trace_request(numbers: range) -> bytes:
    """One root span a number, which is its span id and the second half of its trace id."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "chat"
    spans = resource.scope_spans.add().spans
    now = time_ns()
    for number in numbers:
        span_id = number.to_bytes(8, "big")
        spans.add(
            trace_id=bytes(8) + span_id,
            span_id=span_id,
            name="llm_request",
            kind=2,
            start_time_unix_nano=now - 1_000_000_000,
            end_time_unix_nano=now,
        )
    return request.SerializeToString()


def points_request(numbers: range) -> bytes:
    """One point a number, which is its value: a gauge's and a counter's in turn, of four series each."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "chat"
    metrics = resource.scope_metrics.add().metrics
    gauge, counter = metrics.add(name="number").gauge, metrics.add(name="number_total").sum
    counter.aggregation_temporality = 2
    for number in numbers:
        point = (gauge, counter)[number % 2].data_points.add(time_unix_nano=time_ns(), as_double=number)
        point.attributes.add(key="of").value.string_value = str(number % 8)
    return request.SerializeToString()


def found_in(store: Store) -> Report:
    """What a store of this process holds."""
    assert store.engine is not None
    found = {}
    for name, statement in _QUESTIONS.items():
        lines = store.engine.read(statement, "TSV").body.decode().splitlines()
        found[name] = {key: int(count) for key, count in (line.split("\t") for line in lines)}
    return found


def report(folder: Path) -> Report:
    """What the store in a folder holds, asked in a process of its own."""
    finished = subprocess.run(_command("report", folder), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    answers: Report = json.loads(finished.stdout)
    return answers


def check_exactly_once(found: Report, acknowledged: dict[str, set[int]]) -> None:
    """Whatever was acknowledged is there once, in the tables and in all that is made of them.

    What was not acknowledged may be there too, but once as well, and everywhere.
    """
    spans, points = found["spans"], found["points"]
    assert {f"{number:016x}" for number in acknowledged["traces"]} <= spans.keys(), "an acknowledged span is missing"
    assert {str(number) for number in acknowledged["metrics"]} <= points.keys(), "an acknowledged point is missing"
    assert set(spans.values()) | set(points.values()) <= {1}, "something is there twice"
    for table in ("requests", "traces"):
        assert found[table] == spans, differences(found[table], spans)
    assert found["rollup"] == {"all": len(spans)}
    assert found["samples"] == points, differences(found["samples"], points)
    assert found["sample hours"] == {"all": len(points)}
    assert found["nameless series"] == {"all": 0}
    assert found["quarantined"] == {"all": 0}


def differences(found: dict[str, int], wanted: dict[str, int]) -> str:
    """What is where once too often or not at all."""
    often = sum(count > wanted.get(name, 0) for name, count in found.items())
    return f"missing {len(wanted.keys() - found.keys())}, too many {often}, of {len(wanted)}"


def _command(name: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.scenarios.collector_process", name, str(folder)]
