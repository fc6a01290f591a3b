"""What to do next, and what each step is worth."""

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
            Cell(
                words.sentence(action["worth"]),
                "warning" if action["worth"] in ("due by policy", "open now") else "good",
                is_strong=True,
            ),
        )
        for number, action in enumerate(actions, start=1)
    ]
    columns = (Column("No.", 5), Column("Step", 72), Column("Worth", 25, is_number=True))
    return Section("actions", "What to do next", (table_of("", columns, rows, 8, "steps"),))
