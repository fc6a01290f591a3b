"""Incidents: spikes that users felt, with their causes."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from alerts.handling import acknowledge, add_note, handling_document
from api.causes import EXPLANATION_EXAMPLE, CauseDocument, RuledOutDocument, ScopeDocument
from api.context import Context, Given
from api.paging import invalid_cursor, page_items, read_cursor, write_cursor
from api.problems import Problem
from api.times import Moment, WindowQuestion
from domain.incident import Incident, Indicator, Severity, Status, to_document
from domain.window import Window, from_rfc3339, rfc3339
from storage.incidents import read_incident, read_incident_notes, read_incidents

router = APIRouter(prefix="/api/v1/incidents", tags=["incidents"])

IncidentId = Annotated[str, Path(description="the `id` of an incident", examples=["inc-9f2c41d07b"])]


class IncidentsQuestion(WindowQuestion):
    """Which incidents to list."""

    service: str | None = Field(None, min_length=1, description="only of this service", examples=["chat"])
    status: Status | None = Field(None, description="only open or only resolved ones")
    limit: int | None = Field(None, ge=1, description="most items in one page")
    cursor: str | None = Field(None, description="the `next_cursor` of the page before")


class IncidentDocument(BaseModel):
    """An incident. Ratios are 0 to 1; what could not be known is null."""

    id: str = Field(description="stable across re-runs")
    service: str
    model: str | None
    indicator: Indicator
    status: Status
    severity: Severity
    started_at: Moment
    detected_at: Moment
    ended_at: Moment | None
    baseline_ms_p99: float
    peak_ms_p99: float
    slow_requests_count: int
    slow_requests_ratio: float
    budget_spent_ratio: float | None
    cost_usd: float | None
    tenants_affected_count: int | None
    causes: list[CauseDocument]
    ruled_out: list[RuledOutDocument]
    scope: ScopeDocument | None
    exemplar_trace_ids: list[str]
    services_affected: list[str] = Field(description="every service that spiked for the same cause")


class IncidentsAnswer(BaseModel):
    """A page of incidents, newest first."""

    incidents: list[IncidentDocument]
    next_cursor: str | None = Field(description="null on the last page")


_EXAMPLE: dict[str, Any] = {
    "id": "inc-9f2c41d07b",
    "service": "chat",
    "model": "llama-70b",
    "indicator": "ttft",
    "status": "open",
    "severity": "page",
    "started_at": "2026-11-23T02:41:20Z",
    "detected_at": "2026-11-23T02:42:30Z",
    "ended_at": None,
    "baseline_ms_p99": 540.0,
    "peak_ms_p99": 4100.0,
    "slow_requests_count": 18420,
    "slow_requests_ratio": 0.31,
    "budget_spent_ratio": 0.037,
    "cost_usd": None,
    "tenants_affected_count": 41,
    **EXPLANATION_EXAMPLE,
    "exemplar_trace_ids": ["4bf92f3577b34da6a3ce929d0e0e4736"],
    "services_affected": ["chat"],
}


_POSTMORTEM_EXAMPLE = """\
# Post-mortem: TTFT p99 at 4.1 s on chat

…

## Timeline

All times are UTC.

- **2026-11-23 02:41:20** Impact began
- **2026-11-23 02:42:30** Detected
- **2026-11-23 02:47:30** Acknowledged by ann
- **2026-11-23 02:47:30** ann: draining gpu-07-03

…
"""


@router.get(
    "",
    summary="Incidents of a window",
    response_model=IncidentsAnswer,
    responses={200: {"content": {"application/json": {"example": {"incidents": [_EXAMPLE], "next_cursor": None}}}}},
)
def list_incidents(given: Given, question: Annotated[IncidentsQuestion, Query()]) -> dict[str, Any]:
    """The incidents that were going on in the window, newest first, in pages."""
    window = question.window(given.now())
    limit = page_items(question.limit, given.settings)
    last = None if question.cursor is None else _position(question.cursor)
    page, more = incidents_after(
        lambda part, most: read_incidents(given.store, part, question.service, question.status, most),
        window,
        last,
        limit,
    )
    return {
        "incidents": [to_document(incident) for incident in page],
        "next_cursor": _cursor(page[-1]) if more else None,
    }


@router.get(
    "/{incident_id}",
    summary="One incident",
    response_model=IncidentDocument,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
)
def get_incident(given: Given, incident_id: IncidentId) -> dict[str, Any]:
    """One incident by its id."""
    return to_document(_known_incident(given, incident_id))


@router.get(
    "/{incident_id}/report",
    summary="One incident as a report to read",
    response_class=Response,
    responses={
        200: {
            "description": "Markdown",
            "content": {
                "text/markdown": {
                    "schema": {"type": "string"},
                    "example": "# chat: TTFT p99 went from 540 ms to 4,100 ms\n",
                }
            },
        }
    },
)
def get_report(given: Given, incident_id: IncidentId) -> Response:
    """One incident as Markdown, for a ticket or a chat."""
    return Response(given.render_report(*_with_notes(given, incident_id)), media_type="text/markdown")


@router.get(
    "/{incident_id}/postmortem",
    summary="A post-mortem of one incident, begun",
    response_class=Response,
    responses={
        200: {
            "description": "Markdown",
            "content": {"text/markdown": {"schema": {"type": "string"}, "example": _POSTMORTEM_EXAMPLE}},
        }
    },
)
def get_postmortem(
    given: Given,
    incident_id: IncidentId,
    format: Annotated[  # noqa: A002  # as it is asked for
        Literal["md"], Query(description="md: Markdown, as GitHub has it")
    ] = "md",
) -> Response:
    """What is known of an incident in the order of a post-mortem, with headings for what people alone can tell.

    The same incident with the same notes gives the same bytes.
    """
    incident, noted = _with_notes(given, incident_id)
    headers = {
        "Content-Disposition": f'inline; filename="postmortem-{quote(incident.id)}.{format}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(given.render_postmortem(incident, noted), media_type="text/markdown", headers=headers)


class Acknowledgement(BaseModel):
    """Who has an incident in hand."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"by": "ann", "note": "draining gpu-07-03"}}
    )

    by: str = Field(min_length=1, description="who", examples=["ann"])
    note: str | None = Field(None, description="what is to be remembered", examples=["draining gpu-07-03"])


class NewNote(BaseModel):
    """What is to be remembered of an incident, and who says so."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "draining gpu-07-03", "author": "ann"}}
    )

    text: str = Field(min_length=1, max_length=10_000, description="what", examples=["draining gpu-07-03"])
    author: str = Field(min_length=1, max_length=200, description="who", examples=["ann"])


class NoteDocument(BaseModel):
    """One note."""

    at: Moment
    by: str
    text: str
    id: str | None = Field(None, description="what it is known by where it came from; null for a note of our own")


class IncidentNotes(BaseModel):
    """What was noted of an incident beside what was found, and how long its handling took; null where not known."""

    notified_at: Moment | None = Field(description="when the first receiver was told")
    acknowledged_at: Moment | None = Field(description="of the earliest acknowledgement")
    acknowledged_by: str | None
    resolved_at: Moment | None = Field(description="when somebody last said that it is over; not what was measured")
    resolved_by: str | None
    to_detect_s: float = Field(description="from the beginning of the impact")
    to_notify_s: float | None = Field(description="from detection to the first receiver that was told")
    to_acknowledge_s: float | None = Field(description="from when somebody was told, else from detection")
    to_mitigate_s: float | None = Field(
        description="from the beginning of the impact to its end; null while it goes on"
    )
    notes: list[NoteDocument] = Field(description="in order of time")


_NOTES_EXAMPLE = {
    "notified_at": "2026-11-23T02:43:05Z",
    "acknowledged_at": "2026-11-23T02:47:30Z",
    "acknowledged_by": "ann",
    "resolved_at": None,
    "resolved_by": None,
    "to_detect_s": 70.0,
    "to_notify_s": 35.0,
    "to_acknowledge_s": 265.0,
    "to_mitigate_s": None,
    "notes": [{"at": "2026-11-23T02:47:30Z", "by": "ann", "text": "draining gpu-07-03", "id": None}],
}
_NOTES_RESPONSE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": _NOTES_EXAMPLE}}}}


@router.post(
    "/{incident_id}/ack",
    summary="Acknowledge an incident",
    response_model=IncidentNotes,
    responses=_NOTES_RESPONSE,
)
def acknowledge_incident(given: Given, incident_id: IncidentId, acknowledgement: Acknowledgement) -> dict[str, Any]:
    """Notes who has it in hand. The first one counts for the time to acknowledge; notes add up.

    It stops no repeat and no escalation: acknowledge in PagerDuty too, or silence the alert.
    """
    incident, now = _known_incident(given, incident_id), given.now()
    noted = acknowledge(given.store, incident_id, acknowledgement.by, now, now)
    if acknowledgement.note is not None:
        noted = add_note(given.store, incident_id, acknowledgement.by, acknowledgement.note, now, now)
    return handling_document(incident, noted)


@router.get(
    "/{incident_id}/notes",
    summary="What was noted of an incident",
    response_model=IncidentNotes,
    responses=_NOTES_RESPONSE,
)
def get_notes(given: Given, incident_id: IncidentId) -> dict[str, Any]:
    """When somebody was told and took it in hand, and what people noted, here and in PagerDuty."""
    return handling_document(*_with_notes(given, incident_id))


@router.post(
    "/{incident_id}/notes",
    summary="Note something of an incident",
    response_model=IncidentNotes,
    responses=_NOTES_RESPONSE,
)
def post_note(given: Given, incident_id: IncidentId, note: NewNote) -> dict[str, Any]:
    """A note more."""
    incident, now = _known_incident(given, incident_id), given.now()
    return handling_document(incident, add_note(given.store, incident_id, note.author, note.text, now, now))


def incidents_after(
    read: Callable[[Window, int], list[Incident]],
    window: Window,
    last: tuple[datetime, str] | None,
    limit: int,
) -> tuple[list[Incident], bool]:
    """The `limit` incidents that follow `last`, and whether there are more.

    Args:
        read: at most so many incidents that were going on in a window, by start (newest first) and id.
        window: the window that is paged through.
        last: start and id of the last incident of the page before; None for the first page.
        limit: incidents in the page.
    """
    if last is not None:
        # What started later is behind us. The bounds stay in order for incidents older than the window, too.
        end = max(last[0], window.start) + timedelta(microseconds=1)
        window = Window(window.start, min(end, window.end))
    most = limit + 1
    while True:
        found = read(window, most)
        rest = [incident for incident in found if last is None or _follows(incident, last)]
        if len(rest) > limit or len(found) < most:
            return rest[:limit], len(rest) > limit
        most *= 2  # many started at the very instant of the last one, or before the window


def _follows(incident: Incident, last: tuple[datetime, str]) -> bool:
    return incident.started_at < last[0] or (incident.started_at == last[0] and incident.id > last[1])


def _known_incident(given: Context, incident_id: str) -> Incident:
    incident = read_incident(given.store, incident_id)
    if incident is None:
        raise Problem("not-found", f"no incident {incident_id!r}; GET /api/v1/incidents lists those there are")
    return incident


def _with_notes(given: Context, incident_id: str) -> tuple[Incident, dict[str, Any]]:
    incident = _known_incident(given, incident_id)
    return incident, read_incident_notes(given.store, [incident_id]).get(incident_id, {})


def _cursor(incident: Incident) -> str:
    return write_cursor(f"{rfc3339(incident.started_at)} {incident.id}")


def _position(cursor: str) -> tuple[datetime, str]:
    time, space, incident_id = read_cursor(cursor).partition(" ")
    try:
        started_at = from_rfc3339(time)
    except (ValueError, OverflowError):
        raise invalid_cursor(cursor) from None
    if not space:
        raise invalid_cursor(cursor)
    return started_at, incident_id
