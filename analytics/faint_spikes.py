"""Faint spikes: a few more slow or failed requests than usual in each bucket, which only many buckets together tell.

Where a fault hits one of several replicas, or a service has little traffic, no bucket is beyond chance, and what each
adds to the usual share hides the next. So evidence is summed up from bucket to bucket: Page's CUSUM (Biometrika 41,
1954), of all tests that seldom give a false alarm the one that finds a change soonest (Lorden, Ann. Math. Stat. 42,
1971). When it began is told by the likelihood of all beginnings (Hinkley, Biometrika 57, 1970).
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import polars as pl

from analytics.silences import HeardTime, heard_times
from analytics.spikes import Spike, SpikeSettings, by_indicator
from domain.incident import Indicator
from domain.window import Window

_TIMES_USUAL = 3.0  # the rise that is looked for: to three times the usual share,
_SHARE_MIN = 0.025  # and to this at least: fewer are nobody's incident
_SHARE_MAX = 0.5
_CALM_TIMES = 4  # as long as of a plain spike: signs are rare
_EVIDENCE_MIN = math.log(1e4)  # by chance in one of so many buckets (Wald)
_HITS: Mapping[Indicator, tuple[str, ...]] = {
    Indicator.TTFT: ("ttft_slow", "ttft_long"),
    Indicator.LATENCY: ("latency_slow", "latency_long"),
    Indicator.TPOT: ("tpot_slow",),
    Indicator.ERRORS: ("errors",),
}
"""What is counted: the slow by what all lengths of prompts hide, and as it is."""


@dataclass(frozen=True, slots=True)
class Rise:
    """Buckets of a rise, as indices: the first, the one by which it was told, and the one that last spoke for it.

    `ended` when it was over before the last bucket.
    """

    first: int
    told: int
    last: int
    ended: bool


def find_faint_spikes(series: pl.DataFrame, until: datetime, settings: SpikeSettings) -> list[Spike]:
    """Every rise of the share of slow requests, and of failures, in order of onset. Arguments as of `find_spikes`."""
    heard = heard_times(series, until, settings.step_s, settings.history_s)
    return by_indicator(series, partial(_spikes_of, heard=heard, settings=settings))


def _spikes_of(
    service: str,
    model: str | None,
    indicator: Indicator,
    group: pl.DataFrame,
    heard: Mapping[str, HeardTime],
    settings: SpikeSettings,
) -> Iterator[Spike]:
    is_of_failures = indicator is Indicator.ERRORS
    of = "requests" if is_of_failures else f"{indicator}_count"
    level = "latency_ms_p99" if is_of_failures else f"{indicator}_ms_p99"
    measured = group.filter(pl.col(of) > 0).sort("time")
    if measured.is_empty():
        return
    times = measured["time"].to_list()
    heard_s = heard[service].of(measured["time"].dt.epoch("us").to_numpy() / 1e6)
    step, calm_s = timedelta(seconds=settings.step_s), _calm(settings).total_seconds()
    for hits in _HITS[indicator]:
        for rise in rises(times, measured[hits].to_list(), measured[of].to_list(), settings):
            window = Window(times[rise.first], times[rise.last] + step)
            before = window.before(settings.history_s)
            usual = measured.filter(pl.col("time").is_between(before.start, before.end, closed="left"))
            yield Spike(
                service=service,
                model=model,
                indicator=indicator,
                window=window,
                detected_at=times[rise.told] + step,
                ongoing=not rise.ended and heard[service].until_s - heard_s[rise.last] <= calm_s,
                baseline_ms_p99=_number(usual[level].median()),
                peak_ms_p99=_number(measured[level][rise.first : rise.last + 1].max()),
                faint=not is_of_failures,
            )


@dataclass(slots=True)
class _Run:
    """What may be a rise: since its first bucket the evidence is above zero. Counts are of all its buckets."""

    first: int
    last: int
    told: int | None = None
    evidence: float = 0.0
    most: float = 0.0
    hits: int = 0
    of: int = 0

    def rise(self) -> Iterator[Rise]:
        """The rise, if it has been told, and is over."""
        if self.told is not None:
            yield Rise(self.first, self.told, self.last, ended=True)


def rises(times: Sequence[datetime], hits: Sequence[int], of: Sequence[int], settings: SpikeSettings) -> Iterator[Rise]:
    """Where the share of slow or failed requests rose, by what many buckets say together.

    Causal: what is said of a bucket depends only on those before it. What may be part of a rise is not usual yet. A
    rise is over when what follows speaks against it as clearly as it was told by, when nothing has spoken for it for
    long, or when all of it has far fewer hits than are anybody's incident: then that is what is usual now.

    Args:
        times: starts of the buckets, ascending.
        hits: slow or failed requests of each.
        of: all requests of each, positive.
        settings: how long a history is, and how long a calm.
    """
    calm = _calm(settings)
    usual = _Usual(times, hits, of, settings)
    run: _Run | None = None
    for i, now in enumerate(times):
        if run is not None and now - times[run.last] > calm:
            yield from run.rise()
            usual.add(run.first if run.told is None else run.last + 1, i)
            run = None
        if run is None:
            usual.forget_before(now)
        gain = usual.gain(hits[i], of[i])
        if run is None and gain <= 0:
            usual.add(i, i + 1)
            continue
        run = run or _Run(i, i)
        run.evidence += gain
        run.hits, run.of = run.hits + hits[i], run.of + of[i]
        if run.evidence > run.most:
            run.last, run.most = i, run.evidence
        if run.told is None and run.evidence >= _EVIDENCE_MIN:
            began = run.first + usual.began(hits[run.first : i + 1], of[run.first : i + 1])
            usual.add(run.first, began)
            run.first, run.told = began, i
            run.hits, run.of = sum(hits[began : i + 1]), sum(of[began : i + 1])
        is_too_little = run.told is not None and run.hits < _SHARE_MIN / 2 * run.of
        if run.evidence <= 0 or run.most - run.evidence >= _EVIDENCE_MIN or is_too_little:
            yield from run.rise()
            usual.add(run.first if run.told is None or is_too_little else run.last + 1, i + 1)
            run = None
    if run is not None and run.told is not None:
        yield Rise(run.first, run.told, run.last, ended=False)


def _calm(settings: SpikeSettings) -> timedelta:
    """After how long without a further sign a rise is over, whatever the evidence: traffic may have ended too."""
    return _CALM_TIMES * settings.calm


class _Usual:
    """What was usual in the history before: how many requests, how many of them slow. Arguments as of `rises`."""

    def __init__(
        self, times: Sequence[datetime], hits: Sequence[int], of: Sequence[int], settings: SpikeSettings
    ) -> None:
        self._counts = times, hits, of
        self._history = timedelta(seconds=settings.history_s)
        self._buckets_min = settings.history_buckets_min
        self._buckets: deque[int] = deque()
        self._hits = self._of = 0

    def add(self, first: int, end: int) -> None:
        """Buckets that were usual."""
        _, hits, of = self._counts
        self._buckets.extend(range(first, end))
        self._hits += sum(hits[first:end])
        self._of += sum(of[first:end])

    def forget_before(self, now: datetime) -> None:
        """Keep a history up to now."""
        times, hits, of = self._counts
        while self._buckets and now - times[self._buckets[0]] > self._history:
            bucket = self._buckets.popleft()
            self._hits -= hits[bucket]
            self._of -= of[bucket]

    @property
    def _share(self) -> float:
        return (self._hits + 0.5) / (self._of + 1)

    def gain(self, hits: int, of: int) -> float:
        """How much likelier so many of so many are with a raised share than with the usual one, as a logarithm."""
        raised = min(max(_TIMES_USUAL * self._share, _SHARE_MIN), _SHARE_MAX)
        if len(self._buckets) < self._buckets_min or raised <= self._share:
            return 0.0
        return _likelier(hits, of, raised, self._share)

    def began(self, hits: Sequence[int], of: Sequence[int]) -> int:
        """From which of these buckets on a rise is likeliest, to any share; the first hit may have been chance."""
        usual = self._share
        likeliest, began, some, all_of = 0.0, len(hits) - 1, 0, 0
        for bucket in reversed(range(len(hits))):
            some, all_of = some + hits[bucket], all_of + of[bucket]
            share = min(some / all_of, _SHARE_MAX)
            likelier = _likelier(some, all_of, share, usual) if share > usual else 0.0
            if likelier > likeliest:
                likeliest, began = likelier, bucket
        return began


def _likelier(hits: int, of: int, raised: float, usual: float) -> float:
    """How much likelier so many of so many are with one share than with another, as a logarithm."""
    return hits * math.log(raised / usual) + (of - hits) * math.log((1 - raised) / (1 - usual))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
