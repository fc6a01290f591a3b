import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.cost.forecast import Forecast, forecast
from analytics.cost.runaway import (
    Budget,
    BudgetState,
    Period,
    RunawaySettings,
    budget_period,
    budget_status,
    dearer_ratio,
    runaway,
    runaways,
)

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
FIVE = timedelta(minutes=5)
A_DAY = 288


def wave(days: int, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Rates of about 100 dollars an hour, by five minutes, with a day's wave."""
    place = np.arange(days * A_DAY)
    errors = np.random.default_rng(seed).normal(0, noise, len(place))
    return 100 * np.exp(0.5 * np.sin(2 * np.pi * place / A_DAY) + errors)


def frame(rates, step: timedelta = FIVE) -> pl.DataFrame:
    times = [MONDAY + step * index for index in range(len(rates))]
    values = [None if math.isnan(rate) else float(rate) for rate in rates]
    return pl.DataFrame({"time": times, "usd_per_hour": values}, schema_overrides={"usd_per_hour": pl.Float64})


def at(window: int) -> datetime:
    return MONDAY + FIVE * window


@pytest.mark.parametrize("start", [8 * A_DAY, 8 * A_DAY + 100, 9 * A_DAY + 200])
def test_spend_that_doubles_is_caught_within_the_hour_and_not_before(start):
    rates = wave(10)
    rates[start:] *= 2
    spend = frame(rates)
    assert runaway(spend, at(start)) is None
    found = runaway(spend, at(start + 12))
    assert found is not None
    assert abs(found.began_at - at(start)) <= FIVE
    assert at(start + 9) <= found.noticed_at <= at(start + 12)
    assert found.rate_usd_per_hour == pytest.approx(2 * found.expected_usd_per_hour, rel=0.3)


def test_the_totals_are_those_of_the_stretch():
    rates = np.full(8 * A_DAY, 100.0)
    rates[-12:] = 300.0
    found = runaway(frame(rates), at(8 * A_DAY))
    assert found is not None
    assert found.began_at == at(8 * A_DAY - 12)
    assert found.total_actual_spend_usd == pytest.approx(300)
    assert found.total_expected_spend_usd == pytest.approx(100)
    assert found.total_impact_usd == pytest.approx(200)
    assert found.impact_ratio == pytest.approx(2.0)


def test_ordinary_weeks_have_no_runaway():
    rates = wave(28)
    assert runaways(frame(rates), at(len(rates))) == []


def test_a_weekly_job_is_usual_after_three_weeks():
    rates = wave(29)
    for week in range(5):
        rates[week * 7 * A_DAY + 100 : week * 7 * A_DAY + 136] *= 3
    assert len(runaways(frame(rates), at(len(rates)))) == 2  # of weeks 1 and 2; in week 0 nothing was known
    assert runaways(frame(rates), at(len(rates)), since=at(21 * A_DAY)) == []


def test_what_comes_back_from_a_drop_has_not_run_away():
    rates = wave(8)
    rates[7 * A_DAY + 50 : 7 * A_DAY + 86] *= 0.3
    assert runaways(frame(rates), at(len(rates))) == []


def test_a_spike_of_half_an_hour_has_not_run_away():
    rates = wave(8)
    rates[7 * A_DAY + 50 : 7 * A_DAY + 56] *= 5
    assert runaways(frame(rates), at(len(rates))) == []


def test_a_runaway_ends_when_spend_is_back_and_when_it_has_become_usual():
    rates = wave(10)
    rates[8 * A_DAY : 8 * A_DAY + 36] *= 3
    (found,) = runaways(frame(rates), at(len(rates)))
    assert found.ended_at is not None
    assert at(8 * A_DAY + 36) < found.ended_at <= at(8 * A_DAY + 42)
    assert runaway(frame(rates), at(len(rates))) is None
    rates = wave(10)
    rates[8 * A_DAY :] *= 3
    (found,) = runaways(frame(rates), at(len(rates)))
    assert found.ended_at == found.began_at + timedelta(days=1)


def test_a_live_look_says_what_a_backtest_says():
    rates = wave(10)
    rates[8 * A_DAY + 30 :] *= 2.5
    spend = frame(rates)
    live = runaway(spend, at(8 * A_DAY + 60))
    (replayed,) = runaways(spend, at(8 * A_DAY + 60))
    assert live == replayed
    assert live == runaway(spend.head(8 * A_DAY + 60), at(8 * A_DAY + 60))


def test_cents_of_a_quiet_series_are_no_runaway_but_dollars_are():
    rates = np.full(8 * A_DAY, 0.0)
    rates[-12:] = 0.5
    assert runaway(frame(rates), at(len(rates))) is None
    rates[-12:] = 40.0
    found = runaway(frame(rates), at(len(rates)))
    assert found is not None
    assert found.total_expected_spend_usd == 0
    assert found.impact_ratio is None
    assert found.total_impact_usd == pytest.approx(40)


def test_over_a_hole_of_some_hours_the_level_before_it_holds_on():
    rates = wave(8)
    rates[-12:] *= 3
    rates[-36:-12] = math.nan
    found = runaway(frame(rates), at(len(rates)))
    assert found is not None
    assert found.began_at == at(len(rates) - 12)
    rates[-120:-12] = math.nan
    assert runaway(frame(rates), at(len(rates))) is None


def test_holes_and_too_little_history_say_nothing():
    rates = wave(8)
    rates[-12:] *= 3
    hole = rates.copy()
    hole[-6] = math.nan
    assert runaway(frame(hole), at(len(rates))) is None
    short = rates[-A_DAY:]
    assert runaway(frame(short), at(A_DAY)) is None
    assert runaway(frame([]).cast({"time": pl.Datetime("us", "UTC")}), at(0)) is None


def morning(days: int) -> np.ndarray:
    """Rates by five minutes that more than double between 8 and 10 each morning, and fall again in the evening."""
    hour = np.arange(days * A_DAY) / 12 % 24
    up, down = np.clip((hour - 8) / 2, 0, 1), np.clip((hour - 19) / 4, 0, 1)
    errors = np.random.default_rng(3).normal(0, 0.05, len(hour))
    return 100 * np.exp(0.9 * (up - down) + errors)


def test_a_rise_of_every_morning_is_no_runaway_and_one_that_begins_with_it_is_caught():
    rates = morning(10)
    assert runaways(frame(rates), at(len(rates)), since=at(3 * A_DAY)) == []
    for start in (9 * A_DAY + 96, 9 * A_DAY + 102, 9 * A_DAY + 108):  # at 8:00, 8:30 and 9:00
        doubled = rates.copy()
        doubled[start:] *= 2
        found = runaway(frame(doubled), at(start + 12))
        assert found is not None
        assert at(start) - timedelta(minutes=30) <= found.began_at <= at(start)
        assert found.impact_ratio == pytest.approx(1.0, abs=0.3)


def restless_weeks(weeks: int, seed: int) -> np.ndarray:
    """Rates by ten minutes: a day's wave that differs from day to day, a level that wanders, bursts, and noise."""
    draw = np.random.default_rng(seed)
    days = 7 * weeks
    shape = 0.25 * np.sin(2 * np.pi * (np.arange(days * 144) / 144 - 0.3))
    wander = np.cumsum(draw.normal(0, 0.01, days * 144))
    wander -= np.linspace(0, 1, len(wander)) * wander[-1]
    size = np.repeat(draw.uniform(0.85, 1.15, days), 144)
    rates = 400 * np.exp(size * shape + wander + draw.normal(0, 0.05, days * 144))
    for _ in range(days // 3):
        begin = int(draw.integers(0, len(rates) - 12))
        rates[begin : begin + int(draw.integers(2, 9))] *= draw.uniform(1.2, 1.6)
    return rates


def test_on_restless_weeks_nine_of_ten_doublings_are_caught_within_the_hour_at_one_false_alarm_a_month():
    ten = timedelta(minutes=10)
    caught, starts, false, days = 0, 0, 0, 0
    for seed in range(3):
        rates = restless_weeks(6, seed)
        until = MONDAY + ten * len(rates)
        false += len(runaways(frame(rates, ten), until, since=MONDAY + timedelta(days=7)))
        days += 35
        for begin in range(10 * 144, len(rates) - 6, 131):
            doubled = rates[: begin + 6].copy()
            doubled[begin:] *= 2
            start = MONDAY + ten * begin
            found = runaways(frame(doubled, ten), start + timedelta(hours=1), since=start)
            caught, starts = caught + bool(found), starts + 1
    assert starts > 100
    assert caught / starts >= 0.9
    assert false / days * 30 <= 1


def test_hourly_spend_is_caught_by_its_first_hour():
    rates = wave(9)[::12].copy()
    rates[-1] *= 2.5
    spend = frame(rates, timedelta(hours=1))
    found = runaway(spend, MONDAY + timedelta(hours=len(rates)))
    assert found is not None
    assert found.began_at == MONDAY + timedelta(hours=len(rates) - 1)
    with pytest.raises(ValueError, match="windows of spend are 86400 s apart"):
        runaway(frame(rates, timedelta(days=1)), MONDAY + timedelta(days=200))


def test_who_moved_most_is_named():
    steady, other = np.full(8 * A_DAY, 60.0), np.full(8 * A_DAY, 40.0)
    other[-12:] = 240.0
    parts = {"acme": steady, "blue": other}
    by = pl.concat(frame(rates).with_columns(pl.lit(tenant).alias("tenant")) for tenant, rates in parts.items())
    found = runaway(frame(steady + other), at(8 * A_DAY), by=by)
    assert found is not None
    assert found.mover is not None
    assert (found.mover.dimension, found.mover.value) == ("tenant", "blue")
    assert (found.mover.before_usd_per_hour, found.mover.since_usd_per_hour) == (40.0, 240.0)
    with pytest.raises(ValueError, match="expected time, usd_per_hour and one more"):
        runaway(frame(steady + other), at(8 * A_DAY), by=by.drop("tenant"))


def test_settings_say_how_much_is_too_much():
    rates = np.full(8 * A_DAY, 100.0)
    rates[-12:] = 130.0
    assert runaway(frame(rates), at(len(rates))) is None
    assert runaway(frame(rates), at(len(rates)), RunawaySettings(ratio=1.25, each_ratio=1.2)) is not None


@pytest.mark.parametrize(
    ("before", "since", "dearer"),
    [
        (50, 50, 251 / 101),  # the same requests cost more
        (50, 125, 251 / 101 / 2.5),  # there are more of them
        (0, 50, 0.0),  # nobody asked before
        (0, 0, None),  # of its requests nothing is known
        (None, 50, None),
    ],
)
def test_a_request_became_dearer_where_spend_rose_and_requests_did_not(before, since, dearer):
    rates = np.full(8 * A_DAY, 100.0)
    rates[-12:] *= 2.5
    found = runaway(frame(rates), at(len(rates)))
    counts = [before] * (len(rates) - 12) + [since] * 12
    requests = frame(rates).select("time", pl.Series("requests", counts, dtype=pl.Float64)).drop_nulls()
    ratio = dearer_ratio(frame(rates), requests, found)
    assert ratio == (dearer if dearer is None else pytest.approx(dearer))


def test_gpus_that_a_peak_of_requests_brought_and_left_are_no_dearer_request():
    rates = np.full(8 * A_DAY, 100.0)
    rates[-12:] *= 2.5
    found = runaway(frame(rates), at(len(rates)))
    requests = np.full(len(rates), 50.0)
    requests[-14:-12] = 130.0  # in the ten minutes before GPUs were added
    asked = frame(rates).select("time", pl.Series("requests", requests))
    assert dearer_ratio(frame(rates), asked, found) < 1
    requests[-18:] = 0.0  # nobody asks any more
    silent = frame(rates).select("time", pl.Series("requests", requests))
    assert dearer_ratio(frame(rates), silent, found) == math.inf


def spent(days: int, usd_per_hour: float = 10.0, start: datetime = MONDAY) -> pl.DataFrame:
    times = [start + timedelta(hours=hour) for hour in range(24 * days)]
    return pl.DataFrame({"time": times, "cost_usd": [usd_per_hour] * len(times)})


def test_a_budget_is_met_at_risk_or_missed():
    history = spent(4)
    now = MONDAY + timedelta(days=4)
    ahead = forecast(history, 24 * 3)
    assert isinstance(ahead, Forecast)
    expected = {2000.0: BudgetState.MET, 1000.0: BudgetState.AT_RISK, 900.0: BudgetState.MISSED}
    for amount_usd, state in expected.items():
        status = budget_status(Budget("gpus", amount_usd, Period.WEEK), history, ahead, now)
        assert status.state is state
        assert status.spent_usd == 960
        assert status.spent_ratio == pytest.approx(960 / amount_usd)
        assert status.forecast is not None
        assert status.forecast.median_usd == pytest.approx(1680)
        assert status.forecast_ratio == pytest.approx(1680 / amount_usd)
        assert (status.start, status.end) == (MONDAY, MONDAY + timedelta(days=7))


def test_a_budget_without_a_forecast_goes_by_what_is_spent_and_without_spend_by_nothing():
    budget = Budget("gpus", 100.0)
    now = MONDAY + timedelta(days=1)
    status = budget_status(budget, spent(1, 3.0), None, now)
    assert (status.state, status.spent_usd, status.forecast_ratio) == (BudgetState.MET, 72.0, None)
    assert budget_status(budget, spent(0), None, now).state is BudgetState.NO_DATA
    assert budget_status(budget, spent(1, 5.0), None, now).state is BudgetState.MISSED


def test_a_budget_says_of_how_many_hours_its_spend_is():
    history = spent(5, start=MONDAY + timedelta(days=20))
    begin = history["time"][-1] + timedelta(hours=1)
    status = budget_status(Budget("gpus", 10_000.0), history, None, begin)
    first = begin.replace(day=1, hour=0)
    assert (status.known_hours, status.hours) == (120, (begin - first) // timedelta(hours=1))


def test_a_budget_of_a_tenant_counts_that_tenant():
    history = pl.concat(
        spent(2, rate).with_columns(pl.lit(name).alias("tenant")) for name, rate in (("acme", 1.0), ("blue", 9.0))
    )
    budget = Budget("acme's", 1000.0, Period.MONTH, tenant="acme")
    assert budget_status(budget, history, None, MONDAY + timedelta(days=2)).spent_usd == 48.0
    with pytest.raises(ValueError, match="is of one service, but spend has only the columns time, cost_usd, tenant"):
        budget_status(Budget("chat", 1.0, service="chat"), history, None, MONDAY)
    with pytest.raises(ValueError, match="expected more than 0"):
        Budget("none", 0.0)


def test_periods_are_calendar_months_and_weeks_from_monday():
    now = datetime(2026, 12, 30, 15, 20, tzinfo=UTC)
    assert budget_period(Budget("a", 1.0, Period.MONTH), now) == (
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    assert budget_period(Budget("a", 1.0, Period.WEEK), now) == (
        datetime(2026, 12, 28, tzinfo=UTC),
        datetime(2027, 1, 4, tzinfo=UTC),
    )
