"""`tailsight cost`: the bill and what became of it, what will be spent, what could be saved, and the bill as CSV."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from domain.money import usd_text
from domain.window import Window, from_rfc3339, rfc3339
from tailsight.cli.console import Exit, fail, out, say_json, say_table
from tailsight.cli.options import Config, Json
from tailsight.cli.store import configured_store

if TYPE_CHECKING:
    import polars as pl

    from analytics.cost.forecast import Total
    from analytics.cost.jobs import Costs, Pricing

app = typer.Typer(invoke_without_command=True, help="What it cost, what will be spent, and what could be saved.")


@app.callback()
def cost(
    context: typer.Context,
    *,
    start: Annotated[str | None, typer.Option("--from", help="Beginning, RFC 3339; 24 h before the end.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, RFC 3339; that of the last whole hour.")] = None,
    by: Annotated[str, typer.Option(help="Told apart by any of model, tenant, service, version, pool.")] = "model",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The bill of whole hours, what became of it, and what a prediction and a token cost."""
    from analytics.cost.jobs import costs_of, unit_costs_of
    from analytics.cost.unit_costs import UNIT_DIMENSIONS
    from analytics.jobs.objectives import standing_objectives
    from api.traffic import split_list

    if context.invoked_subcommand is not None:
        return
    dimensions = split_list(by)
    unknown = [name for name in dimensions if name not in UNIT_DIMENSIONS]
    if unknown:
        fail(f"cannot tell cost by {', '.join(unknown)}; valid are {', '.join(UNIT_DIMENSIONS)}", Exit.WRONG_USE)
    window = _last_day(start, end)
    with configured_store(config) as (store, settings):
        pricing = settings.cost.to_job()
        costs = costs_of(store, window, pricing)
        rows = unit_costs_of(store, costs, standing_objectives(store, settings.promised, window.end), dimensions)
    if as_json:
        from dataclasses import asdict

        whole = {"from": rfc3339(costs.window.start), "to": rfc3339(costs.window.end), "by": dimensions}
        told = {"unsettled_hours": costs.unsettled_hours, "bill": asdict(costs.bill), "rows": rows.to_dicts()}
        say_json(whole | told)
        return
    _tell_bill(costs, pricing)
    if rows.height:
        _tell_unit_costs(rows, dimensions)


def _tell_bill(costs: "Costs", pricing: "Pricing") -> None:
    bill = costs.bill
    hours = f"{costs.window.start:%Y-%m-%d %H:%M} to {costs.window.end:%Y-%m-%d %H:%M} UTC"
    out.print(f"[bold]{_usd(bill.bill_usd)}[/] for {bill.gpu_hours:,.0f} GPU hours, {hours}", highlight=False)
    table = Table("went to", "dollars", "share")
    for name in ("requests", "idle", "overhead", "unattributed"):
        amount = getattr(bill, f"{name}_usd")
        table.add_row(name, _usd(amount), f"{amount / bill.bill_usd:.1%}" if bill.bill_usd else "–")
    say_table(table)
    _tell_idle(costs)
    listed = sorted(set(costs.allocation["price"].drop_nulls()) & pricing.book.list_prices)
    if listed:
        names = escape(", ".join(listed))
        out.print(f"[yellow]Public list prices, not yours ({names}): set cost.price_book[/]", highlight=False)
    if costs.unpriced_gpu_seconds:
        hours_lost = costs.unpriced_gpu_seconds / 3600
        out.print(f"[yellow]{hours_lost:,.0f} GPU hours have no price, and are on no bill[/]", highlight=False)
    if costs.unsettled_hours:
        told = f"{costs.unsettled_hours} hours hold data and are not settled yet: they are on no bill"
        out.print(f"[yellow]{told}; `tailsight serve` settles 24 a minute[/]", highlight=False)
    if costs.known_hours < costs.hours:
        told = f"{costs.known_hours} of {costs.hours} hours are known: what the others cost is not in the bill"
        out.print(f"[yellow]{told}[/]", highlight=False)
    if bill.telemetry_ratio is not None and bill.telemetry_ratio < 0.999:
        silent = 1 - bill.telemetry_ratio
        out.print(f"[yellow]{silent:.1%} of GPU time: the GPUs told nothing of themselves[/]", highlight=False)


def _tell_idle(costs: "Costs") -> None:
    """What idle GPUs cost, by cause."""
    from analytics.cost.allocation import cost_by, used
    from domain.cost import NANOUSD, Use

    idle = cost_by(costs.allocation.filter(used(Use.IDLE)), ["idle_cause"])
    told = [f"{row['idle_cause'].replace('_', ' ')} {_usd(row['cost_nanousd'] / NANOUSD)}" for row in idle.to_dicts()]
    if told:
        out.print(f"[dim]idle: {', '.join(told)}[/]", highlight=False)


def _tell_unit_costs(rows: "pl.DataFrame", dimensions: tuple[str, ...]) -> None:
    heads = ("dollars", "full", "requests", "each", "each good", "1M in", "1M out")
    caption = "full: with its share of what served nobody · each: a prediction · 1M: a million tokens"
    table = Table(caption=caption)
    for dimension in dimensions:
        table.add_column(dimension)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows.iter_rows(named=True):
        names = (escape(row[name]) if row[name] else "[dim]not known[/]" for name in dimensions)
        prices = (
            row[name]
            for name in (
                "cost_per_prediction_usd",
                "cost_per_good_prediction_usd",
                "cost_per_million_input_tokens_usd",
                "cost_per_million_output_tokens_usd",
            )
        )
        told = (_usd(row["cost_usd"]), _usd(row["full_cost_usd"]), f"{row['requests']:,}", *map(_usd, prices))
        table.add_row(*names, *told)
    say_table(table)


@app.command("forecast")
def cost_forecast(*, config: Config = None, as_json: Json = False) -> None:
    """What will be spent until the month is over, and how well that would have been known before."""
    from analytics.cost.forecast import NoForecast, daily_totals, month_of
    from analytics.cost.jobs import spend_forecast

    now = datetime.now(UTC)
    with configured_store(config) as (store, settings):
        pricing = settings.cost.to_job()
        found = spend_forecast(store, now, pricing)
        if isinstance(found, NoForecast):
            fail(f"no forecast: {found.reason}", Exit.TROUBLE)
    if as_json:
        from api.cost import ForecastAnswer, forecast_document

        say_json(ForecastAnswer.model_validate(forecast_document(found)).model_dump(mode="json", by_alias=True))
        return
    month = month_of(found)
    days = [one for one in daily_totals(found) if one.end - one.start <= timedelta(days=1)]
    name = f"{month.start:%B}"
    if month.whole is None:
        so_far = f"{_usd(month.spent_usd)} in {month.known_hours} of {month.hours} hours so far that are known"
        out.print(f"{name} at its end: not known; {so_far}", highlight=False)
        out.print(f"Rest of {name}: {_usd(month.rest.median_usd)} ({_between(month.rest)})", highlight=False)
    else:
        out.print(f"{name}: {_usd(month.whole.median_usd)} ({_between(month.whole)})", highlight=False)
    scores = ", ".join(
        f"{model} {f'{_usd(found.errors_usd[model])} an hour' if value is None else f'{value:.2f}'}"
        for model, value in found.mase.items()
    )
    out.print(
        f"[dim]from {found.history.height} known hours; by {found.model}: {found.chosen_because}[/]", highlight=False
    )
    out.print(f"[dim]error in {found.tries} tries: {scores}[/]", highlight=False)
    if found.no_interval is not None:
        out.print(f"[yellow]no interval: {found.no_interval}[/]", highlight=False)
    table = Table("day", "dollars", "within")
    for one in days:
        table.add_row(f"{one.start:%a %d %b}", _usd(one.median_usd), _between(one))
    say_table(table)


def _between(total: "Total") -> str:
    low, high = total.lower_usd[0.8], total.upper_usd[0.8]
    if total.no_interval is not None or low >= high:
        return "no interval"
    return f"8 times in 10 {_usd(low)} to {_usd(high)}"


@app.command("advice")
def cost_advice_command(*, config: Config = None, as_json: Json = False) -> None:
    """What could be saved, in dollars a month, judged by the last seven days."""
    from dataclasses import asdict

    from analytics.cost.advice_jobs import cost_advice
    from analytics.jobs.objectives import standing_objectives

    with configured_store(config) as (store, settings):
        now = datetime.now(UTC)
        found = cost_advice(store, now, settings.cost.to_job(), standing_objectives(store, settings.promised, now))
    if as_json:
        say_json(asdict(found))
        return
    for one in found.advice:
        low, high = one.saves_usd_per_month
        out.print(f"[bold]{_usd(low)} to {_usd(high)} a month[/], {one.confidence:.0%} sure", highlight=False)
        out.print(f"  {escape(one.title)}", highlight=False)
        out.print("".join(f"[dim]  {escape(why)}[/]\n" for why in one.why), highlight=False, end="")
        out.print("".join(f"  · {escape(step)}\n" for step in one.how), highlight=False)
    if found.advice:
        out.print(f"Together {_usd(found.expected_usd_per_month)} a month, as it looks", highlight=False)
    else:
        out.print("Nothing to save that is worth a word.")
    for worth in found.latency_value:
        low, high = worth.usd_per_month_of_100_ms
        told = f"{escape(worth.service)}: {worth.indicator} 100 ms sooner is worth {_usd(low)} to {_usd(high)} a month"
        if worth.change_usd_per_month is not None:
            low, high = worth.change_usd_per_month
            told += f"; the change from the week before {_usd(low)} to {_usd(high)}"
        out.print(f"{told} ({escape(worth.source)})", highlight=False)
    if not found.latency_value:
        out.print("[dim]what sooner answers are worth: not configured (cost.latency_value)[/]", highlight=False)
    for gap in found.gaps:
        out.print(f"[dim]not judged: {gap.kind} of {escape(gap.about)}: {escape(gap.missing)}[/]", highlight=False)


@app.command("export")
def cost_export(
    *,
    start: Annotated[str | None, typer.Option("--from", help="Beginning, RFC 3339; 24 h before the end.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, RFC 3339; that of the last whole hour.")] = None,
    layout: Annotated[Literal["focus", "csv"], typer.Option("--as", help="FOCUS 1.2, or our own columns.")] = "focus",
    every: Annotated[Literal["hour", "day"], typer.Option(help="Of FOCUS: a row an hour or a day.")] = "hour",
    file: Annotated[Path | None, typer.Option("--out", help="File to write; standard output unless given.")] = None,
    config: Config = None,
) -> None:
    """The bill as CSV, for billing tools and spreadsheets."""
    from analytics.cost.csv_text import csv_text
    from analytics.cost.focus import TIME_FORMAT, focus_rows
    from analytics.cost.jobs import costs_of

    window = _last_day(start, end)
    with configured_store(config) as (store, settings):
        pricing = settings.cost.to_job()
        costs = costs_of(store, window, pricing)
    rows = costs.allocation.sort("time", "cost_nanousd", descending=[False, True])
    if layout == "focus":
        rows = focus_rows(costs.allocation, pricing.book, pricing.account, costs.window, every=every)
    text = csv_text(rows, TIME_FORMAT)
    if file is None:
        sys.stdout.write(text)
        return
    try:
        file.write_text(text)
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}", Exit.TROUBLE)
    out.print(escape(f"{rows.height:,} rows in {file}"), highlight=False)


def _last_day(start: str | None, end: str | None) -> Window:
    """24 hours that are over, unless told otherwise: of the hour that runs, the bill is not known yet."""
    try:
        return _bill_window(start, end, datetime.now(UTC))
    except ValueError as error:
        fail(str(error), Exit.WRONG_USE)


def _bill_window(start: str | None, end: str | None, now: datetime) -> Window:
    """The stretch of a bill. Bills are of whole hours, so where no end is given it is that of the last one.

    Raises:
        ValueError: for what is no time, and for an end that is not after the start.
    """
    first = from_rfc3339(start) if start else None
    last = from_rfc3339(end) if end else now.replace(minute=0, second=0, microsecond=0)
    if first is not None and end is None and first >= last:
        last = now  # only the hour that goes on is asked for
    return Window(first or last - timedelta(days=1), last)


def _usd(amount: float | None) -> str:
    return "–" if amount is None else usd_text(amount)
