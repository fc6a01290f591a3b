"""Alerting against real receivers on loopback: what is told, once, also after a restart and through trouble."""

import asyncio
import base64
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError

from alerts import deliver
from alerts import service as service_module
from alerts.decide import incident_alert
from alerts.notification import Notification
from alerts.service import Alerting
from alerts.settings import AlertsSettings
from alerts.silences import new_silence
from alerts.titles import TITLE_MAX
from domain.alert import Alert, NotificationStatus
from domain.cause import Explanation
from domain.window import rfc3339
from storage.errors import StoreUnavailableError
from storage.store import Store
from tests.alerts.loopback import Answer, Clock, Receiver, alert, receiving, restored, runs, settings_of
from tests.domain.examples import PAGING, UNEXPLAINED

CONFIG = """
route: {{receiver: oncall, group_by: [service], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}}
receivers:
- name: oncall
  webhook_configs: [{{url: '{url}'}}]
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def router_settings(tmp_path: Path, receiver: Receiver) -> AlertsSettings:
    return settings_of(tmp_path, CONFIG.format(url=receiver.url))


def test_a_receiver_is_told_once_also_after_a_restart(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    settings = router_settings(tmp_path, receiver)
    told: list[Any] = []
    service = restored(clean_store, settings, told)
    one = alert(severity="page")
    service.post([one])
    runs(service, lambda: bool(told))
    assert [body["alerts"][0]["labels"] for body in receiver.received] == [dict(one.labels)]
    assert len(told) == 1
    restarted = restored(clean_store, settings)
    assert [known.alert.fingerprint for known in restarted.alerts()] == [one.fingerprint]
    restarted.post([one])
    runs(restarted, lambda: len(receiver.received) > 1, most_s=3)
    assert len(receiver.received) == 1


def test_what_is_being_sent_at_an_orderly_end_is_not_sent_again(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    settings = router_settings(tmp_path, receiver)
    receiver.usual = Answer(delay_s=1.0)  # taken at once, and told later
    service = restored(clean_store, settings)
    service.post([alert(severity="page")])
    assert runs(service, lambda: bool(receiver.received))
    runs(restored(clean_store, settings), lambda: len(receiver.received) > 1, most_s=3)
    assert len(receiver.received) == 1


def test_what_no_receiver_answers_at_an_orderly_end_is_cut_short_before_the_state_is_kept(
    clean_store: Store, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_LAST_SEND_S_MAX", 0.2)
    receiver.usual = Answer(delay_s=20)
    service = restored(clean_store, router_settings(tmp_path, receiver))
    keep, sent_beside = service._keep, []

    def keep_beside() -> bool:
        sent_beside.append(len(service._sending))
        return keep()

    monkeypatch.setattr(service, "_keep", keep_beside)
    service.post([alert(severity="page")])
    assert runs(service, lambda: bool(receiver.received))
    assert sent_beside[-1] == 0


def test_an_orderly_end_waits_for_receivers_and_store_no_longer_than_for_the_store_alone(
    clean_store: Store, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_LAST_SEND_S_MAX", 3600.0)
    monkeypatch.setattr(service_module, "_LAST_KEEP_S_MAX", 0.2)
    receiver.usual = Answer(delay_s=40)
    service = restored(clean_store, router_settings(tmp_path, receiver))
    service.post([alert(severity="page")])

    async def run() -> None:
        running = asyncio.create_task(service.run())
        while not receiver.received:  # noqa: ASYNC110  # receivers are no events
            await asyncio.sleep(0.05)
        running.cancel()
        _, late = await asyncio.wait({running}, timeout=5)
        assert not late

    asyncio.run(run())


def test_notifications_that_can_be_noted_no_more_are_counted_and_told_once(
    clean_store: Store,
    tmp_path: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(service_module, "_UNRECORDED_MAX", 1)
    registry = CollectorRegistry()
    service = restored(clean_store, router_settings(tmp_path, receiver), registry=registry)
    monkeypatch.setattr(service, "_notified", away)
    service.post([alert(severity="page", service=name) for name in ("chat", "assist", "search")])
    runs(service, lambda: len(receiver.received) == 3)
    assert registry.get_sample_value("tailsight_notifications_unrecorded_total") == 2
    assert caplog.text.count("notifications_never_noted") == 1


def test_a_cause_that_becomes_known_is_told_once_more_also_across_a_restart(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    def found(explanation: Explanation) -> Alert:
        now = datetime.now(UTC)
        incident = replace(PAGING, started_at=now, explanation=explanation)
        alert = incident_alert(incident, "http://127.0.0.1:8080", now)
        assert alert is not None
        return replace(alert, starts_at=began)

    began, settings = datetime.now(UTC), router_settings(tmp_path, receiver)
    service = restored(clean_store, settings)
    service.post([found(UNEXPLAINED.explanation)])
    assert runs(service, lambda: bool(receiver.received))
    service.post([found(PAGING.explanation)])
    assert runs(service, lambda: len(receiver.received) == 2)
    titles = [body["alerts"][0]["annotations"]["summary"] for body in receiver.received]
    assert [title.rpartition("; ")[2] for title in titles] == [
        "cause unknown", "network_link_fault on gpu-07-03/mlx5_2/1, 93 %",
    ]  # fmt: skip
    restarted = restored(clean_store, settings)
    restarted.post([found(UNEXPLAINED.explanation)])
    restarted.post([found(PAGING.explanation)])
    runs(restarted, lambda: len(receiver.received) > 2, most_s=3)
    assert len(receiver.received) == 2


def test_what_was_not_delivered_before_a_restart_is_delivered_after_it(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    settings = router_settings(tmp_path, receiver)
    receiver.usual = Answer(503)
    service = restored(clean_store, settings)
    service.post([alert(severity="page")])
    runs(service, lambda: False, most_s=2)
    assert receiver.received == []
    receiver.usual = Answer()
    runs(restored(clean_store, settings), lambda: bool(receiver.received))
    assert len(receiver.received) == 1


def test_a_refusal_is_seen_as_a_dead_letter(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    receiver.usual = Answer(404)
    service = restored(clean_store, router_settings(tmp_path, receiver))
    service.post([alert()])
    runs(service, lambda: bool(service.dead_letters()))
    assert service.dead_letters()[0].error.startswith("HTTP 404")


def test_what_cannot_be_noted_keeps_nobody_from_being_told_and_is_noted_later(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    noted: list[str] = []
    attempts = iter([StoreUnavailableError("busy"), StoreUnavailableError("busy")])

    def notified(notification: Notification, _at: datetime) -> None:
        for error in attempts:
            raise error
        noted.append(notification.receiver)

    service = Alerting(
        clean_store,
        router_settings(tmp_path, receiver),
        CollectorRegistry(),
        lambda: datetime.now(UTC),
        notified=notified,
    )
    service.restore()
    service.post([alert(severity="page")])
    assert runs(service, lambda: bool(noted))
    assert len(receiver.received) == 1


def test_a_store_that_hangs_delays_nobodys_page(
    clean_store: Store, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    told: list[Any] = []
    change_document = service_module.change_document

    def change_late(*arguments: Any) -> Any:
        hangs.wait(60)
        return change_document(*arguments)

    monkeypatch.setattr(service_module, "change_document", change_late)
    service = restored(clean_store, router_settings(tmp_path, receiver), told)

    def is_all_noted() -> bool:
        if len(receiver.received) == 1:
            service.post([alert(severity="page", service="other")])
        elif len(receiver.received) == 2:
            hangs.set()
        return len(told) == 2

    service.post([alert(severity="page")])
    assert runs(service, is_all_noted)


def test_before_what_was_kept_is_read_nobody_can_say_that_nothing_fires(clean_store: Store, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, PAGERDUTY.format(pagerduty="http://x", slack="http://y"))
    document = {"matchers": [{"name": "service", "value": "chat"}], "createdBy": "ann", "comment": "a change"}
    silence = new_silence(document | {"endsAt": rfc3339(datetime.now(UTC) + timedelta(hours=1))}, datetime.now(UTC))
    restored(clean_store, settings).set_silence(silence)

    service = Alerting(clean_store, settings, CollectorRegistry(), lambda: datetime.now(UTC))
    service.post([alert()])
    asked: list[Callable[[], Any]] = [
        service.alerts,
        service.silences,
        service.dead_letters,
        service.last_delivered_at,
        service.save,
        lambda: service.set_silence(silence),
        lambda: service.delete_silence(silence.id),
        lambda: asyncio.run(service.run()),
    ]
    for ask in asked:
        with pytest.raises(StoreUnavailableError, match="before the store has answered once"):
            ask()
    service.restore()
    assert [one.id for one in service.silences()] == [silence.id]
    assert len(service.alerts()) == 1


def test_a_silence_holds_at_once_and_is_kept_when_the_store_answers_again(
    clean_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, PAGERDUTY.format(pagerduty="http://x", slack="http://y"))
    service = restored(clean_store, settings)
    document = {"matchers": [{"name": "service", "value": "chat"}], "createdBy": "ann", "comment": "a change"}
    silence = new_silence(document | {"endsAt": rfc3339(datetime.now(UTC) + timedelta(hours=1))}, datetime.now(UTC))

    def fails(*_: Any) -> None:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as while_away:
        while_away.setattr(service_module, "change_document", fails)
        service.set_silence(silence)
        assert [one.id for one in service.silences()] == [silence.id]
        assert restored(clean_store, settings).silences() == []
    assert runs(service, lambda: bool(restored(clean_store, settings).silences()))


def test_a_silence_that_comes_while_the_state_is_kept_is_kept_too(clean_store: Store, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, PAGERDUTY.format(pagerduty="http://x", slack="http://y"))
    service = restored(clean_store, settings)
    service.post([alert()])
    now = datetime.now(UTC)
    wanted = [
        new_silence(
            {"matchers": [{"name": "service", "value": str(number)}], "endsAt": rfc3339(now + timedelta(hours=1)),
             "createdBy": "ann", "comment": "a change"}, now,
        )
        for number in range(8)
    ]  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(service.set_silence, wanted))
    assert {one.id for one in restored(clean_store, settings).silences()} == {one.id for one in wanted}


def test_what_fires_fires_on_while_nobody_can_look(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    clock = Clock()
    service = restored(clean_store, router_settings(tmp_path, receiver), clock=clock)
    service.post([alert(severity="page"), alert(severity="ticket", alertname="SLONoData")])
    for _ in range(3):
        clock.ahead += timedelta(minutes=3)
        service.keep_firing({"SLOBurnRate"})
    assert [one.alert.labels["alertname"] for one in service.alerts()] == ["SLOBurnRate"]
    clock.ahead += timedelta(minutes=5)
    assert service.alerts() == []


def test_what_fired_before_a_restart_is_not_over_because_nobody_looked(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    clock = Clock()
    service = restored(clean_store, router_settings(tmp_path, receiver), clock=clock)
    service.post([alert(severity="page"), alert(ends=timedelta(seconds=-1), severity="page", service="other")])
    runs(service, lambda: bool(receiver.received))
    clock.ahead = timedelta(minutes=20)
    restarted = restored(clean_store, router_settings(tmp_path, receiver), clock=clock)
    assert [one.alert.labels["service"] for one in restarted.alerts()] == ["chat"]
    runs(restarted, lambda: len(receiver.received) > 1, most_s=2)
    assert len(receiver.received) == 1
    clock.ahead += timedelta(minutes=5)
    assert restarted.alerts() == []


def test_every_alert_carries_the_labels_of_this_site_and_a_summary_that_is_a_title(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    settings = router_settings(tmp_path, receiver).model_copy(update={"labels": {"cluster": "eu-1"}})
    service = restored(clean_store, settings)
    service.post([alert(severity="page", annotations={"summary": f"{'a' * 300}: slow"})])
    runs(service, lambda: bool(receiver.received))
    (told,) = receiver.received[0]["alerts"]
    assert told["labels"]["cluster"] == "eu-1"
    assert len(told["annotations"]["summary"]) == TITLE_MAX
    assert told["annotations"]["summary"].endswith("a: slow")


def test_an_alert_whose_route_tells_nobody_at_this_time_is_known_as_such(clean_store: Store, tmp_path: Path) -> None:
    config = """
route:
  receiver: oncall
  routes: [{matchers: [severity=ticket], receiver: office, active_time_intervals: [that year]}]
receivers: [{name: oncall}, {name: office}]
time_intervals: [{name: that year, time_intervals: [{years: ['2000']}]}]
"""
    service = restored(clean_store, settings_of(tmp_path, config))
    service.post([alert(severity="page"), alert(severity="ticket")])
    assert {(known.receivers, known.is_muted) for known in service.alerts()} == {
        (("oncall",), False),
        (("office",), True),
    }


def test_where_alertmanager_alone_tells_people_its_own_form_silences(clean_store: Store) -> None:
    settings = AlertsSettings(
        alertmanagers=("http://alertmanager-0:9093",),
        alertmanager_url="https://am.example/",
        labels={"cluster": "eu-1"},
    )
    service = restored(clean_store, settings)
    assert service.notifies_by_alertmanager_only
    service.post([alert(annotations={"silence_url": "http://127.0.0.1:8080/alerts?silence=x"}, incident="inc-1")])
    place, _, matchers = service.alerts()[0].alert.annotations["silence_url"].partition("?filter=")
    assert place == "https://am.example/#/silences/new"
    assert unquote(matchers) == '{alertname="SLOBurnRate",cluster="eu-1",service="chat"}'


def test_what_was_told_after_all_is_no_dead_letter(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    clock = Clock()
    receiver.answers.append(Answer(404))
    registry = CollectorRegistry()
    service = Alerting(clean_store, router_settings(tmp_path, receiver), registry, clock)
    service.restore()
    service.post([alert(ends=timedelta(hours=1))])

    def counted() -> float | None:
        return registry.get_sample_value("tailsight_notification_dead_letters", {"receiver": "oncall"})

    assert runs(service, lambda: counted() == 1)
    clock.ahead = timedelta(minutes=10)
    assert runs(service, lambda: counted() == 0)
    assert receiver.received
    assert service.dead_letters() == ()


# -- Alertmanager ------------------------------------------------------------------------------------------------------


def test_a_password_in_the_url_of_an_alertmanager_is_used_and_never_told(
    clean_store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    told = receiver.url.rstrip("/")
    receiver.answers.append(Answer(401))
    registry = CollectorRegistry()
    settings = AlertsSettings(alertmanagers=(told.replace("http://", "http://ann:s3cret@"),))
    service = Alerting(clean_store, settings, registry, lambda: datetime.now(UTC))
    service.restore()
    service.post([alert()])
    assert runs(service, lambda: len(receiver.asked) == 1)
    service.post([alert(annotations={"silence_url": "http://127.0.0.1:8080/alerts"}, severity="page")])
    assert runs(service, lambda: bool(receiver.received))
    expected = "Basic " + base64.b64encode(b"ann:s3cret").decode()
    assert [headers["Authorization"] for headers in receiver.headers] == [expected] * 2
    assert f"alertmanager_not_reached url={told} error=HTTP 401" in caplog.text
    metrics = generate_latest(registry).decode()
    for outcome in ("failed", "done"):
        assert f'tailsight_alertmanager_pushes_total{{outcome="{outcome}",url="{told}"}} 1.0' in metrics
    assert service.alertmanagers == (told,)
    assert "s3cret" not in caplog.text + metrics + json.dumps(receiver.received)


def test_the_password_of_an_alertmanager_may_lie_in_a_file(
    clean_store: Store, tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    password = tmp_path / "password"
    http = {"basic_auth": {"username": "ann", "password_file": password}}
    settings = AlertsSettings.model_validate(
        {"alertmanagers": [receiver.url.rstrip("/")], "alertmanager_http_config": http}
    )
    service = restored(clean_store, settings)
    service.post([alert()])
    assert runs(service, lambda: "alertmanager_not_reached" in caplog.text)
    assert str(password) in caplog.text
    password.write_text("s3cret\n")
    service.post([alert(severity="page")])
    assert runs(service, lambda: bool(receiver.received))
    assert receiver.paths == ["/api/v2/alerts"]
    assert receiver.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"ann:s3cret").decode()


@pytest.mark.parametrize("password", ["s3crét".encode(), "s3crét".encode("latin-1")])
def test_a_token_that_no_header_may_have_ends_nothing(
    clean_store: Store, tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture, password: bytes
) -> None:
    file = tmp_path / "token"
    file.write_bytes(password)
    http = {"authorization": {"credentials_file": file}}
    settings = AlertsSettings.model_validate(
        {"alertmanagers": [receiver.url.rstrip("/")], "alertmanager_http_config": http}
    )
    service = restored(clean_store, settings)
    service.post([alert()])
    assert runs(service, lambda: "alertmanager_not_reached" in caplog.text)
    assert "s3cr" not in caplog.text
    file.write_text("s3cret")
    service.post([alert(severity="page")])
    assert runs(service, lambda: bool(receiver.received))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"alertmanagers": ["ann:s3cret@am-0:9093"]}, "'am-0:9093' is no URL"),
        ({"alertmanagers": ["http://ann:s3c/ret@am-0:9093"]}, "'http://am-0:9093' is no URL"),
        (
            {
                "alertmanagers": ["http://ann:s3cret@am-0:9093"],
                "alertmanager_http_config": {"authorization": {"credentials": "s3cret"}},
            },
            "a URL names a user, and alertmanager_http_config does too",
        ),
        ({"alertmanager_http_config": {"proxy_url": "ann:s3cret@proxy"}}, "proxy_url is 'proxy'"),
    ],
)
def test_an_alertmanager_that_cannot_be_asked_is_refused_without_its_password(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AlertsSettings.model_validate(given)
    (fault,) = caught.value.errors()
    assert told in fault["msg"]
    assert "s3c" not in fault["msg"]


def test_where_alertmanager_alone_tells_it_is_said_when_each_peer_was_given_an_alert_or_why_not(
    clean_store: Store, receiver: Receiver
) -> None:
    with receiving(Answer(503)) as away:
        urls = tuple(one.url.rstrip("/").replace("//", "//ann:s3cret@") for one in (receiver, away))
        clock = Clock()
        service = restored(clean_store, AlertsSettings(alertmanagers=urls), clock=clock)
        service.post([alert(timedelta(hours=1))])
        began = clock()

        def given() -> dict[str, NotificationStatus]:
            (known,) = service.alerts()
            assert {one.integration for one in known.notification_statuses} == {"alertmanager"}, (
                "our own router tells nobody"
            )
            return {one.receiver: one for one in known.notification_statuses}

        taken, refused = (one.url.rstrip("/") for one in (receiver, away))
        assert given()[taken] == NotificationStatus(taken, "alertmanager", None, "about to be posted")
        assert runs(service, lambda: given()[taken].notified_at is not None and "HTTP" in given()[refused].why_not)
        first = given()[taken].notified_at
        assert first is not None
        assert began <= first <= clock()
        assert (given()[refused].notified_at, given()[refused].why_not) == (
            None,
            "not taken: HTTP 503: Service Unavailable",
        )
        clock.ahead += timedelta(seconds=61)
        away.usual = Answer()
        assert runs(service, lambda: given()[refused].notified_at is not None and given()[taken].notified_at != first)


# -- receivers in trouble ----------------------------------------------------------------------------------------------

PAGERDUTY = """
global: {{pagerduty_url: '{pagerduty}', slack_api_url: '{slack}'}}
route: {{receiver: oncall, group_by: [service], group_wait: 100ms, group_interval: 5s, repeat_interval: 1h}}
receivers:
- name: oncall
  pagerduty_configs: [{{routing_key: 0123456789abcdef0123456789abcdef}}]
  slack_configs: [{{channel: '#inference', send_resolved: true}}]
"""


@pytest.fixture
def pagerduty() -> Iterator[Receiver]:
    with receiving(Answer(202)) as made:
        yield made


@pytest.fixture
def slack() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def test_receivers_that_fail_stall_and_limit_are_told_once_when_they_recover(
    clean_store: Store, tmp_path: Path, pagerduty: Receiver, slack: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_TIMEOUT_S", 0.5)
    pagerduty.answers.extend([Answer(500), Answer(429, {"Retry-After": "2"})])
    slack.answers.extend([Answer(503, delay_s=1.0), Answer(429, {"Retry-After": "2"}), Answer(502)])
    service = restored(clean_store, settings_of(tmp_path, PAGERDUTY.format(pagerduty=pagerduty.url, slack=slack.url)))
    service.post([alert(severity="page", annotations={"summary": "chat is slow"})])
    assert runs(service, lambda: bool(pagerduty.received and slack.received), most_s=20)
    runs(service, lambda: False, most_s=2)
    assert [status for _, status in pagerduty.asked] == [500, 429, 202]
    assert [status for _, status in slack.asked] == [503, 429, 502, 200]
    for receiver in (pagerduty, slack):
        assert len(receiver.received) == 1, "told once"
        waited = {earlier[1]: later[0] - earlier[0] for earlier, later in itertools.pairwise(receiver.asked)}
        assert waited[429] >= 2, "not before the receiver allows"
    assert not service.dead_letters()


def test_what_a_stalled_pagerduty_took_after_all_is_told_again_under_the_same_key(
    clean_store: Store, tmp_path: Path, pagerduty: Receiver, slack: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_TIMEOUT_S", 0.5)
    pagerduty.answers.append(Answer(202, delay_s=1.0))  # it takes the event, and its answer comes too late
    service = restored(clean_store, settings_of(tmp_path, PAGERDUTY.format(pagerduty=pagerduty.url, slack=slack.url)))
    firing = alert(severity="page")
    service.post([firing])
    assert runs(service, lambda: len(pagerduty.received) == 2)
    assert len({event["dedup_key"] for event in pagerduty.received}) == 1, "so PagerDuty keeps one incident"
    service.post([alert(ends=timedelta(seconds=-1), severity="page")])
    assert runs(service, lambda: len(pagerduty.received) == 3)
    assert [event["event_action"] for event in pagerduty.received] == ["trigger", "trigger", "resolve"]


def test_a_receiver_that_never_recovers_leaves_a_dead_letter_and_the_other_is_told(
    clean_store: Store, tmp_path: Path, pagerduty: Receiver, slack: Receiver
) -> None:
    slack.usual = Answer(403)
    service = restored(clean_store, settings_of(tmp_path, PAGERDUTY.format(pagerduty=pagerduty.url, slack=slack.url)))
    service.post([alert(severity="page")])
    assert runs(service, lambda: bool(service.dead_letters() and service.last_delivered_at()))
    (known,) = service.alerts()
    delivered, refused = known.notification_statuses
    assert (delivered.receiver, delivered.integration, delivered.why_not) == ("oncall", "pagerduty", "")
    assert delivered.notified_at is not None
    assert (refused.integration, refused.notified_at, refused.why_not) == (
        "slack",
        None,
        "not taken: HTTP 403: Forbidden",
    )
    assert {letter.integration for letter in service.dead_letters()} == {"slack"}
    assert len(pagerduty.received) == 1
