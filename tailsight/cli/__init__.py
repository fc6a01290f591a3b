"""The command line: each command reads its arguments, calls one function, and tells people or machines.

A module holds the commands of one subject, and its helpers; what several share is in `console`, `options` and `store`.
Exit status: 0 fine, 1 found trouble, 2 wrong use.
"""

import logging
import sys
from typing import Annotated

import typer

from collector.errors import CollectorError
from storage.errors import StoreError
from tailsight.cli import cost, incidents, report, route, serving, simulating, slo
from tailsight.cli.console import Exit, fail
from tailsight.cli.values import Commands
from tailsight.errors import SettingsError, TailsightError

__all__ = ["Exit", "app", "main"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Why p99 spiked, what it cost, and whom to wake.",
)


def _version(wanted: bool) -> None:  # noqa: FBT001  # as typer calls it
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"tailsight {version('tailsight')}\n")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    """Why p99 spiked, what it cost, and whom to wake."""


# In this order `--help` lists them.
app.command()(simulating.demo)
app.command()(serving.serve)
app.command()(serving.check_config)
app.command()(serving.migrate)
app.command()(incidents.analyze)
app.command()(incidents.explain)
app.command()(incidents.incidents)
app.command()(simulating.simulate)
app.command()(serving.doctor)
app.add_typer(slo.app, name="slo")
app.add_typer(route.app, name="route")
app.add_typer(cost.app, name="cost")
app.add_typer(report.app, name="report")


def main() -> None:
    """Run the command line; errors that a person can mend are told in one sentence, without a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for library in ("urllib3.connectionpool", "clickhouse_connect"):  # of a server that is down we tell, once
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        app()
    except SettingsError as error:
        fail(str(error), Exit.WRONG_USE)
    except (TailsightError, StoreError, CollectorError) as error:
        fail(str(error), Exit.TROUBLE)
