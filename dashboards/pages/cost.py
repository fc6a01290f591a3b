"""Cost: the bill, what became of it, what one of something costs, and where the idle money goes."""

import asyncio
from collections.abc import Callable
from typing import Any

import polars as pl
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.cost.allocation import used
from analytics.cost.jobs import Costs
from analytics.cost.unit_costs import Bill
from dashboards import cost_change, cost_figures, figures, text
from dashboards.callbacks import callback
from dashboards.components import chart, fact, figure_of, icon, page_link, panel, spark
from dashboards.context import PageContext
from dashboards.cost_parts import (
    UNIT_COLUMNS,
    Column,
    bill_hours_known,
    money_table,
    name_of,
    no_bill,
    note,
    page_head,
    rests_on,
    split_bar,
    tabs,
    waiting,
)
from dashboards.cost_reading import CostReader, cost_window
from dashboards.cost_words import IDLE_CAUSES
from dashboards.state import PageState, elsewhere, link, parse_state
from domain.cost import NANOUSD, IdleCause, Use
from domain.window import Window

_ROWS = 6
_MOVED_RATIO = 0.2  # from which a change of the bill is said in colour


def layout() -> Component:
    """Where things are; all of it is filled by one callback, from one bill."""
    return html.Div(
        [
            page_head("Cost", "cost-note"),
            html.Div(waiting(34), id="cost-rests-on"),
            html.Div(waiting(86), id="cost-facts"),
            html.Div(
                [
                    panel("What became of the bill", html.Div(waiting(150), id="cost-split")),
                    cost_change.layout(),
                    html.Div(
                        [
                            panel(
                                "Spend over time",
                                chart("cost-spend", 300),
                                note=html.Span(id="cost-spend-note"),
                            ),
                            panel(
                                "Idle by cause",
                                html.Div(waiting(290), id="cost-idle"),
                                aside=html.Span(id="cost-idle-link"),
                            ),
                        ],
                        className="columns",
                    ),
                    panel("Models", html.Div(waiting(180), id="cost-models"), aside=html.Span(id="cost-models-link")),
                    panel(
                        "Tenants", html.Div(waiting(180), id="cost-tenants"), aside=html.Span(id="cost-tenants-link")
                    ),
                ],
                className="cost-body",
            ),
        ]
    )


def register(app: Dash, context: PageContext, reader: CostReader) -> None:
    """The callbacks of this page, and the tabs of all pages of cost."""

    @callback(app, Output("cost-tabs", "children"), Input("url", "pathname"), Input("url", "search"))
    async def show_tabs(path: str | None, search: str | None) -> list[Component]:
        return tabs(path, parse_state(search))

    @callback(
        app,
        Output("cost-note", "children"),
        Output("cost-rests-on", "children"),
        Output("cost-facts", "children"),
        Output("cost-split", "children"),
        Output("cost-spend-note", "children"),
        Output(figure_of("cost-spend"), "data"),
        Output("cost-idle", "children"),
        Output("cost-idle-link", "children"),
        Output("cost-models", "children"),
        Output("cost-models-link", "children"),
        Output("cost-tenants", "children"),
        Output("cost-tenants-link", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_cost(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        return await asyncio.to_thread(_page, reader, cost_window(parse_state(search), context.now()), search)

    cost_change.register(app, context, reader)


# -- Pieces, from what was read ------------------------------------------------------------------------------------


def facts(costs: Costs, before: Costs, units: pl.DataFrame) -> Component:
    """The bill and its change, and what one of something costs, with their courses."""
    bill, row, courses = costs.bill, units.row(0, named=True), _courses(costs)
    good, requests = row["good_requests"], row["requests"]
    return html.Div(
        [
            fact(
                "Bill",
                text.usd(bill.bill_usd),
                bill_detail(costs, before),
                extra=spark(courses["bill"], "calm", low=0.0),
                title=f"Of what is known of {text.hours_words(costs.window)}",
            ),
            fact(
                "Per prediction",
                text.usd(row["cost_per_prediction_usd"]),
                f"{text.usd(row['full_cost_per_prediction_usd'])} in full",
                extra=spark(courses["prediction"], "calm", low=0.0),
                title="GPU time that served it; in full with idle time, overhead and what is nobody's",
            ),
            fact(
                "Per good prediction",
                text.usd(row["cost_per_good_prediction_usd"]),
                "not known" if good is None or not requests else f"{text.percent_floor(good / requests)} are good",
                title="Over the requests that succeeded within what the objectives of their service promise",
            ),
            fact(
                "Per 1M tokens in",
                text.usd(row["cost_per_million_input_tokens_usd"]),
                _tokens(row["input_tokens"], "read"),
                extra=spark(courses["input"], "calm", low=0.0),
                title="GPU time that read prompts",
            ),
            fact(
                "Per 1M tokens out",
                text.usd(row["cost_per_million_output_tokens_usd"]),
                _tokens(row["output_tokens"], "written"),
                extra=spark(courses["output"], "calm", low=0.0),
                title="GPU time that wrote answers",
            ),
            fact(
                "Per active user",
                text.usd(row["cost_per_active_user_usd"]),
                "no user is told" if not row["users"] else f"{text.count(row['users'])} users",
                title="Users that spans name: user.id or enduser.id",
            ),
        ],
        className="strip cost-strip",
    )


def _tokens(count: int, verb: str) -> str:
    number, prefix = text.compact(count)
    return f"{number} {prefix} {verb}".replace("  ", " ") if count else "no token is told"


def bill_detail(costs: Costs, before: Costs) -> Component:
    """Of how many hours the bill is, where that is not all, and its change."""
    known = bill_hours_known(costs)
    return html.Span([known, " · " if known else None, change(costs, before)])


def change(costs: Costs, before: Costs) -> Component:
    """The bill against that of the time before, of the hours that are known in both; none where those are too few."""
    if costs.unsettled:
        return html.Span("not compared yet", title=f"{costs.unsettled_hours} hours wait to be settled")
    if not costs.is_whole:
        return html.Span("not compared", title="A bill of some hours is nothing to hold against one of all")
    found = cost_change.compared(costs, before)
    if found is None:
        return html.Span("not known before", title=f"{text.hours_words(before.window)} is not known whole")
    ratio = found.after_usd / found.before_usd - 1
    tone = "warning" if ratio > _MOVED_RATIO else "good" if ratio < -_MOVED_RATIO else "calm"
    words = f"{text.usd(found.after_usd)} against {text.usd(found.before_usd)} of {text.hours_words(before.window)}"
    if found.hours < costs.hours:
        words += f", both of the {found.hours} hours that are known in both"
    return html.Span(text.signed_percent(ratio), className=f"tone-{tone}", title=words)


def split_words(bill: Bill) -> list[Component]:
    """The split of the bill, and what of it was lost to failures and to the fabric."""
    losses = (
        ("triangle-alert", bill.errors_usd, "of the served went into requests that failed"),
        ("cable", bill.fabric_usd, "of the idle was lost while ports waited for credits"),
    )
    return [
        *split_bar(bill),
        html.Ul(
            [
                html.Li([icon(icon_name), html.Span([html.Strong(text.usd(usd)), f" {words}"])])
                for icon_name, usd, words in losses
            ],
            className="losses",
        ),
    ]


def idle_bars(allocation: pl.DataFrame, bill: Bill) -> Component:
    """Dollars of each idle cause, worst first, each with what to do."""
    sums = idle_sums(allocation)
    if not sums:
        return html.P("No GPU was idle in this time.", className="calm")
    most = max(sums.values())
    return html.Ul(
        [
            html.Li(
                [
                    html.Span(
                        [html.Span(className=f"swatch fill-{IDLE_CAUSES[cause].tone}"), IDLE_CAUSES[cause].title],
                        className="idle-title",
                    ),
                    html.Span(
                        [
                            html.Strong(text.usd(usd)),
                            html.Span(text.percent_whole(usd / bill.bill_usd), className="note"),
                        ],
                        className="idle-usd",
                    ),
                    html.Span(
                        html.Span(className=f"fill-{IDLE_CAUSES[cause].tone}", style={"width": f"{usd / most:.1%}"}),
                        className="idle-bar",
                    ),
                    html.Span(IDLE_CAUSES[cause].hint, className="note"),
                ]
            )
            for cause, usd in sums.items()
        ],
        className="idle-causes",
    )


def idle_sums(allocation: pl.DataFrame) -> dict[IdleCause, float]:
    """Dollars of each idle cause that cost anything, worst first."""
    idle = allocation.filter(used(Use.IDLE)).drop_nulls("idle_cause")
    sums = idle.group_by("idle_cause").agg(pl.col("cost_nanousd").sum())
    ordered = sums.filter(pl.col("cost_nanousd") > 0).sort("cost_nanousd", "idle_cause", descending=[True, False])
    return {IdleCause(cause): nanousd / NANOUSD for cause, nanousd in ordered.iter_rows()}


def top(units: pl.DataFrame, name: str, state: PageState) -> Component:
    """The dearest of something, each a link to its own breakdown."""
    known = units.filter(pl.col("full_cost_usd") > 0).head(_ROWS)
    if known.is_empty():
        return html.P("No request is known of in this time.", className="calm")
    return money_table(
        known,
        Column(name.capitalize(), name, str, ""),
        UNIT_COLUMNS,
        label=(lambda value: model_link(value, state)) if name == "model" else name_of,
    )


def model_link(model: str | None, state: PageState) -> Any:
    """A model that leads to its tenants."""
    if model is None:
        return name_of(None)
    to = link("/cost/breakdown", PageState(range_name=state.range_name, by="tenant", model=model))
    return page_link(model, to, "plain-link", title=f"Tenants of {model}")


def _courses(costs: Costs) -> dict[str, list[float | None]]:
    """By the hour, or the day: the bill, a prediction, a million tokens in and out; null where nothing is to divide."""
    every = f"{cost_figures.step_of(costs.window)}s"
    of_requests = costs.allocation.with_columns(
        pl.when(used(Use.REQUESTS)).then(pl.col("cost_nanousd")).otherwise(0).alias("served"),
    )
    sums = (
        of_requests.group_by(pl.col("time").dt.truncate(every))
        .agg(
            pl.col(
                "gpu_seconds",
                "cost_nanousd",
                "served",
                "input_cost_nanousd",
                "requests",
                "input_tokens",
                "output_tokens",
            ).sum()
        )
        .sort("time")
    )

    def per(amount: pl.Expr, count: str) -> list[float | None]:
        return sums.select(pl.when(pl.col(count) > 0).then(amount / pl.col(count))).to_series().to_list()

    return {
        "bill": sums.select(pl.when(pl.col("gpu_seconds") > 0).then(pl.col("cost_nanousd") / NANOUSD))
        .to_series()
        .to_list(),
        "prediction": per(pl.col("served"), "requests"),
        "input": per(pl.col("input_cost_nanousd"), "input_tokens"),
        "output": per(pl.col("served") - pl.col("input_cost_nanousd"), "output_tokens"),
    }


# -- Reading -------------------------------------------------------------------------------------------------------


def _page(reader: CostReader, window: Window, search: str | None) -> tuple[Any, ...]:
    state = parse_state(search)
    costs = reader.costs(window)
    bill = costs.bill
    nothing = no_bill(bill)
    if nothing is not None:
        blank = figures.empty(cost_figures.NOTHING_HEARD)
        return (text.hours_words(costs.window), None, nothing, None, "", blank, *[None] * 6)
    more = _more(state)
    return (
        note(costs),
        rests_on(costs, uses_list_prices=reader.uses_list_prices(costs)),
        facts(costs, reader.before(window), reader.units(window)),
        split_words(bill),
        cost_figures.step_words(window),
        cost_figures.spend_over_time(costs.allocation, costs.window),
        idle_bars(costs.allocation, bill),
        more("Where and when", "/cost/idle"),
        top(reader.units(window, "model"), "model", state),
        more("All models", "/cost/breakdown", by="model"),
        top(reader.units(window, "tenant"), "tenant", state),
        more("All tenants", "/cost/breakdown", by="tenant"),
    )


def _more(state: PageState) -> Callable[..., Component]:
    def to(words: str, path: str, by: str | None = None) -> Component:
        going = elsewhere(state)
        where = link(path, PageState(range_name=going.range_name, service=going.service, by=by))
        return page_link([words, icon("arrow-right")], where, "more")

    return to
