"""OpenSLO v1: documents read and checked, and what of them we can judge (https://github.com/OpenSLO/OpenSLO, v1).

Rules are those of the specification and, where it is silent, of its Go SDK. Every problem of a document is told, with
the field it is in.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from domain.incident import Indicator
from domain.slo import Objective

API_VERSION = "openslo/v1"
METRIC_SOURCE = "tailsight"
"""The type of a metric source that says what we count: `spec: {requests: good, indicator: ttft, threshold_ms: 800}`."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DURATION = re.compile(r"([1-9]\d*)([mhdwMQY])")
_TIME = "%Y-%m-%d %H:%M:%S"
_DESCRIPTION_MAX, _DISPLAY_NAME_MAX = 1050, 63
_METHODS = ("Occurrences", "Timeslices", "RatioTimeslices")
_OPERATORS = ("lte", "gte", "lt", "gt")
_DAYS = {"d": 1, "w": 7, "M": 30, "Q": 90, "Y": 365}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document: where, and what would be right."""

    path: str
    told: str

    def __str__(self) -> str:
        return f"{self.path}: {self.told}"


class OpenSloError(ValueError):
    """A document that cannot be used; `problems` are all that were found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class _Check:
    """Rules over one document; each that fails is a problem."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def tell(self, path: str, told: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, told))

    def required(self, where: Mapping[str, Any], path: str, *names: str) -> None:
        """Each of these fields is there and is not empty."""
        for name in names:
            if where.get(name) in (None, "", {}, []):
                self.tell(f"{path}.{name}", "is missing")

    def one_of(self, value: Any, path: str, valid: Sequence[str]) -> None:
        """The value is one of these."""
        if value not in valid:
            near = difflib.get_close_matches(str(value), valid, 1)
            self.tell(
                path, f"is {value!r}; valid are {', '.join(valid)}" + (f" (did you mean {near[0]}?)" if near else "")
            )

    def dns_label(self, value: Any, path: str) -> None:
        """The value is a DNS label (RFC 1123)."""
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            self.tell(path, f"is {value!r}; write lower-case letters, digits and dashes, 63 at most")

    def reference(self, where: Mapping[str, Any], name: str, path: str) -> None:
        """A field that names another document."""
        if not where.get(name):
            self.tell(f"{path}.{name}", "is missing")
        else:
            self.dns_label(where[name], f"{path}.{name}")

    def longest(self, value: Any, path: str, most: int) -> None:
        """A text of at most so many characters, where there is one."""
        if value is not None and len(str(value)) > most:
            self.tell(path, f"has {len(str(value))} characters; at most {most} are valid")

    def fields(self, where: Mapping[str, Any], path: str, valid: Sequence[str]) -> None:
        """No other fields than these."""
        for name in where.keys() - set(valid):
            near = difflib.get_close_matches(str(name), valid, 1)
            self.tell(
                f"{path}.{name}",
                "is not known" + (f"; did you mean {near[0]}?" if near else f"; valid are {', '.join(valid)}"),
            )

    def duration(self, value: Any, path: str) -> None:
        """A duration such as 30d."""
        if value and not _DURATION.fullmatch(str(value)):
            self.tell(path, f"is {value!r}; write a whole number and one of m h d w M Q Y, as in 30d")

    def number(self, value: Any, path: str, *, least: float | None = None, above: float | None = None,
               below: float | None = None, most: float | None = None) -> None:  # fmt: skip
        """A number within bounds."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.tell(path, f"is {value!r}; expected a number")
            return
        rules = (
            (least is not None and value < least, f"at least {least}"),
            (above is not None and value <= above, f"more than {above}"),
            (below is not None and value >= below, f"less than {below}"),
            (most is not None and value > most, f"at most {most}"),
        )
        for fails, told in rules:
            if fails:
                self.tell(path, f"is {value}; it must be {told}")


def read_documents(text: str) -> list[dict[str, Any]]:
    """Read and check OpenSLO v1 documents: YAML of one or several, or JSON.

    Raises:
        OpenSloError: with all problems; where there are several documents, by their place.
    """
    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        raise OpenSloError([Problem("document", f"is no YAML: {error}")]) from None
    problems = []
    for number, document in enumerate(documents):
        prefix = f"[{number}]." if len(documents) > 1 else ""
        problems += [Problem(prefix + one.path, one.told) for one in problems_of(document)]
    if not documents:
        problems.append(Problem("document", "is empty"))
    if problems:
        raise OpenSloError(problems)
    return documents


def problems_of(document: Any) -> list[Problem]:
    """What is wrong with one document; empty when nothing is."""
    check = _Check()
    if not isinstance(document, dict):
        check.tell("document", f"is {type(document).__name__}; expected a mapping")
        return check.problems
    if document.get("apiVersion") != API_VERSION:
        check.tell("apiVersion", f"is {document.get('apiVersion')!r}; valid is {API_VERSION}")
    kind = str(document.get("kind"))
    if kind not in _KINDS:
        check.one_of(kind, "kind", tuple(_KINDS))
        return check.problems
    check.fields(document, "document", ("apiVersion", "kind", "metadata", "spec"))
    _check_metadata(document.get("metadata"), check)
    spec = document.get("spec")
    if not isinstance(spec, dict) or (not spec and kind != "Service"):
        check.tell("spec", "is missing")
        return check.problems
    check.longest(spec.get("description"), "spec.description", _DESCRIPTION_MAX)
    _KINDS[kind](spec, check)
    return check.problems


def _check_metadata(metadata: Any, check: _Check, path: str = "metadata") -> None:
    if not isinstance(metadata, dict):
        check.tell(path, "is missing")
        return
    check.reference(metadata, "name", path)
    check.longest(metadata.get("displayName"), f"{path}.displayName", _DISPLAY_NAME_MAX)
    for key in metadata.get("labels") or {}:
        if not _LABEL_KEY.fullmatch(str(key)):
            check.tell(
                f"{path}.labels.{key}", "is no key of a label: letters and digits, with - _ . within, 63 at most"
            )
    for key in metadata.get("annotations") or {}:
        prefix, slash, name = str(key).rpartition("/")
        if not _LABEL_KEY.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
            check.tell(f"{path}.annotations.{key}", "is no key of an annotation: a name, or domain/name")


# -- SLO ---------------------------------------------------------------------------------------------------------------

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


def _check_slo(spec: Mapping[str, Any], check: _Check) -> None:
    check.fields(spec, "spec", _SLO_FIELDS)
    check.required(spec, "spec", "service")
    check.one_of(spec.get("budgetingMethod"), "spec.budgetingMethod", _METHODS)
    objectives = spec.get("objectives") or []
    if not isinstance(objectives, list) or not objectives:
        check.tell("spec.objectives", "is missing: an SLO needs at least one")
        objectives = []
    inside = [one for one in objectives if isinstance(one, dict) and (one.get("indicator") or one.get("indicatorRef"))]
    given = [name for name in ("indicator", "indicatorRef") if spec.get(name) is not None]
    if len(given) + bool(inside) != 1:
        check.tell("spec", "needs exactly one of indicator and indicatorRef, there or in each of the objectives")
    if spec.get("indicatorRef"):
        check.dns_label(spec["indicatorRef"], "spec.indicatorRef")
    if spec.get("indicator"):
        _check_indicator(spec["indicator"], check, "spec.indicator")
    _check_time_windows(spec.get("timeWindow"), check)
    for number, objective in enumerate(objectives):
        _check_objective(objective, spec, check, f"spec.objectives[{number}]", is_composite=bool(inside))
    for number, policy in enumerate(spec.get("alertPolicies") or []):
        path = f"spec.alertPolicies[{number}]"
        if isinstance(policy, dict) and "kind" in policy:
            _check_metadata(policy.get("metadata"), check, f"{path}.metadata")
            _check_policy(policy.get("spec") or {}, check, f"{path}.spec")
        else:
            check.reference(policy if isinstance(policy, dict) else {}, "alertPolicyRef", path)


def _check_indicator(indicator: Any, check: _Check, path: str) -> None:
    if not isinstance(indicator, dict):
        check.tell(path, "is no mapping")
        return
    _check_metadata(indicator.get("metadata"), check, f"{path}.metadata")
    _check_sli(indicator.get("spec") or {}, check, f"{path}.spec")


def _check_time_windows(windows: Any, check: _Check) -> None:
    if not isinstance(windows, list) or len(windows) != 1:
        check.tell(
            "spec.timeWindow", f"has {len(windows) if isinstance(windows, list) else 0} entries; exactly one is valid"
        )
        return
    path, window = "spec.timeWindow[0]", windows[0]
    check.required(window, path, "duration")
    check.duration(window.get("duration"), f"{path}.duration")
    calendar = window.get("calendar")
    if bool(window.get("isRolling")) == bool(calendar):
        check.tell(path, "is either rolling (isRolling: true) or has a calendar, not both and not neither")
    if calendar:
        check.required(calendar, f"{path}.calendar", "startTime", "timeZone")
        if calendar.get("startTime") and _moment(calendar["startTime"]) is None:
            check.tell(f"{path}.calendar.startTime", f"is {calendar['startTime']!r}; write 2026-01-01 12:00:00")
        if calendar.get("timeZone") and _zone(calendar["timeZone"]) is None:
            check.tell(f"{path}.calendar.timeZone", f"is {calendar['timeZone']!r}; write one as in Europe/Berlin")


def _moment(text: Any) -> datetime | None:
    if isinstance(text, datetime):  # YAML has made one of it
        return text
    try:
        return datetime.strptime(str(text), _TIME)  # noqa: DTZ007  # the zone stands beside it
    except ValueError:
        return None


def _zone(name: Any) -> ZoneInfo | None:
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _check_objective(objective: Any, spec: Mapping[str, Any], check: _Check, path: str, *, is_composite: bool) -> None:
    if not isinstance(objective, dict):
        check.tell(path, "is no mapping")
        return
    if ("target" in objective) == ("targetPercent" in objective):
        check.tell(path, "needs exactly one of target and targetPercent")
    if "target" in objective:
        check.number(objective["target"], f"{path}.target", least=0.0, below=1.0)
    if "targetPercent" in objective:
        check.number(objective["targetPercent"], f"{path}.targetPercent", least=0.0, below=100.0)
    if "compositeWeight" in objective:
        check.number(objective["compositeWeight"], f"{path}.compositeWeight", above=0.0)
    if is_composite:
        if objective.get("indicatorRef"):
            check.dns_label(objective["indicatorRef"], f"{path}.indicatorRef")
        elif objective.get("indicator"):
            _check_indicator(objective["indicator"], check, f"{path}.indicator")
    _check_operator(objective, spec, check, path)
    _check_slices(objective, spec.get("budgetingMethod"), check, path)


def _check_operator(objective: Mapping[str, Any], spec: Mapping[str, Any], check: _Check, path: str) -> None:
    inlined = objective.get("indicator") or spec.get("indicator")
    if not isinstance(inlined, dict):
        if "op" in objective:
            check.one_of(objective["op"], f"{path}.op", _OPERATORS)
        return
    if (inlined.get("spec") or {}).get("thresholdMetric"):
        for name in ("op", "value"):
            if objective.get(name) is None:
                check.tell(f"{path}.{name}", "is missing: a threshold metric is compared with it")
        if objective.get("op") is not None:
            check.one_of(objective["op"], f"{path}.op", _OPERATORS)
        return
    for name in ("op", "value"):
        if objective.get(name) is not None:
            check.tell(f"{path}.{name}", "is not valid beside a ratio metric")


def _check_slices(objective: Mapping[str, Any], method: Any, check: _Check, path: str) -> None:
    if method == "Timeslices" and objective.get("timeSliceTarget") is None:
        check.tell(f"{path}.timeSliceTarget", "is missing: Timeslices need one")
    if objective.get("timeSliceTarget") is not None:
        check.number(objective["timeSliceTarget"], f"{path}.timeSliceTarget", above=0.0, most=1.0)
    if method in ("Timeslices", "RatioTimeslices") and not objective.get("timeSliceWindow"):
        check.tell(f"{path}.timeSliceWindow", f"is missing: {method} need one")
    check.duration(objective.get("timeSliceWindow"), f"{path}.timeSliceWindow")


# -- the other kinds ---------------------------------------------------------------------------------------------------


def _check_sli(spec: Mapping[str, Any], check: _Check, path: str = "spec") -> None:
    given = [name for name in ("thresholdMetric", "ratioMetric") if spec.get(name)]
    if len(given) != 1:
        check.tell(path, "needs exactly one of thresholdMetric and ratioMetric")
    if spec.get("thresholdMetric"):
        _check_metric(spec["thresholdMetric"], check, f"{path}.thresholdMetric")
    ratio = spec.get("ratioMetric")
    if not isinstance(ratio, dict):
        return
    path = f"{path}.ratioMetric"
    if ratio.get("raw"):
        check.one_of(ratio.get("rawType"), f"{path}.rawType", ("success", "failure"))
        _check_metric(ratio["raw"], check, f"{path}.raw")
        return
    if ratio.get("rawType") is not None:
        check.one_of(ratio["rawType"], f"{path}.rawType", ("success", "failure"))
    if not ratio.get("total"):
        check.tell(f"{path}.total", "is missing")
    if bool(ratio.get("good")) == bool(ratio.get("bad")):
        check.tell(path, "needs exactly one of good and bad")
    for name in ("good", "bad", "total"):
        if ratio.get(name):
            _check_metric(ratio[name], check, f"{path}.{name}")


def _check_metric(metric: Any, check: _Check, path: str) -> None:
    source = metric.get("metricSource") if isinstance(metric, dict) else None
    path = f"{path}.metricSource"
    if not isinstance(source, dict):
        check.tell(path, "is missing")
        return
    if source.get("metricSourceRef"):
        check.dns_label(source["metricSourceRef"], f"{path}.metricSourceRef")
    if not source.get("spec"):
        check.tell(f"{path}.spec", "is empty: say what is asked")


def _check_condition(spec: Mapping[str, Any], check: _Check, path: str = "spec") -> None:
    check.required(spec, path, "severity", "condition")
    condition = spec.get("condition")
    if not isinstance(condition, dict):
        return
    path = f"{path}.condition"
    if not condition.get("kind"):
        check.tell(f"{path}.kind", "is missing")
    else:
        check.one_of(condition["kind"], f"{path}.kind", ("burnrate",))
    for name in ("op", "threshold", "lookbackWindow"):
        if condition.get(name) is None:
            check.tell(f"{path}.{name}", "is missing")
    if condition.get("op") is not None:
        check.one_of(condition["op"], f"{path}.op", _OPERATORS)
    for name in ("lookbackWindow", "alertAfter"):
        check.duration(condition.get(name), f"{path}.{name}")


def _check_policy(spec: Mapping[str, Any], check: _Check, path: str = "spec") -> None:
    conditions, targets = spec.get("conditions") or [], spec.get("notificationTargets") or []
    if len(conditions) != 1:
        check.tell(f"{path}.conditions", f"has {len(conditions)} entries; exactly one is valid")
    if not targets:
        check.tell(f"{path}.notificationTargets", "is empty: somebody must be told")
    for number, condition in enumerate(conditions):
        where = f"{path}.conditions[{number}]"
        if "kind" in condition:
            _check_metadata(condition.get("metadata"), check, f"{where}.metadata")
            _check_condition(condition.get("spec") or {}, check, f"{where}.spec")
        else:
            check.reference(condition, "conditionRef", where)
    for number, target in enumerate(targets):
        where = f"{path}.notificationTargets[{number}]"
        if "kind" in target:
            _check_metadata(target.get("metadata"), check, f"{where}.metadata")
            check.required(target.get("spec") or {}, f"{where}.spec", "target")
        else:
            check.reference(target, "targetRef", where)


_KINDS: Mapping[str, Callable[[Mapping[str, Any], _Check], None]] = {
    "SLO": _check_slo,
    "SLI": _check_sli,
    "Service": lambda spec, check: check.fields(spec, "spec", ("description",)),
    "AlertPolicy": _check_policy,
    "AlertCondition": _check_condition,
    "AlertNotificationTarget": lambda spec, check: check.required(spec, "spec", "target"),
    "DataSource": lambda spec, check: check.required(spec, "spec", "type", "connectionDetails"),
}


# -- between a document and an objective -------------------------------------------------------------------------------


def objective_of(document: Mapping[str, Any]) -> Objective:
    """The objective that a checked document of kind SLO is.

    Judged are occurrences over one rolling window of whole days, of a ratio whose metric sources are of type
    `tailsight`.

    Raises:
        OpenSloError: naming what of it cannot be judged.
    """
    spec, name = document["spec"], document["metadata"]["name"]
    problems = []
    if spec["budgetingMethod"] != "Occurrences":
        problems.append(
            Problem("spec.budgetingMethod", f"{spec['budgetingMethod']} cannot be judged yet; valid is Occurrences")
        )
    if len(spec["objectives"]) != 1:
        problems.append(Problem("spec.objectives", "several cannot be judged as one: make a document of each"))
    window_days = _window_days(spec["timeWindow"][0], problems)
    measured = _measured(spec, problems)
    if problems:
        raise OpenSloError(problems)
    objective = spec["objectives"][0]
    target = objective["target"] if "target" in objective else objective["targetPercent"] / 100
    indicator = Indicator(measured["indicator"])
    threshold_ms = None if indicator is Indicator.ERRORS else float(measured["threshold_ms"])
    return Objective(name, spec["service"], indicator, float(target), window_days, threshold_ms)


def _window_days(window: Mapping[str, Any], problems: list[Problem]) -> int:
    count, unit = _DURATION.fullmatch(str(window["duration"])).groups()  # type: ignore[union-attr]  # checked before
    if not window.get("isRolling"):
        problems.append(Problem("spec.timeWindow[0]", "a calendar window cannot be judged yet; valid is a rolling one"))
    if unit not in _DAYS:
        problems.append(Problem("spec.timeWindow[0].duration", "is shorter than a day; valid are whole days"))
    return int(count) * _DAYS.get(unit, 1)


def _measured(spec: Mapping[str, Any], problems: list[Problem]) -> Mapping[str, Any]:
    """What our metric source says: indicator and threshold."""
    path = "spec.indicator.spec.ratioMetric.total.metricSource"
    ratio = ((spec.get("indicator") or {}).get("spec") or {}).get("ratioMetric") or {}
    source = (ratio.get("total") or {}).get("metricSource") or {}
    found: Mapping[str, Any] = source.get("spec") or {}
    if source.get("type") != METRIC_SOURCE:
        told = f"is of type {source.get('type')!r}; only {METRIC_SOURCE!r} can be judged, from request records"
        problems.append(Problem(path, told))
        return found
    valid = (Indicator.TTFT.value, Indicator.LATENCY.value, Indicator.ERRORS.value)
    if found.get("indicator") not in valid:
        problems.append(
            Problem(f"{path}.spec.indicator", f"is {found.get('indicator')!r}; valid are {', '.join(valid)}")
        )
    elif found["indicator"] != Indicator.ERRORS.value and not _is_positive(found.get("threshold_ms")):
        problems.append(Problem(f"{path}.spec.threshold_ms", f"is {found.get('threshold_ms')!r}; write milliseconds"))
    return found


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def document_of(objective: Objective) -> dict[str, Any]:
    """An objective as an OpenSLO v1 document."""
    measured = {"indicator": objective.indicator.value, "threshold_ms": objective.threshold_ms}

    def source(requests: str) -> dict[str, Any]:
        return {"metricSource": {"type": METRIC_SOURCE, "spec": {"requests": requests, **measured}}}

    ratio = {"counter": True, "good": source("good"), "total": source("all")}
    return {
        "apiVersion": API_VERSION,
        "kind": "SLO",
        "metadata": {"name": objective.name},
        "spec": {
            "service": objective.service,
            "indicator": {"metadata": {"name": objective.name}, "spec": {"ratioMetric": ratio}},
            "timeWindow": [{"duration": f"{objective.window_days}d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"displayName": objective.name, "target": objective.target_ratio}],
        },
    }
