"""`tailsight slo`: where each objective stands, what others would have paged, and documents of other tools."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from domain.incident import Indicator
from domain.money import usd_text
from domain.window import duration_text, rfc3339
from tailsight.cli.console import Exit, err, fail, out, say_json, say_table, warn
from tailsight.cli.options import Config, End, Json, Start, window_of
from tailsight.cli.store import configured_store

app = typer.Typer(invoke_without_command=True, help="Where each objective stands now; what others would bring.")


@app.callback()
def slo(context: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """Where each objective stands now."""
    from analytics.burn_rates import never_pages
    from analytics.jobs.objectives import StoredCounts, slo_statuses, standing_objectives
    from analytics.slo_documents.annotations import period_text

    if context.invoked_subcommand is not None:
        return
    now = datetime.now(UTC)
    with configured_store(config) as (store, settings):
        objectives = standing_objectives(store, settings.promised, now)
        statuses = slo_statuses(store, objectives, now, StoredCounts(store, settings.knowledge.known))
    if as_json:
        from fastapi.encoders import jsonable_encoder

        from api.slos import status_document

        told = [{**status_document(status), "burn_rate": status.burn_rate} for status in statuses]
        say_json({"slos": jsonable_encoder(told)})
        return
    table = Table("objective", "state", "over", "target", "SLI", "budget left", "burn (1 h)")
    for status in statuses:
        burn = "no data" if status.burn_rate is None else f"{status.burn_rate:.1f}×"
        for place, one in enumerate(status.periods):
            ratios = (one.counted.sli_ratio, one.counted.budget_left_ratio)
            ratios_told = ["no data" if value is None else f"{value:.3%}" for value in ratios]
            target, over = f"{status.objective.target_ratio:.2%}", period_text(one.period)
            table.add_row(escape(status.objective.name), one.state, over, target, *ratios_told, "" if place else burn)
    say_table(table)
    for status in statuses:
        if (warning := never_pages(status.objective)) is not None:
            warn(warning)
        if status.credit is not None and status.credit.credit_usd:
            due = usd_text(status.credit.credit_usd)
            out.print(
                f"{escape(status.objective.name)}: the SLA gives back {due} if the month ended now", highlight=False
            )


@app.command("backtest")
def slo_backtest(
    name: Annotated[str, typer.Argument(help="The objective.")],
    *,
    start: Start,
    end: End,
    target: Annotated[float | None, typer.Option(help="Another target ratio, e.g. 0.995.")] = None,
    threshold_ms: Annotated[float | None, typer.Option("--threshold", help="Another threshold in ms.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say when an objective would have paged, with this target and threshold, in a stretch of stored time."""
    from analytics.jobs.objectives import backtest, backtest_counts, standing_objectives
    from analytics.slo_backtest import TrialError, backtest_document, tried

    window = window_of(start, end)
    with configured_store(config) as (store, settings):
        known = {one.name: one for one in standing_objectives(store, settings.promised, window.end)}
        if name not in known:
            fail(f"no objective {name!r}; known are {', '.join(known) or 'none'}", Exit.WRONG_USE)
        try:
            objective = tried(known[name], target, threshold_ms)
        except TrialError as error:
            fail(f"--{error.field}: {error}", Exit.WRONG_USE)
        counts = backtest_counts(store, objective, window, settings.knowledge.known)
        alerts = backtest(store, objective, window, counts)
    if as_json:
        say_json(backtest_document(objective, alerts))
        return
    table = Table("severity", "began", "ended", "burn", "over", title=f"{len(alerts)} alerts")
    for one in alerts:
        ended = "goes on" if one.ended_at is None else rfc3339(one.ended_at)
        over = duration_text(one.windows.long_s * 1000)
        table.add_row(one.severity.value, rfc3339(one.started_at), ended, f"{one.burn_rate:.1f}×", over)
    say_table(table)


@app.command("import")
def slo_import(
    files: Annotated[list[Path], typer.Argument(help="Files of SLOs.", exists=True, dir_okay=False)],
    *,
    indicator: Annotated[
        Literal["errors"] | None,
        typer.Option("--as", help="Count failures in all of them; else the indicator is TODO, which loading refuses."),
    ] = None,
) -> None:
    """Read SLOs of Sloth, Pyrra or OpenSLO v1alpha, print them as OpenSLO v1; PromQL is not: fill in each TODO."""
    from analytics.slo_documents.checks import OpenSloError
    from analytics.slo_documents.imports import as_text, imported

    try:
        found = imported([file.read_text() for file in files], Indicator(indicator) if indicator else None)
    except OpenSloError as error:
        fail("\n".join(f"{problem.path}: {problem.told}" for problem in error.problems), Exit.TROUBLE)
    for one in found:
        for change in one.changes:
            err.print(escape(f"{one.name}: {change}"), highlight=False, soft_wrap=True)
    sys.stdout.write(as_text(found))
