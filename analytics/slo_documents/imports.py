"""Documents of Sloth, Pyrra and OpenSLO v1alpha become documents of ours, whose meaning somebody has yet to say."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from analytics.slo_documents.checks import OpenSloError, Problem
from analytics.slo_documents.documents import Metric, RatioMetric, SloDocument, ThresholdMetric
from analytics.slo_documents.objectives import INDICATORS, document_of
from analytics.slo_documents.openslo_rules import DESCRIPTION_MAX, DISPLAY_NAME_MAX
from analytics.slo_documents.parsing import parsed_documents
from analytics.slo_documents.pyrra import PYRRA_KIND, read_pyrra
from analytics.slo_documents.sloth import read_sloth
from analytics.slo_documents.v1alpha import V1ALPHA, read_v1alpha
from analytics.slo_documents.windows import CalendarWindow, calendar_of
from domain.incident import Indicator
from domain.slo import Objective

_MOST_RATIO = 1 - 1e-6  # a target of 100 % has no budget to burn
_INDICATOR = re.compile(r"^( *indicator:) TODO$", re.MULTILINE)
_SERVICE = re.compile(r"^( *service:) null$", re.MULTILINE)
CHANGES = "tailsight.io/imported-changes"
"""The annotation that tells what of an imported SLO could not stay as it was; not there when all did."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A document of ours, and what of its source it does not say, or says otherwise: one sentence each."""

    document: Mapping[str, Any]
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the document."""
        return str(self.document["metadata"]["name"])


def imported(texts: Sequence[str], indicator: Indicator | None = None) -> list[Imported]:
    """Documents of Sloth, Pyrra or OpenSLO v1alpha, as OpenSLO v1 with a metric source of ours.

    Their queries are PromQL, which says nothing of request records, so they stand in an annotation only. What somebody
    has yet to say (the indicator, and the service where the source names none) is left open, and refused when it is
    loaded. What had to be changed stands in another annotation (`CHANGES`).

    Args:
        texts: of the files.
        indicator: what all of them are to count; only one that needs no threshold.

    Raises:
        OpenSloError: with all problems of a text, or naming documents that would bear one name.
    """
    found = [_imported(slo, indicator) for text in texts for slo in _reader_of(parsed_documents(text))(text)]
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        told = "would be the name of several: give them names that differ in their first 63 characters"
        raise OpenSloError([Problem("metadata.name", "duplicate", f"{name!r} {told}") for name in twice])
    return found


def as_text(documents: Sequence[Imported]) -> str:
    """The documents as YAML; what is left open has a comment that says what is valid."""
    text: str = yaml.safe_dump_all([one.document for one in documents], sort_keys=False)
    text = _INDICATOR.sub(rf"\1 TODO  # valid are {', '.join(INDICATORS)}", text)
    return _SERVICE.sub(r"\1  # TODO: whose requests, as service.name of their spans says", text)


def _imported(slo: SloDocument, indicator: Indicator | None) -> Imported:
    window, objective = slo.time_windows[0], slo.objectives[0]
    days = max(1, window.duration.length_s // 86_400)
    name = re.sub(r"[^a-z0-9-]+", "-", slo.name.lower())[:DISPLAY_NAME_MAX].strip("-")
    target_ratio = min(objective.target_ratio, _MOST_RATIO)
    made = document_of(Objective(name, slo.service, Indicator.ERRORS, target_ratio, days, calendar=calendar_of(window)))
    made["spec"] = {"description": (slo.description or "")[:DESCRIPTION_MAX], **made["spec"]}
    changes = [f"the name was {slo.name}"] if name != slo.name else []
    not_kept = _changes(slo, target_ratio, days)
    changes += not_kept
    if slo.budgeting_method != "Occurrences":
        changes.append(f"counted by events, where the source says {slo.budgeting_method}")
    for what, left in (("labels", slo.labels), ("annotations", slo.annotations)):
        if left:
            changes.append(f"left out: {what} {', '.join(left)}")
    if not slo.service:
        made["spec"]["service"] = None
        changes.append("the source names no service: write whose requests it is about")
    if indicator is None:
        ratio = made["spec"]["indicator"]["spec"]["ratioMetric"]
        for source in (ratio["good"], ratio["total"]):
            source["metricSource"]["spec"]["indicator"] = "TODO"
    annotations = {"tailsight.io/imported-queries": json.dumps(_queries(slo.indicator))}
    made["metadata"]["annotations"] = annotations | ({CHANGES: "; ".join(not_kept)} if not_kept else {})
    return Imported(made, tuple(changes))


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
