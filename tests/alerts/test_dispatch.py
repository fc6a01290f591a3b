import itertools
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.config import AlertingConfig, parse_config
from alerts.dispatch import Dispatcher
from alerts.matchers import Matcher
from alerts.notification import Notification, Reason
from alerts.receivers.webhook import WebhookSettings
from alerts.silences import Silence
from domain.alert import Alert, NotificationStatus
from domain.window import rfc3339
from tests.alerts.conformance import cases, needs_cases

START = datetime(2026, 11, 1, tzinfo=UTC)
STEP_S = 0.05
TOLERANCE_S = 0.15  # of the transcribed scenarios
SCENARIOS = cases("timing_scenarios.json").get("scenarios", [])

CONFIG = """
route:
  receiver: oncall
  group_by: [service]
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 1h
receivers:
- name: oncall
  webhook_configs: [{url: 'http://127.0.0.1:9/co'}]
"""


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def alert(now_s: float, *, ends_s: float | None = None, **labels: str) -> Alert:
    return Alert(
        {"alertname": "SLOBurnRate", **labels},
        {"summary": "too slow"},
        at(now_s),
        at(ends_s) if ends_s is not None else at(now_s + 100_000),
        at(now_s),
    )


def delivered(dispatcher: Dispatcher, now_s: float) -> list[Notification]:
    """What goes out now, all of it taken by its receiver."""
    sent = dispatcher.step(at(now_s))
    for notification in sent:
        dispatcher.delivered(notification, at(now_s))
    return sent


# -- Alertmanager's own scenarios --------------------------------------------------------------------------------------


class Play:
    """One scenario of Alertmanager's acceptance tests, played on a clock of its own."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.scenario = scenario
        text, count = scenario["config_yaml"], scenario["config_yaml"].count("%s")
        for name in ["co"] if count == 1 else [f"co{number}" for number in range(1, count + 1)]:
            text = text.replace("%s", name, 1)
        self.config: AlertingConfig = parse_config(text)
        self.dispatcher = Dispatcher(self.config)
        self.sent: list[tuple[float, str, Notification]] = []
        events = [(one["t"], one) for one in (*scenario["pushes"], *scenario.get("silences", ()))]
        self.events = sorted(events, key=lambda event: event[0])

    def run(self, until_s: float) -> None:
        for tick in range(int(until_s / STEP_S)):
            now_s = round(tick * STEP_S, 2)
            while self.events and self.events[0][0] <= now_s:
                self._take(self.events.pop(0)[1], now_s)
            for notification in self.dispatcher.step(at(now_s)):
                self._send(notification, now_s)

    def _take(self, event: dict[str, Any], now_s: float) -> None:
        if "alerts" in event:
            self.dispatcher.post([self._alert(one, now_s) for one in event["alerts"]], at(now_s))
        elif event["op"] == "SetSilence":
            matchers = tuple(Matcher(m["name"], m["value"], "=~" if m["isRegex"] else "=") for m in event["matchers"])
            until = at(event["ends_at"])
            self.dispatcher.silences["s"] = Silence("s", matchers, at(event["starts_at"]), until, "", "", at(now_s))
        else:
            self.dispatcher.silences.clear()

    def _alert(self, one: dict[str, Any], now_s: float) -> Alert:
        ends_s = one.get("ends_at")
        starts_s = one.get("starts_at", now_s if ends_s is None else ends_s)
        end = at(now_s + self.config.resolve_timeout_s) if ends_s is None else at(ends_s)
        return Alert(one["labels"], one.get("annotations", {}), at(starts_s), end, at(now_s), ends_s is None)

    def _send(self, notification: Notification, now_s: float) -> None:
        settings = notification.integration.settings
        assert isinstance(settings, WebhookSettings)
        assert settings.url is not None
        name = re.sub(r"^http://", "", settings.url.get_secret_value())
        if now_s < self.scenario.get("fail_until", {}).get(name, 0):
            self.dispatcher.failed(notification, at(now_s), "not able", retryable=True)
        else:
            self.sent.append((now_s, name, notification))
            self.dispatcher.delivered(notification, at(now_s))


def shape(notification: Notification) -> list[Any]:
    return sorted(
        (
            sorted(one.labels.items()),
            sorted(one.annotations.items()),
            round((one.starts_at - START).total_seconds(), 1),
            None if one.is_firing(notification.at) else round((one.ends_at - START).total_seconds(), 1),
        )
        for one in notification.alerts
    )


def wanted_shape(alerts: Iterable[dict[str, Any]]) -> list[Any]:
    return sorted(
        (sorted(one["labels"].items()), sorted(one.get("annotations", {}).items()), one["starts_at"],
         one.get("ends_at"))
        for one in alerts
    )  # fmt: skip


@needs_cases
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["test"])
def test_groups_are_told_when_alertmanager_tells_them(scenario: dict[str, Any]) -> None:
    play = Play(scenario)
    last_s = max(one["to"] for one in scenario["expected"])
    play.run(last_s + 2)
    slack_s = 1.0 if scenario["test"] == "TestRetry" else TOLERANCE_S  # there a retry is jittered
    left = list(play.sent)
    for one in scenario["expected"]:
        within = [
            sent
            for sent in left
            if sent[1] == one["collector"] and one["from"] - TOLERANCE_S <= sent[0] <= one["to"] + slack_s
        ]
        if not one["alerts"]:
            assert not within
            continue
        matching = [sent for sent in within if shape(sent[2]) == wanted_shape(one["alerts"])]
        assert matching, f"{one} was not told; told were {[(s[0], s[1], shape(s[2])) for s in within]}"
        left.remove(matching[0])
    assert [sent[:2] for sent in left if sent[0] <= last_s] == []


# -- what ours adds, and what must never be --------------------------------------------------------------------------


def test_a_group_waits_for_its_alerts_and_is_told_once_with_all_of_them() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, service="chat", model="a")], at(0))
    dispatcher.post([alert(5, service="chat", model="b")], at(5))
    assert delivered(dispatcher, 9) == []
    assert dispatcher.next_due() == at(10)
    (notification,) = delivered(dispatcher, 10)
    assert (len(notification.alerts), notification.reason) == (2, Reason.FIRST)
    assert delivered(dispatcher, 70) == []
    (again,) = [one for now_s in range(130, 4000, 60) for one in delivered(dispatcher, now_s)]
    assert again.reason is Reason.REPEAT


def test_a_storm_of_ten_thousand_alerts_of_twenty_causes_is_twenty_notifications_and_none_is_lost() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    alerts = [alert(0, service=f"s{number % 20}", replica=str(number)) for number in range(10_000)]
    for first in range(0, len(alerts), 500):
        dispatcher.post(alerts[first : first + 500], at(1))
    sent = delivered(dispatcher, 12)
    assert len(sent) == 20
    assert {one.fingerprint for notification in sent for one in notification.alerts} == {
        one.fingerprint for one in alerts
    }


def test_after_a_restart_nothing_is_told_twice_and_what_was_not_told_still_is() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, service="chat")], at(0))
    delivered(dispatcher, 10)
    dispatcher.post([alert(11, service="assist")], at(11))
    dispatcher.silences["s"] = Silence("s", (Matcher("a", "b"),), at(0), at(500), "ann", "change", at(0))
    document = dispatcher.snapshot(at(20))

    restarted = Dispatcher(parse_config(CONFIG))
    restarted.restore(document, at(30))
    sent = [one for now_s in range(30, 200, 5) for one in delivered(restarted, now_s)]
    assert [dict(one.group_labels) for one in sent] == [{"service": "assist"}]
    assert restarted.silences == dispatcher.silences
    restarted.post([replace(alert(0, ends_s=200, service="chat"), updated_at=at(200))], at(200))
    (resolved,) = [one for now_s in range(200, 400, 5) for one in delivered(restarted, now_s)]
    assert (resolved.reason, dict(resolved.group_labels)) == (Reason.ALL_RESOLVED, {"service": "chat"})


def test_what_was_told_long_ago_is_forgotten() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, ends_s=60, service="chat")], at(0))
    delivered(dispatcher, 10)
    delivered(dispatcher, 80)
    assert len(dispatcher.snapshot(at(80))["told"]) == 1
    delivered(dispatcher, 6 * 86_400)
    kept = dispatcher.snapshot(at(6 * 86_400))
    assert kept.pop("at") == rfc3339(at(6 * 86_400))
    assert kept == {"alerts": [], "silences": [], "told": [], "dead_letters": []}


def test_what_a_receiver_refuses_is_kept_as_a_dead_letter_and_tried_with_the_next_flush() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, service="chat")], at(0))
    (notification,) = dispatcher.step(at(10))
    dispatcher.failed(notification, at(10), "HTTP 400: no such channel", retryable=False)
    (letter,) = dispatcher.dead_letters
    assert (letter.receiver, letter.integration, letter.attempts_count) == ("oncall", "webhook", 1)
    assert dispatcher.step(at(11)) == []
    assert len(delivered(dispatcher, 70)) == 1


def test_a_dead_letter_of_what_is_over_goes_once_its_receiver_takes_another_notification() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, ends_s=60, service="chat")], at(0))
    dispatcher.failed(*dispatcher.step(at(10)), at(10), "HTTP 404", retryable=False)
    dispatcher.post([alert(20, service="assist")], at(20))
    assert len(delivered(dispatcher, 30)) == 1
    assert len(dispatcher.dead_letters) == 1, "it fires still, and is to be told"
    dispatcher.post([alert(100, service="search")], at(100))
    assert len(delivered(dispatcher, 110)) == 1
    assert dispatcher.dead_letters == []


def test_a_dead_letter_goes_after_a_day_or_with_its_receiver() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, ends_s=60, service="chat")], at(0))
    dispatcher.failed(*dispatcher.step(at(10)), at(10), "HTTP 404", retryable=False)
    dispatcher.step(at(86_400))
    assert len(dispatcher.dead_letters) == 1
    renamed = Dispatcher(parse_config(CONFIG.replace("oncall", "others")))
    renamed.restore(dispatcher.snapshot(at(86_400)), at(86_400))
    renamed.step(at(86_400))
    assert renamed.dead_letters == []
    dispatcher.step(at(86_411))
    assert dispatcher.dead_letters == []


def test_a_receiver_that_is_not_able_is_tried_again_and_again_with_longer_waits() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, service="chat")], at(0))
    tried = []
    for tick in range(100, 700):
        for notification in dispatcher.step(at(tick / 10)):
            tried.append(tick / 10)
            dispatcher.failed(notification, at(tick / 10), "HTTP 503", retryable=True)
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert len(tried) > 5
    assert waits == sorted(waits)
    assert dispatcher.dead_letters[0].attempts_count == len(tried)


TWO = CONFIG.replace("webhook_configs: [", "webhook_configs: [{url: 'http://127.0.0.1:9/other'}, ")


@pytest.mark.parametrize("asked_s", [20, 90])
def test_a_receiver_that_asks_for_time_has_it_while_the_other_is_told(asked_s: float) -> None:
    dispatcher = Dispatcher(parse_config(TWO))
    dispatcher.post([alert(0, service="chat")], at(0))
    taken: list[tuple[int, int]] = []
    letters = set()
    for now_s in range(10, 200):
        letters |= set(dispatcher.dead_letters)
        if now_s == 30:
            dispatcher.post([alert(30, service="chat", slo="another")], at(30))
        for notification in dispatcher.step(at(now_s)):
            if notification.place == 1 and not taken.count((1, 10)) and now_s < 10 + asked_s:
                assert now_s == 10, "asked again before its time"
                dispatcher.failed(notification, at(now_s), "HTTP 429", retryable=True, retry_after_s=asked_s)
            else:
                taken.append((notification.place, now_s))
                dispatcher.delivered(notification, at(now_s))
    assert [now_s for place, now_s in taken if place == 0] == [10, 70], "the other waits for nobody"
    late = [now_s for place, now_s in taken if place == 1]
    assert late == ([30, 70] if asked_s == 20 else [130])
    assert len(letters) == (asked_s == 90)
    assert dispatcher.dead_letters == [], "it was told after all"


def test_out_of_hours_a_route_is_silent_and_tells_afterwards() -> None:
    config = parse_config(
        CONFIG.replace("  repeat_interval: 1h\n", "  repeat_interval: 1h\n  routes:\n  - matchers: [severity=ticket]\n"
                       "    active_time_intervals: [office]\n")
        + "time_intervals:\n- name: office\n  time_intervals: [{times: [{start_time: '08:00', end_time: '18:00'}]}]\n"
    )  # fmt: skip
    dispatcher = Dispatcher(config)
    dispatcher.post([alert(0, service="chat", severity="ticket")], at(0))
    sent = [(now_s, one) for now_s in range(0, 9 * 3600, 60) for one in delivered(dispatcher, now_s)]
    assert sent[0][0] >= 8 * 3600


def test_why_an_alert_is_quiet_can_be_told() -> None:
    rules = (
        "inhibit_rules: [{source_matchers: [severity=page], target_matchers: [severity=ticket], equal: [service]}]\n"
    )
    dispatcher = Dispatcher(parse_config(CONFIG + rules))
    page, ticket = alert(0, service="chat", severity="page"), alert(0, service="chat", severity="ticket")
    dispatcher.post([page, ticket], at(0))
    quiet = {one.labels["severity"]: why for one, why in dispatcher.firing(at(1))}
    assert not quiet["page"]
    assert quiet["ticket"].inhibited_by == page.labels
    dispatcher.silences["quiet"] = Silence("quiet", (Matcher("service", "chat"),), at(0), at(9), "", "", at(0))
    assert {why.silenced_by for _, why in dispatcher.firing(at(1))} == {("quiet",)}
    (notification,) = delivered(dispatcher, 10)
    assert [one.labels["severity"] for one in notification.alerts] == ["page"]


_TREE = """
route:
  receiver: oncall
  group_by: [service]
  group_wait: 10s
  routes:
  - {matchers: [severity=page], receiver: oncall, continue: true}
  - {matchers: [severity=page], receiver: audit, group_by: ['...'], mute_time_intervals: [nights]}
  - {matchers: [severity=ticket], receiver: audit, active_time_intervals: [office]}
receivers:
- name: oncall
  webhook_configs: [{url: 'http://127.0.0.1:9/co'}]
- name: audit
  webhook_configs: [{url: 'http://127.0.0.1:9/a'}, {url: 'http://127.0.0.1:9/b', send_resolved: false}]
time_intervals:
- {name: nights, time_intervals: [{times: [{start_time: '00:00', end_time: '06:00'}]}]}
- {name: office, time_intervals: [{times: [{start_time: '09:00', end_time: '17:00'}]}]}
"""


def test_where_an_alert_would_go_is_told_with_its_group_and_what_keeps_the_route_quiet() -> None:
    dispatcher = Dispatcher(parse_config(_TREE))
    dispatcher.post([alert(0, service="chat", severity="page")], at(0))
    labels = {"alertname": "another", "service": "chat", "severity": "page"}
    matched, suppressed = dispatcher.match_routes(labels, at(1))
    assert not suppressed
    assert [one.route for one in matched] == list(dispatcher.config.route.match(labels))
    assert [one.group_labels for one in matched] == [{"service": "chat"}, labels]
    assert [len(one.firing) for one in matched] == [1, 0]
    assert [one.muted_by for one in matched] == [None, "nights"]
    sent = {one.receiver: one.group_key for one in delivered(dispatcher, 10)}
    assert matched[0].group_key == sent["oncall"]


def test_routes_out_of_hours_are_those_that_tell_nobody() -> None:
    dispatcher = Dispatcher(parse_config(_TREE))
    by_hour = {hour: set(dispatcher.muted_routes(at(hour * 3600))) for hour in (3, 8, 12)}
    assert by_hour == {3: {2, 3}, 8: {3}, 12: set()}
    (ticket,), _ = dispatcher.match_routes({"severity": "ticket"}, at(8 * 3600))
    assert ticket.is_inactive
    assert ticket.muted_by is None


def test_when_each_integration_took_something_last_survives_a_restart() -> None:
    config = parse_config(_TREE.replace("mute_time_intervals: [nights]", ""))
    dispatcher = Dispatcher(config)
    dispatcher.post([alert(0, ends_s=60, service="chat", severity="page")], at(0))
    delivered(dispatcher, 10)
    delivered(dispatcher, 400)  # it is over: the second integration of audit does not hear of that
    again = Dispatcher(config)
    again.restore(dispatcher.snapshot(at(450)), at(500))
    assert again.last_delivered_at() == {("oncall", 0): at(400), ("audit", 0): at(400)}
    assert Dispatcher(config).last_delivered_at() == {}


# -- a cause that becomes known ----------------------------------------------------------------------------------------

REASONS = [(10, Reason.FIRST), (70, Reason.CAUSE_KNOWN)]


def caused(now_s: float, sure: str | None, **labels: str) -> Alert:
    """One alert of a service, whose cause is known or not; told again at this time."""
    annotations = {"cause": "no signal moved"} if sure is None else {"cause": "bad link", "cause_confidence": sure}
    return Alert({"service": "chat", **labels}, annotations, at(0), at(now_s + 9000), at(now_s))


def reasons(dispatcher: Dispatcher, from_s: int, until_s: int) -> list[tuple[int, Reason]]:
    return [(now_s, one.reason) for now_s in range(from_s, until_s) for one in delivered(dispatcher, now_s)]


def test_a_cause_that_becomes_known_is_told_with_the_next_group_interval_and_once() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([caused(0, None)], at(0))
    found = reasons(dispatcher, 0, 40)
    dispatcher.post([caused(40, "88%")], at(40))
    assert found + reasons(dispatcher, 40, 100) == REASONS
    for now_s, sure in ((100, "93%"), (200, None), (300, "70%")):  # surer, doubted, and known again
        dispatcher.post([caused(now_s, sure)], at(now_s))
        assert reasons(dispatcher, now_s, now_s + 100) == []
    assert reasons(dispatcher, 400, 4000) == [(3730, Reason.REPEAT)]


def test_a_cause_that_was_known_from_the_first_or_never_is_told_once() -> None:
    for sure in ("88%", None):
        dispatcher = Dispatcher(parse_config(CONFIG))
        dispatcher.post([caused(0, sure)], at(0))
        assert reasons(dispatcher, 0, 600) == REASONS[:1]


def test_a_repeat_that_doubts_a_cause_makes_it_no_news_again() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([caused(0, "88%")], at(0))
    delivered(dispatcher, 10)
    dispatcher.post([caused(20, None)], at(20))
    dispatcher.post([caused(20, None, slo="another")], at(20))
    assert reasons(dispatcher, 20, 100) == [(70, Reason.NEW_ALERTS)]
    dispatcher.post([caused(100, "88%")], at(100))
    assert reasons(dispatcher, 100, 300) == []
    dispatcher.post([caused(300, "88%", slo="another")], at(300))
    assert reasons(dispatcher, 300, 500) == [(310, Reason.CAUSE_KNOWN)], "of the other it is the first time"


def test_an_alert_that_is_over_and_begins_anew_may_have_its_cause_told_anew() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([caused(0, "88%")], at(0))
    delivered(dispatcher, 10)
    dispatcher.post([replace(caused(50, "88%"), ends_at=at(50))], at(50))
    assert reasons(dispatcher, 50, 150) == [(70, Reason.ALL_RESOLVED)]
    dispatcher.post([replace(caused(150, None), starts_at=at(150))], at(150))
    found = reasons(dispatcher, 150, 170)
    dispatcher.post([replace(caused(170, "88%"), starts_at=at(150))], at(170))
    assert found + reasons(dispatcher, 170, 400) == [(160, Reason.NEW_ALERTS), (220, Reason.CAUSE_KNOWN)]


def test_a_cause_that_becomes_known_rings_once_across_restarts_and_not_of_a_state_of_before() -> None:
    def restarted(dispatcher: Dispatcher, now_s: int, *without: str) -> Dispatcher:
        document = dispatcher.snapshot(at(now_s))
        for one in document["told"]:
            for name in without:
                del one[name]
        again = Dispatcher(parse_config(CONFIG))
        again.restore(document, at(now_s))
        return again

    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([caused(0, None)], at(0))
    delivered(dispatcher, 10)
    of_before = restarted(dispatcher, 20, "explained")
    of_before.post([caused(30, "88%")], at(30))
    assert reasons(of_before, 30, 600) == []
    dispatcher = restarted(dispatcher, 20)
    dispatcher.post([caused(30, "88%")], at(30))
    assert reasons(dispatcher, 30, 100) == [(30, Reason.CAUSE_KNOWN)]
    dispatcher = restarted(dispatcher, 100)
    dispatcher.post([caused(110, "89%")], at(110))
    assert reasons(dispatcher, 110, 600) == []


def test_a_cause_of_an_alert_that_is_silenced_rings_nobody_also_not_when_it_is_told_of_again() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([caused(0, None, slo="a"), caused(0, None, slo="b")], at(0))
    delivered(dispatcher, 10)
    dispatcher.post([caused(20, "88%", slo="a")], at(20))
    dispatcher.silences["a"] = silence_of("a", 200)
    assert reasons(dispatcher, 20, 200) == []


# -- when each alert was told, or why not yet --------------------------------------------------------------------------


def statuses(dispatcher: Dispatcher, now_s: float) -> dict[str, list[NotificationStatus]]:
    """Who was notified of each alert that fires, by its objective."""
    firing = dispatcher.firing(at(now_s))
    every = zip(firing, dispatcher.notification_statuses(firing, at(now_s)), strict=True)
    return {one.labels.get("slo", ""): list(found) for (one, _), found in every}


def by_webhook(notified_s: float | None, why_not: str = "", next_s: float | None = None) -> list[NotificationStatus]:
    times = [None if seconds is None else at(seconds) for seconds in (notified_s, next_s)]
    return [NotificationStatus("oncall", "webhook", times[0], why_not, times[1])]


def silence_of(slo: str, until_s: float) -> Silence:
    return Silence(slo, (Matcher("slo", slo),), at(0), at(until_s), "ann", "known", at(0))


def test_an_alert_waits_for_its_group_and_then_says_when_it_was_told_last() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, service="chat", slo="a")], at(0))
    assert statuses(dispatcher, 1) == {"a": by_webhook(None, "waits for its group (group_wait)", 10)}
    (notified,) = dispatcher.step(at(10))
    assert statuses(dispatcher, 10) == {"a": by_webhook(None, "being sent")}
    dispatcher.delivered(notified, at(11))
    dispatcher.post([alert(20, service="chat", slo="b")], at(20))
    assert statuses(dispatcher, 20) == {
        "a": by_webhook(11), "b": by_webhook(None, "waits for its group (group_interval)", 70),
    }  # fmt: skip
    delivered(dispatcher, 70)
    assert statuses(dispatcher, 71) == {"a": by_webhook(70), "b": by_webhook(70)}


def test_an_alert_that_is_held_back_says_by_what() -> None:
    rules = "inhibit_rules: [{source_matchers: [slo=a], target_matchers: [slo=b]}]\n"
    dispatcher = Dispatcher(parse_config(CONFIG + rules))
    dispatcher.post([alert(0, service="chat", slo=slo) for slo in "abc"], at(0))
    dispatcher.silences["c"] = silence_of("c", 900)
    delivered(dispatcher, 10)
    assert statuses(dispatcher, 11) == {
        "a": by_webhook(10), "b": by_webhook(None, "inhibited"), "c": by_webhook(None, "silenced"),
    }  # fmt: skip


def test_what_was_told_before_it_was_silenced_was_told_also_after_a_restart() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, service="chat", slo="a")], at(0))
    delivered(dispatcher, 10)
    dispatcher.silences["a"] = silence_of("a", 900)
    dispatcher.post([alert(20, service="chat", slo="b")], at(20))
    (second,) = delivered(dispatcher, 70)
    assert [one.labels["slo"] for one in second.alerts] == ["b"]
    again = Dispatcher(parse_config(CONFIG))
    again.restore(dispatcher.snapshot(at(80)), at(90))
    for one in (dispatcher, again):
        assert statuses(one, 91) == {"a": by_webhook(10), "b": by_webhook(70)}
    dispatcher.post([replace(alert(0, ends_s=200, service="chat", slo="a"), updated_at=at(200))], at(200))
    dispatcher.post([alert(300, service="chat", slo="a")], at(300))
    assert statuses(dispatcher, 301)["a"] == by_webhook(None, "silenced"), "it began anew: of that nobody was told"


def test_what_a_receiver_does_not_take_is_told_with_its_reason_and_the_next_attempt() -> None:
    dispatcher = Dispatcher(parse_config(CONFIG))
    dispatcher.post([alert(0, service="chat", slo="a")], at(0))
    (notified,) = dispatcher.step(at(10))
    dispatcher.failed(notified, at(10), "HTTP 503", retryable=True, retry_after_s=20)
    assert statuses(dispatcher, 11) == {"a": by_webhook(None, "not taken so far: HTTP 503", 30)}
    (notified,) = dispatcher.step(at(30))
    dispatcher.failed(notified, at(30), "HTTP 403", retryable=False)
    assert statuses(dispatcher, 31) == {"a": by_webhook(None, "not taken: HTTP 403", 70)}
    delivered(dispatcher, 70)
    assert statuses(dispatcher, 71) == {"a": by_webhook(70)}


def test_each_way_to_tell_is_told_of_by_itself_and_a_quiet_route_and_a_receiver_without_any() -> None:
    text = _TREE.replace("- name: oncall\n  webhook_configs: [{url: 'http://127.0.0.1:9/co'}]", "- name: oncall")
    dispatcher = Dispatcher(parse_config(text))
    dispatcher.post([alert(3600, service="chat", severity="page", slo="a")], at(3600))
    dispatcher.post([alert(3600, service="chat", severity="ticket", slo="b")], at(3600))
    nobody = NotificationStatus("oncall", None, None, "nothing to tell by")
    assert statuses(dispatcher, 3601) == {
        "a": [nobody, *[NotificationStatus("audit", "webhook", None, "muted by nights")] * 2],
        "b": [NotificationStatus("audit", "webhook", None, "active only in office")] * 2,
    }


def test_a_receiver_that_two_routes_lead_to_is_told_of_once_by_the_later_one() -> None:
    routes = "  routes: [{matchers: [slo=a], continue: true}, {matchers: [service=chat], group_wait: 30s}]\n"
    dispatcher = Dispatcher(parse_config(CONFIG.replace("receivers:", f"{routes}receivers:")))
    dispatcher.post([alert(0, service="chat", slo="a")], at(0))
    delivered(dispatcher, 10)
    assert statuses(dispatcher, 11) == {"a": by_webhook(10)}
    delivered(dispatcher, 30)
    assert statuses(dispatcher, 31) == {"a": by_webhook(30)}
