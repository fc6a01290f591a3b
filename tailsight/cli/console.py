"""What a command tells while it runs and how it ends: text and bars for people, JSON for programs, the exit status."""

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

out = Console()
err = Console(stderr=True)


class Exit(IntEnum):
    """What the exit status means."""

    FINE = 0
    TROUBLE = 1
    WRONG_USE = 2


def say_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, allow_nan=False, indent=2) + "\n")


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


def until_signal() -> threading.Event:
    """What is set at SIGTERM or Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
