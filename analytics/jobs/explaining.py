"""Explaining: what the store knows of one window of one service, and what that says of its cause."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import polars as pl

from analytics.causes import Findings, explain
from analytics.cost.jobs import Pricing
from analytics.expected import load_of
from analytics.knowledge import Knowledge, shipped_knowledge
from analytics.neighbourhood import GPU_INDEX_LABEL, attributed, neighbourhood
from analytics.releases import release_shifts
from analytics.scope import VALUES, Scope, localise, outside, stage_split, within
from analytics.signals import Grid, SignalMatrix, concerning, metric_signals, request_signals, shifts
from analytics.spikes import SpikeSettings
from analytics.turnover import turnover
from analytics.upstream import Upstream, upstream_of
from domain.cause import CauseKind, Explanation
from domain.entity import Entity
from domain.incident import Incident, Indicator
from domain.window import Window
from storage.readers import ROLLUP_STEPS_S, read_calls, read_requests, read_samples, read_series, read_services
from storage.store import Store
from storage.topology import read_topology

_STEPS_MAX = 2000  # signals over long windows are read in coarser steps
_LEAD_S = 60  # what is usual ends a minute before the onset: a ramp is not usual
_AFTERMATH_S = 120  # who has gone is told by what comes no more
_REQUESTS_MAX = 250_000  # of more, a sample is read: what is told of a thousand slow ones varies little
_TRACES = 400  # of usual time and of the spike, looked through for calls
_CALLS_S = 1800
_CALLS_DEEP = 3
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
    """One window of one service, with the requests in it, in the history before it, and in two minutes after it.

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
    def seen(self) -> Window:
        """From usual time on to the end of the window, and as far beyond it as requests were read."""
        last = self.requests["time"].max()
        end = self.window.end
        if isinstance(last, datetime):
            end = min(max(end, last), with_aftermath(self.window).end)
        return Window(self.reference.start, end)


@dataclass(frozen=True, slots=True)
class AnalyzeSettings:
    """How spikes are looked for and explained, and what GPUs cost, if that is to be told too."""

    spikes: SpikeSettings = field(default_factory=SpikeSettings)
    knowledge: Knowledge = field(default_factory=shipped_knowledge)
    pricing: Pricing | None = None


def sampling(counted: pl.DataFrame) -> int:
    """One in how many requests is read, of those that a column `requests` counts."""
    return max(1, math.ceil(int(counted["requests"].sum()) / _REQUESTS_MAX))


def whole_and_reference(window: Window, history_s: float) -> tuple[Window, Window]:
    """The window with the history before it, and what of that is usual time."""
    whole = window.widened(before_s=history_s)
    return whole, Window(whole.start, window.start - timedelta(seconds=min(_LEAD_S, history_s / 10)))


def with_aftermath(window: Window) -> Window:
    """The window, and after it the two minutes that tell who has gone in its last moments."""
    return window.widened(after_s=_AFTERMATH_S)


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
    return explain_case(store, _read_case(store, service, window, indicator, settings), settings)


def evidence_series(
    store: Store, incident: Incident, window: Window, step_s: int, knowledge: Knowledge
) -> pl.DataFrame:
    """The signals that speak for an incident's causes, over a window.

    Returns:
        A frame of schema `EVIDENCE_SERIES`, value null where there was no sample; signals in the order of the
        evidence.
    """
    wanted = [(item.signal, item.entity) for cause in incident.explanation.causes for item in cause.evidence]
    metrics = {metric for name, _ in wanted for metric in knowledge.metrics_of(name)}
    grid = Grid(window, step_s)
    series = read_series(store, window, sorted(metrics), knowledge.labels, knowledge.parts)
    one_in = sampling(read_services(store, window, incident.service))
    requests = stage_split(read_requests(store, window, incident.service, incident.model, one_in))
    series = attributed(series, requests, knowledge.of_replicas)
    matrices = read_metric_signals(store, concerning(series, {entity for _, entity in wanted}), grid, knowledge)
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


def _read_case(
    store: Store,
    service: str,
    window: Window,
    indicator: Indicator,
    settings: AnalyzeSettings,
    excluded: tuple[Window, ...] = (),
) -> Case:
    whole, reference = whole_and_reference(window, settings.spikes.history_s)
    seen = read_services(store, whole, service)
    one_in = sampling(seen)
    requests = stage_split(read_requests(store, with_aftermath(whole), service, None, one_in))
    scope = localise(requests, indicator, window, reference, excluded, one_in)
    return Case(service, window, reference, indicator, excluded, one_in, requests, scope)


def explain_case(store: Store, case: Case, settings: AnalyzeSettings, called_by: tuple[str, ...] = ()) -> Explanation:
    """Why, gone on with in the called service that holds the time; `called_by` are those that led here."""
    explanation = explain(find(store, case, settings), settings.knowledge)
    return _followed(store, case, explanation, settings, (*called_by, case.service))


def find(store: Store, case: Case, settings: AnalyzeSettings) -> Findings:
    """All that the store knows of a case and its surroundings, before anything is blamed."""
    whole = case.seen
    grid = Grid(whole, _grid_step_s(whole, settings.spikes.step_s))
    knowledge = settings.knowledge
    series = read_series(store, whole, knowledge.metrics, (*knowledge.labels, GPU_INDEX_LABEL), knowledge.parts)
    series = attributed(series, case.requests, knowledge.of_replicas)
    near = neighbourhood(case.service, case.requests, series, read_topology(store))
    matrices = read_metric_signals(store, concerning(series, near.replicas_of.keys()), grid, knowledge)
    column = VALUES[case.indicator]
    measured = case.requests.filter(pl.col(column).is_not_null() | pl.col("is_error"))
    matrices += request_signals(case.service, measured, grid, knowledge, case.one_in)
    serving = turnover(measured, matrices, grid)
    matrices += serving.signals(case.service, knowledge)
    moves, witnesses = (
        [
            shift
            for matrix in matrices
            for shift in shifts(_only_near(matrix, of), grid, case.window, case.reference, case.excluded)
        ]
        for of in (near.replicas_of.keys(), near.beside)
    )
    moves += serving.starts(grid, case.window, knowledge)
    moves += serving.crashes(case.service, grid, case.window, knowledge)
    usual_and_now = measured.filter(outside(case.excluded))
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
        witnesses=witnesses,
        called_by=upstream.callers if case.requests["model"].null_count() == case.requests.height else frozenset(),
    )


def _upstream(store: Store, case: Case, knowledge: Knowledge) -> Upstream:
    """What the traces of some requests say of the services that they called."""
    if case.scope.is_spent_within:
        return Upstream((), {})
    recent = Window(max(case.reference.start, case.reference.end - timedelta(seconds=_CALLS_S)), case.reference.end)
    frames = []
    for window in (recent, case.window):
        during = case.requests.filter(within(window) & outside(case.excluded))
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
    causes = explain_case(store, inner, settings, called_by).causes
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


def read_metric_signals(store: Store, series: pl.DataFrame, grid: Grid, knowledge: Knowledge) -> list[SignalMatrix]:
    """The signals of these series (a frame of `read_series`) over the grid, by entity."""
    metric = pl.col("metric")
    counters = read_samples(store, grid.window, series.filter(metric.is_in(knowledge.counters)), grid.step_s, "last")
    levels = read_samples(store, grid.window, series.filter(metric.is_in(knowledge.levels)), grid.step_s, "mean")
    return metric_signals(series, counters, levels, grid, knowledge)


def _only_near(matrix: SignalMatrix, entities: Collection[Entity]) -> SignalMatrix:
    rows = [row for row, entity in enumerate(matrix.entities) if entity in entities]
    return SignalMatrix(matrix.signal, tuple(matrix.entities[row] for row in rows), matrix.values[rows])


def _grid_step_s(window: Window, step_s: int) -> int:
    """The step asked for, or the least that is read from the rollup and covers the window in `_STEPS_MAX` steps."""
    least_s = window.seconds / _STEPS_MAX
    if least_s <= step_s:
        return step_s
    return next((one for one in ROLLUP_STEPS_S if one >= least_s), ROLLUP_STEPS_S[-1])
