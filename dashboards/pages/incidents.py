"""All incidents of a time, newest first."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.incident_times import IncidentTimes, Times, incident_times
from analytics.knowledge import Knowledge
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import badge, empty_state, fact, page_link, state_words
from dashboards.context import PageContext
from dashboards.freshness import LOOKS, REQUESTS, Gap, hiding, hiding_end, lasted_words
from dashboards.gpus import read_gpu_names
from dashboards.handling import acknowledged
from dashboards.severity import SEVERITIES
from dashboards.state import INCIDENTS_RANGE, PageState, incident_path, parse_state
from domain.incident import Incident, Status
from storage.incidents import read_incident_notes, read_incidents

_HEADS = ("Severity", "Incident", "Began (UTC)", "Lasted", "p99", "Budget spent", "Likely cause", "State")
_LIMIT = 200


def layout() -> Component:
    """A heading and a place for the table."""
    return html.Div(
        [
            html.Header(
                [html.H1("Incidents"), html.Span(id="incidents-note", className="note")], className="page-head"
            ),
            html.Div(id="incidents-times", className="strip"),
            html.Div(id="incidents-table"),
        ]
    )


def register(app: Dash, context: PageContext) -> None:
    """The one callback of this page."""

    @callback(
        app,
        Output("incidents-note", "children"),
        Output("incidents-times", "children"),
        Output("incidents-table", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_incidents(search: str | None, _ticks: int | None) -> tuple[str, list[Component], Component]:
        now, state = context.now(), parse_state(search)
        window = state.window(now, INCIDENTS_RANGE)
        found = await asyncio.to_thread(read_incidents, context.store, window, state.service, None, _LIMIT)
        notes, unseen, names = await asyncio.gather(
            asyncio.to_thread(read_incident_notes, context.store, [incident.id for incident in found]),
            asyncio.to_thread(context.read_unseen, now, state.service),
            asyncio.to_thread(read_gpu_names, context.store, window),
        )
        if not found:
            return note(found, state, {}), [], nothing_found(hiding(unseen, (LOOKS, REQUESTS), state.service))
        calm = context.analysis.spikes.calm
        hidden = {one.id: gap for one in found if (gap := hiding_end(unseen, one, calm)) is not None}
        known = [replace(one, ended_at=None) if one.id in hidden else one for one in found]
        rows = table(found, now, notes, context.knowledge, hidden, names)
        return note(found, state, hidden), handling(incident_times(known, notes)), rows


def note(found: Sequence[Incident], state: PageState, hidden: Mapping[str, Gap]) -> str:
    """How many, of what time."""
    going_on = sum(incident.status is Status.OPEN or incident.id in hidden for incident in found)
    shown = f"the newest {_LIMIT}" if len(found) == _LIMIT else str(len(found))
    return f"{shown} in the last {text.lasting(state.range(INCIDENTS_RANGE).seconds)}, {going_on} open"


def handling(times: IncidentTimes) -> list[Component]:
    """How long incidents took to be seen, taken in hand and ended."""
    named = (
        ("Time to detect", times.to_detect, "from the beginning of the impact"),
        ("Time to notify", times.to_notify, "from detection to the first receiver that was told"),
        ("Time to acknowledge", times.to_acknowledge, "from when somebody was told"),
        ("Time to resolve", times.to_resolve, "from the beginning of the impact to its end"),
    )
    return [_time_fact(name, time, meaning) for name, time, meaning in named]


def _time_fact(name: str, time: Times, meaning: str) -> Component:
    if time.median_s is None or time.p90_s is None or time.low_s is None or time.high_s is None:
        return fact(name, "—", f"not known of {time.unknown_count}", title=meaning)
    between = f"{text.lasting(time.low_s)} to {text.lasting(time.high_s)}"
    title = (
        f"{meaning}: median of {time.count} incidents, with 95 % between {between}; not known of {time.unknown_count}"
    )
    return fact(name, text.lasting(time.median_s), f"p90 {text.lasting(time.p90_s)}, n {time.count}", title=title)


def nothing_found(hidden: Gap | None) -> Component:
    """What stands in place of the table; `hidden` is the gap since which no incident would be found."""
    further = html.P("Choose a longer range or another service to look further.")
    if hidden is None:
        return empty_state("circle-check", "No incidents in this time", further)
    return empty_state(
        "circle-dashed",
        f"No incidents in this time {hidden.as_of}",
        [html.P(f"{hidden.words}. {hidden.meaning}"), further],
    )


def table(
    found: Sequence[Incident],
    now: datetime,
    notes: Mapping[str, Mapping[str, Any]],
    knowledge: Knowledge,
    hidden: Mapping[str, Gap] = MappingProxyType({}),
    names: Mapping[str, str] = text.NO_NAMES,
) -> Component:
    """One row an incident; the whole row is the link.

    Args:
        found: one at least.
        now: the clock.
        notes: by incident, as `read_incident_notes` gives them.
        knowledge: how kinds of cause are called.
        hidden: by incident, the gap since which it is not seen whether it goes on.
        names: what people call a GPU, by its UUID.
    """
    return html.Div(
        html.Table(
            [
                html.Thead(html.Tr([html.Th(head, scope="col", className=_column(head)) for head in _HEADS])),
                html.Tbody(
                    [
                        _row(incident, now, notes.get(incident.id, {}), knowledge, hidden.get(incident.id), names)
                        for incident in found
                    ]
                ),
            ]
        ),
        className="panel table rows",
    )


def _row(
    incident: Incident,
    now: datetime,
    noted: Mapping[str, Any],
    knowledge: Knowledge,
    hidden: Gap | None,
    names: Mapping[str, str],
) -> Component:
    word, tone, icon_name = SEVERITIES[incident.severity]
    going_on = incident.status is Status.OPEN or hidden is not None
    cells = (
        badge(word, tone, icon_name),
        page_link([text.incident_title(incident), html.Code(incident.id)], incident_path(incident.id), "row-link"),
        text.since(incident.started_at, now),
        lasted_words(incident, now, hidden),
        text.usual_and_peak(incident),
        text.percent(incident.budget_spent_ratio, 2),
        text.likely_cause(incident, knowledge, names),
        [
            html.Span([html.Span(className="dot dot-critical"), state_words("Open", hidden)], className="state")
            if going_on
            else html.Span("Resolved", className="state note"),
            _in_hand(acknowledged(noted, now)),
        ],
    )
    return html.Tr([html.Td(cell, className=_column(head)) for head, cell in zip(_HEADS, cells, strict=True)])


def _in_hand(by: str | None) -> Component | None:
    return None if by is None else html.Div(by, className="note in-hand", title=f"Acknowledged by {by} UTC")


def _column(head: str) -> str:
    """`column-budget-spent`: so that the style sheet can lay a row out anew on a phone."""
    return f"column-{head.partition(' (')[0].lower().replace(' ', '-')}"
