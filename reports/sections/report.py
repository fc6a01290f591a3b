"""The weekly report as a whole: which sections it has, and in which order.

A format only lays out what stands here, so that all formats say the same. Text is plain; each format escapes it.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from domain.window import from_rfc3339
from reports import words
from reports.sections.actions import actions_section
from reports.sections.blocks import Document, Section, Table
from reports.sections.cost import cost_section
from reports.sections.figures import Figure, figures_of
from reports.sections.health import health_section, method_section
from reports.sections.incidents import incidents_section
from reports.sections.objectives import objectives_section
from reports.sections.outlook import outlook_section
from reports.sections.response import response_section

_TEXT_MAX, _BELOW_MAX = 150, 240  # characters


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the three questions."""

    question: str
    answer: str
    detail: str
    items: tuple[str, ...]
    tone: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole report."""

    title: str
    subtitle: str
    notice: str
    answers: tuple[Answer, ...]
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    footer: str


def layout(document: Document) -> Layout:
    """The report laid out.

    Args:
        document: of `reports.weekly.weekly_document`.
    """
    start, end = from_rfc3339(document["from"]), from_rfc3339(document["to"])
    zone = ZoneInfo(document["time_zone"])
    span = words.days(start.astimezone(zone), (end - timedelta(microseconds=1)).astimezone(zone))
    week = f"Week {int(document['week'][-2:])}, {span}"
    site = document["site"]
    read_at = from_rfc3339(document["read_at"]).astimezone(zone)
    return Layout(
        title="Weekly cost and SLO report",
        subtitle=" · ".join([*([site] if site else []), week, f"times in {document['time_zone']}"]),
        notice=""
        if document["is_complete"]
        else f"The week is not over: figures go to {words.day_and_clock(read_at)} {document['time_zone']}.",
        answers=tuple(
            Answer(one["question"], one["answer"], one["detail"], tuple(one["items"]), one["tone"])
            for one in document["answers"]
        ),
        figures=figures_of(document),
        sections=tuple(
            _with_short_names(section)
            for section in (
                actions_section(document),
                objectives_section(document),
                incidents_section(document, zone),
                response_section(document),
                cost_section(document),
                outlook_section(document),
                health_section(document, zone),
                method_section(document, zone),
            )
        ),
        footer=f"Tailsight · {week}" if not site else f"Tailsight · {site} · {week}",
    )


def _with_short_names(section: Section) -> Section:
    """No cell so long that its row would fill a page; the tables and the JSON document have the whole names."""
    return replace(
        section,
        blocks=tuple(
            replace(
                block,
                rows=tuple(
                    tuple(
                        replace(
                            cell,
                            text=words.shortened(cell.text, _TEXT_MAX),
                            below=words.shortened(cell.below, _BELOW_MAX),
                        )
                        for cell in row
                    )
                    for row in block.rows
                ),
            )
            if isinstance(block, Table)
            else block
            for block in section.blocks
        ),
    )
