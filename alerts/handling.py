"""Handling: when somebody was notified of an incident, acknowledged it, noted something, and resolved it.

People say so on the page and by the API; PagerDuty and Alertmanager by their webhooks. All of it is kept beside the
incident, never in it: a later analysis of the same time finds the incident anew. What is sent twice changes nothing.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit

from alerts.notification import Notification
from alerts.receivers.pagerduty import dedup_key
from analytics.incident_times import seconds_of
from domain.incident import Incident
from domain.window import from_rfc3339, rfc3339
from storage.documents import change_document, read_document, write_document
from storage.incidents import change_incident_notes, read_incident
from storage.store import Store

_PAGED, _PAGERDUTY = "paged", "pagerduty-incidents"
_NOTE_MAX = 10_000
_CLOCKS_DIFFER = timedelta(minutes=1)


def incident_of(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str | None:
    """The incident that an alert is of: by its label, or by its link; None when of none."""
    if labels.get("incident"):
        return labels["incident"]
    head, _, name = urlsplit(annotations.get("incident_url", "")).path.rpartition("/")
    return unquote(name) if head.endswith("/incidents") and name else None


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """An event on the timeline of an incident; `by` is who did it, where a person did."""

    name: str
    at: datetime
    by: str | None = None


TIMELINE_EVENTS = ("Impact began", "Detected", "Notified", "Acknowledged", "Mitigated", "Closed")
"""The events of a timeline, as they usually follow each other. `Mitigated` is measured, `Closed` is said by people."""


def timeline(incident: Incident, noted: Mapping[str, Any]) -> list[TimelineEvent]:
    """The events that an incident has had, in order of time.

    Args:
        incident: what was found.
        noted: of `storage.readers.read_incident_notes`.
    """

    def at(key: str) -> datetime | None:
        return from_rfc3339(noted[f"{key}_at"]) if noted.get(f"{key}_at") else None

    ends = (incident.ended_at, at("resolved"))
    times = (incident.started_at, incident.detected_at, at("notified"), at("acknowledged"), *ends)
    by = (None, None, None, noted.get("acknowledged_by"), None, noted.get("resolved_by"))
    events = [
        TimelineEvent(name, time, who)
        for name, time, who in zip(TIMELINE_EVENTS, times, by, strict=True)
        if time is not None
    ]
    return sorted(events, key=lambda one: one.at)


def handling_document(incident: Incident, noted: Mapping[str, Any]) -> dict[str, Any]:
    """What was noted of an incident, and how long its handling took, as the outside reads it; null where not known."""
    return {
        "notified_at": noted.get("notified_at"),
        "acknowledged_at": noted.get("acknowledged_at"),
        "acknowledged_by": noted.get("acknowledged_by"),
        "resolved_at": noted.get("resolved_at"),
        "resolved_by": noted.get("resolved_by"),
        **asdict(seconds_of(incident, noted)),
        "notes": [dict(note) for note in noted.get("notes", ())],
    }


def note_notified(store: Store, notification: Notification, now: datetime) -> None:
    """A receiver has taken a notification: the first one counts for each incident in it.

    What is sent to PagerDuty is remembered by its dedup key, so that its webhooks are understood.
    """
    found = [incident_of(alert.labels, alert.annotations) for alert in notification.firing]
    incidents = sorted({one for one in found if one is not None})
    for incident_id in incidents:
        _note_first_notified(store, incident_id, now)
    if notification.integration.kind == "pagerduty" and incidents:
        paged = {"incidents": incidents, "at": rfc3339(now)}  # a key is used again: only of what fires now
        write_document(store, _PAGED, dedup_key(notification.group_key), paged, now)


def _note_first_notified(store: Store, incident_id: str, now: datetime) -> None:
    change_incident_notes(store, incident_id, lambda known: {"notified_at": rfc3339(now)} | known, now)


def acknowledge(store: Store, incident_id: str, by: str, at: datetime, now: datetime) -> dict[str, Any]:
    """Somebody acknowledges it; the earliest one counts. All that is noted then.

    A note and no more: repeats, and escalations elsewhere, go on.
    """

    def change(known: dict[str, Any]) -> dict[str, Any]:
        if "acknowledged_at" in known and from_rfc3339(known["acknowledged_at"]) <= at:
            return known
        return known | {"acknowledged_at": rfc3339(at), "acknowledged_by": by}

    return change_incident_notes(store, incident_id, change, now)


def note_resolved(store: Store, incident_id: str, by: str, at: datetime, now: datetime) -> dict[str, Any]:
    """Somebody resolves it; the last one counts. All that is noted then."""

    def change(known: dict[str, Any]) -> dict[str, Any]:
        if "resolved_at" in known and from_rfc3339(known["resolved_at"]) >= at:
            return known
        return known | {"resolved_at": rfc3339(at), "resolved_by": by}

    return change_incident_notes(store, incident_id, change, now)


def add_note(
    store: Store, incident_id: str, by: str, text: str, at: datetime, now: datetime, note_id: str | None = None
) -> dict[str, Any]:
    """A note more, in order of time; one of an id that is there already is not added. All that is noted then."""
    note = {"at": rfc3339(at), "by": by, "text": text[:_NOTE_MAX]} | ({} if note_id is None else {"id": note_id})

    def change(known: dict[str, Any]) -> dict[str, Any]:
        notes = known.get("notes", [])
        if note_id is not None and any(one.get("id") == note_id for one in notes):
            return known
        return known | {"notes": sorted([*notes, note], key=lambda one: from_rfc3339(one["at"]))}

    return change_incident_notes(store, incident_id, change, now)


# -- PagerDuty, webhooks of version 3 ----------------------------------------------------------------------------------


class HookError(ValueError):
    """A document that is none of the sender's; the message names the field, what was found and what is valid."""


class Done(StrEnum):
    """What a hook brought about."""

    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    NOTED = "noted"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What was done, for which incidents; and why nothing, when it was nothing."""

    done: Done
    incidents: tuple[str, ...] = ()
    why: str | None = None


@dataclass(frozen=True, slots=True)
class PagerDutyEvent:
    """One event of a webhook. `key` is our dedup key, where PagerDuty gives it; `by` is who did it, if a person did."""

    id: str
    type: str
    at: datetime
    by: str | None
    pagerduty_id: str | None
    key: str | None
    text: str | None


def is_signed(body: bytes, signatures: str, secret: str) -> bool:
    """Does one of these signatures (`v1=…,v1=…`) fit the body: HMAC with SHA-256, in hexadecimal."""
    right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = [one.strip() for one in signatures.split(",")]
    return any(hmac.compare_digest(one.encode(), f"v1={right}".encode()) for one in given)


def pagerduty_event(document: Any) -> PagerDutyEvent:
    """Read the body of a webhook (https://developer.pagerduty.com/docs/webhooks/v3-overview/).

    Raises:
        HookError: for one that is not PagerDuty's.
    """
    event = _mapping(document, "event")
    data = _mapping(event, "data", "event.data") if event.get("data") is not None else {}
    for name in ("id", "event_type", "occurred_at"):
        if not isinstance(event.get(name), str):
            raise HookError(f"event.{name}: expected text, found {event.get(name)!r}")
    try:
        at = from_rfc3339(event["occurred_at"])
    except ValueError as error:
        raise HookError(f"event.occurred_at: {error}") from None
    agent = event.get("agent") if isinstance(event.get("agent"), dict) else None
    is_person = agent is not None and str(agent.get("type", "")).startswith("user")
    of_note = data["incident"] if isinstance(data.get("incident"), dict) else None
    return PagerDutyEvent(
        id=event["id"],
        type=event["event_type"],
        at=at,
        by=str(agent.get("summary") or agent.get("id") or "somebody") if agent is not None and is_person else None,
        pagerduty_id=_text((of_note or data).get("id")),
        key=_text((of_note or data).get("incident_key")),
        text=_text(data.get("content")),
    )


def _mapping(document: Any, name: str, path: str | None = None) -> dict[str, Any]:
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise HookError(f"{path or name}: expected an object, found {type(found).__name__}")
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def process_pagerduty_event(store: Store, event: PagerDutyEvent, now: datetime) -> HookAnswer:
    """Note what PagerDuty says of incidents that we triggered there."""
    found = _incidents_of(store, event, now)
    why = None
    match event.type:
        case "pagey.ping":
            why = "a ping: the door is open and the signature fits"
        case _ if not found:
            why = "no incident of ours: PagerDuty was not told of it by Tailsight"
        case "incident.acknowledged" if event.by is not None:
            for one in found:
                acknowledge(store, one, event.by, event.at, now)
            return HookAnswer(Done.ACKNOWLEDGED, found)
        case "incident.resolved" if event.by is not None:
            for one in found:
                note_resolved(store, one, event.by, event.at, now)
            return HookAnswer(Done.RESOLVED, found)
        case "incident.annotated" if event.text is not None:
            for one in found:
                add_note(store, one, event.by or "PagerDuty", event.text, event.at, now, f"pagerduty-{event.id}")
            return HookAnswer(Done.NOTED, found)
        case "incident.acknowledged" | "incident.resolved":
            why = "no person did it"
        case _:
            why = f"{event.type} is of no consequence here"
    return HookAnswer(Done.NOTHING, found, why)


def _incidents_of(store: Store, event: PagerDutyEvent, now: datetime) -> tuple[str, ...]:
    """What an incident of PagerDuty is about: what is known of it, and what was sent under the same key by then.

    What is found is remembered under PagerDuty's own id, the only one that its notes name.
    """
    paged = read_document(store, _PAGED, event.key) if event.key is not None else None
    by_key = paged["incidents"] if paged is not None and event.at + _CLOCKS_DIFFER >= from_rfc3339(paged["at"]) else ()
    if event.pagerduty_id is None:
        return tuple(by_key)

    def change(known: dict[str, Any] | None) -> dict[str, Any] | None:
        incidents = sorted({*by_key, *(known or {}).get("incidents", ())})
        return {"incidents": incidents} if incidents else known

    known = change_document(store, _PAGERDUTY, event.pagerduty_id, change, now)
    return tuple((known or {}).get("incidents", ()))


# -- Alertmanager, webhooks of version 4 -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WebhookAlert:
    """An alert of Alertmanager's webhook."""

    is_firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime


def alertmanager_alerts(document: Any) -> list[WebhookAlert]:
    """Read the body of a webhook.

    Raises:
        HookError: for one that is not Alertmanager's, version 4.
    """
    if not isinstance(document, dict):
        raise HookError(f"expected an object, found {type(document).__name__}")
    if document.get("version") != "4":
        raise HookError(f"version: expected '4', found {document.get('version')!r}")
    alerts = document.get("alerts")
    if not isinstance(alerts, list):
        raise HookError(f"alerts: expected a list, found {type(alerts).__name__}")
    return [_webhook_alert(one, f"alerts[{number}]") for number, one in enumerate(alerts)]


def _webhook_alert(document: Any, place: str) -> WebhookAlert:
    if not isinstance(document, dict):
        raise HookError(f"{place}: expected an object, found {type(document).__name__}")
    if document.get("status") not in ("firing", "resolved"):
        raise HookError(f"{place}.status: expected firing or resolved, found {document.get('status')!r}")
    texts = {}
    for name in ("labels", "annotations"):
        texts[name] = document.get(name) or {}
        if not isinstance(texts[name], dict) or not all(isinstance(value, str) for value in texts[name].values()):
            raise HookError(f"{place}.{name}: expected an object of texts")
    try:
        starts_at = from_rfc3339(str(document.get("startsAt")))
    except ValueError as error:
        raise HookError(f"{place}.startsAt: {error}") from None
    return WebhookAlert(document["status"] == "firing", texts["labels"], texts["annotations"], starts_at)


def process_alertmanager_alerts(store: Store, alerts: Sequence[WebhookAlert], now: datetime) -> HookAnswer:
    """Alertmanager has notified its receivers: of each incident in it, the first time counts."""
    named = {incident_of(one.labels, one.annotations) for one in alerts if one.is_firing}
    found = tuple(sorted(one for one in named if one is not None and read_incident(store, one) is not None))
    for incident_id in found:
        _note_first_notified(store, incident_id, now)
    if found:
        return HookAnswer(Done.NOTED, found)
    why = (
        "nothing fires any more"
        if alerts and not any(one.is_firing for one in alerts)
        else "no alert names an incident of ours"
    )
    return HookAnswer(Done.NOTHING, why=why)
