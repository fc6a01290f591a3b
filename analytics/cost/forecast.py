"""What will be spent: an hourly forecast with intervals, chosen by a backtest that is shown.

The candidates (`analytics.cost.forecast_models`) forecast the last days of the history, each time from what was known
before (rolling origin: Tashman 2000); the median of all is kept, which one that errs does not drag along after a step,
or the one that is clearly better. Its errors there make the intervals: split conformal prediction (Papadopoulos et al.
2002), rolling. The score is the absolute error of the level over the last day's change from the day before (from the
week before, once known), so that restless days give wide intervals (Lei et al. 2018, section 5.2); scores are pooled
over near horizons. Those of one fold go together, so it is folds that count, not hours, and the fold to come is one
more: with k of them, a level a would be read at a (k + 1) / k to be safe in the worst case (hierarchical conformal
prediction: Lee, Barber and Willett 2023). A quarter of that step came nearest to nominal (`make bench-cost_forecast`).
The hours of a series are not exchangeable, so nothing guarantees a level: `Forecast.coverage` says what it was.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.cost.allocation import KNOWN_WHOLE_MIN
from analytics.cost.forecast_models import CANDIDATES, DAY, TRAIN_HOURS_MIN, WEEK, Floats, Model

HOURS_MIN = 72
"""With less history there is no forecast."""
KNOWN_MIN = 0.5
"""Nor where less than this share of its hours is known."""
FOLDS_MIN = 4
"""Of fewer tries there is no interval: the largest of four errors is the least that holds four times in five."""

_FOLDS_MAX = 14
_FOLD_STEP_HOURS = 12  # two folds a day: one begins in the morning, one in the evening
_FOLD_HOURS_MAX = WEEK
_POOL_HOURS = 12  # to either side of a horizon
_FOLD_TO_COME = 0.25  # see above
_BETTER_RATIO = 0.95  # one candidate must be better than the median of all by a twentieth
_OFFSET_RATIO = 0.05  # of mean spend: below it, levels are nearly linear, and an hour of nothing has one
_NOTHING_RATIO = 1e-6  # of mean spend: less is rounding, no error and no change


@dataclass(frozen=True, slots=True)
class NoForecast:
    """Why there is none, in a sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """Spend of the hours to come, and how well it would have been forecast before.

    Attributes:
        hours: time, median_usd, and lower_50_usd, upper_50_usd and so on for each level, one row an hour.
        levels: nominal coverage of the intervals, 0-1.
        model: what it is made with.
        chosen_because: why with that.
        errors_usd: each candidate's mean absolute error in the backtest, dollars an hour.
        mase: the same scaled: over the mean change from one day to the next, of the week once two are known (Hyndman
            and Koehler 2006); None where that is 0.
        coverage: the share of hours of the backtest within each level's interval, calibrated on the other folds.
        folds: the backtest of what won: origin, time, actual_usd (null where not known), median_usd, and bounds.
        paths: spend of each hour had the forecast erred as it did in each fold, dollars, (folds, hours). Their sums
            give the intervals of sums: the errors of neighbouring hours go together.
        history: what it rests on: columns time, cost_usd, one row an hour that is known.
        no_interval: why the bounds are not to be told: too few tries, or none that erred. None where they are.
    """

    hours: pl.DataFrame
    levels: tuple[float, ...]
    model: Model
    chosen_because: str
    errors_usd: dict[Model, float]
    mase: dict[Model, float | None]
    coverage: dict[float, float]
    folds: pl.DataFrame
    paths: Floats
    history: pl.DataFrame
    no_interval: str | None

    @property
    def tries(self) -> int:
        """How many forecasts the backtest is of."""
        return self.folds["origin"].n_unique()


@dataclass(frozen=True, slots=True)
class Total:
    """Spend of a whole period in dollars: what is spent and what is forecast; `lower` and `upper` by level.

    `no_interval` says why they are not to be told, as that of the forecast does.
    """

    start: datetime
    end: datetime
    median_usd: float
    lower_usd: dict[float, float]
    upper_usd: dict[float, float]
    no_interval: str | None = None


@dataclass(frozen=True, slots=True)
class Month:
    """The month (UTC) in which a forecast begins: what is known to be spent, and what is forecast of the rest.

    Attributes:
        start: of the month.
        end: of the month.
        spent_usd: of the hours that are known.
        known_hours: how many those are, of `hours` until the forecast begins. The others cost nobody knows what.
        hours: see `known_hours`.
        rest: from where the forecast begins to the month's end.
        whole: both together; None where too few hours are known for a sum of the month.
    """

    start: datetime
    end: datetime
    spent_usd: float
    known_hours: int
    hours: int
    rest: Total
    whole: Total | None

    @property
    def not_whole(self) -> str | None:
        """Why the month's end is not told; None where it is."""
        if self.whole is not None:
            return None
        return f"nothing is known of {self.hours - self.known_hours} of the {self.hours} hours before the forecast"


def forecast(
    hourly: pl.DataFrame, horizon_hours: int, levels: Sequence[float] = (0.5, 0.8, 0.95)
) -> Forecast | NoForecast:
    """Forecast the hours after the last that is known.

    Args:
        hourly: columns time, cost_usd: one row an hour that is over. An hour that is missing or null is not known;
            one of 0 dollars cost nothing.
        horizon_hours: how many hours, one or more.
        levels: nominal coverage of each interval, 0-1.

    Raises:
        ValueError: for a horizon below 1, a level outside 0-1, or spend below 0.
    """
    if horizon_hours < 1 or not all(0 < level < 1 for level in levels):
        raise ValueError(
            f"cannot forecast {horizon_hours} hours at levels {tuple(levels)}; "
            "expected 1 hour or more, and levels between 0 and 1"
        )
    known = hourly.filter(pl.col("cost_usd").is_not_null() & pl.col("cost_usd").is_not_nan())
    negative = known.filter(pl.col("cost_usd") < 0)
    if negative.height:
        cost_usd, time = negative["cost_usd"][0], negative["time"][0]
        raise ValueError(f"cannot forecast spend of {cost_usd} dollars in the hour {time}; expected 0 or more")
    by_hour = known.group_by(pl.col("time").dt.truncate("1h")).agg(pl.col("cost_usd").sum()).sort("time")
    if by_hour.height < HOURS_MIN:
        return NoForecast(f"{by_hour.height} hours of spend are known; a forecast needs {HOURS_MIN}")
    spend, start = _on_a_grid(by_hour)
    if by_hour.height < KNOWN_MIN * len(spend):
        return NoForecast(
            f"spend is known of {by_hour.height} of the last {len(spend)} hours; a forecast needs {KNOWN_MIN:.0%}"
        )
    return _forecast(by_hour, spend, start, horizon_hours, tuple(levels))


def daily_totals(forecast: Forecast) -> list[Total]:
    """The forecast by day (UTC); the first and the last may be part of one."""
    times = forecast.hours["time"]
    days = times.dt.truncate("1d")
    return [_total(forecast, (days == day).to_numpy(), 0.0) for day in days.unique(maintain_order=True)]


def month_end(forecast: Forecast, spent_so_far_usd: float) -> Total:
    """Spend of the month (UTC) in which the forecast begins.

    Args:
        forecast: of every hour until the month is over; see `hours_to_month_end`.
        spent_so_far_usd: since the month began until the forecast does.

    Raises:
        ValueError: when the forecast ends before the month does.
    """
    first = forecast.hours["time"][0]
    end = _next_month(first)
    total = until(forecast, end, spent_so_far_usd)
    return replace(total, start=first.replace(day=1, hour=0), end=end)


def month_of(forecast: Forecast) -> Month:
    """The month (UTC) in which the forecast begins, by the very hours that the forecast rests on.

    Args:
        forecast: of every hour until the month is over; see `hours_to_month_end`.

    Raises:
        ValueError: when the forecast ends before the month does.
    """
    begin: datetime = forecast.hours["time"][0]
    start = begin.replace(day=1, hour=0)
    known = forecast.history.filter(pl.col("time") >= start)
    spent_usd, hours = float(known["cost_usd"].sum()), (begin - start) // timedelta(hours=1)
    rest = until(forecast, _next_month(begin))
    whole = month_end(forecast, spent_usd) if known.height >= KNOWN_WHOLE_MIN * hours else None
    return Month(start, rest.end, spent_usd, known.height, hours, rest, whole)


def until(forecast: Forecast, end: datetime, spent_so_far_usd: float = 0.0) -> Total:
    """What is spent so far and until `end`, which is at the latest when the forecast ends.

    Raises:
        ValueError: when the forecast does not reach so far.
    """
    last = forecast.hours["time"][-1] + timedelta(hours=1)
    if last < end:
        raise ValueError(
            f"the forecast ends at {last:%Y-%m-%d %H:%M}, and {end:%Y-%m-%d %H:%M} was asked for: forecast more hours"
        )
    return _total(forecast, (forecast.hours["time"] < end).to_numpy(), spent_so_far_usd)


def hours_to_month_end(start: datetime) -> int:
    """Hours that a forecast from `start` needs to reach the end of its month, at least 1."""
    return max(1, math.ceil((_next_month(start) - start) / timedelta(hours=1)))


def _next_month(moment: datetime) -> datetime:
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def _on_a_grid(by_hour: pl.DataFrame) -> tuple[Floats, datetime]:
    """Spend of each hour from the first known to the last, NaN where not known."""
    start: datetime = by_hour["time"][0]
    seconds = by_hour["time"].dt.epoch("s").to_numpy()
    place = (seconds - seconds[0]) // 3600
    spend = np.full(int(place[-1]) + 1, np.nan)
    spend[place] = by_hour["cost_usd"].to_numpy()
    return spend, start


@dataclass(frozen=True, slots=True)
class _Scale:
    """Dollars to levels and back."""

    offset: float

    def levels(self, spend: Floats) -> Floats:
        levels: Floats = np.log(spend + self.offset)
        return levels

    def spend(self, levels: Floats) -> Floats:
        spend: Floats = np.maximum(np.exp(levels) - self.offset, 0.0)
        return spend


def _forecast(
    history: pl.DataFrame, spend: Floats, start: datetime, horizon: int, nominal: tuple[float, ...]
) -> Forecast:
    scale = _Scale(_OFFSET_RATIO * float(np.nanmean(spend)) or 1.0)
    levels = _filled(scale.levels(spend), start)
    first_hour = start.weekday() * DAY + start.hour
    fold_hours = min(horizon, _FOLD_HOURS_MAX, (len(levels) - TRAIN_HOURS_MIN) // 2)
    fold_hours = max(fold_hours, min(horizon, DAY))
    origins = _origins(len(levels), fold_hours)
    actual = np.stack([spend[origin : origin + fold_hours] for origin in origins])
    backtests = {
        model: np.stack([candidate(levels[:origin], fold_hours, first_hour) for origin in origins])
        for model, candidate in CANDIDATES.items()
    }
    backtests[Model.MEDIAN] = np.median(list(backtests.values()), axis=0)
    errors = {model: float(np.nanmean(np.abs(scale.spend(one) - actual))) for model, one in backtests.items()}
    nothing = _NOTHING_RATIO * float(np.nanmean(spend))
    model, because = _best(errors, nothing)
    season = _season(origins[0])  # the same for each fold, so that their scores compare
    restless = np.array([[_restlessness(levels[:origin], season)] for origin in origins])
    scores = (scale.levels(actual) - backtests[model]) / restless
    made_with = CANDIDATES.values() if model is Model.MEDIAN else [CANDIDATES[model]]
    middle: Floats = np.median([candidate(levels, horizon, first_hour) for candidate in made_with], axis=0)
    now = _restlessness(levels, season) * _growth(scores, horizon)
    half = {level: _half_widths(scores, level, horizon) * now for level in nominal}
    held_out = {level: wide * restless for level, wide in _held_out(scores, nominal).items()}
    change = float(np.nanmean(np.abs(spend[_season(len(spend)) :] - spend[: -_season(len(spend))])))
    folds = [
        _bounds_frame(start + timedelta(hours=int(origin)), scale, backtests[model][index], bounds).select(
            pl.col("time").first().alias("origin"),
            "time",
            pl.Series("actual_usd", actual[index]).fill_nan(None),
            pl.exclude("time"),
        )
        for index, origin in enumerate(origins)
        for bounds in [{level: wide[index] for level, wide in held_out.items()}]
    ]
    known = ~np.isnan(scores)
    return Forecast(
        hours=_bounds_frame(start + timedelta(hours=len(levels)), scale, middle, half),
        levels=nominal,
        model=model,
        chosen_because=because,
        errors_usd=errors,
        mase={name: error / change if change > nothing else None for name, error in errors.items()},
        coverage={
            level: float(np.mean((np.abs(scores * restless) <= wide + 1e-9)[known])) for level, wide in held_out.items()
        },
        folds=pl.concat(folds),
        paths=scale.spend(middle + _extended(scores, horizon) * now),
        history=history,
        no_interval=_no_interval(len(origins), has_erred=errors[model] > nothing),
    )


def _filled(levels: Floats, start: datetime) -> Floats:
    """Holes filled over the median of their hour of the day, with what lies between their edges."""
    hour = (start.hour + np.arange(len(levels))) % DAY
    known = ~np.isnan(levels)
    usual = np.array(
        [
            np.median(levels[known & (hour == one)]) if (known & (hour == one)).any() else np.median(levels[known])
            for one in range(DAY)
        ]
    )[hour]
    places = np.arange(len(levels))
    filled: Floats = usual + np.interp(places, places[known], (levels - usual)[known])
    return filled


def _origins(size: int, fold_hours: int) -> NDArray[np.int64]:
    """Where the folds begin, oldest first: each is whole, and has enough before it to learn from."""
    last = size - fold_hours
    spread = (last - 2 * WEEK) // (_FOLDS_MAX - 1)  # so far that each has two weeks before it
    step = max(_FOLD_STEP_HOURS, fold_hours // 6, min(spread, 3 * _FOLD_STEP_HOURS))
    return np.arange(last, TRAIN_HOURS_MIN - 1, -step)[:_FOLDS_MAX][::-1]


def _best(errors: dict[Model, float], nothing: float) -> tuple[Model, str]:
    """The median of all, unless one is clearly better: the best of a short past is often the luckiest. And why."""
    if max(errors.values()) <= nothing:
        return Model.MEDIAN, "all alike: none erred by a cent in the backtest"
    best = min(errors, key=errors.__getitem__)
    if best is not Model.MEDIAN and errors[best] <= _BETTER_RATIO * errors[Model.MEDIAN]:
        return best, "clearly the least error in the backtest"
    return Model.MEDIAN, "no single one was clearly better in the backtest"


def _no_interval(folds: int, *, has_erred: bool) -> str | None:
    """Why there is no interval to tell."""
    if folds < FOLDS_MIN:
        return f"the past is long enough to try the forecast {folds} times; an interval needs {FOLDS_MIN}"
    if not has_erred:
        return "spend went on as before each time the forecast was tried: no error to make one of"
    return None


def _season(hours: int) -> int:
    """After which it repeats, hours: a week once two are known, before that a day."""
    return WEEK if hours >= 2 * WEEK else DAY


def _restlessness(levels: Floats, season: int) -> float:
    """The last day's mean change from a season before, in levels; at least a quarter of what is usual, 1 for none."""
    changes = np.abs(levels[season:] - levels[:-season])
    return max(float(changes[-DAY:].mean()), 0.25 * float(changes.mean())) or 1.0


def _half_widths(scores: Floats, level: float, horizon: int) -> Floats:
    """Half the interval at each horizon, (horizon,), in the unit of the scores, (folds, hours); then as at the end."""
    sizes = np.abs(scores)
    folds, reach = sizes.shape
    widths = [
        _conformal(sizes[:, max(0, at - _POOL_HOURS) : at + _POOL_HOURS + 1], level, folds)
        for at in range(min(reach, horizon))
    ]
    return np.array(widths + [widths[-1]] * (horizon - len(widths)))


def _conformal(sizes: Floats, level: float, folds: int) -> float:
    """The quantile of scores that come in folds; the largest where there is none so far up, 0 where none is known."""
    known = np.sort(sizes[~np.isnan(sizes)])
    if len(known) == 0:
        return 0.0
    rank = math.ceil(len(known) * level * (folds + _FOLD_TO_COME) / folds - 1e-9)
    return float(known[min(len(known), rank) - 1])


def _held_out(scores: Floats, nominal: tuple[float, ...]) -> dict[float, Floats]:
    """Half widths of each fold, calibrated on the others, (folds, hours); of a single fold, on itself."""
    folds, reach = scores.shape
    others = [np.delete(scores, fold, axis=0) if folds > 1 else scores for fold in range(folds)]
    return {level: np.stack([_half_widths(one, level, reach) for one in others]) for level in nominal}


def _growth(scores: Floats, horizon: int) -> Floats:
    """How much wider than at the folds' end the intervals are at each horizon, (horizon,): 1 within the folds.

    The errors of the folds' later half over those of the earlier say how fast they grow; at most as a random walk's,
    with the square root of time, which is also taken where folds are too short to say.
    """
    reach = scores.shape[1]
    beyond = np.maximum(np.arange(1, horizon + 1) / reach, 1.0)
    early, late = (float(np.nanmean(np.abs(half))) for half in (scores[:, : reach // 2], scores[:, reach // 2 :]))
    is_told = reach >= 2 * DAY and early > 0 and late > 0
    exponent = math.log(late / early, 3) if is_told else 0.5  # the halves' middles are 1/4 and 3/4 of the way: 3 times
    growth: Floats = beyond ** min(0.5, max(0.0, exponent))
    return growth


def _extended(scores: Floats, horizon: int) -> Floats:
    """Each fold's scores over the horizon, (folds, horizon): holes as the hour before, the rest the last day again."""
    paths = scores.copy()
    for at in range(paths.shape[1]):
        missing = np.isnan(paths[:, at])
        paths[missing, at] = paths[missing, at - 1] if at else 0.0
    last_day = paths[:, -DAY:]
    repeats = math.ceil(max(0, horizon - paths.shape[1]) / last_day.shape[1])
    return np.concatenate([paths, np.tile(last_day, (1, repeats))], axis=1)[:, :horizon]


def _bounds_frame(start: datetime, scale: _Scale, middle: Floats, half: dict[float, Floats]) -> pl.DataFrame:
    columns = {"median_usd": scale.spend(middle)}
    for level, wide in half.items():
        columns[f"lower_{level * 100:g}_usd"] = scale.spend(middle - wide)
        columns[f"upper_{level * 100:g}_usd"] = scale.spend(middle + wide)
    times = pl.datetime_range(start, start + timedelta(hours=len(middle) - 1), "1h", time_unit="us", eager=True)
    return pl.DataFrame({"time": times, **columns})


def _total(forecast: Forecast, inside: NDArray[np.bool_], spent_usd: float) -> Total:
    """The sum of the hours inside, with the conformal interval of the folds' sums, as ratios to the median's sum."""
    times = forecast.hours["time"].filter(pl.Series(inside))
    middle = float(forecast.hours["median_usd"].to_numpy()[inside].sum())
    sums = forecast.paths[:, inside].sum(axis=1)
    floor = 1e-12 + 1e-3 * middle
    ratios = np.abs(np.log((sums + floor) / (middle + floor)))
    half = {level: _conformal(ratios, level, len(ratios)) for level in forecast.levels}
    return Total(
        times[0],
        times[-1] + timedelta(hours=1),
        spent_usd + middle,
        {level: spent_usd + middle * math.exp(-wide) for level, wide in half.items()},
        {level: spent_usd + middle * math.exp(wide) for level, wide in half.items()},
        forecast.no_interval,
    )
