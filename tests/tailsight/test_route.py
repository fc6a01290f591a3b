"""`tailsight route test`, `send` and `replay`: who is told, and who would have been; exit codes, JSON and errors."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from alerts import replay
from tailsight.cli import app
from tests.alerts.loopback import Answer, Mailbox, Receiver, mailing, receiving
from tests.tailsight.test_cli import FINE, HOUR, ROOT, TROUBLE, WRONG_USE, environment, tailsight

ALERTING = """
route:
  receiver: tickets
  group_by: [service]
  routes:
  - {matchers: [severity="page"], receiver: oncall, continue: true, group_wait: 5s}
  - {matchers: [severity="page", service="chat"], receiver: chat-team}
receivers:
- {name: tickets}
- {name: oncall, pagerduty_configs: [{routing_key: k}]}
- {name: chat-team, slack_configs: [{api_url: 'https://hooks.slack.com/x'}], webhook_configs: [{url: 'http://x'}]}
"""
TOLD_FIRST = [
    ("2026-11-23T02:41:30Z", "oncall", "pagerduty"),
    ("2026-11-23T02:42:00Z", "chat-team", "slack"),
    ("2026-11-23T02:42:00Z", "chat-team", "webhook"),
]
"""When it was detected, 30 s after it began: the wait of the first route was over then."""
NOT_REPLAYED = [{"source": source, "why": why} for source, why in replay.NOT_REPLAYED.items()]
WRITE_AN_INCIDENT = """
import sys
from storage.open import open_owned
from storage.incidents import write_incidents
from storage.settings import StoreSettings
from tests.domain.examples import PAGING
store = open_owned(StoreSettings(url=sys.argv[1]))
write_incidents(store, [PAGING], PAGING.started_at)
store.close()
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "alerting.yml").write_text(ALERTING)
    file = tmp_path / "tailsight.yaml"
    file.write_text(f"{{store: 'chdb://{tmp_path / 'data'}', alerts: {{config_file: '{tmp_path / 'alerting.yml'}'}}}}")
    return file


def test_who_an_alert_reaches_is_a_table_for_people_and_json_for_programs(config: Path) -> None:
    labels = ("--labels", "severity=page", "service=chat")
    shown = tailsight("route", "test", *labels, "--config", str(config))
    assert shown.returncode == FINE, shown.stderr
    for words in ("oncall", "pagerduty", "chat-team", "slack, webhook", "5.0 s"):
        assert words in shown.stdout
    told = json.loads(tailsight("route", "test", *labels, "--config", str(config), "--json").stdout)
    assert told == {
        "routes": [
            {"receiver": "oncall", "route": '{}/{severity="page"}'},
            {"receiver": "chat-team", "route": '{}/{service="chat",severity="page"}'},
        ]
    }


def test_a_route_that_is_quiet_at_that_time_is_told(config: Path) -> None:
    (config.parent / "alerting.yml").write_text(
        """
route:
  receiver: a
  routes:
  - {matchers: [severity="ticket"], receiver: a, active_time_intervals: [office], continue: true}
  - {matchers: [severity="ticket"], receiver: b, mute_time_intervals: [office]}
receivers: [{name: a, webhook_configs: [{url: 'http://x'}]}, {name: b, webhook_configs: [{url: 'http://x'}]}]
time_intervals:
- {name: office, time_intervals: [{times: [{start_time: '09:00', end_time: '18:00'}], location: Europe/Berlin}]}
"""
    )
    arguments = ("route", "test", "--labels", "severity=ticket", "--config", str(config), "--at")
    night = tailsight(*arguments, "2026-11-23T20:00:00Z", "--json")
    assert [one.get("quiet") for one in json.loads(night.stdout)["routes"]] == ["quiet: active only in office", None]
    noon = tailsight(*arguments, "2026-11-23T11:00:00Z")
    assert "quiet: muted by office" in noon.stdout
    assert "active only" not in noon.stdout
    assert "2026-11-23T11:00:00Z" in noon.stdout


def test_an_alertmanager_is_named_without_the_password_in_its_url(config: Path) -> None:
    alertmanager = {"TAILSIGHT_ALERTS__ALERTMANAGERS": "[http://ann:s3cret@am-0:9093]"}
    told = tailsight("route", "test", "--labels", "severity=page", "--config", str(config), **alertmanager)
    assert "alerts go to Alertmanager at http://am-0:9093, whose own routes decide" in " ".join(told.stdout.split())


def test_what_no_route_is_for_goes_to_the_root(config: Path) -> None:
    told = tailsight("route", "test", "--labels", "severity=ticket", "--config", str(config), "--json")
    assert [one["receiver"] for one in json.loads(told.stdout)["routes"]] == ["tickets"]
    shown = tailsight("route", "test", "--labels", "severity=ticket", "--config", str(config))
    assert "nobody" in shown.stdout


def test_without_a_configuration_nobody_is_told() -> None:
    told = tailsight("route", "test", "--labels", "severity=page", "--json")
    assert (told.returncode, json.loads(told.stdout)["routes"][0]["receiver"]) == (FINE, "nobody")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("test",), "Missing option '--labels'"),
        (("test", "--labels", "page"), "'page' is no label; write name=value"),
        (("test", "--labels", "severity=page", "chat"), "'chat' is no label; write name=value"),
        (("test", "--labels", "a=b", "--at", "noon"), "--at 'noon' is not an RFC 3339 time"),
        (("replay", "--from", "yesterday", "--to", HOUR[3]), "'yesterday' is not an RFC 3339 time"),
        (("replay", "--from", HOUR[3], "--to", HOUR[1]), "not after its start"),
        (("replay", "--from", HOUR[1]), "Missing option '--to'"),
        (("tset",), "No such command 'tset'"),
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_two_and_says_what_is_right(arguments: tuple[str, ...], told: str) -> None:
    finished = tailsight("route", *arguments)
    assert (finished.returncode, finished.stdout) == (WRONG_USE, "")
    assert told in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("alerting", "told"),
    [
        ("route: {receiver: nobody}", "there is no receiver 'nobody'"),
        (
            "route: {receiver: a}\nreceivers: [{name: a, carrier_pigeon_configs: [{}]}]",
            "carrier_pigeon_configs is not known",
        ),
        ("route: {receiver: a}\nreceivers: [{name: a}]\ntemplates: [x]", "unknown field templates"),
    ],
)
def test_a_tree_that_cannot_be_used_is_told_with_its_file_and_place(config: Path, alerting: str, told: str) -> None:
    (config.parent / "alerting.yml").write_text(alerting)
    finished = tailsight("route", "test", "--labels", "severity=page", "--config", str(config), "--json")
    assert (finished.returncode, finished.stdout) == (WRONG_USE, "")
    assert told in finished.stderr
    assert "alerting.yml" in finished.stderr


def test_the_labels_of_this_site_count_for_routes_as_they_do_for_alerts(config: Path) -> None:
    (config.parent / "alerting.yml").write_text(
        "{route: {receiver: all, routes: [{matchers: [cluster=eu], receiver: eu}]},"
        " receivers: [{name: all}, {name: eu}]}"
    )
    config.write_text("alerts: {config_file: alerting.yml, labels: {cluster: eu}}")
    told = CliRunner().invoke(app, ["route", "test", "--labels", "a=b", "--config", str(config), "--json"])
    assert [one["receiver"] for one in json.loads(told.stdout)["routes"]] == ["eu"]


# -- send --------------------------------------------------------------------------------------------------------------

SENDING = """
global: {{pagerduty_url: '{pagerduty}', slack_api_url: '{slack}services/T0/B0/s3cret', smtp_smarthost: '{smarthost}',
  smtp_from: tailsight@example.com, smtp_require_tls: false}}
route:
  receiver: tickets
  routes:
  - {{matchers: [severity="page"], receiver: oncall, continue: true}}
  - {{matchers: [severity="page", service="chat"], receiver: chat-team, mute_time_intervals: [always]}}
receivers:
- {{name: tickets}}
- {{name: oncall, pagerduty_configs: [{{routing_key: 0123456789abcdef0123456789abcdef}}]}}
- {{name: chat-team, slack_configs: [{{channel: '#chat'}}], email_configs: [{{to: a@example.com}}]}}
time_intervals: [{{name: always, time_intervals: [{{years: ['2000:2100']}}]}}]
"""
PAGE_OF_CHAT = ("--labels", "severity=page", "service=chat")


@dataclass
class Site:
    """A configuration, and those whom it tells."""

    config: Path
    pagerduty: Receiver
    slack: Receiver
    mailbox: Mailbox
    alertmanager: Receiver

    def send(self, *arguments: str) -> Result:
        found = CliRunner().invoke(app, ["route", "send", *arguments, "--open-s", "0", "--config", str(self.config)])
        assert isinstance(found.exception, SystemExit | None), found.exception
        assert "s3cret" not in found.output
        assert "0123456789abcdef" not in found.output
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with receiving(Answer(202)) as pagerduty, receiving() as slack, mailing() as mailbox, receiving() as alertmanager:
        (tmp_path / "alerting.yml").write_text(
            SENDING.format(pagerduty=pagerduty.url, slack=slack.url, smarthost=mailbox.smarthost)
        )
        file = tmp_path / "tailsight.yaml"
        url = alertmanager.url.replace("//", "//ann:s3cret@")
        file.write_text(f"{{alerts: {{config_file: alerting.yml, alertmanagers: ['{url}']}}}}")
        yield Site(file, pagerduty, slack, mailbox, alertmanager)


def test_a_test_reaches_whom_its_labels_reach_and_every_alertmanager(site: Site) -> None:
    found = site.send(*PAGE_OF_CHAT)
    assert found.exit_code == FINE, found.output
    alertmanager = site.alertmanager.url.rstrip("/")
    *told, posted, quiet = found.stdout.splitlines()
    assert told == [
        "oncall by pagerduty: taken, and resolved again",
        "chat-team by slack: taken",
        "chat-team by email: taken",
    ]
    assert posted.startswith(f"{alertmanager} by alertmanager: taken, its own routes decide who is told; over at 20")
    assert quiet == "chat-team is quiet: muted by always; what is no test would wait"
    assert [event["event_action"] for event in site.pagerduty.received] == ["trigger", "resolve"]
    assert f"@{socket.gethostname()} at 20" in site.slack.received[0]["text"]
    assert len(site.mailbox.mails) == len(site.alertmanager.received) == 1


def test_a_test_is_told_as_json_to_programs(site: Site) -> None:
    site.slack.usual = Answer(403, echoes=True)
    found = site.send(*PAGE_OF_CHAT, "--json")
    assert found.exit_code == TROUBLE
    told = json.loads(found.stdout)
    assert [one["receiver"] for one in told["routes"]] == ["oncall", "chat-team"]
    assert [(one["receiver"], one["by"], one["outcome"]) for one in told["told"]] == [
        ("oncall", "pagerduty", "taken"),
        ("chat-team", "slack", "refused"),
        ("chat-team", "email", "taken"),
        (site.alertmanager.url.rstrip("/"), "alertmanager", "taken"),
    ]
    assert told["told"][1]["note"].startswith("HTTP 403: Cannot POST … of")
    assert told["sent_by"].endswith(f"@{socket.gethostname()}")


def test_a_receiver_that_is_named_is_told_alone_and_one_that_refuses_is_trouble(site: Site) -> None:
    site.pagerduty.usual = Answer(400)
    found = site.send("--receiver", "oncall")
    assert (found.exit_code, found.stdout) == (TROUBLE, "oncall by pagerduty: refused: HTTP 400: Bad Request\n")
    assert len(site.pagerduty.asked) == 1, "what was not opened is not resolved"
    assert site.slack.asked == site.alertmanager.asked == []


def test_a_receiver_that_nobody_named_is_wrong_use_and_those_there_are_are_listed(site: Site) -> None:
    found = site.send("--receiver", "on-call")
    assert (found.exit_code, found.stdout) == (WRONG_USE, "")
    assert "there is no receiver 'on-call'; there are tickets, oncall, chat-team" in " ".join(found.stderr.split())
    site.config.write_text("{}")
    assert "there are none, for alerts.config_file is not set" in " ".join(site.send("--receiver", "a").stderr.split())


@pytest.mark.parametrize("label", ["page", "=page"])
def test_what_is_no_label_is_wrong_use_and_nothing_is_sent(site: Site, label: str) -> None:
    found = site.send("--labels", label)
    assert (found.exit_code, found.stdout) == (WRONG_USE, "")
    assert f"{label!r} is no label; write name=value" in found.stderr
    assert site.alertmanager.asked == []


def test_where_nobody_can_be_told_that_is_trouble(site: Site) -> None:
    found = site.send("--receiver", "tickets")
    assert (found.exit_code, found.stdout) == (TROUBLE, "tickets: nobody, it has nothing to tell by\n")
    site.config.write_text("{}")
    found = site.send()
    assert (found.exit_code, found.stdout) == (TROUBLE, "")
    assert "set alerts.alertmanagers or alerts.config_file" in " ".join(found.stderr.split())


def test_where_alertmanager_alone_tells_only_that_is_told(site: Site) -> None:
    site.config.write_text(f"{{alerts: {{alertmanagers: ['{site.alertmanager.url}', 'http://127.0.0.1:1']}}}}")
    found = site.send("severity=ticket")
    assert found.exit_code == TROUBLE
    taken, away = found.stdout.splitlines()
    assert " by alertmanager: taken, " in taken
    assert away.startswith("http://127.0.0.1:1 by alertmanager: not reached: ConnectError")
    ((posted,),) = site.alertmanager.received
    assert posted["labels"] == {"alertname": "TailsightTest", "severity": "ticket"}


# -- replay ------------------------------------------------------------------------------------------------------------


def test_a_replay_of_a_store_that_is_not_there_makes_none(config: Path) -> None:
    finished = tailsight("route", "replay", *HOUR, "--config", str(config))
    assert finished.returncode == WRONG_USE
    assert "there is no store in" in finished.stderr
    assert not (config.parent / "data").exists()


def test_a_replay_of_quiet_time_tells_nobody(config: Path) -> None:
    assert tailsight("migrate", "--config", str(config)).returncode == FINE
    finished = tailsight("route", "replay", *HOUR, "--config", str(config), "--json")
    assert (finished.returncode, json.loads(finished.stdout)) == (FINE, {"told": [], "not_replayed": NOT_REPLAYED})


def test_a_replay_says_who_would_have_been_told_what_and_when(config: Path) -> None:
    assert tailsight("migrate", "--config", str(config)).returncode == FINE
    written = subprocess.run(
        [sys.executable, "-c", WRITE_AN_INCIDENT, f"chdb://{config.parent / 'data'}"],
        check=False, cwd=ROOT, capture_output=True, text=True, env=environment(), timeout=240,
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    first = tailsight("route", "replay", *HOUR, "--config", str(config), "--json")
    assert first.returncode == FINE, first.stderr
    told = json.loads(first.stdout)["told"]
    begun = [one for one in told if one["reason"] == "first notification"]
    assert sorted((one["at"], one["receiver"], one["kind"]) for one in begun) == TOLD_FIRST
    assert all(one["summary"].startswith("chat: TTFT p99 4.1 s") for one in told)
    assert tailsight("route", "replay", *HOUR, "--config", str(config), "--json").stdout == first.stdout
    shown = tailsight("route", "replay", *HOUR, "--config", str(config))
    assert "1 alerts" in shown.stdout
    assert "oncall" in shown.stdout
    assert "not replayed: late data, since of stored data it is known what time it is of" in shown.stdout
