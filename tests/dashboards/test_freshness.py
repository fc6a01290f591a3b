"""What is not seen, from what is known of data, looks and alerts."""

from datetime import datetime, timedelta

import pytest

from alerts.decide import traffic_stopped_alerts
from analytics.traffic_stops import StoppedTraffic
from dashboards.freshness import (
    Gap,
    as_known,
    gaps,
    hiding,
    hiding_end,
    hiding_objective,
    lasted_words,
    silence_of,
)
from domain.freshness import Looks
from domain.incident import Indicator, Severity, Status
from tests.dashboards.frames import NOON, incident, minutes_ago, objective

_LIVE: dict[str, datetime | None] = {"requests": NOON, "samples": NOON}


def _words(found: list[Gap]) -> list[str]:
    return [gap.words.replace("\N{NO-BREAK SPACE}", " ") for gap in found]


def _silent(newest: datetime) -> Gap | None:
    (alert,) = traffic_stopped_alerts([StoppedTraffic("chat", minutes_ago(8), 120)], Severity.PAGE, "", NOON)
    return silence_of(alert, newest, NOON)


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


def test_a_gap_says_as_of_when_a_state_is_known() -> None:
    stale = gaps({"requests": minutes_ago(7), "samples": minutes_ago(60 * 13)}, None, NOON, 120)
    assert [gap.as_of for gap in stale] == ["as of 11:53, no data since", "as of 22 Nov 23:00, no data since"]
    (blind,) = gaps(_LIVE, Looks(minutes_ago(600), 30, minutes_ago(5)), NOON, 120)
    assert blind.as_of == "as of 11:55, no look since"
    (never,) = gaps(_LIVE, Looks(minutes_ago(5), 30), NOON, 120)
    assert never.as_of == "as last known, no look since 11:55"


@pytest.mark.parametrize(("minutes", "is_missed"), [(3, False), (5, False), (5.1, True), (90, True)])
def test_a_pause_is_stale_and_five_minutes_without_data_are_missed(minutes: float, is_missed: bool) -> None:  # noqa: FBT001
    (gap,) = gaps(_LIVE | {"requests": minutes_ago(minutes)}, None, NOON, 120)
    assert gap.is_missed == is_missed


def test_what_is_missed_is_stale_whatever_a_site_allows() -> None:
    assert gaps(_LIVE | {"requests": minutes_ago(5)}, None, NOON, 3_600) == []
    (gap,) = gaps(_LIVE | {"requests": minutes_ago(6)}, None, NOON, 3_600)
    assert gap.is_missed


def test_a_service_is_silent_since_its_newest_request_and_no_more_once_requests_came_again() -> None:
    silent = _silent(minutes_ago(8))
    assert silent is not None
    assert (silent.service, silent.since, silent.as_of) == ("chat", minutes_ago(8), "as of 11:52, no data since")
    assert silent.words.startswith("chat has had no request for 8")
    late = _silent(minutes_ago(6))
    assert late is not None
    assert late.since == minutes_ago(6), "what came in late belongs to the time before"
    assert _silent(minutes_ago(1)) is None


def test_of_all_that_hides_something_the_oldest_gap_counts() -> None:
    blind = gaps({"requests": minutes_ago(7)}, Looks(minutes_ago(600), 30, minutes_ago(9)), NOON, 120)
    hidden = hiding(blind, ("requests", "looks"))
    assert hidden is not None
    assert hidden.of == "looks"
    assert hiding(blind, ("samples",)) is None


def test_an_objective_is_hidden_by_what_it_is_judged_by() -> None:
    stale = gaps({"requests": minutes_ago(7), "samples": minutes_ago(9)}, None, NOON, 120)
    of = {}
    for indicator in Indicator:
        hidden = hiding_objective(stale, objective(indicator=indicator))
        of[indicator] = None if hidden is None else hidden.of
    assert (of.pop(Indicator.GPU_AVAILABILITY), of.pop(Indicator.DATA_FRESHNESS)) == ("samples", None)
    assert set(of.values()) == {"requests"}
    blind = gaps(_LIVE, Looks(minutes_ago(5), 30), NOON, 120)
    assert all(hiding_objective(blind, objective(indicator=one)) is not None for one in Indicator)


def test_a_silent_service_hides_its_own_objectives_alone() -> None:
    silent = _silent(minutes_ago(8))
    assert silent is not None
    assert hiding_objective([silent], objective("chat")) is silent
    assert hiding_objective([silent], objective("rerank")) is None
    assert hiding_objective([silent], objective("chat", Indicator.GPU_AVAILABILITY)) is None


@pytest.mark.parametrize(
    ("ended", "hidden_by"),
    [
        (None, "requests"),
        (minutes_ago(7), "requests"),  # with the last request
        (minutes_ago(9), "requests"),  # too few calm minutes were seen
        (minutes_ago(10), None),
    ],
)
def test_an_incident_may_go_on_unless_it_was_calm_for_long_enough_before_the_gap(
    ended: datetime | None, hidden_by: str | None
) -> None:
    stale = gaps(_LIVE | {"requests": minutes_ago(7)}, None, NOON, 120)
    status = Status.OPEN if ended is None else Status.RESOLVED
    hidden = hiding_end(stale, incident(status=status, ended_at=ended), timedelta(minutes=3))
    assert (hidden and hidden.of) == hidden_by


def test_what_a_look_has_seen_to_be_over_is_over_whenever_the_next_look_comes() -> None:
    blind = gaps(_LIVE, Looks(minutes_ago(600), 30, minutes_ago(5)), NOON, 120)
    calm = timedelta(minutes=3)
    assert hiding_end(blind, incident(), calm) is blind[0]
    assert hiding_end(blind, incident(status=Status.RESOLVED, ended_at=minutes_ago(5)), calm) is None


def test_how_long_an_incident_lasts_is_told_up_to_when_it_was_seen() -> None:
    (stale,) = gaps(_LIVE | {"requests": minutes_ago(7)}, None, NOON, 120)
    told = (lasted_words(incident(), NOON, hidden) for hidden in (None, stale))
    assert [one.replace("\N{NO-BREAK SPACE}", " ") for one in told] == ["20 min", "at least 13 min"]


def test_what_is_well_is_grey_where_it_is_hidden_and_trouble_keeps_its_colour() -> None:
    (stale,) = gaps(_LIVE | {"requests": minutes_ago(7)}, None, NOON, 120)
    assert as_known("good", "circle-check", stale) == ("unknown", "circle-dashed")
    assert as_known("critical", "flame", stale) == ("critical", "flame")
    assert as_known("good", "circle-check", None) == ("good", "circle-check")
