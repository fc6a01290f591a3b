"""kill -9 ten times during ingest: what was acknowledged is there, exactly once, in spans and all made of them."""

import json
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = Path(__file__).parents[2]
SPANS_A_REQUEST = 50
KILLS = 10


def command(name: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.scenarios.collector_process", name, str(folder)]


class Child:
    """A collector process, ready to be sent to."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(command("serve", folder), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)

    def terminate(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=60)
        return self.process.returncode


class Sender(threading.Thread):
    """Sends spans that no other request has, without a break, to whoever listens on `port`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.port: int | None = None
        self.stopped = threading.Event()
        self.acknowledged: set[str] = set()
        self.sent = 0

    def run(self) -> None:
        with httpx.Client(headers={"content-type": "application/x-protobuf"}, timeout=30) as client:
            while not self.stopped.is_set():
                body, span_ids = self.fresh_request()
                # What is not acknowledged may or may not be there; a real sender would send it again.
                with suppress(httpx.HTTPError):
                    answer = client.post(f"http://127.0.0.1:{self.port}/v1/traces", content=body)
                    assert answer.status_code == 200, answer.content
                    self.acknowledged |= span_ids
                    continue
                time.sleep(0.01)

    def fresh_request(self) -> tuple[bytes, set[str]]:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "chat"
        spans = resource.scope_spans.add().spans
        now = time.time_ns()
        span_ids = set()
        for _ in range(SPANS_A_REQUEST):
            self.sent += 1
            span_id = self.sent.to_bytes(8, "big")
            spans.add(
                trace_id=bytes(8) + span_id,
                span_id=span_id,
                name="llm_request",
                kind=2,
                start_time_unix_nano=now - 1_000_000_000,
                end_time_unix_nano=now,
            )
            span_ids.add(span_id.hex())
        return request.SerializeToString(), span_ids


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_doubled_by_ten_kills(tmp_path: Path) -> None:
    moments = random.Random(20261123)
    folder = tmp_path / "data"
    sender = Sender()
    for kill in range(KILLS):
        child = Child(folder)
        sender.port = child.port
        if kill == 0:
            sender.start()
        time.sleep(moments.uniform(0.05, 1.0))
        child.kill()
    child = Child(folder)
    sender.port = child.port
    time.sleep(0.5)
    sender.stopped.set()
    sender.join(timeout=60)
    assert child.terminate() == 0, "SIGTERM drains within its deadline"
    assert not list((folder / "wal").glob("*.wal")), "what is loaded is removed from the log"

    finished = subprocess.run(command("report", folder), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(finished.stdout)
    spans = report["span_counts"]
    assert len(sender.acknowledged) > 1000
    assert sender.acknowledged <= spans.keys(), "an acknowledged span is missing"
    assert set(spans.values()) == {1}, "a span is there twice"
    assert {trace_id[16:]: count for trace_id, count in report["request_counts"].items()} == spans
    assert report["rollup_requests"] == {"all": len(spans)}
    assert report["quarantined"] == {"all": 0}
