"""What Pyrra calls an SLO (https://github.com/pyrra-dev/pyrra), read into the nouns of OpenSLO v1."""

import re
from collections.abc import Mapping
from typing import Any, cast

from analytics.slo_documents.annotations import more_windows
from analytics.slo_documents.checks import Check, Problem, field_path, problems_in, raise_any, type_name
from analytics.slo_documents.documents import RatioMetric, SloDocument, SloObjective
from analytics.slo_documents.parsing import parsed_documents
from analytics.slo_documents.prometheus import DEFAULT_PERIOD, check_resource_windows, prometheus_source, resource_texts
from analytics.slo_documents.values import ratio_of_percent
from analytics.slo_documents.windows import Duration, DurationUnit, RollingWindow

_API_VERSION, PYRRA_KIND = "pyrra.dev/v1alpha1", "ServiceLevelObjective"
_SERVICE = "pyrra.dev/service"
_QUERIES: Mapping[str, tuple[str, ...]] = {
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
    documents = parsed_documents(text)
    raise_any(problems_in(documents, _problems))
    return [_slo(document) for document in documents]


def _problems(document: Any) -> list[Problem]:
    check = Check()
    if not isinstance(document, dict):
        check.tell("document", "type", f"is {type_name(document)}; expected a mapping")
        return check.problems
    for field, valid in (("apiVersion", _API_VERSION), ("kind", PYRRA_KIND)):
        if document.get(field) != valid:
            check.tell(field, "equal_to", f"is {document.get(field)!r}; valid is {valid}")
    if check.problems:
        return check.problems
    metadata, spec = check.mapping(document, "", "metadata"), check.mapping(document, "", "spec")
    check.required(metadata, "metadata", "name")
    check.texts(metadata, "metadata", "name")
    check.mapping(metadata, "metadata", "labels")
    check.texts(spec, "spec", "description")
    _check_target(spec, check)
    check.required(spec, "spec", "window")
    if spec.get("window") and _window(spec["window"]) is None:
        told = f"is {spec['window']!r}; write whole minutes or more as Prometheus does, as in 4w or 1d12h"
        check.tell("spec.window", "duration", told)
    _check_indicator(check.mapping(spec, "spec", "indicator"), check)
    check_resource_windows(document, check)
    return check.problems


def _check_target(spec: Mapping[str, Any], check: Check) -> None:
    target = spec.get("target")
    if target in (None, ""):
        check.required(spec, "spec", "target")
    elif isinstance(target, bool) or not _PERCENT.fullmatch(str(target)):
        check.tell("spec.target", "type", f"is {target!r}; write percent as text, as in '99.9'")
    else:
        check.number(float(str(target)), "spec.target", least=0.0, most=100.0)


def _check_indicator(indicator: Mapping[str, Any], check: Check) -> None:
    given = [name for name in _QUERIES if indicator.get(name) is not None]
    if len(given) != 1:
        valid = ", ".join(_QUERIES)
        told = f"has {', '.join(given) or 'none'}; exactly one of {valid} is valid"
        check.tell("spec.indicator", "mutually_exclusive", told)
    for name in given:
        path, found = f"spec.indicator.{name}", check.mapping(indicator, "spec.indicator", name)
        queries = [(field_path(path, query), check.mapping(found, path, query)) for query in _QUERIES[name]]
        for place, query in queries or [(path, found)]:
            check.required(query, place, "metric")
            check.texts(query, place, "metric")
        if name == "latency":
            _check_bucket(found, check, path)
        if name == "latencyNative" and not _prometheus_ms(found.get("latency")):
            told = f"is {found.get('latency')!r}; write a duration as Prometheus does, as in 200ms"
            check.tell(f"{path}.latency", "duration", told)


def _check_bucket(latency: Mapping[str, Any], check: Check, path: str) -> None:
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


def _window(written: Any) -> Duration | None:
    """As it is written where it has one unit, otherwise in minutes; None when it is no window."""
    length_ms = _prometheus_ms(written)
    if not length_ms or length_ms % 60_000:
        return None
    one = re.fullmatch(r"0*([1-9][0-9]*)([mhdwy])", written)
    if one:
        return Duration(int(one[1]), cast("DurationUnit", "Y" if one[2] == "y" else one[2]))
    return Duration(length_ms // 60_000, "m")


def _slo(document: Mapping[str, Any]) -> SloDocument:
    spec, labels = document["spec"], resource_texts(document, "labels")
    annotations = resource_texts(document, "annotations")
    window = _window(spec["window"]) or DEFAULT_PERIOD
    return SloDocument(
        name=document["metadata"]["name"],
        description=spec.get("description") or None,
        annotations=annotations,
        labels={key: (value,) for key, value in labels.items()},
        service=labels.get(_SERVICE, ""),
        indicator=_metric(spec["indicator"]),
        budgeting_method="Occurrences",
        objectives=(SloObjective(ratio_of_percent(spec["target"])),),
        time_windows=(RollingWindow(window), *more_windows(annotations)),
    )


def _metric(indicator: Mapping[str, Any]) -> RatioMetric:
    name = next(one for one in _QUERIES if indicator.get(one) is not None)
    found = indicator[name]
    if name == "bool_gauge":
        return RatioMetric(raw=prometheus_source(found["metric"], grouping=found.get("grouping")), raw_type="success")
    total = prometheus_source(found["total"]["metric"], grouping=found.get("grouping"))
    if name == "ratio":
        bad = prometheus_source(found["errors"]["metric"], grouping=found.get("grouping"))
        return RatioMetric(bad=bad, total=total, is_counter=True)
    if name == "latency":
        good = prometheus_source(found["success"]["metric"], grouping=found.get("grouping"))
    else:
        good = prometheus_source(found["total"]["metric"], grouping=found.get("grouping"), latency=found["latency"])
    return RatioMetric(good=good, total=total, is_counter=True)
