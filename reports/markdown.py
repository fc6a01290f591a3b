"""The weekly report as Markdown (GitHub's): for a wiki, an issue, a pull request. Charts are told in words."""

from collections.abc import Mapping
from typing import Any

from reports.charts import Picture
from reports.escaping import escaped, paragraph, table_lines
from reports.sections.blocks import Block, Bullets, Cell, Paragraph, Table
from reports.sections.report import layout


def weekly_markdown(document: Mapping[str, Any]) -> str:
    """The report in Markdown.

    Args:
        document: of `reports.weekly.weekly_document`.
    """
    laid_out = layout(document)
    lines = [f"# {escaped(laid_out.title)}", "", escaped(laid_out.subtitle), ""]
    if laid_out.notice:
        lines += [f"> {escaped(laid_out.notice)}", ""]
    for one in laid_out.answers:
        lines += [f"**{escaped(one.question)} {escaped(one.answer)}.** {escaped(one.detail)}".rstrip(), ""]
        lines += [*(f"{escaped(item)}  " for item in one.items), ""] if one.items else []
    figures = laid_out.figures
    lines += table_lines(
        [[figure.label for figure in figures], [_moved(figure.value, figure.moved) for figure in figures]]
    )
    for section in laid_out.sections:
        lines += ["", f"## {escaped(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
        lines.pop()
    return "\n".join(lines) + f"\n\n---\n{escaped(laid_out.footer)}\n"


def _moved(value: str, moved: str) -> str:
    return f"{value} ({moved})" if moved else value


def _block(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        return [paragraph(block.text)]
    if isinstance(block, Bullets):
        return [f"- {escaped(item)}" for item in block.items]
    if isinstance(block, Picture):
        return [f"*{escaped(block.title)}:* {escaped(block.description)}."]
    return _table(block)


def _table(table: Table) -> list[str]:
    lines = [f"### {escaped(table.title)}", ""] if table.title else []
    numbers = [column.is_number for column in table.columns]
    lines += table_lines(
        [[column.title for column in table.columns], *([_text(cell) for cell in row] for row in table.rows)], numbers
    )
    return [*lines, *(["", escaped(table.note)] if table.note else [])]


def _text(cell: Cell) -> str:
    return f"{cell.text} ({cell.below})" if cell.below else cell.text
