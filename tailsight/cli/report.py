"""`tailsight report`: what a week cost, and which promises were kept."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tailsight.cli.console import Exit, fail, out, progress, say_json
from tailsight.cli.options import Config, Json
from tailsight.cli.store import configured_store

if TYPE_CHECKING:
    from reports.weekly import Document

app = typer.Typer(no_args_is_help=True, help="What a week cost, and which promises were kept.")


@app.command("weekly")
def report_weekly(
    *,
    week: Annotated[
        str | None, typer.Option(help="Year and ISO week, e.g. 2026-W47; the newest that is over unless given.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write the report into; without it the digest is printed.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="json, html, pdf, md, csv or slack; more than once for more; all unless given."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make it anew from what is stored now, in place of what was kept.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The cost and SLO report of a week: kept once the week is over, and the same bytes from then on."""
    from analytics.jobs.objectives import standing_objectives
    from reports.digest import weekly_digest
    from reports.service import FORMATS, WeekError, WeeklyReports, report_url

    unknown = [name for name in formats or () if name not in FORMATS]
    if unknown:
        fail(f"--format {unknown[0]!r} is not known; valid are {', '.join(FORMATS)}", Exit.WRONG_USE)
    if formats and folder is None:
        fail("--format needs --out: a folder to write into", Exit.WRONG_USE)
    now = datetime.now(UTC)
    with configured_store(config) as (store, settings), progress(quiet=as_json) as tell:
        reports = WeeklyReports(
            store,
            settings.reports.weekly,
            settings.knowledge.known,
            settings.cost.to_job,
            lambda: standing_objectives(store, settings.promised, now),
            lambda: now,
            lambda: settings.web.url,
        )
        make = reports.remake if again else reports.document
        try:
            document = make(week or reports.week_over, lambda _, done: tell("Reading the week", done))
        except WeekError as error:
            fail(f"--week {error}", Exit.WRONG_USE)
        tell("Reading the week", 1.0)
        files = [] if folder is None else _written(folder, document, formats or FORMATS, tell)
    if as_json:
        headline = {"week": document["week"], "headline": document["headline"], "answers": document["answers"]}
        say_json({**headline, "files": [str(file) for file in files]} if folder is not None else document)
        return
    if folder is None:
        sys.stdout.write(weekly_digest(document, report_url=report_url(document)))
        return
    for one in document["answers"]:
        out.print(f"[bold]{escape(one['question'])}[/] {escape(one['answer'])}", highlight=False)
    for file in files:
        out.print(
            f"{escape(str(file))}  [dim]{file.stat().st_size / 1024:,.0f} KiB[/]", highlight=False, soft_wrap=True
        )


def _written(
    folder: Path, document: "Document", formats: Sequence[str], tell: Callable[[str, float], None]
) -> list[Path]:
    """The files of a report, each format once."""
    from reports.service import rendered

    files = []
    wanted = tuple(dict.fromkeys(formats))
    for number, name in enumerate(wanted):
        tell("Writing", number / len(wanted))
        report = rendered(document, name)
        file = folder / report.file_name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(report.body)
        except OSError as error:
            fail(f"cannot write {file}: {error.strerror}", Exit.TROUBLE)
        files.append(file)
    tell("Writing", 1.0)
    return files
