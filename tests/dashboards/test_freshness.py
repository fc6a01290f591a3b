"""What is not seen, from what is known of data, looks and alerts."""

from datetime import datetime

import pytest

from alerts.decide import data_late_alert, traffic_stopped_alerts
from analytics.traffic_stops import StoppedTraffic
from dashboards.freshness import Gap, gaps, unjudged
from domain.alert import Alert
from domain.freshness import Looks
from domain.incident import Severity
from tests.dashboards.frames import NOON, minutes_ago

_LIVE: dict[str, datetime | None] = {"requests": NOON, "samples": NOON}


def _words(found: list[Gap]) -> list[str]:
    return [gap.words.replace("\N{NO-BREAK SPACE}", " ") for gap in found]


def _late(kind: str, minutes: float) -> Alert:
    return data_late_alert(kind, minutes_ago(minutes), 300, Severity.PAGE, "", NOON)


def _stopped(service: str) -> Alert:
    (alert,) = traffic_stopped_alerts([StoppedTraffic(service, minutes_ago(8), 120)], Severity.PAGE, "", NOON)
    return alert


def test_each_kind_of_data_is_stale_by_itself_whatever_the_other_does() -> None:
    assert _words(gaps(_LIVE | {"requests": minutes_ago(7)}, None, NOON, 120)) == ["Requests stale 7 min"]
    assert _words(gaps(_LIVE | {"samples": minutes_ago(3)}, None, NOON, 120)) == ["Samples stale 3 min"]
    assert gaps(_LIVE | {"samples": minutes_ago(2)}, None, NOON, 120) == []
    both = {"samples": minutes_ago(90), "requests": minutes_ago(7)}
    assert _words(gaps(both, None, NOON, 120)) == ["Requests stale 7 min", "Samples stale 1 h 30 min"]


def test_a_kind_that_never_came_is_not_stale() -> None:
    assert gaps({"requests": NOON, "samples": None}, None, NOON, 120) == []
    assert gaps({"requests": None, "samples": NOON}, None, NOON, 120) == []
    assert gaps({"requests": None, "samples": None}, None, NOON, 120) == []


def test_overdue_looks_are_the_worst_and_told_with_the_last_or_with_their_beginning() -> None:
    blind = Looks(minutes_ago(600), 30, minutes_ago(5))
    found = gaps({"requests": minutes_ago(7), "samples": None}, blind, NOON, 120)
    assert _words(found) == ["Blind: last look 11:55 UTC", "Requests stale 7 min"]
    assert _words(gaps(_LIVE, Looks(minutes_ago(5), 30), NOON, 120)) == ["Blind: no look since 11:55 UTC"]
    assert gaps(_LIVE, Looks(minutes_ago(600), 30, minutes_ago(1)), NOON, 120) == []


@pytest.mark.parametrize("kind", ["requests", "samples"])
def test_stale_data_keeps_no_objective_from_being_judged_until_its_alert_fires(kind: str) -> None:
    stale = gaps(_LIVE | {kind: minutes_ago(7)}, None, NOON, 120)
    assert unjudged(stale, [], None) == []
    assert unjudged(stale, [_late(kind, 7)], None) == stale, "told once, as the head tells it"


def test_while_nobody_looks_no_objective_is_judged() -> None:
    blind = gaps(_LIVE, Looks(minutes_ago(5), 30), NOON, 120)
    assert unjudged(blind, [], None) == blind != []


def test_late_data_is_told_while_its_alert_fires_even_where_nothing_counts_as_stale_yet() -> None:
    found = unjudged([], [_late("requests", 7)], None)
    assert [gap.words for gap in found] == [_late("requests", 7).annotations["summary"]]
    assert "no incident, no page." in found[0].meaning


def test_stopped_traffic_is_told_of_the_service_that_is_looked_at_and_other_alerts_are_not() -> None:
    spent = Alert({"alertname": "SLOBudgetSpent", "service": "chat"}, {"summary": "spent"}, NOON, NOON, NOON)
    firing = [_stopped("chat"), spent]
    (told,) = unjudged([], firing, None)
    assert told.words.startswith("chat has had no request for 8")
    assert unjudged([], firing, "chat") == [told]
    assert unjudged([], firing, "rerank") == []
