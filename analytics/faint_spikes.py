"""Faint spikes: a few more slow or failed requests than usual in each bucket, which only many buckets together tell.

Where a fault hits one of several replicas, or a service has little traffic, no bucket is beyond chance, and what each
adds to the usual share hides the next. So evidence is summed up from bucket to bucket: Page's CUSUM (Biometrika 41,
1954), of all tests that seldom give a false alarm the one that finds a change soonest (Lorden, Ann. Math. Stat. 42,
1971). It also tells when the change came: when the sum was last zero.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

import polars as pl

from analytics.spikes import INDICATORS, Spike, SpikeSettings
from domain.incident import Indicator
from domain.window import Window

_TIMES_USUAL = 3.0  # the rise that is looked for: to three times the usual share,
_SHARE_MIN = 0.025  # and to this at least: fewer are nobody's incident
_SHARE_MAX = 0.5
_HITS: Mapping[Indicator, tuple[str, ...]] = {
    Indicator.TTFT: ("ttft_slow", "ttft_long"),
    Indicator.LATENCY: ("latency_slow", "latency_long"),
    Indicator.TPOT: ("tpot_slow",),
    Indicator.ERRORS: ("errors",),
}  # what is counted: the slow by what all lengths of prompts hide, and as it is
_EVIDENCE_MIN = math.log(1e4)  # by chance in one of so many buckets (Wald)


@dataclass(frozen=True, slots=True)
class Rise:
    """Buckets of a rise, as indices: the first, the one by which it was told, and the one that last spoke for it."""

    first: int
    told: int
    last: int


def find_faint_spikes(series: pl.DataFrame, until: datetime, settings: SpikeSettings) -> list[Spike]:
    """Every rise of the share of slow requests, and of failures, in order of onset. Arguments as of `find_spikes`."""
    spikes: list[Spike] = []
    for (service, model), group in series.group_by(["service", "model"], maintain_order=True):
        for indicator in INDICATORS:
            spikes += _spikes_of(str(service), model, indicator, group, until, settings)
    return sorted(spikes, key=lambda spike: (spike.window.start, spike.service, spike.model or ""))


def _spikes_of(
    service: str, model: object, indicator: Indicator, group: pl.DataFrame, until: datetime, settings: SpikeSettings
) -> Iterator[Spike]:
    is_of_failures = indicator is Indicator.ERRORS
    of = "requests" if is_of_failures else f"{indicator}_count"
    if of not in group.columns:
        return
    measured = group.filter(pl.col(of) > 0).sort("time")
    times = measured["time"].to_list()
    level = measured["latency_ms_p99" if is_of_failures else f"{indicator}_ms_p99"].fill_null(0.0)
    step = timedelta(seconds=settings.step_s)
    calm = settings.calm_buckets * step
    for hits in _HITS[indicator]:
        for rise in rises(times, measured[hits].to_list(), measured[of].to_list(), settings):
            yield Spike(
                service=service,
                model=None if model is None else str(model),
                indicator=indicator,
                window=Window(times[rise.first], times[rise.last] + step),
                detected_at=times[rise.told] + step,
                ongoing=until - times[rise.last] <= calm + step,
                baseline_ms_p99=_number(level[: rise.first].tail(settings.history_s // settings.step_s).median()),
                peak_ms_p99=_number(level[rise.first : rise.last + 1].max()),
                faint=not is_of_failures,
            )


def rises(times: Sequence[datetime], hits: Sequence[int], of: Sequence[int], settings: SpikeSettings) -> Iterator[Rise]:
    """Where the share of slow or failed requests rose, by what many buckets say together.

    Causal: what is said of a bucket depends only on those before it. What may be part of a rise is not usual yet.

    Args:
        times: starts of the buckets, ascending.
        hits: slow or failed requests of each.
        of: all requests of each, positive.
        settings: how long a history is, and after how long without a sign of it a rise has ended.
    """
    calm = timedelta(seconds=settings.calm_buckets * settings.step_s)
    usual = _Usual(settings)
    first: int | None = None
    evidence = most = 0.0
    told: int | None = None
    last = 0
    for i, now in enumerate(times):
        if first is None:
            usual.forget_before(now)
        share = usual.share
        raised = 0.0 if share is None else min(max(_TIMES_USUAL * share, _SHARE_MIN), _SHARE_MAX)
        if share is not None and raised > share:
            evidence += _likelier(hits[i], of[i], raised, share)
        if evidence > most:
            first, last, most = i if first is None else first, i, evidence
            if told is None and share is not None and evidence >= _EVIDENCE_MIN:
                first, told = first + _began(hits[first : i + 1], of[first : i + 1], share), i
        if first is None or evidence <= 0 or most - evidence >= _EVIDENCE_MIN or now - times[last] > calm:
            if first is not None and told is not None:
                yield Rise(first, told, last)
            for j in range(i if first is None else last + 1 if told is not None else first, i + 1):
                usual.add(times[j], hits[j], of[j])
            first, told, evidence, most = None, None, 0.0, 0.0
    if first is not None and told is not None:
        yield Rise(first, told, last)


class _Usual:
    """What was usual in the history before: how many requests, and how many of them were slow."""

    def __init__(self, settings: SpikeSettings) -> None:
        self._history = timedelta(seconds=settings.history_s)
        self._buckets_min = settings.history_buckets_min
        self._buckets: deque[tuple[datetime, int, int]] = deque()
        self._hits = self._of = 0

    def add(self, time: datetime, hits: int, of: int) -> None:
        """A bucket that was usual."""
        self._buckets.append((time, hits, of))
        self._hits += hits
        self._of += of

    def forget_before(self, now: datetime) -> None:
        """Keep a history up to now."""
        while self._buckets and now - self._buckets[0][0] > self._history:
            _, hits, of = self._buckets.popleft()
            self._hits -= hits
            self._of -= of

    @property
    def share(self) -> float | None:
        """The usual share of slow or failed requests; None while too little is known."""
        return (self._hits + 0.5) / (self._of + 1) if len(self._buckets) >= self._buckets_min else None


def _likelier(hits: int, of: int, raised: float, usual: float) -> float:
    """How much likelier so many of so many are with one share than with another, as a logarithm."""
    return hits * math.log(raised / usual) + (of - hits) * math.log((1 - raised) / (1 - usual))


def _began(hits: Sequence[int], of: Sequence[int], usual: float) -> int:
    """From which of these buckets on a rise is likeliest, whatever its share; the first hit may have been chance."""
    sums = [list(accumulate(reversed(counts))) for counts in (hits, of)]
    shares = [min(hit / all_of, _SHARE_MAX) for hit, all_of in zip(*sums, strict=True)]
    likelier = [
        _likelier(hit, all_of, share, usual) if share > usual else 0.0
        for hit, all_of, share in zip(*sums, shares, strict=True)
    ]
    return len(hits) - 1 - max(range(len(likelier)), key=likelier.__getitem__)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
