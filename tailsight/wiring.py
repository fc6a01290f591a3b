"""Putting the parts together, in one straight line, and taking them down in the other direction.

One process, one event loop in a thread of its own: OTLP, pages and API, and for an embedded store the gateway, each on
a port of its own; beside them the scraper and the analysis.
"""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from uvicorn.loops.auto import auto_loop_factory

from alerts.checks import notification_channels
from alerts.handling import note_notified
from alerts.notification import Notification
from alerts.service import Alerting
from alerts.sources import ALERTNAMES_BY_SOURCE, AlertContext, AlertSources, Evaluation, SourceFailures, StoreFindings
from analytics.jobs.explaining import explain_window
from analytics.jobs.incidents import analyze
from analytics.jobs.objectives import RecentCounts
from analytics.yaml_text import read_yaml
from api.app import create_api
from api.auth import admits
from api.context import Health, LoaderState
from collector.service import Collector
from collector.settings import ScrapeTarget
from dashboards.app import create_dashboard
from domain.address import http_url, local_url
from domain.freshness import Looks
from domain.incident import Incident
from domain.topology import Topology, TopologyError, topology_from_document
from domain.window import Window
from reports.delivery import WeeklyDelivery
from reports.incident import incident_report
from reports.postmortem import postmortem
from reports.service import WeeklyReports
from storage.asking import ask_in_daemon
from storage.catch_up import CatchUp
from storage.errors import StoreError, StoreUnavailableError
from storage.gateway import Gateway
from storage.incidents import read_incidents, read_open_incidents
from storage.migrate import migrate
from storage.open import open_owned, open_store, write_gateway_address
from storage.rollup import count_unknown_hours
from storage.topology import write_topology
from storage.upstream import sources
from tailsight.errors import ServeError, SettingsError
from tailsight.memory import keep_freed_memory
from tailsight.objectives import Objectives
from tailsight.settings import Settings, listens_openly
from tailsight.telemetry import AnalysisTelemetry, BuildTelemetry, CatchUpTelemetry
from tailsight.upkeep import Upkeep

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 20.0
_GRACE_SECONDS = 5
_STORE_AGAIN_SECONDS = 5
_SCRAPER = "scraper"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running application is reached."""

    web_url: str
    otlp_http_url: str
    otlp_grpc_url: str


class Application:
    """All of Tailsight in one process. `start`, then `stop`.

    What was opened is closed again in the other order, by `stop` or by whatever fails on the way.

    Raises:
        SettingsError: when the configuration must not be served, or the topology cannot be used.
        ServeError: when a port cannot be listened on.
        StoreError, LogUnavailableError: when the data folder cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        openly = listens_openly(settings)
        if openly is not None:
            raise SettingsError(openly)
        keep_freed_memory()
        self._settings = settings
        self._pricing = settings.cost.to_job()
        self._job = settings.analytics.to_job(settings.knowledge.known, self._pricing)
        self._registry = CollectorRegistry()
        BuildTelemetry(self._registry)
        ProcessCollector(registry=self._registry)
        self._analysis = AnalysisTelemetry(self._registry)
        self._looks: Looks | None = None  # before the analysis begins
        self._catching_up = CatchUpTelemetry(self._registry)
        self._sockets: dict[str, socket.socket] = {}
        self._is_store_prepared = False
        self._began_work_at = _now()
        with contextlib.ExitStack() as opened:
            self._open(opened)
            self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self._run, name="tailsight", daemon=True)
        self._ready = threading.Event()
        self._failure: ServeError | None = None
        self._on_failure: Callable[[], None] = lambda: None
        self._background: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def _open(self, opened: contextlib.ExitStack) -> None:
        settings = self._settings
        web, otlp, otlp_grpc = settings.web, settings.collector.otlp_http, settings.collector.otlp_grpc
        self._sockets["web"] = opened.enter_context(_listen(web.host, web.port, "web.port"))
        self._web_url = web.public_url or http_url(*self._sockets["web"].getsockname()[:2])
        self._sockets["otlp"] = opened.enter_context(_listen(otlp.host, otlp.port, "collector.otlp_http.port"))
        if otlp_grpc.port:  # gRPC opens its port by itself, and later; one that is taken is told now
            _listen(otlp_grpc.host, otlp_grpc.port, "collector.otlp_grpc.port").close()
        path = settings.store.embedded_path
        series_max = settings.collector.cardinality.series_per_metric_max
        self.store = (open_owned if path else open_store)(settings.store, series_max)
        opened.callback(self.store.close)
        self._topology = _topology_of(settings.topology.file) if settings.topology.file is not None else None
        self._upkeep = Upkeep(self.store, settings, self._registry)
        self.objectives = Objectives(self.store, settings.promised, _now)
        if path is None and settings.collector.wal.folder is None:
            log.warning(
                "what is acknowledged and not loaded yet lies in %s, where a start from another folder would not find "
                "it: set collector.wal.folder",
                Path("data", "wal").absolute(),
            )
        self._counts = RecentCounts(self.store, settings.knowledge.known)
        self.alerting = Alerting(
            self.store, settings.alerts, self._registry, _now, lambda: self.addresses.web_url, self._note_notified
        )
        self._sources = AlertSources(
            StoreFindings(self.store, self._counts, self._pricing),
            self.objectives,
            AlertContext(settings.alerts, settings.knowledge.known, self._web_url, SourceFailures(self._registry)),
            lambda: [one.alert.labels for one in self.alerting.alerts()],
            began=lambda: self._began_work_at,
            waits=lambda: self.collector.loading()[1],
        )
        self.weekly_reports = WeeklyReports(
            self.store,
            settings.reports.weekly,
            settings.knowledge.known,
            lambda: self._pricing,
            self.objectives,
            _now,
            lambda: self.addresses.web_url,
        )
        self._weekly_delivery = WeeklyDelivery(
            self.store, self.weekly_reports, settings.reports.weekly, settings.alerts.config, self._registry, _now
        )
        token = settings.auth.token
        self.collector = Collector(
            settings.collector,
            self.store,
            path,
            self._registry,
            admits(token.get_secret_value()) if token is not None else None,
            full=lambda: self._upkeep.full_reason,
        )
        opened.callback(self.collector.close)
        self._apps = self._asgi_apps()
        if path is not None:
            self._sockets["gateway"] = opened.enter_context(
                _listen("127.0.0.1", settings.store.gateway_port, "store.gateway_port")
            )
            web_url = local_url(*self._sockets["web"].getsockname()[:2])
            address = write_gateway_address(path, self._sockets["gateway"].getsockname()[1], web_url)
            gateway = Gateway(self.store, address.token)
            opened.callback(gateway.close)
            self._apps["gateway"] = gateway
            self._prepare_store()  # a server is waited for, with the doors open

    def _prepare_store(self) -> None:
        """Bring the store up to date and read from it what must be known before anything is loaded into it.

        After an error half-way it is done once more.

        Raises:
            StoreError: when the store does not answer, or cannot be used.
        """
        migrate(self.store)
        count_unknown_hours(self.store)
        self._reads_others = bool(sources(self.store))  # at start, so that a table that cannot be read is told at once
        if self._topology is not None:
            write_topology(self.store, self._topology, _now())
        self.alerting.restore()
        self._is_store_prepared = True

    @property
    def addresses(self) -> Addresses:
        """Where people and senders reach it; a free port for gRPC is known once it is started."""
        otlp = http_url(*self._sockets["otlp"].getsockname()[:2])
        otlp_grpc = http_url(self._settings.collector.otlp_grpc.host, self.collector.otlp_grpc.port)
        return Addresses(self._web_url, otlp, otlp_grpc)

    @property
    def failure(self) -> ServeError | None:
        """Why it ended without being asked to; None when it did not."""
        return self._failure

    def start(self, on_failure: Callable[[], None] = lambda: None) -> Addresses:
        """Serve from a thread of its own; returns once every port answers.

        Args:
            on_failure: called, in that thread, when it ends without being asked to; `failure` says why, and `stop`
                is still to be called.

        Raises:
            ServeError: when a part does not begin. Everything is closed then.
        """
        self._on_failure = on_failure
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self.stop()
            raise self._failure
        return self.addresses

    def stop(self) -> bool:
        """Take no more, load what was acknowledged, close; False when loading had to be left to the next start.

        Started or not, and as often as one likes.
        """
        if self._thread.is_alive():
            self._ready.wait()
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
                    self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        drained = self.collector.drain(_DRAIN_SECONDS)
        self._opened.close()
        return drained

    def scrape_also(self, targets: Sequence[ScrapeTarget]) -> None:
        """Scrape these targets too, from now until `stop`."""
        if self._loop is None:
            raise RuntimeError("scrape_also before start")
        asyncio.run_coroutine_threadsafe(self._scrape(targets), self._loop).result()

    def scrape_no_more(self) -> None:
        """Scrape nothing from now on, for the targets are about to end."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError, TimeoutError):  # the loop has ended by itself meanwhile
                asyncio.run_coroutine_threadsafe(self._end_scraping(), self._loop).result(_GRACE_SECONDS)

    def open_incidents(self) -> list[Incident]:
        """What is going on now."""
        return read_open_incidents(self.store, _now())

    def analyze_now(self, window: Window) -> None:
        """One evaluation of a window, as the scheduler does every half minute: incidents, budgets, and their alerts.

        Raises:
            Exception: whatever kept incidents from being found. All other alerts have been posted then.
        """
        now = _now()
        failure: Exception | None = None
        try:
            incidents = analyze(self.store, window, now, self.objectives(), self._job)
        except Exception as error:  # budgets, devices and traffic are evaluated all the same
            failure, incidents = error, self._known_incidents(window)
        self.alerting.post(self._sources.alerts(Evaluation(incidents, window, now)))
        unknown = self._sources.unknown.union(ALERTNAMES_BY_SOURCE["incidents"] if failure else ())
        if unknown:
            self.alerting.keep_firing(unknown)
        if failure is not None:
            raise failure

    def _known_incidents(self, window: Window) -> list[Incident]:
        """The incidents that earlier looks found in a window; none where the store does not answer."""
        try:
            return read_incidents(self.store, window)
        except StoreError:
            return []

    def _note_notified(self, notification: Notification, now: datetime) -> None:
        note_notified(self.store, notification, now)

    def _asgi_apps(self) -> dict[str, Any]:
        settings = self._settings
        web = create_api(
            self.store,
            settings.api,
            now=_now,
            health=Health(
                loader=lambda: LoaderState(*self.collector.loading(), has_begun=self.collector.has_begun),
                looks=lambda: self._looks,
            ),
            metrics_text=lambda: generate_latest(self._registry),
            objectives=self.objectives,
            knowledge=settings.knowledge.known,
            explain=partial(explain_window, settings=self._job),
            render_report=partial(
                incident_report,
                knowledge=settings.knowledge.known,
                notifies_anybody=bool(notification_channels(settings.alerts)),
            ),
            render_postmortem=partial(
                postmortem,
                knowledge=settings.knowledge.known,
                web_url=self._web_url,
                trace_link=settings.dashboards.trace_link,
            ),
            alerting=self.alerting,
            pricing=lambda: self._pricing,
            weekly_reports=self.weekly_reports,
            token=settings.auth.token,
            public_url=settings.web.public_url,
        )
        pages = settings.dashboards.model_copy(update={"otlp_http_url": self.addresses.otlp_http_url})
        create_dashboard(
            web,
            self.store,
            pages,
            objectives=self.objectives,
            now=_now,
            analysis=self._job,
            ingest=self.collector.report,
            alerting=self.alerting,
            pricing=lambda: self._pricing,
            counts=self._counts,
            weekly_reports=self.weekly_reports,
            report_problems=self._weekly_delivery.problems,
            looks=lambda: self._looks,
        )
        return {"web": web, "otlp": self.collector.otlp_app}

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:  # nobody else sees how a thread ends
            self._fail(f"serving ended: {error!r}", error)
        self._ready.set()
        if self._failure is not None:
            self._on_failure()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        servers = {name: _Server(server_config(app, name)) for name, app in self._apps.items()}
        serving = [
            self._watched(server.serve(sockets=[self._sockets[name]]), f"server of {name}")
            for name, server in servers.items()
        ]
        try:
            while not (  # noqa: ASYNC110  # uvicorn offers no event
                self._stopping.is_set() or all(server.started for server in servers.values())
            ):
                await asyncio.sleep(0.02)
            if not self._stopping.is_set():
                await self._open_doors()
                await self._wait_for_store()
            if not self._stopping.is_set():
                self._begin_work()
                self._ready.set()
            await self._stopping.wait()
        finally:
            self._stopping.set()
            for task in self._background:
                task.cancel()
            for server in servers.values():
                server.should_exit = True
            stopping_grpc = self.collector.otlp_grpc.stop(_GRACE_SECONDS)
            await asyncio.gather(stopping_grpc, *self._background, *serving, return_exceptions=True)

    async def _open_doors(self) -> None:
        """Take in what comes, and fetch what is to be fetched: it goes to the log, whether or not the store answers."""
        await self.collector.otlp_grpc.start()
        await self._scrape(self._settings.collector.scrape.targets)
        if self._settings.collector.scrape.discovers:
            self._background.add(self._watched(self.collector.discover_forever(), "discovery"))
        if self._settings.collector.fabric.reads:
            self._background.add(self._watched(self.collector.read_fabric_forever(), "fabric reader"))

    async def _wait_for_store(self) -> None:
        """Ask again and again, until the store answers or there is an end to it."""
        asyncio.get_running_loop().call_later(_STORE_AGAIN_SECONDS, self._ready.set)  # also where it hangs
        while not (self._is_store_prepared or self._stopping.is_set()):
            try:
                await self._or_stopping(asyncio.wrap_future(ask_in_daemon(self._prepare_store, "store")))
            except StoreUnavailableError as error:
                _say_it_waits(error)
                self._ready.set()
                await self._or_stopping(asyncio.sleep(_STORE_AGAIN_SECONDS))
            except StoreError as error:  # no waiting mends that
                self._fail(f"the store cannot be used: {error}", None)
                self._stopping.set()

    async def _or_stopping(self, awaited: Awaitable[None]) -> None:
        """Wait for something, but no longer than until the application is to stop."""
        waiting, stopping = asyncio.ensure_future(awaited), asyncio.create_task(self._stopping.wait())
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if waiting.done():
            waiting.result()
        else:
            waiting.cancel()

    def _begin_work(self) -> None:
        """Load what is in the log, look at what is stored, and tell of it."""
        self._began_work_at = _now()
        self.collector.start()
        self._background.add(self._watched(self._analyze_forever(), "analysis"))
        self._background.add(self._watched(self._keep_up_forever(), "upkeep"))
        self._background.add(self._watched(self.alerting.run(), "alerting"))
        self._background.add(self._watched(self._weekly_delivery.run(), "weekly report"))
        if self._reads_others:
            self._background.add(self._watched(self._catch_up_forever(), "catching up"))

    async def _scrape(self, targets: Sequence[ScrapeTarget]) -> None:
        if targets:
            self._background.add(self._watched(self.collector.scrape_forever(targets), _SCRAPER))

    async def _end_scraping(self) -> None:
        scrapers = {task for task in self._background if task.get_name() == _SCRAPER}
        self._background -= scrapers
        for task in scrapers:
            task.remove_done_callback(self._on_end)
            task.cancel()
        await asyncio.gather(*scrapers, return_exceptions=True)

    def _watched(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A part that runs until it is stopped; when it ends before, it takes all others with it."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._on_end)
        return task

    def _on_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()  # asked for always, or asyncio complains
        if not self._stopping.is_set():
            reason = f": {error!r}" if error is not None else ""
            self._fail(f"the {task.get_name()} ended by itself{reason}", error)
            self._stopping.set()

    def _fail(self, what: str, error: BaseException | None) -> None:
        log.critical("%s", what, exc_info=error)
        if self._failure is None:  # the first is the reason for all others
            self._failure = ServeError(f"{what}; the log says more")

    async def _keep_up_forever(self) -> None:
        while True:
            await asyncio.to_thread(self._upkeep.round, _now())
            await asyncio.sleep(self._settings.store.retention.interval_s)

    async def _analyze_forever(self) -> None:
        settings = self._settings.analytics
        looks = self._looks = Looks(_now(), settings.interval_s)
        while True:
            began = time.monotonic()
            now = _now()
            try:
                await asyncio.to_thread(self.analyze_now, Window(now - timedelta(seconds=settings.lookback_s), now))
            except Exception:
                # The next look may go well; that this one did not is seen at /metrics, and soon on each page.
                log.exception("analysis_failed")
                self._analysis.runs.labels("failed").inc()
            else:
                self._analysis.runs.labels("done").inc()
                self._looks = replace(looks, newest_at=_now())
                self._analysis.last_success.set(time.time())
            self._analysis.seconds.observe(time.monotonic() - began)
            await asyncio.sleep(max(0.0, settings.interval_s - (time.monotonic() - began)))

    async def _catch_up_forever(self) -> None:
        settings = self._settings.store.catch_up
        work = CatchUp(self.store, settings)
        told: tuple[str, ...] = ()
        while True:
            began = time.monotonic()
            faults: tuple[str, ...]
            try:
                done = await asyncio.to_thread(work.step, _now())
            except Exception as error:
                # What was not added is still behind, so the next look adds it.
                faults = (str(error),)
                if faults != told:
                    log.exception("catching_up_failed")
            else:
                faults = done.faults
                for fault in faults:
                    if fault not in told:
                        log.error("catching_up_failed: %s", fault)
                for table, rows in done.rows.items():
                    self._catching_up.rows.labels(table).inc(rows)
            self._catching_up.looks.labels("failed" if faults else "done").inc()
            if not faults:
                self._catching_up.last_success.set(time.time())
            told = faults
            await asyncio.sleep(max(0.0, settings.interval_s - (time.monotonic() - began)))


class _Server(uvicorn.Server):
    """One of several servers in a loop: signals are for the process, not for each of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_config(app: Any, name: str) -> uvicorn.Config:
    """How an application of ours is served: `web`, `otlp` or `gateway`."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=name == "web",  # nobody else asks for a sender's address
        lifespan="on" if name == "web" else "off",
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ws="websockets-sansio",
    )


def _listen(host: str, port: int, key: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServeError(  # not of the settings: what uses the port may go away, and the address may yet come
            f"{key}: cannot listen on {host}:{port}: {error.strerror}. Stop what uses it, or choose another port"
        ) from None
    listener.listen(1024)
    return listener


def _topology_of(file: Path) -> Topology:
    try:
        return topology_from_document(read_yaml(file.read_text()))
    except (OSError, yaml.YAMLError, TopologyError) as error:
        raise SettingsError(f"topology.file {file}: {error}") from None


def _say_it_waits(error: StoreUnavailableError) -> None:
    log.warning(
        "%s; asked again in %d s. Until then what is sent and scraped waits in the log, and nothing is looked at",
        error,
        _STORE_AGAIN_SECONDS,
    )


def _now() -> datetime:
    return datetime.now(UTC)
