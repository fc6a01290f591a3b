"""The scraper against real endpoints on loopback: good ones, and all that can be wrong with one."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.intake import Intake
from collector.scrape import SOURCES, Scraper
from collector.settings import AcceptedTimes, ScrapeSettings, ScrapeTarget, WalSettings
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog, read_segment, segments_in

DCGM = b'# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{gpu="0"} 93\nDCGM_FI_DEV_GPU_UTIL{gpu="1"} N/A\n'
NODE = b"# TYPE node_load1 gauge\nnode_load1 0.5\n"

Samples = Callable[[], dict[str, float]]


@contextlib.asynccontextmanager
async def endpoint(
    body: bytes, *, status: int = 200, hang: bool = False, length: int | None = None
) -> AsyncIterator[str]:
    """An HTTP server that gives every request the same answer; its URL."""
    closing = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            if hang:
                await closing.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
        closing.set()


@pytest.fixture
def wal(tmp_path: Path, telemetry: Telemetry) -> Iterator[WriteAheadLog]:
    log = WriteAheadLog(tmp_path, WalSettings(segment_age_s=3600), telemetry)
    yield log
    log.close()


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    """What is in the log: the last value of each gauge, by name."""

    def read() -> dict[str, float]:
        values = {}
        for segment in segments_in(tmp_path):
            for frame in read_segment(segment).frames:
                for resource in ExportMetricsServiceRequest.FromString(frame.payload).resource_metrics:
                    for metric in resource.scope_metrics[0].metrics:
                        values[metric.name] = metric.gauge.data_points[-1].as_double
        return values

    return read


def scrape_once(
    wal: WriteAheadLog,
    telemetry: Telemetry,
    body: bytes,
    source: Any = "dcgm",
    settings: ScrapeSettings | None = None,
    **how: Any,
) -> str:
    """Scrape an endpoint that answers so; the result."""

    async def scrape() -> str:
        scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), settings or ScrapeSettings(), telemetry)
        async with endpoint(body, **how) as url, httpx.AsyncClient() as client:
            return await scraper.scrape(client, ScrapeTarget(job="gpus", source=source, url=url, timeout_s=0.5))

    return asyncio.run(scrape())


def test_samples_and_up_come_into_the_log(
    wal: WriteAheadLog, telemetry: Telemetry, samples: Samples, counted: Callable[..., float]
) -> None:
    assert scrape_once(wal, telemetry, DCGM) == "ok"
    values = samples()
    assert values.pop("scrape_duration_seconds") > 0
    assert values == {"DCGM_FI_DEV_GPU_UTIL": 93, "up": 1, "scrape_samples_scraped": 1}
    assert counted("scrapes_total", job="gpus", result="ok") == 1
    assert counted("dropped_samples_total", job="gpus", reason="unreadable") == 1


FAILURES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "hangs before its body": ("timeout", b"", {"hang": True, "length": 100}),
    "hangs amid its body": ("timeout", DCGM, {"hang": True, "length": 10_000}),
    "breaks off": ("unreachable", DCGM, {"length": 10_000}),
    "answers an error": ("bad_status", b"broken", {"status": 500}),
    "redirects": ("bad_status", b"", {"status": 302}),
    "is empty": ("empty", b"", {}),
    "has metadata only": ("empty", b"# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n", {}),
    "is somebody else": ("wrong_source", NODE, {}),
    "is a web page": ("empty", b"<html><body>Sign in</body></html>", {}),
    "is binary": ("empty", bytes(range(256)), {}),
    "is too large": ("too_large", DCGM * 50, {"settings": ScrapeSettings(body_bytes_max=1024)}),
    "has too many samples": (
        "too_large",
        b"".join(b"DCGM_%d 1\n" % number for number in range(20)),
        {"settings": ScrapeSettings(samples_max=10)},
    ),
    "has far too many lines": ("too_large", b"DCGM_X 1\n" * 50, {"settings": ScrapeSettings(samples_max=10)}),
}


@pytest.mark.parametrize(("result", "body", "how"), FAILURES.values(), ids=FAILURES.keys())
def test_a_target_that_fails_is_down_and_counted_and_brings_no_sample(
    wal: WriteAheadLog,
    telemetry: Telemetry,
    samples: Samples,
    counted: Callable[..., float],
    caplog: pytest.LogCaptureFixture,
    result: str,
    body: bytes,
    how: dict[str, Any],
) -> None:
    assert scrape_once(wal, telemetry, body, **how) == result
    values = samples()
    assert values.keys() == {"up", "scrape_duration_seconds", "scrape_samples_scraped"}
    assert (values["up"], values["scrape_samples_scraped"]) == (0, 0)
    assert counted("scrapes_total", job="gpus", result=result) == 1
    assert "gpus target http://127.0.0.1" in caplog.text


def test_a_target_of_another_source_is_told_what_it_should_be(
    wal: WriteAheadLog, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    scrape_once(wal, telemetry, NODE)
    assert "is no NVIDIA dcgm-exporter: no metric begins with DCGM_" in caplog.text
    assert "found node_load1" in caplog.text


@pytest.mark.parametrize(("source", "body"), [("dcgm", DCGM), ("node", NODE), ("prometheus", NODE)])
def test_each_source_takes_its_own(wal: WriteAheadLog, telemetry: Telemetry, source: str, body: bytes) -> None:
    assert source in SOURCES
    assert scrape_once(wal, telemetry, body, source) == "ok"


def test_a_target_that_nobody_answers_for_is_unreachable(wal: WriteAheadLog, telemetry: Telemetry) -> None:
    async def scrape() -> str:
        async with endpoint(b"") as url:
            pass
        scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)
        async with httpx.AsyncClient() as client:
            return await scraper.scrape(client, ScrapeTarget(job="gpus", url=url))

    assert asyncio.run(scrape()) == "unreachable"


def test_a_failing_target_is_told_of_once(
    wal: WriteAheadLog, telemetry: Telemetry, caplog: pytest.LogCaptureFixture, counted: Callable[..., float]
) -> None:
    async def scrape() -> None:
        scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)
        async with endpoint(b"") as url, httpx.AsyncClient() as client:
            for _ in range(3):
                await scraper.scrape(client, ScrapeTarget(job="gpus", url=url))

    asyncio.run(scrape())
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert counted("scrapes_total", job="gpus", result="empty") == 3


def test_counters_are_watched_since_the_first_scrape(wal: WriteAheadLog, telemetry: Telemetry, tmp_path: Path) -> None:
    now = time.time_ns()
    clock = iter([now, now + 15 * 10**9])

    async def scrape() -> None:
        intake = Intake(wal, AcceptedTimes(), telemetry)
        scraper = Scraper(intake, ScrapeSettings(), telemetry, now_unix_ns=lambda: next(clock))
        async with endpoint(b"# TYPE x counter\nx 1\n") as url, httpx.AsyncClient() as client:
            for _ in range(2):
                await scraper.scrape(client, ScrapeTarget(job="gpus", url=url))

    asyncio.run(scrape())
    (segment,) = segments_in(tmp_path)
    points = [
        ExportMetricsServiceRequest.FromString(frame.payload)
        .resource_metrics[0]
        .scope_metrics[0]
        .metrics[0]
        .sum.data_points[0]
        for frame in read_segment(segment).frames
    ]
    assert points[0].start_time_unix_nano == points[1].start_time_unix_nano == points[0].time_unix_nano
    assert points[1].time_unix_nano - points[0].time_unix_nano == 15 * 10**9


def test_each_target_is_scraped_on_its_own_schedule_although_another_hangs(
    wal: WriteAheadLog, telemetry: Telemetry, counted: Callable[..., float]
) -> None:
    async def scrape() -> None:
        async with endpoint(DCGM) as good, endpoint(b"", hang=True, length=1) as hanging:
            targets = (
                ScrapeTarget(job="good", source="dcgm", url=good, interval_s=0.02),
                ScrapeTarget(job="hanging", url=hanging, interval_s=0.02, timeout_s=0.1),
            )
            intake = Intake(wal, AcceptedTimes(), telemetry)
            running = asyncio.create_task(Scraper(intake, ScrapeSettings(), telemetry).run(targets))

            def enough() -> bool:
                good_count = counted("scrapes_total", job="good", result="ok")
                return good_count >= 5 and counted("scrapes_total", job="hanging", result="timeout") >= 2

            while not enough():  # noqa: ASYNC110  # a counter wakes nobody
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(asyncio.wait_for(scrape(), 30))


def test_without_targets_there_is_nothing_to_do(wal: WriteAheadLog, telemetry: Telemetry) -> None:
    asyncio.run(Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry).run(()))
