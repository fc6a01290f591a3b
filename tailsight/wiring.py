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
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from analytics.jobs import analyze, default_objectives, explain_window
from api.app import create_api
from api.auth import TokenCheck
from api.context import Health, LoaderState
from collector.service import Collector
from collector.settings import ScrapeTarget
from dashboards.app import create_dashboard
from domain.incident import Incident, Status
from domain.slo import Objective
from domain.topology import TopologyError, topology_from_document
from domain.window import Window
from reports.incident import incident_report
from storage.gateway import Gateway
from storage.migrate import migrate
from storage.open import open_owned, open_store, write_gateway_address
from storage.readers import read_incidents, write_topology
from storage.store import Store
from tailsight.errors import ServeError, SettingsError
from tailsight.settings import Settings, listens_openly

log = logging.getLogger(__name__)

_OBJECTIVES_SECONDS = 60.0
_DRAIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running application is reached."""

    web_url: str
    otlp_http_url: str


class Application:
    """All of Tailsight in one process. `start`, then `stop`.

    What was opened is closed again in the other order, by `stop` or by whatever fails on the way.

    Raises:
        SettingsError: when the configuration must not be served, or a port or the topology cannot be used.
        StoreError, LogUnavailableError: when the data folder cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        openly = listens_openly(settings)
        if openly is not None:
            raise SettingsError(openly)
        self._settings = settings
        self._registry = CollectorRegistry()
        self._analysis = _AnalysisTelemetry(self._registry)
        self._sockets: dict[str, socket.socket] = {}
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
        web, otlp = settings.web, settings.collector.otlp_http
        self._sockets["web"] = opened.enter_context(_listen(web.host, web.port, "web.port"))
        self._sockets["otlp"] = opened.enter_context(_listen(otlp.host, otlp.port, "collector.otlp_http.port"))
        path = settings.store.embedded_path
        self.store = open_owned(settings.store) if path else open_store(settings.store)
        opened.callback(self.store.close)
        migrate(self.store)
        if settings.topology.file is not None:
            _read_topology(self.store, settings.topology.file)
        self.objectives = _Objectives(self.store, [one.to_domain() for one in settings.objectives])
        # A server keeps its data elsewhere; the log stays on this machine's disk.
        self.collector = Collector(settings.collector, self.store, path or Path("data"), self._registry)
        opened.callback(self.collector.close)
        self._apps = self._asgi_apps()
        if path is not None:
            self._sockets["gateway"] = opened.enter_context(_listen("127.0.0.1", 0, "gateway"))
            address = write_gateway_address(path, self._sockets["gateway"].getsockname()[1])
            gateway = Gateway(self.store, address.token)
            opened.callback(gateway.close)
            self._apps["gateway"] = gateway

    @property
    def addresses(self) -> Addresses:
        """Where people and senders reach it."""
        web, otlp = (_url(self._sockets[name]) for name in ("web", "otlp"))
        return Addresses(self._settings.web.public_url or web, otlp)

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

    def open_incidents(self) -> list[Incident]:
        """What is going on now."""
        now = _now()
        return read_incidents(self.store, Window(now - timedelta(hours=1), now), status=Status.OPEN)

    def analyze_now(self, window: Window) -> None:
        """One look at a window, as the scheduler does every half minute."""
        analyze(self.store, window, datetime.now(UTC), self.objectives(), self._settings.analytics.to_job())

    def _asgi_apps(self) -> dict[str, Any]:
        settings = self._settings
        web = create_api(
            self.store,
            settings.api,
            now=_now,
            health=Health(loader=lambda: LoaderState(*self.collector.loading())),
            metrics_text=lambda: generate_latest(self._registry),
            objectives=self.objectives,
            explain=explain_window,
            render_report=incident_report,
            token=settings.auth.token,
        )
        pages = settings.dashboards.model_copy(update={"otlp_http_url": _url(self._sockets["otlp"])})
        create_dashboard(web, self.store, pages, objectives=self.objectives, now=_now)
        token = settings.auth.token
        otlp: Any = self.collector.otlp_app
        if token is not None:
            otlp = TokenCheck(otlp, token.get_secret_value())
        return {"web": web, "otlp": otlp}

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # nobody else sees how a thread ends
            self._fail(f"serving ended: {error!r}", error)
        self._ready.set()
        if self._failure is not None:
            self._on_failure()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        servers = {name: _Server(_server_config(app, name)) for name, app in self._apps.items()}
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
                self.collector.start()
                self._background.add(self._watched(self._analyze_forever(), "analysis"))
                await self._scrape(self._settings.collector.scrape.targets)
                self._ready.set()
            await self._stopping.wait()
        finally:
            self._stopping.set()
            for task in self._background:
                task.cancel()
            for server in servers.values():
                server.should_exit = True
            await asyncio.gather(*self._background, *serving, return_exceptions=True)

    async def _scrape(self, targets: Sequence[ScrapeTarget]) -> None:
        if targets:
            self._background.add(self._watched(self.collector.scrape_forever(targets), "scraper"))

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

    async def _analyze_forever(self) -> None:
        settings = self._settings.analytics
        while True:
            began = time.monotonic()
            now = _now()
            try:
                await asyncio.to_thread(self.analyze_now, Window(now - timedelta(seconds=settings.lookback_s), now))
            except Exception:
                # The next look may go well; that this one did not is seen at /metrics.
                log.exception("analysis_failed")
                self._analysis.runs.labels("failed").inc()
            else:
                self._analysis.runs.labels("done").inc()
                self._analysis.last_success.set(time.time())
            self._analysis.seconds.observe(time.monotonic() - began)
            await asyncio.sleep(max(0.0, settings.interval_s - (time.monotonic() - began)))


class _AnalysisTelemetry:
    """What the analysis says of itself at /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter("tailsight_analysis_runs", "Looks for spikes, by outcome", ["outcome"], registry=registry)
        self.seconds = Histogram("tailsight_analysis_seconds", "Seconds one look took", registry=registry)
        self.last_success = Gauge(
            "tailsight_analysis_last_success_timestamp_seconds",
            "When the last look that went well ended",
            registry=registry,
        )


class _Objectives:
    """The objectives as configured; without any, a first promise for each service, renewed each minute."""

    def __init__(self, store: Store, configured: Sequence[Objective]) -> None:
        self._store = store
        self._configured = tuple(configured)
        self._found: tuple[float, tuple[Objective, ...]] = (-_OBJECTIVES_SECONDS, ())

    def __call__(self) -> Sequence[Objective]:
        if self._configured:
            return self._configured
        found_at, objectives = self._found
        if time.monotonic() - found_at > _OBJECTIVES_SECONDS or not objectives:
            objectives = default_objectives(self._store, _now())
            self._found = (time.monotonic(), objectives)
        return objectives


class _Server(uvicorn.Server):
    """One of several servers in a loop: signals are for the process, not for each of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server_config(app: Any, name: str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on" if name == "web" else "off",
        timeout_graceful_shutdown=5,
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
        raise SettingsError(
            f"{key}: cannot listen on {host}:{port}: {error.strerror}. Stop what uses it, or choose another port"
        ) from None
    listener.listen(1024)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _read_topology(store: Store, file: Path) -> None:
    try:
        topology = topology_from_document(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError, TopologyError) as error:
        raise SettingsError(f"topology.file {file}: {error}") from None
    write_topology(store, topology, _now())


def _now() -> datetime:
    return datetime.now(UTC)
