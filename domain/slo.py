"""Service level objectives: a share of good requests, and the budget of bad ones it leaves."""

import math
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
class Selection:
    """Which of a service's requests count: those that have each of these values; None takes all.

    `node` is of GPUs alone, and may hold `*`.
    """

    model: str | None = None
    version: str | None = None
    tenant: str | None = None
    pool: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """A further time that an objective is judged over: the last `days`, or the `calendar` window of now."""

    days: int
    calendar: Calendar | None = None


@dataclass(frozen=True, slots=True)
class CreditTier:
    """Below this ratio of good events so much of the fee is given back, as a ratio."""

    below_ratio: float
    credit_ratio: float


@dataclass(frozen=True, slots=True)
class Sla:
    """What a contract gives back for a calendar month on the clock of `time_zone`; tiers from the strictest down."""

    monthly_fee_usd: float
    tiers: tuple[CreditTier, ...]
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Objective:
    """`target_ratio` of the events of `service` are good over `window_days`, or in the `calendar` window of now.

    What an event is, and when it is good (docs/slos.md has the details):

    - ERRORS: a request, which did not fail;
    - TTFT, LATENCY: a request, which did not fail and took at most `threshold_ms`;
    - TPOT: a request that wrote two tokens or more, each after the first in at most `threshold_ms`, without failing;
    - GOODPUT: a request, which did not fail, was within `threshold_ms` at its first token and within
      `tpot_threshold_ms` at each further one;
    - THROUGHPUT: a minute in which somebody asked, with at least `floor_per_s` predictions a second;
    - GPU_AVAILABILITY: a minute of an expected GPU, which told of itself and of no hardware fault;
    - DATA_FRESHNESS: a minute, at whose end the newest request (or sample) was at most `age_max_s` old.

    `file` is the one that the objective was read from at the start; None when it came another way.
    """

    name: str
    service: str
    indicator: Indicator
    target_ratio: float
    window_days: int
    threshold_ms: float | None = None
    calendar: Calendar | None = None
    slices: Slices | None = None
    tpot_threshold_ms: float | None = None
    floor_per_s: float | None = None
    age_max_s: float | None = None
    data: Literal["requests", "samples"] = "requests"
    selection: Selection = Selection()
    more_periods: tuple[Period, ...] = ()
    sla: Sla | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A stretch that is left out of the judgement of some objectives (none named: of all), with who said so and why.

    Minutes that begin within it do not count. Nobody is paged or ticketed of a budget meanwhile, unless `pages`.
    """

    id: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: str
    slos: tuple[str, ...] = ()
    pages: bool = False

    def concerns(self, objective: Objective) -> bool:
        """Is the objective among those named."""
        return not self.slos or objective.name in self.slos


@dataclass(frozen=True, slots=True)
class Counted:
    """Good and all events of a stretch, and what follows from them; None where there were none."""

    good_count: float
    total_count: int
    sli_ratio: float | None
    budget_left_ratio: float | None


@dataclass(frozen=True, slots=True)
class PeriodStatus:
    """Where an objective stands over one of its periods."""

    period: Period
    state: SloState
    counted: Counted
    coverage_ratio: float


@dataclass(frozen=True, slots=True)
class SloStatus:
    """Where an objective stands. Counts are events (or slices of time); None where there were none to count.

    `burn_rate` is the error ratio of the last hour over the error ratio that spends the budget
    exactly in the window (Site Reliability Workbook, chapter 5); `burn_rates` the same over several
    windows, by their names. `coverage_ratio` is the share of the window's hours that had requests.
    `exhausted_at` is when the budget will be spent if the last day goes on, None when it will not be
    within the window.

    Figures are of the objective's own window, and without what is excluded: `with_excluded` has them with it, and
    `excluded_s` is how long that is. `state` is the worst of those of `periods`: the own window, then the further ones.
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
    periods: tuple[PeriodStatus, ...] = ()
    with_excluded: Counted | None = None
    excluded_s: float = 0.0
    credit: "CreditExposure | None" = None


@dataclass(frozen=True, slots=True)
class CreditExposure:
    """What an SLA will cost for the month from `month_start` to `month_end`; None where nothing is known.

    `credit_usd` is due if the month ended now, `forecast_usd` if the last day goes on to its end.
    """

    month_start: datetime
    month_end: datetime
    sli_ratio: float | None
    credit_usd: float | None
    forecast_sli_ratio: float | None
    forecast_usd: float | None


def sli_percent(sli_ratio: float, target_ratio: float) -> str:
    """An SLI in per cent, without the sign, with more digits than its target needs; rounded down.

    >>> sli_percent(0.99499, 0.995), sli_percent(0.9989999, 0.999)  # neither reads as its target
    ('99.499', '99.899')
    """
    decimals = max(0, -math.floor(math.log10(max(1 - target_ratio, 1e-9) * 100))) + 2
    factor = 10.0**decimals
    return f"{math.floor(sli_ratio * 100 * factor + 1e-9) / factor:.{decimals}f}"
