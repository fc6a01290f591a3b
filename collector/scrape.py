"""The scraper: asks Prometheus endpoints for their samples, each on its own schedule, and puts them into the log."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from collector.errors import CollectorError
from collector.exposition import Exposition, Family, Origin, Sample, parsed, to_request
from collector.intake import Intake
from collector.settings import ScrapeSettings, ScrapeTarget
from collector.telemetry import Telemetry

log = logging.getLogger(__name__)

_ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"


@dataclass(frozen=True, slots=True)
class Source:
    """What an endpoint of this source serves: at least one metric whose name begins with one of `prefixes`."""

    what: str
    prefixes: tuple[str, ...]


SOURCES: Mapping[str, Source] = {
    "dcgm": Source("NVIDIA dcgm-exporter", ("DCGM_", "dcgm_")),
    "node": Source("Prometheus node_exporter", ("node_",)),
    "prometheus": Source("any Prometheus endpoint", ("",)),
}
"""What can be scraped."""


class ScrapeError(CollectorError):
    """A scrape that brought nothing. `reason` is the label of its counter."""

    retryable = True

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Scraper:
    """Scrapes all targets of its settings.

    Args:
        intake: where samples go, and `up` for each target.
        settings: the targets, and how much of each is taken.
        telemetry: told of each scrape.
        now_unix_ns: the clock.
    """

    def __init__(
        self,
        intake: Intake,
        settings: ScrapeSettings,
        telemetry: Telemetry,
        now_unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._intake = intake
        self._settings = settings
        self._telemetry = telemetry
        self._now_unix_ns = now_unix_ns
        self._started_unix_ns: dict[str, int] = {}
        self._last_result: dict[str, str] = {}

    async def run(self, targets: Sequence[ScrapeTarget]) -> None:
        """Scrape these targets until cancelled."""
        if not targets:
            return
        running = asyncio.Semaphore(self._settings.concurrency)
        limits = httpx.Limits(max_connections=self._settings.concurrency)
        async with (
            httpx.AsyncClient(limits=limits, follow_redirects=False) as client,
            asyncio.TaskGroup() as schedules,
        ):
            for number, target in enumerate(targets):
                # Spread over the interval, so that not all answer at once.
                delay_s = target.interval_s * number / len(targets)
                schedules.create_task(self._scrape_on_schedule(client, target, running, delay_s))

    async def scrape(self, client: httpx.AsyncClient, target: ScrapeTarget) -> str:
        """Scrape one target once, and log what came of it; the result: `ok`, or why there is nothing."""
        time_unix_ns = self._now_unix_ns()
        started_s = time.monotonic()
        exposition = Exposition((), {})
        result = "ok"
        try:
            exposition = await self._fetch(client, target)
        except ScrapeError as error:
            result = error.reason
            self._report(target, error)
        duration_s = time.monotonic() - started_s
        own = _own_families(up=result == "ok", duration_s=duration_s, samples_count=exposition.samples_count)
        try:
            await asyncio.to_thread(self._put, target, [*exposition.families, *own], time_unix_ns)
        except CollectorError as error:
            result = "not_logged"
            self._report(target, error)
        self._last_result[target.url] = result
        self._telemetry.scrapes.labels(target.job, result).inc()
        for reason, count in exposition.dropped.items():
            self._telemetry.dropped_samples.labels(target.job, reason).inc(count)
        return result

    async def _scrape_on_schedule(
        self, client: httpx.AsyncClient, target: ScrapeTarget, running: asyncio.Semaphore, delay_s: float
    ) -> None:
        due_s = time.monotonic() + delay_s
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            async with running:
                try:
                    await self.scrape(client, target)
                except Exception:
                    log.exception("scraping %s failed", target.url)
                    self._telemetry.scrapes.labels(target.job, "internal").inc()
            # A scrape that took longer than the interval skips the ones it missed.
            missed = max(0.0, time.monotonic() - due_s) // target.interval_s
            due_s += (missed + 1) * target.interval_s

    async def _fetch(self, client: httpx.AsyncClient, target: ScrapeTarget) -> Exposition:
        try:
            async with asyncio.timeout(target.timeout_s):
                text = await self._read(client, target)
        except TimeoutError:
            raise ScrapeError("timeout", f"no whole answer within {target.timeout_s} s") from None
        except httpx.HTTPError as error:
            raise ScrapeError("unreachable", f"{type(error).__name__}: {error}") from error
        lines_count = text.count("\n")
        if lines_count > 4 * self._settings.samples_max:
            raise ScrapeError(
                "too_large", f"{lines_count} lines; at most {self._settings.samples_max} samples are taken"
            )
        exposition = await asyncio.to_thread(parsed, text)
        self._check(exposition, target)
        return exposition

    async def _read(self, client: httpx.AsyncClient, target: ScrapeTarget) -> str:
        chunks: list[bytes] = []
        size = 0
        # One clock only, that of the caller: httpx would time each read by itself.
        async with client.stream("GET", target.url, headers={"accept": _ACCEPT}, timeout=None) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ScrapeError("bad_status", f"answered {answer.status_code}, expected 200")
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                if size > self._settings.body_bytes_max:
                    raise ScrapeError("too_large", f"answered over {self._settings.body_bytes_max} bytes")
                chunks.append(chunk)
        return b"".join(chunks).decode("utf-8", errors="replace")

    def _check(self, exposition: Exposition, target: ScrapeTarget) -> None:
        if exposition.samples_count > self._settings.samples_max:
            raise ScrapeError(
                "too_large", f"{exposition.samples_count} samples; at most {self._settings.samples_max} are taken"
            )
        if not exposition.families:
            raise ScrapeError("empty", "answered 200 without any sample: the exporter is there, its data is not")
        source = SOURCES[target.source]
        if not any(family.name.startswith(source.prefixes) for family in exposition.families):
            names = ", ".join(family.name for family in exposition.families[:3])
            raise ScrapeError(
                "wrong_source",
                f"is no {source.what}: no metric begins with {' or '.join(source.prefixes)}; found {names}, …. "
                "Correct the url, or the source of this target",
            )

    def _put(self, target: ScrapeTarget, families: list[Family], time_unix_ns: int) -> None:
        start_unix_ns = self._started_unix_ns.setdefault(target.url, time_unix_ns)
        origin = Origin(target.job, target.url, target.labels)
        payload = to_request(families, origin, time_unix_ns=time_unix_ns, start_unix_ns=start_unix_ns)
        _, written = self._intake.put("metrics", payload)
        written.result()

    def _report(self, target: ScrapeTarget, error: CollectorError) -> None:
        """Tell once when a target begins to fail; its counter tells of the rest."""
        level = logging.WARNING if self._last_result.get(target.url, "ok") == "ok" else logging.DEBUG
        log.log(level, "%s target %s %s", target.job, target.url, error)


def _own_families(*, up: bool, duration_s: float, samples_count: int) -> list[Family]:
    """What Prometheus itself records about each scrape."""
    values = {
        "up": float(up),
        "scrape_duration_seconds": duration_s,
        "scrape_samples_scraped": float(samples_count),
    }
    return [Family(name, "gauge", samples=[Sample(name, {}, value)]) for name, value in values.items()]
