"""Samples, one a step, some of them missing: the one before each step, and what a counter grew by since.

Matrices are (series, steps). NaN is "no sample" and "not known", and is never read as 0.
"""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]
"""(series, steps), NaN where there was no sample."""


def before(values: Matrix) -> Matrix:
    """The last sample before each step, NaN where there is none: (series, steps)."""
    return _at(values, _steps_before(values))


def growth(counters: Matrix) -> Matrix:
    """What counters grew by since their last sample, as `counter_rates`, but whatever the end of their fields."""
    return _growth(before(counters), counters, math.inf)


def counter_rates(counters: Matrix, step_s: int, fullest: float = 2.0**32 - 1) -> Matrix:
    """Growth per second of counters sampled once a step.

    A counter that falls was reset (or cleared by another tool): what it shows since is a lower bound of the growth.
    A counter stuck at the end of its field is saturated: its growth is unknown, not zero. Growth over a gap of missed
    samples is spread over the gap and told at its end.

    Args:
        counters: (series, steps), NaN where there was no sample.
        step_s: seconds a step.
        fullest: where the counter stops: all ones in its field (IBTA, PortCounters); infinity for one without an end.

    Returns:
        (series, steps) per second; NaN where unknown.
    """
    rates = np.full(counters.shape, np.nan)
    gapless = np.isfinite(counters).all(axis=1)  # most are, and need no search for the sample before
    whole, gappy = counters[gapless], counters[~gapless]
    if whole.size:
        rates[gapless, 1:] = _growth(whole[:, :-1], whole[:, 1:], fullest) / step_s
    if gappy.size:
        previous = _steps_before(gappy)
        elapsed_s = (np.arange(counters.shape[1]) - previous) * step_s
        rates[~gapless] = _growth(_at(gappy, previous), gappy, fullest) / elapsed_s
    return rates


def _steps_before(values: Matrix) -> NDArray[np.intp]:
    """The step of the last sample before each step, -1 where there is none: (series, steps)."""
    latest = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(values.shape[1]), -1), axis=1)
    return np.pad(latest[:, :-1], ((0, 0), (1, 0)), constant_values=-1)


def _at(values: Matrix, steps: NDArray[np.intp]) -> Matrix:
    """The samples of these steps, NaN for step -1: (series, steps)."""
    return np.where(steps >= 0, np.take_along_axis(values, np.maximum(steps, 0), axis=1), np.nan)


def _growth(earlier: Matrix, now: Matrix, fullest: float) -> Matrix:
    """What a counter grew by from one sample to the next; NaN where either is missing or it is stuck at its maximum."""
    grown = now - earlier
    grown = np.where(grown < 0, now, grown)
    grown[(now == fullest) & (earlier == fullest)] = np.nan
    return grown
