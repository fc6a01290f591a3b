"""Burn rates: when an error budget goes so fast that somebody must be told.

Multi-window, multi-burn-rate alerting (Site Reliability Workbook, chapter 5, table 5-8): both a long and a short window
must burn faster than a rate; the short one makes the alert stop soon after the trouble does. On top of it, a guard for
few requests: what chance brings is no alert. One function says it for a live look, a replay and a backtest alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.slo import excluded_windows, sliced, without
from domain.incident import Severity
from domain.slo import Exclusion, Objective
from domain.window import Window

STEP_S = 60
"""Counts are looked at by the minute, as rules are evaluated."""

_PERIOD_S = 30 * 86_400  # of the table in the workbook
_SLICES = 12  # of the long window, for coverage: each as long as the short one

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BurnWindows:
    """A pair of windows: `budget_share` of the budget spent within the long one is worth this severity."""

    severity: Severity
    long_s: int
    short_s: int
    budget_share: float

    def rate(self, objective: Objective) -> float:
        """The burn rate that spends that share within the long window, for the objective's period."""
        return self.budget_share * objective.window_days * 86_400 / self.long_s


WINDOWS: tuple[BurnWindows, ...] = (
    BurnWindows(Severity.PAGE, 3_600, 300, 0.02),
    BurnWindows(Severity.PAGE, 6 * 3_600, 1_800, 0.05),
    BurnWindows(Severity.TICKET, 86_400, 7_200, 0.10),
    BurnWindows(Severity.TICKET, 3 * 86_400, 6 * 3_600, 0.10),
)
"""Over 30 days: 14.4 x 1 h/5 min, 6 x 6 h/30 min, 3 x 1 d/2 h, 1 x 3 d/6 h."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What keeps few requests from waking anyone; on by default.

    The lower Wilson bound at `z` of the long window's error ratio (Wilson 1927) must lie above the geometric mean of
    the budget and the alert's own rate: so many failures are no chance while the objective is met. (Held against the
    rate itself, the bound would delay the slow pairs by minutes at any traffic.) At least `failures_min` must have
    failed, and at least `coverage_min` of the long window must hold requests.
    """

    z: float = 2.58
    failures_min: int = 3
    coverage_min: float = 0.5


@dataclass(frozen=True, slots=True)
class BurnSettings:
    """The pairs of windows, and the guard; None switches it off."""

    windows: tuple[BurnWindows, ...] = WINDOWS
    guard: Guard | None = field(default_factory=Guard)


@dataclass(frozen=True, slots=True)
class BurnAlert:
    """One stretch in which an objective burnt too fast. `ended_at` is None while it still does.

    `windows` is the pair that fired first, `burn_rate` that of its long window when it did.
    """

    objective: Objective
    severity: Literal[Severity.PAGE, Severity.TICKET]
    windows: BurnWindows
    burn_rate: float
    started_at: datetime
    ended_at: datetime | None


def burn_alerts(
    objective: Objective,
    counts: pl.DataFrame,
    until: datetime,
    settings: BurnSettings | None = None,
    exclusions: Sequence[Exclusion] = (),
) -> list[BurnAlert]:
    """Every stretch of too fast a burn in these counts, pages and tickets, by beginning.

    Causal: what is said of a minute depends on the counts before it alone. A minute without a row had no requests: the
    first failures of a series that was not there before count.

    Args:
        objective: what was promised.
        counts: columns time, total, good, one row a minute (`STEP_S`) or fewer.
        until: the end of the look; minutes that are not over by then are left out.
        settings: the windows and the guard; the defaults unless given.
        exclusions: of any objectives; what begins within one that concerns this one does not count, and no alert is up
            meanwhile, unless it says that it pages all the same.
    """
    settings = settings or BurnSettings()
    quiet = excluded_windows(objective, [one for one in exclusions if not one.pages])
    if counts.is_empty():
        return []
    if objective.slices is not None:
        counts = sliced(without(counts, quiet), objective.slices)
        if counts.is_empty():
            return []
    first, bad, total = _by_minute(counts, until)
    is_quiet = _held_quiet(quiet, first, len(total))
    if objective.slices is None:  # a slice that is quiet in part has lost that part above
        bad[is_quiet] = total[is_quiet] = 0.0
    sums = _Sums(*(np.concatenate([[0.0], np.cumsum(one)]) for one in (bad, total)))
    found: list[BurnAlert] = []
    for severity in (Severity.PAGE, Severity.TICKET):
        pairs = [
            one for one in settings.windows if one.severity is severity and one.rate(objective) * _budget(objective) < 1
        ]
        if not pairs:
            continue
        raised = np.stack([_raised(sums, pair, objective, settings.guard) for pair in pairs])
        raised[:, is_quiet] = False
        for start, end in _stretches(np.logical_or.reduce(raised)):
            pair = pairs[int(raised[:, start].argmax())]
            found.append(
                BurnAlert(
                    objective,
                    severity,
                    pair,
                    burn_rate=float(sums.ratio(pair.long_s)[start] / _budget(objective)),
                    started_at=first + timedelta(seconds=(start + 1) * STEP_S),  # known when its minute is over
                    ended_at=None if end == len(total) else first + timedelta(seconds=(end + 1) * STEP_S),
                )
            )
    return sorted(found, key=lambda alert: (alert.started_at, alert.severity))


def never_pages(objective: Objective) -> str | None:
    """Why no burn rate of this objective can ever page, in a sentence; None when one can.

    While every request fails, the budget burns at 1 / budget; a pair of windows whose rate is not below that is out of
    reach.
    """
    if minutes_to_page(objective, 1.0) < math.inf:
        return None
    needed = min(pair.rate(objective) for pair in WINDOWS if pair.severity is Severity.PAGE)
    promised = f"{objective.target_ratio * 100:.6g} % over {objective.window_days} days"
    return (
        f"{objective.name} ({promised}) can never page: a total outage burns {1 / _budget(objective):.3g} times too "
        f"fast, a page needs {needed:.3g}; raise the target or shorten the window"
    )


def burn_rates(
    objective: Objective, counts: pl.DataFrame, until: datetime, windows_s: Sequence[int]
) -> list[float | None]:
    """The burn rate over each of these windows that end at `until`; None where there were no requests."""
    found: list[float | None] = []
    for window_s in windows_s:
        inside = counts.filter((pl.col("time") >= until - timedelta(seconds=window_s)) & (pl.col("time") < until))
        total, good = int(inside["total"].sum()), int(inside["good"].sum())
        found.append((total - good) / total / _budget(objective) if total else None)
    return found


def burn_rate_course(
    objective: Objective,
    counts: pl.DataFrame,
    window: Window,
    spans_s: Sequence[int],
    step_s: int,
    exclusions: Sequence[Exclusion] = (),
) -> pl.DataFrame:
    """How the burn rate over each of these spans went: the highest of each step, so that no peak is lost.

    Args:
        objective: what was promised.
        counts: columns time, total, good by the minute; what the longest span needs before the window is to be there.
        window: what is told of.
        spans_s: whole minutes; each looks back so long.
        step_s: whole minutes.
        exclusions: of any objectives; what `burn_alerts` leaves out is left out here.

    Returns:
        Columns time (the beginning of a step) and one named after each span, null where it had no events.
    """
    quiet = excluded_windows(objective, [one for one in exclusions if not one.pages])
    counts = sliced(without(counts, quiet), objective.slices)
    schema = {"time": pl.Datetime("us", "UTC"), **{str(span): pl.Float64() for span in spans_s}}
    if counts.is_empty():
        return pl.DataFrame(schema=schema)
    first, bad, total = _by_minute(counts, window.end)
    sums = _Sums(*(np.concatenate([[0.0], np.cumsum(one)]) for one in (bad, total)))
    courses = {}
    for span in spans_s:
        events = _within(sums.total, span)
        courses[str(span)] = np.where(events > 0, sums.ratio(span) / _budget(objective), np.nan)
    times = pl.Series("time", [first], dtype=schema["time"]).dt.epoch("us") + pl.Series(
        np.arange(len(total)) * STEP_S * 1_000_000
    )
    frame = pl.DataFrame({"time": times.cast(schema["time"]), **courses}).fill_nan(None)
    inside = frame.filter(pl.col("time").is_between(window.start, window.end, closed="left"))
    by_step = pl.col("time").dt.truncate(f"{step_s}s")
    return inside.group_by(by_step, maintain_order=True).agg(pl.exclude("time").max()).select(*schema)


def _held_quiet(quiet: Sequence[Window], first: datetime, size: int) -> NDArray[np.bool_]:
    """The minutes that begin within these windows, (minutes,)."""
    held = np.zeros(size, dtype=np.bool_)
    for window in quiet:
        start, end = (math.ceil((moment - first).total_seconds() / STEP_S) for moment in (window.start, window.end))
        held[max(0, start) : max(0, end)] = True
    return held


def _budget(objective: Objective) -> float:
    return 1.0 - objective.target_ratio


def _by_minute(counts: pl.DataFrame, until: datetime) -> tuple[datetime, Floats, Floats]:
    """When the first minute begins, and the bad and all requests of each minute up to `until`."""
    end_s = int(until.timestamp()) // STEP_S
    minutes = counts["time"].to_numpy().astype("datetime64[s]").view(np.int64) // STEP_S
    first = int(minutes.min())
    size = max(1, end_s - first)
    inside = minutes < end_s
    place = (minutes - first)[inside]
    total, good = (counts[name].to_numpy().astype(float)[inside] for name in ("total", "good"))
    all_bad, all_total = (np.bincount(place, values, size).astype(np.float64) for values in (total - good, total))
    return datetime.fromtimestamp(first * STEP_S, until.tzinfo), all_bad, all_total


@dataclass(frozen=True, slots=True)
class _Sums:
    """The bad and all requests of all minutes before each one, and of all: (minutes + 1,)."""

    bad: Floats
    total: Floats

    def ratio(self, seconds: int) -> Floats:
        """The error ratio of each minute and those before it within so many seconds; 0 without requests, (minutes,)."""
        bad, total = _within(self.bad, seconds), _within(self.total, seconds)
        return np.divide(bad, total, out=np.zeros_like(bad), where=total > 0)


def _within(sums: Floats, seconds: int) -> Floats:
    """The sum of each minute and those before it within so many seconds, (minutes,)."""
    steps = max(1, seconds // STEP_S)
    summed = sums[1:].copy()
    summed[steps:] -= sums[1:-steps]
    return summed


def _raised(sums: _Sums, pair: BurnWindows, objective: Objective, guard: Guard | None) -> NDArray[np.bool_]:
    limit = pair.rate(objective) * _budget(objective)
    raised: NDArray[np.bool_] = sums.ratio(pair.long_s) > limit
    if not raised.any():  # as most of the time; the rest takes a while
        return raised
    raised &= sums.ratio(pair.short_s) > limit
    if guard is not None and raised.any():
        failures, requests = _within(sums.bad, pair.long_s), _within(sums.total, pair.long_s)
        raised &= failures >= guard.failures_min
        raised &= wilson_lower(failures, requests, guard.z) > math.sqrt(limit * _budget(objective))
        raised &= _coverage(sums.total, pair.long_s) >= guard.coverage_min
    return raised


def _coverage(total_sums: Floats, seconds: int) -> Floats:
    """The share of the twelfths of the window before each minute that hold requests; before the first, none do."""
    slice_s = max(STEP_S, seconds // _SLICES)
    steps = slice_s // STEP_S
    has_any = (_within(total_sums, slice_s) > 0).astype(float)
    covered = np.zeros_like(has_any)
    for behind in range(0, min(_SLICES * steps, len(covered)), steps):
        covered[behind:] += has_any[: len(covered) - behind]
    return covered / _SLICES


def wilson_lower(failures: Floats, requests: Floats, z: float) -> Floats:
    """The lower Wilson bound of a ratio, (n,); 0 where there are no requests (Wilson 1927)."""
    n = np.maximum(requests, 1.0)
    ratio = failures / n
    middle = ratio + z * z / (2 * n)
    half = z * np.sqrt(ratio * (1 - ratio) / n + z * z / (4 * n * n))
    lower: Floats = np.where(requests > 0, (middle - half) / (1 + z * z / n), 0.0)
    return lower


def _stretches(raised: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Beginnings and ends (exclusive) of the runs of True."""
    edges = np.diff(np.concatenate([[False], raised, [False]]).astype(np.int8))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def minutes_to_page(objective: Objective, error_ratio: float) -> float:
    """Minutes from the beginning of a constant error ratio, after a clean past, to the first page; infinite for never.

    The time a pair takes is rate x budget x long window / error ratio (Site Reliability Workbook, chapter 5).
    """
    times = [
        pair.rate(objective) * _budget(objective) * pair.long_s / error_ratio / 60
        for pair in WINDOWS
        if pair.severity is Severity.PAGE and error_ratio > pair.rate(objective) * _budget(objective)
    ]
    return min(times, default=math.inf)
