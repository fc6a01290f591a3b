"""The application as a whole: it comes up, goes down and fails, each in a process of its own.

The embedded engine opens one path a process, and the test session has its own.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PRELUDE = """
import asyncio, json, sys, threading
from datetime import UTC, datetime
from pathlib import Path
from tailsight import wiring
from collector.errors import CollectorError
from domain.window import Window
from tailsight.errors import TailsightError
from tailsight.settings import Settings
from tailsight.wiring import Application

folder = Path(sys.argv[1])
collector = {"otlp_http": {"port": 0}, "otlp_grpc": {"port": 0}}
document = {"store": {"url": f"chdb://{folder}"}, "web": {"port": 0}, "collector": collector}

def end_task(application, name):
    def cancel():
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == name)
        task.cancel()
    application._loop.call_soon_threadsafe(cancel)
"""


def run(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("TAILSIGHT_")}
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + program, str(folder)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=own | {"COLUMNS": "400"},
        timeout=120,
    )


def test_a_start_that_fails_half_way_leaves_nothing_open(tmp_path: Path) -> None:
    program = """
import socket
with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
half = document | {"web": {"port": port}}

def fails(told, begin):
    try:
        begin()
    except (TailsightError, CollectorError) as error:
        assert told in str(error), error
    else:
        raise AssertionError(f"no error that tells {told!r}")

topology = folder.parent / "topology.yaml"
topology.write_text("no topology")
for _ in range(2):
    fails("topology.yaml", lambda: Application(Settings.model_validate(half | {"topology": {"file": str(topology)}})))

(folder / "wal").write_text("a file, where the folder of the log should be")
fails("cannot write the log", lambda: Application(Settings.model_validate(half)))
(folder / "wal").unlink()

never = Application(Settings.model_validate(half))
never._apps["otlp"] = "no_such_module:app"  # its server ends before it begins
fails("the server of otlp ended by itself", never.start)
assert not (folder / "gateway.json").exists()
assert never.stop()

again = Application(Settings.model_validate(half))  # the same port, the same folder
assert again.start().web_url.endswith(f":{port}")
assert (folder / "gateway.json").exists()
assert again.stop()
assert not (folder / "gateway.json").exists()
assert [thread.name for thread in threading.enumerate() if thread.name in ("wal-writer", "wal-loader")] == []
print("done")
"""
    finished = run(program, tmp_path / "data")
    assert finished.stdout == "done\n", finished.stderr


def test_stopping_what_never_started_closes_it(tmp_path: Path) -> None:
    program = """
for _ in range(2):
    application = Application(Settings.model_validate(document))
    assert application.stop()
assert application.failure is None
print("done")
"""
    finished = run(program, tmp_path / "data")
    assert finished.stdout == "done\n", finished.stderr


def test_own_knowledge_reaches_the_analysis_the_api_and_the_pages_and_is_read_once(tmp_path: Path) -> None:
    program = """
signals = folder.parent / "signals.yaml"
signals.write_text(
    "ours: {title: Ours, layer: gpu, entity: gpu, unit: 1/s, worse: up, floor: 1, metrics: [ours_total]}"
)
used = []
wiring.analyze = lambda store, window, now, objectives, settings: used.append(settings) or []
create_dashboard = wiring.create_dashboard
def watched(*arguments, analysis, **others):
    used.append(analysis)
    return create_dashboard(*arguments, analysis=analysis, **others)
wiring.create_dashboard = watched
given = {"analytics": {"step_s": 30}, "knowledge": {"signals": str(signals)}}
application = Application(Settings.model_validate(document | given))
signals.unlink()
application.start()
application.analyze_now(Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)))
used.append(application._apps["web"].state.context.explain.keywords["settings"])
assert application.stop()
assert len(used) >= 3
for settings in used:
    assert (settings.spikes.step_s, settings.knowledge.signals["ours"].metrics) == (30, ("ours_total",))
print("done")
"""
    finished = run(program, tmp_path / "data")
    assert finished.stdout == "done\n", finished.stderr


def test_own_knowledge_reaches_what_is_counted_and_all_that_is_told(tmp_path: Path) -> None:
    """By what is asked of the application: its API, its pages and its weekly report."""
    program = """
import numpy as np
from dataclasses import replace
from datetime import timedelta
from analytics.slo_documents.objectives import document_of
from domain.cause import Evidence
from domain.incident import Indicator
from domain.slo import Objective
from reports.weekly import week_at
from storage.documents import SLO_DOCUMENTS, write_document
from storage.incidents import write_incidents
from tests.contract.payloads import SECOND_NS, gauge, metrics, point
from tests.contract.request_rows import insert_requests
from tests.dashboards.asking import Asker
from tests.dashboards.reading import words
from tests.documents import yaml_blocks
from tests.domain.examples import BAD_LINK, PAGING, PORT

signals, causes, *_ = yaml_blocks("adding-a-cause.md")
waiting = "waiting_requests: {title: Queue of ours, layer: engine, entity: replica, unit: requests, worse: up, floor: 1"
(folder.parent / "signals.yaml").write_text(f"{signals}\\n{waiting}, metrics: [acme_waiting]}}")
(folder.parent / "causes.yaml").write_text(causes.replace("title: Bad link", "title: Dim optics"))
own = {name: str(folder.parent / f"{name}.yaml") for name in ("signals", "causes")}
application = Application(Settings.model_validate(document | {"knowledge": own}))
store = application.store

now = datetime.now(UTC).replace(second=0, microsecond=0)
began = now - timedelta(minutes=3)
light = Evidence("optic_receive_power", PORT, -2.5, -8.0, "dBm", 0.99, 50.0)
cause = replace(BAD_LINK, evidence=(light,))
explanation = replace(PAGING.explanation, causes=(cause,))
write_incidents(store, [replace(PAGING, started_at=began, detected_at=began, explanation=explanation)], now)
insert_requests(store, now - timedelta(minutes=9), np.array([1.0]), replica=["chat-0"])
began_ns = int((now - timedelta(minutes=6)).timestamp()) * SECOND_NS
told = [gauge("acme_waiting", point(7.0, time_ns=began_ns, attributes={"pod": "chat-0"}))]
port = {"node": "gpu-03", "device": "mlx5_0", "port": "1"}
told.append(gauge("acme_optic_receive_power_dbm", point(-2.5, time_ns=began_ns, attributes=port)))
store.load_otlp("otel_metrics_gauge", metrics(*told, resource={"service.name": "ours"}), token="ours")
floor = Objective("floor", "chat", Indicator.THROUGHPUT, 0.9, 30, floor_per_s=1.0)
write_document(store, SLO_DOCUMENTS, floor.name, document_of(floor), now)

with asyncio.Runner() as runner:
    asker = Asker(runner, application._apps["web"])

    def read(path):
        answer = asker.get(path)
        assert answer.status_code == 200, answer.text
        return answer

    standing = read("/api/v1/slos/floor/status").json()
    assert standing["total_count"] == 2, "the minute of the request, and the one in which others waited"
    links = read("/api/v1/links").json()
    assert links["signals"] == {"optic_receive_power": {"title": "Light received", "unit": "dBm"}}

    for told in ("report", "postmortem"):
        shown = read(f"/api/v1/incidents/{PAGING.id}/{told}").text
        assert "Dim optics on" in shown, shown
        assert "Light received" in shown, shown
    places = ("head", "impact", "why-note", "why", "whereabouts")
    shown = {"url__pathname": f"/incidents/{PAGING.id}", "tick__n_intervals": 1}
    page = asker.callback(*(f"incident-{place}.children" for place in places), **shown)
    why = words(page["incident-why"]["children"])
    assert "Dim optics" in why, why
    assert "Light received" in why, why
    lists = ("incidents-note.children", "incidents-times.children", "incidents-table.children")
    listed = asker.callback(*lists, url__search="", tick__n_intervals=1)
    assert "Dim optics on" in words(listed["incidents-table"]["children"])
    (row,) = read(f"/api/v1/reports/weekly?week={week_at(began)}").json()["incidents"]["all"]
    assert row["cause"].startswith("Dim optics on")
assert application.stop()
print("done")
"""
    finished = run(program, tmp_path / "data")
    assert finished.stdout == "done\n", finished.stderr


def test_ready_tells_when_the_analysis_looked_last_and_not_when_it_failed(tmp_path: Path) -> None:
    program = """
import time, httpx
def newest_look(application):
    answer = httpx.get(f"{application.addresses.web_url}/readyz")
    assert answer.status_code == 200, answer.text
    return answer.json()["newest_look_at"]

given = document | {"analytics": {"interval_s": 0.2}}
application = Application(Settings.model_validate(given))
application.start()
began = datetime.now(UTC)
while (looked := newest_look(application)) is None and (datetime.now(UTC) - began).seconds < 60:
    time.sleep(0.1)
assert datetime.fromisoformat(looked) <= datetime.now(UTC), looked
application.store.execute("DROP TABLE otel.tailsight_incidents")  # no look can go well any more
def failed_looks():
    return application._registry.get_sample_value("tailsight_analysis_runs_total", {"outcome": "failed"}) or 0
while not failed_looks():
    time.sleep(0.1)
last, failed = newest_look(application), failed_looks()
while failed_looks() < failed + 3:
    time.sleep(0.1)
assert newest_look(application) == last
application.stop()
print("done")
"""
    finished = run(program, tmp_path / "data")
    assert finished.stdout == "done\n", finished.stderr


def test_a_look_that_finds_no_incidents_tells_all_else(tmp_path: Path) -> None:
    program = """
asked, kept_firing = [], []
def fails(*_):
    raise ValueError("a matrix that cannot be solved")
wiring.analyze = fails
application = Application(Settings.model_validate(document))
alerts = application._sources.alerts
application._sources.alerts = lambda evaluation: asked.append(evaluation) or alerts(evaluation)
application.alerting.keep_firing = kept_firing.append
now = datetime.now(UTC)
try:
    application.analyze_now(Window(now.replace(year=2025), now))
except ValueError as error:
    assert "a matrix" in str(error)
else:
    raise AssertionError("the look counts as gone well")
assert [one.incidents for one in asked] == [[]]
(unknown,) = kept_firing
assert "TailsightLatencySpike" in unknown and "SLOBurnRate" not in unknown, unknown
application.stop()
print("done")
"""
    finished = run(program, tmp_path / "data")
    assert finished.stdout == "done\n", finished.stderr


def test_whatever_ends_by_itself_ends_the_application_and_is_named(tmp_path: Path) -> None:
    program = """
for name in ("server of web", "server of gateway", "analysis"):
    ended = threading.Event()
    application = Application(Settings.model_validate(document))
    application.start(on_failure=ended.set)
    end_task(application, name)
    assert ended.wait(60), name
    assert application.stop()
    assert f"the {name} ended by itself" in str(application.failure), application.failure
print("done")
"""
    finished = run(program, tmp_path / "data")
    assert finished.stdout == "done\n", finished.stderr


def test_serving_ends_with_one_when_a_server_ends_by_itself(tmp_path: Path) -> None:
    program = """
class Ending(Application):
    def start(self, on_failure):
        addresses = super().start(on_failure)
        end_task(self, "server of otlp")
        return addresses

wiring.Application = Ending
from tailsight.cli import main
config = folder.parent / "tailsight.yaml"
config.write_text(json.dumps(document))  # JSON is YAML
sys.argv = ["tailsight", "serve", "--config", str(config)]
main()
"""
    finished = run(program, tmp_path / "data")
    assert finished.returncode == 1, finished.stderr
    assert "tailsight: the server of otlp ended by itself" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_serving_ends_well_when_it_is_asked_to(tmp_path: Path) -> None:
    config = tmp_path / "tailsight.yaml"
    doors = "otlp_http: {port: 0}, otlp_grpc: {port: 0}"
    config.write_text(f"{{store: 'chdb://{tmp_path / 'data'}', web: {{port: 0}}, collector: {{{doors}}}}}")
    own = {name: value for name, value in os.environ.items() if not name.startswith("TAILSIGHT_")}
    command = [sys.executable, "-u", "-m", "tailsight", "serve", "--config", str(config)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own
    ) as serving:
        assert serving.stdout is not None
        assert "Tailsight is at" in serving.stdout.readline()
        serving.send_signal(signal.SIGTERM)
        try:
            _, told = serving.communicate(timeout=60)
        finally:
            serving.kill()  # or one that does not end would be waited for
    assert (serving.returncode, told) == (0, "")
    assert not (tmp_path / "data" / "gateway.json").exists()


def test_without_a_token_it_answers_as_this_machine_and_as_its_public_url(tmp_path: Path) -> None:
    program = """
import httpx
web = {"port": 0, "public_url": "https://tailsight.example.com"}
application = Application(Settings.model_validate(document | {"web": web}))
application.start()
port = application._sockets["web"].getsockname()[1]
hosts = [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "tailsight.example.com", f"evil.example:{port}"]
print([httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Host": host}).status_code for host in hosts])
application.stop()
"""
    done = run(program, tmp_path / "data")
    assert (done.returncode, done.stdout.strip()) == (0, "[200, 200, 200, 200, 421]"), done.stderr


def test_what_it_tells_at_metrics_is_documented(tmp_path: Path) -> None:
    program = """
application = Application(Settings.model_validate(document))
print(json.dumps([name for names in application._registry._collector_to_names.values() for name in names[:1]]))
application.start()
application.stop()
"""
    done = run(program, tmp_path / "data")
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert [name for name in json.loads(done.stdout) if f"| `{name}" not in page] == []
