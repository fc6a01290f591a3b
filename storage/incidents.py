"""Incidents that were found, and what people noted of them."""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from domain.incident import Incident, Status, from_document, to_document
from domain.window import Window
from storage.documents import change_document, read_documents
from storage.errors import QueryError
from storage.frames import TIME, Schema, bounds
from storage.store import Store

_INCIDENTS: Schema = {"id": pl.String, "document": pl.String}
_INCIDENTS_MAX = 10_000
_INCIDENT_NOTES = "incident-notes"


def read_incidents(
    store: Store, window: Window, service: str | None = None, status: Status | None = None, limit: int | None = None
) -> list[Incident]:
    """Incidents that were going on in the window, newest first; only so many of them where a limit is given.

    Raises:
        QueryError: without a limit, when there are 10,000 or more.
    """
    frame = store.query(
        "incidents",
        _INCIDENTS,
        **bounds(window),
        service=service or "",
        status=status.value if status else "",
        limit=_INCIDENTS_MAX if limit is None else limit,
    )
    if limit is None and frame.height >= _INCIDENTS_MAX:
        raise QueryError(f"there were {_INCIDENTS_MAX} incidents or more: ask for less time")
    return [from_document(json.loads(document)) for document in frame["document"]]


def read_open_incidents(store: Store, now: datetime, service: str | None = None) -> list[Incident]:
    """The incidents that are open, newest first: one that is has no end, so any time until now has it."""
    return read_incidents(store, Window(now - timedelta(hours=1), now), service=service, status=Status.OPEN)


def read_incident(store: Store, incident_id: str) -> Incident | None:
    """One incident; None when there is none of that id."""
    frame = store.query("incident", _INCIDENTS, id=incident_id)
    return from_document(json.loads(frame["document"][0])) if frame.height else None


def write_incidents(store: Store, incidents: Sequence[Incident], now: datetime) -> None:
    """Store these incidents; the newest version of an id wins."""
    rows = [
        {
            "id": incident.id,
            "service": incident.service,
            "status": incident.status.value,
            "started_at": incident.started_at,
            "ended_at": incident.ended_at,
            "document": json.dumps(to_document(incident), allow_nan=False),
            "updated_at": now.astimezone(UTC),
        }
        for incident in incidents
    ]
    schema: Schema = {
        "id": pl.String,
        "service": pl.String,
        "status": pl.String,
        "started_at": TIME,
        "ended_at": TIME,
        "document": pl.String,
        "updated_at": TIME,
    }
    store.insert("tailsight_incidents", pl.DataFrame(rows, schema=schema))


def read_incident_notes(store: Store, incident_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """What was noted of these incidents beside what was found: `notified_at`, `acknowledged_at`, by whom, notes."""
    return read_documents(store, _INCIDENT_NOTES, incident_ids)


def change_incident_notes(
    store: Store, incident_id: str, change: Callable[[dict[str, Any]], dict[str, Any]], now: datetime
) -> dict[str, Any]:
    """Change what is noted of an incident, and all of it then."""
    noted: dict[str, Any] = change_document(store, _INCIDENT_NOTES, incident_id, lambda known: change(known or {}), now)
    return noted
