"""A test notification really goes out, says that it is a test, leaves nothing open, and gives no secret away."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from alerts import trial
from alerts.config import parse_config
from alerts.deliver import DeliveryError, deliver
from alerts.notification import Integration, Notification, Reason
from alerts.receiver_settings import GlobalSettings
from alerts.settings import AlertsSettings
from alerts.trial import Outcome, TrialResult, run_trial, trial_alert
from domain.window import rfc3339
from tests.alerts.loopback import Answer, Mailbox, Receiver, mailing, receiving, settings_of

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=7)
ALERT = trial_alert({"severity": "page", "service": "chat"}, "ann@laptop", NOW)
SUMMARY = "Test by ann@laptop at 2026-11-29T03:00:00Z: nothing is wrong"
KEY = "0123456789abcdef0123456789abcdef"
CONFIG = """
global:
  pagerduty_url: '{url}v2/enqueue'
  slack_api_url: '{url}services/T0/B0/s3cret-of-slack'
  smtp_smarthost: '{smarthost}'
  smtp_from: tailsight@example.com
  smtp_require_tls: false
route: {{receiver: all}}
receivers:
- name: all
  pagerduty_configs: [{{routing_key: {key}, send_resolved: false}}]
  slack_configs: [{{channel: '#chat'}}]
  msteamsv2_configs: [{{webhook_url: '{url}teams/s3cret-of-teams'}}]
  webhook_configs: [{{url: '{url}hook', http_config: {{authorization: {{credentials: s3cret-of-webhook}}}}}}]
  email_configs: [{{to: 'a@example.com'}}]
"""

APPRISE = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what its hundreds of modules import


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mailing() as made:
        yield made


def _of(integration: Integration) -> Notification:
    return Notification("key", {}, "all", 0, integration, (ALERT,), NOW, Reason.TEST)


def tried(settings: AlertsSettings, open_s: float = 0) -> dict[str, TrialResult]:
    """How each kind of way took it."""
    found = run_trial(settings, settings.config.receivers, ALERT, "https://tailsight.example", open_s, lambda: LATER)
    return {one.kind: one for one in found}


def routing(folder: Path, receiver: Receiver, mailbox: Mailbox) -> AlertsSettings:
    return settings_of(folder, CONFIG.format(url=receiver.url, smarthost=mailbox.smarthost, key=KEY))


def test_every_way_is_told_that_it_is_a_test_by_whom_and_of_when(
    tmp_path: Path, receiver: Receiver, mailbox: Mailbox
) -> None:
    found = tried(routing(tmp_path, receiver, mailbox))
    assert {kind: one.outcome for kind, one in found.items()} == dict.fromkeys(
        ("pagerduty", "slack", "msteamsv2", "webhook", "email"), Outcome.TAKEN
    )
    by_path: dict[str, list[str]] = {}
    for path, document in zip(receiver.paths, receiver.received, strict=True):
        by_path.setdefault(path.split("/")[1], []).append(json.dumps(document))
    assert {path: len(told) for path, told in by_path.items()} == {"v2": 2, "services": 1, "teams": 1, "hook": 2}
    for told in ("v2", "services", "teams"):
        assert f"[TEST] {SUMMARY}" in by_path[told][0]
    assert SUMMARY in by_path["hook"][0]
    (mail,) = mailbox.mails
    assert "[TEST] Test by ann@laptop" in mail
    assert "Sent by Tailsight to all: a test." in mail


def test_what_pagerduty_and_webhooks_are_told_is_resolved_again_under_the_same_key(
    tmp_path: Path, receiver: Receiver, mailbox: Mailbox
) -> None:
    found = tried(routing(tmp_path, receiver, mailbox))
    assert found["pagerduty"].note == found["webhook"].note == "and resolved again"
    events = [one for one in receiver.received if "event_action" in one]
    assert [one["event_action"] for one in events] == ["trigger", "resolve"]
    assert len({one["dedup_key"] for one in events}) == 1
    assert events[0]["payload"]["severity"] == "critical", "by the label that was given"
    hooks = [one for one in receiver.received if "groupKey" in one]
    assert [one["status"] for one in hooks] == ["firing", "resolved"]
    assert [one["alerts"][0]["labels"]["alertname"] for one in hooks] == ["TailsightTest"] * 2
    assert hooks[1]["alerts"][0]["endsAt"] == rfc3339(LATER)


def test_two_trials_have_keys_of_their_own(tmp_path: Path, receiver: Receiver, mailbox: Mailbox) -> None:
    settings = routing(tmp_path, receiver, mailbox)
    for by in ("ann@laptop", "bob@laptop"):
        run_trial(settings, settings.config.receivers, trial_alert({}, by, NOW), "http://t", 0, lambda: LATER)
    assert len({one["dedup_key"] for one in receiver.received if "event_action" in one}) == 2


def test_who_refuses_is_told_with_status_and_reason_and_who_is_not_there_apart(
    tmp_path: Path, receiver: Receiver, mailbox: Mailbox
) -> None:
    receiver.usual = Answer(403)
    settings = routing(tmp_path, receiver, mailbox)
    assert tried(settings)["slack"] == TrialResult("all", "slack", Outcome.REFUSED, "HTTP 403: Forbidden")
    text = CONFIG.format(url="http://127.0.0.1:1/", smarthost="127.0.0.1:1", key=KEY)
    found = tried(settings_of(tmp_path, text.replace("a@example.com", "nobody@example.com")))
    assert {one.outcome for one in found.values()} == {Outcome.NOT_REACHED}
    assert "Connection refused" in found["email"].note
    text = CONFIG.format(url="http://127.0.0.1:1/", smarthost=mailbox.smarthost, key=KEY)
    found = tried(settings_of(tmp_path, text.replace("a@example.com", "nobody@example.com")))
    assert found["email"].outcome is Outcome.REFUSED
    assert "no such user" in found["email"].note


def test_what_was_taken_and_not_resolved_is_trouble_and_says_what_to_do(
    tmp_path: Path, receiver: Receiver, mailbox: Mailbox
) -> None:
    text = CONFIG.replace("  slack_configs", "  # slack_configs").replace(
        "  msteamsv2_configs", "  # msteamsv2_configs"
    )
    text = text.replace("  webhook_configs", "  # webhook_configs")
    receiver.answers.extend([Answer(202), Answer(500)])
    found = tried(settings_of(tmp_path, text.format(url=receiver.url, smarthost=mailbox.smarthost, key=KEY)))
    assert found["pagerduty"].outcome is Outcome.REFUSED
    assert found["pagerduty"].note.startswith("taken, but not its end: resolve it there. HTTP 500")


def test_a_trial_that_somebody_ends_while_it_rings_is_resolved_all_the_same(
    tmp_path: Path, receiver: Receiver, mailbox: Mailbox
) -> None:
    settings = routing(tmp_path, receiver, mailbox)

    async def ended_early() -> None:
        async with httpx.AsyncClient() as client:
            trying = trial._try_receiver(notification, GlobalSettings(), client, 600, lambda: LATER)
            task = asyncio.create_task(trying)
            while not receiver.received:  # noqa: ASYNC110  # receivers are no events
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    (integration,) = [one for one in settings.config.receivers["all"] if one.kind == "webhook"]
    notification = _of(integration)
    asyncio.run(ended_early())
    assert [one["status"] for one in receiver.received] == ["firing", "resolved"]


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_a_receiver_that_repeats_what_it_was_sent_gives_no_secret_away(
    tmp_path: Path, receiver: Receiver, mailbox: Mailbox
) -> None:
    receiver.usual = Answer(400, echoes=True)
    found = tried(routing(tmp_path, receiver, mailbox))
    told = json.dumps([one.note for one in found.values()], ensure_ascii=False)
    assert "Cannot POST … of" in told
    assert "s3cret" not in told
    assert KEY not in told


def test_a_password_in_the_url_of_an_alertmanager_is_not_told_though_it_is_repeated(receiver: Receiver) -> None:
    receiver.usual = Answer(400, echoes=True)
    settings = AlertsSettings(alertmanagers=(receiver.url.replace("http://", "http://ann:s3cret@"),))
    (found,) = run_trial(settings, {}, ALERT, "http://t", 0, lambda: LATER)
    assert (found.receiver, found.outcome) == (receiver.url.rstrip("/"), Outcome.REFUSED)
    assert "of Basic …: " in found.note


@pytest.mark.parametrize("content", [b"s3cr\xff", "s3crét".encode(), b"s3cr\net", b""])
def test_a_secret_that_cannot_be_sent_as_it_stands_is_told_without_it(
    tmp_path: Path, receiver: Receiver, content: bytes
) -> None:
    (tmp_path / "secret").write_bytes(content)
    http = f"http_config: {{authorization: {{credentials_file: '{tmp_path}/secret'}}}}"
    text = f"route: {{receiver: a}}\nreceivers:\n- name: a\n  webhook_configs: [{{url: '{receiver.url}', {http}}}]\n"
    (found,) = tried(settings_of(tmp_path, text)).values()
    assert found.outcome is Outcome.NOT_REACHED
    assert found.note
    assert "s3cr" not in found.note
    assert receiver.received == []


def test_a_file_of_secrets_that_is_not_there_is_told_by_its_name(tmp_path: Path, receiver: Receiver) -> None:
    text = "route: {receiver: a}\nreceivers:\n- name: a\n  pagerduty_configs: [{routing_key_file: /none/key}]\n"
    found = tried(settings_of(tmp_path, text))["pagerduty"]
    assert found.outcome is Outcome.NOT_REACHED
    assert "/none/key" in found.note


@APPRISE
def test_apprise_quotes_no_url_that_it_cannot_read(caplog: pytest.LogCaptureFixture) -> None:
    config = parse_config(
        "route: {receiver: a}\nreceivers: [{name: a, apprise_configs: [{url: 'slack://s3cret-token/'}]}]"
    )
    (integration,) = config.receivers["a"]
    with pytest.raises(DeliveryError, match="Apprise knows no service for this URL"):
        asyncio.run(deliver(_of(integration), GlobalSettings(), httpx.AsyncClient()))
    assert "s3cret" not in caplog.text


@APPRISE
def test_whether_the_service_behind_apprise_refused_or_was_not_there_is_not_guessed(tmp_path: Path) -> None:
    text = "route: {receiver: a}\nreceivers: [{name: a, apprise_configs: [{url: 'json://127.0.0.1:1/'}]}]"
    assert tried(settings_of(tmp_path, text))["apprise"].outcome is Outcome.NOT_TAKEN


# -- Alertmanager ------------------------------------------------------------------------------------------------------


def test_alertmanager_is_posted_an_alert_of_its_own_name_that_ends_soon(receiver: Receiver) -> None:
    settings = AlertsSettings(alertmanagers=(receiver.url,))
    with receiving(Answer(503)) as away:
        both = settings.model_copy(update={"alertmanagers": (receiver.url.rstrip("/"), away.url.rstrip("/"))})
        taken, refused = run_trial(both, {}, ALERT, "http://t", 0, lambda: LATER)
    assert receiver.paths == ["/api/v2/alerts"]
    ((posted,),) = receiver.received
    assert posted["labels"] == {"alertname": "TailsightTest", "severity": "page", "service": "chat"}
    assert (posted["startsAt"], posted["endsAt"]) == ("2026-11-29T03:00:00Z", "2026-11-29T03:04:00Z")
    assert posted["annotations"]["summary"] == SUMMARY
    assert taken.note == "its own routes decide who is told; over at 2026-11-29T03:04:00Z"
    assert (refused.outcome, refused.note) == (Outcome.REFUSED, "HTTP 503: Service Unavailable")
