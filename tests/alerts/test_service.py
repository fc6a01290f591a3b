"""Alerting against real receivers on loopback: what is told, once, also after a restart and through trouble."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts import deliver
from alerts.settings import AlertsSettings
from storage.store import Store
from tests.alerts.loopback import Answer, Receiver, alert, alerting, receiving, runs, settings_of

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
    service = alerting(clean_store, settings, told)
    one = alert(severity="page")
    service.tell([one])
    runs(service, lambda: bool(receiver.told))
    assert [body["alerts"][0]["labels"] for body in receiver.told] == [dict(one.labels)]
    assert len(told) == 1
    restarted = alerting(clean_store, settings)
    assert [known.alert.fingerprint for known in restarted.alerts()] == [one.fingerprint]
    restarted.tell([one])
    runs(restarted, lambda: len(receiver.told) > 1, most_s=3)
    assert len(receiver.told) == 1


def test_what_was_not_delivered_before_a_restart_is_delivered_after_it(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    settings = router_settings(tmp_path, receiver)
    receiver.usual = Answer(503)
    service = alerting(clean_store, settings)
    service.tell([alert(severity="page")])
    runs(service, lambda: False, most_s=2)
    assert receiver.told == []
    receiver.usual = Answer()
    runs(alerting(clean_store, settings), lambda: bool(receiver.told))
    assert len(receiver.told) == 1


def test_a_refusal_is_seen_as_a_dead_letter(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    receiver.usual = Answer(404)
    service = alerting(clean_store, router_settings(tmp_path, receiver))
    service.tell([alert()])
    runs(service, lambda: bool(service.dead_letters()))
    assert service.dead_letters()[0].error.startswith("HTTP 404")


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
    service = alerting(clean_store, settings_of(tmp_path, PAGERDUTY.format(pagerduty=pagerduty.url, slack=slack.url)))
    service.tell([alert(severity="page", annotations={"summary": "chat is slow"})])
    assert runs(service, lambda: bool(pagerduty.told and slack.told), most_s=20)
    runs(service, lambda: False, most_s=2)
    assert [status for _, status in pagerduty.asked] == [500, 429, 202]
    assert [status for _, status in slack.asked] == [503, 429, 502, 200]
    for receiver in (pagerduty, slack):
        assert len(receiver.told) == 1, "told once"
        waited = {earlier[1]: later[0] - earlier[0] for earlier, later in itertools.pairwise(receiver.asked)}
        assert waited[429] >= 2, "not before the receiver allows"
    assert not service.dead_letters()


def test_what_a_stalled_pagerduty_took_after_all_is_told_again_under_the_same_key(
    clean_store: Store, tmp_path: Path, pagerduty: Receiver, slack: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_TIMEOUT_S", 0.5)
    pagerduty.answers.append(Answer(202, delay_s=1.0))  # it takes the event, and its answer comes too late
    service = alerting(clean_store, settings_of(tmp_path, PAGERDUTY.format(pagerduty=pagerduty.url, slack=slack.url)))
    firing = alert(severity="page")
    service.tell([firing])
    assert runs(service, lambda: len(pagerduty.told) == 2)
    assert len({event["dedup_key"] for event in pagerduty.told}) == 1, "so PagerDuty keeps one incident"
    service.tell([alert(ends=timedelta(seconds=-1), severity="page")])
    assert runs(service, lambda: len(pagerduty.told) == 3)
    assert [event["event_action"] for event in pagerduty.told] == ["trigger", "trigger", "resolve"]


def test_a_receiver_that_never_recovers_leaves_a_dead_letter_and_the_other_is_told(
    clean_store: Store, tmp_path: Path, pagerduty: Receiver, slack: Receiver
) -> None:
    slack.usual = Answer(403)
    service = alerting(clean_store, settings_of(tmp_path, PAGERDUTY.format(pagerduty=pagerduty.url, slack=slack.url)))
    service.tell([alert(severity="page")])
    assert runs(service, lambda: bool(pagerduty.told and service.dead_letters()))
    assert {letter.integration for letter in service.dead_letters()} == {"slack"}
    assert len(pagerduty.told) == 1
