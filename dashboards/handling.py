"""Who has an incident in hand: when it began, was detected, notified and acknowledged, as a timeline; and the notes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from alerts.decide import silence_url
from alerts.handling import TimelineEvent, acknowledge, add_note, timeline
from alerts.service import KnownAlert
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import Children, icon, page_link
from dashboards.context import PageContext
from dashboards.freshness import Gap, hiding_end
from dashboards.state import incident_id_of
from domain.incident import Incident, Status
from domain.window import from_rfc3339
from storage.incidents import read_incident, read_incident_notes

_BY = "the page"  # where nobody gave a name
_NOTE_MAX, _NAME_MAX = 4_000, 100


def layout() -> Component:
    """Where the timeline, the buttons and the notes go. What one writes in stays while the rest is drawn anew."""
    name = html.Label(
        ["Your name", dcc.Input(id="note-by", maxLength=_NAME_MAX, persistence=True)], className="name-field"
    )
    form = html.Details(
        [
            html.Summary([icon("chevrons-up-down"), "Add a note"]),
            html.Div(
                [
                    html.Label(
                        ["Note", dcc.Textarea(id="note-text", maxLength=_NOTE_MAX, rows=2)], className="note-words"
                    ),
                    html.Button("Save note", id="note-save", className="button"),
                ],
                className="note-form",
            ),
        ],
        className="add-note",
    )
    return html.Section(
        [
            html.Div(id="incident-handling"),
            html.Div([name, html.Div(id="handling-buttons"), form], className="handling-actions"),
            html.Div(id="incident-notes"),
        ],
        id="handling-panel",
        className="panel handling",
        hidden=True,
    )


def register(app: Dash, context: PageContext) -> None:
    """The callback of this part of an incident's page: it shows, and does what a button asks."""

    @callback(
        app,
        Output("incident-handling", "children"),
        Output("handling-buttons", "children"),
        Output("incident-notes", "children"),
        Output("handling-panel", "hidden"),
        Output("note-text", "value"),
        Input("url", "pathname"),
        Input("tick", "n_intervals"),
        Input({"type": "acknowledge", "of": ALL}, "n_clicks"),
        Input("note-save", "n_clicks"),
        State("note-by", "value"),
        State("note-text", "value"),
    )
    async def show_handling(
        path: str | None, _ticks: int | None, _clicks: Any, _saves: int | None, by: str | None, note: str | None
    ) -> tuple[Any, ...]:
        incident_id, now = incident_id_of(path), context.now()
        incident = await asyncio.to_thread(read_incident, context.store, incident_id) if incident_id else None
        if incident is None:
            return None, None, None, True, no_update
        asked = ctx.triggered_id if any(one["value"] for one in ctx.triggered) else None
        who, words, written = (by or "").strip() or _BY, (note or "").strip(), no_update
        if isinstance(asked, dict) and asked["of"] == incident.id:
            await asyncio.to_thread(acknowledge, context.store, incident.id, who, now, now)
        elif asked == "note-save" and words:
            await asyncio.to_thread(add_note, context.store, incident.id, who, words, now, now)
            written = ""
        known, unseen = await asyncio.gather(
            asyncio.to_thread(read_incident_notes, context.store, [incident.id]),
            asyncio.to_thread(context.read_unseen, now, incident.service),
        )
        noted, hidden = known.get(incident.id, {}), hiding_end(unseen, incident, context.analysis.spikes.calm)
        silence = None
        if context.alerting is not None:
            elsewhere = context.alerting.notifies_by_alertmanager_only
            silence = silence_link(context.alerting.alerts(), incident.id, silenced_elsewhere=elsewhere)
        return (
            timeline_list(incident, noted, now, hidden, notifies_nobody=context.notifies_nobody),
            buttons(incident, noted, silence, hidden),
            notes(noted, now),
            False,
            written,
        )


def timeline_list(
    incident: Incident,
    noted: dict[str, Any],
    now: datetime,
    hidden: Gap | None = None,
    *,
    notifies_nobody: bool = False,
) -> Component:
    """The timeline: the events that are known in order of time, then those that have not come.

    Args:
        incident: whose.
        noted: of `read_incident_notes`.
        now: the clock.
        hidden: the gap since which it is not seen whether it goes on.
        notifies_nobody: is there no receiver, so that nobody could be notified.
    """
    is_open = incident.status is Status.OPEN or hidden is not None
    missing: dict[str, Children] = {
        "Notified": ["nobody: ", page_link("no receiver is configured", "/alerts")]
        if notifies_nobody
        else "not by Tailsight",
        "Acknowledged": "by nobody yet" if is_open else "by nobody",
        "Mitigated": "goes on" if hidden is None else f"goes on {hidden.as_of}",
    }
    events = timeline(incident if hidden is None else replace(incident, ended_at=None), noted)
    names = {one.name for one in events}
    points = [
        *_event_items(events, now),
        *(_missing(name, words) for name, words in missing.items() if name not in names),
    ]
    return html.Ol(points, className="moments", **{"aria-label": "Handling"})


def buttons(
    incident: Incident, noted: dict[str, Any], silence: str | None, hidden: Gap | None = None
) -> list[Component]:
    """To take it in hand, while nobody has, and it goes on or may; to silence its alert, where that can be done."""
    found: list[Component] = []
    may_go_on = incident.status is Status.OPEN or hidden is not None
    if may_go_on and not noted.get("acknowledged_at"):
        found.append(
            html.Button(
                [icon("check"), "Acknowledge"],
                id={"type": "acknowledge", "of": incident.id},
                className="button",
                title="Notes who looks into it, the first one counts; acknowledge in PagerDuty too: this stops no "
                "repeat and no escalation",
            )
        )
    if silence is not None:
        found.append(
            html.A(
                [icon("bell-off"), "Silence"],
                href=silence,
                className="button",
                title="Opens the form for a silence, filled in; the next incident of this service, indicator and "
                "severity is kept quiet too",
            )
        )
    return found


def silence_link(alerts: Sequence[KnownAlert], incident_id: str, *, silenced_elsewhere: bool = False) -> str | None:
    """The form that silences the alert of an incident; None where none fires, or it is kept quiet already.

    Where Alertmanager alone tells people it is Alertmanager's form; else ours, at the address that this page has.
    """
    known = next((one for one in alerts if _is_of(one.alert.labels, incident_id)), None)
    if known is None:
        return None
    if silenced_elsewhere:
        return known.alert.annotations.get("silence_url")
    return None if known.suppressed.silenced_by else silence_url(known.alert.labels, "")


def _is_of(labels: Mapping[str, str], incident_id: str) -> bool:
    """Is it the incident's own alert: tickets of devices name the incident that they wait under, too."""
    return labels["alertname"] == "TailsightLatencySpike" and labels.get("incident") == incident_id


def acknowledged(noted: Mapping[str, Any], now: datetime) -> str | None:
    """Who took it in hand and when, `ann, 02:47`; None when nobody did."""
    if not noted.get("acknowledged_at"):
        return None
    return f"{noted.get('acknowledged_by') or 'somebody'}, {text.since(from_rfc3339(noted['acknowledged_at']), now)}"


def notes(noted: dict[str, Any], now: datetime) -> Component:
    """What people noted, in order of time."""
    return html.Ul([_note(note, now) for note in noted.get("notes", ())], className="notes")


def _event_items(events: Sequence[TimelineEvent], now: datetime) -> list[Component]:
    found = []
    earlier: datetime | None = None
    for one in events:
        after = "" if earlier is None else f"+{text.lasting((one.at - earlier).total_seconds())}"
        detail = " ".join(part for part in (after, f"by {one.by}" if one.by else "") if part)
        told = [html.Strong(_clock(one.at, now)), html.Span(detail, className="note")]
        found.append(html.Li([html.Span(one.name, className="moment-name"), html.Span(told)], className="moment"))
        earlier = one.at
    return found


def _missing(name: str, words: Children) -> Component:
    told = html.Span(html.Span(words, className="note"))
    return html.Li([html.Span(name, className="moment-name"), told], className="moment moment-missing")


def _clock(at: datetime, now: datetime) -> str:
    day = "" if at.date() == now.date() else f"{at.day} {at:%b} "
    return f"{day}{text.clock_seconds(at)} UTC"


def _note(note: dict[str, str], now: datetime) -> Component:
    said = html.Span([html.Strong(note["by"]), f" {text.since(from_rfc3339(note['at']), now)} UTC"], className="note")
    return html.Li([said, html.P(note["text"])])
