"""The jobs: read, think, write. But for those of cost, the only module of analytics that touches the store.

Every job takes its times as arguments, so a live run, a replay and a backfill find the same.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from analytics.burn_rates import STEP_S as BURN_STEP_S
from analytics.burn_rates import WINDOWS, BurnAlert, BurnSettings, burn_alerts
from analytics.causes import Findings, explain, not_explained
from analytics.compare import Comparison, Imbalance, compare_versions, imbalance
from analytics.cost.jobs import Pricing, request_cost_usd
from analytics.cost.minutes import ENGINE_METRICS
from analytics.device_faults import (
    GPU_METRICS,
    PORT_METRICS,
    DeviceFault,
    DeviceStretch,
    fault_document,
    fault_of,
    faults_at,
    gpu_samples,
    named_by,
    port_samples,
    replicas_by_place,
    with_riders,
)
from analytics.expected import load_of
from analytics.incidents import BudgetDamage, incident_of, one_for_shared_cause, reconcile
from analytics.knowledge import Knowledge, shipped_knowledge
from analytics.releases import release_shifts
from analytics.scaling import ENGINES
from analytics.scope import VALUES, Scope, Slowness, attributed, localise, neighbourhood, slowness, stage_split
from analytics.signals import Grid, SignalMatrix, concerning, metric_signals, request_signals, shifts
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
from analytics.spikes import (
    Spike,
    SpikeSettings,
    are_together,
    begun_with_others,
    find_spikes,
    one_for_overlapping,
    rise_within,
    until_failures_end,
)
from analytics.traffic_stops import HISTORY, PastTraffic, StoppedTraffic, stopped_traffic
from analytics.traffic_stops import STEP_S as TRAFFIC_STEP_S
from analytics.turnover import turnover
from analytics.upstream import Upstream, upstream_of
from domain.cause import CauseKind, Explanation
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Status
from domain.slo import Exclusion, Objective, SloStatus
from domain.topology import Topology
from domain.window import Window
from storage.errors import StoreError
from storage.readers import (
    ALL_REQUESTS,
    ROLLUP_STEPS_S,
    SLO_COUNTS,
    SLO_DOCUMENTS,
    SLO_EXCLUSIONS,
    SLO_WAITING,
    read_calls,
    read_document,
    read_documents,
    read_incidents,
    read_latency,
    read_replica_pools,
    read_request_series,
    read_requests,
    read_samples,
    read_series,
    read_services,
    read_slo_counts,
    read_slo_first,
    read_slo_gpu_seen,
    read_slo_gpus,
    read_slo_newest,
    read_slo_waiting,
    read_topology,
    read_traffic,
    read_traffic_steps,
    sample_rows,
    write_document,
    write_incidents,
)
from storage.store import Store

log = logging.getLogger(__name__)

_STEPS_MAX = 2000  # signals over long windows are read in coarser steps
_LEAD_S = 60  # what is usual ends a minute before the onset: a ramp is not usual
_SLO_STEP_S = 300
_REQUESTS_MAX = 250_000  # of more, a sample is read: what is told of a thousand slow ones varies little
_STRETCH_S = 6 * 3600  # requests are read so many seconds at a time, with the history before
_TRACES = 400  # of usual time and of the spike, looked through for calls
_CALLS_S = 1800
_CALLS_DEEP = 3
_NOW_S = 600.0  # within so long something was told, or nothing is known
_NOW_STEP_S = 5
_READING_STEP_S = 30
_FRESH_S = 60.0  # what one replica told so much earlier than another is no longer so
_FAULT_STEP_S, _FAULT_LOOK_S = 60, 1800
_FAULT_LAG_S = 20  # of the last minute all is there
_FAULT_TRAFFIC_STEP_S = 1800
_FAULTS_READ = timedelta(hours=3)
_FAULTS = "device-faults"
_TRACE_SLACK = timedelta(minutes=2)  # its other spans may begin before a request, and end after it

Progress = Callable[[str, float], None]
"""Told what is done, and which share of it is: 0-1."""

EVIDENCE_SERIES: dict[str, pl.DataType] = {
    "signal": pl.String(),
    "title": pl.String(),
    "unit": pl.String(),
    "entity_kind": pl.String(),
    "entity_name": pl.String(),
    "time": pl.Datetime("us", "UTC"),
    "value": pl.Float64(),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One window of one service, with the requests in it and in the history before it.

    `excluded` is what was unusual in that history, `one_in` how many requests each row of `requests` stands for.
    """

    service: str
    window: Window
    reference: Window
    indicator: Indicator
    excluded: tuple[Window, ...]
    one_in: int
    requests: pl.DataFrame
    scope: Scope

    @property
    def requests_but_earlier(self) -> pl.DataFrame:
        """The requests without those of earlier spikes."""
        return self.requests.filter(~pl.any_horizontal(pl.lit(value=False), *map(_within, self.excluded)))


@dataclass(frozen=True, slots=True)
class AnalyzeSettings:
    """How spikes are looked for and explained, and what GPUs cost, if that is to be told too."""

    spikes: SpikeSettings = field(default_factory=SpikeSettings)
    knowledge: Knowledge = field(default_factory=shipped_knowledge)
    pricing: Pricing | None = None


def analyze(
    store: Store,
    window: Window,
    now: datetime,
    objectives: Sequence[Objective],
    settings: AnalyzeSettings,
    progress: Progress = lambda _, __: None,
) -> list[Incident]:
    """Find and explain every spike that began or went on in the window, and store what is new.

    Running it twice changes nothing.

    Args:
        store: where requests and samples are read and incidents are kept.
        window: event time to look at; a history before it is read as well.
        now: what `updated_at` of a stored incident says.
        objectives: what was promised, for severity and budget spent.
        settings: how to look.
        progress: told what is done, and which share of it is.

    Returns:
        Every incident of the window, by beginning.
    """
    window = _settling(store, _on_steps(window, settings.spikes.step_s))
    found = []
    for whole_spike, whole_case in unusual_cases(store, window, settings, progress):
        for spike, case, explanation in _explained(store, whole_spike, whole_case, settings):
            if is_incident(case.scope, explanation):
                found.append(incident_of(spike, case.scope, explanation, _damage(store, spike, objectives)))
    found = [_with_cost(store, one, window.end, settings.pricing) for one in one_for_shared_cause(found)]
    write_incidents(store, reconcile(found, read_incidents(store, window), window.end), now)
    return sorted(read_incidents(store, window), key=lambda incident: (incident.started_at, incident.id))


def _explained(
    store: Store, spike: Spike, case: Case, settings: AnalyzeSettings
) -> list[tuple[Spike, Case, Explanation]]:
    """A spike and why. One that nothing explains is told in two where it rose once more, if that has a cause.

    What has been somewhat slow for long, and what breaks meanwhile, is one spike, that began long before what broke.
    """
    try:
        explanation = _explain(store, case, settings)
    except StoreError:
        raise
    except Exception as error:  # one spike that cannot be explained must not hide all others
        log.exception("explaining_failed")
        return [(spike, case, not_explained(spike.service, error))]
    if explanation.causes[0].kind is CauseKind.UNKNOWN:
        rose_at = rise_within(_slow_by_step(case, settings.spikes.step_s))
        if rose_at is not None:
            later = _part(case, Window(rose_at, case.window.end))
            why = _explain(store, later, settings)
            if why.causes[0].kind is not CauseKind.UNKNOWN:
                earlier = _part(case, Window(case.window.start, rose_at))
                first, second = spike.told_apart(rose_at, settings.spikes)
                first = replace(first, peak_ms_p99=_peak_ms_p99(earlier, settings.spikes.step_s))
                return [(first, earlier, _explain(store, earlier, settings)), (second, later, why)]
    return [(spike, case, explanation)]


def _part(case: Case, window: Window) -> Case:
    """A part of a case, held against the same usual time."""
    scope = localise(case.requests, case.indicator, window, case.reference, case.excluded, case.one_in)
    return replace(case, window=window, scope=scope)


def _peak_ms_p99(case: Case, step_s: int) -> float:
    """The highest p99 of a step of the window, in ms; of failures that of latency, 0 where nothing has a time."""
    column = VALUES[case.indicator]
    by_step = case.requests.filter(_within(case.window)).group_by(pl.col("time").dt.truncate(f"{step_s}s"))
    peak = by_step.agg(pl.col(column).quantile(0.99, "linear"))[column].max()
    return float(peak) if isinstance(peak, float) else 0.0


def _slow_by_step(case: Case, step_s: int) -> pl.DataFrame:
    """Requests and slow or failed ones of the window by step: columns time, requests, slow."""
    over_ms = case.scope.slow_over_ms
    is_slow = pl.lit(value=False) if over_ms is None else pl.col(VALUES[case.indicator]) > over_ms
    return (
        case.requests.filter(_within(case.window))
        .group_by(pl.col("time").dt.truncate(f"{step_s}s").alias("time"))
        .agg(pl.len().alias("requests"), (pl.col("is_error") | is_slow.fill_null(value=False)).sum().alias("slow"))
        .sort("time")
    )


def _with_cost(store: Store, incident: Incident, until: datetime, pricing: Pricing | None) -> Incident:
    """The incident, and the dollars of GPU time that its slow and failed requests took, as a usual request takes."""
    if pricing is None:
        return incident
    lasted = Window(incident.started_at, max(incident.ended_at or until, incident.started_at + timedelta(seconds=1)))
    each_usd = request_cost_usd(store, incident.service, lasted, pricing)
    return (
        incident if each_usd is None else replace(incident, cost_usd=round(each_usd * incident.slow_requests_count, 2))
    )


def unusual_cases(
    store: Store, window: Window, settings: AnalyzeSettings, progress: Progress = lambda _, __: None
) -> Iterator[tuple[Spike, Case]]:
    """Every spike that began or went on in the window, but those that chance explains; of indicators together, one.

    With those are some that chance may explain, beside which nothing is unusual: to look whether a cause is plain.
    Service by service, and of each by beginning. The requests of one case are held at a time.
    """
    series = _request_series(store, window, settings.spikes, progress)
    spikes = [spike for spike in find_spikes(series, window.end, settings.spikes) if spike.window.end > window.start]
    looked_at = 0
    for service in dict.fromkeys(spike.service for spike in spikes):
        requests = _RecentRequests(store, service, series, window.end)
        excluded: dict[Spike, tuple[Window, ...]] = {}  # by unusual spike, what was unusual in the history before it
        notable: dict[Spike, tuple[Window, ...]] = {}
        for spike in (one for one in spikes if one.service == service):
            whole, _ = _whole_and_reference(spike.window, settings.spikes.history_s)
            earlier = tuple(
                other.window for other in excluded
                if other.model == spike.model and whole.start < other.window.end <= spike.window.start
            )  # fmt: skip
            found = _slowness_of(requests, spike, earlier, settings.spikes.history_s, spike.window)
            if found.is_unusual:
                excluded[spike] = earlier
            elif found.is_notable:
                notable[spike] = earlier
            looked_at += 1
            progress("Looking at spikes", looked_at / len(spikes))
        unusual = list(excluded)
        begun = partial(_begun, requests, excluded, settings.spikes.history_s)
        for spike in one_for_overlapping(unusual):
            later = begun(spike)
            if (
                later != spike
                and not _slowness_of(
                    requests, later, excluded[spike], settings.spikes.history_s, later.window
                ).is_unusual
            ):
                unusual.remove(spike)  # the minutes before it were what was unusual of it: the others tell the rest
        lasting = {until_failures_end(begun(spike), unusual): excluded[spike] for spike in one_for_overlapping(unusual)}
        kept = one_for_overlapping(list(lasting))
        beside = [spike for spike in notable if not any(are_together(spike, other) for other in kept)]
        for spike in sorted(kept + one_for_overlapping(beside), key=lambda one: one.window.start):
            yield spike, _case_of(requests, spike, (lasting | notable)[spike], settings.spikes.history_s)


def _request_series(store: Store, window: Window, settings: SpikeSettings, progress: Progress) -> pl.DataFrame:
    """Requests by step, from a history before the window on; read a stretch at a time.

    So a week takes no more memory than a stretch; and what is paced and what is slow is told by the hours around it,
    as in a live look, and not by those of another day.
    """
    history_s = settings.history_s
    parts: list[pl.DataFrame] = []
    start = _step_of(window.start, settings.step_s)  # so that no stretch cuts a step in two
    while start < window.end:
        stretch = Window(start, min(start + timedelta(seconds=_STRETCH_S), window.end))
        part = read_request_series(store, stretch.widened(before_s=history_s), settings.step_s)
        parts.append(part.filter(pl.col("time") >= start) if parts else part)
        start = stretch.end
        progress("Reading requests", (start - window.start) / (window.end - window.start))
    return pl.concat(parts)


class _RecentRequests:
    """The requests of one service, read a stretch at a time for spikes in order of their beginnings.

    Args:
        store: where they are read.
        service: whose.
        series: a frame of `read_request_series`: how many there are.
        until: the end of the look.
    """

    def __init__(self, store: Store, service: str, series: pl.DataFrame, until: datetime) -> None:
        self._store = store
        self._service = service
        self._counts = series.filter(pl.col("service") == service).select("time", "requests")
        self._until = until
        self._known: tuple[int, Window, pl.DataFrame] | None = None

    def of(self, model: str | None, window: Window) -> tuple[int, pl.DataFrame]:
        """One in how many is read, and those of the window and the model (or of none) with `stage_split` columns."""
        one_in = _one_in(self._counts.filter(_within(window)))
        if self._known is None or self._known[0] != one_in or not _covers(self._known[1], window):
            end = min(self._until, window.end + timedelta(seconds=_STRETCH_S))
            stretch = Window(window.start, max(window.end, end))
            self._known = one_in, stretch, stage_split(read_requests(self._store, stretch, self._service, None, one_in))
        requests = self._known[2].filter(_within(window))
        return one_in, requests.filter(pl.col("model").eq_missing(model))


def _slowness_of(
    requests: _RecentRequests, spike: Spike, earlier: Sequence[Window], history_s: float, part: Window
) -> Slowness:
    """How many were slow in a part of a spike, against the usual time before all of it."""
    whole, reference = _whole_and_reference(spike.window, history_s)
    _, read = requests.of(spike.model, whole)
    return slowness(read, spike.indicator, part, reference, earlier)


def _begun(
    requests: _RecentRequests, unusual: Mapping[Spike, tuple[Window, ...]], history_s: float, spike: Spike
) -> Spike:
    """The spike, begun with the others as of `begun_with_others`; by unusual spike what was unusual before it."""

    def is_notable(part: Window) -> bool:
        return _slowness_of(requests, spike, unusual[spike], history_s, part).is_notable

    return begun_with_others(spike, list(unusual), is_notable)


def _one_in(counted: pl.DataFrame) -> int:
    """One in how many requests is read, of those that a column `requests` counts."""
    return max(1, math.ceil(int(counted["requests"].sum()) / _REQUESTS_MAX))


def _within(window: Window) -> pl.Expr:
    return pl.col("time").is_between(window.start, window.end, closed="left")


def _covers(one: Window, other: Window) -> bool:
    return one.start <= other.start and other.end <= one.end


def _case_of(requests: _RecentRequests, spike: Spike, excluded: tuple[Window, ...], history_s: float) -> Case:
    whole, reference = _whole_and_reference(spike.window, history_s)
    one_in, read = requests.of(spike.model, whole)
    scope = localise(read, spike.indicator, spike.window, reference, excluded, one_in)
    return Case(spike.service, spike.window, reference, spike.indicator, excluded, one_in, read, scope)


def _whole_and_reference(window: Window, history_s: float) -> tuple[Window, Window]:
    """The window with the history before it, and what of that is usual time."""
    whole = window.widened(before_s=history_s)
    return whole, Window(whole.start, window.start - timedelta(seconds=min(_LEAD_S, history_s / 10)))


def is_incident(scope: Scope, explanation: Explanation) -> bool:
    """Is a spike worth telling: with a cause, or if it is unusual and no arrivals that came close together."""
    return explanation.causes[0].kind is not CauseKind.UNKNOWN or (scope.is_unusual and not scope.may_be_burst)


def _on_steps(window: Window, step_s: int) -> Window:
    """The window without the step under way, of which only the quick requests have arrived."""
    end = _step_of(window.end, step_s)
    return Window(window.start, end) if end > window.start else window


def _step_of(moment: datetime, step_s: int) -> datetime:
    """When the step began that a moment lies in."""
    return datetime.fromtimestamp(int(moment.timestamp()) // step_s * step_s, UTC)


def _settling(store: Store, window: Window) -> Window:
    """The window, begun early enough to see how every incident that is still open went on (a week at most)."""
    week = window.before(7 * 86400)
    open_since = [max(one.started_at, week.start) for one in read_incidents(store, week, status=Status.OPEN)]
    return Window(min([window.start, *open_since]), window.end)


def explain_window(
    store: Store,
    service: str,
    window: Window,
    indicator: Indicator | None = None,
    settings: AnalyzeSettings | None = None,
) -> Explanation:
    """What explains this window of this service, against the history before it.

    Without an indicator it is the time to first token where the service has one, else the latency.

    Raises:
        ValueError: for an indicator that is no time.
    """
    if indicator is not None and indicator not in VALUES:
        raise ValueError(f"{indicator} is not explained; valid are {', '.join(VALUES)}")
    if indicator is None:
        services = read_services(store, window, service)
        indicator = Indicator.TTFT if services["requests_with_ttft"].sum() else Indicator.LATENCY
    settings = settings or AnalyzeSettings()
    return _explain(store, _read_case(store, service, window, indicator, settings), settings)


def evidence_series(
    store: Store, incident: Incident, window: Window, step_s: int, knowledge: Knowledge
) -> pl.DataFrame:
    """The signals that speak for an incident's causes, over a window.

    Returns:
        A frame of schema `EVIDENCE_SERIES`, value null where there was no sample; signals in the order of the
        evidence.
    """
    wanted = [(item.signal, item.entity) for cause in incident.explanation.causes for item in cause.evidence]
    metrics = {metric for name, _ in wanted for metric in _metrics_of(knowledge, name)}
    grid = Grid(window, step_s)
    series = read_series(store, window, sorted(metrics), knowledge.labels)
    one_in = _one_in(read_services(store, window, incident.service))
    requests = stage_split(read_requests(store, window, incident.service, incident.model, one_in))
    series = attributed(series, requests, knowledge.of_replicas)
    matrices = _metric_signals(store, concerning(series, {entity for _, entity in wanted}), grid, knowledge)
    matrices += request_signals(incident.service, requests, grid, knowledge, one_in)
    rows = {
        (matrix.signal.name, entity): (matrix, row) for matrix in matrices for row, entity in enumerate(matrix.entities)
    }
    times = [grid.time(step) for step in range(grid.steps)]
    parts = [pl.DataFrame(schema=EVIDENCE_SERIES)]
    for name, entity in dict.fromkeys(wanted):
        if (name, entity) not in rows:
            continue
        matrix, row = rows[name, entity]
        signal = matrix.signal
        parts.append(
            pl.DataFrame(
                {"time": times, "value": matrix.values[row]}, schema_overrides={"time": EVIDENCE_SERIES["time"]}
            )
            .with_columns(
                pl.lit(signal.name).alias("signal"),
                pl.lit(signal.title).alias("title"),
                pl.lit(signal.unit).alias("unit"),
                pl.lit(entity.kind.value).alias("entity_kind"),
                pl.lit(entity.name).alias("entity_name"),
                pl.col("value").fill_nan(None),
            )
            .select(*EVIDENCE_SERIES)
        )
    return pl.concat(parts)


def default_objectives(store: Store, now: datetime) -> tuple[Objective, ...]:
    """A first promise for each service of the last day, until someone makes a better one.

    99.9 % of requests succeed, and 99 % see their first token (or, where none is told, finish) within half as long
    again as the usual p99 of five minutes, rounded up.
    """
    window = Window(now - timedelta(days=1), now)
    objectives = []
    for service in read_services(store, window)["service"].unique(maintain_order=True):
        objectives.append(Objective(f"{service}-availability", service, Indicator.ERRORS, 0.999, 30))
        latency = read_latency(store, window, service, step_s=_SLO_STEP_S)
        for indicator in (Indicator.TTFT, Indicator.LATENCY):
            usual_ms = latency[f"{indicator.value}_ms_p99"].median()
            if isinstance(usual_ms, float) and usual_ms > 0:
                threshold_ms = rounded_up(1.5 * usual_ms)
                objectives.append(Objective(f"{service}-{indicator}", service, indicator, 0.99, 30, threshold_ms))
                break
    return tuple(objectives)


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


def kept_exclusions(store: Store) -> tuple[Exclusion, ...]:
    """The stretches that are left out of the judgement of objectives, by id; those that were taken back are not."""
    found = (exclusion_of(document) for document in read_documents(store, SLO_EXCLUSIONS).values())
    return tuple(one for one in found if one is not None)


def slo_counts(store: Store, objective: Objective, window: Window, step_s: int = BURN_STEP_S) -> pl.DataFrame:
    """Good and all events of an objective by step: columns time, total, good.

    Those that are no requests (throughput, GPUs, freshness) come by the minute whatever the step.
    """
    service, selection = objective.service, objective.selection
    match objective.indicator:
        case Indicator.THROUGHPUT:
            requests = read_slo_counts(store, window, service, Indicator.ERRORS, None, BURN_STEP_S, selection=selection)
            waiting = pl.DataFrame(schema=SLO_WAITING)
            if selection.tenant is None and selection.version is None:  # an engine does not say whose requests wait
                metrics = _metrics_of(shipped_knowledge(), "waiting_requests")
                waiting = read_slo_waiting(store, window, service, metrics, selection)
            return throughput_counts(requests, waiting, window, objective.floor_per_s or 0.0)
        case Indicator.DATA_FRESHNESS:
            age_s = objective.age_max_s or 0.0
            newest = read_slo_newest(store, widened_for_age(window, age_s), service, objective.data, selection)
            first = read_slo_first(store, window.end, service, objective.data, selection)
            return freshness_counts(newest, first, window, age_s)
        case Indicator.GPU_AVAILABILITY:
            told = [
                read_slo_gpus(store, part, GPU_ALIVE, GPU_XID, FAULTY_XIDS, selection.node) for part in _days(window)
            ]
            expected = timedelta(days=objective.window_days)
            seen = read_slo_gpu_seen(store, Window(window.start - expected, window.end), GPU_ALIVE, selection.node)
            return gpu_counts(pl.concat(told), seen, window, expected.total_seconds())
        case _:
            return read_slo_counts(
                store, window, service, objective.indicator, objective.threshold_ms, step_s,
                tpot_threshold_ms=objective.tpot_threshold_ms, selection=selection,
            )  # fmt: skip


def _days(window: Window) -> list[Window]:
    """The window in stretches of a day at most."""
    parts, start = [], window.start
    while start < window.end:
        end = min(start + timedelta(days=1), window.end)
        parts.append(Window(start, end))
        start = end
    return parts


def slo_statuses(
    store: Store,
    objectives: Sequence[Objective],
    now: datetime,
    known: "RecentCounts | PastCounts | None" = None,
) -> list[SloStatus]:
    """Where each objective stands at `now`, worst first; what `known` has in memory is not read again."""
    exclusions = kept_exclusions(store)
    statuses = []
    for objective in objectives:
        window = judged_window(objective, now)
        counts = slo_counts(store, objective, window) if known is None else known.of(objective, now, window.start)
        statuses.append(slo_status(objective, counts, now, exclusions))
    return sorted(
        statuses,
        key=lambda status: (
            status.budget_left_ratio is None,
            status.budget_left_ratio,
            status.objective.name,
        ),
    )


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

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[Objective, _KnownCounts] = {}
        self._lock = threading.Lock()

    def of(self, objective: Objective, now: datetime, start: datetime | None = None) -> pl.DataFrame:
        """Columns time, total, good, by minute from `start` (the longest window of an alert before now) up to `now`.

        May be asked from several threads, one after the other.
        """
        with self._lock:
            return self._of(objective, now, start)

    def _of(self, objective: Objective, now: datetime, start: datetime | None) -> pl.DataFrame:
        if start is None:
            start = now - timedelta(seconds=max(pair.long_s for pair in WINDOWS) + 3600)
        counted = replace(  # the same events, whatever is promised of them
            objective, name="", target_ratio=0.0, calendar=None, slices=None, more_periods=(), sla=None, file=None
        )
        known = self._known.get(counted)
        if known is None or start < known.start or now - known.all_read_at >= self._READ_ANEW:
            widest = start if known is None else min(start, known.start + (now - known.all_read_at))
            known = _KnownCounts(_minute_of(widest), _minute_of(widest), now, pl.DataFrame(schema=SLO_COUNTS))
        since = max(known.start, _minute_of(known.until - self._LATE))
        parts = [known.counts.filter(pl.col("time") < since)]
        if since < now:
            parts += [slo_counts(self.store, objective, part) for part in _days(Window(since, now))]
        counts = pl.concat(parts)
        self._forget(now)
        if counted in self._known or len(self._known) < self._KEPT_MOST:
            self._known[counted] = _KnownCounts(known.start, now, known.all_read_at, counts)
        return counts.filter(pl.col("time") >= start)

    def _forget(self, now: datetime) -> None:
        """What was not asked for in the last hours."""
        for objective, known in list(self._known.items()):  # pages ask from other threads meanwhile
            if now - known.until > self._READ_ANEW:
                self._known.pop(objective, None)


class PastCounts:
    """Good and all events of objectives by the minute, at any minute of a stretch; each objective is read once."""

    def __init__(self, store: Store, window: Window) -> None:
        self._store = store
        self._window = window
        self._known: dict[Objective, pl.DataFrame] = {}

    def of(self, objective: Objective, now: datetime, start: datetime) -> pl.DataFrame:
        """Columns time, total, good, by minute from `start`, but not before the judged window then, up to `now`."""
        if objective not in self._known:
            whole = Window(judged_window(objective, self._window.start).start, self._window.end)
            self._known[objective] = slo_counts(self._store, objective, whole)
        return self._known[objective].filter((pl.col("time") >= start) & (pl.col("time") < now))


def _minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def slo_burns(counts: RecentCounts, objectives: Sequence[Objective], now: datetime) -> list[BurnAlert]:
    """Every stretch of the last days in which one of these objectives burnt too fast."""
    exclusions = kept_exclusions(counts.store)
    return [alert for one in objectives for alert in burn_alerts(one, counts.of(one, now), now, exclusions=exclusions)]


def backtest(
    store: Store,
    objective: Objective,
    window: Window,
    settings: BurnSettings | None = None,
    counts: pl.DataFrame | None = None,
) -> list[BurnAlert]:
    """The pages and tickets that an objective would have brought within a window: what is known, asked afterwards.

    Who has them at hand gives the `counts` of `backtest_counts`; another target needs no others.
    """
    if counts is None:
        counts = backtest_counts(store, objective, window)
    found = burn_alerts(objective, counts, window.end, settings, kept_exclusions(store))
    return [one for one in found if one.started_at >= window.start]


def backtest_counts(store: Store, objective: Objective, window: Window) -> pl.DataFrame:
    """The counts that a backtest over a window needs: columns time, total, good, from before the window on."""
    lead_s = max(pair.long_s for pair in WINDOWS)
    return slo_counts(store, objective, window.widened(before_s=lead_s))


def slo_evidence(store: Store, objective: Objective, window: Window, step_s: int) -> dict[str, Any]:
    """Every count that the standing of an objective over a window rests on, as `analytics.slo_evidence` tells it."""
    return evidence(objective, slo_counts(store, objective, window), window, kept_exclusions(store), step_s)


def stopped_services(store: Store, now: datetime) -> list[StoppedTraffic]:
    """The services that nobody reaches any more."""
    return stopped_traffic(read_traffic_steps(store, Window(now - HISTORY, now)), now)


def past_traffic(store: Store, window: Window) -> PastTraffic:
    """The services that nobody reached, at any moment of a window."""
    start = _step_of(window.start - HISTORY, TRAFFIC_STEP_S)
    return PastTraffic(pl.concat([read_traffic_steps(store, day) for day in _days(Window(start, window.end))]))


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """What one GPU or port told last: by signal, null for one that it did not tell of late."""

    entity: Entity
    node: str | None
    replica: str | None
    pool: str | None
    gpu_model: str | None
    values: Mapping[str, float | None]


def device_readings(
    store: Store, kind: EntityKind, now: datetime, knowledge: Knowledge | None = None
) -> list[DeviceReading]:
    """What every GPU or port told within the last minutes, by name; one that told nothing of late has no values."""
    known = knowledge or shipped_knowledge()
    signals = [one for one in known.signals.values() if one.entity is kind and one.metrics]
    window = Window(now - timedelta(seconds=_NOW_S), now)
    metrics = sorted({metric for one in signals for metric in (*one.metrics, *one.capacity)})
    labels = (*known.labels, "modelName", "exported_namespace", "namespace")
    series = read_series(store, window, metrics, labels)
    values: dict[Entity, dict[str, float | None]] = {}
    for matrix in _metric_signals(store, series, Grid(window, _READING_STEP_S), known):
        if matrix.signal.entity is not kind:
            continue
        for row, entity in enumerate(matrix.entities):
            told = matrix.values[row]
            finite = told[np.isfinite(told)]
            values.setdefault(entity, {})[matrix.signal.name] = float(finite[-1]) if finite.size else None
    label = {name: pl.col("labels").list.get(at, null_on_oob=True).replace("", None) for at, name in enumerate(labels)}
    name = pl.col("gpu") if kind is EntityKind.GPU else pl.col("node") + "/" + pl.col("port")
    whose = series.with_columns(
        name.alias("name"),
        label["modelName"].alias("gpu_model"),
        pl.coalesce(label["exported_namespace"], label["namespace"]).alias("pool"),
    ).drop_nulls("name")
    columns = ("node", "replica", "pool", "gpu_model")
    known_of = whose.group_by("name").agg(pl.col(columns).drop_nulls().last()).sort("name")
    return [
        DeviceReading(
            entity=Entity(kind, row["name"]), values=values.get(Entity(kind, row["name"]), {}),
            **{one: row[one] for one in columns},
        )
        for row in known_of.iter_rows(named=True)
    ]  # fmt: skip


def imbalance_of(store: Store, service: str, window: Window) -> Imbalance:
    """How unevenly the replicas of a service were loaded over a window (rounded down to 15 s)."""
    step_s = 86_400 * 366  # one step for all of the window
    rows = read_latency(store, window, service, step_s, ["replica"]).group_by("replica").agg(
        pl.col("requests", "errors", "input_tokens", "output_tokens").sum(),
        pl.col("latency_ms_p99", "ttft_ms_p99").last(),
    )  # fmt: skip
    return imbalance(rows)


def compared_releases(store: Store, service: str, window: Window, a: str, b: str) -> Comparison:
    """How version b of a service did against version a over a window."""
    seen = read_services(store, window, service)
    one_in = _one_in(seen)
    return replace(compare_versions(read_requests(store, window, service, one_in=one_in), a, b), one_in=one_in)


@dataclass(frozen=True, slots=True)
class EnginesNow:
    """What the engines of one model in one pool told last.

    `engines` is of schema `analytics.scaling.ENGINES`; `known` says that some were heard of in the last hour, `others`
    which models and pools were.
    """

    engines: pl.DataFrame
    data_age_s: float | None
    known: bool
    others: tuple[tuple[str, str], ...]


def engines_now(store: Store, model: str, pool: str, now: datetime) -> EnginesNow:
    """The newest of what each engine told within the last minutes, and how old that is.

    The pool of an engine is its namespace label; else the pool that its replica's requests came from.
    """
    hour = Window(now - timedelta(hours=1), now)
    names = {column: metrics for column, metrics in ENGINE_METRICS.items() if column in ENGINES}
    labels = ("exported_namespace", "namespace")
    series = read_series(store, hour, [one for metrics in names.values() for one in metrics], labels)
    told = [pl.col("labels").list.get(at, null_on_oob=True).replace("", None) for at in range(len(labels))]
    pools = read_replica_pools(store, hour).rename({"model": "asked_model"})
    series = series.drop_nulls("replica").join(pools, on="replica", how="left").with_columns(
        pl.coalesce(*told, "pool").alias("pool"), pl.coalesce("model", "asked_model").alias("model")
    )  # fmt: skip
    others = series.select("model", "pool").drop_nulls().unique().sort("model", "pool").rows()
    mine = series.filter((pl.col("model") == model) & (pl.col("pool") == pool))
    recent = Window(now - timedelta(seconds=_NOW_S), now)
    rows = sample_rows(read_samples(store, recent, mine, _NOW_STEP_S, "last"), _NOW_STEP_S)
    rows = rows.join(mine.select("series_id", "metric", "replica"), on="series_id")
    newest = rows["time"].max()
    if not isinstance(newest, datetime):
        return EnginesNow(pl.DataFrame(schema=ENGINES), None, not mine.is_empty(), tuple(others))
    # A sample of a step is at most as old as the step's beginning; one that stands still for minutes tells nothing.
    age_s = max(0.0, (now - newest).total_seconds())
    fresh = rows.filter(pl.col("time") >= newest - timedelta(seconds=_FRESH_S))
    # A replica may tell of several engines (data parallel), each in a series of its own.
    newest_of = fresh.sort("time").group_by("replica", "metric", "series_id").agg(pl.col("value").last())
    is_share = pl.col("metric").is_in(list(names["kv_usage_ratio"]))
    value = pl.when(is_share.first()).then(pl.col("value").mean()).otherwise(pl.col("value").sum())
    last = newest_of.group_by("replica", "metric").agg(value)
    engines = last.select("replica").unique()
    for column, metrics in names.items():
        order = {metric: rank for rank, metric in enumerate(metrics)}
        own = last.filter(pl.col("metric").is_in(list(metrics))).with_columns(
            pl.col("metric").replace_strict(order, return_dtype=pl.Int64).alias("rank")
        )
        own = own.sort("rank").unique("replica", keep="first", maintain_order=True)
        engines = engines.join(own.select("replica", pl.col("value").alias(column)), on="replica", how="left")
    return EnginesNow(engines.select(*ENGINES), age_s, known=True, others=tuple(others))


def _read_case(
    store: Store,
    service: str,
    window: Window,
    indicator: Indicator,
    settings: AnalyzeSettings,
    excluded: tuple[Window, ...] = (),
) -> Case:
    whole, reference = _whole_and_reference(window, settings.spikes.history_s)
    seen = read_services(store, whole, service)
    one_in = _one_in(seen)
    requests = stage_split(read_requests(store, whole, service, None, one_in))
    scope = localise(requests, indicator, window, reference, excluded, one_in)
    return Case(service, window, reference, indicator, excluded, one_in, requests, scope)


def _explain(store: Store, case: Case, settings: AnalyzeSettings, called_by: tuple[str, ...] = ()) -> Explanation:
    explanation = explain(find(store, case, settings), settings.knowledge)
    return _followed(store, case, explanation, settings, (*called_by, case.service))


def find(store: Store, case: Case, settings: AnalyzeSettings) -> Findings:
    """All that the store knows of a case and its surroundings, before anything is blamed."""
    whole = Window(case.reference.start, case.window.end)
    grid = Grid(whole, _grid_step_s(whole, settings.spikes.step_s))
    knowledge = settings.knowledge
    series = read_series(store, whole, knowledge.metrics, knowledge.labels)
    series = attributed(series, case.requests, knowledge.of_replicas)
    near = neighbourhood(case.service, case.requests, series, read_topology(store))
    matrices = _metric_signals(store, concerning(series, near.replicas_of.keys()), grid, knowledge)
    column = VALUES[case.indicator]
    is_measured = pl.col(column).is_not_null() | pl.col("is_error")
    measured = case.requests.filter(is_measured)
    matrices += request_signals(case.service, measured, grid, knowledge, case.one_in)
    serving = turnover(measured, matrices, grid)
    matrices += serving.signals(case.service, knowledge)
    moves = [
        shift
        for matrix in matrices
        for shift in shifts(
            _only_near(matrix, near.replicas_of.keys()), grid, case.window, case.reference, case.excluded
        )
    ]
    moves += serving.starts(grid, case.window, knowledge)
    moves += serving.crashes(case.service, grid, case.window, knowledge)
    usual_and_now = case.requests_but_earlier.filter(is_measured)
    moves += release_shifts(usual_and_now, column, case.scope, case.window, case.reference, knowledge)
    upstream = _upstream(store, case, knowledge)
    return Findings(
        service=case.service,
        onset=case.window.start,
        scope=replace(case.scope, upstream_ratio=upstream.ratios, lost=serving.lost(grid, case.window)),
        shifts=[*moves, *upstream.shifts],
        neighbourhood=near,
        step_s=grid.step_s,
        load=load_of(usual_and_now, column, case.window, case.reference, case.one_in),
        indicator=case.indicator,
    )


def _upstream(store: Store, case: Case, knowledge: Knowledge) -> Upstream:
    """What the traces of some requests say of the services that they called."""
    if case.scope.is_spent_within:
        return Upstream((), {})
    recent = Window(max(case.reference.start, case.reference.end - timedelta(seconds=_CALLS_S)), case.reference.end)
    frames = []
    for window in (recent, case.window):
        during = case.requests_but_earlier.filter(_within(window))
        chosen = during.drop_nulls("trace_id").gather_every(max(1, during.height // _TRACES))["trace_id"].to_list()
        around = Window(window.start - _TRACE_SLACK, window.end + _TRACE_SLACK)
        frames.append(read_calls(store, around, chosen))
    return upstream_of(frames[0], frames[1], case.service, knowledge)


def _followed(
    store: Store, case: Case, explanation: Explanation, settings: AnalyzeSettings, called_by: tuple[str, ...]
) -> Explanation:
    """The explanation, gone on with in the called service that holds the time, when that one knows why."""
    first = explanation.causes[0]
    called = first.entity.name
    if first.kind is not CauseKind.UPSTREAM_DEPENDENCY or called in called_by or len(called_by) > _CALLS_DEEP:
        return explanation
    services = read_services(store, case.window, called)
    if services.is_empty():
        return explanation
    indicator = Indicator.TTFT if services["requests_with_ttft"].sum() else Indicator.LATENCY
    inner = _read_case(store, called, case.window, indicator, settings, case.excluded)
    causes = _explain(store, inner, settings, called_by).causes
    if not inner.scope.is_unusual or causes[0].kind is CauseKind.UNKNOWN:
        return explanation
    deeper = [
        replace(
            cause,
            confidence=round(cause.confidence * first.confidence, 3),
            chain=(*cause.chain, *first.chain),
            explained_ratio=first.explained_ratio,
        )
        for cause in causes[:2]
    ]
    further = [*deeper[1:], replace(first, confidence=round(first.confidence * 0.5, 3)), *explanation.causes[1:]]
    return explanation.with_causes(deeper[0], further)


def _metric_signals(store: Store, series: pl.DataFrame, grid: Grid, knowledge: Knowledge) -> list[SignalMatrix]:
    metric = pl.col("metric")
    counters = read_samples(store, grid.window, series.filter(metric.is_in(knowledge.counters)), grid.step_s, "last")
    levels = read_samples(store, grid.window, series.filter(metric.is_in(knowledge.levels)), grid.step_s, "mean")
    return metric_signals(series, counters, levels, grid, knowledge)


def _only_near(matrix: SignalMatrix, entities: Collection[Entity]) -> SignalMatrix:
    rows = [row for row, entity in enumerate(matrix.entities) if entity in entities]
    return SignalMatrix(matrix.signal, tuple(matrix.entities[row] for row in rows), matrix.values[rows])


def _damage(store: Store, spike: Spike, objectives: Sequence[Objective]) -> BudgetDamage | None:
    promised = [
        one
        for one in objectives
        if one.service == spike.service
        and (one.threshold_ms is not None or one.indicator is spike.indicator is Indicator.ERRORS)
        and one.selection == ALL_REQUESTS
    ]
    promised.sort(key=lambda one: one.indicator is not spike.indicator)  # else what was promised of the other one
    objective = next(iter(promised), None)
    if objective is None:
        return None
    during = slo_counts(store, objective, spike.window, _SLO_STEP_S)
    budget_window = Window(spike.window.end - timedelta(days=objective.window_days), spike.window.end)
    all_count = int(slo_counts(store, objective, budget_window, 86_400)["total"].sum())
    total, good = int(during["total"].sum()), int(during["good"].sum())
    return BudgetDamage(objective, total - good, total, all_count)


def _grid_step_s(window: Window, step_s: int) -> int:
    """The step asked for, or the least that is read from the rollup and covers the window in `_STEPS_MAX` steps."""
    least_s = window.seconds / _STEPS_MAX
    if least_s <= step_s:
        return step_s
    return next((one for one in ROLLUP_STEPS_S if one >= least_s), ROLLUP_STEPS_S[-1])


def _metrics_of(knowledge: Knowledge, name: str) -> list[str]:
    signal = knowledge.signals.get(name)
    if signal is None:
        return []
    return [*signal.metrics, *signal.capacity]


def device_faults(store: Store, now: datetime, incidents: Sequence[Incident]) -> list[DeviceFault]:
    """The faults of GPUs and links that somebody is to mend, from the last half hour and what was known before it.

    What is told is remembered in the store, so that a fault which only a reset mends outlives its half hour, and us.

    Args:
        store: samples; the faults that are known.
        now: when it is looked.
        incidents: those going on: a fault that a page names already is told as its cause.
    """
    window = _fault_window(now)
    known = [fault_of(one) for one in read_document(store, _FAULTS, _FAULTS) or ()]
    series, told = _device_samples(store, window)
    topology = read_topology(store)
    found = faults_at(told, _cabled(topology), known, now)
    if found:
        found = with_riders(found, replicas_by_place(series), _services_of_replicas(store, window), topology)
        found = named_by(found, incidents, topology, known)
    if found != known:
        write_document(store, _FAULTS, _FAULTS, [fault_document(one) for one in found], now)
    return found


class PastDeviceFaults:
    """The faults of GPUs and links at moments of stored time, one after the other, as `device_faults` found them then.

    What was told before is remembered here, not in the store. Nothing is known of the time before the first moment:
    a fault that began earlier is told as far as its signs still show.

    Args:
        store: samples, a few hours of which are read at a time.
        until: no moment lies behind it.
    """

    def __init__(self, store: Store, until: datetime) -> None:
        self._store = store
        self._until = until
        self._topology = read_topology(store)
        self._cabled = _cabled(self._topology)
        self._known: list[DeviceFault] = []
        self._stretch: DeviceStretch | None = None
        self._series = pl.DataFrame()
        self._riders: tuple[dict[str, set[str]], dict[str, str]] | None = None

    def at(self, now: datetime, incidents: Sequence[Incident]) -> list[DeviceFault]:
        """Those at `now`, which is not before the last moment that was asked for."""
        window = _fault_window(now)
        if self._stretch is None or window.end > self._stretch.window.end:
            last = max(window.end, min(_fault_window(self._until).end, window.end + _FAULTS_READ))
            self._series, self._stretch = _device_samples(self._store, Window(window.start, last))
            self._riders = None
        told = self._stretch.part(window)
        found = faults_at(told, self._cabled, self._known, now)
        if found:
            if self._riders is None:  # of all that was read at once: who rides on a device is told, not judged
                services = _services_of_replicas(self._store, self._stretch.window)
                self._riders = (replicas_by_place(self._series), services)
            found = with_riders(found, *self._riders, self._topology)
            found = named_by(found, incidents, self._topology, self._known)
        self._known = found
        return found


def _fault_window(now: datetime) -> Window:
    end = _step_of(now - timedelta(seconds=_FAULT_LAG_S), _FAULT_STEP_S)
    return Window(end - timedelta(seconds=_FAULT_LOOK_S), end)


def _device_samples(store: Store, window: Window) -> tuple[pl.DataFrame, DeviceStretch]:
    """The series of what GPUs and ports told over a window, and their samples by step."""
    metrics = [metric.lower() for metric in (*GPU_METRICS, *PORT_METRICS)]
    series = read_series(store, window, metrics, ["modelName"])
    samples = sample_rows(read_samples(store, window, series, _FAULT_STEP_S, "last"), _FAULT_STEP_S)
    gpus = gpu_samples(series, samples, window, _FAULT_STEP_S)
    return series, DeviceStretch(window, gpus, port_samples(series, samples, window, _FAULT_STEP_S))


def _cabled(topology: Topology) -> set[Entity]:
    return {port for node in topology.nodes for port in topology.ports_of(node)}


def _services_of_replicas(store: Store, window: Window) -> dict[str, str]:
    """Which service each replica served."""
    found: dict[str, str] = {}
    for service in read_services(store, window)["service"].unique(maintain_order=True):
        traffic = read_traffic(store, window, service, _FAULT_TRAFFIC_STEP_S, by=("replica",))
        found |= dict.fromkeys(traffic["replica"].drop_nulls().unique().to_list(), service)
    return found
