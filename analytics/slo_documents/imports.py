"""Documents of Sloth, Pyrra and OpenSLO v1alpha become documents of ours, whose meaning somebody has yet to say."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from analytics.slo_documents.documents import Metric, RatioMetric, SloDocument, ThresholdMetric
from analytics.slo_documents.objectives import document_of
from analytics.slo_documents.openslo_rules import DESCRIPTION_MAX, DISPLAY_NAME_MAX
from analytics.slo_documents.parsing import parsed_documents
from analytics.slo_documents.pyrra import PYRRA_KIND, read_pyrra
from analytics.slo_documents.sloth import read_sloth
from analytics.slo_documents.v1alpha import V1ALPHA, read_v1alpha
from analytics.slo_documents.windows import CalendarWindow, calendar_of
from domain.incident import Indicator
from domain.slo import Objective

CHANGES = "tailsight.io/imported-changes"
"""The annotation that tells what of an imported SLO could not stay as it was; not there when all did."""


def imported_documents(text: str) -> list[dict[str, Any]]:
    """Documents of Sloth, Pyrra or OpenSLO v1alpha, as OpenSLO v1 with a metric source of ours.

    Their queries are PromQL, which says nothing of request records: each document counts failures, its queries stand in
    an annotation, and whoever keeps it says which indicator and threshold they mean. What had to be changed stands in
    another (`CHANGES`).

    Raises:
        OpenSloError: with all problems.
    """
    documents = []
    for slo in _reader_of(parsed_documents(text))(text):
        window, objective = slo.time_windows[0], slo.objectives[0]
        days = max(1, window.duration.length_s // 86_400)
        name = re.sub(r"[^a-z0-9-]+", "-", slo.name.lower()).strip("-")[:DISPLAY_NAME_MAX]
        target_ratio = min(objective.target_ratio, 1 - 1e-6)
        calendar = calendar_of(window)
        made = document_of(
            Objective(name, slo.service or name, Indicator.ERRORS, target_ratio, days, calendar=calendar)
        )
        annotations = {"tailsight.io/imported-queries": json.dumps(_queries(slo.indicator))}
        changes = _changes(slo, target_ratio, days)
        if changes:
            annotations[CHANGES] = "; ".join(changes)
        made["metadata"]["annotations"] = annotations
        made["spec"] = {"description": (slo.description or "")[:DESCRIPTION_MAX], **made["spec"]}
        documents.append(made)
    return documents


def _reader_of(documents: Sequence[Any]) -> Callable[[str], list[SloDocument]]:
    """Who reads such documents."""
    mappings = [one for one in documents if isinstance(one, dict)]
    if any(one.get("kind") == PYRRA_KIND for one in mappings):
        return read_pyrra
    return read_v1alpha if any(one.get("apiVersion") == V1ALPHA for one in mappings) else read_sloth


def _changes(slo: SloDocument, target_ratio: float, days: int) -> list[str]:
    """What of a target and a window is not as it was."""
    window, objective = slo.time_windows[0], slo.objectives[0]
    changes = []
    if objective.target_ratio != target_ratio:
        changes.append(
            f"the target of {objective.target_ratio:.0%} leaves no error budget; it is {target_ratio:.4%} here"
        )
    if calendar_of(window) is None:
        kind = "calendar window" if isinstance(window, CalendarWindow) else "window"
        if kind != "window" or window.duration.length_s != days * 86_400:
            changes.append(f"the {kind} of {window.duration} is no whole number of days; it is {days}d rolling here")
    for name, others in (("windows", slo.time_windows[1:]), ("objectives", slo.objectives[1:])):
        if others:
            changes.append(f"further {name} are left out: {len(others)}")
    return changes


def _queries(indicator: Metric | str | None) -> dict[str, Any]:
    if isinstance(indicator, ThresholdMetric):
        return {"threshold": dict(indicator.source.spec)}
    if not isinstance(indicator, RatioMetric):
        return {}
    sources = {"good": indicator.good, "bad": indicator.bad, "total": indicator.total, "raw": indicator.raw}
    return {name: dict(source.spec) for name, source in sources.items() if source is not None}
