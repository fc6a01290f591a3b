"""Recorded telemetry, played back through the doors of a real collector: OTLP/HTTP, and an endpoint that is scraped.

Recordings are moved by whole days into the day before the last 24 hours: what a collector accepts depends on the
clock, and times of day, and with them all steps, stay as recorded.
"""

import asyncio
import base64
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from collector.scrape import Scraper
from collector.service import Collector
from collector.settings import CollectorSettings, ScrapeSettings, ScrapeTarget
from collector.sources import SourceName
from collector.telemetry import Telemetry
from storage.store import Store

TELEMETRY = Path(__file__).parents[3] / "shared" / "data" / "telemetry"

_DAY_S = 86_400
_SCRAPE = re.compile(r"# SCRAPE t=(?P<time_s>[\d.]+)(?: target=(?P<target>\S+))? status=(?P<status>\w+)\n")
_ID_FIELDS = {"traceId", "spanId", "parentSpanId"}
_TIME_FIELDS = {"startTimeUnixNano", "endTimeUnixNano", "timeUnixNano"}


class Shift:
    """Moves the times of one recording by whole days."""

    def __init__(self, recorded_s: float) -> None:
        self.seconds = int((time.time() - recorded_s) // _DAY_S - 1) * _DAY_S

    def moment(self, recorded_s: float) -> datetime:
        return datetime.fromtimestamp(recorded_s + self.seconds, UTC)


@dataclass(frozen=True, slots=True)
class RecordedScrape:
    """What one scrape of `target` was answered at `time_s`; a missed one was not answered at all."""

    time_s: float
    target: str
    missed: bool
    text: str

    def timed(self, shift: Shift) -> str:
        """The text with the time on each sample: an exporter may say when it sampled, and then that time counts."""
        stamp = f" {round((self.time_s + shift.seconds) * 1000)}"
        lines = (line if line.startswith("#") or not line.strip() else line + stamp for line in self.text.splitlines())
        return "\n".join(lines) + "\n"


def read_scrapes(file: Path, target: str = "") -> list[RecordedScrape]:
    """The scrapes of a recorded series, those of one target where it had several."""
    parts = _SCRAPE.split(gzip.decompress(file.read_bytes()).decode())[1:]
    scrapes = [
        RecordedScrape(float(time_s), name or "", status == "missed", text)
        for time_s, name, status, text in zip(parts[0::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    ]
    return [scrape for scrape in scrapes if not target or scrape.target == target]


def read_span_requests(file: Path, shift: Shift) -> list[ExportTraceServiceRequest]:
    """The export requests of a file of OTLP/JSON lines."""
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    return [
        json_format.ParseDict(_as_protobuf_json(json.loads(line), shift), ExportTraceServiceRequest()) for line in lines
    ]


def _as_protobuf_json(value: Any, shift: Shift) -> Any:
    """OTLP/JSON writes ids in hexadecimal; protobuf's own JSON writes bytes in base64."""
    if isinstance(value, list):
        return [_as_protobuf_json(element, shift) for element in value]
    if not isinstance(value, dict):
        return value
    converted = {}
    for key, element in value.items():
        if key in _ID_FIELDS:
            converted[key] = base64.b64encode(bytes.fromhex(element)).decode()
        elif key in _TIME_FIELDS:
            converted[key] = str(int(element) + shift.seconds * 10**9)
        else:
            converted[key] = _as_protobuf_json(element, shift)
    return converted


@contextmanager
def endpoint(texts: Iterable[str | None]) -> Iterator[str]:
    """An HTTP server that answers each GET with the next text; None, and what comes after the last, is a 503."""
    waiting = iter(texts)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = next(waiting, None)
            body = b"" if text is None else text.encode()
            self.send_response(503 if text is None else 200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
            """Nothing: the test says what came of it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="recorded-endpoint")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Doors:
    """The doors of a running collector, and its counters."""

    def __init__(self, collector: Collector, otlp_url: str) -> None:
        self._collector = collector
        self._otlp_url = otlp_url
        self._scraped = CollectorRegistry()
        self._scraper = Scraper(collector.intake, ScrapeSettings(), Telemetry(self._scraped))

    def send_spans(self, requests: Sequence[ExportTraceServiceRequest]) -> int:
        """POST each request, compressed; how many spans all of them held."""
        send_spans(self._otlp_url, requests)
        return spans_count(requests)

    def scrape(
        self,
        job: str,
        texts: Sequence[str | None],
        labels: Mapping[str, str] | None = None,
        source: SourceName = "prometheus",
    ) -> list[str]:
        """Scrape an endpoint that answers these texts one after the other; the result of each scrape."""

        async def all_of(url: str) -> list[str]:
            target = ScrapeTarget(job=job, source=source, url=url, labels=dict(labels or {}))
            async with self._scraper.session() as session:
                return [await self._scraper.scrape(session, target) for _ in texts]

        with endpoint(texts) as url:
            return asyncio.run(all_of(url))

    def dropped(self, job: str) -> dict[str, int]:
        """Scraped samples that were left out, by reason."""
        return {
            sample.labels["reason"]: int(sample.value)
            for family in self._scraped.collect()
            for sample in family.samples
            if sample.name == "tailsight_collector_dropped_samples_total" and sample.labels["job"] == job
        }

    def load(self) -> None:
        """Wait until all that was taken in can be asked for."""
        assert self._collector.flush(60), "the store did not take what was acknowledged"


@contextmanager
def open_doors(store: Store, folder: Path) -> Iterator[Doors]:
    """A collector that fills `store`, served on a free port of loopback."""
    collector = Collector(CollectorSettings(), store, folder, CollectorRegistry())
    collector.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(collector.otlp_app, log_level="warning", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="otlp")
        thread.start()
        try:
            yield Doors(collector, f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(timeout=60)
            collector.close()


def send_spans(otlp_url: str, requests: Sequence[ExportTraceServiceRequest]) -> None:
    """POST each request as protobuf, compressed with gzip; every span must be accepted."""
    headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
    with httpx.Client(headers=headers) as client:
        for request in requests:
            answer = client.post(f"{otlp_url}/v1/traces", content=gzip.compress(request.SerializeToString()))
            assert (answer.status_code, answer.content) == (200, b""), "not every span was accepted"


def spans_count(requests: Sequence[ExportTraceServiceRequest]) -> int:
    """How many spans these requests hold."""
    return sum(
        len(scope.spans)
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
    )
