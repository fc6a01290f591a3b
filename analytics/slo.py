"""SLO arithmetic: events counted, divided last."""

import math
from datetime import datetime, timedelta

import polars as pl

from analytics.slo_windows import calendar_window, slo_window
from domain.slo import Objective, Slices, SloState, SloStatus

PAGE_BURN_RATE = 6.0  # the slower of the two paging rates (Site Reliability Workbook, table 5-8)

BURN_WINDOWS = {
    "5m": timedelta(minutes=5),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "2h": timedelta(hours=2),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
}
"""Over which time before now burn rates are told: the windows of the alerts."""
_HISTORY_POINTS = 60


def slo_status(objective: Objective, counts: pl.DataFrame, now: datetime) -> SloStatus:
    """Where an objective stands at `now`.

    Args:
        objective: what was promised.
        counts: columns time, total, good: events by step over the objective's window, ending at `now`.
        now: the end of the window.
    """
    start = slo_window(objective, now).start
    inside = sliced(counts.filter((pl.col("time") >= start) & (pl.col("time") < now)), objective.slices)
    total, good = int(inside["total"].sum()), float(inside["good"].sum())
    if total == 0:
        return SloStatus(objective, SloState.NO_DATA, 0, 0, None, None, None, (), dict.fromkeys(BURN_WINDOWS))
    left = budget_left_ratio(objective, good, total)
    rates = {name: _burn_over(objective, inside, now, span) for name, span in BURN_WINDOWS.items()}
    burn = rates["1h"]
    return SloStatus(
        objective=objective,
        state=_state(left, burn),
        good_count=good,
        total_count=total,
        sli_ratio=good / total,
        budget_left_ratio=left,
        burn_rate=burn,
        budget_left_history=_history(objective, inside, start, now, total),
        burn_rates=rates,
        coverage_ratio=_coverage(inside, start, now),
        exhausted_at=_exhausted_at(objective, left, rates["1d"], now),
    )


def sliced(counts: pl.DataFrame, slices: Slices | None) -> pl.DataFrame:
    """Good and all slices of time, one row a slice, in place of requests; the counts themselves without slices.

    Args:
        counts: columns time, total, good; steps of which each slice holds whole ones.
        slices: how long a slice is, and when it is good.
    """
    if slices is None:
        return counts
    by_slice = (
        counts.filter(pl.col("total") > 0)
        .group_by(pl.col("time").dt.truncate(f"{slices.length_s}s"), maintain_order=True)
        .agg(pl.col("good").sum() / pl.col("total").sum())
    )
    good = pl.col("good") if slices.target_ratio is None else (pl.col("good") >= slices.target_ratio).cast(pl.Float64)
    return by_slice.select("time", pl.lit(1, pl.Int64).alias("total"), good.alias("good"))


def _burn_over(objective: Objective, counts: pl.DataFrame, now: datetime, span: timedelta) -> float | None:
    recent = counts.filter(pl.col("time") >= now - span)
    total = int(recent["total"].sum())
    return burn_rate(objective, float(recent["good"].sum()), total) if total else None


def _coverage(counts: pl.DataFrame, start: datetime, now: datetime) -> float:
    """The share of the window's hours in which there were requests, 0-1."""
    hours = counts.filter(pl.col("total") > 0)["time"].dt.truncate("1h").n_unique()
    return min(1.0, hours / max(1, round((now - start) / timedelta(hours=1))))


def _exhausted_at(objective: Objective, left: float, burn: float | None, now: datetime) -> datetime | None:
    """When what is left is spent at this rate; None when it lasts as long as the window, or is spent already."""
    if burn is None or burn <= 0 or left <= 0:
        return None
    whole = timedelta(days=objective.window_days)
    lasts = whole * (left / burn)
    end = now + whole if objective.calendar is None else calendar_window(objective.calendar, now).end
    return now + lasts if now + lasts < end else None


def budget_left_ratio(objective: Objective, good: float, total: int) -> float:
    """What is left of the error budget, as a share of it; negative when it is overspent.

    The budget is (1 - target) of the events of the window (Site Reliability Workbook, chapter 2).
    """
    return 1.0 - (total - good) / ((1.0 - objective.target_ratio) * total)


def burn_rate(objective: Objective, good: float, total: int) -> float:
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
