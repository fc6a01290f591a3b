"""Incidents: every spike of a window, found, explained and kept."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from types import MappingProxyType

import polars as pl

from analytics.causes import not_explained
from analytics.cost.jobs import Pricing, request_cost_usd
from analytics.faint_spikes import find_faint_spikes
from analytics.incidents import BudgetDamage, incident_of, is_incident, one_for_shared_cause, reconcile
from analytics.jobs.explaining import AnalyzeSettings, Case, explain_case, sampling, whole_and_reference, with_aftermath
from analytics.jobs.objectives import SLO_STEP_S, slo_counts
from analytics.knowledge import Knowledge
from analytics.scope import VALUES, Slowness, localise, slowness, stage_split, within
from analytics.spikes import (
    Spike,
    SpikeSettings,
    are_together,
    begun_with_others,
    find_spikes,
    led_in_by_failures,
    one_for_overlapping,
    rise_within,
    until_failures_end,
)
from domain.cause import CauseKind, Explanation
from domain.incident import Incident, Indicator, Status
from domain.slo import Objective
from domain.window import Window, step_of
from storage.errors import StoreError
from storage.incidents import read_incidents, write_incidents
from storage.readers import ALL_REQUESTS, read_request_series, read_requests
from storage.store import Store

log = logging.getLogger(__name__)

_LEADS_S = 120  # what leads into a spike, or is left of it, is no faint spike of its own
_STRETCH_S = 6 * 3600  # requests are read so many seconds at a time, with the history before

Progress = Callable[[str, float], None]
"""Told what is done, and which share of it is: 0-1."""


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
    window = _on_steps(window, settings.spikes.step_s)
    since = _open_since(store, window)
    found = []
    for whole_spike, whole_case in unusual_cases(store, window, settings, progress, since):
        for spike, case, explanation in _explained(store, whole_spike, whole_case, settings):
            if is_incident(case.scope, explanation, faint=spike.faint):
                found.append(
                    incident_of(spike, case.scope, explanation, _damage(store, spike, objectives, settings.knowledge))
                )
    found = [_with_cost(store, one, window.end, settings.pricing) for one in one_for_shared_cause(found)]
    write_incidents(store, reconcile(found, _looked_for(store, window, since), window.end), now)
    return sorted(read_incidents(store, window), key=lambda incident: (incident.started_at, incident.id))


def _explained(
    store: Store, spike: Spike, case: Case, settings: AnalyzeSettings
) -> list[tuple[Spike, Case, Explanation]]:
    """A spike and why. One that nothing explains is told in two where it rose once more, if that has a cause."""
    explanation: Explanation | None = None
    try:
        explanation = explain_case(store, case, settings)
        if _is_unexplained(explanation, case):
            return _in_two(store, spike, case, settings) or [(spike, case, explanation)]
    except StoreError:
        raise
    except Exception as error:  # one spike that cannot be explained must not hide all others
        log.exception("explaining_failed")
        explanation = explanation or not_explained(spike.service, error)
    return [(spike, case, explanation)]


def _in_two(store: Store, spike: Spike, case: Case, settings: AnalyzeSettings) -> list[tuple[Spike, Case, Explanation]]:
    """A spike until it rose once more and since, if that is explained; else nothing.

    What has been somewhat slow for long, and what breaks meanwhile, is one spike, that began long before what broke.
    """
    rose_at = rise_within(_slow_by_step(case, settings.spikes.step_s))
    if rose_at is None:
        return []
    later = _part(case, Window(rose_at, case.window.end))
    why = explain_case(store, later, settings)
    if _is_unexplained(why, later):
        return []
    earlier = _part(case, Window(case.window.start, rose_at))
    first, second = spike.told_apart(rose_at, settings.spikes)
    first = replace(first, peak_ms_p99=_peak_ms_p99(earlier, settings.spikes.step_s))
    return [(first, earlier, explain_case(store, earlier, settings)), (second, later, why)]


def _is_unexplained(explanation: Explanation, case: Case) -> bool:
    """Is it not known why: at most that the service is its callers' cause."""
    first = explanation.causes[0]
    of_callers = first.kind is CauseKind.UPSTREAM_DEPENDENCY and first.entity.name == case.service
    return first.kind is CauseKind.UNKNOWN or of_callers


def _part(case: Case, window: Window) -> Case:
    """A part of a case, held against the same usual time."""
    scope = localise(case.requests, case.indicator, window, case.reference, case.excluded, case.one_in)
    return replace(case, window=window, scope=scope)


def _peak_ms_p99(case: Case, step_s: int) -> float:
    """The highest p99 of a step of the window, in ms; of failures that of latency, 0 where nothing was served."""
    column = VALUES[case.indicator]
    served = case.requests.filter(within(case.window) & ~pl.col("is_error"))
    by_step = served.group_by(pl.col("time").dt.truncate(f"{step_s}s"))
    peak = by_step.agg(pl.col(column).quantile(0.99, "linear"))[column].max()
    return float(peak) if isinstance(peak, float) else 0.0


def _slow_by_step(case: Case, step_s: int) -> pl.DataFrame:
    """Requests and slow or failed ones of the window by step: columns time, requests, slow."""
    over_ms = case.scope.slow_over_ms
    is_slow = pl.lit(value=False) if over_ms is None else pl.col(VALUES[case.indicator]) > over_ms
    return (
        case.requests.filter(within(case.window))
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
    store: Store,
    window: Window,
    settings: AnalyzeSettings,
    progress: Progress = lambda _, __: None,
    since: Mapping[str, datetime] = MappingProxyType({}),
) -> Iterator[tuple[Spike, Case]]:
    """Every spike that began or went on in the window, but those that chance explains; of indicators together, one.

    With those are some that chance may explain, beside which nothing is unusual: to look whether a cause is plain.
    Service by service, and of each by beginning. The requests of one stretch are held at a time.

    Args:
        store: where requests are read.
        window: event time to look at; a history before it is read as well.
        settings: how to look.
        progress: told what is done, and which share of it is.
        since: services that are looked at from an earlier moment on.
    """
    series = _request_series(store, window, settings.spikes, progress)
    longer = [
        _request_series(store, Window(start, window.end), settings.spikes, progress, service)
        for service, start in since.items()
    ]
    series = pl.concat([series.filter(~pl.col("service").is_in(list(since))), *longer])
    spikes, faint = (
        [
            spike
            for spike in find(series, window.end, settings.spikes)
            if spike.window.end > since.get(spike.service, window.start)
        ]
        for find in (find_spikes, find_faint_spikes)
    )
    history_s = settings.spikes.history_s
    looked_at = 0

    def look(requests: _RecentRequests, spike: Spike, earlier: Sequence[Window]) -> Slowness:
        nonlocal looked_at
        looked_at += 1
        progress("Looking at spikes", min(1.0, looked_at / max(1, len(spikes))))
        return _slowness_of(requests, spike, earlier, history_s, spike.window)

    for service in dict.fromkeys(spike.service for spike in (*spikes, *faint)):
        requests = _RecentRequests(store, service, series, window.end)
        own, own_faint = ([one for one in found if one.service == service] for found in (spikes, faint))
        unusual = _unusual(requests, own, own_faint, partial(look, requests), settings.spikes)
        for spike in sorted(unusual, key=lambda one: one.window.start):
            case = _case_of(requests, spike, unusual[spike], history_s)
            yield _with_levels(spike, case) if spike.faint else spike, case


def _unusual(
    requests: "_RecentRequests",
    spikes: Sequence[Spike],
    faint: Sequence[Spike],
    look: Callable[[Spike, Sequence[Window]], Slowness],
    settings: SpikeSettings,
) -> dict[Spike, tuple[Window, ...]]:
    """Which spikes of a service are told, each with what was unusual in the history before it.

    First those that are beyond chance; then the faint of which none of these tells, of failures before those that take
    a plain cause; then what is notable beside them.
    """
    unusual: dict[Spike, tuple[Window, ...]] = {}
    notable: dict[Spike, tuple[Window, ...]] = {}

    def sort(spike: Spike, unusual: dict[Spike, tuple[Window, ...]]) -> None:
        earlier = _unusual_before(spike, unusual, settings.history_s)
        found = look(spike, earlier)
        if found.is_unusual:
            unusual[spike] = earlier
        elif found.is_notable:
            notable[spike] = earlier

    for spike in spikes:
        sort(spike, unusual)
    told = _begun_and_ended(requests, unusual, settings)
    for spike in sorted(faint, key=lambda one: one.faint):
        around = replace(spike, window=spike.window.widened(before_s=_LEADS_S, after_s=_LEADS_S))
        if not any(are_together(around, other) for other in told if not other.faint):
            sort(spike, told)
    kept = one_for_overlapping(list(told))
    beside = [spike for spike in notable if not any(are_together(spike, other) for other in kept)]
    return {spike: (told | notable)[spike] for spike in kept + one_for_overlapping(beside)}


def _begun_and_ended(
    requests: "_RecentRequests", found: Mapping[Spike, tuple[Window, ...]], settings: SpikeSettings
) -> dict[Spike, tuple[Window, ...]]:
    """Of indicators together one spike, begun with the others and ended with the failures."""
    unusual = list(found)
    history_s = settings.history_s
    begun = cache(partial(_begun, requests, found, history_s))
    for spike in one_for_overlapping(unusual):
        later = begun(spike)
        if later == spike:
            continue
        if not _slowness_of(requests, later, found[spike], history_s, later.window).is_unusual:
            unusual.remove(spike)  # the minutes before it were what was unusual of it: the others tell the rest
    whole = {
        until_failures_end(led_in_by_failures(begun(spike), unusual, settings.calm), unusual): found[spike]
        for spike in one_for_overlapping(unusual)
    }
    # Failures that it began with are a part of it, and no earlier spike.
    return {
        spike: tuple(before for before in earlier if before.end <= spike.window.start)
        for spike, earlier in whole.items()
    }


def _with_levels(spike: Spike, case: Case) -> Spike:
    """The spike with the p99 of all its requests: of a bucket of a dozen, p99 is the slowest one, and tells no rise."""
    served = case.requests.filter(within(case.window) & ~pl.col("is_error"))
    p99, usual = served[VALUES[case.indicator]].quantile(0.99, "linear"), case.scope.slow_over_ms
    return spike if p99 is None or usual is None else replace(spike, baseline_ms_p99=usual, peak_ms_p99=p99)


def _unusual_before(spike: Spike, unusual: Iterable[Spike], history_s: float) -> tuple[Window, ...]:
    """What of the history before a spike was not usual: earlier spikes of the same requests."""
    whole, _ = whole_and_reference(spike.window, history_s)
    return tuple(
        other.window for other in unusual
        if other.model == spike.model and whole.start < other.window.end <= spike.window.start
    )  # fmt: skip


def _request_series(
    store: Store, window: Window, settings: SpikeSettings, progress: Progress, service: str | None = None
) -> pl.DataFrame:
    """Requests by step (of all services unless one is named), from a history before the window on; by stretches.

    So a week takes no more memory than a stretch; and what is paced and what is slow is told by the hours around it,
    as in a live look, and not by those of another day.
    """
    history_s = settings.history_s
    parts: list[pl.DataFrame] = []
    whole = Window(step_of(window.start, settings.step_s), window.end)  # so that no stretch cuts a step in two
    for stretch in whole.stretches(timedelta(seconds=_STRETCH_S)):
        part = read_request_series(store, stretch.widened(before_s=history_s), settings.step_s, service)
        parts.append(part.filter(pl.col("time") >= stretch.start) if parts else part)
        progress("Reading requests", (stretch.end - window.start) / (window.end - window.start))
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
        """One in how many is read, and those of the window and the model (or of none) with `stage_split` columns.

        Of the window, what lies beyond the end of the look is left out.
        """
        window = Window(window.start, min(window.end, self._until))
        one_in = sampling(self._counts.filter(within(window)))
        if self._known is None or self._known[0] != one_in or not _covers(self._known[1], window):
            end = min(self._until, window.end + timedelta(seconds=_STRETCH_S))
            stretch = Window(window.start, max(window.end, end))
            self._known = one_in, stretch, stage_split(read_requests(self._store, stretch, self._service, None, one_in))
        requests = self._known[2].filter(within(window))
        return one_in, requests.filter(pl.col("model").eq_missing(model))


def _slowness_of(
    requests: _RecentRequests, spike: Spike, earlier: Sequence[Window], history_s: float, part: Window
) -> Slowness:
    """How many were slow in a part of a spike, against the usual time before all of it."""
    whole, reference = whole_and_reference(spike.window, history_s)
    _, read = requests.of(spike.model, whole)
    return slowness(read, spike.indicator, part, reference, earlier)


def _begun(
    requests: _RecentRequests, unusual: Mapping[Spike, tuple[Window, ...]], history_s: float, spike: Spike
) -> Spike:
    """The spike, begun with the others as of `begun_with_others`; by unusual spike what was unusual before it."""

    def is_notable(part: Window) -> bool:
        return _slowness_of(requests, spike, unusual[spike], history_s, part).is_notable

    return begun_with_others(spike, list(unusual), is_notable)


def _covers(one: Window, other: Window) -> bool:
    return one.start <= other.start and other.end <= one.end


def _case_of(requests: _RecentRequests, spike: Spike, excluded: tuple[Window, ...], history_s: float) -> Case:
    whole, reference = whole_and_reference(spike.window, history_s)
    one_in, read = requests.of(spike.model, with_aftermath(whole))
    scope = localise(read, spike.indicator, spike.window, reference, excluded, one_in)
    return Case(spike.service, spike.window, reference, spike.indicator, excluded, one_in, read, scope)


def _on_steps(window: Window, step_s: int) -> Window:
    """The window without the step under way, of which only the quick requests have arrived."""
    end = step_of(window.end, step_s)
    return Window(window.start, end) if end > window.start else window


def _open_since(store: Store, window: Window) -> dict[str, datetime]:
    """The services of which an incident is open that began before the window, and since when (a week at most)."""
    week = window.before(7 * 86400)
    found: dict[str, datetime] = {}
    for one in read_incidents(store, week, status=Status.OPEN):
        if one.started_at < window.start:
            for service in (one.service, *one.services_affected):
                found[service] = min(found.get(service, window.start), max(one.started_at, week.start))
    return found


def _looked_for(store: Store, window: Window, since: Mapping[str, datetime]) -> list[Incident]:
    """The stored incidents of the window, and those of a service that is looked at since earlier, since then."""
    whole = Window(min([window.start, *since.values()]), window.end)
    return [
        one
        for one in read_incidents(store, whole)
        if one.ended_at is None or one.ended_at >= since.get(one.service, window.start)
    ]


def _damage(store: Store, spike: Spike, objectives: Sequence[Objective], knowledge: Knowledge) -> BudgetDamage | None:
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
    during = slo_counts(store, objective, spike.window, knowledge, SLO_STEP_S)
    budget_window = Window(spike.window.end - timedelta(days=objective.window_days), spike.window.end)
    all_count = int(slo_counts(store, objective, budget_window, knowledge, 86_400)["total"].sum())
    total, good = int(during["total"].sum()), int(during["good"].sum())
    return BudgetDamage(objective, total - good, total, all_count)
