"""What to do next, and what each step is worth."""

from typing import Any

from domain.wording import sentence
from reports import words
from reports.sections.blocks import Cell, Column, Document, Paragraph, Section, table_of


def actions_section(document: Document) -> Section:
    """What to do next."""
    actions = document["actions"]
    if not actions:
        detail = document["answers"][2]["detail"]
        return Section("actions", "What to do next", (Paragraph(detail),))
    rows = [
        (
            Cell(f"{number}"),
            Cell(action["text"], is_strong=True, below=action["why"] or ""),
            Cell(_confidence(action["confidence"])),
            Cell(
                sentence(action["worth"]),
                "warning" if action["worth"] in ("due by policy", "open now") else "good",
                is_strong=True,
            ),
        )
        for number, action in enumerate(actions, start=1)
    ]
    columns = (
        Column("No.", 5),
        Column("Step", 66),
        Column("Sure", 8, is_number=True),
        Column("Worth", 25, is_number=True),
    )
    table = table_of("", columns, rows, 8, "steps")
    advice = document["advice"]
    if advice:
        return Section("actions", "What to do next", (table,))
    none = "Advice on savings is not configured." if advice is None else "Nothing was found that would save money."
    return Section("actions", "What to do next", (table, Paragraph(none, "muted")))


def _confidence(value: Any) -> str:
    """Of a saving: 0-1, or a word; empty for a step that is due or that nothing is known of."""
    return words.percent(float(value)) if isinstance(value, int | float) else sentence(value or "")
