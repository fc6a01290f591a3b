"""The weekly report as Markdown (GitHub's): for a wiki, an issue, a pull request. Charts are told in words."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from reports.charts import Picture
from reports.sections.blocks import Block, Bullets, Cell, Paragraph, Table
from reports.sections.report import layout


def weekly_markdown(document: Mapping[str, Any]) -> str:
    """The report in Markdown.

    Args:
        document: of `reports.weekly.weekly_document`.
    """
    laid_out = layout(document)
    lines = [f"# {_escaped(laid_out.title)}", "", _escaped(laid_out.subtitle), ""]
    if laid_out.notice:
        lines += [f"> {_escaped(laid_out.notice)}", ""]
    for one in laid_out.answers:
        lines += [f"**{_escaped(one.question)} {_escaped(one.answer)}.** {_escaped(one.detail)}".rstrip(), ""]
        lines += [*(f"{_escaped(item)}  " for item in one.items), ""] if one.items else []
    figures = laid_out.figures
    lines += _rows([[figure.label for figure in figures], [_moved(figure.value, figure.moved) for figure in figures]])
    for section in laid_out.sections:
        lines += ["", f"## {_escaped(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
        lines.pop()
    return "\n".join(lines) + f"\n\n---\n{_escaped(laid_out.footer)}\n"


def _moved(value: str, moved: str) -> str:
    return f"{value} ({moved})" if moved else value


def _block(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        return [_escaped(block.text)]
    if isinstance(block, Bullets):
        return [f"- {_escaped(item)}" for item in block.items]
    if isinstance(block, Picture):
        return [f"*{_escaped(block.title)}:* {_escaped(block.description)}."]
    return _table(block)


def _table(table: Table) -> list[str]:
    lines = [f"### {_escaped(table.title)}", ""] if table.title else []
    numbers = [column.is_number for column in table.columns]
    lines += _rows(
        [[column.title for column in table.columns], *([_text(cell) for cell in row] for row in table.rows)], numbers
    )
    return [*lines, *(["", _escaped(table.note)] if table.note else [])]


def _text(cell: Cell) -> str:
    return f"{cell.text} ({cell.below})" if cell.below else cell.text


def _rows(rows: Sequence[Sequence[str]], numbers: Sequence[bool] = ()) -> list[str]:
    told = ["| " + " | ".join(_escaped(text) for text in row) + " |" for row in rows]
    sides = [*numbers, *[False] * (len(rows[0]) - len(numbers))]
    return [told[0], "|" + "|".join("---:" if is_number else "---" for is_number in sides) + "|", *told[1:]]


_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#@])")


def _escaped(text: str) -> str:
    """Words as they are: on one line, without markup, links or mentions that a name might bring."""
    plain = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return plain.replace("\\@", "@\u200b").replace("://", ":\u200b//")
