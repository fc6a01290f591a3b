"""Objectives: what was promised, how it stands, and how fast its budget burns."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import polars as pl

from analytics.burn_rates import STEP_S as BURN_STEP_S
from analytics.burn_rates import WINDOWS, BurnAlert, burn_alerts
from analytics.knowledge import Knowledge
from analytics.slo import rounded_up, slo_status
from analytics.slo_documents.checks import OpenSloError
from analytics.slo_documents.objectives import objective_of
from analytics.slo_events import (
    FAULTY_XIDS,
    GPU_ALIVE,
    GPU_XID,
    freshness_counts,
    gpu_counts,
    throughput_counts,
    widened_for_age,
)
from analytics.slo_evidence import evidence
from analytics.slo_exclusions import exclusion_of
from analytics.slo_windows import judged_window
from domain.incident import Indicator
from domain.slo import Exclusion, Objective, SloStatus
from domain.window import Window
from storage.documents import SLO_DOCUMENTS, SLO_EXCLUSIONS, read_documents
from storage.readers import (
    SLO_COUNTS,
    SLO_WAITING,
    read_latency,
    read_services,
    read_slo_counts,
    read_slo_first,
    read_slo_gpu_seen,
    read_slo_gpus,
    read_slo_newest,
    read_slo_waiting,
)
from storage.store import Store

log = logging.getLogger(__name__)

SLO_STEP_S = 300
_DAY = timedelta(days=1)


def default_objectives(store: Store, now: datetime) -> tuple[Objective, ...]:
    """A first promise for each service of the last day, until someone makes a better one.

    99.9 % of requests succeed, and 99 % see their first token (or, where none is told, finish) within half as long
    again as the usual p99 of five minutes, rounded up.
    """
    window = Window(now - _DAY, now)
    objectives = []
    for service in _services(store, window):
        objectives.append(Objective(f"{service}-availability", service, Indicator.ERRORS, 0.999, 30))
        latency = read_latency(store, window, service, step_s=SLO_STEP_S)
        for indicator in (Indicator.TTFT, Indicator.LATENCY):
            usual_ms = latency[f"{indicator.value}_ms_p99"].median()
            if isinstance(usual_ms, float) and usual_ms > 0:
                threshold_ms = rounded_up(1.5 * usual_ms)
                objectives.append(Objective(f"{service}-{indicator}", service, indicator, 0.99, 30, threshold_ms))
                break
    return tuple(objectives)


def services_without_objective(store: Store, objectives: Sequence[Objective], now: datetime) -> list[str]:
    """The services with requests in the last day that none of these objectives is of, by name: no burn rate pages."""
    promised = {one.service for one in objectives}
    return [one for one in _services(store, Window(now - _DAY, now)) if one not in promised]


def without_objective_words(services: Sequence[str]) -> str:
    """What that means for those services, of which there is one at least; without a full stop."""
    return (
        "with requests in the last day and no objective, so nothing pages for them when they fail or get slow: "
        f"{', '.join(services)}"
    )


def _services(store: Store, window: Window) -> list[str]:
    """By name."""
    return list(read_services(store, window)["service"].unique(maintain_order=True))


def kept_objectives(store: Store) -> tuple[Objective, ...]:
    """The objectives that somebody put into the store, by name.

    What an earlier release took and this one cannot judge is passed over, and logged.
    """
    objectives = []
    for name, document in read_documents(store, SLO_DOCUMENTS).items():
        try:
            objectives.append(objective_of(document))
        except OpenSloError as error:
            log.warning("the objective %s is not judged: %s; put it anew", name, error)
    return tuple(objectives)


def chosen(configured: Sequence[Objective], kept: Sequence[Objective]) -> tuple[Objective, ...]:
    """Those of the configuration and those that were kept; of one name the kept one, unless the other is of a file."""
    told = {one.name: one for one in (*configured, *kept)}
    return tuple((told | {one.name: one for one in configured if one.file is not None}).values())


def standing_objectives(store: Store, configured: Sequence[Objective], now: datetime) -> Sequence[Objective]:
    """Those that hold at a moment: of the configuration and of the store; without any, a first promise a service."""
    return chosen(configured, kept_objectives(store)) or default_objectives(store, now)


def kept_exclusions(store: Store) -> tuple[Exclusion, ...]:
    """The stretches that are left out of the judgement of objectives, by id; those that were taken back are not."""
    found = (exclusion_of(document) for document in read_documents(store, SLO_EXCLUSIONS).values())
    return tuple(one for one in found if one is not None)


def slo_counts(
    store: Store, objective: Objective, window: Window, knowledge: Knowledge, step_s: int = BURN_STEP_S
) -> pl.DataFrame:
    """Good and all events of an objective by step: columns time, total, good.

    Those that are no requests (throughput, GPUs, freshness) come by the minute whatever the step. Which metrics tell
    how many requests wait is known by `knowledge`.
    """
    service, selection = objective.service, objective.selection
    match objective.indicator:
        case Indicator.THROUGHPUT:
            requests = read_slo_counts(store, window, service, Indicator.ERRORS, None, BURN_STEP_S, selection=selection)
            waiting = pl.DataFrame(schema=SLO_WAITING)
            if selection.tenant is None and selection.version is None:  # an engine does not say whose requests wait
                metrics = knowledge.metrics_of("waiting_requests")
                waiting = read_slo_waiting(store, window, service, metrics, selection)
            return throughput_counts(requests, waiting, window, objective.floor_per_s or 0.0)
        case Indicator.DATA_FRESHNESS:
            age_s = objective.age_max_s or 0.0
            newest = read_slo_newest(store, widened_for_age(window, age_s), service, objective.data, selection)
            first = read_slo_first(store, window.end, service, objective.data, selection)
            return freshness_counts(newest, first, window, age_s)
        case Indicator.GPU_AVAILABILITY:
            told = [
                read_slo_gpus(store, part, GPU_ALIVE, GPU_XID, FAULTY_XIDS, selection.node)
                for part in window.stretches(_DAY)
            ]
            expected = timedelta(days=objective.window_days)
            seen = read_slo_gpu_seen(store, Window(window.start - expected, window.end), GPU_ALIVE, selection.node)
            return gpu_counts(pl.concat(told), seen, window, expected.total_seconds())
        case _:
            return read_slo_counts(
                store, window, service, objective.indicator, objective.threshold_ms, step_s,
                tpot_threshold_ms=objective.tpot_threshold_ms, selection=selection,
            )  # fmt: skip


class Counts(Protocol):
    """Good and all events of objectives by the minute: `StoredCounts`, `RecentCounts` or `PastCounts`."""

    def of(self, objective: Objective, now: datetime, start: datetime) -> pl.DataFrame:
        """Columns time, total, good, by minute from `start` up to `now`."""


def slo_statuses(store: Store, objectives: Sequence[Objective], now: datetime, counts: Counts) -> list[SloStatus]:
    """Where each objective stands at `now`, worst first."""
    exclusions = kept_exclusions(store)
    statuses = [
        slo_status(one, counts.of(one, now, judged_window(one, now).start), now, exclusions) for one in objectives
    ]
    return sorted(
        statuses,
        key=lambda status: (
            status.budget_left_ratio is None,
            status.budget_left_ratio,
            status.objective.name,
        ),
    )


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """Good and all events of objectives by the minute, read each time; for who asks once."""

    store: Store
    knowledge: Knowledge

    def of(self, objective: Objective, now: datetime, start: datetime) -> pl.DataFrame:
        """Columns time, total, good, by minute from `start` up to `now`."""
        window = Window(start, max(now, start + timedelta(microseconds=1)))  # a calendar's may begin now
        return slo_counts(self.store, objective, window, self.knowledge)


@dataclass(frozen=True, slots=True)
class _KnownCounts:
    """Counts that were read: from when to when, and when all of them were read at once last."""

    start: datetime
    until: datetime
    all_read_at: datetime
    counts: pl.DataFrame


class RecentCounts:
    """Good and all events of objectives by the minute, kept in memory between one look and the next.

    A look reads what may have changed since the last one (late requests), not all of it; all of it is read anew every
    six hours, for what came in later still. 30 days of an objective take about a megabyte; those beyond the first
    hundreds are read each time.
    """

    _LATE = timedelta(minutes=15)
    _READ_ANEW = timedelta(hours=6)
    _KEPT_MOST = 300

    def __init__(self, store: Store, knowledge: Knowledge) -> None:
        self.store = store
        self._knowledge = knowledge
        self._known: dict[Objective, _KnownCounts] = {}
        self._locks: dict[Objective, threading.Lock] = {}

    def of(self, objective: Objective, now: datetime, start: datetime | None = None) -> pl.DataFrame:
        """Columns time, total, good, by minute from `start` (the longest window of an alert before now) up to `now`.

        May be asked from several threads: for the same events one waits for another, a page's month for no alert else.
        """
        if start is None:
            start = now - timedelta(seconds=max(pair.long_s for pair in WINDOWS) + 3600)
        counted = replace(  # the same events, whatever is promised of them
            objective, name="", target_ratio=0.0, calendar=None, slices=None, more_periods=(), sla=None, file=None
        )
        with self._locks.setdefault(counted, threading.Lock()):
            return self._of(counted, now, start)

    def _of(self, counted: Objective, now: datetime, start: datetime) -> pl.DataFrame:
        known = self._known.get(counted)
        if known is None or start < known.start or now - known.all_read_at >= self._READ_ANEW:
            widest = start if known is None else min(start, known.start + (now - known.all_read_at))
            known = _KnownCounts(_minute_of(widest), _minute_of(widest), now, pl.DataFrame(schema=SLO_COUNTS))
        since = max(known.start, _minute_of(known.until - self._LATE))
        parts = [known.counts.filter(pl.col("time") < since)]
        if since < now:
            stretches = Window(since, now).stretches(_DAY)
            parts += [slo_counts(self.store, counted, part, self._knowledge) for part in stretches]
        counts = pl.concat(parts)
        self._forget(now)
        if counted in self._known or len(self._known) < self._KEPT_MOST:
            self._known[counted] = _KnownCounts(known.start, now, known.all_read_at, counts)
        return counts.filter(pl.col("time") >= start)

    def _forget(self, now: datetime) -> None:
        """What was not asked for in the last hours."""
        for counted, known in list(self._known.items()):  # pages ask from other threads meanwhile
            if now - known.until > self._READ_ANEW:
                self._known.pop(counted, None)


class PastCounts:
    """Good and all events of objectives by the minute, at any minute of a stretch; each objective is read once."""

    def __init__(self, store: Store, window: Window, knowledge: Knowledge) -> None:
        self._store = store
        self._window = window
        self._knowledge = knowledge
        self._known: dict[Objective, pl.DataFrame] = {}

    def of(self, objective: Objective, now: datetime, start: datetime) -> pl.DataFrame:
        """Columns time, total, good, by minute from `start`, but not before the judged window then, up to `now`."""
        if objective not in self._known:
            whole = Window(judged_window(objective, self._window.start).start, self._window.end)
            self._known[objective] = slo_counts(self._store, objective, whole, self._knowledge)
        return self._known[objective].filter((pl.col("time") >= start) & (pl.col("time") < now))


def _minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def slo_burns(counts: RecentCounts, objectives: Sequence[Objective], now: datetime) -> list[BurnAlert]:
    """Every stretch of the last days in which one of these objectives burnt too fast."""
    exclusions = kept_exclusions(counts.store)
    return [alert for one in objectives for alert in burn_alerts(one, counts.of(one, now), now, exclusions=exclusions)]


def backtest(store: Store, objective: Objective, window: Window, counts: pl.DataFrame) -> list[BurnAlert]:
    """The pages and tickets that an objective would have brought within a window: what is known, asked afterwards.

    `counts` are those of `backtest_counts`; another target needs no others.
    """
    found = burn_alerts(objective, counts, window.end, exclusions=kept_exclusions(store))
    return [one for one in found if one.started_at >= window.start]


def backtest_counts(store: Store, objective: Objective, window: Window, knowledge: Knowledge) -> pl.DataFrame:
    """The counts that a backtest over a window needs: columns time, total, good, from before the window on."""
    lead_s = max(pair.long_s for pair in WINDOWS)
    return slo_counts(store, objective, window.widened(before_s=lead_s), knowledge)


def slo_evidence(
    store: Store, objective: Objective, window: Window, knowledge: Knowledge, step_s: int
) -> dict[str, Any]:
    """Every count that the standing of an objective over a window rests on, as `analytics.slo_evidence` tells it."""
    counts = slo_counts(store, objective, window, knowledge)
    return evidence(objective, counts, window, kept_exclusions(store), step_s)
