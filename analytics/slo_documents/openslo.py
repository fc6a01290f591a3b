"""Documents of OpenSLO v1 are read: checked by its rules, and made nouns of."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from analytics.slo_documents.annotations import more_windows
from analytics.slo_documents.checks import problems_in, raise_any
from analytics.slo_documents.documents import (
    AlertConditionDocument,
    AlertNotificationTargetDocument,
    AlertPolicyDocument,
    DataSourceDocument,
    Document,
    Metric,
    MetricSource,
    RatioMetric,
    ServiceDocument,
    SliDocument,
    SloDocument,
    SloObjective,
    ThresholdMetric,
)
from analytics.slo_documents.openslo_rules import problems_of
from analytics.slo_documents.parsing import parsed_documents
from analytics.slo_documents.values import number_or_none, ratio_of_percent
from analytics.slo_documents.windows import duration_from, time_window_from


def read_documents(text: str) -> list[Document]:
    """Read and check OpenSLO v1 documents: YAML or JSON, of one, of several, or of a list of them.

    Raises:
        OpenSloError: with all problems; where there are several documents, by their place, from 0.
    """
    documents = parsed_documents(text)
    raise_any(problems_in(documents, problems_of))
    return [built_document(document) for document in documents]


def built_document(document: Mapping[str, Any]) -> Document:
    """The noun of one parsed document, which was checked."""
    return _BUILDERS[document["kind"]](_named(document), document.get("spec") or {})


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
        time_windows=(time_window_from(spec["timeWindow"][0]), *more_windows(named["annotations"])),
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
        target_ratio=float(objective["target"]) if percent is None else ratio_of_percent(percent),
        op=objective.get("op") or None,
        value=number_or_none(objective.get("value")),
        time_slice_target=number_or_none(objective.get("timeSliceTarget")),
        time_slice_window=duration_from(window) if window else None,
        display_name=objective.get("displayName") or None,
        indicator=_indicator(objective),
        composite_weight=1.0 if weight is None else float(weight),
    )


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
    return _BUILDERS[entry["kind"]](_named(entry), entry["spec"])


def _condition(named: Mapping[str, Any], spec: Mapping[str, Any]) -> AlertConditionDocument:
    condition = spec["condition"]
    return AlertConditionDocument(
        **named,
        severity=spec["severity"],
        op=condition["op"],
        threshold=float(condition["threshold"]),
        lookback_window=duration_from(condition["lookbackWindow"]),
        alert_after=duration_from(condition.get("alertAfter") or "0m"),
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


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Document]] = {
    "SLO": _slo,
    "SLI": lambda named, spec: SliDocument(**named, metric=_metric(spec)),
    "Service": lambda named, _: ServiceDocument(**named),
    "AlertPolicy": _policy,
    "AlertCondition": _condition,
    "AlertNotificationTarget": lambda named, spec: AlertNotificationTargetDocument(**named, target=spec["target"]),
    "DataSource": lambda named, spec: DataSourceDocument(
        **named, type=spec["type"], connection_details=spec["connectionDetails"]
    ),
}
"""How the noun of a document of each kind is made, from what all kinds have and from its spec."""
