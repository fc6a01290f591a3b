"""Idle time: why GPUs that are paid for served nothing, when, and where."""

import asyncio
from typing import Any

import polars as pl
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.cost.allocation import known_hours, used
from analytics.cost.jobs import Costs
from dashboards import cost_figures, figures, text
from dashboards.callbacks import callback
from dashboards.components import cell_of, chart, fact, figure_of, panel, spark
from dashboards.context import PageContext
from dashboards.cost_parts import bill_hours_known, hourly, money_cell, no_bill, note, page_head, waiting
from dashboards.cost_reading import CostReader, cost_window
from dashboards.cost_words import IDLE_CAUSES
from dashboards.pages.cost import idle_bars, idle_sums
from dashboards.state import parse_state
from domain.cost import NANOUSD, IdleCause, Use
from domain.window import Window

_HEADS = ("Where", "Model", "Idle", "Course", "Share of its time", "Mostly")
_NUMBERS = ("Idle", "Share of its time")
_ROWS = 15


def layout() -> Component:
    """Where things are."""
    return html.Div(
        [
            page_head("Idle GPU time", "idle-note"),
            html.Div(waiting(86), id="idle-facts"),
            html.Div(
                [
                    html.Div(
                        [
                            panel(
                                "Idle spend over time", chart("idle-course", 300), note=html.Span(id="idle-course-note")
                            ),
                            panel("Why", html.Div(waiting(290), id="idle-causes")),
                        ],
                        className="columns",
                    ),
                    panel(
                        "Where and when",
                        chart("idle-heatmap", 300),
                        note="each replica by node, by the hour; warm is idle",
                    ),
                    panel(
                        "Dearest idle places",
                        html.Div(waiting(240), id="idle-places"),
                        note="replicas, and GPUs without one",
                    ),
                ],
                className="cost-body",
            ),
        ]
    )


def register(app: Dash, context: PageContext, reader: CostReader) -> None:
    """The one callback of this page."""

    @callback(
        app,
        Output("idle-note", "children"),
        Output("idle-facts", "children"),
        Output("idle-course-note", "children"),
        Output(figure_of("idle-course"), "data"),
        Output("idle-causes", "children"),
        Output(figure_of("idle-heatmap"), "data"),
        Output("idle-places", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_idle(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        return await asyncio.to_thread(_page, reader, cost_window(parse_state(search), context.now()))


def facts(costs: Costs) -> Component:
    """How much stood idle, in dollars, as a share and in whole GPUs, and the worst cause."""
    bill = costs.bill
    idle = costs.allocation.filter(used(Use.IDLE))
    hours, known = costs.known_hours, bill_hours_known(costs)
    idle_hours = float(idle["gpu_seconds"].sum()) / 3_600
    worst = next(iter(idle_sums(costs.allocation).items()), None)
    silent = float(idle.filter(pl.col("idle_cause") == IdleCause.NO_TELEMETRY)["gpu_seconds"].sum()) / 3_600
    return html.Div(
        [
            fact(
                "Idle spend",
                text.usd(bill.idle_usd),
                [f"of {text.usd(bill.bill_usd)}", " · " if known else None, known],
            ),
            fact(
                "Share of the GPU time",
                text.percent_whole(idle_hours / bill.gpu_hours) if bill.gpu_hours else text.UNKNOWN,
                f"{idle_hours:,.0f} of {bill.gpu_hours:,.0f} GPU hours",
            ),
            fact(
                "At any time",
                text.significant(idle_hours / hours) if hours else text.UNKNOWN,
                f"of {text.significant(bill.gpu_hours / hours)} GPUs" if hours else "no GPU is heard of",
                title="GPUs' worth of time on average",
            ),
            fact("Worst cause", IDLE_CAUSES[worst[0]].title, text.usd(worst[1]), class_name="fact-words")
            if worst
            else None,
            fact(
                "Without telemetry",
                f"{silent:,.0f} h" if silent else "none",
                "of GPU time" if silent else None,
                title="Billed, and not known to be idle or busy",
            ),
        ],
        className="strip cost-strip",
    )


def places(costs: Costs) -> pl.DataFrame:
    """Where idle dollars went, dearest first.

    Columns place, node, replica, model, usd, ratio (of the GPU time there), cause (of most dollars).
    """
    named = costs.allocation.with_columns(_place())
    is_idle = used(Use.IDLE)
    per_cause = (
        named.filter(is_idle)
        .group_by("place", "idle_cause")
        .agg(pl.col("cost_nanousd").sum())
        .sort("cost_nanousd", "idle_cause", descending=[True, False])
    )
    worst = per_cause.group_by("place", maintain_order=True).agg(pl.col("idle_cause").first().alias("cause"))
    return (
        named.filter(pl.col("gpu_seconds") > 0)
        .group_by("place")
        .agg(
            pl.col("node", "replica", "model").drop_nulls().first(),
            (pl.col("cost_nanousd").filter(is_idle).sum() / NANOUSD).alias("usd"),
            (pl.col("gpu_seconds").filter(is_idle).sum() / pl.col("gpu_seconds").sum()).alias("ratio"),
        )
        .join(worst, on="place")
        .filter(pl.col("usd") > 0)
        .sort("usd", "place", descending=[True, False])
    )


def places_table(costs: Costs) -> Component:
    """The dearest idle places with their course and why."""
    found = places(costs)
    if found.is_empty():
        return html.P("No GPU was idle in this time.", className="calm")
    idle = costs.allocation.filter(used(Use.IDLE)).with_columns(_place())
    courses = hourly(idle, "place", known_hours(costs.allocation))
    most = float(found["usd"][0])
    rows = []
    for row in found.head(_ROWS).iter_rows(named=True):
        words = IDLE_CAUSES[IdleCause(row["cause"])] if row["cause"] else None
        place = html.Div(
            [
                html.Strong(row["replica"] or "GPUs without a pod"),
                html.Div(row["node"] or "unknown node", className="note"),
            ]
        )
        mostly = (
            html.Span([html.Span(className=f"swatch fill-{words.tone}"), words.title], className="state")
            if words
            else ""
        )
        rows.append(
            html.Tr(
                [
                    cell_of("Where", place, is_wide=True),
                    cell_of("Model", row["model"] or html.Span("none", className="note"), is_wide=False),
                    money_cell("Idle", text.usd(row["usd"]), row["usd"] / most),
                    cell_of("Course", spark(courses.get(row["place"], []), "calm", low=0.0), is_wide=True),
                    money_cell("Share of its time", text.percent_whole(row["ratio"])),
                    cell_of("Mostly", mostly, is_wide=True),
                ]
            )
        )
    head = html.Tr([html.Th(name, scope="col", className="number" if name in _NUMBERS else "") for name in _HEADS])
    more = found.height - _ROWS
    return html.Div(
        [
            html.Div(
                html.Table([html.Thead(head), html.Tbody(rows)]),
                className="table listing money",
                tabIndex=0,
                role="region",
                **{"aria-label": "Idle places"},
            ),
            html.P(f"{more} more, each with less.", className="foot note") if more > 0 else None,
        ]
    )


def _place() -> pl.Expr:
    return pl.concat_str(pl.col("node").fill_null(""), pl.lit("\n"), pl.col("replica").fill_null("")).alias("place")


def _page(reader: CostReader, window: Window) -> tuple[Any, ...]:
    costs = reader.costs(window)
    nothing = no_bill(costs.bill)
    if nothing is not None:
        blank = figures.empty(cost_figures.NOTHING_HEARD)
        return text.hours_words(costs.window), nothing, "", blank, None, blank, None
    return (
        note(costs),
        facts(costs),
        cost_figures.step_words(window),
        cost_figures.idle_over_time(costs.allocation, costs.window),
        idle_bars(costs.allocation, costs.bill),
        cost_figures.idle_heatmap(costs.allocation, costs.window),
        places_table(costs),
    )
