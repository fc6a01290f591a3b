"""Between a document of OpenSLO v1 and an objective: what of a document we judge, and how what we judge is written."""

from collections.abc import Mapping, Sequence
from typing import Any

from analytics.slo_documents.annotations import MORE_WINDOWS, SLA, annotations_document, more_windows, sla_from
from analytics.slo_documents.checks import OpenSloError, Problem, did_you_mean, field_path, problems_in, raise_any
from analytics.slo_documents.documents import BudgetingMethod
from analytics.slo_documents.openslo_rules import API_VERSION, problems_of
from analytics.slo_documents.parsing import parsed_documents
from analytics.slo_documents.values import number_or_none, ratio_of_percent
from analytics.slo_documents.windows import DAYS, START_TIME_FORMAT, calendar_of, duration_from, time_window_from
from domain.incident import Indicator
from domain.slo import Objective, Period, Selection, Slices

METRIC_SOURCE = "tailsight"
"""The type of a metric source that says what we count: `spec: {requests: good, indicator: ttft, threshold_ms: 800}`.

Beside the figures of its indicator (docs/slos.md) it may say of which `model`, `version`, `tenant` and `pool`.
"""
_FIGURES: Mapping[str, str] = {
    "threshold_ms": "milliseconds",
    "tpot_threshold_ms": "milliseconds per token",
    "floor_per_s": "predictions a second",
    "age_max_s": "seconds",
}
_FIGURES_OF: Mapping[str, tuple[str, ...]] = {
    Indicator.ERRORS.value: (),
    Indicator.TTFT.value: ("threshold_ms",),
    Indicator.LATENCY.value: ("threshold_ms",),
    Indicator.TPOT.value: ("threshold_ms",),
    Indicator.GOODPUT.value: ("threshold_ms", "tpot_threshold_ms"),
    Indicator.THROUGHPUT.value: ("floor_per_s",),
    Indicator.GPU_AVAILABILITY.value: (),
    Indicator.DATA_FRESHNESS.value: ("age_max_s",),
}
INDICATORS = tuple(_FIGURES_OF)
"""What can be counted."""
_DIMENSIONS = ("model", "version", "tenant", "pool", "node")


def objective_of(document: Mapping[str, Any]) -> Objective:
    """The objective that a checked document of kind SLO is.

    Judged is a ratio whose metric sources are of type `tailsight`, by its events or by slices of time, over windows of
    whole days: rolling, or of a calendar.

    Raises:
        OpenSloError: naming what of it cannot be judged.
    """
    spec, metadata = document["spec"], document["metadata"]
    annotations = metadata.get("annotations") or {}
    problems: list[Problem] = []
    if len(spec["objectives"]) != 1:
        told = "several cannot be judged as one: make a document of each"
        problems.append(Problem("spec.objectives", "unsupported", told))
    window_days = _window_days(spec["timeWindow"][0], problems)
    periods = _more_periods(annotations, problems)
    measured = _measured(spec, problems)
    if problems:
        raise OpenSloError(problems)
    objective = spec["objectives"][0]
    target = (
        objective["target"] if objective.get("target") is not None else ratio_of_percent(objective["targetPercent"])
    )
    calendar = calendar_of(time_window_from(spec["timeWindow"][0]))
    zones = [one.time_zone for one in (calendar, *(period.calendar for period in periods)) if one is not None]
    return Objective(
        metadata["name"],
        spec["service"],
        Indicator(measured["indicator"]),
        float(target),
        window_days,
        calendar=calendar,
        slices=_slices(spec["budgetingMethod"], objective),
        data=measured.get("data") or "requests",
        selection=Selection(**{name: measured[name] for name in _DIMENSIONS if measured.get(name) is not None}),
        more_periods=periods,
        sla=sla_from(annotations[SLA], zones[0] if zones else "UTC") if SLA in annotations else None,
        threshold_ms=number_or_none(measured.get("threshold_ms")),
        tpot_threshold_ms=number_or_none(measured.get("tpot_threshold_ms")),
        floor_per_s=number_or_none(measured.get("floor_per_s")),
        age_max_s=number_or_none(measured.get("age_max_s")),
    )


def objectives_in(text: str) -> list[Objective]:
    """The objectives of all documents of kind SLO in a text; an SLI that is named stands in a document beside them.

    Raises:
        OpenSloError: with all problems of the documents, or what of the first one cannot be judged.
    """
    documents = parsed_documents(text)
    raise_any(problems_in(documents, problems_of))
    slis = {one["metadata"]["name"]: one for one in documents if one["kind"] == "SLI"}
    return [objective_of(_with_indicator(one, slis)) for one in documents if one["kind"] == "SLO"]


def _with_indicator(document: Mapping[str, Any], slis: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """An SLO with the SLI that it names written out."""
    spec = document["spec"]
    named = spec.get("indicatorRef")
    if named is None:
        return document
    if named not in slis:
        told = f"is {named!r}; no document of kind SLI beside it has this name{did_you_mean(named, slis)}"
        raise OpenSloError([Problem("spec.indicatorRef", "unsupported", told)])
    indicator = {"metadata": {"name": named}, "spec": slis[named]["spec"]}
    return {**document, "spec": {**spec, "indicator": indicator}}


def _more_periods(annotations: Mapping[str, str], problems: list[Problem]) -> tuple[Period, ...]:
    """The further windows, which were checked, where they can be judged."""
    path, periods = f"metadata.annotations.{MORE_WINDOWS}", []
    for window in more_windows(annotations):
        duration = window.duration
        if duration.unit not in DAYS:
            problems.append(Problem(path, "unsupported", f"{duration} is shorter than a day; valid are whole days"))
            continue
        periods.append(Period(duration.count * DAYS[duration.unit], calendar_of(window)))
    return tuple(periods)


def _slices(method: BudgetingMethod, objective: Mapping[str, Any]) -> Slices | None:
    if method == "Occurrences":
        return None
    target = objective["timeSliceTarget"] if method == "Timeslices" else None
    return Slices(duration_from(objective["timeSliceWindow"]).length_s, None if target is None else float(target))


def _window_days(window: Mapping[str, Any], problems: list[Problem]) -> int:
    path, duration = "spec.timeWindow[0]", duration_from(window["duration"])
    if duration.unit not in DAYS:
        told = "is shorter than a day; valid are whole days"
        problems.append(Problem(f"{path}.duration", "unsupported", told))
    return duration.count * DAYS.get(duration.unit, 1)


def _measured(spec: Mapping[str, Any], problems: list[Problem]) -> Mapping[str, Any]:
    """What our metric source says: indicator and threshold."""
    path = "spec.indicator.spec.ratioMetric.total.metricSource"
    ratio = ((spec.get("indicator") or {}).get("spec") or {}).get("ratioMetric") or {}
    source = (ratio.get("total") or {}).get("metricSource") or {}
    found: Mapping[str, Any] = source.get("spec") or {}
    if source.get("type") != METRIC_SOURCE:
        told = f"is of type {source.get('type')!r}; only {METRIC_SOURCE!r} can be judged, from request records"
        problems.append(Problem(path, "unsupported", told))
        return found
    path = f"{path}.spec"
    needed = _FIGURES_OF.get(str(found.get("indicator")))
    if needed is None:
        told = f"is {found.get('indicator')!r}; valid are {', '.join(_FIGURES_OF)}"
        problems.append(Problem(f"{path}.indicator", "one_of", told))
        return found
    problems += [
        Problem(f"{path}.{name}", "type", f"is {found.get(name)!r}; write {_FIGURES[name]}")
        for name in needed
        if not _is_positive(found.get(name))
    ]
    _check_measured(found, needed, path, problems)
    return found


def _check_measured(found: Mapping[str, Any], needed: Sequence[str], path: str, problems: list[Problem]) -> None:
    """Nothing stands in the metric source that says nothing of its indicator."""
    is_gpu, is_fresh = (found["indicator"] == one for one in (Indicator.GPU_AVAILABILITY, Indicator.DATA_FRESHNESS))
    of_all = is_fresh and found.get("data") == "samples"
    dimensions = ("node",) if is_gpu else () if of_all else _DIMENSIONS[:4]
    valid = ("requests", "indicator", *needed, *(("data",) if is_fresh else ()), *dimensions)
    for name, value in found.items():
        if name not in valid and value is not None:
            told = f"says nothing of {found['indicator']}{did_you_mean(str(name), valid)}; valid are {', '.join(valid)}"
            problems.append(Problem(field_path(path, name), "unknown_field", told))
        elif name in _DIMENSIONS and value is not None and not (isinstance(value, str) and value):
            problems.append(Problem(field_path(path, name), "type", f"is {value!r}; expected text"))
    if is_fresh and found.get("data") not in (None, "requests", "samples"):
        problems.append(Problem(f"{path}.data", "one_of", f"is {found['data']!r}; valid are requests, samples"))


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def document_of(objective: Objective) -> dict[str, Any]:
    """An objective as an OpenSLO v1 document."""
    measured: dict[str, Any] = {"indicator": objective.indicator.value, "threshold_ms": objective.threshold_ms}
    further: dict[str, Any] = {name: getattr(objective, name) for name in list(_FIGURES)[1:]}
    further |= {name: getattr(objective.selection, name) for name in _DIMENSIONS}
    if objective.indicator is Indicator.DATA_FRESHNESS:
        further["data"] = objective.data
    measured |= {name: value for name, value in further.items() if value is not None}

    def source(requests: str) -> dict[str, Any]:
        return {"metricSource": {"type": METRIC_SOURCE, "spec": {"requests": requests, **measured}}}

    ratio = {"counter": True, "good": source("good"), "total": source("all")}
    return {
        "apiVersion": API_VERSION,
        "kind": "SLO",
        "metadata": {"name": objective.name, **annotations_document(objective)},
        "spec": {
            "service": objective.service,
            "indicator": {"metadata": {"name": objective.name}, "spec": {"ratioMetric": ratio}},
            "timeWindow": [_window_document(objective)],
            **_method_document(objective),
        },
    }


def _window_document(objective: Objective) -> dict[str, Any]:
    windows = objective.calendar
    if windows is None:
        return {"duration": f"{objective.window_days}d", "isRolling": True}
    calendar = {"startTime": windows.starts_at.strftime(START_TIME_FORMAT), "timeZone": windows.time_zone}
    return {"duration": f"{windows.count}{windows.unit}", "isRolling": False, "calendar": calendar}


def _method_document(objective: Objective) -> dict[str, Any]:
    promised: dict[str, Any] = {"displayName": objective.name, "target": objective.target_ratio}
    slices = objective.slices
    if slices is None:
        return {"budgetingMethod": "Occurrences", "objectives": [promised]}
    promised["timeSliceWindow"] = f"{slices.length_s // 60}m"
    if slices.target_ratio is None:
        return {"budgetingMethod": "RatioTimeslices", "objectives": [promised]}
    return {"budgetingMethod": "Timeslices", "objectives": [{**promised, "timeSliceTarget": slices.target_ratio}]}
