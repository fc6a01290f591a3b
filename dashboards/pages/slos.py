"""Objectives: what was promised, where each promise stands, how fast its budget goes, and when it will be spent."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from alerts.decide import promise
from analytics.jobs.objectives import services_without_objective, slo_statuses, without_objective_words
from analytics.slo import BURN_WINDOWS
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import cell_of, empty_state, icon, page_link, since_known, spark, state_badge
from dashboards.context import PageContext
from dashboards.freshness import Gap, hiding_objective
from dashboards.going_on import read_going_on
from dashboards.state import parse_state, slo_path
from dashboards.verdict import line_tone, look_of, worst_first
from domain.incident import Incident
from domain.slo import SloStatus
from domain.wording import sentence

_SHOWN_WINDOWS = ("5m", "1h", "6h", "3d")  # as far as the pairs that page, and the slowest
_HEADS = (
    "State",
    "Objective",
    "SLI",
    "Budget left",
    "Course",
    *(f"Burn {window}" for window in _SHOWN_WINDOWS),
    "Spent at",
    "Coverage",
)
_WIDE = ("State", "Objective", "Course")


def layout() -> Component:
    """A heading and a place for the table."""
    return html.Div(
        [
            html.Header(
                [html.H1("Objectives"), html.Span(id="objectives-note", className="note")], className="page-head"
            ),
            html.Div(id="objectives-missing"),
            html.Div(id="objectives-table"),
        ]
    )


def register(app: Dash, context: PageContext) -> None:
    """The one callback of this page."""

    @callback(
        app,
        Output("objectives-note", "children"),
        Output("objectives-missing", "children"),
        Output("objectives-table", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_objectives(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        now, state = context.now(), parse_state(search)
        statuses, missing, (unseen, going_on) = await asyncio.gather(
            asyncio.to_thread(_statuses, context, now, state.service),
            asyncio.to_thread(_missing, context, now, state.service),
            asyncio.to_thread(_going_on, context, now, state.service),
        )
        listed = table(worst_first(statuses, going_on), now, unseen, going_on)
        return f"{text.day_and_clock(now)} UTC", missing_note(missing), listed


def table(
    statuses: Sequence[SloStatus], now: datetime, unseen: Sequence[Gap] = (), going_on: Sequence[Incident] = ()
) -> Component:
    """One row an objective, the worst first; of what is `unseen` each says as of when it is known.

    Args:
        statuses: the objectives.
        now: when it is asked.
        unseen: what is not seen now.
        going_on: the incidents that go on: an objective that one of them spends says so, as on every page.
    """
    if not statuses:
        return empty_state(
            "target",
            "Nothing is promised yet",
            html.P("Each service gets a first objective with its first requests; put your own: PUT /api/v1/slos/NAME."),
        )
    head = html.Tr([html.Th(name, scope="col") for name in _HEADS])
    return html.Div(
        html.Table([html.Thead(head), html.Tbody([_row(status, now, unseen, going_on) for status in statuses])]),
        className="panel table listing",
    )


def missing_note(services: Sequence[str]) -> Component | None:
    """The services that nothing is promised of; None when there are none."""
    if not services:
        return None
    words = sentence(f"{without_objective_words(services)}.")
    return html.Ul(html.Li([icon("bell-off", "tone-warning"), html.Span(words)]), className="held")


def _row(status: SloStatus, now: datetime, unseen: Sequence[Gap], going_on: Sequence[Incident]) -> Component:
    objective = status.objective
    hidden = hiding_objective(unseen, objective)
    cells = (
        state_badge(*look_of(status, going_on), hidden),
        html.Div(
            [
                page_link(objective.name, slo_path(objective.name), "objective-link"),
                html.Div(promise(objective), className="note"),
            ]
        ),
        html.Span(
            className="number",
            children=[
                text.percent_of_target(status.sli_ratio, objective.target_ratio),
                html.Span(f" of {text.percent(objective.target_ratio, 6)}", className="note"),
            ],
        ),
        text.percent_floor(status.budget_left_ratio),
        spark(since_known(status.budget_left_history), line_tone(status, going_on), low=0.0, high=1.0),
        *(_burn(status, window) for window in _SHOWN_WINDOWS),
        _spent_at(status, now),
        text.percent_whole(status.coverage_ratio),
    )
    return html.Tr(
        [cell_of(head, cell, is_wide=head in _WIDE) for head, cell in zip(_HEADS, cells, strict=True)],
        id=objective.name,
        className="" if hidden is None else "greyed",
    )


def _burn(status: SloStatus, window: str) -> Component:
    rate = status.burn_rates.get(window)
    if rate is None:
        return html.Span("—", className="note", title=f"no requests in the last {_words(window)}")
    title = f"over the last {_words(window)} the budget went {text.significant(rate, 2)} times as fast as it may"
    return html.Span(f"{text.significant(rate, 2)}×", title=title)


def _words(window: str) -> str:
    return text.lasting(BURN_WINDOWS[window].total_seconds())


def _spent_at(status: SloStatus, now: datetime) -> str:
    if status.budget_left_ratio is not None and status.budget_left_ratio <= 0:
        return "spent"
    return "not in this window" if status.exhausted_at is None else text.since(status.exhausted_at, now)


def _statuses(context: PageContext, now: datetime, service: str | None) -> list[SloStatus]:
    objectives = [one for one in context.objectives() if service in (None, one.service)]
    return slo_statuses(context.store, objectives, now, context.counts)


def _going_on(context: PageContext, now: datetime, service: str | None) -> tuple[list[Gap], list[Incident]]:
    """What is not seen now, and the incidents that go on by what was seen last."""
    unseen = context.read_unseen(now)
    return unseen, read_going_on(context, unseen, now, service)


def _missing(context: PageContext, now: datetime, service: str | None) -> list[str]:
    missing = services_without_objective(context.store, context.objectives(), now)
    return [one for one in missing if service in (None, one)]
