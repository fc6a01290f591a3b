"""The jobs: read, think, write. The only module of analytics that touches the store.

Every job takes its times as arguments, so a live run, a replay and a backfill find the same.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from analytics.burn_rates import STEP_S as BURN_STEP_S
from analytics.burn_rates import WINDOWS, BurnAlert, BurnSettings, burn_alerts
from analytics.causes import Findings, explain
from analytics.device_faults import (
    GPU_METRICS,
    PORT_METRICS,
    DeviceFault,
    fault_document,
    fault_of,
    gpu_faults,
    gpu_samples,
    heard_of,
    named_by,
    port_faults,
    port_samples,
    replicas_by_place,
    silent_faults,
    with_riders,
)
from analytics.expected import explained_by_load
from analytics.incidents import BudgetDamage, incident_of, one_for_shared_cause, reconcile
from analytics.knowledge import Knowledge, shipped_knowledge
from analytics.openslo import objective_of
from analytics.releases import release_shifts
from analytics.scope import VALUES, Scope, attributed, localise, neighbourhood, stage_split
from analytics.signals import Grid, SignalMatrix, concerning, metric_signals, request_signals, shifts
from analytics.slo import rounded_up, slo_status
from analytics.slo_windows import slo_window
from analytics.spikes import Spike, SpikeSettings, find_spikes, one_for_overlapping
from analytics.turnover import turnover
from analytics.upstream import Upstream, upstream_of
from domain.cause import CauseKind, Explanation
from domain.entity import Entity
from domain.incident import Incident, Indicator, Status
from domain.slo import Objective, SloStatus
from domain.window import Window
from storage.readers import (
    ROLLUP_STEPS_S,
    SLO_COUNTS,
    SLO_DOCUMENTS,
    read_calls,
    read_document,
    read_documents,
    read_incidents,
    read_latency,
    read_request_series,
    read_requests,
    read_samples,
    read_series,
    read_services,
    read_slo_counts,
    read_topology,
    read_traffic,
    sample_rows,
    write_document,
    write_incidents,
)
from storage.store import Store

_STEPS_MAX = 2000  # signals over long windows are read in coarser steps
_LEAD_S = 60  # what is usual ends a minute before the onset: a ramp is not usual
_SLO_STEP_S = 300
_REQUESTS_MAX = 250_000  # of more, a sample is read: what is told of a thousand slow ones varies little
_OWN_STAGES = ("queue_ms", "prompt_ms", "prefill_ms", "answer_ms", "decode_ms")
_OWN_MOST = 0.8
_TRACES = 400  # of usual time and of the spike, looked through for calls
_CALLS_S = 1800
_CALLS_DEEP = 3
_FAULT_STEP_S, _FAULT_LOOK_S = 60, 1800
_FAULT_LAG_S = 20  # of the last minute all is there
_FAULT_TRAFFIC_STEP_S = 1800
_FAULTS = "device-faults"
_TRACE_SLACK = timedelta(minutes=2)  # its other spans may begin before a request, and end after it

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
    """One window of one service, with the requests in it and in the history before it."""

    service: str
    window: Window
    reference: Window
    indicator: Indicator
    excluded: tuple[Window, ...]
    one_in: int
    requests: pl.DataFrame
    scope: Scope


@dataclass(frozen=True, slots=True)
class AnalyzeSettings:
    """How spikes are looked for and explained."""

    spikes: SpikeSettings = field(default_factory=SpikeSettings)
    knowledge: Knowledge = field(default_factory=shipped_knowledge)


def analyze(
    store: Store,
    window: Window,
    now: datetime,
    objectives: Sequence[Objective],
    settings: AnalyzeSettings,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Incident]:
    """Find and explain every spike that began or went on in the window, and store what is new.

    Running it twice changes nothing.

    Args:
        store: where requests and samples are read and incidents are kept.
        window: event time to look at; a history before it is read as well.
        now: what `updated_at` of a stored incident says.
        objectives: what was promised, for severity and budget spent.
        settings: how to look.
        progress: told the service that is looked at.

    Returns:
        Every incident of the window, by beginning.
    """
    window = _settling(store, _on_steps(window, settings.spikes.step_s))
    found = []
    for spike, case in unusual_cases(store, window, settings):
        progress(spike.service)
        explanation = _explain(store, case, settings)
        found.append(incident_of(spike, case.scope, explanation, _damage(store, spike, objectives)))
    found = one_for_shared_cause(found)
    write_incidents(store, reconcile(found, read_incidents(store, window), window.end), now)
    return sorted(read_incidents(store, window), key=lambda incident: (incident.started_at, incident.id))


def unusual_cases(store: Store, window: Window, settings: AnalyzeSettings) -> list[tuple[Spike, Case]]:
    """Every spike that began or went on in the window, but those that chance explains; of indicators together, one."""
    history = window.widened(before_s=settings.spikes.history_s)
    series = read_request_series(store, history, settings.spikes.step_s)
    spikes = [spike for spike in find_spikes(series, window.end, settings.spikes) if spike.window.end > window.start]
    real: dict[Spike, Case] = {}
    for spike in spikes:
        earlier = tuple(
            other.window for other in real if (other.service, other.model) == (spike.service, spike.model)
            and other.window.end <= spike.window.start
        )  # fmt: skip
        case = _case(store, spike, earlier, settings)
        if case.scope.is_unusual:
            real[spike] = case
    return [(spike, real[spike]) for spike in one_for_overlapping(list(real))]


def _on_steps(window: Window, step_s: int) -> Window:
    """The window without the step under way, of which only the quick requests have arrived."""
    end_s = int(window.end.timestamp()) // step_s * step_s
    end = datetime.fromtimestamp(end_s, UTC)
    return Window(window.start, end) if end > window.start else window


def _settling(store: Store, window: Window) -> Window:
    """The window, begun early enough to see how every incident that is still open went on (a week at most)."""
    week = window.before(7 * 86400)
    open_since = [one.started_at for one in read_incidents(store, week, status=Status.OPEN)]
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
        services = read_services(store, window).filter(pl.col("service") == service)
        indicator = Indicator.TTFT if services["requests_with_ttft"].sum() else Indicator.LATENCY
    settings = settings or AnalyzeSettings()
    return _explain(store, _read_case(store, service, None, window, indicator, settings), settings)


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
    requests = stage_split(read_requests(store, window, incident.service))
    series = attributed(series, requests, knowledge.of_replicas)
    matrices = _metric_signals(store, concerning(series, {entity for _, entity in wanted}), grid, knowledge)
    matrices += request_signals(incident.service, requests, grid, knowledge)
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
    """The objectives that somebody put into the store, by name."""
    return tuple(objective_of(document) for document in read_documents(store, SLO_DOCUMENTS).values())


def slo_statuses(store: Store, objectives: Sequence[Objective], now: datetime) -> list[SloStatus]:
    """Where each objective stands at `now`, worst first."""
    statuses = []
    for objective in objectives:
        counts = read_slo_counts(
            store,
            slo_window(objective, now),
            objective.service,
            objective.indicator,
            objective.threshold_ms,
            BURN_STEP_S,
        )
        statuses.append(slo_status(objective, counts, now))
    return sorted(
        statuses,
        key=lambda status: (
            status.budget_left_ratio is None,
            status.budget_left_ratio,
            status.objective.name,
        ),
    )


class RecentCounts:
    """Good and all requests of objectives by the minute, over the longest window of an alert.

    A look reads what may have changed since the last one (late requests), not all of it.
    """

    _LATE = timedelta(minutes=15)

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Objective, tuple[datetime, pl.DataFrame]] = {}

    def of(self, objective: Objective, now: datetime) -> pl.DataFrame:
        """Columns time, total, good, by minute up to `now`."""
        start = now - timedelta(seconds=max(pair.long_s for pair in WINDOWS) + 3600)
        read_until, counts = self._known.get(objective, (start, pl.DataFrame(schema=SLO_COUNTS)))
        since = _minute_of(max(start, read_until - self._LATE))
        kept = counts.filter((pl.col("time") >= start) & (pl.col("time") < since))
        parts = [kept]
        while since < now:
            until = min(since + timedelta(days=1), now)
            parts.append(
                read_slo_counts(
                    self._store, Window(since, until), objective.service, objective.indicator, objective.threshold_ms,
                    BURN_STEP_S,
                )
            )  # fmt: skip
            since = until
        counts = pl.concat(parts)
        self._known[objective] = (now, counts)
        return counts


def _minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def slo_burns(counts: RecentCounts, objectives: Sequence[Objective], now: datetime) -> list[BurnAlert]:
    """Every stretch of the last days in which one of these objectives burnt too fast."""
    return [alert for one in objectives for alert in burn_alerts(one, counts.of(one, now), now)]


def backtest(
    store: Store, objective: Objective, window: Window, settings: BurnSettings | None = None
) -> list[BurnAlert]:
    """The pages and tickets that an objective would have brought within a window: what is known, asked afterwards."""
    lead_s = max(pair.long_s for pair in WINDOWS)
    ask = (objective.service, objective.indicator, objective.threshold_ms)
    counts = read_slo_counts(store, window.widened(before_s=lead_s), *ask, step_s=BURN_STEP_S)
    return [one for one in burn_alerts(objective, counts, window.end, settings) if one.started_at >= window.start]


def _case(store: Store, spike: Spike, earlier: tuple[Window, ...], settings: AnalyzeSettings) -> Case:
    history = spike.window.before(settings.spikes.history_s)
    excluded = tuple(window for window in earlier if window.end > history.start)
    return _read_case(store, spike.service, spike.model, spike.window, spike.indicator, settings, excluded)


def _read_case(
    store: Store,
    service: str,
    model: str | None,
    window: Window,
    indicator: Indicator,
    settings: AnalyzeSettings,
    excluded: tuple[Window, ...] = (),
) -> Case:
    history_s = settings.spikes.history_s
    whole = window.widened(before_s=history_s)
    reference = Window(whole.start, window.start - timedelta(seconds=min(_LEAD_S, history_s / 10)))
    seen = read_services(store, whole).filter(pl.col("service") == service)
    one_in = max(1, math.ceil(int(seen["requests"].sum()) / _REQUESTS_MAX))
    requests = stage_split(read_requests(store, whole, service, model, one_in))
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
    measured = case.requests.filter(pl.col(column).is_not_null() | pl.col("is_error"))
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
    moves += release_shifts(measured, column, case.scope, case.window, case.reference, knowledge)
    upstream = _upstream(store, case, knowledge)
    return Findings(
        service=case.service,
        onset=case.window.start,
        scope=replace(case.scope, upstream_ratio=upstream.ratios, lost=serving.lost(grid, case.window)),
        shifts=[*moves, *upstream.shifts],
        neighbourhood=near,
        step_s=grid.step_s,
        load_explains=explained_by_load(measured, column, case.window, case.reference, case.one_in),
        indicator=case.indicator,
    )


def _upstream(store: Store, case: Case, knowledge: Knowledge) -> Upstream:
    """What the traces of some requests say of the services that they called."""
    told = sum(max(0.0, case.scope.stage_excess_ms.get(stage, 0.0)) for stage in _OWN_STAGES)
    if case.scope.excess_ms > 0 and told > _OWN_MOST * case.scope.excess_ms:
        return Upstream((), {})  # the time was spent in the service itself
    recent = Window(max(case.reference.start, case.reference.end - timedelta(seconds=_CALLS_S)), case.reference.end)
    frames = []
    for window in (recent, case.window):
        during = case.requests.filter(pl.col("time").is_between(window.start, window.end, closed="left"))
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
    services = read_services(store, case.window).filter(pl.col("service") == called)
    if services.is_empty():
        return explanation
    indicator = Indicator.TTFT if services["requests_with_ttft"].sum() else Indicator.LATENCY
    inner = _read_case(store, called, None, case.window, indicator, settings, case.excluded)
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
    rest = [replace(first, confidence=round(first.confidence * 0.5, 3)), *explanation.causes[1:]]
    ranked = [replace(cause, rank=rank) for rank, cause in enumerate([*deeper, *rest], start=1)]
    return replace(explanation, causes=tuple(ranked))


def _metric_signals(store: Store, series: pl.DataFrame, grid: Grid, knowledge: Knowledge) -> list[SignalMatrix]:
    metric = pl.col("metric")
    counters = read_samples(store, grid.window, series.filter(metric.is_in(knowledge.counters)), grid.step_s, "last")
    levels = read_samples(store, grid.window, series.filter(metric.is_in(knowledge.levels)), grid.step_s, "mean")
    return metric_signals(series, counters, levels, grid, knowledge)


def _only_near(matrix: SignalMatrix, entities: Collection[Entity]) -> SignalMatrix:
    rows = [row for row, entity in enumerate(matrix.entities) if entity in entities]
    return SignalMatrix(matrix.signal, tuple(matrix.entities[row] for row in rows), matrix.values[rows])


def _damage(store: Store, spike: Spike, objectives: Sequence[Objective]) -> BudgetDamage | None:
    promised = [one for one in objectives if one.service == spike.service and one.threshold_ms is not None]
    promised.sort(key=lambda one: one.indicator is not spike.indicator)  # else what was promised of the other one
    objective = next(iter(promised), None)
    if objective is None:
        return None
    ask = (objective.service, objective.indicator, objective.threshold_ms)
    during = read_slo_counts(store, spike.window, *ask, step_s=_SLO_STEP_S)
    budget_window = Window(spike.window.end - timedelta(days=objective.window_days), spike.window.end)
    all_count = int(read_slo_counts(store, budget_window, *ask, step_s=86400)["total"].sum())
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
    end = datetime.fromtimestamp(int(now.timestamp() - _FAULT_LAG_S) // _FAULT_STEP_S * _FAULT_STEP_S, UTC)
    window = Window(end - timedelta(seconds=_FAULT_LOOK_S), end)
    known = [fault_of(one) for one in read_document(store, _FAULTS, _FAULTS) or ()]
    metrics = [metric.lower() for metric in (*GPU_METRICS, *PORT_METRICS)]
    series = read_series(store, window, metrics, ["modelName"])
    samples = sample_rows(read_samples(store, window, series, _FAULT_STEP_S, "last"), _FAULT_STEP_S)
    gpus = gpu_samples(series, samples, window, _FAULT_STEP_S)
    ports = port_samples(series, samples, window, _FAULT_STEP_S)
    topology = read_topology(store)
    cabled = {port for node in topology.nodes for port in topology.ports_of(node)}
    found = gpu_faults(gpus, window, known) if gpus is not None else []
    found += port_faults(ports, window, cabled, known) if ports is not None else []
    found += silent_faults(known, heard_of(gpus, ports), now)
    if found:
        replicas_of = replicas_by_place(series)
        found = with_riders(found, replicas_of, _services_of_replicas(store, window), topology)
        found = named_by(found, incidents, topology, known)
    if found != known:
        write_document(store, _FAULTS, _FAULTS, [fault_document(one) for one in found], now)
    return found


def _services_of_replicas(store: Store, window: Window) -> dict[str, str]:
    """Which service each replica served."""
    found: dict[str, str] = {}
    for service in read_services(store, window)["service"].unique(maintain_order=True):
        traffic = read_traffic(store, window, service, _FAULT_TRAFFIC_STEP_S, by=("replica",))
        found |= dict.fromkeys(traffic["replica"].drop_nulls().unique().to_list(), service)
    return found
