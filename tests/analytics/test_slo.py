from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.slo import (
    budget_history,
    budget_left_ratio,
    burn_rate,
    credit_exposure,
    credit_usd,
    rounded_up,
    slo_status,
    worst_state,
)
from domain.incident import Indicator
from domain.slo import CreditTier, Exclusion, Objective, Period, Sla, SloState, SloStatus
from tests import naive
from tests.analytics.frames import START

OBJECTIVE = Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, window_days=30, threshold_ms=500)
NOW = START + timedelta(days=30)


def counts(rows: list[tuple[float, int, int]]) -> pl.DataFrame:
    """(hours before now, total, good) a step."""
    return pl.DataFrame(
        [
            {"time": NOW - timedelta(hours=hours), "total": total, "good": good}
            for hours, total, good in sorted(rows)[::-1]
        ],
        schema={"time": pl.Datetime("us", "UTC"), "total": pl.UInt64, "good": pl.UInt64},
    )


def status(rows: list[tuple[float, int, int]], objective: Objective = OBJECTIVE) -> SloStatus:
    return slo_status(objective, counts(rows), NOW)


request_lists = st.lists(
    st.tuples(st.floats(1, 5000), st.booleans(), st.integers(1, 24 * 30 - 1)), min_size=1, max_size=80
)


@settings(max_examples=50, deadline=None)
@given(request_lists)
def test_a_status_counts_what_a_loop_over_the_requests_counts(records: list[tuple[float, bool, int]]) -> None:
    by_hour: dict[int, list[tuple[float, bool]]] = {}
    for latency_ms, failed, hours in records:
        by_hour.setdefault(hours, []).append((latency_ms, failed))
    rows = []
    for hours, inside in by_hour.items():
        good, total = naive.good_and_total([one[0] for one in inside], [one[1] for one in inside], threshold_ms=500)
        rows.append((float(hours), total, good))
    found = status(rows)
    good, total = naive.good_and_total([r[0] for r in records], [r[1] for r in records], threshold_ms=500)
    assert (found.good_count, found.total_count) == (good, total)
    assert found.sli_ratio == pytest.approx(good / total)
    assert found.budget_left_ratio == pytest.approx(1 - (1 - good / total) / 0.01)
    assert found.budget_left_history[-1] == pytest.approx(found.budget_left_ratio)


def test_without_events_the_verdict_is_no_data_and_nothing_is_zero() -> None:
    found = status([])
    assert found.state is SloState.NO_DATA
    assert (found.sli_ratio, found.budget_left_ratio, found.burn_rate) == (None, None, None)


def test_an_overspent_budget_is_negative_and_the_objective_missed() -> None:
    found = status([(100, 1000, 970)])
    assert found.budget_left_ratio == pytest.approx(-2)
    assert found.state is SloState.MISSED


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([(100, 1000, 999)], SloState.MET),
        ([(100, 10_000, 9905)], SloState.AT_RISK),  # less than a tenth of the budget left
        ([(100, 100_000, 100_000), (0.5, 100, 93)], SloState.AT_RISK),  # burning seven times too fast
    ],
)
def test_an_objective_is_at_risk_when_its_budget_is_nearly_or_quickly_spent(
    rows: list[tuple[float, int, int]], state: SloState
) -> None:
    assert status(rows).state is state


def test_events_outside_of_the_window_do_not_count() -> None:
    found = status([(24 * 31, 1000, 0), (-1, 1000, 0), (10, 50, 50)])
    assert (found.good_count, found.total_count) == (50, 50)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.integers(1, 72), st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40),
    st.lists(st.tuples(st.integers(-5, 80), st.integers(1, 30)), max_size=3),
)
def test_what_is_excluded_is_counted_as_a_loop_over_the_steps_does(
    by_hour: dict[int, tuple[int, int]], stretches: list[tuple[int, int]]
) -> None:
    rows = [(float(hours), good + bad, good) for hours, (good, bad) in by_hour.items()]
    exclusions = [
        Exclusion(str(number), NOW - timedelta(hours=hours + length), NOW - timedelta(hours=hours), "why", "ann")
        for number, (hours, length) in enumerate(stretches)
    ]
    found = slo_status(OBJECTIVE, counts(rows), NOW, exclusions)
    left_out = {hour for hours, length in stretches for hour in range(hours + 1, hours + length + 1)}
    kept = [(total, good) for hours, total, good in rows if hours not in left_out]
    assert (found.total_count, found.good_count) == (sum(one[0] for one in kept), sum(one[1] for one in kept))
    assert found.excluded_s == 3600 * len([hour for hour in left_out if 1 <= hour <= 720])
    whole = found.with_excluded
    assert whole is not None
    assert (whole.total_count, whole.good_count) == (sum(one[1] for one in rows), sum(one[2] for one in rows))


def test_an_exclusion_of_another_objective_leaves_nothing_out() -> None:
    other = Exclusion("x", NOW - timedelta(days=1), NOW, "why", "ann", slos=("rerank-ttft",))
    found = slo_status(OBJECTIVE, counts([(5, 100, 90)]), NOW, [other])
    assert (found.total_count, found.excluded_s) == (100, 0.0)


def test_each_period_counts_its_own_events_and_the_worst_state_is_told() -> None:
    weekly = replace(OBJECTIVE, more_periods=(Period(7), Period(60)))
    found = status([(24 * 40, 1000, 0), (24 * 20, 9000, 9000), (24 * 3, 1000, 985), (0.5, 1, 1)], weekly)
    told = [(one.period.days, one.state, one.counted.total_count) for one in found.periods]
    assert told == [
        (30, SloState.MET, 10_001),
        (7, SloState.MISSED, 1001),
        (60, SloState.MISSED, 11_001),
    ]
    assert (found.state, found.total_count) == (SloState.MISSED, 10_001)


def test_a_period_without_events_says_nothing_beside_one_that_has_some() -> None:
    assert worst_state([SloState.NO_DATA, SloState.MET]) is SloState.MET
    assert worst_state([SloState.NO_DATA, SloState.NO_DATA]) is SloState.NO_DATA
    assert worst_state([SloState.MET, SloState.AT_RISK, SloState.MISSED]) is SloState.MISSED


@pytest.mark.parametrize(
    ("sli_ratio", "usd"), [(None, None), (1.0, 0.0), (0.999, 0.0), (0.9989, 100.0), (0.99, 100.0), (0.5, 250.0)]
)
def test_a_credit_is_that_of_the_last_tier_that_was_fallen_below(sli_ratio: float | None, usd: float | None) -> None:
    assert credit_usd(Sla(1000.0, (CreditTier(0.999, 0.1), CreditTier(0.99, 0.25))), sli_ratio) == usd


def test_a_month_is_that_of_the_clock_of_the_contract() -> None:
    sla = Sla(1000.0, (CreditTier(0.9, 0.1),), "Asia/Tokyo")
    now = datetime(2026, 11, 30, 16, 0, tzinfo=UTC)  # already December in Tokyo
    frame = pl.DataFrame(
        {"time": [now - timedelta(hours=2), now - timedelta(minutes=30)], "total": [100, 10], "good": [0, 8]},
    ).with_columns(pl.col("time").dt.cast_time_unit("us"))
    found = credit_exposure(sla, frame, OBJECTIVE, now)
    assert found.month_start == datetime(2026, 11, 30, 15, 0, tzinfo=UTC)
    assert (found.sli_ratio, found.credit_usd, found.forecast_usd) == (0.8, 100.0, 100.0)


def test_nothing_is_forecast_of_a_day_without_events() -> None:
    sla = Sla(1000.0, (CreditTier(0.9, 0.1),))
    frame = counts([(30, 100, 80)])
    found = credit_exposure(sla, frame, OBJECTIVE, NOW)
    assert (found.credit_usd, found.forecast_sli_ratio, found.forecast_usd) == (100.0, None, None)


def test_an_hour_without_events_has_no_burn_rate() -> None:
    assert status([(5, 100, 90)]).burn_rate is None
    assert status([(0.5, 100, 90)]).burn_rate == pytest.approx(10)


def test_the_history_of_the_budget_is_unknown_before_the_first_event_and_then_only_falls() -> None:
    history = status([(24 * 10, 1000, 999), (24 * 5, 1000, 995)]).budget_left_history
    assert history[0] is None
    known = [value for value in history if value is not None]
    assert known == sorted(known, reverse=True)
    assert known[-1] == pytest.approx(1 - 6 / 20)


def test_a_burn_rate_of_one_spends_the_budget_exactly() -> None:
    assert burn_rate(OBJECTIVE, 99, 100) == pytest.approx(1)
    assert budget_left_ratio(OBJECTIVE, 99, 100) == pytest.approx(0)


@given(st.floats(1e-6, 1e9))
def test_a_rounded_threshold_is_round_and_not_smaller_and_never_wasteful(value: float) -> None:
    rounded = rounded_up(value)
    assert rounded >= value * (1 - 1e-6)
    assert rounded <= 2.5 * value * (1 + 1e-6)


@pytest.mark.parametrize("value", [0.5, 1.0, 2.0, 100.0, 500.0])
def test_what_is_round_already_stays(value: float) -> None:
    assert rounded_up(value) == pytest.approx(value)


def test_the_course_of_a_budget_ends_with_what_is_left_without_what_is_excluded() -> None:
    rows = [(hours, 100, 100 - (hours in (500, 90, 4))) for hours in range(1, 600)]
    left_out = Exclusion("x", NOW - timedelta(hours=91), NOW - timedelta(hours=89), "maintenance", "ann")
    history = budget_history(OBJECTIVE, counts(rows), NOW, [left_out], 720)
    assert history[-1] == slo_status(OBJECTIVE, counts(rows), NOW, [left_out]).budget_left_ratio
    known = [left for left in history if left is not None]
    assert len(history) == 720
    assert history[0] is None
    assert len(set(known)) == 3  # whole, after the one, after the other
    assert budget_history(OBJECTIVE, counts([]), NOW, [], 5) == ()
