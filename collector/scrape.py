"""The scraper: asks Prometheus endpoints for their samples, each on its own schedule, and puts them into the log."""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import aiohttp

from collector.errors import CollectorError, ScrapeError
from collector.exposition import Exposition, Origin, Reader, encoded, own_families
from collector.intake import Intake
from collector.schedule import every
from collector.series_log import SeriesLog
from collector.settings import ScrapeSettings, ScrapeTarget
from collector.sources import SOURCES
from collector.telemetry import Telemetry
from collector.threads import to_thread
from domain.address import shown
from domain.window import duration_text

log = logging.getLogger(__name__)

_HEADERS = {"accept": "text/plain;version=0.0.4;q=1,*/*;q=0.1", "accept-encoding": "gzip"}
_OPENMETRICS = "application/openmetrics-text"
# A connection outlives the pause between two scrapes of a slow schedule.
_KEEPALIVE_S = 90.0


@dataclass(slots=True)
class _Known:
    """What is remembered of a target from scrape to scrape; `None` where there is nothing yet."""

    target: ScrapeTarget
    reader: Reader
    log: SeriesLog
    down_since_unix_ns: int | None = None
    down_result: str | None = None
    is_other_source: bool = False


@dataclass(slots=True)
class _Wanted:
    """A target that a finder wants to be scraped, until it has ended."""

    target: ScrapeTarget
    delay_s: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    has_turn: bool = False
    task: "asyncio.Task[None] | None" = None

    def end(self) -> "asyncio.Task[None] | None":
        """Let it end; what is still under way for it."""
        self.ended.set()
        if self.task is not None and not self.has_turn:
            self.task.cancel()
        return self.task


@dataclass(frozen=True, slots=True)
class _Answer:
    """The body of an answer, decompressed."""

    body: bytes
    openmetrics: bool


class Scraper:
    """Scrapes targets, as long as they are wanted.

    Args:
        intake: where samples go, and `up` for each target.
        settings: how much of a target is taken, and how many at the same time.
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
        self._running = asyncio.Semaphore(settings.concurrency)
        self._known: dict[str, _Known] = {}  # by url, of those that `scrape` was asked for
        # By url: who has the lock scrapes, all others that want the same wait until it is let go.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @staticmethod
    def session() -> aiohttp.ClientSession:
        """What targets are asked with. Connections are kept: one a target, and no more scrapes than `concurrency`."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(),  # the caller has the one clock
        )

    async def run(self, targets: Sequence[ScrapeTarget]) -> None:
        """Scrape these targets until cancelled; returns at once without any."""
        if targets:
            await self.follow(_always(targets))

    async def follow(self, found: AsyncIterable[Sequence[ScrapeTarget]]) -> None:
        """Scrape the targets that were found last, until cancelled.

        A target that several find is scraped once, as whoever found it first wants it; when that one lets it go, as the
        next does.

        Args:
            found: all targets that there are, each time that they change. A new one is scraped from then on. Of one
                that is gone, or has changed, the scraping ends, and so do its series.
        """
        async with self.session() as session, asyncio.TaskGroup() as schedules:
            ours: dict[str, _Wanted] = {}
            async for targets in found:
                targets_by_url = {target.url: target for target in targets}
                changed = [url for url, wanted in ours.items() if wanted.target != targets_by_url.get(url)]
                ending = {url: ours.pop(url).end() for url in changed}
                new = [target for url, target in targets_by_url.items() if url not in ours]
                for number, target in enumerate(new):
                    # Spread over the interval, so that not all answer at once.
                    wanted = ours[target.url] = _Wanted(target, target.interval_s * number / len(new))
                    in_turn = self._scrape_in_turn(session, wanted, ending.get(target.url))
                    wanted.task = schedules.create_task(in_turn)

    async def scrape(self, session: aiohttp.ClientSession, target: ScrapeTarget) -> str:
        """Scrape one target once, and log what came of it; the result: `ok`, or what is wrong with it."""
        known = self._known.get(target.url)
        if known is None:
            known = self._known[target.url] = self._meet(target)
        return await self._scrape(session, known)

    def _meet(self, target: ScrapeTarget) -> _Known:
        origin = Origin(target.job, target.url, target.labels, target.honor_labels)
        return _Known(target, Reader(origin, SOURCES[target.source].ranges), SeriesLog(self._intake, origin))

    async def _scrape_in_turn(
        self, session: aiohttp.ClientSession, wanted: _Wanted, before: "asyncio.Task[None] | None"
    ) -> None:
        """Scrape on schedule while nobody else does, and once what was `before` has ended its series."""
        target = wanted.target
        if before is not None:
            await asyncio.wait({before})
        turn = self._turns.setdefault(target.url, asyncio.Lock())
        if turn.locked():
            log.warning("%s is found twice; it is scraped once, as it was found first", shown(target.url))
        async with turn:
            wanted.has_turn = True
            self._telemetry.targets.labels(target.job).inc()
            try:
                await self._scrape_on_schedule(session, wanted)
            finally:
                self._telemetry.targets.labels(target.job).dec()

    async def _scrape_on_schedule(self, session: aiohttp.ClientSession, wanted: _Wanted) -> None:
        known = self._meet(wanted.target)
        async for _ in every(wanted.target.interval_s, wanted.delay_s, wanted.ended):
            async with self._running:
                try:
                    await self._scrape(session, known)
                except Exception:
                    log.exception("scraping %s failed", shown(known.target.url))
                    self._telemetry.scrapes.labels(known.target.job, "internal").inc()
        await self._end_series(known)

    async def _scrape(self, session: aiohttp.ClientSession, known: _Known) -> str:
        target = known.target
        time_unix_ns = self._now_unix_ns()
        started_s = time.monotonic()
        exposition = Exposition()
        error: CollectorError | None = None
        result = "ok"
        try:
            answer = await self._fetch(session, target)
            exposition = await to_thread(self._read, known, answer, time_unix_ns)
            result = self._judge(known, exposition)
        except ScrapeError as failure:
            result, error = failure.reason, failure
        own = own_families(
            up=error is None, duration_s=time.monotonic() - started_s, samples_count=exposition.samples_count
        )
        told = encoded(own, known.log.origin, time_unix_ns=time_unix_ns, start_unix_ns=time_unix_ns)
        try:
            await known.log.put(exposition.beside(told), time_unix_ns)
        except CollectorError as failure:
            result, error = "not_logged", error or failure
        self._report(known, error, time_unix_ns)
        self._tell_down(known, result if error is not None else None)
        self._telemetry.scrapes.labels(target.job, result).inc()
        for reason, count in exposition.dropped.items():
            self._telemetry.dropped_samples.labels(target.job, reason).inc(count)
        return result

    async def _fetch(self, session: aiohttp.ClientSession, target: ScrapeTarget) -> _Answer:
        bytes_max = self._settings.body_bytes_max
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(target.timeout_s), session.get(target.url, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise ScrapeError("bad_status", f"answered {answer.status}, expected 200")
                async for chunk in answer.content.iter_any():
                    size += len(chunk)
                    if size > bytes_max:
                        raise ScrapeError("too_large", f"answered over {bytes_max} bytes")
                    chunks.append(chunk)
                return _Answer(b"".join(chunks), answer.content_type == _OPENMETRICS)
        except TimeoutError:
            raise ScrapeError("timeout", f"no whole answer within {target.timeout_s} s") from None
        except aiohttp.InvalidURL as error:  # its message is the URL
            raise ScrapeError("unreachable", f"{shown(target.url)} is no URL that can be asked") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ScrapeError("unreachable", f"{type(error).__name__}: {error}") from error

    def _read(self, known: _Known, answer: _Answer, time_unix_ns: int) -> Exposition:
        samples_max = self._settings.samples_max
        lines_count = answer.body.count(b"\n")
        if lines_count > 4 * samples_max:
            raise ScrapeError("too_large", f"{lines_count} lines; at most {samples_max} samples are taken")
        text = answer.body.decode("utf-8", errors="replace")
        exposition = known.reader.read(text, time_unix_ns, openmetrics=answer.openmetrics)
        if exposition.samples_count > samples_max:
            raise ScrapeError("too_large", f"{exposition.samples_count} samples; at most {samples_max} are taken")
        if not exposition.metrics:
            raise ScrapeError("empty", "answered 200 without any sample: the exporter is there, its data is not")
        return exposition

    def _judge(self, known: _Known, exposition: Exposition) -> str:
        """Is this the source that it should be; told once. What it exposes counts either way."""
        source = SOURCES[known.target.source]
        is_other_source = not source.recognises(exposition.series)
        if is_other_source and not known.is_other_source:
            log.warning(
                "%s target %s is no %s: no metric begins with %s; found %s, …. Its samples are kept. "
                "Correct the url, or the source of this target",
                known.target.job,
                shown(known.target.url),
                source.what,
                " or ".join(source.prefixes),
                ", ".join(list(exposition.series)[:3]),
            )
        known.is_other_source = is_other_source
        return "wrong_source" if is_other_source else "ok"

    async def _end_series(self, known: _Known) -> None:
        """Say of each series of a target that is gone that it has ended."""
        self._tell_down(known, None)
        try:
            await known.log.put(Exposition(), self._now_unix_ns())
        except CollectorError as error:
            name = f"{known.target.job} target {shown(known.target.url)}"
            log.warning("%s is gone, and the log does not take it: %s", name, error)
        except Exception:  # a defect in one must not end the scraping of all others
            log.exception("ending the series of %s failed", shown(known.target.url))

    def _report(self, known: _Known, error: CollectorError | None, time_unix_ns: int) -> None:
        """Tell once when a target begins to fail, and once when it is back; its counter tells of the rest."""
        name = f"{known.target.job} target {shown(known.target.url)}"
        if error is not None:
            log.log(logging.WARNING if known.down_since_unix_ns is None else logging.DEBUG, "%s %s", name, error)
            known.down_since_unix_ns = known.down_since_unix_ns or time_unix_ns
        elif known.down_since_unix_ns is not None:
            down_ms = (time_unix_ns - known.down_since_unix_ns) / 1e6
            log.warning("%s is back; it had failed for %s", name, duration_text(down_ms))
            known.down_since_unix_ns = None

    def _tell_down(self, known: _Known, result: str | None) -> None:
        """At /metrics: since when it is down, and what came of its last scrape; None: it is not, or not wanted."""
        labels = known.target.job, shown(known.target.url)
        if known.down_result not in (None, result):
            self._telemetry.target_down_since.remove(*labels, known.down_result)
        if result is not None and known.down_since_unix_ns is not None:
            self._telemetry.target_down_since.labels(*labels, result).set(known.down_since_unix_ns / 1e9)
        known.down_result = result


async def _always(targets: Sequence[ScrapeTarget]) -> AsyncIterator[Sequence[ScrapeTarget]]:
    yield targets
    await asyncio.Event().wait()
