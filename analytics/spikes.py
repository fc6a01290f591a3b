"""Spikes: where p99 leaves its usual range, and stays out.

Percentiles of latency spread by factors, not by differences, so everything here is done on their logarithm.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
import scipy
from numpy.typing import NDArray

from analytics.robust import MovingMedian, binomial_dispersion
from analytics.silences import HeardTime, heard_times
from domain.incident import Indicator
from domain.window import Window

_FAINT_RATIO = 0.1
_FEW_WIDEN = 8.0  # a spread known from eight buckets may well be twice as wide
_STEP_BUCKETS_MIN = 8  # fewer tell no step
_STEP_NEAR = 2  # further into the run it would be the middle of a ramp
_FAINT_BEFORE = 0.5
_BEFORE_FAILURES = 240  # buckets, whose latency tells what was usual before requests failed
_PART_STEPS_MIN = 4  # of a spike that is told in two parts
_RISE_RATIO_MIN = 1.5
_RISE_GAIN_MIN = 5.0  # e to that: so much likelier are two shares of slow requests than one
_OTHERS_MIN, _BEGIN_TOGETHER = 2, timedelta(seconds=60)
_LEADS_IN = timedelta(seconds=240)
_HEAD_START = timedelta(seconds=120)  # a request that began before it is late as a whole before a first token is


@dataclass(frozen=True, slots=True)
class SpikeSettings:
    """When p99 counts as a spike.

    A bucket is raised when its p99 lies `sigmas` robust standard deviations, `ratio_min` times and `excess_ms_min`
    above the median of the usual buckets in the `history_s` before it. A spike opens when `raised_min` of the last
    `raised_of` buckets are raised and closes after `calm_buckets` that are not.
    """

    step_s: int = 15
    history_s: int = 7200
    history_buckets_min: int = 6
    sigmas: float = 3.0
    ratio_min: float = 1.5
    excess_ms_min: float = 20.0
    raised_min: int = 2
    raised_of: int = 3
    calm_buckets: int = 12
    smooth_of: int = 4
    smooth_ratio_min: float = 1.35
    held_min: int = 8
    held_of: int = 12
    tpot_ratio_min: float = 1.3
    tpot_excess_ms_min: float = 3.0
    failures_chance_max: float = 1e-4
    failures_min: int = 2

    @property
    def calm(self) -> timedelta:
        """How long after its last raised bucket a spike closes."""
        return timedelta(seconds=self.calm_buckets * self.step_s)

    def of(self, indicator: Indicator) -> "SpikeSettings":
        """The same, with what stands in for this indicator in its place."""
        if indicator is not Indicator.TPOT:
            return self
        return replace(self, ratio_min=self.tpot_ratio_min, excess_ms_min=self.tpot_excess_ms_min)


@dataclass(frozen=True, slots=True)
class Spike:
    """One spike of one indicator.

    `ongoing` when it had not closed by the end of the data; `faint` when only many buckets together tell that some more
    requests were slow: it takes a plain cause to be an incident.
    """

    service: str
    model: str | None
    indicator: Indicator
    window: Window
    detected_at: datetime
    ongoing: bool
    baseline_ms_p99: float
    peak_ms_p99: float
    faint: bool = False

    def told_apart(self, at: datetime, settings: SpikeSettings) -> tuple["Spike", "Spike"]:
        """What it was before a moment within it, and since."""
        detected_at = at + timedelta(seconds=settings.step_s * settings.raised_min)
        return (
            replace(self, window=Window(self.window.start, at), ongoing=False),
            replace(self, window=Window(at, self.window.end), detected_at=max(self.detected_at, detected_at)),
        )


def find_spikes(series: pl.DataFrame, until: datetime, settings: SpikeSettings) -> list[Spike]:
    """Every spike in TTFT, latency, time per token and failures, in order of onset.

    Args:
        series: a frame of `read_request_series` with steps of `settings.step_s`; it starts a history early.
        until: the end of what was looked at: a spike that was quiet for long before it has closed, unless nothing was
            heard of its service at all (`HeardTime`).
        settings: when p99 counts as a spike.
    """
    heard = heard_times(series, until, settings.step_s, settings.history_s)
    return by_indicator(series, partial(_spikes_of, heard=heard, settings=settings))


def by_indicator(
    series: pl.DataFrame, search: Callable[[str, str | None, Indicator, pl.DataFrame], Iterable[Spike]]
) -> list[Spike]:
    """The spikes that a search finds of each service and model (None: of none), indicator by indicator, by onset."""
    spikes: list[Spike] = []
    for (service, model), group in series.group_by(["service", "model"], maintain_order=True):
        for indicator in INDICATORS:
            spikes += search(str(service), None if model is None else str(model), indicator, group)
    return sorted(spikes, key=lambda spike: (spike.window.start, spike.service, spike.model or ""))


INDICATORS = (Indicator.TTFT, Indicator.LATENCY, Indicator.TPOT, Indicator.ERRORS)
"""What is looked for, the one that says most first."""


def _spikes_of(
    service: str,
    model: str | None,
    indicator: Indicator,
    group: pl.DataFrame,
    heard: Mapping[str, HeardTime],
    settings: SpikeSettings,
) -> list[Spike]:
    settings = settings.of(indicator)
    if indicator is Indicator.ERRORS:
        measured = group.filter(pl.col("requests") > 0).sort("time")
        level = measured["latency_ms_p99"].fill_null(0.0).to_numpy()
    else:
        measured = group.filter(pl.col(f"{indicator}_ms_p99") > 0).sort("time")
        level = measured[f"{indicator}_ms_p99"].to_numpy()
    if measured.is_empty():
        return []
    times = measured["time"].to_list()
    seconds = measured["time"].dt.epoch("us").to_numpy() / 1e6
    if indicator is Indicator.ERRORS:
        usual_ratio, raised = usual_and_failing(
            seconds, measured["errors"].to_numpy(), measured["requests"].to_numpy(), settings
        )
        excess = np.where(raised, measured["errors"].to_numpy() - usual_ratio * measured["requests"].to_numpy(), 0.0)
        baseline = None
    else:
        baseline, raised = usual_and_raised(seconds, level, settings)
        views = [level]
        if f"paced_{indicator}_ms_p99" in measured.columns:  # what all lengths of prompts hide, like lengths show
            views.append(measured[f"paced_{indicator}_ms_p99"].to_numpy())
        for view in views:
            raised |= usual_and_raised(seconds, view, settings)[1]
        baseline = np.where(np.isnan(baseline), level, baseline)
        if f"{indicator}_slow" in measured.columns:
            raised |= _slower(seconds, level, baseline, measured, indicator, settings)
        excess = np.where(raised, np.maximum(np.log(level / baseline), 0.01), 0.0)
    step = timedelta(seconds=settings.step_s)
    spikes: list[Spike] = []
    for run in _runs(heard[service].of(seconds), raised, heard[service].until_s, settings):
        _cut_faint_ends(run, excess, settings)
        if indicator is not Indicator.ERRORS:
            run.first = _change_at(np.log(level), excess, run, settings)
            run.opened = max(run.opened, min(run.first + settings.raised_min - 1, run.last))
        window = Window(times[run.first], times[run.last] + step)
        spikes.append(
            Spike(
                service=service,
                model=model,
                indicator=indicator,
                window=window,
                detected_at=times[run.opened] + step,
                ongoing=not run.closed,
                baseline_ms_p99=_median_before(level, run.first) if baseline is None else float(baseline[run.first]),
                peak_ms_p99=float(level[run.first : run.last + 1].max()),
            )
        )
    return spikes


def _median_before(level: NDArray[np.float64], first: int) -> float:
    """The median of the hour before; 0 when there is nothing before."""
    return float(np.median(level[max(0, first - _BEFORE_FAILURES) : first])) if first else 0.0


def usual_and_failing(
    seconds: NDArray[np.float64],
    failed: NDArray[np.int64],
    requests: NDArray[np.int64],
    settings: SpikeSettings,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For each bucket the usual share of failures and whether more failed than chance explains.

    The chance is the binomial's of as many or more (an incomplete beta function: Abramowitz and Stegun 26.5.24).

    Causal, and raised buckets never become usual, as `usual_and_raised`.

    Args:
        seconds: (n,) bucket starts, ascending.
        failed: (n,) requests that failed.
        requests: (n,) all requests, positive.
        settings: when it counts.

    Returns:
        (n,) usual ratio, NaN where the history is too short; (n,) raised.
    """
    usual = np.full(len(seconds), np.nan)
    raised = np.zeros(len(seconds), dtype=bool)
    at_s, failed_count, all_count = seconds.tolist(), failed.tolist(), requests.tolist()
    past_failed = past_requests = buckets = start = 0
    for i, now_s in enumerate(at_s):
        while now_s - at_s[start] > settings.history_s:
            if not raised[start]:
                past_failed -= failed_count[start]
                past_requests -= all_count[start]
                buckets -= 1
            start += 1
        if buckets >= settings.history_buckets_min:
            ratio = (past_failed + 0.5) / (past_requests + 1)
            usual[i] = ratio
            # No more than expected is what happens every other time: there is no chance to work out.
            if failed_count[i] >= settings.failures_min and failed_count[i] > ratio * all_count[i]:
                chance = scipy.special.betainc(failed_count[i], all_count[i] - failed_count[i] + 1, ratio)
                raised[i] = chance < settings.failures_chance_max
        if not raised[i]:
            past_failed += failed_count[i]
            past_requests += all_count[i]
            buckets += 1
    return usual, raised


def usual_and_raised(
    seconds: NDArray[np.float64], p99: NDArray[np.float64], settings: SpikeSettings
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For each bucket its usual p99 and whether it is raised above it.

    Causal: what is said of a bucket depends only on the buckets before it, so a replay, a backfill and a live run
    say the same. What stays raised (`held_min` of the last `held_of` buckets) is not part of what is usual; what is
    raised now and then is: that is how a percentile of few requests varies.

    Args:
        seconds: (n,) bucket starts, ascending.
        p99: (n,) in ms, positive.
        settings: when p99 counts as raised.

    Returns:
        (n,) usual p99 in ms, NaN where the history is too short; (n,) raised.
    """
    at_s, level, logs = seconds.tolist(), p99.tolist(), np.log(p99).tolist()
    usual = np.full(len(level), np.nan)
    raised, held = [False] * len(level), [False] * len(level)
    past = MovingMedian()
    median = sigma = math.nan
    start = 0
    for i, log in enumerate(logs):
        while at_s[i] - at_s[start] > settings.history_s:
            if not held[start]:
                past.remove(logs[start])
            start += 1
        if len(past) >= settings.history_buckets_min:
            median, spread = past.median_and_sigma()
            sigma = max(spread, math.log(1.05)) * (1.0 + _FEW_WIDEN / len(past))
        elif not any(raised[max(0, i - settings.raised_of) : i]):
            median = sigma = math.nan  # what was usual is too long ago; within a long spike it still holds
        if not math.isnan(median):
            usual[i] = usual_ms = math.exp(median)
            raised[i] = (
                log > median + settings.sigmas * sigma
                and level[i] > settings.ratio_min * usual_ms
                and level[i] - usual_ms > settings.excess_ms_min
            )
        lately = range(max(0, i + 1 - settings.held_of), i + 1)
        if raised[i] and sum(raised[j] for j in lately) >= settings.held_min:
            for j in lately:
                if raised[j] and not held[j]:
                    held[j] = True
                    if start <= j < i:
                        past.remove(logs[j])
        if not held[i]:
            past.add(log)
    return usual, np.array(raised, dtype=bool)


@dataclass(slots=True)
class _Run:
    first: int
    opened: int
    last: int
    closed: bool = False


def _runs(
    seconds: NDArray[np.float64], raised: NDArray[np.bool_], until_s: float, settings: SpikeSettings
) -> list[_Run]:
    calm_s = settings.calm.total_seconds()
    runs: list[_Run] = []
    current: _Run | None = None
    for i in range(len(raised)):
        if current is not None:
            current.closed = seconds[i] - seconds[current.last] > calm_s
            if not current.closed:
                current.last = i if raised[i] else current.last
                continue
            current = None
        earliest = runs[-1].last + 1 if runs else 0
        recent = range(max(earliest, i - settings.raised_of + 1), i + 1)
        if sum(bool(raised[j]) for j in recent) >= settings.raised_min:
            first = next(j for j in recent if raised[j])
            current = _Run(first=first, opened=i, last=i)
            runs.append(current)
    if current is not None:
        current.closed = until_s - seconds[current.last] > calm_s
    return runs


def _slower(
    seconds: NDArray[np.float64],
    level: NDArray[np.float64],
    baseline: NDArray[np.float64],
    measured: pl.DataFrame,
    indicator: Indicator,
    settings: SpikeSettings,
) -> NDArray[np.bool_]:
    """Where more requests were slow than chance explains, of several buckets together, and p99 shows it too.

    Counts of slow requests tell a rise that the scatter of a percentile hides: ten slow ones where two were to be
    expected are no chance, while p99 of as many requests may double by chance.
    """
    of = settings.smooth_of
    slow, counted = (
        _rolling_sum(measured[f"{indicator}_{name}"].to_numpy().astype(np.int64), of) for name in ("slow", "count")
    )
    more = usual_and_failing(seconds, slow, np.maximum(counted, 1), settings)[1]
    shown = rolling_median(level, of) > settings.smooth_ratio_min * baseline
    raised: NDArray[np.bool_] = more & shown & (level > baseline * math.sqrt(settings.ratio_min))
    return raised


def _rolling_sum(values: NDArray[np.int64], of: int) -> NDArray[np.int64]:
    """The sum of each value and the `of - 1` before it, as far as there are as many; shape (n,)."""
    sums = np.concatenate([np.zeros(of, dtype=np.int64), np.cumsum(values)])
    rolling: NDArray[np.int64] = sums[of:] - sums[:-of]
    return rolling


def rolling_median(values: NDArray[np.float64], of: int) -> NDArray[np.float64]:
    """The median of each value and the `of - 1` before it, as far as there are as many; shape (n,)."""
    padded = np.concatenate([np.full(of - 1, np.nan), values])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        medians: NDArray[np.float64] = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, of), axis=1)
    return medians


def _change_at(logs: NDArray[np.float64], excess: NDArray[np.float64], run: "_Run", settings: SpikeSettings) -> int:
    """The bucket at which one level most likely gave way to another: the least squares of a step.

    The first raised bucket is early when chance raised one before, and late when the rise was felt by few at first. A
    step far into the run is its beginning only when what came before it was faint beside what came after.
    """
    low = max(0, run.first - 20)
    around = logs[low : run.last + 1]
    earliest = max(low + 1, run.first - settings.smooth_of)
    if len(around) < _STEP_BUCKETS_MIN or earliest > run.last:
        return run.first
    sums = np.concatenate([[0.0], np.cumsum(around)])
    counts = np.arange(len(around) + 1)
    after_n = np.maximum(len(around) - counts, 1)
    # The greater the squared sums over their counts, the less is left over (sum of squares is the same for all splits).
    gain = sums**2 / np.maximum(counts, 1) + (sums[-1] - sums) ** 2 / after_n
    best = earliest + int(np.argmax(gain[earliest - low : len(around)]))
    if best <= run.first + _STEP_NEAR:
        return best
    before, after = (part[part > 0] for part in (excess[run.first : best], excess[best : run.last + 1]))
    near = earliest + int(np.argmax(gain[earliest - low : run.first + _STEP_NEAR + 1 - low]))
    is_faint = len(after) > 0 and (len(before) == 0 or before.mean() < _FAINT_BEFORE * after.mean())
    return best if is_faint else near


def _cut_faint_ends(run: _Run, excess: NDArray[np.float64], settings: SpikeSettings) -> None:
    """Let the run begin and end with what makes it a spike.

    A stray pair of raised buckets minutes before (or after) would else set the onset, and with it the order of cause
    and effect. Clusters at either end with less than a tenth of the run's excess are cut off.
    """
    steps = np.flatnonzero(excess[run.first : run.last + 1]) + run.first
    clusters = np.split(steps, np.flatnonzero(np.diff(steps) > settings.raised_of) + 1)
    least = _FAINT_RATIO * excess[steps].sum()
    while len(clusters) > 1 and excess[clusters[0]].sum() < least:
        del clusters[0]
    while len(clusters) > 1 and excess[clusters[-1]].sum() < least:
        del clusters[-1]
    run.first, run.last = int(clusters[0][0]), int(clusters[-1][-1])
    run.opened = max(run.opened, min(run.first + settings.raised_min - 1, run.last))


def one_for_overlapping(spikes: Sequence[Spike]) -> list[Spike]:
    """Indicators spike together: keep the one that began first; those that say more have a head start."""

    def order(spike: Spike) -> datetime:
        return spike.window.start + INDICATORS.index(spike.indicator) * _HEAD_START

    ordered = sorted(spikes, key=order)
    kept: list[Spike] = []
    for spike in ordered:
        if not any(are_together(spike, other) for other in kept):
            kept.append(spike)
    return sorted(kept, key=lambda spike: (spike.window.start, spike.service, spike.model or ""))


def begun_with_others(spike: Spike, others: Sequence[Spike], is_notable: Callable[[Window], bool]) -> Spike:
    """The spike, begun with the others of the same requests where the minutes before them were not notable.

    One percentile may have begun to rise by itself when what raised all of them came. Two others must say so.
    """
    starts = [one.window.start for one in others if one != spike and are_together(one, spike)]
    first = min(starts, default=spike.window.start)
    if len(starts) < _OTHERS_MIN or first - spike.window.start <= _BEGIN_TOGETHER:
        return spike
    if is_notable(Window(spike.window.start, first)):
        return spike
    return replace(spike, window=Window(first, spike.window.end))


def rise_within(counts: pl.DataFrame) -> datetime | None:
    """When within a spike the share of slow requests rose most; None where it did not clearly.

    The split into two binomials that is likeliest, if it is so by far: by its likelihood ratio, less what the best of
    so many splits gains by chance (their number's logarithm, after Bonferroni), over how much more the counts of either
    part vary than those of independent requests (`binomial_dispersion`).

    Args:
        counts: columns time (start of a step), requests, slow; the steps of a spike that have requests, ascending.
    """
    xlogy = scipy.special.xlogy
    requests, slow = (counts[name].to_numpy().astype(np.float64) for name in ("requests", "slow"))
    if len(requests) < 2 * _PART_STEPS_MIN:
        return None

    def likelihood(hits: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = xlogy(hits, hits / of) + xlogy(of - hits, 1.0 - hits / of)
        return found

    splits = np.arange(_PART_STEPS_MIN, len(requests) - _PART_STEPS_MIN + 1)
    slow_before, all_before = (np.cumsum(one)[splits - 1] for one in (slow, requests))
    slow_after, all_after = slow.sum() - slow_before, requests.sum() - all_before
    gain = likelihood(slow_before, all_before) + likelihood(slow_after, all_after)
    gain = gain - likelihood(slow.sum(keepdims=True), requests.sum(keepdims=True))
    is_rise = slow_after / all_after > _RISE_RATIO_MIN * slow_before / all_before
    best = int(np.argmax(np.where(is_rise, gain, -np.inf)))
    split = int(splits[best])
    parts = slice(split), slice(split, None)
    dispersion = max(binomial_dispersion(slow[part], requests[part]) for part in parts)
    if not is_rise[best] or gain[best] / dispersion < _RISE_GAIN_MIN + math.log(len(splits)):
        return None
    at: datetime = counts["time"][split]
    return at


def led_in_by_failures(spike: Spike, others: Sequence[Spike], calm: timedelta) -> Spike:
    """The spike, begun with the failures that it followed upon: those whose spike had not closed yet.

    When replicas crash, what they served fails first, and then what the others get in its place waits.
    """
    if spike.indicator is Indicator.ERRORS:
        return spike
    leads = [
        one
        for one in others
        if one.indicator is Indicator.ERRORS
        and (one.service, one.model) == (spike.service, spike.model)
        and one.window.start < spike.window.start <= one.window.end + calm
        and spike.window.start - one.window.start <= _LEADS_IN
    ]
    if not leads:
        return spike
    first = min(leads, key=lambda one: one.window.start)
    return replace(
        spike,
        window=Window(first.window.start, spike.window.end),
        detected_at=min(first.detected_at, spike.detected_at),
    )


def until_failures_end(spike: Spike, others: Sequence[Spike]) -> Spike:
    """The spike, gone on with while requests fail: what fails has no time, so a spike of times ends as all fail."""
    for other in sorted(others, key=lambda one: one.window.start):
        if other.indicator is Indicator.ERRORS and are_together(spike, other) and other.window.end > spike.window.end:
            window = Window(spike.window.start, other.window.end)
            spike = replace(spike, window=window, ongoing=spike.ongoing or other.ongoing)
    return spike


def are_together(one: Spike, other: Spike) -> bool:
    """Are they of the same requests, and at the same time."""
    same = (one.service, one.model) == (other.service, other.model)
    return same and one.window.start < other.window.end and other.window.start < one.window.end
