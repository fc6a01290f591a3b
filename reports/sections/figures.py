"""The strip of figures under the answers."""

from dataclasses import dataclass

from reports import words
from reports.sections.blocks import Document, Tone, less_is_good


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the strip under the answers, and how it moved since the week before."""

    label: str
    value: str
    moved: str = ""
    tone: Tone = ""


def figures_of(document: Document) -> tuple[Figure, ...]:
    """The figures of the strip, each with how it moved since the week before."""
    headline, cost, incidents = document["headline"], document["cost"], document["incidents"]
    slos = len(document["slos"])
    judged = slos - headline["no_data_count"]
    kept = judged - headline["missed_count"]
    before_missed = headline["missed_before_count"]
    missed_more = None if before_missed is None else headline["missed_count"] - before_missed
    figures = [
        Figure(
            "Objectives kept",
            f"{kept} of {judged}" if judged else words.NOT_KNOWN if slos else "none set",
            "" if not missed_more else f"{-missed_more:+d}".replace("-", "−"),
            "" if not missed_more else "critical" if missed_more > 0 else "good",
        ),
        Figure("Incidents", f"{incidents['count']}", *_difference(incidents["count"], incidents["before_count"])),
    ]
    if cost is None:
        return (*figures, Figure("Spend", words.NOT_CONFIGURED, tone="muted"))
    idle, idle_before = cost["idle_gpu_time_ratio"], cost["idle_gpu_time_before_ratio"]
    idle_moved = None if idle is None or idle_before is None else idle - idle_before
    return (
        *figures,
        Figure("Spend", words.money(cost["cost_usd"]), *_moved(cost["cost_change_ratio"])),
        Figure(
            "Per 1 M tokens, all in",
            words.money(cost["per_million_tokens_usd"]),
            *_moved(cost["per_million_tokens_change_ratio"]),
        ),
        Figure(
            "GPU time idle",
            words.percent(idle),
            "" if idle_moved is None else words.points(idle_moved),
            less_is_good(idle_moved, 0.005),
        ),
    )


def _difference(now: int, before: int | None) -> tuple[str, Tone]:
    if before is None or now == before:
        return "", ""
    return f"{now - before:+d}".replace("-", "−"), "critical" if now > before else "good"


def _moved(ratio: float | None) -> tuple[str, Tone]:
    return ("", "") if ratio is None else (words.change(ratio), less_is_good(ratio, 0.005))
