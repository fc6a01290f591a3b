"""A post-mortem that is begun, as the committed ones have it and as a parser of Markdown reads it."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from analytics.knowledge import shipped_knowledge
from domain.cause import CauseKind, Evidence, RuledOut
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Status
from reports import postmortem as reports
from tests.domain.examples import BAD_LINK, PAGING, UNEXPLAINED
from tests.reports.test_incident import check_golden
from tests.reports.weekly_formats import NASTY

postmortem = partial(reports.postmortem, knowledge=shipped_knowledge())

_OVER = replace(
    PAGING,
    status=Status.RESOLVED,
    ended_at=PAGING.started_at + timedelta(minutes=26),
    explanation=replace(
        PAGING.explanation,
        causes=(BAD_LINK, replace(BAD_LINK, rank=2, kind=CauseKind.GPU_FAULT, summary="A GPU failed.", evidence=())),
        ruled_out=(
            *PAGING.explanation.ruled_out,
            RuledOut(CauseKind.HOST_CONTENTION, "not looked at: no CPU pressure is sent"),
        ),
    ),
)
_NOTED: dict[str, Any] = {
    "notified_at": "2026-11-23T02:42:05Z",
    "acknowledged_at": "2026-11-23T02:46:30Z",
    "acknowledged_by": "ann",
    "resolved_at": "2026-11-23T03:30:00Z",
    "resolved_by": "ben",
    "notes": [
        {"at": "2026-11-23T02:47:00Z", "by": "ann", "text": "draining gpu-07-03"},
        {"at": "2026-11-23T03:01:10Z", "by": "ben", "text": "cable swapped: https://tickets/NET-118", "id": "pd-1"},
    ],
}
_TO_FILL_IN = ("What went well", "What went badly", "Actions")


def _told(incident: Incident, noted: dict[str, Any] | None = None, **given: Any) -> str:
    return postmortem(incident, noted or {}, **given).replace("\N{NO-BREAK SPACE}", " ")


def _tokens(markdown: str) -> list[Token]:
    return MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)


def _headings(markdown: str) -> list[str]:
    tokens = _tokens(markdown)
    return [after.content for one, after in pairwise(tokens) if one.type == "heading_open"]


def test_the_post_mortem_of_an_incident_that_was_handled_is_the_committed_one() -> None:
    told = postmortem(
        _OVER, _NOTED, web_url="https://tailsight.example", trace_link=lambda trace: f"https://jaeger/trace/{trace}"
    )
    check_golden("postmortem.md", told)


def test_what_nobody_noted_and_nothing_explains_is_said_to_be_missing_and_never_zero() -> None:
    told = postmortem(UNEXPLAINED, {})
    check_golden("postmortem_unexplained.md", told)
    assert "Not recorded: notified, acknowledged, closed." in told
    assert "| To acknowledge | not known | detection |" in told
    assert "## Links" not in told, "nobody said where the pages are"


def test_the_sections_come_in_the_order_in_which_one_is_read_and_those_to_fill_in_are_empty() -> None:
    told = postmortem(_OVER, _NOTED, web_url="https://tailsight.example")
    assert _headings(told)[1:] == [
        "Summary", "Impact", "Timeline", "How long it took", "Cause", "How it spread", "Where the time lay",
        "Less likely", "What was ruled out", "What was not looked at", "Next steps", *_TO_FILL_IN, "Slowest traces",
        "Links",
    ]  # fmt: skip
    for heading in _TO_FILL_IN:
        assert f"## {heading}\n\n## " in told


def test_notes_and_moments_stand_in_one_line_of_time_whatever_their_order() -> None:
    late = _NOTED | {"notes": [*_NOTED["notes"][::-1], {"at": "2026-11-23T04:00:00+01:00", "by": "cy", "text": "hi"}]}
    _, _, after = _told(_OVER, late).partition("## Timeline")
    line, _, _ = after.partition("\n## ")
    words = [one.split("** ", 1)[1] for one in line.splitlines() if one.startswith("- **")]
    assert words == [
        "Impact began", "Detected", "Notified", "Acknowledged by ann", "ann: draining gpu-07-03", "cy: hi",
        "ben: cable swapped: <https://tickets/NET-118>", "Mitigated", "Closed by ben",
    ]  # fmt: skip
    assert "- **2026-11-23 03:00:00** cy: hi" in line, "times of other zones are told in UTC"


def test_one_that_goes_on_says_so() -> None:
    told = _told(PAGING)
    assert "Since 2026-11-23 02:41:00 UTC, 18,420 requests of chat (31%) were slow or failed" in told
    assert " It is still going on. " in told
    assert "| To mitigate | not known | the onset |" in told
    assert "Not recorded: notified, acknowledged, mitigated, closed." in told


def test_failures_are_told_as_failures() -> None:
    told = _told(replace(_OVER, indicator=Indicator.ERRORS))
    assert "For 26 min from 2026-11-23 02:41:00 UTC, 18,420 requests of chat (31%) failed. Likely cause" in told
    assert "p99 went" not in told


def test_evidence_has_a_row_each_with_what_was_before_during_and_its_unit() -> None:
    started = Evidence("engine_start", PAGING.cause.entity, 1_795_479_584.0, 1_795_915_500.0, "s", 1.0, 15.0)
    causes = (replace(BAD_LINK, evidence=(*BAD_LINK.evidence, started)),)
    told = _told(replace(_OVER, explanation=replace(_OVER.explanation, causes=causes)))
    port = r"port gpu-07-03/mlx5\_2/1"
    assert f"| Symbol errors | {port} | 0.37 per second | 85.4 per second | 50 s before |" in told
    assert "| replica chat-3 | no data | 1.34 s | 15 s after |" in told
    assert f"| Link error recoveries | {port} | 0 per second | 0.05 per second | not known |" in told
    assert f"| Engine start | {port} | 2026-11-24 00:19:44 UTC | 2026-11-29 01:25:00 UTC | 15 s before" in told


def _named(name: str) -> str:
    """A post-mortem in which everything that has a name, and all that people wrote, is this."""
    entity = Entity(EntityKind.PORT, name)
    cause = replace(
        BAD_LINK,
        entity=entity,
        summary=name,
        next_steps=(name,),
        evidence=tuple(replace(one, entity=entity) for one in BAD_LINK.evidence),
        chain=tuple(replace(one, entity=entity, text=name) for one in BAD_LINK.chain),
    )
    ruled_out = tuple(RuledOut(CauseKind.TRAFFIC_SURGE, f"{why}{name}") for why in ("", "not looked at: "))
    incident = replace(
        _OVER,
        id=name,
        service=name,
        model=name,
        services_affected=(name, "b"),
        explanation=replace(_OVER.explanation, causes=(cause, replace(cause, rank=2)), ruled_out=ruled_out),
        exemplar_trace_ids=(name,),
    )
    note = {"at": "2026-11-23T02:47:00Z", "by": name, "text": f"{name}\n# {name}\n- x\n\n| {name} |"}
    noted = _NOTED | {"acknowledged_by": name, "notes": [note]}
    return postmortem(
        incident, noted, web_url="https://tailsight.example", trace_link=lambda one: f"https://jaeger/{one}"
    )


@pytest.mark.parametrize("name", [NASTY, "](http://evil) <!-- ", "`a` | b", "![x](y) #1 @team", "- [ ] x", "1. y"])
def test_no_name_and_no_note_brings_markup_that_is_not_ours(name: str) -> None:
    told = _tokens(_named(name))
    assert [one.type for one in told] == [one.type for one in _tokens(_named("plain"))]
    pieces = [piece for one in told for piece in one.children or ()]
    assert {piece.type for piece in pieces} <= {
        "text", "text_special", "strong_open", "strong_close", "code_inline", "link_open", "link_close",
    }  # fmt: skip
    links = [str(piece.attrs["href"]) for piece in pieces if piece.type == "link_open"]
    by_people = [href for href in links if not href.startswith(("https://tailsight.example/", "https://jaeger/"))]
    assert set(by_people) <= {"http://e", "http://evil"}, "an address in a note leads there"
    assert len(links) - len(by_people) == 1 + 4


def test_the_same_incident_and_notes_give_the_same_bytes() -> None:
    assert postmortem(_OVER, _NOTED) == postmortem(replace(_OVER), dict(_NOTED))
    assert postmortem(_OVER, _NOTED) != postmortem(_OVER, {})
