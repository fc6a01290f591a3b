"""What Sloth calls an SLO (https://github.com/slok/sloth), read into the nouns of OpenSLO v1."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from analytics.slo_documents.annotations import more_windows
from analytics.slo_documents.checks import Check, Problem, field_path, problems_in, raise_any, type_name
from analytics.slo_documents.documents import MetricSource, RatioMetric, SloDocument, SloObjective
from analytics.slo_documents.parsing import parsed_documents
from analytics.slo_documents.prometheus import (
    DEFAULT_PERIOD,
    check_resource_windows,
    prometheus_source,
    resource_texts,
    texts_of,
)
from analytics.slo_documents.values import ratio_of_percent
from analytics.slo_documents.windows import RollingWindow

_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*[A-Za-z0-9]")
_WINDOW = re.compile(r"\{\{ *\.window *\}\}")


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
    documents = parsed_documents(text)
    raise_any([*problems_in(documents, _problems), *_duplicates(documents)])
    return [_slo(slo, document) for document in documents for slo in _group(document)["slos"]]


def _is_resource(document: Mapping[str, Any]) -> bool:
    found = (document.get("apiVersion"), document.get("kind"))
    return found == ("sloth.slok.dev/v1", "PrometheusServiceLevel")


def _group(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where service, labels and SLOs stand."""
    spec = document.get("spec") if _is_resource(document) else document
    return spec if isinstance(spec, dict) else {}


def _field(name: str, document: Mapping[str, Any]) -> str:
    """What the resource writes as totalQuery is total_query in a file."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others)) if _is_resource(document) else name


def _problems(document: Any) -> list[Problem]:
    check = Check()
    if not isinstance(document, dict):
        check.tell("document", "type", f"is {type_name(document)}; expected a mapping")
        return check.problems
    if not _is_resource(document) and document.get("version") != "prometheus/v1":
        field = next((name for name in ("version", "apiVersion") if name in document), "version")
        told = "valid are version prometheus/v1, and apiVersion sloth.slok.dev/v1 of kind PrometheusServiceLevel"
        check.tell(field, "equal_to", f"is {document.get(field)!r}; {told}")
        return check.problems
    group, path = _group(document), "spec" if _is_resource(document) else ""
    _check_name(group, check, path, "service")
    check.mapping(group, path, "labels")
    if not group.get("slos"):
        check.tell(field_path(path, "slos"), "required", "is missing: at least one SLO is needed")
    for place, slo in check.entries(group, path, "slos"):
        _check_slo(slo, document, check, place)
    check_resource_windows(document, check)
    return check.problems


def _check_name(where: Mapping[str, Any], check: Check, path: str, name: str) -> None:
    value = where.get(name)
    if value in (None, ""):
        check.required(where, path, name)
    elif not isinstance(value, str) or not _NAME.fullmatch(value):
        told = f"is {value!r}; write letters and digits, with - _ . within, two at least"
        check.tell(field_path(path, name), "string_match_regexp", told)


def _check_slo(slo: Mapping[str, Any], document: Mapping[str, Any], check: Check, path: str) -> None:
    _check_name(slo, check, path, "name")
    check.texts(slo, path, "description")
    check.mapping(slo, path, "labels")
    check.number(slo.get("objective"), f"{path}.objective", above=0.0, most=100.0)
    _check_sli(check.mapping(slo, path, "sli"), document, check, f"{path}.sli")
    alerting = check.mapping(slo, path, "alerting")
    alerts = [alerting.get(_field(name, document)) for name in ("page_alert", "ticket_alert")]
    if not all(isinstance(alert, dict) and alert.get("disable") is True for alert in alerts):
        check.required(alerting, f"{path}.alerting", "name")


def _check_sli(sli: Mapping[str, Any], document: Mapping[str, Any], check: Check, path: str) -> None:
    given = [name for name in ("events", "raw", "plugin") if sli.get(name) is not None]
    if len(given) != 1:
        found = ", ".join(given) or "none"
        check.tell(path, "mutually_exclusive", f"has {found}; exactly one of events, raw and plugin is valid")
    if "plugin" in given:
        check.required(check.mapping(sli, path, "plugin"), f"{path}.plugin", "id")
    if "raw" in given:
        raw = check.mapping(sli, path, "raw")
        _check_query(raw, check, f"{path}.raw", _field("error_ratio_query", document))
    if "events" in given:
        events, names = check.mapping(sli, path, "events"), ("error_query", "total_query")
        error, total = (_field(name, document) for name in names)
        _check_query(events, check, f"{path}.events", error)
        _check_query(events, check, f"{path}.events", total)
        if events.get(error) and events.get(error) == events.get(total):
            check.tell(f"{path}.events", "query", f"has the same {error} and {total}; then all events are errors")


def _check_query(where: Mapping[str, Any], check: Check, path: str, name: str) -> None:
    check.required(where, path, name)
    check.texts(where, path, name)
    query = where.get(name)
    if isinstance(query, str) and query and not _WINDOW.search(query):
        check.tell(field_path(path, name), "query", "has no {{.window}}; Sloth puts the length of the window there")


def _duplicates(documents: Sequence[Any]) -> list[Problem]:
    """An SLO is known by service and name."""
    problems, first = [], dict[tuple[Any, Any], str]()
    for number, document in enumerate(documents):
        if not isinstance(document, dict):
            continue
        path = ("spec." if _is_resource(document) else "") + "slos"
        group = _group(document)
        for place, slo in Check().entries(group, f"[{number}]" if len(documents) > 1 else "", path):
            known_as = (str(group.get("service")), str(slo.get("name")))
            if known_as in first:
                told = f"is {slo.get('name')!r} of service {group.get('service')!r}, as {first[known_as]} is already"
                problems.append(Problem(f"{place}.name", "duplicate", told))
            first.setdefault(known_as, place)
    return problems


def _slo(slo: Mapping[str, Any], document: Mapping[str, Any]) -> SloDocument:
    group, annotations = _group(document), resource_texts(document, "annotations")
    return SloDocument(
        name=f"{group['service']}-{slo['name']}",
        display_name=slo["name"],
        description=slo.get("description") or None,
        annotations=annotations,
        labels={key: (value,) for of in (group, slo) for key, value in texts_of(of.get("labels")).items()},
        service=group["service"],
        indicator=_metric(slo["sli"], document),
        budgeting_method="Occurrences",
        objectives=(SloObjective(ratio_of_percent(slo["objective"])),),
        time_windows=(RollingWindow(DEFAULT_PERIOD), *more_windows(annotations)),
    )


def _metric(sli: Mapping[str, Any], document: Mapping[str, Any]) -> RatioMetric:
    if sli.get("plugin") is not None:
        plugin = MetricSource("SlothPlugin", {"id": sli["plugin"]["id"], "options": sli["plugin"].get("options") or {}})
        return RatioMetric(raw=plugin, raw_type="failure")
    if sli.get("raw") is not None:
        query = sli["raw"][_field("error_ratio_query", document)]
        return RatioMetric(raw=prometheus_source(query), raw_type="failure")
    error, total = (sli["events"][_field(name, document)] for name in ("error_query", "total_query"))
    return RatioMetric(bad=prometheus_source(error), total=prometheus_source(total))
