"""Coverage-guided fuzzing of the OTLP/HTTP door with atheris, which is no dependency of ours: install it beside.

    python -m pip install atheris
    python -m tests.fuzz.otlp_http -max_total_time=600 -rss_limit_mb=2048 -timeout=5 CORPUS_FOLDER

The first byte of an input chooses the signal, the encoding and the packing, the rest is the body. A body is answered
with 200, 400 or 413, and leaves all of its items in the log or none: a traceback or a stall is a finding.
"""

import asyncio
import gzip
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["collector"]):
    from collector.admission import Admission
    from collector.intake import Intake
    from collector.receiver import OtlpHttpReceiver
    from collector.settings import AcceptedTimes, OtlpHttpSettings, WalSettings
    from collector.telemetry import Telemetry
    from collector.wal import WriteAheadLog

from prometheus_client import CollectorRegistry

LIMIT = 1 << 20
SIGNALS = ("traces", "metrics", "logs")
MEDIA_TYPES = (b"application/x-protobuf", b"application/json")
PACKINGS = (b"", b"gzip", b"zstd", b"deflate")
EMPTY_LOG_EVERY = 2000

registry = CollectorRegistry()
telemetry = Telemetry(registry)
wal = WriteAheadLog(Path(tempfile.mkdtemp()), WalSettings(fsync=False), telemetry)
intake = Intake(wal, AcceptedTimes(), telemetry)
receiver = OtlpHttpReceiver(
    Admission(intake, 1 << 30, telemetry), OtlpHttpSettings(body_bytes_max=LIMIT, body_timeout_s=3600), telemetry
)
loop = asyncio.new_event_loop()
requests = 0


def items_taken() -> float:
    names = ("tailsight_collector_accepted_items_total", "tailsight_collector_rejected_items_total")
    return sum(sample.value for family in registry.collect() for sample in family.samples if sample.name in names)


def status_of(signal: str, media_type: bytes, packing: bytes, body: bytes) -> int:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [(b"content-type", media_type), (b"content-encoding", packing)]
    scope = {"type": "http", "method": "POST", "path": f"/v1/{signal}", "headers": headers}
    loop.run_until_complete(receiver(scope, receive, send))
    status: int = sent[0]["status"]
    return status


def empty_log() -> None:
    wal.rotate(10)
    while (segment := wal.take(0)) is not None:
        wal.mark_loaded(segment)
    wal.checkpoint()


def one_input(data: bytes) -> None:
    global requests  # noqa: PLW0603  # atheris calls a plain function
    if not data:
        return
    choice, body = data[0], data[1:]
    signal, media_type, packing = SIGNALS[choice % 3], MEDIA_TYPES[choice // 3 % 2], PACKINGS[choice // 6 % 4]
    if packing == b"gzip" and choice >= 128:  # the fuzzer cannot guess a checksum
        body = gzip.compress(body, 1)
    before = items_taken()
    status = status_of(signal, media_type, packing, body)
    assert status in (200, 400, 413), status
    assert status == 200 or items_taken() == before, "a refused request left something"
    requests += 1
    if requests % EMPTY_LOG_EVERY == 0:
        empty_log()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
