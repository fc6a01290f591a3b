import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.cost.forecast import (
    Forecast,
    NoForecast,
    daily_totals,
    forecast,
    hours_to_month_end,
    month_end,
    month_of,
    until,
)
from analytics.cost.forecast_models import Model, ets, gradient_boosted, seasonal_naive

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


def hourly(cost_usd, start=MONDAY) -> pl.DataFrame:
    times = [start + timedelta(hours=hour) for hour in range(len(cost_usd))]
    return pl.DataFrame({"time": times, "cost_usd": [None if math.isnan(one) else float(one) for one in cost_usd]})


def daily_wave(hours: int, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """Spend of about 100 dollars an hour with a day's wave, and errors of so many parts."""
    hour = np.arange(hours)
    errors = np.random.default_rng(seed).normal(0, noise, hours)
    return 100 * np.exp(0.4 * np.sin(2 * np.pi * hour / 24) + errors)


def made(cost_usd, horizon: int = 24, **given) -> Forecast:
    found = forecast(hourly(cost_usd), horizon, **given)
    assert isinstance(found, Forecast)
    return found


def test_a_wave_is_forecast_better_than_the_last_day_again_and_its_intervals_hold():
    spend = daily_wave(24 * 12)
    found = made(spend[: 24 * 10], 48)
    coming = spend[24 * 10 :]
    assert found.model is not Model.SEASONAL_NAIVE
    assert found.mase[found.model] < found.mase[Model.SEASONAL_NAIVE]
    error = np.abs(found.hours["median_usd"].to_numpy() - coming).mean()
    assert error < np.abs(seasonal_naive(spend[: 24 * 10], 48, 0) - coming).mean()
    assert found.hours["time"][0] == MONDAY + timedelta(days=10)
    within = (found.hours["lower_95_usd"].to_numpy() <= coming) & (coming <= found.hours["upper_95_usd"].to_numpy())
    assert within.mean() > 0.85


def test_intervals_lie_within_each_other_around_the_median():
    hours = made(daily_wave(24 * 9), 30, levels=(0.5, 0.8, 0.95)).hours
    columns = [
        "lower_95_usd",
        "lower_80_usd",
        "lower_50_usd",
        "median_usd",
        "upper_50_usd",
        "upper_80_usd",
        "upper_95_usd",
    ]
    values = hours.select(columns).to_numpy()
    assert (np.diff(values, axis=1) >= 0).all()
    assert (values[:, 0] < values[:, -1]).all()


def test_the_backtest_shows_what_was_known_and_what_came():
    spend = daily_wave(24 * 8)
    spend[100] = math.nan
    found = made(spend)
    assert found.folds.columns[:4] == ["origin", "time", "actual_usd", "median_usd"]
    assert (found.folds["time"] >= found.folds["origin"]).all()
    assert found.folds["time"].max() == MONDAY + timedelta(hours=24 * 8 - 1)
    shown = found.folds.join(hourly(spend), on="time", how="left")
    assert shown["actual_usd"].equals(shown["cost_usd"], check_names=False)
    assert shown["actual_usd"].null_count() > 0
    inside = (pl.col("actual_usd") >= pl.col("lower_80_usd")) & (pl.col("actual_usd") <= pl.col("upper_80_usd"))
    assert found.coverage[0.8] == pytest.approx(found.folds.drop_nulls().select(inside.mean()).item(), abs=0.01)


def test_the_same_history_gives_the_same_forecast():
    spend = daily_wave(24 * 8)
    one, two = made(spend), made(spend)
    assert one.hours.equals(two.hours)
    assert one.mase == two.mase


def test_holes_are_bridged_and_zeros_are_spend():
    spend = daily_wave(24 * 8)
    holes = spend.copy()
    holes[50:60] = math.nan
    assert made(holes).hours["median_usd"].to_numpy() == pytest.approx(
        made(spend).hours["median_usd"].to_numpy(), rel=0.2
    )
    nights_off = spend.copy()
    nights_off[np.arange(len(spend)) % 24 < 6] = 0.0
    found = made(nights_off)
    assert found.hours["median_usd"].to_numpy()[:6] == pytest.approx(0, abs=1)
    assert found.hours["median_usd"].to_numpy()[8:].min() > 40


def test_a_fleet_that_grew_some_days_ago_is_forecast_as_it_is_now():
    for before, days in ((6.0, 7), (6.0, 4), (10.0, 4)):
        grown = np.concatenate([np.full(24 * (14 - days), before), np.full(24 * days, 8.0)])
        assert made(grown).hours["median_usd"].to_numpy() == pytest.approx([8.0] * 24, rel=0.01)


def test_a_constant_series_goes_on_and_says_that_nothing_tells_how_far_it_may_change():
    for value in (0.0, 12.5):
        found = made(np.full(150, value), 24)
        assert found.mase == dict.fromkeys(Model)
        assert found.errors_usd == pytest.approx(dict.fromkeys(Model, 0.0), abs=1e-9)
        assert (found.model, found.chosen_because) == (
            Model.MEDIAN,
            "all alike: none erred by a cent in the backtest",
        )
        assert found.hours["median_usd"].to_list() == pytest.approx([value] * 24)
        assert found.no_interval is not None
        assert "no error to make one of" in found.no_interval
        assert daily_totals(found)[0].no_interval == found.no_interval


def test_an_interval_needs_enough_tries_of_the_forecast():
    few, enough = made(daily_wave(96)), made(daily_wave(120))
    assert (few.tries, few.no_interval) == (
        3,
        "the past is long enough to try the forecast 3 times; an interval needs 4",
    )
    assert (enough.tries, enough.no_interval) == (5, None)
    assert until(few, few.hours["time"][-1]).no_interval == few.no_interval


def test_why_a_model_was_chosen_is_true():
    found = made(daily_wave(24 * 12), 48)
    errors = found.errors_usd
    if found.model is Model.MEDIAN:
        assert found.chosen_because == "no single one was clearly better in the backtest"
    else:
        assert found.chosen_because == "clearly the least error in the backtest"
        assert errors[found.model] == min(errors.values())


def test_a_level_that_has_shifted_is_followed():
    spend = daily_wave(24 * 10, noise=0.05)
    spend[24 * 7 :] *= 3
    found = made(spend, 24)
    assert found.hours["median_usd"].mean() == pytest.approx(300, rel=0.3)


def test_too_little_history_is_said_and_gives_no_forecast():
    assert forecast(hourly(daily_wave(71)), 24) == NoForecast("71 hours of spend are known; a forecast needs 72")
    assert isinstance(forecast(hourly(daily_wave(72)), 24), Forecast)
    assert isinstance(
        forecast(hourly([]).cast({"time": pl.Datetime("us", "UTC"), "cost_usd": pl.Float64}), 24), NoForecast
    )
    sparse = np.full(300, math.nan)
    sparse[::3] = 5.0
    found = forecast(hourly(sparse), 24)
    assert found == NoForecast("spend is known of 100 of the last 298 hours; a forecast needs 50%")


def test_what_cannot_be_forecast_is_refused():
    with pytest.raises(ValueError, match="expected 1 hour or more"):
        forecast(hourly(daily_wave(100)), 0)
    with pytest.raises(ValueError, match=r"levels \(95,\)"):
        forecast(hourly(daily_wave(100)), 24, levels=(95,))
    with pytest.raises(ValueError, match=r"spend of -1\.0 dollars in the hour 2026-11-02 00:00"):
        forecast(hourly([-1.0, *daily_wave(100)]), 24)


def test_days_add_up_and_their_intervals_are_of_the_sum():
    found = made(daily_wave(24 * 9 + 6), 60)
    days = daily_totals(found)
    assert [(day.start.hour, day.end - day.start) for day in days] == [
        (6, timedelta(hours=18)),
        (0, timedelta(hours=24)),
        (0, timedelta(hours=18)),
    ]
    assert sum(day.median_usd for day in days) == pytest.approx(found.hours["median_usd"].sum())
    hours = found.hours.filter(pl.col("time").is_between(days[1].start, days[1].end, closed="left"))
    width = days[1].upper_usd[0.8] - days[1].lower_usd[0.8]
    assert 0 < width < hours["upper_80_usd"].sum() - hours["lower_80_usd"].sum()  # errors of 24 hours cancel in part


def test_the_month_ends_with_what_is_spent_and_what_is_forecast():
    start = datetime(2026, 11, 20, tzinfo=UTC)
    now = start + timedelta(days=8)
    hours = hours_to_month_end(now)
    assert hours == 72
    found = forecast(hourly(daily_wave(24 * 8), start), hours)
    assert isinstance(found, Forecast)
    month = month_end(found, 50_000.0)
    assert (month.start, month.end) == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert month.median_usd == pytest.approx(50_000 + found.hours["median_usd"].sum())
    assert 50_000 < month.lower_usd[0.95] <= month.lower_usd[0.5] < month.median_usd < month.upper_usd[0.5]
    with pytest.raises(ValueError, match="the forecast ends at 2026-12-01 00:00, and 2026-12-02 00:00 was asked for"):
        until(found, datetime(2026, 12, 2, tzinfo=UTC))


def test_a_month_of_which_little_is_known_has_no_sum():
    start = datetime(2026, 11, 24, tzinfo=UTC)
    found = forecast(hourly(daily_wave(24 * 5), start), 24 * 7)
    assert isinstance(found, Forecast)
    month = month_of(found)
    assert (month.known_hours, month.hours) == (120, 28 * 24)
    assert month.spent_usd == pytest.approx(daily_wave(24 * 5).sum())
    assert (month.start, month.rest.start) == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 29, tzinfo=UTC))
    assert month.rest.end == month.end == datetime(2026, 12, 1, tzinfo=UTC)
    assert month.whole is None
    assert month.not_whole == "nothing is known of 552 of the 672 hours before the forecast"


def test_a_month_that_is_known_but_for_a_few_hours_is_told_whole():
    spend = daily_wave(24 * 20)
    spend[30:40] = math.nan
    found = forecast(hourly(spend, datetime(2026, 11, 1, tzinfo=UTC)), 24 * 10)
    assert isinstance(found, Forecast)
    month = month_of(found)
    assert (month.known_hours, month.hours) == (470, 480)
    assert month.not_whole is None
    assert month.whole is not None
    assert month.whole.median_usd == pytest.approx(month.spent_usd + month.rest.median_usd)
    assert (month.whole.start, month.whole.end) == (month.start, month.end)


def test_far_ahead_the_forecast_goes_on_and_is_no_surer():
    found = made(daily_wave(24 * 8), 24 * 30)
    assert found.hours.height == 720
    width = (found.hours["upper_80_usd"] / found.hours["lower_80_usd"]).to_numpy()
    assert width[-24:].mean() >= width[:24].mean() * 0.99
    assert np.isfinite(found.paths).all()
    assert found.paths.shape[1] == 720


def test_a_week_is_repeated_once_two_are_known():
    levels = np.arange(400.0)
    assert seasonal_naive(levels[:335], 3, 0).tolist() == [311, 312, 313]
    assert seasonal_naive(levels, 3, 0).tolist() == [232, 233, 234]


@pytest.mark.parametrize("model", [ets, gradient_boosted])
def test_a_pure_wave_is_learnt(model):
    levels = np.log(daily_wave(24 * 25, noise=0.0))
    assert model(levels[: 24 * 24], 24, 0) == pytest.approx(levels[24 * 24 :], abs=0.05)
