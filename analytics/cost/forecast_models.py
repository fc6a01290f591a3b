"""What spend is forecast with: seasonal naive, exponential smoothing, gradient-boosted trees, and the median of all.

Each takes the levels of the hours so far, without a hole, and gives those of the hours to come. A level is the
logarithm of spend and a small offset (`analytics.cost.forecast`): what moves spend multiplies it.
"""

import warnings
from collections.abc import Callable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

DAY, WEEK = 24, 168
"""Hours."""
TRAIN_HOURS_MIN = 48
"""No candidate is fitted to less."""

_PROFILE_DAYS = 14  # the shape of the day is that of the last two weeks
_WEEKS_FOR_PROFILE = 3  # with fewer, the shape of a week is one week's accidents
_LEARN_HOURS = 8 * WEEK
_ORIGINS_MAX = 120  # of the trees' examples; more took longer and were no better
_EXAMPLE_HORIZONS_MAX = 48
_REACH_HOURS = 24.0  # within which the last hours' level runs out into that of the last days

Floats = NDArray[np.float64]


class Model(StrEnum):
    """What a forecast is made with; `MEDIAN` is the median of what all others say of each hour."""

    SEASONAL_NAIVE = "seasonal_naive"
    ETS = "ets"
    GRADIENT_BOOSTED = "gradient_boosted"
    MEDIAN = "median"


def seasonal_naive(levels: Floats, horizon: int, first_hour: int) -> Floats:
    """The last week again; the last day while less than two weeks are known. `first_hour` is not needed."""
    del first_hour
    season = WEEK if len(levels) >= 2 * WEEK else DAY
    again: Floats = np.resize(levels[-season:], horizon)
    return again


def ets(levels: Floats, horizon: int, first_hour: int) -> Floats:
    """Exponential smoothing with a damped trend of what the shape of the day, or week, leaves (Gardner 1985).

    Smoothing is held slow: fitted to the next hour, as the library does it, it would follow each hour's whim, which
    loses over a day (on ServeGen's three fortnights 0.92-1.19 of the naive error free, 0.77-1.00 held).
    """
    from statsmodels.tools.sm_exceptions import ConvergenceWarning  # noqa: PLC0415  # two seconds of import
    from statsmodels.tsa.holtwinters import ExponentialSmoothing  # noqa: PLC0415  # the same

    del first_hour
    shape = _shape(levels)
    rest = levels - shape[np.arange(-len(levels), 0) % len(shape)]
    ahead: Floats = np.resize(shape, horizon)
    if np.ptp(rest) < 1e-9:
        ahead += rest[-1]
        return ahead
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the best found is still held against the others
        warnings.simplefilter("ignore", RuntimeWarning)
        fitted = ExponentialSmoothing(
            rest,
            trend="add",
            damped_trend=True,
            initialization_method="heuristic",
            bounds={"smoothing_level": (1e-4, 0.1), "smoothing_trend": (1e-5, 0.01)},
        ).fit()
    return ahead + np.asarray(fitted.forecast(horizon), dtype=np.float64)


def gradient_boosted(levels: Floats, horizon: int, first_hour: int) -> Floats:
    """Boosted trees on hour of day and week, lags and running means, over the day's shape and a level that runs out.

    Direct: each example is a past hour at which a forecast could have been made and an hour after it, so nothing that
    was forecast is fed back (Ben Taieb et al. 2012).

    Args:
        levels: of the hours so far.
        horizon: hours to forecast.
        first_hour: hour of the week of the first level, Monday 00:00 UTC is 0.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415  # a second of import

    known = levels[-_LEARN_HOURS:]
    first_hour += len(levels) - len(known)
    origins = np.unique(np.linspace(TRAIN_HOURS_MIN, len(known) - 3, _ORIGINS_MAX).astype(int))
    features, targets = [], []
    for origin in origins:
        reach = min(horizon, len(known) - origin)
        ahead = np.unique(np.linspace(1, reach, min(reach, _EXAMPLE_HORIZONS_MAX)).astype(int))
        rows, base = _features(known[:origin], ahead, first_hour)
        features.append(rows)
        targets.append(known[origin + ahead - 1] - base)
    table = np.concatenate(features)
    useful = ~np.isnan(table).all(axis=0)  # a week's lag, within the first week
    trees = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=40,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    rows, base = _features(known, np.arange(1, horizon + 1), first_hour)
    with threadpool_limits(
        limits=1, user_api="openmp"
    ):  # so few rows: threads that wait for a core cost ten times more
        trees.fit(table[:, useful], np.concatenate(targets))
        forecast: Floats = trees.predict(rows[:, useful]) + base
    return forecast


CANDIDATES: dict[Model, Callable[[Floats, int, int], Floats]] = {
    Model.SEASONAL_NAIVE: seasonal_naive,
    Model.ETS: ets,
    Model.GRADIENT_BOOSTED: gradient_boosted,
}
"""Levels so far, hours to forecast, hour of the week of the first level; to levels."""


def _features(known: Floats, ahead: NDArray[np.int64], first_hour: int) -> tuple[Floats, Floats]:
    """What is known at the end of `known` of the hours so far ahead of it, and the plain forecast that it corrects."""
    shape = _day_shape(known)
    rest = known[-DAY:] - shape
    lately, days, whole = rest[-6:].mean(), known[-3 * DAY :].mean(), known.mean()
    of_day = shape[(ahead - 1) % DAY]
    base = of_day + days + (lately - days) * np.exp(-ahead / _REACH_HOURS)
    week_ago = known[-WEEK:][(ahead - 1) % WEEK] - days - of_day if len(known) >= WEEK else np.full(len(ahead), np.nan)
    hour = first_hour + len(known) + ahead - 1
    constant = [rest[-1] - days, lately - days, known[-DAY:].mean() - days, whole - days]
    columns = [
        ahead,
        hour % DAY,
        hour % WEEK,
        rest[(ahead - 1) % DAY] - days,
        week_ago,
        *(np.full(len(ahead), value) for value in constant),
        of_day,
    ]
    return np.stack(columns, axis=1).astype(np.float64), base


def _day_shape(levels: Floats) -> Floats:
    """Each hour's mean deviation from its day's mean, (24,), of days that end with the last level."""
    days = min(_PROFILE_DAYS, len(levels) // DAY)
    by_day = levels[len(levels) - days * DAY :].reshape(days, DAY)
    shape: Floats = (by_day - by_day.mean(axis=1, keepdims=True)).mean(axis=0)
    return shape


def _shape(levels: Floats) -> Floats:
    """The shape of the week, (168,), where three are known; of the day, (24,), before."""
    weeks = min(8, len(levels) // WEEK)
    if weeks < _WEEKS_FOR_PROFILE:
        return _day_shape(levels)
    by_week = levels[len(levels) - weeks * WEEK :].reshape(weeks, WEEK)
    shape: Floats = (by_week - by_week.mean(axis=1, keepdims=True)).mean(axis=0)
    return shape
