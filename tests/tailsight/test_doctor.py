"""What the doctor finds: of a store that nobody serves, of what answers in place of Tailsight, one that serves."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from collector.answers import _REFUSALS
from storage.errors import StoreUnavailableError
from storage.store import Store
from tailsight.doctor import _REFUSED, Check, examine
from tailsight.errors import SettingsError
from tailsight.settings import Settings
from tests.contract.request_rows import insert_requests
from tests.ports import free_port
from tests.tailsight.answering import answering

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
ONE_OF_CHAT = {"name": "chat", "service": "chat", "indicator": "errors", "target_ratio": 0.999}
Told = dict[str, Check]


@pytest.fixture
def look(clean_store: Store, store_path: Path) -> Callable[..., Told]:
    """Look at the session's store, with settings of a test's own; the checks by their names."""

    def looked(**document: object) -> Told:
        settings = Settings.model_validate({"store": {"url": f"chdb://{store_path}"}} | document)
        return by_name(examine(settings, lambda: nullcontext(clean_store), NOW))

    return looked


def by_name(checks: list[Check]) -> Told:
    told = {check.name: check for check in checks}
    assert len(told) == len(checks), "no two checks share a name"
    assert [check.name for check in checks if (check.do is None) != (check.state == "fine")] == []
    return told


def refusing(error: Exception) -> Callable[[], nullcontext[Store]]:
    def opened() -> nullcontext[Store]:
        raise error

    return opened


def insert_sample(store: Store, metric: str, job: str, seconds_ago: float, value: float = 1.0) -> None:
    """A sample of a series as the view would leave it, of the instance `there:9100`."""
    time = datetime.fromtimestamp(NOW.timestamp() - seconds_ago, UTC)
    number = abs(hash((metric, job))) % 2**32 + 1
    series = {"metric": metric, "series_id": number, "job": job, "instance": "there:9100", "last_seen": time}
    sample = {"metric": metric, "series_id": number, "time": time, "value": value}
    store.insert("tailsight_series", pl.DataFrame([series], schema_overrides={"series_id": pl.UInt64}))
    store.insert("tailsight_samples", pl.DataFrame([sample], schema_overrides={"series_id": pl.UInt64}))


def test_an_embedded_store_that_nobody_serves_is_trouble(look: Callable[..., Told], store_path: Path) -> None:
    process = look()["process"]
    assert process.state == "trouble"
    assert process.says == f"no process serves the store in {store_path}: nothing is taken in, found or told"
    assert process.do == "start `tailsight serve`"


def test_a_store_that_cannot_be_opened_is_told_beside_what_else_can_be_looked_at(tmp_path: Path) -> None:
    settings = Settings.model_validate({"store": {"url": f"chdb://{tmp_path / 'none'}"}})
    for error in (SettingsError("there is no store"), StoreUnavailableError("away")):
        told = by_name(examine(settings, refusing(error), NOW))
        assert (told["store"].state, told["store"].says) == ("trouble", str(error))
        assert told.keys() == {"configuration", "alerts", "store", "process"}


def test_a_store_that_fails_while_it_is_looked_at_is_trouble(clean_store: Store, look: Callable[..., Told]) -> None:
    clean_store.execute("RENAME TABLE tailsight_requests TO tailsight_requests_gone")
    try:
        store = look()["store"]
    finally:
        clean_store.execute("RENAME TABLE tailsight_requests_gone TO tailsight_requests")
    assert store.state == "trouble"
    assert "tailsight_requests" in store.says


def test_data_that_never_came_are_trouble_and_say_where_to_send_them(look: Callable[..., Told]) -> None:
    told = look()
    requests, samples = told["newest requests"], told["newest samples"]
    assert {requests.state, samples.state} == {"trouble"}
    assert requests.says == "newest of requests: none in the last 35 days"
    assert "http://127.0.0.1:4318" in (requests.do or "")


@pytest.mark.parametrize(
    ("document", "name", "state", "says"),
    [
        ({}, "alerts", "warning", "nobody is told of any alert"),
        ({"alerts": {"alertmanagers": ["http://u:p@a:9093"]}}, "alerts", "fine", "to Alertmanager at http://a:9093,"),
        ({"alerts": {"alertmanagers": ["http://a:9093"]}}, "links", "warning", "lead to http://127.0.0.1:8080"),
        ({"web": {"host": "0.0.0.0"}}, "configuration", "trouble", "web.host is 0.0.0.0, which others can reach"),
        ({"store": {"url": "http://127.0.0.1:9/otel"}, "web": {"port": 0}}, "process", "warning", "web.port is 0"),
    ],
)
def test_settings_that_mislead_are_told(
    look: Callable[..., Told], document: dict[str, object], name: str, state: str, says: str
) -> None:
    check = look(**document)[name]
    assert check.state == state
    assert says in check.says


def test_services_that_nothing_pages_for_are_named(look: Callable[..., Told], clean_store: Store) -> None:
    for service in ("chat", "rerank"):
        insert_requests(clean_store, NOW, -np.arange(1.0, 20.0), service=[service] * 19, latency_ms=[100.0] * 19)
    told = look(objectives=[ONE_OF_CHAT])["objectives"]
    assert told.state == "warning"
    assert told.says == (
        "with requests in the last day and no objective, so nothing pages for them when they fail or get slow: rerank"
    )
    assert look()["objectives"].state == "fine", "first promises are made of both"


def test_a_service_that_always_had_requests_and_has_none_is_trouble(
    look: Callable[..., Told], clean_store: Store
) -> None:
    seconds = -np.arange(600.0, 10_800.0, 2.0)
    insert_requests(clean_store, NOW, seconds, service=["chat"] * len(seconds), latency_ms=[100.0] * len(seconds))
    traffic = look()["traffic"]
    assert (traffic.state, traffic.says) == ("trouble", "always had requests and has none: chat (last 10 min ago)")


def test_too_many_values_are_trouble_by_the_key_at_fault(look: Callable[..., Told], clean_store: Store) -> None:
    tenants = [f"tenant-{number}" for number in range(5)]
    insert_requests(clean_store, NOW, -np.arange(1.0, 6.0), tenant=tenants, latency_ms=[100.0] * 5)
    told = look(collector={"cardinality": {"request_key_values_max": 4}})["tenant of requests"]
    assert told.state == "trouble"
    assert "5 values, more than 4" in told.says


def test_metrics_that_others_send_are_down_or_stand(look: Callable[..., Told], clean_store: Store) -> None:
    insert_sample(clean_store, "queue", "router", seconds_ago=7200)
    assert look()["metrics"] == Check(
        "metrics",
        "warning",
        "nothing comes any more from router (last 2 h ago)",
        "mend the exporter or the sender; a job that is gone for good is forgotten a day later",
    )
    insert_sample(clean_store, "up", "dcgm", seconds_ago=30, value=0.0)
    metrics = look()["metrics"]
    assert (metrics.state, metrics.says) == ("trouble", "1 down: dcgm there:9100")


# -- what answers ------------------------------------------------------------------------------------------------------

READY = json.dumps(
    {
        "ready": True,
        "checks": [{"name": "store", "ok": True, "detail": "answers"}],
        "newest_look_at": "2026-11-23T02:59:50Z",
    }
)


def checks_at(port: int) -> Told:
    settings = Settings.model_validate({"store": {"url": "http://127.0.0.1:9/otel"}, "web": {"port": port}})
    return by_name(examine(settings, refusing(StoreUnavailableError("away")), NOW))


def process_at(port: int) -> Check:
    return checks_at(port)["process"]


@pytest.mark.parametrize(
    ("ready", "metrics", "says"),
    [
        ((404, "no"), (200, ""), "is no Tailsight: HTTP 404 for /readyz"),
        ((200, "<html>"), (200, ""), "is no Tailsight: HTTP 200 for /readyz"),
        ((200, "[]"), (200, ""), "is no Tailsight: HTTP 200 for /readyz"),
        ((200, READY), (401, "no token"), "does not show its metrics: HTTP 401"),
    ],
)
def test_what_is_no_tailsight_or_refuses_us_is_trouble(
    ready: tuple[int, str], metrics: tuple[int, str], says: str
) -> None:
    with answering({"/readyz": ready, "/metrics": metrics}) as port:
        process = process_at(port)
    assert process.state == "trouble"
    assert says in process.says


@pytest.mark.parametrize(("runs", "state"), [(version("tailsight"), "fine"), ("0.0.1", "warning")])
def test_another_version_than_this_one_is_a_warning(runs: str, state: str) -> None:
    metrics = f'tailsight_build_info{{version="{runs}"}} 1\nprocess_start_time_seconds {NOW.timestamp() - 7200}\n'
    with answering({"/readyz": (200, READY), "/metrics": (200, metrics)}) as port:
        process = process_at(port)
    assert process.state == state
    assert f"version {runs}, began 2 h ago" in process.says


@pytest.mark.parametrize(
    ("hours_ago", "state", "says"),
    [(5, "trouble", "fails: cost (went well 5 h ago)"), (0, "fine", "each part goes well")],
)
def test_a_part_of_the_upkeep_that_failed_is_trouble_until_it_goes_well_again(
    hours_ago: float, state: str, says: str
) -> None:
    metrics = (
        'tailsight_upkeep_runs_total{outcome="failed",part="cost"} 3\n'
        f'tailsight_upkeep_last_success_timestamp_seconds{{part="cost"}} {NOW.timestamp() - 3600 * hours_ago}\n'
    )
    with answering({"/readyz": (200, READY), "/metrics": (200, metrics)}) as port:
        upkeep = checks_at(port)["upkeep"]
    assert (upkeep.state, upkeep.says) == (state, says)


def test_a_server_may_be_served_from_elsewhere_so_nobody_here_is_a_warning() -> None:
    port = free_port()
    process = process_at(port)
    assert process.state == "warning"
    assert process.says.startswith(f"nobody answers at http://127.0.0.1:{port}: ")
    assert "or ask on the machine that it runs on" in (process.do or "")


# -- one that serves ---------------------------------------------------------------------------------------------------

SINCE = r" since it began [\d.]+ (s|min) ago: "
ILL = {
    "loading": "at most 0.5 s are fine; 0.0 MiB of the log wait. Loads that failed: traces QueryError ",
    "rejected": f"items were taken out of requests{SINCE}traces too_old 1$",
    "dropped": f"scraped samples were left out{SINCE}engine unreadable ",
    "without samples": f"no samples were made of them{SINCE}delta 1$",
    "quarantined": f"in tailsight_quarantine,{SINCE}otel_traces undecodable 1$",
    "damaged": f"bytes of the log were no whole frame{SINCE}traces 29$",
    "discovery": f"told of no target{SINCE}listed broken_file 1$",
    "targets": r"1 of 2 down: node http://127\.0\.0\.1:9/metrics \(unreachable, ",
    "alert sources": "could not be asked: spend ",
    "Alertmanager http://127.0.0.1:9": "took 0 of ",
    "notifications": "not taken, by receiver: oncall 1$",
}
WARNINGS = {"rejected", "dropped", "without samples", "quarantined", "damaged", "discovery"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was told of a Tailsight that served, as `tests.tailsight.patient` has it."""
    command = [sys.executable, "-m", "tests.tailsight.patient", str(tmp_path_factory.mktemp("patient"))]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.slow
def test_one_that_is_well_is_told_in_short_lines_and_ends_with_zero(told: dict[str, Any]) -> None:
    command = told["healthy"]
    assert (command["status"], command["err"]) == (0, "")
    lines = command["out"].splitlines()
    assert [line for line in lines[:-1] if not line.startswith("fine     ")] == []
    assert lines[-1] == f"{len(lines) - 1} checks: {len(lines) - 1} fine, 0 warning, 0 trouble"
    assert f": version {version('tailsight')}, began " in command["out"]


@pytest.mark.slow
def test_every_trouble_is_told_with_what_to_do_and_ends_with_one(told: dict[str, Any]) -> None:
    command = told["ill"]
    assert command["status"] == 1
    document = json.loads(command["out"])
    assert document.keys() == {"checks"}
    assert [check for check in document["checks"] if check.keys() != {"name", "state", "says", "do"}] == []
    checks = {check["name"]: check for check in document["checks"]}
    assert {name for name, check in checks.items() if check["state"] != "fine"} == ILL.keys()
    for name, says in ILL.items():
        assert re.search(says, checks[name]["says"]), checks[name]
        assert checks[name]["state"] == ("warning" if name in WARNINGS else "trouble")
        assert checks[name]["do"]


@pytest.mark.slow
def test_what_goes_on_no_longer_is_told_once_it_is_due(told: dict[str, Any]) -> None:
    later = told["later"]
    assert later["analysis"]["state"] == later["upkeep"]["state"] == "trouble"
    assert "no look goes well: looked 10" in later["analysis"]["says"]
    assert later["upkeep"]["says"] == "fails: cost (never went well)"
    assert later["newest requests"]["state"] == later["newest samples"]["state"] == "trouble"
    assert later["alert sources"]["state"] == "warning", "nobody asked them since"


@pytest.mark.slow
def test_a_full_disk_and_who_is_refused_are_told(told: dict[str, Any]) -> None:
    assert told["full"]["disk"]["state"] == "trouble"
    assert "none is left to go, and senders are refused" in told["full"]["disk"]["says"]
    assert "traces backlog_full 1" in told["full"]["refused"]["says"]
    assert told["full"]["refused"]["do"] == "backlog_full: the log is full: see `loading` and `disk`"


def test_for_every_reason_to_refuse_there_is_something_to_do_here_and_in_the_runbook() -> None:
    reasons = {reason for _, reason, *_ in _REFUSALS} | {"internal", "disconnected"}
    assert _REFUSED.keys() == reasons
    _, table = (ROOT / "docs" / "operate.md").read_text().split("| refused for | answer |", 1)
    first_cells = re.findall(r"^\| (`.*?) \|", table.split("\n\n", 1)[0], re.MULTILINE)
    assert {reason for cell in first_cells for reason in re.findall(r"`(\w+)`", cell)} == reasons


@pytest.mark.slow
def test_another_token_is_refused_and_says_so(told: dict[str, Any]) -> None:
    process = told["wrong_token"]["process"]
    assert process["state"] == "trouble"
    assert "HTTP 401" in process["says"]
    assert told["wrong_token"]["store"]["state"] == "fine"
