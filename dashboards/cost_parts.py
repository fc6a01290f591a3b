"""The pieces that the pages of cost share: tabs, the split of a bill, tables of money, what a bill rests on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from dash import html
from dash.development.base_component import Component

from analytics.cost.jobs import Costs
from analytics.cost.unit_costs import Bill
from dashboards import text
from dashboards.components import Children, cell_of, empty_state, icon, page_link, spark
from dashboards.cost_words import LIST_PRICES, USES
from dashboards.state import PageState, elsewhere, link
from domain.cost import NANOUSD, Use

_TABS = (
    ("/cost", "Overview", "layout-dashboard"),
    ("/cost/breakdown", "Breakdown", "layers"),
    ("/cost/idle", "Idle", "circle-pause"),
    ("/cost/forecast", "Forecast", "chart-line"),
    ("/cost/advice", "Advice", "lightbulb"),
)
_WELL_KNOWN = 0.99  # of GPU time: less is said aloud


def page_head(title: str, note_id: str) -> Component:
    """The heading of a page of cost, and a place for the tabs."""
    return html.Div(
        [
            html.Header([html.H1(title), html.Span(id=note_id, className="note")], className="page-head"),
            html.Nav(id="cost-tabs", className="cost-tabs", **{"aria-label": "Pages of cost"}),
        ]
    )


def tabs(path: str | None, state: PageState) -> list[Component]:
    """Links between the pages of cost; the range goes along."""
    return [
        page_link(
            [icon(icon_name), title],
            link(href, elsewhere(state)),
            "cost-tab",
            **({"aria-current": "page"} if path == href else {}),
        )
        for href, title, icon_name in _TABS
    ]


def waiting(height: int, words: str = "") -> Component:
    """What stands in a place until its first answer; `words` where that takes seconds."""
    return html.Div(
        [html.Div(className="skeleton"), html.Span(words)], className="waiting", style={"height": f"{height}px"}
    )


def no_bill(bill: Bill) -> Component | None:
    """What a page says where there is no bill: no GPU was heard of, or none with a price; None where there is one."""
    if bill.gpu_hours or bill.bill_usd:
        return None
    if bill.priced_ratio is not None:
        return empty_state(
            "wallet",
            "No price is known of these GPUs",
            [
                html.P("GPUs were heard of, but no match of the price book is for them. Set your prices:"),
                html.Pre("cost:\n  price_book: prices.yaml"),
            ],
        )
    return empty_state(
        "gpu",
        "No GPU has been heard of in this time",
        [
            html.P(
                "Costs begin with GPU metrics: scrape the DCGM exporter of each node, or send its metrics over OTLP."
            ),
            html.P("If they came in earlier, choose a longer time above."),
        ],
    )


def hours_known(known: int, hours: int, *, is_whole: bool) -> Component | None:
    """`50 of 168 h known`, in colour where that is not about all (`is_whole`); None where all hours are."""
    if known >= hours:
        return None
    return html.Span(f"{known:,} of {hours:,} h known", className=f"tone-{'calm' if is_whole else 'warning'}")


def bill_hours_known(costs: Costs) -> Component | None:
    """The same of a bill."""
    return hours_known(costs.known_hours, costs.hours, is_whole=costs.is_whole)


def note(costs: Costs) -> list[Children]:
    """The hours that are meant, and how many of them are known, where that is not all."""
    known = bill_hours_known(costs)
    told: list[Children] = [text.hours_words(costs.window)]
    if known is not None:
        told += [" · ", known]
    if costs.unsettled:
        told.append(f", {costs.unsettled_hours} wait to be settled")
    return told


def rests_on(costs: Costs, *, uses_list_prices: bool) -> Component:
    """What the figures rest on: which hours, whose prices, and of how much GPU time anything is known."""
    bill, notes = costs.bill, []
    if costs.known_hours < costs.hours:
        unknown = costs.hours - costs.known_hours
        words = f"Of {unknown:,} of the {costs.hours:,} hours nothing is known: what they cost is in no figure here"
        notes.append(note_of("hourglass", words, "calm" if costs.is_whole else "warning"))
    if uses_list_prices:
        notes.append(note_of("tag", LIST_PRICES, "warning"))
    if bill.telemetry_ratio is not None:
        known = bill.telemetry_ratio
        tone = "calm" if known >= _WELL_KNOWN else "warning"
        notes.append(note_of("activity", f"Telemetry of {text.percent_floor(known)} of the paid GPU time", tone))
    if bill.priced_ratio is not None:
        priced = bill.priced_ratio
        words = f"A price for {text.percent_floor(priced)} of the GPU time"
        if priced < _WELL_KNOWN:
            words += "; the rest is on no bill"
        notes.append(note_of("wallet", words, "calm" if priced >= _WELL_KNOWN else "warning"))
    return html.Div(notes, className="rests-on")


def note_of(icon_name: str, words: str, tone: str) -> Component:
    """One thing that figures rest on."""
    return html.Span([icon(icon_name), words], className=f"rest tone-{tone}")


def split_bar(bill: Bill) -> list[Component]:
    """One bar of what became of the bill, and the same in words."""
    parts = {
        Use.REQUESTS: bill.requests_usd,
        Use.IDLE: bill.idle_usd,
        Use.OVERHEAD: bill.overhead_usd,
        Use.UNATTRIBUTED: bill.unattributed_usd,
    }
    whole = bill.bill_usd or 1.0
    told = "; ".join(f"{USES[use].title} {text.percent_whole(usd / whole)}" for use, usd in parts.items())
    return [
        html.Div(
            [
                html.Span(className=f"fill-{USES[use].tone}", style={"flexGrow": usd / whole}, title=USES[use].title)
                for use, usd in parts.items()
                if usd > 0
            ],
            className="split-bar",
            role="img",
            **{"aria-label": f"What became of the bill: {told}"},
        ),
        html.Dl(
            [
                html.Div(
                    [
                        html.Dt([html.Span(className=f"swatch fill-{USES[use].tone}"), USES[use].title]),
                        html.Dd(
                            [html.Strong(text.usd(usd)), html.Span(text.percent_whole(usd / whole), className="note")]
                        ),
                        html.Dd(USES[use].hint, className="note hint"),
                    ]
                )
                for use, usd in parts.items()
            ],
            className="split-words",
        ),
    ]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of money.

    `key` is a column of the frame and the name in the address, `show` makes its words, `title` is what it says to who
    hovers over the head. `is_meter` puts a bar beneath: its share of the column's greatest.
    """

    head: str
    key: str
    show: Callable[[Any], str]
    title: str
    is_meter: bool = False


UNIT_COLUMNS = (
    Column("Cost", "cost_usd", text.usd, "GPU time that served its requests", is_meter=True),
    Column("Full cost", "full_cost_usd", text.usd, "with its idle time and its share of all that is nobody's"),
    Column("Prediction", "cost_per_prediction_usd", text.usd, "cost of one request"),
    Column(
        "Good one",
        "cost_per_good_prediction_usd",
        text.usd,
        "cost over the requests that succeeded within what the objectives of their service promise",
    ),
    Column("1M in", "cost_per_million_input_tokens_usd", text.usd, "cost of a million tokens read"),
    Column("1M out", "cost_per_million_output_tokens_usd", text.usd, "cost of a million tokens written"),
)


def money_table(
    frame: pl.DataFrame,
    name: Column,
    columns: Sequence[Column],
    *,
    label: Callable[[Any], Children],
    sparks: dict[Any, list[float | None]] | None = None,
    sort: tuple[str, bool] | None = None,
    sort_link: Callable[[str], str] | None = None,
) -> Component:
    """A table of dollars, one row a group.

    Args:
        frame: the rows in their order.
        name: the column that names the row.
        columns: what is told of each.
        label: the name as shown, e.g. a link.
        sparks: the course of each row's cost by its name; no column without.
        sort: the column of the order, and whether it is descending.
        sort_link: where a click on a column's head leads; heads are words only without.
    """
    heads = [name, *columns]
    head_cells = [_head(column, sort, sort_link, is_number=column is not name) for column in heads]
    if sparks is not None:
        head_cells.insert(2, html.Th("Course", scope="col"))
    greatest = {column.key: _greatest(frame[column.key]) for column in columns if column.is_meter}
    rows = []
    for row in frame.iter_rows(named=True):
        cells = [cell_of(name.head, label(row[name.key]), is_wide=True)]
        for column in columns:
            value, most = row[column.key], greatest.get(column.key)
            cells.append(
                money_cell(column.head, column.show(value), value / most if most and value is not None else None)
            )
        if sparks is not None:
            course = spark(sparks.get(row[name.key], []), "calm", low=0.0)
            cells.insert(2, cell_of("Course", course, is_wide=True))
        rows.append(html.Tr(cells))
    return html.Div(
        html.Table([html.Thead(html.Tr(head_cells)), html.Tbody(rows)]),
        className="table listing money",
        tabIndex=0,  # it may be wider than its place: the keyboard scrolls it
        role="region",
        **{"aria-label": f"Cost by {name.head.lower()}"},
    )


def name_of(value: str | None) -> Children:
    """A name, or that there is none."""
    return html.Span("not known", className="note") if value is None else value


def hourly(rows: pl.DataFrame, name: str, hours: Sequence[Any]) -> dict[Any, list[float | None]]:
    """Dollars of each hour by a column, for sparks; null in hours that nothing is known of.

    Args:
        rows: schema `ALLOCATION`: those that count.
        name: the column.
        hours: in order; what no row tells of is 0 in hours that others tell of.
    """
    sums = rows.group_by(name, "time").agg((pl.col("cost_nanousd").sum() / NANOUSD).alias("usd"))
    known = set(rows["time"])
    found: dict[Any, dict[Any, float]] = {}
    for key, moment, usd in sums.iter_rows():
        found.setdefault(key, {})[moment] = usd
    return {key: [of.get(hour, 0.0) if hour in known else None for hour in hours] for key, of in found.items()}


def _head(
    column: Column, sort: tuple[str, bool] | None, sort_link: Callable[[str], str] | None, *, is_number: bool
) -> Component:
    classes = "number" if is_number else ""
    if sort is None or sort_link is None:
        return html.Th(column.head, scope="col", className=classes, title=column.title)
    is_sorted = column.key == sort[0]
    arrow = icon("arrow-down" if sort[1] else "arrow-up") if is_sorted else None
    order = {"aria-sort": "descending" if sort[1] else "ascending"} if is_sorted else {}
    return html.Th(
        page_link([column.head, arrow], sort_link(column.key), "sort"),
        scope="col",
        className=classes,
        title=column.title,
        **order,
    )


def money_cell(head: str, words: str, share: float | None = None) -> Component:
    """A cell of dollars; a share (0-1) of the greatest is a bar beneath."""
    meter = None if share is None else html.Span(className="meter", style={"--share": f"{share:.1%}"})
    return html.Td([words, meter], className="number", **{"data-head": head})


def _greatest(values: pl.Series) -> float:
    return max((float(value) for value in values.drop_nulls()), default=0.0)
