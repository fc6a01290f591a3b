import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.burn_rates import (
    WINDOWS,
    BurnAlert,
    BurnSettings,
    burn_alerts,
    burn_rate_course,
    burn_rates,
    minutes_to_page,
    never_pages,
    wilson_lower,
)
from domain.incident import Indicator, Severity
from domain.slo import Exclusion, Objective
from domain.window import Window

START = datetime(2026, 3, 1, tzinfo=UTC)
OBJECTIVE = Objective("availability", "chat", Indicator.ERRORS, 0.999, 30)
PAST = 4 * 1440


def counts(bad: list[int], total: list[int] | int = 1000) -> pl.DataFrame:
    totals = [total] * len(bad) if isinstance(total, int) else total
    times = [START + timedelta(minutes=minute) for minute in range(len(bad))]
    good = [every - failed for every, failed in zip(totals, bad, strict=True)]
    frame = pl.DataFrame({"time": times, "total": totals, "good": good})
    return frame.filter(pl.col("total") > 0)


def after_a_clean_past(bad: list[int], after: int = 800, total: int = 1000) -> list[BurnAlert]:
    series = [0] * PAST + bad + [0] * after
    return burn_alerts(OBJECTIVE, counts(series, total), START + timedelta(minutes=len(series)))


def minute(moment: datetime | None) -> int:
    assert moment is not None
    return round((moment - START).total_seconds() / 60) - PAST


def edges(alerts: list[BurnAlert], severity: Severity) -> list[tuple[int, int]]:
    return [(minute(one.started_at), minute(one.ended_at)) for one in alerts if one.severity is severity]


@pytest.mark.parametrize(
    ("error_ratio", "minutes", "pages_after"),
    [(1.0, 10, 1), (0.2, 30, 6), (0.05, 60, 19), (0.02, 120, 44), (0.01, 480, 217)],
)
def test_a_page_comes_as_soon_as_the_workbooks_formula_says(error_ratio: float, minutes: int, pages_after: int) -> None:
    (page,) = edges(after_a_clean_past([round(1000 * error_ratio)] * minutes), Severity.PAGE)
    assert abs(page[0] - pages_after) <= 1
    assert page[0] - minutes_to_page(OBJECTIVE, error_ratio) <= 2


def test_a_page_stops_when_the_short_window_is_clean_again() -> None:
    alerts = after_a_clean_past([1000] * 10)
    assert edges(alerts, Severity.PAGE) == [(1, 40)]  # the pair of 6 h and 30 min holds on for half an hour


def excluded(first: int, end: int, *, pages: bool = False) -> Exclusion:
    """Minutes of the time after the clean past, `end` not included."""
    edges = (START + timedelta(minutes=PAST + number) for number in (first, end))
    return Exclusion("x", *edges, "maintenance", "ann", pages=pages)


def test_an_outage_within_an_exclusion_is_nobodys_alert_then_or_later() -> None:
    series = [0] * PAST + [0] * 10 + [1000] * 60 + [0] * 800
    until = START + timedelta(minutes=len(series))
    assert burn_alerts(OBJECTIVE, counts(series), until, exclusions=[excluded(5, 70)]) == []
    assert burn_alerts(OBJECTIVE, counts(series), until, exclusions=[excluded(5, 70, pages=True)]) == burn_alerts(
        OBJECTIVE, counts(series), until
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(-30, 60), st.integers(1, 90))
def test_no_alert_is_up_within_an_exclusion(first: int, length: int) -> None:
    series = [0] * PAST + [1000] * 30 + [0] * 800
    until = START + timedelta(minutes=len(series))
    alerts = burn_alerts(OBJECTIVE, counts(series), until, exclusions=[excluded(first, first + length)])
    for alert in alerts:
        start, end = minute(alert.started_at), minute(alert.ended_at)
        assert end <= first + 1 or start > first + length, "told when its minute is over"
    bad_left = sum(not first <= number < first + length for number in range(30))
    assert alerts or bad_left < 3, "three minutes of an outage are enough for a page"
    assert bad_left or not alerts


def test_what_lasts_a_minute_and_fails_half_of_it_is_nobodys_page() -> None:
    assert after_a_clean_past([500]) == []


def test_one_failure_of_few_requests_is_chance() -> None:
    assert after_a_clean_past([1] + [0] * 59, total=1) == []
    assert after_a_clean_past([1] * 30, total=1) != []


def test_the_first_failures_of_a_service_that_was_never_seen_count() -> None:
    young = counts([100] * 40, total=100)
    alerts = burn_alerts(OBJECTIVE, young, START + timedelta(minutes=40))
    assert [one.severity for one in alerts] == [Severity.PAGE]
    assert alerts[0].ended_at is None


def test_a_seven_day_window_has_rates_of_its_own() -> None:
    week = Objective("availability", "chat", Indicator.ERRORS, 0.999, 7)
    assert [pair.rate(week) for pair in WINDOWS] == pytest.approx([3.36, 1.4, 0.7, 0.2333], abs=1e-3)


def test_a_target_that_no_outage_can_burn_fast_enough_has_no_such_pair() -> None:
    loose = Objective("availability", "chat", Indicator.ERRORS, 0.9, 30)
    alerts = burn_alerts(loose, counts([0] * PAST + [1000] * 400), START + timedelta(minutes=PAST + 400))
    assert {one.windows.long_s for one in alerts if one.severity is Severity.PAGE} == {6 * 3600}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=400), st.integers(1, 399))
def test_what_was_said_of_a_minute_never_changes_by_what_comes_later(bad: list[int], cut: int) -> None:
    early = min(cut, len(bad))
    whole = burn_alerts(OBJECTIVE, counts(bad, total=60), START + timedelta(minutes=len(bad)))
    part = burn_alerts(OBJECTIVE, counts(bad[:early], total=60), START + timedelta(minutes=early))
    until = START + timedelta(minutes=early)
    assert [one.started_at for one in part] == [one.started_at for one in whole if one.started_at <= until]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(5, 50)), min_size=1, max_size=200))
def test_burn_rates_are_those_of_a_loop_over_the_minutes(minutes: list[tuple[int, int]]) -> None:
    bad, total = [one[0] for one in minutes], [one[1] for one in minutes]
    until = START + timedelta(minutes=len(minutes))
    (found,) = burn_rates(OBJECTIVE, counts(bad, total), until, [3600])
    last = slice(max(0, len(minutes) - 60), None)
    assert found == pytest.approx(sum(bad[last]) / sum(total[last]) / (1 - OBJECTIVE.target_ratio))


def test_without_requests_nothing_is_known() -> None:
    empty = counts([0]).clear()
    assert burn_alerts(OBJECTIVE, empty, START) == []
    assert burn_rates(OBJECTIVE, empty, START, [3600]) == [None]


def test_without_its_guard_few_requests_wake_somebody() -> None:
    series = [0] * 120 + [1] + [0] * 120
    alerts = burn_alerts(
        OBJECTIVE, counts(series, total=1), START + timedelta(minutes=len(series)), BurnSettings(guard=None)
    )
    assert Severity.PAGE in {one.severity for one in alerts}


@pytest.mark.parametrize(
    ("target_ratio", "days", "told"),
    [
        (0.8, 30, "burns 5 times too fast, a page needs 6;"),
        (0.8, 28, "burns 5 times too fast, a page needs 5.6;"),
        (0.9, 90, "burns 10 times too fast, a page needs 18;"),
        (0.95, 365, "burns 20 times too fast, a page needs 73;"),
        (0.84, 30, None),
        (0.9, 30, None),
        (0.999, 365, None),
    ],
)
def test_an_objective_that_not_even_a_total_outage_pages_says_so(
    target_ratio: float, days: int, told: str | None
) -> None:
    objective = Objective("easy", "chat", Indicator.ERRORS, target_ratio, days)
    outage = counts([0] * 2 * 1440 + [1000] * 1440)
    alerts = burn_alerts(objective, outage, START + timedelta(days=3))
    found = never_pages(objective)
    assert any(alert.severity is Severity.PAGE for alert in alerts) is (found is None)
    assert (found is None) is (told is None)
    if found is not None and told is not None:
        assert f"easy ({target_ratio:.0%}".replace("%", " %") in found
        assert told in found


def test_wilsons_lower_bound_is_below_the_ratio_and_nears_it() -> None:
    bounds = wilson_lower(np.array([1.0, 100.0, 10_000.0]), np.array([100.0, 10_000.0, 1_000_000.0]), 2.58)
    assert np.all(np.diff(bounds) > 0)
    assert np.all(bounds < 0.01)
    assert bounds[0] == pytest.approx(0.0010, abs=3e-4)
    assert wilson_lower(np.array([0.0]), np.array([0.0]), 2.58)[0] == 0
    assert math.isinf(minutes_to_page(OBJECTIVE, 0.005))


@given(st.lists(st.integers(0, 20), min_size=400, max_size=400), st.integers(0, 300))
@settings(max_examples=25, deadline=None)
def test_the_course_of_a_burn_rate_ends_where_the_rate_of_now_is(bad: list[int], gap: int) -> None:
    totals = [0 if gap <= minute < gap + 90 else 20 for minute in range(400)]
    given_counts = counts([min(*pair) for pair in zip(bad, totals, strict=True)], totals)
    window = Window(START + timedelta(minutes=200), START + timedelta(minutes=400))
    course = burn_rate_course(OBJECTIVE, given_counts, window, [300, 3600], 60)
    assert course["time"].to_list() == [START + timedelta(minutes=minute) for minute in range(200, 400)]
    for at in (250, 333, 400):
        now = burn_rates(OBJECTIVE, given_counts, START + timedelta(minutes=at), [300, 3600])
        told = course.row(at - 201)[1:]
        assert told == pytest.approx(now)


def test_a_step_of_the_course_tells_its_highest_rate_and_nothing_where_there_were_no_requests() -> None:
    given_counts = counts([0] * 30 + [100] + [0] * 29, [1000] * 31 + [0] * 29)
    window = Window(START, START + timedelta(minutes=60))
    course = burn_rate_course(OBJECTIVE, given_counts, window, [60], 1200)
    assert course["60"].to_list() == [0.0, pytest.approx(100.0), None]


def test_what_is_excluded_burns_nothing_in_the_course_unless_it_pages_all_the_same() -> None:
    bad = [0] * 30 + [500] * 10 + [0] * 20
    window = Window(START, START + timedelta(minutes=60))
    left_out = Exclusion("x", START + timedelta(minutes=30), START + timedelta(minutes=40), "maintenance", "ann")
    for exclusion, highest in (
        (left_out, 0.0),
        (Exclusion("x", left_out.starts_at, left_out.ends_at, "", "", pages=True), 500.0),
    ):
        course = burn_rate_course(OBJECTIVE, counts(bad), window, [60], 60, [exclusion])
        assert course["60"].max() == pytest.approx(highest)
