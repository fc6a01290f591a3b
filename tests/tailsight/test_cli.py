import json
import os
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from analytics.slo_documents.objectives import document_of
from domain.incident import Indicator, from_document
from domain.slo import Calendar, Objective, Period
from domain.window import from_rfc3339
from tailsight.cli.cost import _bill_window
from tailsight.cli.store import opened_store
from tailsight.errors import SettingsError
from tailsight.settings import Settings
from tests.analytics.slo_documents.test_pyrra import PYRRA
from tests.domain.examples import PAGING, UNEXPLAINED

ROOT = Path(__file__).parents[2]
HOUR = ("--from", "2026-11-23T02:00:00Z", "--to", "2026-11-23T03:00:00Z")
FINE, TROUBLE, WRONG_USE = 0, 1, 2


def environment(**variables: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TAILSIGHT_")}
    return own | {"COLUMNS": "400"} | variables


def tailsight(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tailsight", *arguments]
    return subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, env=environment(**variables), timeout=240
    )


def loaded(*arguments: str, **variables: str) -> tuple[int, str, set[str]]:
    """The status of a command, what it tells on both ways, and which of the slow modules it has waited for."""
    program = """
import sys
from tailsight.cli import main
status = 0
try:
    main()
except SystemExit as end:
    status = end.code or 0
slow = {"apprise", "chdb", "clickhouse_connect", "dash", "fastapi", "grpc", "httpx", "pandas", "plotly", "polars"}
print("loaded:", *sorted((slow | {"scipy.stats", "sklearn", "statsmodels"}) & sys.modules.keys()))
sys.exit(status)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment(**variables),
        timeout=240,
    )
    modules = finished.stdout.splitlines()[-1].removeprefix("loaded:").split()
    return finished.returncode, finished.stdout + finished.stderr, set(modules)


def test_help_does_not_wait_for_the_engine_the_pages_or_the_frames() -> None:
    status, told, modules = loaded("--help")
    assert (status, modules) == (FINE, set())
    for command in ("demo", "serve", "check-config", "migrate", "analyze", "explain", "slo", "simulate", "doctor"):
        assert command in told


def test_that_there_is_no_store_is_said_before_anything_slow_is_loaded(tmp_path: Path) -> None:
    for command in (("incidents",), ("slo",), ("route", "replay", *HOUR)):
        status, told, modules = loaded(*command, TAILSIGHT_STORE=f"chdb://{tmp_path / 'data'}")
        assert status == WRONG_USE
        assert "there is no store in" in told
        assert modules <= {"polars", "httpx"}, command


def test_a_configuration_is_checked_without_waiting_for_what_only_runs(tmp_path: Path) -> None:
    file = tmp_path / "tailsight.yaml"
    file.touch()
    status, told, modules = loaded("check-config", str(file))
    assert (status, "is fine" in told) == (FINE, True)
    assert modules <= {"polars"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("analyze", "--from", "yesterday", "--to", HOUR[3]), "'yesterday' is not an RFC 3339 time"),
        (("analyze", "--from", "2026-11-23T02:00:00", "--to", HOUR[3]), "has no time zone; add Z for UTC"),
        (("analyze", "--from", HOUR[3], "--to", HOUR[1]), "not after its start"),
        (("explain", "--service", "chat", "--from", "now", "--to", HOUR[3]), "'now' is not an RFC 3339 time"),
        (("simulate", "--otlp", "http://127.0.0.1:1", "--fault", "gremlins:0:60"), "expected KIND:STARTS_IN_SECONDS"),
        (("simulate", "--otlp", "http://127.0.0.1:1", "--encoder", "xml"), "is not one of 'sdk', 'template'"),
        (("simulate", "--otlp", "http://127.0.0.1:1", "--fault", "gpu_fault:0:60"), "give --live"),
        (
            ("simulate", "--otlp", "http://127.0.0.1:1", "--fault", "gremlins:0:60"),
            "'gremlins' cannot be played; valid",
        ),
        (("demo", "--once", "--fault", "gremlins"), "'--fault': 'gremlins' is not one of 'gpu_memory_pressure', "),
        (("demo", "--days", "x"), "'--days': 'x' is no number; valid are numbers from 0.05 up to 29"),
        (("demo", "--port", "1e5"), "'--port': '1e5' is no whole number; valid are whole numbers from 0 up to 65535"),
        (("incidents", "--hours", "0"), "'--hours': 0 is out of range; valid are numbers from 0.1 up to 8784"),
        (("report", "weekly", "--format", "docx"), "valid are json, html, pdf, md, csv, slack"),
        (("report", "weekly", "--format", "pdf"), "--format needs --out"),
        (("annalyze",), "annalyze"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_ends_with_two_and_says_what_is_right(arguments: tuple[str, ...], told: str) -> None:
    finished = tailsight(*arguments)
    assert (finished.returncode, finished.stdout) == (WRONG_USE, "")
    assert told in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_good_configuration_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "tailsight.yaml"
    file.write_text("web: {port: 9090}")
    finished = tailsight("check-config", str(file))
    assert (finished.returncode, finished.stdout) == (FINE, f"{file} is fine\n")


def test_an_objective_that_can_never_page_is_told_and_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "tailsight.yaml"
    file.write_text("objectives: [{name: easy, service: chat, indicator: errors, target_ratio: 0.8}]")
    finished = tailsight("check-config", str(file))
    assert (finished.returncode, finished.stdout) == (FINE, f"{file} can be used, with the warnings above\n")
    assert "warning: easy (80 % over 30 days) can never page: a total outage burns 5 times" in finished.stderr


def test_a_page_that_reaches_nobody_and_a_secret_that_is_not_there_are_told(tmp_path: Path) -> None:
    alerting, file = tmp_path / "alertmanager.yml", tmp_path / "tailsight.yaml"
    alerting.write_text(
        "route: {receiver: default, routes: [{matchers: ['severity=~\"critical|warning\"'], receiver: oncall}]}\n"
        f"receivers: [{{name: default}}, {{name: oncall, pagerduty_configs: [{{routing_key_file: {tmp_path}/key}}]}}]"
    )
    file.write_text(f"alerts: {{config_file: '{alerting}'}}")
    finished = tailsight("check-config", str(file))
    assert finished.returncode == FINE
    for told in (
        "warning: a page (severity=\"page\") goes to the receiver 'default', which has nothing to tell by",
        "warning: our severities are page and ticket; yours seem to be critical, warning",
        f"warning: receiver oncall, pagerduty: routing_key_file {tmp_path}/key cannot be read: No such file",
    ):
        assert told in finished.stderr
    file.write_text(f"alerts: {{config_file: '{alerting}', alertmanagers: ['http://a:9093']}}")
    assert "goes to the receiver" not in tailsight("check-config", str(file)).stderr


TOLD_OF_LINKS = "warning: alerts are told, and web.public_url is not set: links in them lead to http://"


@pytest.mark.parametrize(
    ("text", "leads"),
    [
        ("alerts: {alertmanagers: ['http://a:9093']}", "127.0.0.1:8080, which leads here on this machine only."),
        (
            "{alerts: {alertmanagers: ['http://a:9093']}, web: {host: '::', port: 9090}, auth: {token: of-ours}}",
            "[::]:9090, which",
        ),
        ("{alerts: {alertmanagers: ['http://a:9093']}, web: {public_url: 'https://t.example'}}", None),
        ("{alerts: {alertmanagers: ['http://a:9093']}, web: {host: 10.1.2.3}, auth: {token: of-ours}}", None),
        ("web: {port: 9090}", None),
    ],
)
def test_links_in_alerts_that_lead_nobody_here_are_told_and_are_no_fault(
    tmp_path: Path, text: str, leads: str | None
) -> None:
    file = tmp_path / "tailsight.yaml"
    file.write_text(text)
    finished = tailsight("check-config", str(file))
    assert finished.returncode == FINE
    assert (TOLD_OF_LINKS in finished.stderr) == (leads is not None)
    assert f"{TOLD_OF_LINKS}{leads}" in finished.stderr or leads is None


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("web: {prot: 9090}", WRONG_USE, "web.prot: unknown setting; did you mean web.port?"),
        ("slo: {files: ['slos/[a-z]*.yaml']}", WRONG_USE, "/slos/[a-z]*.yaml"),
        ("'[/a]': 1", WRONG_USE, "[/a]: unknown setting; valid are"),
        ("web: {host: 0.0.0.0}", TROUBLE, "web.host is 0.0.0.0, which others can reach, and no token is set"),
    ],
)
def test_a_faulty_configuration_is_told(tmp_path: Path, text: str, status: int, told: str) -> None:
    file = tmp_path / "tailsight.yaml"
    file.write_text(text)
    finished = tailsight("check-config", str(file))
    assert finished.returncode == status
    assert told in finished.stderr


def test_all_that_is_wrong_with_a_configuration_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "alerting.yml").write_text(
        "{route: {receiver: oncal}, receivers: [{name: oncall, pagerduty_configs: [{routing_key_file: /absent/key}]}]}"
    )
    file = tmp_path / "tailsight.yaml"
    file.write_text(
        "{web: {host: 0.0.0.0, port: 4318, prot: 1}, topology: {file: none.yaml}, alerts: {config_file: alerting.yml},"
        " objectives: [{name: easy, service: chat, indicator: errors, target_ratio: 0.8}]}"
    )
    finished = tailsight("check-config", str(file))
    assert (finished.returncode, finished.stdout) == (WRONG_USE, "")
    for told in (
        "web.prot: unknown setting; did you mean web.port?",
        "there is no receiver 'oncal'; known are oncall",
        "web.port and collector.otlp_http.port are both 4318; choose two",
        f"topology.file: there is no file {tmp_path}/none.yaml",
        "web.host is 0.0.0.0, which others can reach, and no token is set. Set one",
        "warning: receiver oncall, pagerduty: routing_key_file /absent/key cannot be read: No such file",
        "warning: easy (80 % over 30 days) can never page",
    ):
        assert told in finished.stderr
    assert "nobody is told" not in finished.stderr, "who is told cannot be known"


@pytest.mark.parametrize("command", [("check-config",), ("serve", "--config"), ("migrate", "--config")])
def test_a_fault_in_own_knowledge_stops_every_command_with_file_entry_and_field(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "ours.yaml").write_text("symbol_errors: {title: Errors, layer: fabric, entity: port, floor: 0.1}")
    (tmp_path / "tailsight.yaml").write_text(
        f"{{store: 'chdb://{tmp_path / 'data'}', knowledge: {{signals: '{tmp_path / 'ours.yaml'}'}}}}"
    )
    finished = tailsight(*command, str(tmp_path / "tailsight.yaml"))
    assert (finished.returncode, finished.stdout) == (WRONG_USE, "")
    assert f"{tmp_path / 'ours.yaml'}, symbol_errors: " in finished.stderr
    assert "'unit'" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "data").exists()


def test_a_dry_run_of_the_migrations_prints_their_sql_and_makes_no_table(tmp_path: Path) -> None:
    store = f"chdb://{tmp_path / 'data'}"
    first, second = (tailsight("migrate", "--dry-run", TAILSIGHT_STORE=store) for _ in range(2))
    assert first.returncode == FINE, first.stderr
    assert "CREATE TABLE IF NOT EXISTS" in first.stdout
    assert "0001_otel_traces" in first.stdout
    assert first.stdout == second.stdout, "a dry run changes nothing"


def test_a_store_that_is_not_there_is_not_made_by_asking_it(tmp_path: Path) -> None:
    finished = tailsight("analyze", *HOUR, TAILSIGHT_STORE=f"chdb://{tmp_path / 'data'}")
    assert finished.returncode == WRONG_USE
    assert "there is no store in" in finished.stderr
    assert not (tmp_path / "data").exists()


def test_where_there_is_no_store_it_is_said_how_that_of_a_demo_is_named_and_what_serves(tmp_path: Path) -> None:
    settings = Settings.model_validate({"store": {"url": f"chdb://{tmp_path / 'data'}"}, "web": {"port": 9}})
    with pytest.raises(SettingsError) as nothing, opened_store(settings):
        pass
    assert "`tailsight demo` prints the line to copy (export TAILSIGHT_STORE=…)" in str(nothing.value)
    assert "Something serves" not in str(nothing.value)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serves = settings.model_copy(update={"web": settings.web.model_copy(update={"port": port})})
        with pytest.raises(SettingsError, match=f"Something serves at 127.0.0.1:{port}, maybe"), opened_store(serves):
            pass


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        (None, None, ("2026-11-29T08:00:00Z", "2026-11-30T08:00:00Z")),
        ("2026-11-30T06:30:00Z", None, ("2026-11-30T06:30:00Z", "2026-11-30T08:00:00Z")),
        ("2026-11-30T08:10:00Z", None, ("2026-11-30T08:10:00Z", "2026-11-30T08:40:00Z")),
        (None, "2026-11-30T07:15:00Z", ("2026-11-29T07:15:00Z", "2026-11-30T07:15:00Z")),
    ],
)
def test_a_bill_is_of_the_last_24_whole_hours_unless_others_are_asked_for(
    start: str | None, end: str | None, hours: tuple[str, str]
) -> None:
    window = _bill_window(start, end, from_rfc3339("2026-11-30T08:40:00Z"))
    assert (window.start, window.end) == tuple(map(from_rfc3339, hours))


def test_a_stretch_of_time_without_requests_has_no_incidents(tmp_path: Path) -> None:
    store = f"chdb://{tmp_path / 'data'}"
    assert tailsight("migrate", TAILSIGHT_STORE=store).returncode == FINE
    finished = tailsight("analyze", *HOUR, "--json", TAILSIGHT_STORE=store)
    assert (finished.returncode, finished.stdout) == (FINE, '{\n  "incidents": []\n}\n')


def test_incidents_are_listed_and_told_whole(tmp_path: Path) -> None:
    store = {"TAILSIGHT_STORE": f"chdb://{tmp_path / 'data'}"}
    written = f"""
from datetime import UTC, datetime, timedelta
from dataclasses import replace
from storage.migrate import migrate
from storage.open import open_store
from alerts.handling import acknowledge, add_note
from storage.incidents import write_incidents
from storage.settings import StoreSettings
from tests.domain.examples import PAGING, UNEXPLAINED
now = datetime.now(UTC)
store = open_store(StoreSettings(url={store["TAILSIGHT_STORE"]!r}))
migrate(store)
begun = [replace(one, started_at=now - timedelta(hours=1), detected_at=now) for one in (PAGING, UNEXPLAINED)]
over = replace(begun[1], ended_at=now - timedelta(minutes=50))
write_incidents(store, [over, begun[0]], now)
acknowledge(store, PAGING.id, "ann", now + timedelta(minutes=4), now)
add_note(store, PAGING.id, "ann", "draining gpu-07-03", now, now)
"""
    subprocess.run([sys.executable, "-c", written], check=True, cwd=ROOT, env=environment(), timeout=240)
    listed = tailsight("incidents", **store).stdout
    assert listed.index(PAGING.id) < listed.index(UNEXPLAINED.id), "what goes on comes first"
    assert listed.count("goes on") == 1
    assert "10 min" in listed
    told = tailsight("incidents", PAGING.id, **store).stdout
    assert "Next steps" in told
    assert "ann: draining gpu-07-03" in told
    (document,) = json.loads(tailsight("incidents", PAGING.id, "--json", **store).stdout)["incidents"]
    handling = document.pop("handling")
    assert from_document(document).id == PAGING.id
    assert (handling["acknowledged_by"], handling["to_acknowledge_s"]) == ("ann", 240.0)
    assert [(note["by"], note["text"]) for note in handling["notes"]] == [("ann", "draining gpu-07-03")]
    assert handling["to_mitigate_s"] is None
    assert "Notified nobody: no receiver is configured (docs/alerts.md)" in " ".join(told.split())
    elsewhere = tailsight("incidents", PAGING.id, **store, TAILSIGHT_ALERTS__ALERTMANAGERS="['http://a:9093']").stdout
    assert "Notified not by Tailsight so far" in " ".join(elsewhere.split())
    begins = tailsight("incidents", PAGING.id[:7], **store)
    assert (begins.returncode, begins.stdout) == (FINE, told)
    ambiguous = tailsight("incidents", "inc-", **store)
    assert ambiguous.returncode == WRONG_USE
    assert "2 incidents begin with 'inc-': give more of the id" in ambiguous.stderr
    assert all(f"  {one.id}  20" in ambiguous.stderr for one in (PAGING, UNEXPLAINED))
    unknown = tailsight("incidents", "inc-none", **store)
    assert unknown.returncode == WRONG_USE
    assert "there is no incident 'inc-none': `tailsight incidents` lists" in unknown.stderr
    assert "with `--hours 168` those of a week" in unknown.stderr
    for columns in ("80", ""):  # a pipe has none
        shown = tailsight("incidents", **store, COLUMNS=columns)
        for name in (PAGING.id, UNEXPLAINED.id, PAGING.cause.entity.name, "540 → 4,100", "93%"):
            assert name in shown.stdout, columns
        assert "…" not in shown.stdout


def test_objectives_are_told_with_every_window_as_the_api_tells_them(tmp_path: Path) -> None:
    store = {"TAILSIGHT_STORE": f"chdb://{tmp_path / 'data'}"}
    month = Period(31, Calendar(1, "M", "Europe/Berlin", datetime(2026, 1, 1)))  # noqa: DTZ001  # on its clock
    objective = Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 28, 800.0, more_periods=(Period(7), month))
    (tmp_path / "slo.yaml").write_text(yaml.safe_dump(document_of(objective)))
    promised = store | {"TAILSIGHT_SLO__FILES": f"[{tmp_path / 'slo.yaml'}]"}
    assert tailsight("migrate", **store).returncode == FINE
    told = tailsight("slo", "--json", **promised)
    assert told.returncode == FINE, told.stderr
    (slo,) = json.loads(told.stdout)["slos"]
    assert (slo["name"], slo["state"], slo["burn_rate"]) == ("chat-ttft", "no_data", None)
    windows = ["28d rolling", "7d rolling", "1M calendar Europe/Berlin"]
    assert [one["window"] for one in slo["windows"]] == windows
    assert slo["credit"] is None
    shown = tailsight("slo", **promised).stdout
    assert all(window in shown for window in windows)


def test_an_imported_slo_has_its_meaning_filled_in_before_it_is_taken(tmp_path: Path) -> None:
    sloth = tmp_path / "sloth.yml"
    sloth.write_text(
        "{version: prometheus/v1, service: chat, labels: {team: a}, slos: [{name: fast, objective: 99.5, "
        "alerting: {name: x}, sli: {events: {error_query: 'slow[{{.window}}]', total_query: 'all[{{.window}}]'}}}]}"
    )
    made, settings = tmp_path / "openslo.yaml", tmp_path / "tailsight.yaml"
    settings.write_text(f"slo: {{files: ['{made}']}}")
    for more, status in (((), WRONG_USE), (("--as", "errors"), FINE)):
        printed = tailsight("slo", "import", str(sloth), *more)
        assert (printed.returncode, printed.stderr) == (FINE, "chat-fast: left out: labels team\n")
        made.write_text(printed.stdout)
        checked = tailsight("check-config", str(settings))
        assert checked.returncode == status
        assert more or "indicator: is 'TODO'; valid are errors, ttft" in checked.stderr


def test_what_an_import_changes_is_told_beside_the_documents(tmp_path: Path) -> None:
    file = tmp_path / "pyrra.yaml"
    file.write_text(PYRRA.replace('"99.9"', '"100"').replace("4w", "12h"))
    done = tailsight("slo", "import", str(file))
    assert done.returncode == FINE
    assert yaml.safe_load(done.stdout)["spec"]["objectives"][0]["target"] == 0.999999
    assert "shop-errors: the target of 100% leaves no error budget" in done.stderr
    assert "the window of 12h is no whole number of days" in done.stderr


def test_a_backtest_is_told_as_the_api_tells_it_and_refuses_what_cannot_be_tried(tmp_path: Path) -> None:
    store = {"TAILSIGHT_STORE": f"chdb://{tmp_path / 'data'}"}
    failing = "{name: fails, service: chat, indicator: errors, target_ratio: 0.999}"
    slow = "{name: slow, service: chat, indicator: ttft, target_ratio: 0.99, threshold_ms: 800}"
    promised = store | {"TAILSIGHT_OBJECTIVES": f"[{failing}, {slow}]"}
    assert tailsight("migrate", **store).returncode == FINE
    told = tailsight("slo", "backtest", "slow", *HOUR, "--target", "0.995", "--threshold", "500", "--json", **promised)
    assert json.loads(told.stdout) == {
        "name": "slow",
        "target_ratio": 0.995,
        "threshold_ms": 500.0,
        "pages_count": 0,
        "tickets_count": 0,
        "alerts": [],
    }
    for arguments, said in (
        (("slow", "--target", "0"), "--target: is 0.0; expected a ratio above 0 and below 1"),
        (("slow", "--target", "1"), "--target: is 1.0; expected a ratio above 0 and below 1"),
        (("fails", "--threshold", "800"), "--threshold: an objective of errors has no threshold_ms"),
    ):
        refused = tailsight("slo", "backtest", *arguments, *HOUR, "--json", **promised)
        assert (refused.returncode, refused.stdout) == (WRONG_USE, "")
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_report_of_a_week_is_written_in_every_format_and_always_the_same(tmp_path: Path) -> None:
    store = {"TAILSIGHT_STORE": f"chdb://{tmp_path / 'data'}"}
    assert tailsight("migrate", **store).returncode == FINE
    asked = ("report", "weekly", "--week", "2026-W02")
    digest = tailsight(*asked, **store)
    assert digest.returncode == FINE, digest.stderr
    assert "Did we keep our promises? Not known." in digest.stdout
    assert "Full report: http://127.0.0.1:8080/api/v1/reports/weekly?week=2026-W02&format=html" in digest.stdout
    first, second = tmp_path / "first", tmp_path / "second"
    told = tailsight(*asked, "--out", str(first), **store)
    assert told.returncode == FINE, told.stderr
    assert "What did it cost? Not known" in told.stdout
    only = tailsight(*asked, "--out", str(second), "--format", "pdf", "--format", "html", "--json", **store)
    document = json.loads(only.stdout)
    assert (document["week"], document["headline"]["state"]) == ("2026-W02", None)
    endings = (".html", ".json", ".md", ".pdf", "-slack.txt", "-tables.zip")
    assert sorted(file.name for file in first.iterdir()) == sorted(f"tailsight-2026-W02{ending}" for ending in endings)
    assert document["files"] == [str(second / f"tailsight-2026-W02.{ending}") for ending in ("pdf", "html")]
    for file in second.iterdir():
        assert file.read_bytes() == (first / file.name).read_bytes()
    blocked = tmp_path / "a file"
    blocked.write_text("")
    refused = tailsight(*asked, "--out", str(blocked), **store)
    assert (refused.returncode, "cannot write" in refused.stderr) == (TROUBLE, True)
    for week, what in (("2026-W54", "2026 has the weeks 01 to 53"), ("9000-W01", "has not begun")):
        wrong = tailsight("report", "weekly", "--week", week, **store)
        assert (wrong.returncode, what in wrong.stderr) == (WRONG_USE, True), wrong.stderr
