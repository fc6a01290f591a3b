"""Who has an incident in hand, and what they noted; a click says that somebody has."""

import asyncio
from datetime import datetime
from typing import Any

from dash import ALL, Dash, Input, Output, ctx, html
from dash.development.base_component import Component

from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import icon
from dashboards.context import PageContext
from dashboards.state import incident_id_of
from domain.incident import Incident, Status
from domain.window import from_rfc3339, rfc3339
from storage.readers import note_incident, read_incident, read_incident_notes

_BY = "the page"  # it knows no names; the API takes one


def register(app: Dash, context: PageContext) -> None:
    """The callback of this part of an incident's page: it shows, and does what the button asks."""

    @callback(
        app,
        Output("incident-handling", "children"),
        Input("url", "pathname"),
        Input("tick", "n_intervals"),
        Input({"type": "acknowledge", "of": ALL}, "n_clicks"),
    )
    async def show_handling(path: str | None, _ticks: int | None, _clicks: Any) -> Component | None:
        incident_id, now = incident_id_of(path), context.now()
        incident = await asyncio.to_thread(read_incident, context.store, incident_id) if incident_id else None
        if incident is None:
            return None
        asked = ctx.triggered_id if any(one["value"] for one in ctx.triggered) else None
        if isinstance(asked, dict) and asked["of"] == incident.id:
            noted = {"acknowledged_at": rfc3339(now), "acknowledged_by": _BY}
            await asyncio.to_thread(note_incident, context.store, incident.id, noted, now, only_first=True)
        notes = await asyncio.to_thread(read_incident_notes, context.store)
        return handling(incident, notes.get(incident.id, {}), now)


def handling(incident: Incident, noted: dict[str, Any], now: datetime) -> Component | None:
    """When somebody was told and took it in hand, and the notes; None of what is over and nobody touched."""
    told = [
        html.Span([words, " ", html.Strong(text.since(from_rfc3339(noted[name]), now)), " UTC"])
        for name, words in (("notified_at", "Notified"), ("acknowledged_at", "Acknowledged"))
        if noted.get(name)
    ]
    if noted.get("acknowledged_by"):
        told.append(html.Span(f"by {noted['acknowledged_by']}"))
    notes = [
        html.Li([html.Strong(f"{text.since(from_rfc3339(note['at']), now)} {note['by']}: "), note["text"]])
        for note in noted.get("notes", ())
    ]
    waits = incident.status is Status.OPEN and not noted.get("acknowledged_at")
    if not (told or notes or waits):
        return None
    button = html.Button(
        [icon("check"), "Acknowledge"],
        id={"type": "acknowledge", "of": incident.id},
        className="button",
        title="Say that somebody has it in hand; the first one counts",
    )
    line = [*told, html.Span("Nobody has acknowledged it yet"), button] if waits else told
    parts = [html.Div(line, className="handling-line"), html.Ul(notes) if notes else None]
    return html.Section(parts, className="panel handling")
