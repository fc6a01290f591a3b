"""Spend that runs away, caught by its rate hours before the bill; and budgets.

A rate is expected to stay where it was in the last known hour, moved part of the way that it usually moves at that time
of the week. It runs away when it lies far above that, above the usual itself and above the last hours' peak, and does
so for most of an hour. One function says it for a live look, a replay and a backtest alike.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from analytics.cost.forecast import Forecast, Total, until
from analytics.robust import SIGMA_OF_MAD

Floats = NDArray[np.float64]

_HOUR_S, _DAY_S, _WEEK_S = 3600, 86_400, 7 * 86_400
_WEEKS_MIN, _WEEKS_MAX = 3, 8  # with fewer past weeks the past days say what is usual
_DAYS_MIN, _DAYS_MAX = 2, 7
_GUARD_S = 600  # before a rise, not looked at: it begins within a window, which is neither before nor after it
_KNOWN_MIN = 0.75  # of the windows of an hour, to say anything
_CARRIED_HOURS = 6  # over a hole of so many hours the level before it holds on
_PEAK_HOURS = 6
_HELD = timedelta(minutes=30)  # GPUs that a peak of requests brought
_LOOK_BACK = timedelta(hours=48)
_QUIET_USD_PER_HOUR = 1.0  # added to every rate, so that cents of a quiet series are no alarm


@dataclass(frozen=True, slots=True)
class RunawaySettings:
    """When spend has run away; the defaults are what `make bench-cost_forecast` measured.

    Attributes:
        ratio: over what is expected from the hour before.
        each_ratio: of each window over the mean of the hour before.
        usual_ratio: over the usual of that time of the week.
        usual_sigmas: and so many robust standard deviations above it.
        peak_ratio: over the dearest hour of the six before: what only comes back from a drop has not run away.
        lasts_s: for so long, seconds.
        over_ratio: it is over when half an hour lies below this ratio to what is expected, or after `new_usual_s`.
        new_usual_s: what has been spent for so long is no longer news, seconds.
        usual_share: how much of the usual's movement since the hour before is expected, to notice; a day differs from
            the usual.
    """

    ratio: float = 1.55
    each_ratio: float = 1.3
    usual_ratio: float = 1.2
    usual_sigmas: float = 0.5
    peak_ratio: float = 1.05
    lasts_s: int = 3_000
    over_ratio: float = 1.25
    new_usual_s: int = _DAY_S
    usual_share: float = 0.33


DEARER_MIN = 1.3
"""A part of a bill has run away only where a request costs so many times as much as before: with its requests, what is
spent for a service doubles by itself every other week."""


@dataclass(frozen=True, slots=True)
class Mover:
    """The value of a dimension whose rate rose most, from the hour before to what it is since."""

    dimension: str
    value: str
    before_usd_per_hour: float
    since_usd_per_hour: float


@dataclass(frozen=True, slots=True)
class Runaway:
    """One stretch of spend that ran away; the totals are from its beginning until its end, or until now.

    The totals have the names of AWS Cost Anomaly Detection; `impact_ratio` is None where nothing was expected.
    `noticed_at` is when it was known; `ended_at` is None while it lasts.
    """

    began_at: datetime
    noticed_at: datetime
    ended_at: datetime | None
    rate_usd_per_hour: float
    expected_usd_per_hour: float
    total_actual_spend_usd: float
    total_expected_spend_usd: float
    total_impact_usd: float
    impact_ratio: float | None
    mover: Mover | None = None


@dataclass(frozen=True, slots=True)
class SpendRunaway:
    """Whose spend ran away: `scope` is `all` of the bill, or the name of a value of `dimension`.

    `dearer_ratio` is how many times as much a request costs as before; None where it was not asked.
    """

    scope: str
    dimension: str | None
    spend: Runaway
    dearer_ratio: float | None = None


def runaway(
    spend: pl.DataFrame, now: datetime, settings: RunawaySettings | None = None, by: pl.DataFrame | None = None
) -> Runaway | None:
    """Spend that runs away at `now`, or None; also None with less than two days of history, or in a hole.

    Args:
        spend: columns time (start of a window), usd_per_hour, in windows of equal length, an hour or less.
        now: windows that end later are not looked at.
        settings: when it has run away; the defaults unless given.
        by: the same for the values of one dimension: columns time, usd_per_hour, and one named for the dimension.
    """
    found = runaways(spend, now, settings, since=now - _LOOK_BACK)
    if not found or found[-1].ended_at is not None:
        return None
    last = found[-1]
    if by is None:
        return last
    return replace(last, mover=_mover(by, last.began_at, now))


def dearer_ratio(spend: pl.DataFrame, requests: pl.DataFrame, found: Runaway) -> float | None:
    """How many times as much a request cost, until it was noticed that spend runs away, as in the hour before it did.

    By the window with the most requests since half an hour before: for so long GPUs are held that a peak brought.
    Infinite where nobody asks any more; None where nothing is known of requests, or of the hour before.

    Args:
        spend: as for `runaway`.
        requests: columns time (start of a window), requests; a window without any is there with 0.
        found: what ran away.
    """
    ends = found.began_at - timedelta(seconds=_GUARD_S)
    before = pl.col("time").is_between(ends - timedelta(hours=1), ends, closed="left")
    since = pl.col("time").is_between(found.began_at, found.noticed_at, closed="left")
    peak = pl.col("time").is_between(found.began_at - _HELD, found.noticed_at, closed="left")
    rate, asked = pl.col("usd_per_hour"), pl.col("requests")
    usd_before, usd_since = spend.select(rate.filter(before).mean(), rate.filter(since).mean().alias("since")).row(0)
    usual, most = requests.select(asked.filter(before).mean(), asked.filter(peak).max().alias("most")).row(0)
    if None in (usd_before, usd_since, usual, most) or not (usual or most):
        return None
    dollars = (usd_since + _QUIET_USD_PER_HOUR) / (usd_before + _QUIET_USD_PER_HOUR)
    return float(dollars * usual / most) if most else math.inf


def runaways(
    spend: pl.DataFrame, until: datetime, settings: RunawaySettings | None = None, since: datetime | None = None
) -> list[Runaway]:
    """Every stretch of spend that ran away, by beginning; what is said of a window rests on those before it alone.

    Args:
        spend: as for `runaway`.
        until: windows that end later are not looked at.
        settings: the defaults unless given.
        since: stretches that were noticed before are not told.
    """
    settings = settings or RunawaySettings()
    series = _series(spend, until)
    if series is None:
        return []
    rates, first, step_s = series
    start = 0 if since is None else max(0, round((since - first).total_seconds()) // step_s)
    hour, lasts = max(1, _HOUR_S // step_s), max(1, round(settings.lasts_s / step_s))
    seen = max(0, start - (_PEAK_HOURS + _CARRIED_HOURS + 3) * hour - lasts)
    levels = np.log(rates + _QUIET_USD_PER_HOUR)
    usual, sigma = _usual(levels, seen, step_s)
    levels_seen = levels[seen:]
    guard = _GUARD_S // step_s
    before, usual_before = _carried(
        _before(levels_seen, hour, guard), _before(usual, hour, guard), _CARRIED_HOURS * hour
    )
    peak = _peak(before, hour)
    raised = _raised(levels_seen, usual, sigma, before, usual_before, peak, lasts, settings)
    raised[: start - seen] = False
    found: list[Runaway] = []
    at = 0
    while at < len(raised):
        if not raised[at]:
            at += 1
            continue
        began = at - lasts + 1
        base, base_usual = before[began], usual_before[began]
        expected = base + np.nan_to_num(usual[began:] - base_usual)  # over hours it moves as it usually does
        end = _end(levels_seen[began:] - expected, lasts, settings, hour, step_s)
        found.append(
            _told(
                rates[seen + began :],
                expected,
                lasts,
                end,
                first + timedelta(seconds=step_s * (seen + began)),
                step_s,
            )
        )
        at = began + (end if end is not None else len(raised))
    return found


def _series(spend: pl.DataFrame, until: datetime) -> tuple[Floats, datetime, int] | None:
    """Rates on a grid, NaN where not known, when it begins, and its step; None for too few to say anything."""
    known = spend.filter(pl.col("usd_per_hour").is_not_null() & pl.col("usd_per_hour").is_not_nan()).sort("time")
    if known.height < 2:
        return None
    seconds = known["time"].dt.epoch("s").to_numpy()
    step_s = int(np.diff(seconds).min())
    if not 0 < step_s <= _HOUR_S:
        raise ValueError(f"windows of spend are {step_s} s apart; expected one a window, of an hour or less")
    inside = seconds + step_s <= int(until.timestamp())
    if not inside.any():
        return None
    size = (int(until.timestamp()) - int(seconds[0])) // step_s
    rates = np.full(size, np.nan)
    rates[((seconds - seconds[0]) // step_s)[inside]] = known["usd_per_hour"].to_numpy()[inside]
    return rates, known["time"][0], step_s


def _usual(levels: Floats, seen: int, step_s: int) -> tuple[Floats, Floats]:
    """Median and robust standard deviation of each window from `seen` on, over the same time of past weeks.

    Of past days, while fewer than three weeks are known. NaN where two days are not.
    """
    size = len(levels)
    smooth = _smooth(levels)
    week, day = _WEEK_S // step_s, _DAY_S // step_s

    def past(period: int, count: int) -> Floats:
        back = np.arange(seen, size)[None, :] - period * np.arange(1, count + 1)[:, None]
        return np.where(back >= 0, smooth[np.maximum(back, 0)], np.nan)

    days, weeks = past(day, _DAYS_MAX), past(week, _WEEKS_MAX)
    few = np.isfinite(weeks).sum(axis=0) < _WEEKS_MIN
    usual, sigma = np.full(size - seen, np.nan), np.full(size - seen, np.nan)
    for values, chosen in ((days, few & (np.isfinite(days).sum(axis=0) >= _DAYS_MIN)), (weeks, ~few)):
        if chosen.any():
            usual[chosen] = np.nanmedian(values[:, chosen], axis=0)
            sigma[chosen] = SIGMA_OF_MAD * np.nanmedian(np.abs(values[:, chosen] - usual[chosen]), axis=0)
    return usual, sigma


def _smooth(levels: Floats) -> Floats:
    """The median of each window and its two neighbours to either side; NaN where none is known."""
    around = sliding_window_view(np.pad(levels, 2, constant_values=np.nan), 5)
    known = np.isfinite(around).any(axis=1)
    smooth = np.full(len(levels), np.nan)
    smooth[known] = np.nanmedian(around[known], axis=1)
    return smooth


def _before(values: Floats, hour: int, guard: int) -> Floats:
    """The mean of the hour that ended so many windows before each; NaN where too little of it is known."""
    padded = np.concatenate([np.full(hour + guard, np.nan), values])[: -1 - guard]
    windows = sliding_window_view(padded, hour)
    count = np.isfinite(windows).sum(axis=1)
    return np.where(count >= _KNOWN_MIN * hour, np.nansum(windows, axis=1) / np.maximum(count, 1), np.nan)


def _carried(before: Floats, usual_before: Floats, windows: int) -> tuple[Floats, Floats]:
    """Both with what was last known before it in each window of a hole, where that is no more windows back."""
    places = np.arange(len(before))
    last = np.maximum.accumulate(np.where(np.isfinite(before), places, -1))
    is_known = (last >= 0) & (places - last <= windows)
    return np.where(is_known, before[last], np.nan), np.where(is_known, usual_before[last], np.nan)


def _peak(before: Floats, hour: int) -> Floats:
    """The greatest of the hours in the six before each window; NaN where none is known."""
    reach = (_PEAK_HOURS - 1) * hour + 1
    windows = sliding_window_view(np.concatenate([np.full(reach - 1, np.nan), before]), reach)
    peak: Floats = np.where(np.isnan(windows), -np.inf, windows).max(axis=1)
    return np.where(np.isneginf(peak), np.nan, peak)


def _raised(
    levels: Floats,
    usual: Floats,
    sigma: Floats,
    before: Floats,
    usual_before: Floats,
    peak: Floats,
    lasts: int,
    settings: RunawaySettings,
) -> NDArray[np.bool_]:
    """Has it run away in the windows that end with each; a comparison with what is not known says no."""
    raised = np.zeros(len(levels), dtype=np.bool_)
    if len(levels) < lasts:
        return raised

    def mean(values: Floats) -> Floats:
        means: Floats = sliding_window_view(values, lasts).mean(axis=1)
        return means

    base, base_usual = before[: len(levels) - lasts + 1], usual_before[: len(levels) - lasts + 1]
    above_usual = mean(levels - usual)
    expected = base + settings.usual_share * (mean(usual) - base_usual)
    raised[lasts - 1 :] = (
        (mean(levels) - expected > np.log(settings.ratio))
        & (sliding_window_view(levels, lasts).min(axis=1) - base > np.log(settings.each_ratio))
        & (above_usual > np.log(settings.usual_ratio))
        & (mean(levels) - peak[: len(base)] > np.log(settings.peak_ratio))
        & (above_usual >= settings.usual_sigmas * mean(sigma))
    )
    return raised


def _end(above: Floats, lasts: int, settings: RunawaySettings, hour: int, step_s: int) -> int | None:
    """How many windows after its beginning a stretch is over; None while it lasts. In a hole it lasts."""
    half = max(1, hour // 2)
    last = settings.new_usual_s // step_s
    for at in range(lasts, min(len(above), last)):
        recent = above[max(0, at - half + 1) : at + 1]
        if np.isfinite(recent).any() and np.nanmean(recent) < np.log(settings.over_ratio):
            return at + 1
    return last if len(above) >= last else None


def _told(
    rates: Floats,
    expected: Floats,
    lasts: int,
    end: int | None,
    began_at: datetime,
    step_s: int,
) -> Runaway:
    stretch = slice(0, end)
    known = np.isfinite(rates[stretch])
    expected_rates = np.maximum(np.exp(expected[stretch]) - _QUIET_USD_PER_HOUR, 0.0)
    hours = step_s / _HOUR_S
    actual_usd, expected_usd = (float(one[known].sum()) * hours for one in (rates[stretch], expected_rates))
    last = int(np.flatnonzero(known)[-1])
    return Runaway(
        began_at=began_at,
        noticed_at=began_at + timedelta(seconds=lasts * step_s),
        ended_at=None if end is None else began_at + timedelta(seconds=end * step_s),
        rate_usd_per_hour=float(rates[last]),
        expected_usd_per_hour=float(expected_rates[last]),
        total_actual_spend_usd=actual_usd,
        total_expected_spend_usd=expected_usd,
        total_impact_usd=actual_usd - expected_usd,
        impact_ratio=(actual_usd - expected_usd) / expected_usd if expected_usd > 0 else None,
    )


def _mover(by: pl.DataFrame, began_at: datetime, now: datetime) -> Mover | None:
    names = [name for name in by.columns if name not in {"time", "usd_per_hour"}]
    if len(names) != 1:
        raise ValueError(f"spend by a dimension has the columns {by.columns}; expected time, usd_per_hour and one more")
    since = (pl.col("time") >= began_at) & (pl.col("time") < now)
    before = (pl.col("time") >= began_at - timedelta(hours=1)) & (pl.col("time") < began_at)
    windows = {name: by.filter(one)["time"].n_unique() for name, one in (("since", since), ("before", before))}
    rose = (
        by.filter(pl.col(names[0]).is_not_null())
        .group_by(names[0])
        .agg(
            *(
                (pl.col("usd_per_hour").filter(one).sum() / max(1, windows[name])).alias(name)
                for name, one in (("since", since), ("before", before))
            )
        )
        .with_columns((pl.col("since") - pl.col("before")).alias("rise"))
        .sort("rise", names[0], descending=[True, False])
    )
    if rose.is_empty() or rose["rise"][0] <= 0:
        return None
    return Mover(names[0], str(rose[names[0]][0]), float(rose["before"][0]), float(rose["since"][0]))


class Period(StrEnum):
    """For how long a budget is: a calendar month, or a week from Monday, in UTC."""

    MONTH = "month"
    WEEK = "week"


class BudgetState(StrEnum):
    """Where a budget stands: missed when more is spent already, at risk when more is forecast."""

    MET = "met"
    AT_RISK = "at_risk"
    MISSED = "missed"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Budget:
    """Dollars for a period, of one service or tenant where given.

    Raises:
        ValueError: for an amount that is not above 0.
    """

    name: str
    amount_usd: float
    period: Period = Period.MONTH
    service: str | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        if not self.amount_usd > 0:
            raise ValueError(f"budget {self.name} is of {self.amount_usd} dollars; expected more than 0")


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """Where a budget stands at a moment: `forecast` is of the whole period, None where there is no forecast.

    `spent_ratio` and `forecast_ratio` are of the amount, 0-1 and above. `known_hours` of the `hours` until now or until
    the forecast begins are in the sums; what the others cost is not known.
    """

    budget: Budget
    state: BudgetState
    start: datetime
    end: datetime
    spent_usd: float | None
    spent_ratio: float | None
    forecast: Total | None
    forecast_ratio: float | None
    known_hours: int | None = None
    hours: int | None = None


def budget_period(budget: Budget, now: datetime) -> tuple[datetime, datetime]:
    """Start and end of the period that `now` is in."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if budget.period is Period.WEEK:
        monday = midnight - timedelta(days=midnight.weekday())
        return monday, monday + timedelta(days=7)
    first = midnight.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def budget_status(budget: Budget, hourly: pl.DataFrame, forecast: Forecast | None, now: datetime) -> BudgetStatus:
    """Where a budget stands.

    Args:
        budget: what may be spent.
        hourly: columns time, cost_usd and, where the budget is of one, service or tenant; hours that are over.
        forecast: of the same spend, from the first hour that `hourly` lacks until the period ends or later; None where
            there is none: then only what is spent already counts.
        now: decides the period.

    Raises:
        ValueError: when the forecast ends before the period does, or `hourly` lacks the column of the filter.
    """
    start, end = budget_period(budget, now)
    known = hourly.filter(
        (pl.col("time") >= start) & (pl.col("time") < min(now, end)) & pl.col("cost_usd").is_not_null()
    )
    spend = _of_budget(budget, known)
    if spend.is_empty() and forecast is None:
        return BudgetStatus(budget, BudgetState.NO_DATA, start, end, None, None, None, None)
    spent_usd = float(spend["cost_usd"].sum())
    total, until_then = None, min(now, end)
    if forecast is not None:
        first = forecast.hours["time"][0]
        until_then = min(first, end)
        at_all_levels = dict.fromkeys(forecast.levels, spent_usd)
        total = Total(start, end, spent_usd, at_all_levels, at_all_levels)
        if first < end:
            rest = until(forecast, end, spent_usd)
            total = replace(rest, start=start, end=end)
    expected_usd = spent_usd if total is None else total.median_usd
    state = BudgetState.AT_RISK if expected_usd > budget.amount_usd else BudgetState.MET
    if spent_usd > budget.amount_usd:
        state = BudgetState.MISSED
    return BudgetStatus(
        budget,
        state,
        start,
        end,
        spent_usd,
        spent_usd / budget.amount_usd,
        total,
        None if total is None else total.median_usd / budget.amount_usd,
        known_hours=known["time"].dt.truncate("1h").n_unique(),
        hours=(until_then - start) // timedelta(hours=1),
    )


def _of_budget(budget: Budget, hourly: pl.DataFrame) -> pl.DataFrame:
    for name, value in (("service", budget.service), ("tenant", budget.tenant)):
        if value is None:
            continue
        _has_column(hourly.columns, name, budget)
        hourly = hourly.filter(pl.col(name) == value)
    return hourly


def _has_column(columns: Collection[str], name: str, budget: Budget) -> None:
    if name not in columns:
        raise ValueError(f"budget {budget.name} is of one {name}, but spend has only the columns {', '.join(columns)}")
