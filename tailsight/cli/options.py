"""The options that several commands have, and the stretch of time that two of them name."""

from pathlib import Path
from typing import Annotated

import typer

from domain.window import Window, from_rfc3339
from tailsight.cli.console import Exit, fail

Config = Annotated[Path | None, typer.Option("--config", help="YAML file of settings; else TAILSIGHT_CONFIG names it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text for people.")]
Start = Annotated[str, typer.Option("--from", help="Beginning, RFC 3339.")]
End = Annotated[str, typer.Option("--to", help="End, RFC 3339.")]


def window_of(start: str, end: str) -> Window:
    """The stretch of time between `Start` and `End`."""
    try:
        return Window(from_rfc3339(start), from_rfc3339(end))
    except ValueError as error:
        fail(str(error), Exit.WRONG_USE)
