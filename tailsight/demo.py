"""`tailsight demo`: the whole product on loopback, with the simulator as the cloud it watches.

The simulator is a child process that speaks OTLP and serves /metrics; what it knows of the truth is shown beside the
verdict and never reaches it.
"""

import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np

from alerts.decide import page_for
from analytics.cost.jobs import settle
from analytics.jobs.incidents import analyze
from collector.settings import ScrapeTarget
from domain.cause import CauseKind
from domain.incident import Incident, to_document
from domain.topology import topology_from_document
from domain.window import Window
from simulator.workload import traffic_factor
from storage.topology import write_topology
from tailsight.errors import DemoError
from tailsight.settings import Settings
from tailsight.wiring import Application

_LIVE_LOAD = 0.65  # of the simulator's usual requests: a week of them is filled in within a minute or so
_ONCE_HISTORY = timedelta(minutes=75)
_ONCE_FAULT = (timedelta(minutes=-16), timedelta(minutes=9))  # when it begins, and how long it lasts
_SOURCES = {"dcgm-exporter": "dcgm", "node-exporter": "node"}

Tell = Callable[[str, float], None]
"""Told what is going on and how far it is, 0-1."""


def run_once(kind: CauseKind, seed: int, tell: Tell) -> dict[str, Any]:
    """One seeded incident, headless: `{"truth": …, "incidents": […], "page": …}`.

    Raises:
        DemoError: when the simulator fails.
    """
    with _data_folder(None) as folder, _application(folder) as application:
        # On a step boundary: what is seen does not depend on the second at which the demo was started.
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        begins, lasts = _ONCE_FAULT
        truth: dict[str, Any] = {}
        command = ["--seed", seed, "--end", end.isoformat(), "--history-s", _seconds(_ONCE_HISTORY), "--encoder", "sdk"]
        command += ["--fault", f"{kind}:{_seconds(begins)}:{_seconds(lasts)}"]
        # The hour at which somebody tries it must not decide: in a quiet night few requests would feel the fault.
        command += ["--load", 1 / float(traffic_factor(np.array(end.timestamp())))]
        with _simulator(application, command) as simulator:
            for event in simulator.events():
                if event["event"] == "truth":
                    truth = event["truth"]
                elif event["event"] == "topology":
                    write_topology(application.store, topology_from_document(event["document"]), end)
                elif event["event"] == "progress":
                    tell("Playing the cloud", event["done"])
        tell("Loading", 1.0)
        if not application.collector.flush(60):
            raise DemoError("the store did not take what was acknowledged within a minute; see the log above")
        tell("Explaining", 1.0)
        window = Window(end + begins - timedelta(minutes=5), end)
        settings = Settings()
        job = settings.analytics.to_job(settings.knowledge.known, settings.cost.to_job())
        settle(application.store, end, settings.cost.to_job())
        incidents = analyze(application.store, window, end, application.objectives(), job)
        worst = max(incidents, key=lambda incident: incident.slow_requests_count, default=None)
        page = page_for(worst, application.addresses.web_url, settings.knowledge.known) if worst else None
        return {
            "truth": truth,
            "incidents": [to_document(incident) for incident in incidents],
            "page": dataclasses.asdict(page) if page else None,
        }


def run_live(
    kind: CauseKind,
    seed: int,
    *,
    history: timedelta,
    folder: Path | None,
    ports: tuple[int, int],
    tell: Tell,
    ready: Callable[[str, str], None],
    found: Callable[[Incident], None],
    stop: threading.Event,
) -> None:
    """History filled in, then everything live until `stop`; a fault begins within a minute.

    Args:
        kind: what goes wrong.
        seed: of the simulator.
        history: how much past is filled in.
        folder: where data is kept; None uses a folder that is removed at the end.
        ports: web and OTLP; 0 takes a free one.
        tell: told what is going on.
        ready: told the URL of the pages and that of the store, once they are worth looking at.
        found: told each incident that is new while the demo is live.
        stop: ends the demo.

    Raises:
        DemoError: when the simulator fails.
    """
    with _data_folder(folder) as data, _application(data, *ports, on_failure=stop.set) as application:
        begun = datetime.now(UTC)
        past = [fault for fault in _PAST_FAULTS if fault[1] < history - timedelta(hours=3)]
        command: list[Any] = ["--seed", seed, "--end", begun.isoformat(), "--history-s", _seconds(history)]
        command += ["--encoder", "template", "--load", _LIVE_LOAD, "--live"]
        for past_kind, ago, lasts in past:
            command += ["--fault", f"{past_kind}:{-_seconds(ago)}:{_seconds(lasts)}"]
        command += ["--fault", f"{kind}:40:600"]
        with _simulator(application, command) as simulator, contextlib.ExitStack() as ends:
            ends.callback(application.scrape_no_more)  # or it would tell of targets that fail: the simulator has them
            with application.store.merges_paused():
                _fill(application, simulator, begun, tell, stop)
            if stop.is_set():
                return
            for number, (_, ago, lasts) in enumerate(past):
                tell("Explaining the past", number / len(past))
                moment = begun - ago
                application.analyze_now(Window(moment - timedelta(minutes=10), moment + lasts + timedelta(minutes=30)))
            tell("Explaining the past", 1.0)
            ready(application.addresses.web_url, _store_url(data))
            known: set[str] = set()
            while not stop.wait(2):
                simulator.check()
                for incident in application.open_incidents():
                    if incident.id not in known:
                        known.add(incident.id)
                        found(incident)


def _fill(
    application: Application, simulator: "_Simulator", begun: datetime, tell: Tell, stop: threading.Event
) -> None:
    """Follow the simulator until it is live, and all that it sent is in the store."""
    targets: list[ScrapeTarget] = []
    for event in simulator.events():
        if stop.is_set():
            return
        match event["event"]:
            case "topology":
                write_topology(application.store, topology_from_document(event["document"]), begun)
            case "targets":
                targets = [_scrape_target(target) for target in event["targets"]]
            case "progress":
                tell("Filling in history", event["done"])
            case "live":
                break
    application.scrape_also(targets)
    application.collector.flush(60)


# A week has a past: what went wrong, how long ago, for how long.
_PAST_FAULTS = (
    (CauseKind.GPU_MEMORY_PRESSURE, timedelta(days=5.4), timedelta(minutes=12)),
    (CauseKind.NETWORK_LINK_FAULT, timedelta(days=3.1), timedelta(minutes=25)),
    (CauseKind.NETWORK_SATURATION, timedelta(days=1.3), timedelta(minutes=18)),
)


def _scrape_target(target: dict[str, Any]) -> ScrapeTarget:
    source = _SOURCES.get(target["job"], "prometheus")
    return ScrapeTarget.model_validate({**target, "source": source})


@contextlib.contextmanager
def _data_folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    made = Path(tempfile.mkdtemp(prefix="tailsight-demo-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _application(
    folder: Path, web_port: int = 0, otlp_port: int = 0, *, on_failure: Callable[[], None] = lambda: None
) -> Iterator[Application]:
    settings = Settings.model_validate(
        {
            "store": {"url": _store_url(folder)},
            "web": {"port": web_port},
            "analytics": {"interval_s": 10},  # nobody likes to wait in a demo
            "collector": {"otlp_http": {"port": otlp_port}, "otlp_grpc": {"port": 0}},
        }
    )
    application = Application(settings)
    try:
        application.start(on_failure)
        yield application
    finally:
        application.stop()
    if application.failure is not None:
        raise application.failure


class _Simulator:
    """The child process, and what it says."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process = process
        self._errors = errors

    def events(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None  # noqa: S101  # asked for with PIPE
        for line in self._process.stdout:
            yield json.loads(line)
        self._process.wait()  # its output has ended, so it is ending
        self.check()

    def check(self) -> None:
        """Raise when it has ended otherwise than well."""
        status = self._process.poll()
        if status:
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:] or ["it said nothing"]
            raise DemoError(f"the simulator ended with status {status}: {last[0]}")


@contextlib.contextmanager
def _simulator(application: Application, arguments: list[Any]) -> Iterator[_Simulator]:
    with tempfile.TemporaryFile("w+") as errors:
        # A fresh interpreter, not a fork: this process has the engine in it.
        command = [sys.executable, "-m", "tailsight", "simulate", "--otlp", application.addresses.otlp_http_url]
        process = subprocess.Popen(  # noqa: S603  # our own command, no shell
            [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        try:
            yield _Simulator(process, errors)
            if process.poll() is None and "--live" not in arguments:
                process.wait(timeout=30)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _store_url(folder: Path) -> str:
    return f"chdb://{folder.absolute()}"


def _seconds(span: timedelta) -> int:
    return round(span.total_seconds())
