"""Service level objectives: a share of good requests, and the budget of bad ones it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from domain.incident import Indicator


class SloState(StrEnum):
    """The verdict on an objective; `no_data` is neither met nor missed."""

    MET = "met"
    AT_RISK = "at_risk"
    MISSED = "missed"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Calendar:
    """Windows that follow each other on the clock of a place, each `count` units long, from `starts_at` on.

    `unit` is d, w, M, Q or Y; `starts_at` is a time on that clock, without a zone. A month that has no such day ends on
    its last one.
    """

    count: int
    unit: Literal["d", "w", "M", "Q", "Y"]
    time_zone: str
    starts_at: datetime


@dataclass(frozen=True, slots=True)
class Slices:
    """Time counted in slices instead of requests: one is good when at least `target_ratio` of its requests are.

    Without a target each slice counts by its ratio of good requests (OpenSLO v1: Timeslices and RatioTimeslices). One
    without requests counts for nothing.
    """

    length_s: int
    target_ratio: float | None


@dataclass(frozen=True, slots=True)
class Objective:
    """`target_ratio` of the requests of `service` are good over `window_days`, or in the `calendar` window of now.

    A request is good when it did not fail and, for the indicators TTFT and LATENCY, when it took at
    most `threshold_ms`.
    """

    name: str
    service: str
    indicator: Indicator
    target_ratio: float
    window_days: int
    threshold_ms: float | None = None
    calendar: Calendar | None = None
    slices: Slices | None = None


@dataclass(frozen=True, slots=True)
class SloStatus:
    """Where an objective stands. Counts are events (or slices of time); None where there were none to count.

    `burn_rate` is the error ratio of the last hour over the error ratio that spends the budget
    exactly in the window (Site Reliability Workbook, chapter 5); `burn_rates` the same over several
    windows, by their names. `coverage_ratio` is the share of the window's hours that had requests.
    `exhausted_at` is when the budget will be spent if the last day goes on, None when it will not be
    within the window.
    """

    objective: Objective
    state: SloState
    good_count: float
    total_count: int
    sli_ratio: float | None
    budget_left_ratio: float | None
    burn_rate: float | None
    budget_left_history: tuple[float | None, ...]
    burn_rates: Mapping[str, float | None] = field(default_factory=dict)
    coverage_ratio: float = 0.0
    exhausted_at: datetime | None = None
