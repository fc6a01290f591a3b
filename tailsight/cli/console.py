"""What a command tells while it runs and how it ends: text and bars for people, JSON for programs, the exit status."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_UNBOUND = 10_000
_PAGE = 120


def _console(*, stderr: bool = False) -> Console:
    """As wide as the terminal, or as COLUMNS says; what goes into a pipe or a file has no width to keep to."""
    console = Console(stderr=stderr)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _UNBOUND
    return console


out = _console()
err = _console(stderr=True)


class Exit(IntEnum):
    """What the exit status means."""

    FINE = 0
    TROUBLE = 1
    WRONG_USE = 2


def say_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, allow_nan=False, indent=2) + "\n")


def say_markdown(text: str) -> None:
    """Headings, lists and tables, as wide as a page at most."""
    out.print(Markdown(text), width=min(out.width, _PAGE))


def say_table(table: Table) -> None:
    """A table where every word of it has room; else its rows one after the other, since nobody can copy half a name."""
    wide = out.options.update_width(_UNBOUND)
    sizes = [[Measurement.get(out, wide, cell) for cell in (column.header, *column.cells)] for column in table.columns]
    least = [
        max(size.maximum if column.no_wrap else size.minimum for size in of)
        for column, of in zip(table.columns, sizes, strict=True)
    ]
    frame = 3 * len(table.columns) + 1
    spare = out.width - frame - sum(least)
    if spare < 0:
        _say_rows(table)
        return
    for column, of, room in zip(table.columns, sizes, least, strict=True):
        column.width = min(max(size.maximum for size in of), room + spare)
        spare -= column.width - room
    out.print(table)


def _say_rows(table: Table) -> None:
    if table.title:
        out.print(table.title, style="italic")
    heads = [str(column.header) for column in table.columns]
    for first, *rest in zip(*(column.cells for column in table.columns), strict=True):
        out.print(f"{heads[0]} [bold]{first}[/]", highlight=False)
        lines: list[Text] = []
        for head, cell in zip(heads[1:], rest, strict=True):
            field = Text.from_markup(f"[dim]{head}[/] {' '.join(str(cell).split())}")
            if not cell:
                continue
            if lines and lines[-1].cell_len + field.cell_len <= out.width - len("   · "):
                lines[-1].append(" · ").append_text(field)
            else:
                lines.append(field)
        for line in lines:
            out.print("  ", line, sep="", soft_wrap=True)
    if table.caption:
        out.print(table.caption, style="dim italic")


def warn(message: str) -> None:
    """Something that is no error."""
    err.print(f"[yellow]warning:[/] {escape(message)}", highlight=False)


def fail(message: str, status: Exit) -> NoReturn:
    """Say what went wrong, and end."""
    err.print(f"[red]tailsight:[/] {escape(message)}", highlight=False)
    end_with(status)


def end_with(status: Exit) -> NoReturn:
    """End the command."""
    raise SystemExit(int(status))


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A function to tell progress to; bars only where people look."""
    if quiet or not err.is_terminal:
        yield lambda *_: None
        return
    columns = (
        TextColumn("{task.description:<22}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=done)

        yield tell
