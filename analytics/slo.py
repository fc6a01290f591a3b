"""SLO arithmetic: events counted, divided last."""

import math
from datetime import datetime, timedelta

import polars as pl

from domain.slo import Objective, SloState, SloStatus

PAGE_BURN_RATE = 6.0  # the slower of the two paging rates (Site Reliability Workbook, table 5-8)

_BURN_WINDOW = timedelta(hours=1)
_HISTORY_POINTS = 60


def slo_status(objective: Objective, counts: pl.DataFrame, now: datetime) -> SloStatus:
    """Where an objective stands at `now`.

    Args:
        objective: what was promised.
        counts: columns time, total, good: events by step over the objective's window, ending at `now`.
        now: the end of the window.
    """
    start = now - timedelta(days=objective.window_days)
    inside = counts.filter((pl.col("time") >= start) & (pl.col("time") < now))
    total, good = int(inside["total"].sum()), int(inside["good"].sum())
    if total == 0:
        return SloStatus(objective, SloState.NO_DATA, 0, 0, None, None, None, ())
    left = budget_left_ratio(objective, good, total)
    recent = inside.filter(pl.col("time") >= now - _BURN_WINDOW)
    recent_total = int(recent["total"].sum())
    burn = burn_rate(objective, int(recent["good"].sum()), recent_total) if recent_total else None
    return SloStatus(
        objective=objective,
        state=_state(left, burn),
        good_count=good,
        total_count=total,
        sli_ratio=good / total,
        budget_left_ratio=left,
        burn_rate=burn,
        budget_left_history=_history(objective, inside, start, now, total),
    )


def budget_left_ratio(objective: Objective, good: int, total: int) -> float:
    """What is left of the error budget, as a share of it; negative when it is overspent.

    The budget is (1 - target) of the events of the window (Site Reliability Workbook, chapter 2).
    """
    return 1.0 - (total - good) / ((1.0 - objective.target_ratio) * total)


def burn_rate(objective: Objective, good: int, total: int) -> float:
    """How many times too fast the budget is spent: 1 spends it exactly in the window (ibid., chapter 5)."""
    return (total - good) / total / (1.0 - objective.target_ratio)


def rounded_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is not smaller; for a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(
        step * power for step in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if step * power >= value * (1 - 1e-9)
    )


def _state(left: float, burn: float | None) -> SloState:
    if left < 0:
        return SloState.MISSED
    return SloState.AT_RISK if left < 0.1 or (burn is not None and burn >= PAGE_BURN_RATE) else SloState.MET


def _history(
    objective: Objective, inside: pl.DataFrame, start: datetime, now: datetime, total: int
) -> tuple[float | None, ...]:
    """The budget left at equal steps through the window, measured against the whole window's events."""
    budget = (1.0 - objective.target_ratio) * total
    spent = inside.sort("time").select("time", (pl.col("total") - pl.col("good")).cum_sum().alias("bad"))
    step = (now - start) / _HISTORY_POINTS
    marks = pl.DataFrame({"time": [start + step * (i + 1) for i in range(_HISTORY_POINTS)]}).with_columns(
        pl.col("time").cast(spent.schema["time"])
    )
    joined = marks.join_asof(spent, on="time", strategy="backward", check_sortedness=False)
    return tuple(None if bad is None else 1.0 - bad / budget for bad in joined["bad"])
