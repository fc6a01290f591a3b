from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.slo import budget_left_ratio, burn_rate, rounded_up, slo_status
from domain.incident import Indicator
from domain.slo import Objective, SloState, SloStatus
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
