"""SLOs of OpenSLO v1alpha become documents of v1, and are read as these."""

from collections.abc import Mapping
from typing import Any, cast

from analytics.slo_documents.checks import Check, Problem, problems_in, raise_any
from analytics.slo_documents.documents import SloDocument
from analytics.slo_documents.openslo import built_document
from analytics.slo_documents.openslo_rules import API_VERSION, problems_of
from analytics.slo_documents.parsing import parsed_documents

V1ALPHA = "openslo/v1alpha"
_UNITS = {"Minute": "m", "Hour": "h", "Day": "d", "Week": "w", "Month": "M", "Quarter": "Q", "Year": "Y"}


def read_v1alpha(text: str) -> list[SloDocument]:
    """Read SLOs of OpenSLO v1alpha, the dialect that Sloth reads; documents of other kinds are passed over.

    An SLO of several objectives is as many, named with their numbers as Sloth does. Queries are kept as text. Slices of
    time without a length, which v1alpha does not ask for, are minutes.

    Raises:
        OpenSloError: with all problems, by the fields that v1 has; also of an SLO that is there twice.
    """
    documents = parsed_documents(text)
    check = Check()
    for number, document in enumerate(documents):
        if not isinstance(document, dict) or document.get("apiVersion") != V1ALPHA:
            check.tell(f"[{number}].apiVersion", "equal_to", f"is no {V1ALPHA}, as others here are")
    raise_any(check.problems)
    slos = [slo for one in documents if one.get("kind") == "SLO" for slo in _as_v1(one)]
    raise_any(problems_in(slos, problems_of))
    names = [slo["metadata"]["name"] for slo in slos]
    twice = sorted({name for name in names if names.count(name) > 1})
    raise_any([Problem("metadata.name", "duplicate", f"{name!r} stands twice") for name in twice])
    return [cast("SloDocument", built_document(slo)) for slo in slos]


def _as_v1(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The documents of v1 that one of v1alpha says; what is not as it should be stays, for the rules of v1 to tell."""
    spec = document.get("spec")
    metadata = document.get("metadata")
    if not isinstance(spec, dict) or not isinstance(metadata, dict) or not isinstance(spec.get("objectives"), list):
        return [{**document, "apiVersion": API_VERSION}]
    windows = spec.get("timeWindows")
    shared = {name: value for name, value in spec.items() if name not in ("timeWindows", "indicator", "objectives")}
    shared["timeWindow"] = [_window(one) for one in windows] if isinstance(windows, list) else windows
    made = []
    for number, objective in enumerate(spec["objectives"]):
        promised = dict(objective) if isinstance(objective, dict) else {}
        if spec.get("budgetingMethod") == "Timeslices":
            promised.setdefault("timeSliceWindow", "1m")
        name = f"{metadata.get('name')}-{number}" if len(spec["objectives"]) > 1 else metadata.get("name")
        ratio, threshold = promised.pop("ratioMetrics", None), (spec.get("indicator") or {})
        metric: dict[str, Any] = {}
        if isinstance(ratio, dict):
            sources = {part: _source(ratio[part]) for part in ("good", "bad", "total") if part in ratio}
            metric = {"ratioMetric": {"counter": bool(ratio.get("incremental", ratio.get("counter"))), **sources}}
            promised.pop("value", None)  # v1 has none beside a ratio
            promised.pop("op", None)
        elif isinstance(threshold, dict) and "thresholdMetric" in threshold:
            metric = {"thresholdMetric": _source(threshold["thresholdMetric"])}
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


def _source(source: Any) -> Any:
    if not isinstance(source, dict):
        return source
    spec = {name: value for name, value in source.items() if name != "source"}
    return {"metricSource": {"type": source.get("source"), "spec": spec}}


def _window(window: Any) -> Any:
    if not isinstance(window, dict):
        return window
    duration = f"{window.get('count')}{_UNITS.get(str(window.get('unit')), window.get('unit'))}"
    calendar = window.get("calendar")
    return (
        {"duration": duration, "isRolling": True} if calendar is None else {"duration": duration, "calendar": calendar}
    )
