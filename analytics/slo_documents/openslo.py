"""OpenSLO v1: documents read and checked, and what of them we can judge (https://github.com/OpenSLO/OpenSLO, v1).

Rules are those of the specification and, where it is silent, of its Go SDK. Every problem of a document is told, with
the field it is in. Sections are named as in the specification's README.

One SLO has exactly one time window in v1 (section SLO, `timeWindow`). Further ones stand in the annotation
`tailsight.io/more-windows`, which others ignore:

    windows  = window *("," window)
    window   = duration " rolling" / duration " calendar " zone
    duration = as anywhere in OpenSLO: a whole number above 0 and one of m h d w M Q Y
    zone     = a name of the IANA Time Zone Database

as in `7d rolling, 1M calendar Europe/Berlin`. Calendar windows written so are counted from midnight of Monday,
1 January 2001, in their zone: weeks begin on Mondays, months, quarters and years on their first days.

What a contract gives back stands in the annotation `tailsight.io/sla`, strictest tier first:

    sla   = number " usd monthly" 1*(";" tier)
    tier  = " below " ratio ": " ratio
    ratio = a number from 0 to 1, or per cent

as in `12000 usd monthly; below 99.9%: 10%; below 99%: 25%`.

`read_sloth` and `read_pyrra` read what two Prometheus tools call an SLO into the same nouns; their PromQL stays text.
"""

import difflib
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from domain.incident import Indicator
from domain.slo import Calendar, CreditTier, Objective, Period, Selection, Sla, Slices

API_VERSION = "openslo/v1"
METRIC_SOURCE = "tailsight"
"""The type of a metric source that says what we count: `spec: {requests: good, indicator: ttft, threshold_ms: 800}`.

Beside the figures of its indicator (docs/slos.md) it may say of which `model`, `version`, `tenant` and `pool`.
"""
SLA = "tailsight.io/sla"
"""The annotation that holds what a contract gives back."""
MORE_WINDOWS = "tailsight.io/more-windows"
"""The annotation that holds further time windows of an SLO."""

BudgetingMethod = Literal["Occurrences", "Timeslices", "RatioTimeslices"]
Operator = Literal["lte", "gte", "lt", "gt"]
DurationUnit = Literal["m", "h", "d", "w", "M", "Q", "Y"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
_DURATION = re.compile(r"([1-9][0-9]*)([mhdwMQY])")
_TIME = "%Y-%m-%d %H:%M:%S"
_TIME_TEXT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_CALENDAR_ORIGIN = datetime(2001, 1, 1)  # noqa: DTZ001  # a Monday that begins a month, a quarter and a year in any zone
_SLA = re.compile(r"(\d+(?:\.\d+)?) usd monthly((?:\s*;\s*below \d+(?:\.\d+)?%?:\s*\d+(?:\.\d+)?%?)+)")
_SLA_TIER = re.compile(r"below (\d+(?:\.\d+)?)(%?):\s*(\d+(?:\.\d+)?)(%?)")
_DESCRIPTION_MAX, _DISPLAY_NAME_MAX, _PREFIX_MAX = 1050, 63, 253
_EMPTY: tuple[object, ...] = (None, "", {}, [])
_METHODS = ("Occurrences", "Timeslices", "RatioTimeslices")
_OPERATORS = ("lte", "gte", "lt", "gt")
_DAYS = {"d": 1, "w": 7, "M": 30, "Q": 90, "Y": 365}
_MINUTES = {"m": 1, "h": 60, **{unit: days * 1440 for unit, days in _DAYS.items()}}


# -- nouns -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document: where, which rule it breaks, and what would be right.

    `rule` is the code that the Go SDK gives it (`required`, `one_of`, `less_than`, …), or one of ours: `document`,
    `type`, `unknown_field`, `duration`, `time_window`, `sla`, `duplicate`, `query`, `unsupported`.
    """

    path: str
    rule: str
    message: str

    @property
    def told(self) -> str:
        """The message, as it is shown beside its field."""
        return self.message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class OpenSloError(ValueError):
    """A document that cannot be used; `problems` are all that were found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Duration:
    """So many of a unit (section duration-shorthand)."""

    count: int
    unit: DurationUnit

    @property
    def length_s(self) -> int:
        """Its length; a month is taken as 30 days, a quarter as 90, a year as 365, as in the Go SDK."""
        return self.count * _MINUTES[self.unit] * 60

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The stretch of this length that ends now (section SLO, `timeWindow`)."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """One stretch after the other, counted from `start_time`, a time on the clocks of `time_zone`."""

    duration: Duration
    start_time: datetime
    time_zone: str


TimeWindow: TypeAlias = RollingWindow | CalendarWindow


@dataclass(frozen=True, slots=True)
class MetricSource:
    """Whom to ask and what (section SLI). `type` is None where `data_source` names a document that says it."""

    type: str | None
    spec: Mapping[str, Any]
    data_source: str | None = None


@dataclass(frozen=True, slots=True)
class ThresholdMetric:
    """A number that the objectives compare with their `value` (section SLI)."""

    source: MetricSource


@dataclass(frozen=True, slots=True)
class RatioMetric:
    """`good` or `bad` of `total`, or the ready ratio `raw` (section Ratio Metric)."""

    total: MetricSource | None = None
    good: MetricSource | None = None
    bad: MetricSource | None = None
    raw: MetricSource | None = None
    raw_type: Literal["success", "failure"] | None = None
    is_counter: bool = False


Metric: TypeAlias = RatioMetric | ThresholdMetric


@dataclass(frozen=True, slots=True)
class SloObjective:
    """One target of an SLO (section Objectives). `indicator` is that of this part of a composite, a name or a metric.

    `target_ratio` is below 1, but Sloth and Pyrra take a target of 100%, which leaves no budget.
    """

    target_ratio: float
    op: Operator | None = None
    value: float | None = None
    time_slice_target: float | None = None
    time_slice_window: Duration | None = None
    display_name: str | None = None
    indicator: Metric | str | None = None
    composite_weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """What every document has (section General Schema)."""

    name: str
    display_name: str | None = None
    description: str | None = None
    annotations: Mapping[str, str]
    labels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDocument(_Named):
    """A group of SLOs (section Service)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliDocument(_Named):
    """How something is measured (section SLI)."""

    metric: Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSourceDocument(_Named):
    """How a source of metrics is reached (section DataSource); `connection_details` is whatever was written."""

    type: str
    connection_details: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertConditionDocument(_Named):
    """When to alert (section AlertCondition): once the burn rate has been past `threshold` for `alert_after`."""

    severity: str
    op: Operator
    threshold: float
    lookback_window: Duration
    alert_after: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNotificationTargetDocument(_Named):
    """Whom to tell (section AlertNotificationTarget)."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicyDocument(_Named):
    """Which condition tells whom (section AlertPolicy); each written out, or the name of its document."""

    alert_when_no_data: bool
    alert_when_resolved: bool
    alert_when_breaching: bool
    condition: AlertConditionDocument | str
    notification_targets: tuple[AlertNotificationTargetDocument | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SloDocument(_Named):
    """What is promised (section SLO).

    `indicator` is a metric, the name of an SLI's document, or None where each objective has its own. `time_windows`
    are that of the document and then those of its annotation. `service` is empty where the source names none.
    """

    service: str
    indicator: Metric | str | None
    budgeting_method: BudgetingMethod
    objectives: tuple[SloObjective, ...]
    time_windows: tuple[TimeWindow, ...]
    alert_policies: tuple[AlertPolicyDocument | str, ...] = ()


Document: TypeAlias = (
    SloDocument
    | SliDocument
    | ServiceDocument
    | AlertPolicyDocument
    | AlertConditionDocument
    | AlertNotificationTargetDocument
    | DataSourceDocument
)


# -- reading -----------------------------------------------------------------------------------------------------------


def read_documents(text: str) -> list[Document]:
    """Read and check OpenSLO v1 documents: YAML or JSON, of one, of several, or of a list of them.

    Raises:
        OpenSloError: with all problems; where there are several documents, by their place, from 0.
    """
    documents = _parsed(text)
    _raise_any(_numbered(documents, problems_of))
    return [_built(document) for document in documents]


def problems_of(document: Any) -> list[Problem]:
    """What is wrong with one parsed document; empty when nothing is."""
    check = _Check()
    if not isinstance(document, dict):
        check.tell("document", "type", f"is {_kind_of(document)}; expected a mapping")
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


def document_from(document: Any) -> Document:
    """The noun of one parsed document.

    Raises:
        OpenSloError: with all problems.
    """
    _raise_any(problems_of(document))
    return _built(document)


def _built(document: Mapping[str, Any]) -> Document:
    return _KINDS[document["kind"]].build(_named(document), document.get("spec") or {})


class _Loader(yaml.SafeLoader):
    """YAML in which a time stays the text that was written: its form is for us to check."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _parsed(text: str) -> list[Any]:
    """Every document of a text, also those in a list.

    Raises:
        OpenSloError: when it is neither YAML nor JSON, or empty.
    """
    try:
        found = [json.loads(text)]  # may be indented by tabs, which YAML forbids
    except (ValueError, RecursionError):
        found = _parsed_yaml(text)
    documents = [one for each in found for one in (each if isinstance(each, list) else [each]) if one is not None]
    if not documents:
        raise OpenSloError([Problem("document", "document", "is empty")])
    return documents


def _parsed_yaml(text: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError of an endless number
        raise OpenSloError([Problem("document", "document", f"is no YAML: {error}")]) from error


def _numbered(documents: Sequence[Any], problems: Callable[[Any], list[Problem]]) -> list[Problem]:
    """The problems of all documents; where there are several, each with the place of its document."""
    if len(documents) == 1:
        return problems(documents[0])
    return [
        Problem(f"[{number}].{one.path}", one.rule, one.message)
        for number, document in enumerate(documents)
        for one in problems(document)
    ]


def _raise_any(problems: Sequence[Problem]) -> None:
    if problems:
        raise OpenSloError(problems)


# -- rules -------------------------------------------------------------------------------------------------------------


class _Check:
    """Rules over one document; each that fails is a problem."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def tell(self, path: str, rule: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, rule, message))

    def required(self, where: Mapping[str, Any], path: str, *names: str) -> None:
        """Each of these fields is there and is not empty."""
        for name in names:
            if where.get(name) in _EMPTY:
                near = difflib.get_close_matches(name, [str(other) for other in where if other != name], 1, 0.8)
                told = "is missing" + (f"; there is {near[0]}" if near else "")
                self.tell(_at(path, name), "required", told)

    def fields(self, where: Mapping[str, Any], path: str, valid: Sequence[str]) -> None:
        """No other fields than these."""
        for name in where:
            if name not in valid:
                told = f"is not known{_meant(str(name), valid)}; valid are {', '.join(valid)}"
                self.tell(_at(path, name), "unknown_field", told)

    def one_of(self, value: Any, path: str, valid: Sequence[str]) -> None:
        """The value is one of these."""
        if value in (None, ""):
            self.tell(path, "required", f"is missing; valid are {', '.join(valid)}")
        elif value not in valid:
            self.tell(path, "one_of", f"is {value!r}{_meant(str(value), valid)}; valid are {', '.join(valid)}")

    def dns_label(self, value: Any, path: str) -> None:
        """The value is a DNS label (RFC 1123)."""
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            told = f"is {value!r}; write lower-case letters, digits and dashes within, 63 at most"
            self.tell(path, "string_dns_label", told)

    def name(self, where: Mapping[str, Any], path: str, name: str) -> None:
        """A field that holds the name of a document."""
        if where.get(name) in (None, ""):
            self.required(where, path, name)
        else:
            self.dns_label(where[name], _at(path, name))

    def texts(self, where: Mapping[str, Any], path: str, *names: str) -> None:
        """Each of these fields is text, where it is there."""
        for name in names:
            if not isinstance(where.get(name), str | None):
                self.tell(_at(path, name), "type", f"is {_kind_of(where[name])}; expected text")

    def flags(self, where: Mapping[str, Any], path: str, *names: str) -> None:
        """Each of these fields is true or false, where it is there."""
        for name in names:
            if not isinstance(where.get(name), bool | None):
                self.tell(_at(path, name), "type", f"is {where[name]!r}; valid are true, false")

    def longest(self, where: Mapping[str, Any], path: str, name: str, most: int) -> None:
        """A text of at most so many characters, where there is one."""
        self.texts(where, path, name)
        value = where.get(name)
        if isinstance(value, str) and len(value) > most:
            self.tell(_at(path, name), "string_max_length", f"has {len(value)} characters; at most {most} are valid")

    def mapping(self, where: Mapping[str, Any], path: str, name: str) -> Mapping[str, Any]:
        """The mapping in a field; empty where there is none."""
        value = where.get(name)
        if not isinstance(value, dict | None):
            self.tell(_at(path, name), "type", f"is {_kind_of(value)}; expected a mapping")
        return value if isinstance(value, dict) else {}

    def entries(self, where: Mapping[str, Any], path: str, name: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The mappings in a field that is a list, each with its path."""
        value = where.get(name)
        if not isinstance(value, list | None):
            self.tell(_at(path, name), "type", f"is {_kind_of(value)}; expected a list")
            return []
        entries = [(f"{_at(path, name)}[{number}]", entry) for number, entry in enumerate(value or [])]
        for place, entry in entries:
            if not isinstance(entry, dict):
                self.tell(place, "type", f"is {_kind_of(entry)}; expected a mapping")
        return [(place, entry) for place, entry in entries if isinstance(entry, dict)]

    def duration(self, where: Mapping[str, Any], path: str, name: str, *, least_count: int = 1) -> None:
        """A duration such as 30d, where there is one (section duration-shorthand)."""
        value = where.get(name)
        if value in (None, ""):
            return
        zero = least_count == 0 and isinstance(value, str) and re.fullmatch(r"0+[mhdwMQY]", value)
        if not zero and not (isinstance(value, str) and _DURATION.fullmatch(value)):
            told = f"is {value!r}; write a whole number, {least_count} or more, and one of m h d w M Q Y, as in 30d"
            self.tell(_at(path, name), "duration", told)

    def number(self, value: Any, path: str, *, least: float | None = None, above: float | None = None,
               below: float | None = None, most: float | None = None) -> None:  # fmt: skip
        """A finite number within bounds."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            self.tell(path, "type", f"is {value!r}; expected a number")
            return
        rules = (
            (least is not None and value < least, "greater_than_or_equal_to", f"at least {least}"),
            (above is not None and value <= above, "greater_than", f"more than {above}"),
            (below is not None and value >= below, "less_than", f"less than {below}"),
            (most is not None and value > most, "less_than_or_equal_to", f"at most {most}"),
        )
        for fails, rule, told in rules:
            if fails:
                self.tell(path, rule, f"is {value}; it must be {told}")


def _at(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)


def _meant(name: str, known: Iterable[Any]) -> str:
    near = difflib.get_close_matches(name, [str(one) for one in known], 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _kind_of(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing"}
    return names.get(type(value), repr(value))


def _check_spec(document: Mapping[str, Any], kind: str, check: _Check) -> None:
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


def _check_metadata(metadata: Any, check: _Check, path: str = "metadata") -> None:
    """Section General Schema."""
    if not isinstance(metadata, dict) or not metadata:
        check.tell(path, "required", "is missing; a name is needed")
        return
    check.fields(metadata, path, ("name", "displayName", "labels", "annotations"))
    check.name(metadata, path, "name")
    check.longest(metadata, path, "displayName", _DISPLAY_NAME_MAX)
    _check_labels(check.mapping(metadata, path, "labels"), check, f"{path}.labels")
    _check_annotations(check.mapping(metadata, path, "annotations"), check, f"{path}.annotations")


def _check_labels(labels: Mapping[str, Any], check: _Check, path: str) -> None:
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(str(key)):
            told = "is no key of a label: letters and digits, with - _ . within, 63 at most"
            check.tell(_at(path, key), "string_match_regexp", told)
        if not all(isinstance(one, str) for one in (value if isinstance(value, list) else [value])):
            check.tell(_at(path, key), "type", f"is {value!r}; expected text, or a list of texts")


def _check_annotations(annotations: Mapping[str, Any], check: _Check, path: str) -> None:
    for key in annotations:
        prefix, slash, name = str(key).rpartition("/")
        fits = not slash or (len(prefix) <= _PREFIX_MAX and _PREFIX.fullmatch(prefix))
        if not fits or not _LABEL_KEY.fullmatch(name):
            told = "is no key of an annotation: a name, or domain/name, as in openslo.com/key"
            check.tell(_at(path, key), "string_match_regexp", told)
    check.texts(annotations, path, *annotations)
    _check_more_windows(annotations, check, path)
    if isinstance(annotations.get(SLA), str):
        _check_sla(annotations[SLA], check, _at(path, SLA))


def _check_sla(text: str, check: _Check, path: str) -> None:
    """Our annotation of an SLA can be read; its grammar is in the text that heads this module."""
    if not _SLA.fullmatch(text.strip()):
        told = f"is {text!r}; write as in '12000 usd monthly; below 99.9%: 10%; below 99%: 25%'"
        check.tell(path, "sla", told)
        return
    tiers = _sla(text, "UTC").tiers
    if any(tier.below_ratio > 1 or tier.credit_ratio > 1 for tier in tiers):
        check.tell(path, "sla", f"is {text!r}; ratios are at most 1 (100%)")
    falls = [(one.below_ratio, -one.credit_ratio) for one in tiers]
    if any(later[0] >= earlier[0] or later[1] >= earlier[1] for earlier, later in itertools.pairwise(falls)):
        check.tell(path, "sla", f"is {text!r}; each tier must lie below the one before it, and give more back")


def _check_more_windows(annotations: Mapping[str, Any], check: _Check, path: str) -> None:
    """Every window in our annotation is one; the grammar is in the text that heads this module."""
    text = annotations.get(MORE_WINDOWS)
    for written in text.split(",") if isinstance(text, str) else ():
        words = written.split()
        is_rolling = len(words) == 2 and words[1] == "rolling"
        is_calendar = len(words) == 3 and words[1] == "calendar" and _is_zone(words[2])
        if not (is_rolling or is_calendar) or not _DURATION.fullmatch(words[0]):
            told = f"has {written.strip()!r}; write windows as in '7d rolling, 1M calendar Europe/Berlin'"
            check.tell(_at(path, MORE_WINDOWS), "time_window", told)


def _is_zone(name: Any) -> bool:
    """Is it a name of the IANA Time Zone Database."""
    try:
        return bool(name) and ZoneInfo(str(name)) is not None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # of a folder of zones, as in Europe, it is an OSError
        return False


def _check_inlined(entry: Mapping[str, Any], check: _Check, path: str, reference: str, kind: str) -> None:
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
    if entry.get("spec") not in _EMPTY:
        _KINDS[kind].check(check.mapping(entry, path, "spec"), check, f"{path}.spec")


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


def _check_slo(spec: Mapping[str, Any], check: _Check, path: str) -> None:
    """Section SLO."""
    check.fields(spec, path, _SLO_FIELDS)
    check.longest(spec, path, "description", _DESCRIPTION_MAX)
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


def _check_indicator(where: Mapping[str, Any], check: _Check, path: str) -> None:
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


def _check_time_windows(spec: Mapping[str, Any], check: _Check, path: str) -> None:
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


def _check_calendar(calendar: Mapping[str, Any], check: _Check, path: str) -> None:
    check.fields(calendar, path, ("startTime", "timeZone"))
    check.required(calendar, path, "startTime", "timeZone")
    start, zone = calendar.get("startTime"), calendar.get("timeZone")
    if start and _moment(start) is None:
        told = f"is {start!r}; write a time without a zone, as in 2026-01-01 12:00:00"
        check.tell(f"{path}.startTime", "string_date_time", told)
    if zone and not _is_zone(zone):
        told = f"is {zone!r}; write a name of the IANA Time Zone Database, as in Europe/Berlin"
        check.tell(f"{path}.timeZone", "string_time_zone", told)


def _moment(written: Any) -> datetime | None:
    """A time without a zone, as text or as another reader of YAML has made it; None when it is not one."""
    if isinstance(written, datetime):
        return written if written.tzinfo is None else None
    if not isinstance(written, str) or not _TIME_TEXT.fullmatch(written):
        return None
    try:
        return datetime.strptime(written, _TIME)  # noqa: DTZ007  # the zone stands beside it
    except ValueError:
        return None


def _check_objective(objective: Mapping[str, Any], spec: Mapping[str, Any], check: _Check, path: str) -> None:
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


def _check_operator(objective: Mapping[str, Any], spec: Mapping[str, Any], check: _Check, path: str) -> None:
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


def _check_slices(objective: Mapping[str, Any], method: Any, check: _Check, path: str) -> None:
    if method == "Timeslices" and objective.get("timeSliceTarget") is None:
        check.tell(f"{path}.timeSliceTarget", "required", "is missing: Timeslices need one")
    if objective.get("timeSliceTarget") is not None:
        check.number(objective["timeSliceTarget"], f"{path}.timeSliceTarget", above=0.0, most=1.0)
    if method in ("Timeslices", "RatioTimeslices") and objective.get("timeSliceWindow") in (None, ""):
        check.tell(f"{path}.timeSliceWindow", "required", f"is missing: {method} need one")
    check.duration(objective, path, "timeSliceWindow")


# -- the other kinds ---------------------------------------------------------------------------------------------------

_SLI_FIELDS = ("description", "thresholdMetric", "ratioMetric")
_RATIO_FIELDS = ("counter", "good", "bad", "total", "rawType", "raw")
_RAW_TYPES = ("success", "failure")
_POLICY_FIELDS = (
    "description",
    "alertWhenNoData",
    "alertWhenResolved",
    "alertWhenBreaching",
    "conditions",
    "notificationTargets",
)


def _check_sli(spec: Mapping[str, Any], check: _Check, path: str) -> None:
    """Section SLI."""
    check.fields(spec, path, _SLI_FIELDS)
    check.longest(spec, path, "description", _DESCRIPTION_MAX)
    if (spec.get("thresholdMetric") is None) == (spec.get("ratioMetric") is None):
        check.tell(path, "mutually_exclusive", "needs exactly one of thresholdMetric and ratioMetric")
    if spec.get("thresholdMetric") is not None:
        _check_metric(spec, check, path, "thresholdMetric")
    if spec.get("ratioMetric") is not None:
        _check_ratio(check.mapping(spec, path, "ratioMetric"), check, f"{path}.ratioMetric")


def _check_ratio(ratio: Mapping[str, Any], check: _Check, path: str) -> None:
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


def _check_metric(where: Mapping[str, Any], check: _Check, path: str, name: str) -> None:
    metric, path = check.mapping(where, path, name), f"{path}.{name}"
    check.fields(metric, path, ("metricSource",))
    check.required(metric, path, "metricSource")
    if metric.get("metricSource") in _EMPTY:
        return
    source, path = check.mapping(metric, path, "metricSource"), f"{path}.metricSource"
    check.fields(source, path, ("metricSourceRef", "type", "spec"))
    check.texts(source, path, "type")
    if source.get("metricSourceRef") not in (None, ""):
        check.dns_label(source["metricSourceRef"], f"{path}.metricSourceRef")
    if not check.mapping(source, path, "spec"):
        check.tell(f"{path}.spec", "map_min_length", "is empty: say what is asked")


def _check_service(spec: Mapping[str, Any], check: _Check, path: str) -> None:
    """Section Service."""
    check.fields(spec, path, ("description",))
    check.longest(spec, path, "description", _DESCRIPTION_MAX)


def _check_condition(spec: Mapping[str, Any], check: _Check, path: str) -> None:
    """Section AlertCondition."""
    check.fields(spec, path, ("description", "severity", "condition"))
    check.longest(spec, path, "description", _DESCRIPTION_MAX)
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


def _check_policy(spec: Mapping[str, Any], check: _Check, path: str) -> None:
    """Section AlertPolicy: one condition, at least one to tell."""
    check.fields(spec, path, _POLICY_FIELDS)
    check.longest(spec, path, "description", _DESCRIPTION_MAX)
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


def _check_target(spec: Mapping[str, Any], check: _Check, path: str) -> None:
    """Section AlertNotificationTarget."""
    check.fields(spec, path, ("target", "description"))
    check.longest(spec, path, "description", _DESCRIPTION_MAX)
    check.required(spec, path, "target")
    check.texts(spec, path, "target")


def _check_source(spec: Mapping[str, Any], check: _Check, path: str) -> None:
    """Section DataSource."""
    check.fields(spec, path, ("description", "type", "connectionDetails"))
    check.longest(spec, path, "description", _DESCRIPTION_MAX)
    check.required(spec, path, "type", "connectionDetails")
    check.texts(spec, path, "type")


# -- from what was checked to nouns ------------------------------------------------------------------------------------


def _named(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = document["metadata"]
    labels: Mapping[str, Any] = metadata.get("labels") or {}
    return {
        "name": metadata["name"],
        "display_name": metadata.get("displayName") or None,
        "description": (document.get("spec") or {}).get("description") or None,
        "annotations": dict(metadata.get("annotations") or {}),
        "labels": {key: tuple(value) if isinstance(value, list) else (value,) for key, value in labels.items()},
    }


def _slo(named: Mapping[str, Any], spec: Mapping[str, Any]) -> SloDocument:
    return SloDocument(
        **named,
        service=spec["service"],
        indicator=_indicator(spec),
        budgeting_method=spec["budgetingMethod"],
        objectives=tuple(map(_objective, spec["objectives"])),
        time_windows=(_time_window(spec["timeWindow"][0]), *_more_windows(named["annotations"])),
        alert_policies=tuple(
            cast("AlertPolicyDocument | str", _inlined(policy, "alertPolicyRef"))
            for policy in spec.get("alertPolicies") or ()
        ),
    )


def _indicator(where: Mapping[str, Any]) -> Metric | str | None:
    if where.get("indicator") is not None:
        return _metric(where["indicator"]["spec"])
    return cast("str | None", where.get("indicatorRef"))


def _objective(objective: Mapping[str, Any]) -> SloObjective:
    percent, window = objective.get("targetPercent"), objective.get("timeSliceWindow")
    weight = objective.get("compositeWeight")
    return SloObjective(
        target_ratio=float(objective["target"]) if percent is None else _ratio_of(percent),
        op=objective.get("op") or None,
        value=_number_or_none(objective.get("value")),
        time_slice_target=_number_or_none(objective.get("timeSliceTarget")),
        time_slice_window=_duration(window) if window else None,
        display_name=objective.get("displayName") or None,
        indicator=_indicator(objective),
        composite_weight=1.0 if weight is None else float(weight),
    )


def _number_or_none(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


def _ratio_of(percent: Any) -> float:
    """The ratio nearest to a percentage: 99.9 is 0.999, which 99.9 / 100 is not."""
    return float(Decimal(str(percent)) / 100)


def _duration(written: str) -> Duration:
    return Duration(int(written[:-1]), cast("DurationUnit", written[-1]))


def _time_window(window: Mapping[str, Any]) -> TimeWindow:
    duration, calendar = _duration(window["duration"]), window.get("calendar")
    if calendar is None:
        return RollingWindow(duration)
    return CalendarWindow(duration, _moment(calendar["startTime"]) or _CALENDAR_ORIGIN, calendar["timeZone"])


def _more_windows(annotations: Mapping[str, str]) -> list[TimeWindow]:
    """The windows of our annotation, which was checked."""
    windows: list[TimeWindow] = []
    for written in filter(None, annotations.get(MORE_WINDOWS, "").split(",")):
        duration, _, *zone = written.split()
        rolling, calendar = RollingWindow(_duration(duration)), (_duration(duration), _CALENDAR_ORIGIN)
        windows.append(CalendarWindow(*calendar, zone[0]) if zone else rolling)
    return windows


def _metric(spec: Mapping[str, Any]) -> Metric:
    if spec.get("thresholdMetric") is not None:
        return ThresholdMetric(_source(spec["thresholdMetric"]))
    ratio = spec["ratioMetric"]
    sources = {name: _source(ratio[name]) for name in ("total", "good", "bad", "raw") if ratio.get(name) is not None}
    raw_type = ratio.get("rawType") if "raw" in sources else None
    return RatioMetric(**sources, raw_type=raw_type, is_counter=bool(ratio.get("counter")))


def _source(metric: Mapping[str, Any]) -> MetricSource:
    source = metric["metricSource"]
    return MetricSource(source.get("type") or None, dict(source["spec"]), source.get("metricSourceRef") or None)


def _inlined(entry: Mapping[str, Any], reference: str) -> Document | str:
    if reference in entry:
        return cast("str", entry[reference])
    return _KINDS[entry["kind"]].build(_named(entry), entry["spec"])


def _condition(named: Mapping[str, Any], spec: Mapping[str, Any]) -> AlertConditionDocument:
    condition = spec["condition"]
    return AlertConditionDocument(
        **named,
        severity=spec["severity"],
        op=condition["op"],
        threshold=float(condition["threshold"]),
        lookback_window=_duration(condition["lookbackWindow"]),
        alert_after=_duration(condition.get("alertAfter") or "0m"),
    )


def _policy(named: Mapping[str, Any], spec: Mapping[str, Any]) -> AlertPolicyDocument:
    return AlertPolicyDocument(
        **named,
        alert_when_no_data=bool(spec.get("alertWhenNoData")),
        alert_when_resolved=bool(spec.get("alertWhenResolved")),
        alert_when_breaching=bool(spec.get("alertWhenBreaching")),
        condition=cast("AlertConditionDocument | str", _inlined(spec["conditions"][0], "conditionRef")),
        notification_targets=tuple(
            cast("AlertNotificationTargetDocument | str", _inlined(target, "targetRef"))
            for target in spec["notificationTargets"]
        ),
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """How documents of one kind are checked and built."""

    fields: tuple[str, ...]
    check: Callable[[Mapping[str, Any], _Check, str], None]
    build: Callable[[Mapping[str, Any], Mapping[str, Any]], Document]
    needs_spec: bool = False


_KINDS: Mapping[str, _Kind] = {
    "SLO": _Kind(_SLO_FIELDS, _check_slo, _slo, needs_spec=True),
    "SLI": _Kind(_SLI_FIELDS, _check_sli, lambda named, spec: SliDocument(**named, metric=_metric(spec))),
    "Service": _Kind(("description",), _check_service, lambda named, _: ServiceDocument(**named)),
    "AlertPolicy": _Kind(_POLICY_FIELDS, _check_policy, _policy),
    "AlertCondition": _Kind(("description", "severity", "condition"), _check_condition, _condition, needs_spec=True),
    "AlertNotificationTarget": _Kind(
        ("description", "target"),
        _check_target,
        lambda named, spec: AlertNotificationTargetDocument(**named, target=spec["target"]),
    ),
    "DataSource": _Kind(
        ("description", "type", "connectionDetails"),
        _check_source,
        lambda named, spec: DataSourceDocument(
            **named, type=spec["type"], connection_details=spec["connectionDetails"]
        ),
    ),
}


# -- Sloth -------------------------------------------------------------------------------------------------------------

_SLOTH_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*[A-Za-z0-9]")
_SLOTH_WINDOW = re.compile(r"\{\{ *\.window *\}\}")
_SLOTH_PERIOD = Duration(30, "d")


def read_sloth(text: str) -> list[SloDocument]:
    """Read Sloth's SLOs, `version: prometheus/v1` or `kind: PrometheusServiceLevel`, of one document or several.

    An SLO is named as Sloth names it, `service-name`. Sloth keeps the period outside its documents: it is 30 days, as
    Sloth's own. Queries are kept as text of metric sources of type Prometheus and not parsed; an SLI of a plugin is one
    of type SlothPlugin. Alerting is checked and left away: Sloth's alerts are not policies of OpenSLO. Fields that are
    not known are passed over, as Sloth does.

    Raises:
        OpenSloError: with all problems that Sloth would find but for faults in PromQL; also of an SLO that is there
            twice.
    """
    documents = _parsed(text)
    _raise_any([*_numbered(documents, _sloth_problems), *_sloth_duplicates(documents)])
    return [_sloth_slo(slo, document) for document in documents for slo in _sloth_group(document)["slos"]]


def _is_sloth_resource(document: Mapping[str, Any]) -> bool:
    found = (document.get("apiVersion"), document.get("kind"))
    return found == ("sloth.slok.dev/v1", "PrometheusServiceLevel")


def _sloth_group(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where service, labels and SLOs stand."""
    spec = document.get("spec") if _is_sloth_resource(document) else document
    return spec if isinstance(spec, dict) else {}


def _sloth_field(name: str, document: Mapping[str, Any]) -> str:
    """What the resource writes as totalQuery is total_query in a file."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others)) if _is_sloth_resource(document) else name


def _sloth_problems(document: Any) -> list[Problem]:
    check = _Check()
    if not isinstance(document, dict):
        check.tell("document", "type", f"is {_kind_of(document)}; expected a mapping")
        return check.problems
    if not _is_sloth_resource(document) and document.get("version") != "prometheus/v1":
        field = next((name for name in ("version", "apiVersion") if name in document), "version")
        told = "valid are version prometheus/v1, and apiVersion sloth.slok.dev/v1 of kind PrometheusServiceLevel"
        check.tell(field, "equal_to", f"is {document.get(field)!r}; {told}")
        return check.problems
    group, path = _sloth_group(document), "spec" if _is_sloth_resource(document) else ""
    _check_sloth_name(group, check, path, "service")
    check.mapping(group, path, "labels")
    if not group.get("slos"):
        check.tell(_at(path, "slos"), "required", "is missing: at least one SLO is needed")
    for place, slo in check.entries(group, path, "slos"):
        _check_sloth_slo(slo, document, check, place)
    _check_resource_windows(document, check)
    return check.problems


def _check_resource_windows(document: Mapping[str, Any], check: _Check) -> None:
    """The annotation of further windows, of a resource of Kubernetes."""
    metadata = check.mapping(document, "", "metadata")
    annotations = check.mapping(metadata, "metadata", "annotations")
    check.texts(annotations, "metadata.annotations", MORE_WINDOWS)
    _check_more_windows(annotations, check, "metadata.annotations")


def _check_sloth_name(where: Mapping[str, Any], check: _Check, path: str, name: str) -> None:
    value = where.get(name)
    if value in (None, ""):
        check.required(where, path, name)
    elif not isinstance(value, str) or not _SLOTH_NAME.fullmatch(value):
        told = f"is {value!r}; write letters and digits, with - _ . within, two at least"
        check.tell(_at(path, name), "string_match_regexp", told)


def _check_sloth_slo(slo: Mapping[str, Any], document: Mapping[str, Any], check: _Check, path: str) -> None:
    _check_sloth_name(slo, check, path, "name")
    check.texts(slo, path, "description")
    check.mapping(slo, path, "labels")
    check.number(slo.get("objective"), f"{path}.objective", above=0.0, most=100.0)
    _check_sloth_sli(check.mapping(slo, path, "sli"), document, check, f"{path}.sli")
    alerting = check.mapping(slo, path, "alerting")
    alerts = [alerting.get(_sloth_field(name, document)) for name in ("page_alert", "ticket_alert")]
    if not all(isinstance(alert, dict) and alert.get("disable") is True for alert in alerts):
        check.required(alerting, f"{path}.alerting", "name")


def _check_sloth_sli(sli: Mapping[str, Any], document: Mapping[str, Any], check: _Check, path: str) -> None:
    given = [name for name in ("events", "raw", "plugin") if sli.get(name) is not None]
    if len(given) != 1:
        found = ", ".join(given) or "none"
        check.tell(path, "mutually_exclusive", f"has {found}; exactly one of events, raw and plugin is valid")
    if "plugin" in given:
        check.required(check.mapping(sli, path, "plugin"), f"{path}.plugin", "id")
    if "raw" in given:
        raw = check.mapping(sli, path, "raw")
        _check_sloth_query(raw, check, f"{path}.raw", _sloth_field("error_ratio_query", document))
    if "events" in given:
        events, names = check.mapping(sli, path, "events"), ("error_query", "total_query")
        error, total = (_sloth_field(name, document) for name in names)
        _check_sloth_query(events, check, f"{path}.events", error)
        _check_sloth_query(events, check, f"{path}.events", total)
        if events.get(error) and events.get(error) == events.get(total):
            check.tell(f"{path}.events", "query", f"has the same {error} and {total}; then all events are errors")


def _check_sloth_query(where: Mapping[str, Any], check: _Check, path: str, name: str) -> None:
    check.required(where, path, name)
    check.texts(where, path, name)
    query = where.get(name)
    if isinstance(query, str) and query and not _SLOTH_WINDOW.search(query):
        check.tell(_at(path, name), "query", "has no {{.window}}; Sloth puts the length of the window there")


def _sloth_duplicates(documents: Sequence[Any]) -> list[Problem]:
    """An SLO is known by service and name."""
    problems, first = [], dict[tuple[Any, Any], str]()
    for number, document in enumerate(documents):
        if not isinstance(document, dict):
            continue
        path = ("spec." if _is_sloth_resource(document) else "") + "slos"
        group = _sloth_group(document)
        for place, slo in _Check().entries(group, f"[{number}]" if len(documents) > 1 else "", path):
            known_as = (str(group.get("service")), str(slo.get("name")))
            if known_as in first:
                told = f"is {slo.get('name')!r} of service {group.get('service')!r}, as {first[known_as]} is already"
                problems.append(Problem(f"{place}.name", "duplicate", told))
            first.setdefault(known_as, place)
    return problems


def _sloth_slo(slo: Mapping[str, Any], document: Mapping[str, Any]) -> SloDocument:
    group, annotations = _sloth_group(document), _resource_texts(document, "annotations")
    return SloDocument(
        name=f"{group['service']}-{slo['name']}",
        display_name=slo["name"],
        description=slo.get("description") or None,
        annotations=annotations,
        labels={key: (value,) for of in (group, slo) for key, value in _texts(of.get("labels")).items()},
        service=group["service"],
        indicator=_sloth_metric(slo["sli"], document),
        budgeting_method="Occurrences",
        objectives=(SloObjective(_ratio_of(slo["objective"])),),
        time_windows=(RollingWindow(_SLOTH_PERIOD), *_more_windows(annotations)),
    )


def _sloth_metric(sli: Mapping[str, Any], document: Mapping[str, Any]) -> RatioMetric:
    if sli.get("plugin") is not None:
        plugin = MetricSource("SlothPlugin", {"id": sli["plugin"]["id"], "options": sli["plugin"].get("options") or {}})
        return RatioMetric(raw=plugin, raw_type="failure")
    if sli.get("raw") is not None:
        query = sli["raw"][_sloth_field("error_ratio_query", document)]
        return RatioMetric(raw=_prometheus(query), raw_type="failure")
    error, total = (sli["events"][_sloth_field(name, document)] for name in ("error_query", "total_query"))
    return RatioMetric(bad=_prometheus(error), total=_prometheus(total))


def _prometheus(query: str, **others: Any) -> MetricSource:
    return MetricSource("Prometheus", {"query": query, **{name: value for name, value in others.items() if value}})


def _texts(found: Any) -> dict[str, str]:
    """A mapping of texts; whatever else a value is becomes text, as Go's reader of YAML makes it."""
    values: Mapping[Any, Any] = found or {}
    return {str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()}


def _resource_texts(document: Mapping[str, Any], name: str) -> dict[str, str]:
    """Labels or annotations of a resource of Kubernetes."""
    return _texts((document.get("metadata") or {}).get(name))


# -- OpenSLO v1alpha ---------------------------------------------------------------------------------------------------

_V1ALPHA = "openslo/v1alpha"
_V1ALPHA_UNITS = {"Minute": "m", "Hour": "h", "Day": "d", "Week": "w", "Month": "M", "Quarter": "Q", "Year": "Y"}


def read_v1alpha(text: str) -> list[SloDocument]:
    """Read SLOs of OpenSLO v1alpha, the dialect that Sloth reads; documents of other kinds are passed over.

    An SLO of several objectives is as many, named with their numbers as Sloth does. Queries are kept as text. Slices of
    time without a length, which v1alpha does not ask for, are minutes.

    Raises:
        OpenSloError: with all problems, by the fields that v1 has; also of an SLO that is there twice.
    """
    documents = _parsed(text)
    check = _Check()
    for number, document in enumerate(documents):
        if not isinstance(document, dict) or document.get("apiVersion") != _V1ALPHA:
            check.tell(f"[{number}].apiVersion", "equal_to", f"is no {_V1ALPHA}, as others here are")
    _raise_any(check.problems)
    slos = [slo for one in documents if one.get("kind") == "SLO" for slo in _from_v1alpha(one)]
    _raise_any(_numbered(slos, problems_of))
    names = [slo["metadata"]["name"] for slo in slos]
    twice = sorted({name for name in names if names.count(name) > 1})
    _raise_any([Problem("metadata.name", "duplicate", f"{name!r} stands twice") for name in twice])
    return [cast("SloDocument", _built(slo)) for slo in slos]


def _from_v1alpha(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The documents of v1 that one of v1alpha says; what is not as it should be stays, for the rules of v1 to tell."""
    spec = document.get("spec")
    metadata = document.get("metadata")
    if not isinstance(spec, dict) or not isinstance(metadata, dict) or not isinstance(spec.get("objectives"), list):
        return [{**document, "apiVersion": API_VERSION}]
    windows = spec.get("timeWindows")
    shared = {name: value for name, value in spec.items() if name not in ("timeWindows", "indicator", "objectives")}
    shared["timeWindow"] = [_v1alpha_window(one) for one in windows] if isinstance(windows, list) else windows
    made = []
    for number, objective in enumerate(spec["objectives"]):
        promised = dict(objective) if isinstance(objective, dict) else {}
        if spec.get("budgetingMethod") == "Timeslices":
            promised.setdefault("timeSliceWindow", "1m")
        name = f"{metadata.get('name')}-{number}" if len(spec["objectives"]) > 1 else metadata.get("name")
        ratio, threshold = promised.pop("ratioMetrics", None), (spec.get("indicator") or {})
        metric: dict[str, Any] = {}
        if isinstance(ratio, dict):
            sources = {part: _v1alpha_source(ratio[part]) for part in ("good", "bad", "total") if part in ratio}
            metric = {"ratioMetric": {"counter": bool(ratio.get("incremental", ratio.get("counter"))), **sources}}
            promised.pop("value", None)  # v1 has none beside a ratio
            promised.pop("op", None)
        elif isinstance(threshold, dict) and "thresholdMetric" in threshold:
            metric = {"thresholdMetric": _v1alpha_source(threshold["thresholdMetric"])}
        made.append(
            {
                "apiVersion": API_VERSION,
                "kind": "SLO",
                "metadata": {**metadata, "name": name},
                "spec": {
                    **shared,
                    "indicator": {"metadata": {"name": name}, "spec": metric},
                    "objectives": [promised],
                },
            }
        )
    return made


def _v1alpha_source(source: Any) -> Any:
    if not isinstance(source, dict):
        return source
    spec = {name: value for name, value in source.items() if name != "source"}
    return {"metricSource": {"type": source.get("source"), "spec": spec}}


def _v1alpha_window(window: Any) -> Any:
    if not isinstance(window, dict):
        return window
    duration = f"{window.get('count')}{_V1ALPHA_UNITS.get(str(window.get('unit')), window.get('unit'))}"
    calendar = window.get("calendar")
    return (
        {"duration": duration, "isRolling": True} if calendar is None else {"duration": duration, "calendar": calendar}
    )


# -- Pyrra -------------------------------------------------------------------------------------------------------------

_PYRRA_API_VERSION, _PYRRA_KIND = "pyrra.dev/v1alpha1", "ServiceLevelObjective"
_PYRRA_SERVICE = "pyrra.dev/service"
_PYRRA_QUERIES: Mapping[str, tuple[str, ...]] = {
    "ratio": ("errors", "total"),
    "latency": ("success", "total"),
    "latencyNative": ("total",),
    "bool_gauge": (),
}
_PERCENT = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_PROMETHEUS_DURATION = re.compile(
    r"(?=.)(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?"
)
_PROMETHEUS_UNITS_MS = (365 * 86_400_000, 7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_BUCKET = re.compile(r"""[{,]\s*le\s*=\s*["']([^"']*)["']""")


def read_pyrra(text: str) -> list[SloDocument]:
    """Read Pyrra's ServiceLevelObjective, one or several.

    Metrics are kept as text of metric sources of type Prometheus and not parsed: `query` is the metric, `grouping` what
    it is grouped by, and `latency` the limit of a native histogram, whose good events are those below it. Pyrra has no
    services: `service` is that of the label `pyrra.dev/service`, or empty. Alerting is left away.

    Raises:
        OpenSloError: with all problems that Pyrra would find but for faults in PromQL.
    """
    documents = _parsed(text)
    _raise_any(_numbered(documents, _pyrra_problems))
    return [_pyrra_slo(document) for document in documents]


def _pyrra_problems(document: Any) -> list[Problem]:
    check = _Check()
    if not isinstance(document, dict):
        check.tell("document", "type", f"is {_kind_of(document)}; expected a mapping")
        return check.problems
    for field, valid in (("apiVersion", _PYRRA_API_VERSION), ("kind", _PYRRA_KIND)):
        if document.get(field) != valid:
            check.tell(field, "equal_to", f"is {document.get(field)!r}; valid is {valid}")
    if check.problems:
        return check.problems
    metadata, spec = check.mapping(document, "", "metadata"), check.mapping(document, "", "spec")
    check.required(metadata, "metadata", "name")
    check.texts(metadata, "metadata", "name")
    check.mapping(metadata, "metadata", "labels")
    check.texts(spec, "spec", "description")
    _check_pyrra_target(spec, check)
    check.required(spec, "spec", "window")
    if spec.get("window") and _pyrra_window(spec["window"]) is None:
        told = f"is {spec['window']!r}; write whole minutes or more as Prometheus does, as in 4w or 1d12h"
        check.tell("spec.window", "duration", told)
    _check_pyrra_indicator(check.mapping(spec, "spec", "indicator"), check)
    _check_resource_windows(document, check)
    return check.problems


def _check_pyrra_target(spec: Mapping[str, Any], check: _Check) -> None:
    target = spec.get("target")
    if target in (None, ""):
        check.required(spec, "spec", "target")
    elif isinstance(target, bool) or not _PERCENT.fullmatch(str(target)):
        check.tell("spec.target", "type", f"is {target!r}; write percent as text, as in '99.9'")
    else:
        check.number(float(str(target)), "spec.target", least=0.0, most=100.0)


def _check_pyrra_indicator(indicator: Mapping[str, Any], check: _Check) -> None:
    given = [name for name in _PYRRA_QUERIES if indicator.get(name) is not None]
    if len(given) != 1:
        valid = ", ".join(_PYRRA_QUERIES)
        told = f"has {', '.join(given) or 'none'}; exactly one of {valid} is valid"
        check.tell("spec.indicator", "mutually_exclusive", told)
    for name in given:
        path, found = f"spec.indicator.{name}", check.mapping(indicator, "spec.indicator", name)
        queries = [(_at(path, query), check.mapping(found, path, query)) for query in _PYRRA_QUERIES[name]]
        for place, query in queries or [(path, found)]:
            check.required(query, place, "metric")
            check.texts(query, place, "metric")
        if name == "latency":
            _check_pyrra_bucket(found, check, path)
        if name == "latencyNative" and not _prometheus_ms(found.get("latency")):
            told = f"is {found.get('latency')!r}; write a duration as Prometheus does, as in 200ms"
            check.tell(f"{path}.latency", "duration", told)


def _check_pyrra_bucket(latency: Mapping[str, Any], check: _Check, path: str) -> None:
    """The good events of a classic histogram are those of a bucket, which `le` names."""
    success = latency.get("success")
    metric = success.get("metric") if isinstance(success, dict) else None
    if not isinstance(metric, str) or not metric:
        return
    bucket = _BUCKET.search(metric)
    try:
        float(bucket[1] if bucket else "none")
    except ValueError:
        told = f'is {metric!r}; it must pick a bucket by its bound, as in {{le="0.5"}}'
        check.tell(f"{path}.success.metric", "query", told)


def _prometheus_ms(written: Any) -> int | None:
    """The length of a duration of Prometheus, as in 1d12h; None when it is none."""
    found = _PROMETHEUS_DURATION.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        return None
    return sum(int(count or 0) * unit for count, unit in zip(found.groups(), _PROMETHEUS_UNITS_MS, strict=True))


def _pyrra_window(written: Any) -> Duration | None:
    """As it is written where it has one unit, otherwise in minutes; None when it is no window."""
    length_ms = _prometheus_ms(written)
    if not length_ms or length_ms % 60_000:
        return None
    one = re.fullmatch(r"0*([1-9][0-9]*)([mhdwy])", written)
    if one:
        return Duration(int(one[1]), cast("DurationUnit", "Y" if one[2] == "y" else one[2]))
    return Duration(length_ms // 60_000, "m")


def _pyrra_slo(document: Mapping[str, Any]) -> SloDocument:
    spec, labels = document["spec"], _resource_texts(document, "labels")
    annotations = _resource_texts(document, "annotations")
    window = _pyrra_window(spec["window"]) or _SLOTH_PERIOD
    return SloDocument(
        name=document["metadata"]["name"],
        description=spec.get("description") or None,
        annotations=annotations,
        labels={key: (value,) for key, value in labels.items()},
        service=labels.get(_PYRRA_SERVICE, ""),
        indicator=_pyrra_metric(spec["indicator"]),
        budgeting_method="Occurrences",
        objectives=(SloObjective(_ratio_of(spec["target"])),),
        time_windows=(RollingWindow(window), *_more_windows(annotations)),
    )


def _pyrra_metric(indicator: Mapping[str, Any]) -> RatioMetric:
    name = next(one for one in _PYRRA_QUERIES if indicator.get(one) is not None)
    found = indicator[name]
    if name == "bool_gauge":
        return RatioMetric(raw=_prometheus(found["metric"], grouping=found.get("grouping")), raw_type="success")
    total = _prometheus(found["total"]["metric"], grouping=found.get("grouping"))
    if name == "ratio":
        bad = _prometheus(found["errors"]["metric"], grouping=found.get("grouping"))
        return RatioMetric(bad=bad, total=total, is_counter=True)
    if name == "latency":
        good = _prometheus(found["success"]["metric"], grouping=found.get("grouping"))
    else:
        good = _prometheus(found["total"]["metric"], grouping=found.get("grouping"), latency=found["latency"])
    return RatioMetric(good=good, total=total, is_counter=True)


# -- between a document and an objective -------------------------------------------------------------------------------


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
    target = objective["target"] if objective.get("target") is not None else _ratio_of(objective["targetPercent"])
    calendar = _calendar_of(_time_window(spec["timeWindow"][0]))
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
        sla=_sla(annotations[SLA], zones[0] if zones else "UTC") if SLA in annotations else None,
        threshold_ms=_number_or_none(measured.get("threshold_ms")),
        tpot_threshold_ms=_number_or_none(measured.get("tpot_threshold_ms")),
        floor_per_s=_number_or_none(measured.get("floor_per_s")),
        age_max_s=_number_or_none(measured.get("age_max_s")),
    )


def objectives_in(text: str) -> list[Objective]:
    """The objectives of all documents of kind SLO in a text; an SLI that is named stands in a document beside them.

    Raises:
        OpenSloError: with all problems of the documents, or what of the first one cannot be judged.
    """
    documents = _parsed(text)
    _raise_any(_numbered(documents, problems_of))
    slis = {one["metadata"]["name"]: one for one in documents if one["kind"] == "SLI"}
    return [objective_of(_with_indicator(one, slis)) for one in documents if one["kind"] == "SLO"]


def _with_indicator(document: Mapping[str, Any], slis: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """An SLO with the SLI that it names written out."""
    spec = document["spec"]
    named = spec.get("indicatorRef")
    if named is None:
        return document
    if named not in slis:
        told = f"is {named!r}; no document of kind SLI beside it has this name{_meant(named, slis)}"
        raise OpenSloError([Problem("spec.indicatorRef", "unsupported", told)])
    indicator = {"metadata": {"name": named}, "spec": slis[named]["spec"]}
    return {**document, "spec": {**spec, "indicator": indicator}}


def _more_periods(annotations: Mapping[str, str], problems: list[Problem]) -> tuple[Period, ...]:
    """The further windows, which were checked, where they can be judged."""
    path, periods = f"metadata.annotations.{MORE_WINDOWS}", []
    for window in _more_windows(annotations):
        duration = window.duration
        if duration.unit not in _DAYS:
            problems.append(Problem(path, "unsupported", f"{duration} is shorter than a day; valid are whole days"))
            continue
        periods.append(Period(duration.count * _DAYS[duration.unit], _calendar_of(window)))
    return tuple(periods)


def _calendar_of(window: TimeWindow) -> Calendar | None:
    """The calendar of a window; None of one that rolls, or is shorter than a day."""
    duration = window.duration
    if not isinstance(window, CalendarWindow) or duration.unit not in _DAYS:
        return None
    unit = cast("Literal['d', 'w', 'M', 'Q', 'Y']", duration.unit)
    return Calendar(duration.count, unit, window.time_zone, window.start_time)


def _sla(text: str, time_zone: str) -> Sla:
    """The SLA of our annotation, which was checked."""
    fee = re.match(r"\d+(\.\d+)?", text.strip())
    tiers = [
        CreditTier(*(_ratio_of(number) if percent else float(number) for number, percent in (pair[:2], pair[2:])))
        for pair in _SLA_TIER.findall(text)
    ]
    return Sla(float(fee[0]) if fee else 0.0, tuple(tiers), time_zone)


def _slices(method: BudgetingMethod, objective: Mapping[str, Any]) -> Slices | None:
    if method == "Occurrences":
        return None
    target = objective["timeSliceTarget"] if method == "Timeslices" else None
    return Slices(_duration(objective["timeSliceWindow"]).length_s, None if target is None else float(target))


def _window_days(window: Mapping[str, Any], problems: list[Problem]) -> int:
    path, duration = "spec.timeWindow[0]", _duration(window["duration"])
    if duration.unit not in _DAYS:
        told = "is shorter than a day; valid are whole days"
        problems.append(Problem(f"{path}.duration", "unsupported", told))
    return duration.count * _DAYS.get(duration.unit, 1)


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
_DIMENSIONS = ("model", "version", "tenant", "pool", "node")


def _check_measured(found: Mapping[str, Any], needed: Sequence[str], path: str, problems: list[Problem]) -> None:
    """Nothing stands in the metric source that says nothing of its indicator."""
    is_gpu, is_fresh = (found["indicator"] == one for one in (Indicator.GPU_AVAILABILITY, Indicator.DATA_FRESHNESS))
    of_all = is_fresh and found.get("data") == "samples"
    dimensions = ("node",) if is_gpu else () if of_all else _DIMENSIONS[:4]
    valid = ("requests", "indicator", *needed, *(("data",) if is_fresh else ()), *dimensions)
    for name, value in found.items():
        if name not in valid and value is not None:
            told = f"says nothing of {found['indicator']}{_meant(str(name), valid)}; valid are {', '.join(valid)}"
            problems.append(Problem(_at(path, name), "unknown_field", told))
        elif name in _DIMENSIONS and value is not None and not (isinstance(value, str) and value):
            problems.append(Problem(_at(path, name), "type", f"is {value!r}; expected text"))
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
        "metadata": {"name": objective.name, **_annotations_document(objective)},
        "spec": {
            "service": objective.service,
            "indicator": {"metadata": {"name": objective.name}, "spec": {"ratioMetric": ratio}},
            "timeWindow": [_window_document(objective)],
            **_method_document(objective),
        },
    }


def _annotations_document(objective: Objective) -> dict[str, Any]:
    """What of an objective OpenSLO has no field for."""
    written: dict[str, str] = {}
    if objective.more_periods:
        written[MORE_WINDOWS] = ", ".join(map(period_text, objective.more_periods))
    if objective.sla is not None:
        tiers = [f"below {_plain(one.below_ratio)}: {_plain(one.credit_ratio)}" for one in objective.sla.tiers]
        written[SLA] = "; ".join([f"{_plain(objective.sla.monthly_fee_usd)} usd monthly", *tiers])
    return {"annotations": written} if written else {}


def _plain(number: float) -> str:
    """A number without an exponent, which reads as the same one."""
    return f"{Decimal(repr(number)):f}"


def period_text(period: Period) -> str:
    """A period as our annotation has it: `7d rolling`, `1M calendar Europe/Berlin`."""
    if period.calendar is None:
        return f"{period.days}d rolling"
    return f"{period.calendar.count}{period.calendar.unit} calendar {period.calendar.time_zone}"


def _window_document(objective: Objective) -> dict[str, Any]:
    windows = objective.calendar
    if windows is None:
        return {"duration": f"{objective.window_days}d", "isRolling": True}
    calendar = {"startTime": windows.starts_at.strftime(_TIME), "timeZone": windows.time_zone}
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


def imported_documents(text: str) -> list[dict[str, Any]]:
    """Documents of Sloth, Pyrra or OpenSLO v1alpha, as OpenSLO v1 with a metric source of ours.

    Their queries are PromQL, which says nothing of request records: each document counts failures, its queries stand in
    an annotation, and whoever keeps it says which indicator and threshold they mean.

    Raises:
        OpenSloError: with all problems.
    """
    documents = []
    for slo in _reader_of(_parsed(text))(text):
        window, objective = slo.time_windows[0], slo.objectives[0]
        days = max(1, window.duration.length_s // 86_400)
        name = re.sub(r"[^a-z0-9-]+", "-", slo.name.lower()).strip("-")[:_DISPLAY_NAME_MAX]
        target_ratio = min(objective.target_ratio, 1 - 1e-6)
        calendar = _calendar_of(window)
        made = document_of(
            Objective(name, slo.service or name, Indicator.ERRORS, target_ratio, days, calendar=calendar)
        )
        made["metadata"]["annotations"] = {"tailsight.io/imported-queries": json.dumps(_queries(slo.indicator))}
        made["spec"] = {"description": (slo.description or "")[:_DESCRIPTION_MAX], **made["spec"]}
        documents.append(made)
    return documents


def _reader_of(documents: Sequence[Any]) -> Callable[[str], list[SloDocument]]:
    """Who reads such documents."""
    mappings = [one for one in documents if isinstance(one, dict)]
    if any(one.get("kind") == _PYRRA_KIND for one in mappings):
        return read_pyrra
    return read_v1alpha if any(one.get("apiVersion") == _V1ALPHA for one in mappings) else read_sloth


def _queries(indicator: Metric | str | None) -> dict[str, Any]:
    if isinstance(indicator, ThresholdMetric):
        return {"threshold": dict(indicator.source.spec)}
    if not isinstance(indicator, RatioMetric):
        return {}
    sources = {"good": indicator.good, "bad": indicator.bad, "total": indicator.total, "raw": indicator.raw}
    return {name: dict(source.spec) for name, source in sources.items() if source is not None}
