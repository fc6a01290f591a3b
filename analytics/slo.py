"""SLO arithmetic: events counted, divided last."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.slo_windows import calendar_window, period_window, periods_of, sla_month, slo_window
from domain.slo import (
    Counted,
    CreditExposure,
    Exclusion,
    Objective,
    Period,
    PeriodStatus,
    Sla,
    Slices,
    SloState,
    SloStatus,
)
from domain.window import Window

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
_HOUR_US = 3_600_000_000
_INSTANT = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def slo_status(
    objective: Objective, counts: pl.DataFrame, now: datetime, exclusions: Sequence[Exclusion] = ()
) -> SloStatus:
    """Where an objective stands at `now`.

    Args:
        objective: what was promised.
        counts: columns time, total, good: events by step over `slo_windows.judged_window`, ending at `now`.
        now: the end of the window.
        exclusions: of any objectives; those that concern this one leave out the steps that begin within them.
    """
    own, window = periods_of(objective)[0], slo_window(objective, now)
    left_out = excluded_windows(objective, exclusions)
    steps = _Steps.of(counts)
    judged = steps.without(left_out)
    events = judged.events(objective, window, now)
    counted = events.counted()
    with_excluded = steps.events(objective, window, now).counted() if left_out else counted
    rates = {name: events.burn_since(now - span) for name, span in BURN_WINDOWS.items()}
    excluded_s = overlap_s(left_out, window)
    own_status = PeriodStatus(own, events.state(rates["1h"]), counted, events.coverage(excluded_s))
    further = [
        _period_status(objective, period, judged, now, rates["1h"], left_out) for period in objective.more_periods
    ]
    left = counted.budget_left_ratio
    return SloStatus(
        objective=objective,
        state=worst_state([one.state for one in (own_status, *further)]),
        good_count=counted.good_count,
        total_count=counted.total_count,
        sli_ratio=counted.sli_ratio,
        budget_left_ratio=left,
        burn_rate=rates["1h"],
        budget_left_history=events.history(),
        burn_rates=rates,
        coverage_ratio=own_status.coverage_ratio,
        exhausted_at=None if left is None else _exhausted_at(objective, left, rates["1d"], now),
        periods=(own_status, *further),
        with_excluded=with_excluded,
        excluded_s=excluded_s,
        credit=None if objective.sla is None else _credit(objective.sla, judged, objective, now),
    )


def budget_history(
    objective: Objective, counts: pl.DataFrame, now: datetime, exclusions: Sequence[Exclusion] = (), points: int = 60
) -> tuple[float | None, ...]:
    """The budget left at the ends of so many equal steps through the objective's window, as `slo_status` measures it.

    Empty where nothing was counted; None before the first event.
    """
    steps = _Steps.of(counts).without(excluded_windows(objective, exclusions))
    return steps.events(objective, slo_window(objective, now), now).history(points)


def _period_status(
    objective: Objective,
    period: Period,
    steps: "_Steps",
    now: datetime,
    burn: float | None,
    left_out: Sequence[Window],
) -> PeriodStatus:
    window = period_window(period, now)
    events = steps.events(objective, window, now)
    return PeriodStatus(period, events.state(burn), events.counted(), events.coverage(overlap_s(left_out, window)))


_WORST_FIRST = (SloState.MISSED, SloState.AT_RISK, SloState.MET, SloState.NO_DATA)


def worst_state(states: Sequence[SloState]) -> SloState:
    """The worst of several periods; one that nothing is known of says nothing beside one that is known."""
    return min(states, key=_WORST_FIRST.index)


def excluded_windows(objective: Objective, exclusions: Sequence[Exclusion]) -> list[Window]:
    """The stretches that are left out of an objective, in order and without overlap."""
    merged: list[Window] = []
    for one in sorted(exclusions, key=lambda one: one.starts_at):
        if not one.concerns(objective):
            continue
        if merged and one.starts_at <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, one.ends_at))
        else:
            merged.append(Window(one.starts_at, one.ends_at))
    return merged


def without(counts: pl.DataFrame, windows: Sequence[Window]) -> pl.DataFrame:
    """The counts but for the steps that begin within these windows."""
    for window in windows:
        counts = counts.filter((pl.col("time") < window.start) | (pl.col("time") >= window.end))
    return counts


def overlap_s(windows: Sequence[Window], whole: Window) -> float:
    """How many seconds of a window lie in these, which do not overlap."""
    overlaps = (min(one.end, whole.end) - max(one.start, whole.start) for one in windows)
    return sum(max(0.0, overlap.total_seconds()) for overlap in overlaps)


def credit_exposure(sla: Sla, counts: pl.DataFrame, objective: Objective, now: datetime) -> CreditExposure:
    """What the SLA of an objective costs for the month of now.

    The credit is the fee times the ratio of the lowest tier that the ratio of good events fell below. For the forecast,
    the rest of the month brings good and bad events as fast as the last day did.

    Args:
        sla: the tiers and the fee.
        counts: columns time, total, good: events of the month so far, without what is excluded.
        objective: whose events they are.
        now: when.
    """
    return _credit(sla, _Steps.of(counts), objective, now)


def _credit(sla: Sla, steps: "_Steps", objective: Objective, now: datetime) -> CreditExposure:
    month = sla_month(sla, now)
    events = steps.events(objective, Window(month.start, max(now, month.start + _INSTANT)), now)
    counted = events.counted()
    day = max(month.start, now - timedelta(days=1))
    total, good = events.since(day)
    forecast = None
    if total and now > day:
        times = (month.end - now) / (now - day)
        forecast = (counted.good_count + good * times) / (counted.total_count + total * times)
    return CreditExposure(
        month.start, month.end, counted.sli_ratio, credit_usd(sla, counted.sli_ratio), forecast,
        credit_usd(sla, forecast),
    )  # fmt: skip


def credit_usd(sla: Sla, sli_ratio: float | None) -> float | None:
    """What is given back of a month with this ratio of good events; None where it is not known."""
    if sli_ratio is None:
        return None
    return sla.monthly_fee_usd * max((one.credit_ratio for one in sla.tiers if sli_ratio < one.below_ratio), default=0)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Counts in the order of time, with the sums of all steps before each one: (steps,) and (steps + 1,)."""

    times_us: NDArray[np.int64]
    total: NDArray[np.float64]
    good: NDArray[np.float64]
    total_sums: NDArray[np.float64]
    good_sums: NDArray[np.float64]

    @classmethod
    def of(cls, counts: pl.DataFrame) -> "_Steps":
        times_us = counts["time"].to_numpy().astype("datetime64[us]").view(np.int64)
        total, good = (counts[name].to_numpy().astype(np.float64) for name in ("total", "good"))
        if (times_us[1:] < times_us[:-1]).any():
            order = np.argsort(times_us, kind="stable")
            times_us, total, good = times_us[order], total[order], good[order]
        return cls(times_us, total, good, _sums(total), _sums(good))

    def without(self, windows: Sequence[Window]) -> "_Steps":
        """But for those that begin within these windows."""
        if not windows:
            return self
        keep = np.ones(len(self.times_us), dtype=np.bool_)
        for window in windows:
            start, end = np.searchsorted(self.times_us, [_us(window.start), _us(window.end)], side="left")
            keep[start:end] = False
        total, good = self.total[keep], self.good[keep]
        return _Steps(self.times_us[keep], total, good, _sums(total), _sums(good))

    def events(self, objective: Objective, window: Window, now: datetime) -> "_Events":
        """The events, or slices of time, of those that begin from the window's beginning on and before now."""
        start, end = np.searchsorted(self.times_us, [_us(window.start), _us(now)], side="left")
        times_us, total, good = self.times_us[start:end], self.total[start:end], self.good[start:end]
        if objective.slices is None:
            total_sums, good_sums = (sums[start : end + 1] - sums[start] for sums in (self.total_sums, self.good_sums))
            return _Events(objective, window, times_us, total_sums, good_sums)
        times = pl.from_epoch(pl.Series(times_us), "us")
        slices = sliced(pl.DataFrame({"time": times, "total": total, "good": good}), objective.slices)
        of_slices = _Steps.of(slices)
        return _Events(objective, window, of_slices.times_us, of_slices.total_sums, of_slices.good_sums)


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


@dataclass(frozen=True, slots=True)
class _Events:
    """Events of one window as sums from its beginning on: (steps + 1,), times in microseconds."""

    objective: Objective
    window: Window
    times_us: NDArray[np.int64]
    total: NDArray[np.float64]
    good: NDArray[np.float64]

    def since(self, moment: datetime) -> tuple[int, float]:
        """All and good events from a moment on."""
        place = int(np.searchsorted(self.times_us, _us(moment), side="left"))
        return round(self.total[-1] - self.total[place]), float(self.good[-1] - self.good[place])

    def counted(self) -> Counted:
        total, good = round(self.total[-1]), float(self.good[-1])
        if not total:
            return Counted(0, 0, None, None)
        return Counted(good, total, good / total, budget_left_ratio(self.objective, good, total))

    def burn_since(self, moment: datetime) -> float | None:
        total, good = self.since(moment)
        return burn_rate(self.objective, good, total) if total else None

    def state(self, burn: float | None) -> SloState:
        left = self.counted().budget_left_ratio
        return SloState.NO_DATA if left is None else _state(left, burn)

    def coverage(self, excluded_s: float) -> float:
        """The share of the window's hours, but for what is excluded, in which there were events, 0-1."""
        hours_of = self.times_us[self.total[1:] > self.total[:-1]] // _HOUR_US
        hours = np.count_nonzero(hours_of[1:] != hours_of[:-1]) + min(1, len(hours_of))
        return min(1.0, hours / max(1, round((self.window.seconds - excluded_s) / 3600)))

    def history(self, points: int = _HISTORY_POINTS) -> tuple[float | None, ...]:
        """The budget left at equal steps through the window, measured against the whole window's events."""
        if not self.total[-1]:
            return ()
        budget = (1.0 - self.objective.target_ratio) * self.total[-1]
        start, step = self.window.start, (self.window.end - self.window.start) / points
        marks = [_us(start + step * (number + 1)) for number in range(points)]
        places = np.searchsorted(self.times_us, marks, side="right")
        return tuple(
            None if place == 0 else float(1.0 - (self.total[place] - self.good[place]) / budget) for place in places
        )


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _INSTANT


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
