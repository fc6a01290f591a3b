"""Objectives: which were met, what is left of their budgets, and which steps the error budget policy asks for."""

from zoneinfo import ZoneInfo

from domain.window import from_rfc3339
from domain.wording import sentence
from reports import charts, words
from reports.sections.blocks import (
    ROWS_MAX,
    Block,
    Cell,
    Column,
    Document,
    Paragraph,
    Section,
    Table,
    Tone,
    more_note,
    pictures_of,
    table_of,
    unknown_tone,
)

_STATE_WORDS = {"met": "Met", "at_risk": "At risk", "missed": "Missed", "no_data": "No data"}
_STATE_TONES: dict[str, Tone] = {"met": "good", "at_risk": "warning", "missed": "critical", "no_data": "muted"}


def objectives_section(document: Document) -> Section:
    """Every objective, and the steps due by policy."""
    slos = document["slos"]
    if not slos:
        return Section("objectives", "Objectives", (Paragraph("No objectives are set.", "muted"),))
    columns = (
        Column("Objective", 24),
        Column("Target", 9, is_number=True),
        Column("Over the window", 14, is_number=True),
        Column("This week", 13, is_number=True),
        Column("Budget left", 16),
        Column("Spent this week", 11, is_number=True),
        Column("Status", 13),
    )
    rows = [_slo_row(slo, ZoneInfo(document["time_zone"])) for slo in slos]
    shown = charts.budget_history(slos)
    blocks: list[Block] = [table_of("", columns, rows, 20, "objectives"), *pictures_of(shown)]
    policy = document["policy"]
    blocks.append(
        Table(
            "Steps due by the error budget policy",
            (Column("Step", 52), Column("Why", 48)),
            tuple(
                (
                    Cell(step["text"], is_strong=True),
                    Cell(sentence(step["why"]), below=sentence(step["exemption"] or "")),
                )
                for step in policy[:ROWS_MAX]
            ),
            more_note(len(policy), ROWS_MAX, "steps"),
        )
        if policy
        else Paragraph(
            "The error budget policy asks for no step: no budget is spent, and no incident took a fifth of one."
        )
    )
    return Section("objectives", "Objectives", tuple(blocks))


def _slo_row(slo: Document, zone: ZoneInfo) -> tuple[Cell, ...]:
    tone = _STATE_TONES[slo["state"]]
    left, before = slo["budget_left_ratio"], slo["budget_left_before_ratio"]
    was = "" if before is None else f"was {words.percent_down(before)}"
    state_before = slo["state_before"]
    exhausted = slo["exhausted_at"]
    below = (
        f"gone by {words.day(from_rfc3339(exhausted).astimezone(zone))}"
        if exhausted
        else f"was {_STATE_WORDS[state_before].lower()}"
        if state_before and state_before != slo["state"]
        else ""
    )
    target = f"{slo['target_ratio'] * 100:.6g} %"
    period = "calendar" if slo["is_calendar"] else f"{slo['window_days']}\N{NO-BREAK SPACE}days"
    seen = slo["coverage_ratio"]
    unseen = f" · {words.percent_down(seen)} of hours seen" if 0 < seen < 0.995 else ""
    return (
        Cell(slo["service"], is_strong=True, below=slo["title"] + unseen),
        Cell(target),
        Cell(
            words.percent_of_target(slo["sli_ratio"], slo["target_ratio"]), unknown_tone(slo["sli_ratio"]), below=period
        ),
        Cell(
            words.percent_of_target(slo["sli_in_week_ratio"], slo["target_ratio"]),
            unknown_tone(slo["sli_in_week_ratio"]),
        ),
        Cell(words.percent_down(left), tone, is_strong=True, bar_ratio=left, below=was),
        Cell(words.percent(slo["budget_spent_in_week_ratio"]), unknown_tone(slo["budget_spent_in_week_ratio"])),
        Cell(_STATE_WORDS[slo["state"]], tone, is_strong=True, below=below),
    )
