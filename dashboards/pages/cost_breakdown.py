"""Cost told apart by model, tenant, service, version or pool; a model leads to its tenants."""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import polars as pl
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.cost.allocation import known_hours, used
from analytics.cost.jobs import Costs
from dashboards import cost_figures, figures, text
from dashboards.callbacks import callback
from dashboards.components import chart, figure_of, icon, page_link, panel
from dashboards.context import PageContext
from dashboards.cost_parts import (
    UNIT_COLUMNS,
    Column,
    hourly,
    money_table,
    name_of,
    no_bill,
    note,
    page_head,
    waiting,
)
from dashboards.cost_reading import CostReader, cost_window
from dashboards.pages.cost import model_link
from dashboards.state import PageState, link, parse_state
from domain.cost import Use
from domain.window import Window, rfc3339

DIMENSIONS = ("model", "tenant", "service", "version", "pool")
_COLUMNS = (
    *UNIT_COLUMNS[:2],
    Column("Idle", "idle_usd", text.usd, "dollars of its GPUs that served no request"),
    Column("Errors", "errors_usd", text.usd, "of its cost, what went into requests that failed"),
    Column("Requests", "requests", text.count, "requests that began in this time"),
    *UNIT_COLUMNS[2:],
    Column("User", "cost_per_active_user_usd", text.usd, "cost over the users that spans name"),
)
_WITHOUT_IDLE = ("tenant", "version")  # no GPU stands idle for one of these
_SORT = ("full_cost_usd", True)
_UP = ".up"


def layout() -> Component:
    """A heading, the choice of what to tell apart, and a place for the table."""
    return html.Div(
        [
            page_head("Cost breakdown", "breakdown-note"),
            html.Div(id="breakdown-choice", className="choice"),
            html.Div(waiting(360), id="breakdown-table"),
            html.Div(
                panel(
                    "Cost of requests over time",
                    chart("breakdown-course", 260),
                    note=html.Span(id="breakdown-course-note"),
                ),
                className="cost-body",
            ),
        ]
    )


def register(app: Dash, context: PageContext, reader: CostReader) -> None:
    """The one callback of this page."""

    @callback(
        app,
        Output("breakdown-note", "children"),
        Output("breakdown-choice", "children"),
        Output("breakdown-table", "children"),
        Output("breakdown-course-note", "children"),
        Output(figure_of("breakdown-course"), "data"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_breakdown(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        state = parse_state(search)
        return await asyncio.to_thread(_page, reader, state, cost_window(state, context.now()))


def dimension_of(state: PageState) -> str:
    """What is told apart; models where nothing valid is asked for."""
    return state.by if state.by in DIMENSIONS else DIMENSIONS[0]


def sort_of(state: PageState, by: str) -> tuple[str, bool]:
    """The column of the order and whether it is descending, from `full_cost_usd` or `tenant.up`."""
    name = (state.sort or "").removesuffix(_UP)
    if name not in (by, *(column.key for column in _COLUMNS)):
        return _SORT
    return name, not (state.sort or "").endswith(_UP)


def choice(state: PageState, window: Window, csv_query: str) -> list[Component]:
    """What to tell apart, the model that the rows are of, and the way to the figures themselves."""
    by = dimension_of(state)
    tabs = [
        page_link(
            f"{name.capitalize()}s",
            link("/cost/breakdown", PageState(range_name=state.range_name, service=state.service, by=name)),
            "range",
            **({"aria-current": "true"} if name == by else {}),
        )
        for name in DIMENSIONS
    ]
    of_model = (
        html.Span(
            [
                html.Span(["of ", html.Strong(state.model)], className="clip"),
                page_link(
                    icon("x"),
                    link("/cost/breakdown", replace(state, by="model", model=None, sort=None)),
                    "plain-link",
                    **{"aria-label": "Back to all models"},
                ),
            ],
            className="filter",
        )
        if state.model is not None and by == "tenant"
        else None
    )
    span = {"from": rfc3339(window.start), "to": rfc3339(window.end)}
    return [
        html.Nav(tabs, className="segments", **{"aria-label": "Told apart by"}),
        of_model,
        html.Span(className="grow"),
        html.A(
            [icon("download"), "CSV"],
            href=f"/api/v1/cost?{urlencode(span, safe=':')}&{csv_query}",
            className="button",
            title="These figures as CSV, from the API",
            download=f"cost-by-{by}.csv",
        ),
    ]


def table(units: pl.DataFrame, costs: Costs, state: PageState) -> Component:
    """One row a group, in the order that is asked for; what is not known comes last."""
    by = dimension_of(state)
    key, is_descending = sort_of(state, by)
    if units.is_empty():
        return html.P(f"No {by} is known of in this time.", className="calm")
    ordered = units.sort(key, by, descending=[is_descending, False], nulls_last=True)
    served = served_of(costs, state)
    tones = dict(zip(told_apart(units, by), cost_figures.SERIES, strict=False))
    hours = known_hours(costs.allocation)
    columns = [column for column in _COLUMNS if not (column.key == "idle_usd" and by in _WITHOUT_IDLE)]
    return money_table(
        ordered,
        Column(by.capitalize(), by, str, f"in order of the {by}'s name"),
        columns,
        label=lambda value: [
            html.Span(className=f"swatch fill-{tones.get(value, 'faint')}"),
            model_link(value, state) if by == "model" else name_of(value),
        ],
        sparks=hourly(served, by, hours),
        sort=(key, is_descending),
        sort_link=lambda name: link(
            "/cost/breakdown", replace(state, by=by, sort=_next_sort(name, key, is_descending))
        ),
    )


def foot(units: pl.DataFrame, costs: Costs, state: PageState) -> Component:
    """What the full costs add up to."""
    total = float(units["full_cost_usd"].sum())
    if state.model is not None and dimension_of(state) == "tenant":
        words = (
            f"Full costs add up to {text.usd(total)}: all of {state.model}, busy and idle, without what is nobody's."
        )
    else:
        idle = f", {text.usd(costs.bill.idle_usd)} of it idle" if costs.bill.idle_usd else ""
        words = f"Full costs add up to the bill of {text.usd(costs.bill.bill_usd)}{idle}."
        if abs(total - costs.bill.bill_usd) > 1e-6:
            words = f"The bill of {text.usd(costs.bill.bill_usd)} is nobody's as yet: no request is known of."
    return html.P(words, className="foot note")


def told_apart(units: pl.DataFrame, by: str) -> list[str | None]:
    """The dearest, which have a colour of their own."""
    dearest = units.drop_nulls("cost_usd").sort("cost_usd", by, descending=[True, False])
    return dearest[by].head(len(cost_figures.SERIES)).to_list()


def served_of(costs: Costs, state: PageState) -> pl.DataFrame:
    """The rows of the bill that served requests; of one model where that is asked for."""
    served = costs.allocation.filter(used(Use.REQUESTS))
    is_drill = state.model is not None and dimension_of(state) == "tenant"
    return served.filter(pl.col("model") == state.model) if is_drill else served


def _next_sort(name: str, key: str, is_descending: bool) -> str:  # noqa: FBT001  # the order now
    """A click on the column of the order turns it round; another begins with its greatest, or with A."""
    if name == key:
        return f"{name}{_UP}" if is_descending else name
    return f"{name}{_UP}" if name in DIMENSIONS else name


def _page(reader: CostReader, state: PageState, window: Window) -> tuple[Any, ...]:
    by, model = dimension_of(state), state.model
    costs = reader.costs(window)
    is_drill = model is not None and by == "tenant"
    asked = "model,tenant" if is_drill else by
    above = choice(state, costs.window, urlencode({"by": asked, "format": "csv"}, safe=","))
    nothing = no_bill(costs.bill)
    if nothing is not None:
        blank = figures.empty(cost_figures.NOTHING_HEARD)
        return text.hours_words(costs.window), above, nothing, "", blank
    units = reader.units_of_model(window, model) if is_drill and model is not None else reader.units(window, by)
    return (
        note(costs),
        above,
        html.Div([table(units, costs, state), foot(units, costs, state)], className="panel"),
        cost_figures.step_words(window),
        cost_figures.cost_over_time(served_of(costs, state), by, told_apart(units, by), window),
    )
