"""Why the bill differs from the one before, as a waterfall with words; and where the budgets of dollars stand."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.cost.allocation import KNOWN_WHOLE_MIN, known_hours
from analytics.cost.jobs import Costs
from analytics.cost.runaway import BudgetState, BudgetStatus
from analytics.cost.variance import Part, Variance, alike
from dashboards import cost_figures, figures, text
from dashboards.callbacks import callback
from dashboards.components import cell_of, chart, figure_of, panel, state_badge
from dashboards.context import PageContext
from dashboards.cost_parts import hours_known
from dashboards.cost_reading import CostReader, cost_window
from dashboards.cost_words import PARTS, name_of_group
from dashboards.freshness import SAMPLES, Gap, hiding
from dashboards.severity import STATES
from dashboards.state import parse_state
from domain.cost import NANOUSD
from domain.money import usd_change_text
from domain.slo import SloState

_TOLD_MAX = 4
_GROUPS_MAX = 3
_HARDLY_RATIO = 0.02  # of the greater bill: what moved less is not told in words
_HEADS = ("State", "Budget", "Spent", "At its end", "Until (UTC)")
_WIDE = ("State", "Budget")
_STATES = {
    BudgetState.MET: SloState.MET,
    BudgetState.AT_RISK: SloState.AT_RISK,
    BudgetState.MISSED: SloState.MISSED,
    BudgetState.NO_DATA: SloState.NO_DATA,
}


def layout() -> Component:
    """Both panels; each is shown only where there is something to tell."""
    return html.Div(
        [
            html.Div(id="cost-budgets"),
            html.Div(
                panel(
                    "Why it changed",
                    html.Div(
                        [chart("cost-why", 220), html.Div(id="cost-why-words", className="why-words")], className="why"
                    ),
                    note=html.Span(id="cost-why-note"),
                ),
                id="cost-why-panel",
                hidden=True,
            ),
        ]
    )


def register(app: Dash, context: PageContext, reader: CostReader) -> None:
    """The callbacks of these panels."""

    @callback(
        app,
        Output("cost-why-panel", "hidden"),
        Output("cost-why-note", "children"),
        Output(figure_of("cost-why"), "data"),
        Output("cost-why-words", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_why(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        window = cost_window(parse_state(search), context.now())

        def read() -> tuple[Any, ...]:
            costs, before = reader.costs(window), reader.before(window)
            shared = compared(costs, before)
            if shared is None:
                return True, "", figures.empty("Too few hours are known in both times"), None
            found = reader.variance(window)
            if not any(found.parts.values()):
                return True, "", figures.empty("Nothing changed"), None
            note = f"against {text.hours_words(before.window)}"
            if shared.hours < costs.hours:
                note += f", of the {shared.hours} hours known in both"
            return False, note, cost_figures.waterfall(found), why_words(found)

        return await asyncio.to_thread(read)

    @callback(app, Output("cost-budgets", "children"), Input("tick", "n_intervals"))
    async def show_budgets(_ticks: int | None) -> Component | None:
        now = context.now()
        statuses, unseen = await asyncio.gather(
            asyncio.to_thread(reader.budgets, now), asyncio.to_thread(context.read_unseen, now)
        )
        return budgets_panel(statuses, now, hiding(unseen, (SAMPLES,)))


@dataclass(frozen=True, slots=True)
class Compared:
    """Two bills of the hours that are known in both."""

    hours: int
    before_usd: float
    after_usd: float


def compared(costs: Costs, before: Costs) -> Compared | None:
    """Both bills of the same hours; None where those are not settled, too few, or cost nothing."""
    earlier, later = alike(before.allocation, costs.allocation, costs.window.start - before.window.start)
    hours = len(known_hours(later))
    before_usd, after_usd = (float(one["cost_nanousd"].sum()) / NANOUSD for one in (earlier, later))
    if costs.unsettled or hours < KNOWN_WHOLE_MIN * costs.hours or not before_usd or not after_usd:
        return None
    return Compared(hours, before_usd, after_usd)


def why_words(found: Variance) -> list[Component]:
    """The parts that moved most in words, and the groups that moved most."""
    greater = max(found.before_nanousd, found.after_nanousd)
    moved = sorted(found.parts.items(), key=lambda item: -abs(item[1]))
    told = [(part, nanousd) for part, nanousd in moved if abs(nanousd) >= _HARDLY_RATIO * greater][:_TOLD_MAX]
    groups = [
        (row["group"], row["difference_nanousd"])
        for row in found.groups.head(_GROUPS_MAX).iter_rows(named=True)
        if abs(row["difference_nanousd"]) >= _HARDLY_RATIO * greater
    ]
    if not told:
        return [html.P("Nothing moved by more than 2 % of the bill.", className="note")]
    lists = [html.Ul([_part(part, nanousd) for part, nanousd in told], className="why-parts")]
    if groups:
        names = ", ".join(f"{name_of_group(name)} {signed_usd(nanousd)}" for name, nanousd in groups)
        lists.append(html.P([f"By {found.by}: ", html.Strong(names)], className="note"))
    return lists


def _part(part: Part, nanousd: int) -> Component:
    words = PARTS[part]
    return html.Li(
        [
            html.Strong(signed_usd(nanousd), className="tone-warning" if nanousd > 0 else "tone-good"),
            html.Span([html.Span(words.title, className="why-title"), f" {words.more if nanousd > 0 else words.less}"]),
        ]
    )


def signed_usd(nanousd: int) -> str:
    """`+$312`, `−$4.20`."""
    return usd_change_text(nanousd / NANOUSD)


def budgets_panel(
    statuses: Sequence[BudgetStatus] | None, now: datetime, hidden: Gap | None = None
) -> Component | None:
    """One row a budget, worst first; None where none is set.

    Args:
        statuses: None while the first is being made.
        now: the clock.
        hidden: the gap since which no GPU tells of itself, so that nothing is spent that we know of.
    """
    if statuses is None:
        return panel("Budgets", html.P("Looking ahead; a few seconds.", className="calm"))
    if not statuses:
        return None
    head = html.Tr([html.Th(name, scope="col") for name in _HEADS])
    rows = [
        html.Tr(
            [
                cell_of(name, cell, is_wide=name in _WIDE)
                for name, cell in zip(_HEADS, _cells(one, now, hidden), strict=True)
            ]
        )
        for one in statuses
    ]
    table = html.Div(html.Table([html.Thead(head), html.Tbody(rows)]), className="table listing budgets")
    return panel("Budgets", table)


def _cells(status: BudgetStatus, now: datetime, hidden: Gap | None) -> tuple[Any, ...]:
    budget, spent, ahead = status.budget, status.spent_ratio, status.forecast
    whose = ", ".join(name for name in (budget.service, budget.tenant) if name)
    tone = "fill-critical" if status.state is BudgetState.MISSED else "fill-accent"
    gauge = html.Span(
        html.Span(className=tone, style={"width": f"{min(spent or 0.0, 1.0):.1%}"}), className="idle-bar budget-bar"
    )
    return (
        state_badge(*STATES[_STATES[status.state]], hidden),
        html.Div(
            [
                html.Strong(budget.name),
                html.Div(
                    f"{text.usd(budget.amount_usd)} a {budget.period}" + (f", {whose}" if whose else ""),
                    className="note",
                ),
            ]
        ),
        html.Div(
            [
                html.Span(text.usd(status.spent_usd)),
                html.Span("" if spent is None else f" {text.percent_whole(spent)}", className="note"),
                gauge,
                _known(status),
            ]
        ),
        html.Span("no forecast", className="note")
        if ahead is None
        else html.Span(
            [
                text.usd(ahead.median_usd),
                html.Span(
                    "" if status.forecast_ratio is None else f" {text.percent_whole(status.forecast_ratio)}",
                    className="note",
                ),
                html.Div("of the known hours, and the rest", className="note") if _known(status) else None,
            ]
        ),
        text.since(status.end, now),
    )


def _known(status: BudgetStatus) -> Component | None:
    """`50 of 704 h known`, where the sum is not of about all hours so far."""
    known, hours = status.known_hours, status.hours
    if known is None or hours is None or known >= KNOWN_WHOLE_MIN * hours:
        return None
    return html.Div(hours_known(known, hours, is_whole=False), className="note")
