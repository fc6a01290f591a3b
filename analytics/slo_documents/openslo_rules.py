"""What is wrong with a document of OpenSLO v1 (https://github.com/OpenSLO/OpenSLO, v1).

Rules are those of the specification and, where it is silent, of its Go SDK. Sections are named as in the
specification's README.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analytics.slo_documents.annotations import MORE_WINDOWS, SLA, check_more_windows, check_sla
from analytics.slo_documents.checks import EMPTY, Check, Problem, field_path, type_name
from analytics.slo_documents.windows import is_time_zone, start_time_from

API_VERSION = "openslo/v1"
_LABEL_KEY = re.compile(r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
DESCRIPTION_MAX, DISPLAY_NAME_MAX, _PREFIX_MAX = 1050, 63, 253
"""So many characters a description, a name to be shown and the domain of an annotation have at most."""
_METHODS = ("Occurrences", "Timeslices", "RatioTimeslices")
_OPERATORS = ("lte", "gte", "lt", "gt")
_RAW_TYPES = ("success", "failure")
_SLO_FIELDS = (
    "description",
    "service",
    "indicator",
    "indicatorRef",
    "timeWindow",
    "budgetingMethod",
    "objectives",
    "alertPolicies",
)
_OBJECTIVE_FIELDS = (
    "displayName",
    "op",
    "value",
    "target",
    "targetPercent",
    "timeSliceTarget",
    "timeSliceWindow",
    "indicator",
    "indicatorRef",
    "compositeWeight",
)
_SLI_FIELDS = ("description", "thresholdMetric", "ratioMetric")
_RATIO_FIELDS = ("counter", "good", "bad", "total", "rawType", "raw")
_POLICY_FIELDS = (
    "description",
    "alertWhenNoData",
    "alertWhenResolved",
    "alertWhenBreaching",
    "conditions",
    "notificationTargets",
)


def problems_of(document: Any) -> list[Problem]:
    """What is wrong with one parsed document; empty when nothing is."""
    check = Check()
    if not isinstance(document, dict):
        check.tell("document", "type", f"is {type_name(document)}; expected a mapping")
        return check.problems
    if document.get("apiVersion") != API_VERSION:
        check.tell("apiVersion", "equal_to", f"is {document.get('apiVersion')!r}; valid is {API_VERSION}")
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        check.one_of(kind, "kind", tuple(_KINDS))
        return check.problems
    check.fields(document, "", ("apiVersion", "kind", "metadata", "spec"))
    _check_metadata(document.get("metadata"), check)
    _check_spec(document, kind, check)
    return check.problems


def _check_spec(document: Mapping[str, Any], kind: str, check: Check) -> None:
    """The rules of the kind; of another one, where all fields are that one's: then it is the kind that is wrong."""
    spec = check.mapping(document, "", "spec")
    if not spec and _KINDS[kind].needs_spec:
        check.required(document, "", "spec")
        return
    fitting = [other for other, rules in _KINDS.items() if spec.keys() <= set(rules.fields)]
    if fitting and kind not in fitting:
        check.tell("kind", "equal_to", f"is {kind!r}, but the fields of spec are those of {' and '.join(fitting)}")
        kind = fitting[0]
    _KINDS[kind].check(spec, check, "spec")


def _check_metadata(metadata: Any, check: Check, path: str = "metadata") -> None:
    """Section General Schema."""
    if not isinstance(metadata, dict) or not metadata:
        check.tell(path, "required", "is missing; a name is needed")
        return
    check.fields(metadata, path, ("name", "displayName", "labels", "annotations"))
    check.name(metadata, path, "name")
    check.longest(metadata, path, "displayName", DISPLAY_NAME_MAX)
    _check_labels(check.mapping(metadata, path, "labels"), check, f"{path}.labels")
    _check_annotations(check.mapping(metadata, path, "annotations"), check, f"{path}.annotations")


def _check_labels(labels: Mapping[str, Any], check: Check, path: str) -> None:
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(str(key)):
            told = "is no key of a label: letters and digits, with - _ . within, 63 at most"
            check.tell(field_path(path, key), "string_match_regexp", told)
        if not all(isinstance(one, str) for one in (value if isinstance(value, list) else [value])):
            check.tell(field_path(path, key), "type", f"is {value!r}; expected text, or a list of texts")


def _check_annotations(annotations: Mapping[str, Any], check: Check, path: str) -> None:
    for key in annotations:
        prefix, slash, name = str(key).rpartition("/")
        fits = not slash or (len(prefix) <= _PREFIX_MAX and _PREFIX.fullmatch(prefix))
        if not fits or not _LABEL_KEY.fullmatch(name):
            told = "is no key of an annotation: a name, or domain/name, as in openslo.com/key"
            check.tell(field_path(path, key), "string_match_regexp", told)
    check.texts(annotations, path, *annotations)
    check_more_windows(annotations, check, path)
    if isinstance(annotations.get(SLA), str):
        check_sla(annotations[SLA], check, field_path(path, SLA))


def _check_inlined(entry: Mapping[str, Any], check: Check, path: str, reference: str, kind: str) -> None:
    """A document written out where it is used, or the name of one."""
    inlined = [name for name in ("kind", "metadata", "spec") if name in entry]
    if bool(inlined) == (reference in entry):
        told = f"needs exactly one of {reference} and a {kind} written out (kind, metadata, spec)"
        check.tell(path, "mutually_exclusive", told)
    check.fields(entry, path, (reference, "kind", "metadata", "spec"))
    if reference in entry:
        check.name(entry, path, reference)
    if not inlined:
        return
    if entry.get("kind") != kind:
        check.tell(f"{path}.kind", "equal_to", f"is {entry.get('kind')!r}; valid is {kind}")
    _check_metadata(entry.get("metadata"), check, f"{path}.metadata")
    check.required(entry, path, "spec")
    if entry.get("spec") not in EMPTY:
        _KINDS[kind].check(check.mapping(entry, path, "spec"), check, f"{path}.spec")


def _check_slo(spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section SLO."""
    check.fields(spec, path, _SLO_FIELDS)
    check.longest(spec, path, "description", DESCRIPTION_MAX)
    check.required(spec, path, "service")
    check.texts(spec, path, "service")
    check.one_of(spec.get("budgetingMethod"), f"{path}.budgetingMethod", _METHODS)
    objectives = check.entries(spec, path, "objectives")
    if spec.get("objectives") in (None, []):
        check.tell(f"{path}.objectives", "required", "is missing: an SLO needs at least one")
    is_composite = any(_has_indicator(objective) for _, objective in objectives)
    if is_composite == _has_indicator(spec):
        told = "needs exactly one of indicator and indicatorRef, there or in each of the objectives"
        check.tell(path, "mutually_exclusive", told)
    _check_indicator(spec, check, path)
    _check_time_windows(spec, check, path)
    for place, objective in objectives:
        _check_objective(objective, spec, check, place)
        if is_composite and not _has_indicator(objective):
            check.tell(place, "mutually_exclusive", "needs exactly one of indicator and indicatorRef, as the others")
    for place, policy in check.entries(spec, path, "alertPolicies"):
        _check_inlined(policy, check, place, "alertPolicyRef", "AlertPolicy")


def _has_indicator(where: Mapping[str, Any]) -> bool:
    return where.get("indicator") is not None or where.get("indicatorRef") is not None


def _check_indicator(where: Mapping[str, Any], check: Check, path: str) -> None:
    """An indicator, written out or named, where there is one."""
    if where.get("indicator") is not None and where.get("indicatorRef") is not None:
        check.tell(path, "mutually_exclusive", "has both indicator and indicatorRef; exactly one is valid")
    if where.get("indicatorRef") is not None:
        check.dns_label(where["indicatorRef"], f"{path}.indicatorRef")
    if where.get("indicator") is not None:
        indicator, path = check.mapping(where, path, "indicator"), f"{path}.indicator"
        check.fields(indicator, path, ("metadata", "spec"))
        _check_metadata(indicator.get("metadata"), check, f"{path}.metadata")
        _check_sli(check.mapping(indicator, path, "spec"), check, f"{path}.spec")


def _check_time_windows(spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section SLO, `timeWindow`: exactly one, which rolls or has a calendar."""
    found = spec.get("timeWindow")
    windows = check.entries(spec, path, "timeWindow")
    if isinstance(found, list | None) and len(found or []) != 1:
        told = f"has {len(found or [])} entries; exactly one is valid, further ones stand in annotation {MORE_WINDOWS}"
        check.tell(f"{path}.timeWindow", "slice_length", told)
    for place, window in windows:
        check.fields(window, place, ("duration", "isRolling", "calendar"))
        check.required(window, place, "duration")
        check.duration(window, place, "duration")
        check.flags(window, place, "isRolling")
        if bool(window.get("isRolling")) == (window.get("calendar") is not None):
            told = "is either rolling (isRolling: true) or has a calendar, not both and not neither"
            check.tell(place, "custom", told)
        if window.get("calendar") is not None:
            _check_calendar(check.mapping(window, place, "calendar"), check, f"{place}.calendar")


def _check_calendar(calendar: Mapping[str, Any], check: Check, path: str) -> None:
    check.fields(calendar, path, ("startTime", "timeZone"))
    check.required(calendar, path, "startTime", "timeZone")
    start, zone = calendar.get("startTime"), calendar.get("timeZone")
    if start and start_time_from(start) is None:
        told = f"is {start!r}; write a time without a zone, as in 2026-01-01 12:00:00"
        check.tell(f"{path}.startTime", "string_date_time", told)
    if zone and not is_time_zone(zone):
        told = f"is {zone!r}; write a name of the IANA Time Zone Database, as in Europe/Berlin"
        check.tell(f"{path}.timeZone", "string_time_zone", told)


def _check_objective(objective: Mapping[str, Any], spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section Objectives."""
    check.fields(objective, path, _OBJECTIVE_FIELDS)
    check.texts(objective, path, "displayName")
    if (objective.get("target") is None) == (objective.get("targetPercent") is None):
        check.tell(path, "mutually_exclusive", "needs exactly one of target and targetPercent")
    if objective.get("target") is not None:
        check.number(objective["target"], f"{path}.target", least=0.0, below=1.0)
    if objective.get("targetPercent") is not None:
        check.number(objective["targetPercent"], f"{path}.targetPercent", least=0.0, below=100.0)
    if objective.get("compositeWeight") is not None:
        check.number(objective["compositeWeight"], f"{path}.compositeWeight", above=0.0)
    _check_indicator(objective, check, path)
    _check_operator(objective, spec, check, path)
    _check_slices(objective, spec.get("budgetingMethod"), check, path)


def _check_operator(objective: Mapping[str, Any], spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Needed beside a threshold metric and forbidden beside a ratio; not to be known of an indicator that is named."""
    indicator = objective.get("indicator") or spec.get("indicator")
    inlined = indicator.get("spec") if isinstance(indicator, dict) else None
    metrics = inlined if isinstance(inlined, dict) else {}
    given = [name for name in ("op", "value") if objective.get(name) not in (None, "")]
    if metrics.get("ratioMetric"):
        for name in given:
            check.tell(f"{path}.{name}", "forbidden", f"is {objective[name]!r}; it is not valid beside a ratio metric")
        return
    if metrics.get("thresholdMetric"):
        for name in ("op", "value"):
            if name not in given:
                check.tell(f"{path}.{name}", "required", "is missing: a threshold metric is compared with it")
    if "op" in given:
        check.one_of(objective["op"], f"{path}.op", _OPERATORS)
    if "value" in given:
        check.number(objective["value"], f"{path}.value")


def _check_slices(objective: Mapping[str, Any], method: Any, check: Check, path: str) -> None:
    if method == "Timeslices" and objective.get("timeSliceTarget") is None:
        check.tell(f"{path}.timeSliceTarget", "required", "is missing: Timeslices need one")
    if objective.get("timeSliceTarget") is not None:
        check.number(objective["timeSliceTarget"], f"{path}.timeSliceTarget", above=0.0, most=1.0)
    if method in ("Timeslices", "RatioTimeslices") and objective.get("timeSliceWindow") in (None, ""):
        check.tell(f"{path}.timeSliceWindow", "required", f"is missing: {method} need one")
    check.duration(objective, path, "timeSliceWindow")


def _check_sli(spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section SLI."""
    check.fields(spec, path, _SLI_FIELDS)
    check.longest(spec, path, "description", DESCRIPTION_MAX)
    if (spec.get("thresholdMetric") is None) == (spec.get("ratioMetric") is None):
        check.tell(path, "mutually_exclusive", "needs exactly one of thresholdMetric and ratioMetric")
    if spec.get("thresholdMetric") is not None:
        _check_metric(spec, check, path, "thresholdMetric")
    if spec.get("ratioMetric") is not None:
        _check_ratio(check.mapping(spec, path, "ratioMetric"), check, f"{path}.ratioMetric")


def _check_ratio(ratio: Mapping[str, Any], check: Check, path: str) -> None:
    """Section Ratio Metric: good or bad of total, or raw."""
    check.fields(ratio, path, _RATIO_FIELDS)
    check.flags(ratio, path, "counter")
    given = [name for name in ("total", "good", "bad", "raw") if ratio.get(name) is not None]
    if "raw" in given:
        if len(given) > 1:
            check.tell(path, "mutually_exclusive", f"has {', '.join(given)}; beside raw none of the others is valid")
        check.one_of(ratio.get("rawType"), f"{path}.rawType", _RAW_TYPES)
    else:
        if "total" not in given:
            check.tell(path, "mutually_exclusive", "needs exactly one of total and raw")
        if ("good" in given) == ("bad" in given):
            check.tell(path, "one_of_properties", "needs exactly one of good and bad")
        if ratio.get("rawType") not in (None, ""):
            check.one_of(ratio["rawType"], f"{path}.rawType", _RAW_TYPES)
    for name in given:
        _check_metric(ratio, check, path, name)


def _check_metric(where: Mapping[str, Any], check: Check, path: str, name: str) -> None:
    metric, path = check.mapping(where, path, name), f"{path}.{name}"
    check.fields(metric, path, ("metricSource",))
    check.required(metric, path, "metricSource")
    if metric.get("metricSource") in EMPTY:
        return
    source, path = check.mapping(metric, path, "metricSource"), f"{path}.metricSource"
    check.fields(source, path, ("metricSourceRef", "type", "spec"))
    check.texts(source, path, "type")
    if source.get("metricSourceRef") not in (None, ""):
        check.dns_label(source["metricSourceRef"], f"{path}.metricSourceRef")
    if not check.mapping(source, path, "spec"):
        check.tell(f"{path}.spec", "map_min_length", "is empty: say what is asked")


def _check_service(spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section Service."""
    check.fields(spec, path, ("description",))
    check.longest(spec, path, "description", DESCRIPTION_MAX)


def _check_condition(spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section AlertCondition."""
    check.fields(spec, path, ("description", "severity", "condition"))
    check.longest(spec, path, "description", DESCRIPTION_MAX)
    check.required(spec, path, "severity", "condition")
    check.texts(spec, path, "severity")
    condition, path = check.mapping(spec, path, "condition"), f"{path}.condition"
    if not condition:
        return
    check.fields(condition, path, ("kind", "op", "threshold", "lookbackWindow", "alertAfter"))
    check.one_of(condition.get("kind"), f"{path}.kind", ("burnrate",))
    check.one_of(condition.get("op"), f"{path}.op", _OPERATORS)
    check.required(condition, path, "threshold", "lookbackWindow")
    if condition.get("threshold") not in (None, ""):
        check.number(condition["threshold"], f"{path}.threshold")
    check.duration(condition, path, "lookbackWindow")
    check.duration(condition, path, "alertAfter", least_count=0)


def _check_policy(spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section AlertPolicy: one condition, at least one to tell."""
    check.fields(spec, path, _POLICY_FIELDS)
    check.longest(spec, path, "description", DESCRIPTION_MAX)
    check.flags(spec, path, "alertWhenNoData", "alertWhenResolved", "alertWhenBreaching")
    found = spec.get("conditions") or []
    if isinstance(found, list) and len(found) != 1:
        check.tell(f"{path}.conditions", "slice_length", f"has {len(found)} entries; exactly one is valid")
    if not spec.get("notificationTargets"):
        check.tell(f"{path}.notificationTargets", "slice_min_length", "is empty: somebody must be told")
    for place, condition in check.entries(spec, path, "conditions"):
        _check_inlined(condition, check, place, "conditionRef", "AlertCondition")
    for place, target in check.entries(spec, path, "notificationTargets"):
        _check_inlined(target, check, place, "targetRef", "AlertNotificationTarget")


def _check_target(spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section AlertNotificationTarget."""
    check.fields(spec, path, ("target", "description"))
    check.longest(spec, path, "description", DESCRIPTION_MAX)
    check.required(spec, path, "target")
    check.texts(spec, path, "target")


def _check_source(spec: Mapping[str, Any], check: Check, path: str) -> None:
    """Section DataSource."""
    check.fields(spec, path, ("description", "type", "connectionDetails"))
    check.longest(spec, path, "description", DESCRIPTION_MAX)
    check.required(spec, path, "type", "connectionDetails")
    check.texts(spec, path, "type")


@dataclass(frozen=True, slots=True)
class _Kind:
    """How documents of one kind are checked."""

    fields: tuple[str, ...]
    check: Callable[[Mapping[str, Any], Check, str], None]
    needs_spec: bool = False


_KINDS: Mapping[str, _Kind] = {
    "SLO": _Kind(_SLO_FIELDS, _check_slo, needs_spec=True),
    "SLI": _Kind(_SLI_FIELDS, _check_sli),
    "Service": _Kind(("description",), _check_service),
    "AlertPolicy": _Kind(_POLICY_FIELDS, _check_policy),
    "AlertCondition": _Kind(("description", "severity", "condition"), _check_condition, needs_spec=True),
    "AlertNotificationTarget": _Kind(("description", "target"), _check_target),
    "DataSource": _Kind(("description", "type", "connectionDetails"), _check_source),
}
