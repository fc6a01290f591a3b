"""Weekly reports: those that were kept, in every format, and the one of the week under way."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta

from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import badge, cell_of, empty_state, icon
from dashboards.context import KeptReport, PageContext, WeeklyReports
from dashboards.severity import STATES
from domain.money import usd_text
from domain.slo import SloState

_HEADS = ("State", "Week", "Bill", "Incidents", "Made (UTC)", "Report")
_WIDE = ("State", "Week", "Report")
_FORMATS = (("html", "HTML"), ("pdf", "PDF"), ("md", "Markdown"), ("csv", "CSV"), ("json", "JSON"))


def layout() -> Component:
    """A heading and places for what went wrong and for the table."""
    return html.Div(
        [
            html.Header(
                [html.H1("Reports"), html.Span("Cost and promises, a week at a time", className="note")],
                className="page-head",
            ),
            html.Div(id="reports-problems"),
            html.Div(id="reports-table"),
        ]
    )


def register(app: Dash, context: PageContext) -> None:
    """The one callback of this page."""

    @callback(
        app,
        Output("reports-problems", "children"),
        Output("reports-table", "children"),
        Input("url", "pathname"),
        Input("tick", "n_intervals"),
    )
    async def show_reports(_path: str | None, _ticks: int | None) -> tuple[list[Component], Component]:
        if context.reports is None:
            return [], empty_state("file-text", "This process makes no reports", None)
        found, wrong = await asyncio.gather(
            asyncio.to_thread(context.reports.kept), asyncio.to_thread(context.report_problems)
        )
        return problems(wrong), table(context.reports, found)


def problems(told: Sequence[str]) -> list[Component]:
    """What went wrong with making or sending the newest report, a line each."""
    return [
        html.Div([icon("triangle-alert"), html.Span(one[:1].upper() + one[1:])], className="panel report-problem")
        for one in told
    ]


def table(reports: WeeklyReports, kept: Sequence[KeptReport]) -> Component:
    """The week under way, the newest that is over where nobody has asked for it yet, then what was kept."""
    weeks = {one.week for one in kept}
    rows = [_unmade(reports.week_under_way, "Under way", "made anew each time")]
    if reports.week_over not in weeks:
        rows.append(_unmade(reports.week_over, "Not made yet", "kept once it is made"))
    rows += [_row(one) for one in kept]
    head = html.Tr([html.Th(name, scope="col") for name in _HEADS])
    return html.Div(
        html.Table([html.Thead(head), html.Tbody(rows)]),
        className="panel table listing",
    )


def _unmade(week: str, word: str, note: str) -> Component:
    return _cells(
        week,
        badge(word, "unknown", "hourglass"),
        "—",
        "—",
        html.Span(note, className="note"),
        [_link(week, "html", "Make now", "button small"), *_links(week, skipped=("html",))],
    )


def _row(one: KeptReport) -> Component:
    state: str | Component = html.Span("No objectives", className="note")
    if one.state is not None:
        state = badge(*STATES[SloState(one.state)])
    bill = html.Span("not known", className="note") if one.cost_usd is None else usd_text(one.cost_usd)
    return _cells(one.week, state, bill, f"{one.incidents_count:,}", text.day_and_clock(one.read_at), _links(one.week))


def _cells(
    week: str,
    state: str | Component,
    bill: str | Component,
    incidents: str,
    made: str | Component,
    links: Sequence[Component],
) -> Component:
    named = html.Div([html.Strong(_days(week)), html.Div(week, className="note")])
    cells = (state, named, bill, incidents, made, html.Div(links, className="report-links"))
    return html.Tr(
        [cell_of(head, cell, is_wide=head in _WIDE) for head, cell in zip(_HEADS, cells, strict=True)], id=week
    )


def _links(week: str, skipped: Sequence[str] = ()) -> list[Component]:
    return [_link(week, name, title) for name, title in _FORMATS if name not in skipped]


def _link(week: str, name: str, title: str, class_name: str = "") -> Component:
    address = f"/api/v1/reports/weekly?week={week}&format={name}"
    return html.A(title, href=address, target="_blank", className=class_name, title=f"The report of {week} as {name}")


def _days(week: str) -> str:
    """`16 to 22 Nov 2026`."""
    monday = date.fromisocalendar(int(week[:4]), int(week[6:]), 1)
    sunday = monday + timedelta(days=6)
    first = f"{monday.day}" if monday.month == sunday.month else f"{monday.day} {monday:%b}"
    return f"{first} to {sunday.day} {sunday:%b %Y}"
