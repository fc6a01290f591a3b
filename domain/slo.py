"""Service level objectives: a share of good requests, and the budget of bad ones it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.incident import Indicator


class SloState(StrEnum):
    """The verdict on an objective; `no_data` is neither met nor missed."""

    MET = "met"
    AT_RISK = "at_risk"
    MISSED = "missed"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Objective:
    """`target_ratio` of the requests of `service` are good over `window_days`.

    A request is good when it did not fail and, for the indicators TTFT and LATENCY, when it took at
    most `threshold_ms`.
    """

    name: str
    service: str
    indicator: Indicator
    target_ratio: float
    window_days: int
    threshold_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SloStatus:
    """Where an objective stands. Counts are events; None where there were none to count.

    `burn_rate` is the error ratio of the last hour over the error ratio that spends the budget
    exactly in the window (Site Reliability Workbook, chapter 5); `burn_rates` the same over several
    windows, by their names. `coverage_ratio` is the share of the window's hours that had requests.
    `exhausted_at` is when the budget will be spent if the last day goes on, None when it will not be
    within the window.
    """

    objective: Objective
    state: SloState
    good_count: int
    total_count: int
    sli_ratio: float | None
    budget_left_ratio: float | None
    burn_rate: float | None
    budget_left_history: tuple[float | None, ...]
    burn_rates: Mapping[str, float | None] = field(default_factory=dict)
    coverage_ratio: float = 0.0
    exhausted_at: datetime | None = None
