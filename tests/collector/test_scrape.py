"""The scraper against real endpoints on loopback: good ones, and all that can be wrong with one."""

import asyncio
import contextlib
import gzip
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client import CollectorRegistry

from collector.intake import Intake
from collector.scrape import Scraper
from collector.settings import AcceptedTimes, ScrapeSettings, ScrapeTarget, WalSettings
from collector.sources import SOURCES
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog, read_segment, segments_in

DCGM = b'# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{gpu="0"} 93\nDCGM_FI_DEV_GPU_UTIL{gpu="1"} N/A\n'
NODE = b"# TYPE node_load1 gauge\nnode_load1 0.5\n"

Samples = Callable[[], dict[str, float]]


@contextlib.asynccontextmanager
async def endpoint(
    body: bytes, *, status: int = 200, hang: bool = False, length: int | None = None, headers: str = ""
) -> AsyncIterator[str]:
    """An HTTP server that gives every request the same answer; its URL."""
    closing = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body) if length is None else length}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            if hang:
                await closing.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
        closing.set()


@contextlib.asynccontextmanager
async def answering(bodies: Sequence[bytes]) -> AsyncIterator[str]:
    """An HTTP server that answers these one after the other; its URL."""
    left = iter(bodies)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = next(left)
        writer.write(f"HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"


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
        async with endpoint(body, **how) as url, scraper.session() as session:
            return await scraper.scrape(session, ScrapeTarget(job="gpus", source=source, url=url, timeout_s=0.5))

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


def test_what_is_scraped_is_plain(wal: WriteAheadLog, telemetry: Telemetry) -> None:
    assert scrape_once(wal, telemetry, DCGM) == "ok"
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    assert all(frame.is_plain for frame in read_segment(segment).frames)


FAILURES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "hangs before its body": ("timeout", b"", {"hang": True, "length": 100}),
    "hangs amid its body": ("timeout", DCGM, {"hang": True, "length": 10_000}),
    "breaks off": ("unreachable", DCGM, {"length": 10_000}),
    "answers an error": ("bad_status", b"broken", {"status": 500}),
    "redirects": ("bad_status", b"", {"status": 302}),
    "is empty": ("empty", b"", {}),
    "has metadata only": ("empty", b"# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n", {}),
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


def test_a_target_of_another_source_is_told_once_what_it_should_be_and_its_samples_stay(
    wal: WriteAheadLog,
    telemetry: Telemetry,
    samples: Samples,
    caplog: pytest.LogCaptureFixture,
    counted: Callable[..., float],
) -> None:
    scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)

    async def scrape() -> None:
        async with endpoint(NODE) as url, scraper.session() as session:
            for _ in range(3):
                await scraper.scrape(session, ScrapeTarget(job="gpus", source="dcgm", url=url))

    asyncio.run(scrape())
    (told,) = [record.getMessage() for record in caplog.records]
    assert "is no NVIDIA dcgm-exporter: no metric begins with DCGM_" in told
    assert "found node_load1" in told
    assert counted("scrapes_total", job="gpus", result="wrong_source") == 3
    assert (samples()["node_load1"], samples()["up"]) == (0.5, 1)


@pytest.mark.parametrize(("source", "body"), [("dcgm", DCGM), ("node", NODE), ("prometheus", NODE)])
def test_each_source_takes_its_own(wal: WriteAheadLog, telemetry: Telemetry, source: str, body: bytes) -> None:
    assert source in SOURCES
    assert scrape_once(wal, telemetry, body, source) == "ok"


def test_a_target_that_nobody_answers_for_is_unreachable(wal: WriteAheadLog, telemetry: Telemetry) -> None:
    async def scrape() -> str:
        async with endpoint(b"") as url:
            pass
        scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)
        async with scraper.session() as session:
            return await scraper.scrape(session, ScrapeTarget(job="gpus", url=url))

    assert asyncio.run(scrape()) == "unreachable"


def test_a_failing_target_is_told_of_once(
    wal: WriteAheadLog, telemetry: Telemetry, caplog: pytest.LogCaptureFixture, counted: Callable[..., float]
) -> None:
    async def scrape() -> None:
        scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)
        async with endpoint(b"") as url, scraper.session() as session:
            for _ in range(3):
                await scraper.scrape(session, ScrapeTarget(job="gpus", url=url))

    asyncio.run(scrape())
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert counted("scrapes_total", job="gpus", result="empty") == 3


def test_a_target_is_told_as_down_with_its_last_result_until_it_is_back(
    wal: WriteAheadLog, telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    seconds = iter((100, 115, 130, 145))

    async def scrape() -> list[dict[str, float]]:
        """Since when it is down by result, after each scrape."""
        scraper = Scraper(
            Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry, lambda: next(seconds) * 10**9
        )
        told = []
        async with answering([NODE, b"", b"no metrics at all", NODE]) as url, scraper.session() as session:
            target = ScrapeTarget(job="nodes", url=url.replace("://", "://ann:s3cret@"))
            for _ in range(4):
                await scraper.scrape(session, target)
                told.append(down_since(url))
        return told

    def down_since(url: str) -> dict[str, float]:
        name = "tailsight_collector_scrape_target_down_since_timestamp_seconds"
        samples = [sample for family in registry.collect() for sample in family.samples if sample.name == name]
        assert [sample for sample in samples if (sample.labels["job"], sample.labels["target"]) != ("nodes", url)] == []
        return {sample.labels["result"]: sample.value for sample in samples}

    assert asyncio.run(scrape()) == [{}, {"empty": 115.0}, {"empty": 115.0}, {}]


def test_counters_are_watched_since_the_first_scrape(wal: WriteAheadLog, telemetry: Telemetry, tmp_path: Path) -> None:
    now = time.time_ns()
    clock = iter([now, now + 15 * 10**9])

    async def scrape() -> None:
        intake = Intake(wal, AcceptedTimes(), telemetry)
        scraper = Scraper(intake, ScrapeSettings(), telemetry, now_unix_ns=lambda: next(clock))
        async with endpoint(b"# TYPE x counter\nx 1\n") as url, scraper.session() as session:
            for _ in range(2):
                await scraper.scrape(session, ScrapeTarget(job="gpus", url=url))

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


def test_a_target_that_is_back_is_told_of_once(
    wal: WriteAheadLog, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)

    async def scrape() -> None:
        async with scraper.session() as session, answering([b"", b"", NODE, NODE]) as url:
            for _ in range(4):
                await scraper.scrape(session, ScrapeTarget(job="nodes", url=url))

    asyncio.run(scrape())
    down, back = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "without any sample" in down
    assert re.search(r"nodes target http://\S+ is back; it had failed for [\d.]+ m?s$", back)


def test_the_password_in_a_url_is_never_logged(
    wal: WriteAheadLog, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)

    async def scrape() -> list[str]:
        async with scraper.session() as session, answering([b"", NODE]) as url:
            with_password = url.replace("http://", "http://ann:s3cret@")
            target = ScrapeTarget(job="gpus", source="dcgm", url=with_password)
            odd = ScrapeTarget(job="gpus", url="http://ann:s3cret@[::1]x/metrics")
            return [await scraper.scrape(session, one) for one in (target, target, odd)]

    assert asyncio.run(scrape()) == ["empty", "wrong_source", "unreachable"]
    assert re.search(r"gpus target http://127\.0\.0\.1:\d+/metrics is back", caplog.text)
    assert "s3cret" not in caplog.text


def flags(tmp_path: Path) -> list[tuple[str, int]]:
    """Every gauge in the log, and whether it has ended."""
    return [
        (metric.name, point.flags)
        for segment in segments_in(tmp_path)
        for frame in read_segment(segment).frames
        for resource in ExportMetricsServiceRequest.FromString(frame.payload).resource_metrics
        for metric in resource.scope_metrics[0].metrics
        for point in metric.gauge.data_points
        if not metric.name.startswith("scrape_")
    ]


def test_series_of_a_target_that_fails_end_once_and_begin_again_when_it_is_back(
    wal: WriteAheadLog, telemetry: Telemetry, tmp_path: Path
) -> None:
    scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)

    async def scrape() -> None:
        async with scraper.session() as session, answering([NODE, b"", b"", NODE]) as url:
            for _ in range(4):
                await scraper.scrape(session, ScrapeTarget(job="nodes", url=url))

    asyncio.run(scrape())
    assert flags(tmp_path) == [
        ("node_load1", 0),
        ("up", 0),
        ("up", 0),
        ("node_load1", 1),
        ("up", 0),
        ("node_load1", 0),
        ("up", 0),
    ]


def test_an_answer_may_be_packed_with_gzip(wal: WriteAheadLog, telemetry: Telemetry, samples: Samples) -> None:
    assert scrape_once(wal, telemetry, gzip.compress(DCGM), headers="Content-Encoding: gzip\r\n") == "ok"
    assert samples()["DCGM_FI_DEV_GPU_UTIL"] == 93


def test_a_packed_answer_is_too_large_by_what_it_unpacks_to(wal: WriteAheadLog, telemetry: Telemetry) -> None:
    packed = gzip.compress(b"x 1\n" * 10_000)
    settings = ScrapeSettings(body_bytes_max=len(packed) + 2000)
    result = scrape_once(wal, telemetry, packed, "prometheus", settings, headers="Content-Encoding: gzip\r\n")
    assert result == "too_large"


def test_openmetrics_is_known_by_its_content_type(
    wal: WriteAheadLog, telemetry: Telemetry, samples: Samples, counted: Callable[..., float]
) -> None:
    body = b'# TYPE x unknown\nx 7 # {trace_id="a"} 1\n# EOF\n'
    how = {"headers": "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"}
    assert scrape_once(wal, telemetry, body, "prometheus", **how) == "ok"
    assert samples()["x"] == 7
    assert counted("dropped_samples_total", job="gpus", reason="exemplar") == 1


def test_a_value_out_of_the_range_of_its_source_is_dropped(
    wal: WriteAheadLog, telemetry: Telemetry, counted: Callable[..., float]
) -> None:
    assert scrape_once(wal, telemetry, DCGM + b'DCGM_FI_DEV_GPU_UTIL{gpu="2"} 4294967295\n') == "ok"
    assert counted("dropped_samples_total", job="gpus", reason="out_of_range") == 1


def test_targets_that_come_are_scraped_and_of_those_that_go_all_series_end(
    wal: WriteAheadLog, telemetry: Telemetry, tmp_path: Path, counted: Callable[..., float]
) -> None:
    async def scrape() -> None:
        scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)
        told: asyncio.Queue[tuple[ScrapeTarget, ...]] = asyncio.Queue()

        async def found() -> AsyncIterator[tuple[ScrapeTarget, ...]]:
            while True:
                yield await told.get()

        async def until(job: str, scrapes: float) -> None:
            while counted("scrapes_total", job=job, result="ok") < scrapes:  # noqa: ASYNC110  # a counter wakes nobody
                await asyncio.sleep(0.01)

        async with endpoint(NODE) as first_url, endpoint(NODE) as second_url:
            first = ScrapeTarget(job="first", url=first_url, interval_s=0.02)
            second = ScrapeTarget(job="second", url=second_url, interval_s=0.02)
            following = asyncio.create_task(scraper.follow(found()))
            told.put_nowait((first,))
            await until("first", 2)
            told.put_nowait((first, second))
            await until("second", 2)
            assert counted("scrape_targets", job="first") == 1
            told.put_nowait((second.model_copy(update={"labels": {"rack": "r7"}}),))
            scrapes = counted("scrapes_total", job="second", result="ok")
            await until("second", scrapes + 3)
            assert counted("scrape_targets", job="first") == 0
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following

    asyncio.run(asyncio.wait_for(scrape(), 30))
    ends = [name for name, flag in flags(tmp_path) if flag]
    assert sorted(ends) == ["node_load1", "node_load1", "up", "up"], "the first, and the second under its old labels"


class Followed:
    """A scraper that follows several finders, each of which finds what it is told."""

    def __init__(self, wal: WriteAheadLog, telemetry: Telemetry, finders: int = 1) -> None:
        self.scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)
        self._told: list[asyncio.Queue[tuple[ScrapeTarget, ...]]] = [asyncio.Queue() for _ in range(finders)]

    def tell(self, finder: int, *targets: ScrapeTarget) -> None:
        self._told[finder].put_nowait(targets)

    async def __aenter__(self) -> "Followed":
        self._following = [asyncio.create_task(self.scraper.follow(self._found(queue))) for queue in self._told]
        return self

    async def __aexit__(self, *_: object) -> None:
        for following in self._following:
            following.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    @staticmethod
    async def _found(
        told: "asyncio.Queue[tuple[ScrapeTarget, ...]]",
    ) -> AsyncIterator[tuple[ScrapeTarget, ...]]:
        while True:
            yield await told.get()


async def scraped(counted: Callable[..., float], job: str, more: int = 2) -> None:
    """Wait for so many more scrapes of a job."""
    enough = counted("scrapes_total", job=job, result="ok") + more
    while counted("scrapes_total", job=job, result="ok") < enough:  # noqa: ASYNC110  # a counter wakes nobody
        await asyncio.sleep(0.01)


def test_a_target_that_two_find_is_scraped_once_and_by_the_other_when_the_first_lets_it_go(
    wal: WriteAheadLog, telemetry: Telemetry, caplog: pytest.LogCaptureFixture, counted: Callable[..., float]
) -> None:
    async def scrape() -> None:
        async with endpoint(NODE) as url, Followed(wal, telemetry, finders=2) as followed:
            first = ScrapeTarget(job="first", url=url, interval_s=0.02)
            second = ScrapeTarget(job="second", url=url, interval_s=0.02)
            other = ScrapeTarget(job="other", url=f"{url}/other", interval_s=0.02)
            followed.tell(0, first)
            await scraped(counted, "first")
            followed.tell(1, second)
            followed.tell(1, second, other)
            await scraped(counted, "other")
            assert not counted("scrapes_total", job="second", result="ok")
            assert counted("scrape_targets", job="second") == 0
            followed.tell(0)
            await scraped(counted, "second")
            assert (counted("scrape_targets", job="first"), counted("scrape_targets", job="second")) == (0, 1)

    asyncio.run(asyncio.wait_for(scrape(), 30))
    assert caplog.text.count("is found twice; it is scraped once") == 1


def test_a_target_that_is_let_go_while_it_waits_is_never_scraped(
    wal: WriteAheadLog, telemetry: Telemetry, counted: Callable[..., float]
) -> None:
    async def scrape() -> None:
        async with endpoint(NODE) as url, Followed(wal, telemetry, finders=2) as followed:
            other = ScrapeTarget(job="other", url=f"{url}/other", interval_s=0.02)
            followed.tell(0, ScrapeTarget(job="first", url=url, interval_s=0.02))
            await scraped(counted, "first")
            followed.tell(1, ScrapeTarget(job="second", url=url, interval_s=0.02), other)
            await scraped(counted, "other", 1)
            followed.tell(1, other)
            await scraped(counted, "other")
            followed.tell(0)
            await scraped(counted, "other")
            assert not counted("scrapes_total", job="second", result="ok")

    asyncio.run(asyncio.wait_for(scrape(), 30))


def test_a_configured_target_that_is_also_found_waits_and_ends_nothing(
    wal: WriteAheadLog, telemetry: Telemetry, counted: Callable[..., float]
) -> None:
    async def scrape() -> None:
        async with endpoint(NODE) as url, Followed(wal, telemetry) as followed:
            target = ScrapeTarget(job="nodes", url=url, interval_s=0.02)
            followed.tell(0, target)
            await scraped(counted, "nodes")
            static = asyncio.create_task(followed.scraper.run([target]))
            await scraped(counted, "nodes")
            assert not static.done(), "its end would end the process"
            static.cancel()
            await asyncio.gather(static, return_exceptions=True)

    asyncio.run(asyncio.wait_for(scrape(), 30))


def test_series_of_a_target_that_changes_end_before_its_next_scrape(
    wal: WriteAheadLog, telemetry: Telemetry, tmp_path: Path, counted: Callable[..., float]
) -> None:
    async def scrape() -> None:
        async with endpoint(NODE) as url, Followed(wal, telemetry) as followed:
            target = ScrapeTarget(job="nodes", url=url, interval_s=3600)
            for timeout_s in (1.0, 2.0, 3.0):
                followed.tell(0, target.model_copy(update={"timeout_s": timeout_s}))
                await scraped(counted, "nodes", 1)

    asyncio.run(asyncio.wait_for(scrape(), 30))
    assert [flag for name, flag in flags(tmp_path) if name == "node_load1"] == [0, 1, 0, 1, 0]


def test_series_that_end_while_the_log_fails_are_told_of_when_it_is_back(
    wal: WriteAheadLog, telemetry: Telemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scraper = Scraper(Intake(wal, AcceptedTimes(), telemetry), ScrapeSettings(), telemetry)
    sync = os.fdatasync
    is_full = False

    def failing_sync(handle: int) -> None:
        if is_full:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fdatasync", failing_sync)

    async def scrape() -> None:
        nonlocal is_full
        async with scraper.session() as session, answering([NODE + b"gone 1\n", NODE, NODE]) as url:
            target = ScrapeTarget(job="nodes", url=url)
            assert await scraper.scrape(session, target) == "ok"
            is_full = True
            assert await scraper.scrape(session, target) == "not_logged"
            is_full = False
            while (result := await scraper.scrape(session, target)) == "not_logged":
                pass
            assert result == "ok"

    asyncio.run(asyncio.wait_for(scrape(), 30))
    assert [flag for name, flag in flags(tmp_path) if name == "gone"] == [0, 1]
