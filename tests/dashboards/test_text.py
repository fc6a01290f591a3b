from datetime import timedelta

import pytest

from analytics.knowledge import shipped_knowledge
from dashboards import text
from domain.cause import CauseKind
from domain.entity import EntityKind
from domain.incident import Indicator
from tests.dashboards.frames import HOUR, NOON, cause, incident, minutes_ago, objective
from tests.own_titles import OWN_TITLES


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.0491, "0.0491"), (3.7, "3.7"), (85.44, "85.4"), (18_420, "18,420"), (312.0, "312"), (-0.5, "-0.5")],
)
def test_numbers_keep_three_significant_digits(value: float, words: str) -> None:
    assert text.significant(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, ("—", "")), (0.0, ("0", "")), (950.0, ("950", "")), (312_400, ("312", "k")), (2.5e9, ("2.5", "G"))],
)
def test_large_numbers_get_a_prefix_and_unknown_ones_a_dash(value: float | None, words: tuple[str, str]) -> None:
    assert text.compact(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "—"), (4.5, "4.5 ms"), (840, "840 ms"), (1_999, "2.00 s"), (4_100, "4.1 s"), (150_000, "2.5 min")],
)
def test_durations_choose_their_unit(value: float | None, words: str) -> None:
    assert text.duration_ms(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (90, "90 s"),
        (135, "2 min 15 s"),
        (1_560, "26 min"),
        (9_780, "2 h 43 min"),
        (7_200, "2 h"),
        (604_800, "7 d"),
    ],
)
def test_lengths_of_time_name_at_most_two_units(seconds: float, words: str) -> None:
    assert text.lasting(seconds).replace("\N{NO-BREAK SPACE}", " ") == words


@pytest.mark.parametrize(
    ("lead_s", "words"),
    [(None, "time of move unknown"), (0.4, "same time"), (50.0, "50 s earlier"), (-30.0, "30 s later")],
)
def test_a_lead_says_whether_a_signal_moved_before_the_spike(lead_s: float | None, words: str) -> None:
    assert text.lead(lead_s).replace("\N{NO-BREAK SPACE}", " ") == words


@pytest.mark.parametrize(
    ("lead_s", "words"),
    [(None, "time unknown"), (-0.4, "at the onset"), (45.0, "−45 s"), (-15.0, "+15 s"), (135.0, "−2 min 15 s")],
)
def test_on_a_time_line_what_came_before_the_onset_is_negative(lead_s: float | None, words: str) -> None:
    assert text.against_onset(lead_s).replace("\N{NO-BREAK SPACE}", " ") == words


def test_milliseconds_that_are_compared_keep_their_unit() -> None:
    assert [text.milliseconds(value) for value in (1_105.2, 35.4, 0.21)] == ["1,105 ms", "35 ms", "0.2 ms"]


def test_a_budget_is_rounded_down_so_that_it_never_looks_fuller_than_it_is() -> None:
    assert text.percent_floor(0.4199) == "41 %"
    assert text.percent_floor(-0.201) == "−21 %"
    assert text.percent_floor(None) == "—"


def test_an_indicator_just_below_its_target_does_not_read_as_the_target() -> None:
    assert text.percent_of_target(0.98999, 0.99) == "98.99 %"
    assert text.percent_of_target(0.9989999, 0.999) == "99.899 %"
    assert text.percent_of_target(None, 0.99) == "—"


def test_a_share_too_small_to_show_is_not_zero() -> None:
    assert [text.percent_whole(ratio) for ratio in (0.0, 0.0004, 0.01, 0.5)] == ["0 %", "<1 %", "1 %", "50 %"]


def test_every_kind_of_thing_has_a_title() -> None:
    assert [text.entity_title(kind) for kind in (EntityKind.GPU, EntityKind.NODE, EntityKind.VERSION)] == [
        "GPU",
        "node",
        "version",
    ]


def test_an_incident_of_failures_is_titled_by_them_and_not_by_a_percentile() -> None:
    failing = incident(indicator=Indicator.ERRORS)
    assert text.incident_title(failing) == "31 % of requests fail on chat"
    assert text.percentile_title(failing.indicator) == "Latency p99"
    assert text.percentile_title(Indicator.TTFT) == "TTFT p99"


def test_the_likely_cause_names_the_entity_unless_there_is_no_cause() -> None:
    assert text.likely_cause(incident(), shipped_knowledge()) == "Bad link on gpu-07-03/mlx5_2/1"
    assert text.likely_cause(incident(), OWN_TITLES) == "Dim optics on gpu-07-03/mlx5_2/1"
    assert text.likely_cause(incident(cause(CauseKind.UNKNOWN)), shipped_knowledge()) == "Not known"


def test_times_of_another_day_name_the_day() -> None:
    assert text.since(minutes_ago(20), NOON) == "11:40"
    assert text.since(NOON - timedelta(days=1), NOON) == "22 Nov 12:00"
    assert text.window_words(HOUR) == "23 Nov, 11:00:00 to 12:00:00 UTC"
    assert text.window_words(HOUR.widened(before_s=43_200)) == "22 Nov, 23:00:00 to 23 Nov, 12:00:00 UTC"


def test_an_objective_and_an_incident_have_a_title() -> None:
    assert text.objective_title(objective()) == "TTFT < 800 ms"
    assert text.incident_title(incident()) == "TTFT p99 at 4.1 s on chat"
    assert text.incident_lasted(incident(), NOON) == timedelta(minutes=20)
    assert text.incident_lasted(incident(ended_at=minutes_ago(15)), NOON) == timedelta(minutes=5)


def test_dollars_that_are_not_known_are_a_dash() -> None:
    assert [text.usd(value) for value in (None, 0, 3.7)] == ["—", "$0", "$3.70"]


def test_a_change_from_nothing_or_of_the_unknown_is_not_known() -> None:
    assert text.change_ratio(3.0, 2.0) == 0.5
    assert text.change_ratio(3.0, 0.0) is None
    assert text.change_ratio(None, 2.0) is None


def test_changes_bear_their_sign() -> None:
    assert [text.signed_percent(ratio) for ratio in (0.124, -0.031, 0.001, 12.0)] == [
        "+12 %",
        "−3 %",
        "±0 %",
        "+1,200 %",
    ]
