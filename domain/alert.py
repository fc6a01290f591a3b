"""Alerts: what an on-call engineer is notified of, now or in the morning."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from domain.window import from_rfc3339, rfc3339

VALID = timedelta(minutes=4)
"""How long an alert fires on that is not posted again: evaluations that stopped must not keep it up."""

_FNV_OFFSET, _FNV_PRIME = 14695981039346656037, 1099511628211  # 64 bit (Fowler, Noll and Vo)


@dataclass(frozen=True, slots=True)
class Page:
    """One notification about one incident, in the shape of an Alertmanager alert.

    `labels` identify the alert (a value that changes belongs in `annotations`).
    """

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str | None


def fingerprint(labels: Mapping[str, str]) -> str:
    """The identity of an alert, 16 hexadecimal digits, as Alertmanager computes it (FNV-1a of the sorted labels)."""
    value = _FNV_OFFSET
    for name in sorted(labels):
        for byte in (*name.encode(), 255, *labels[name].encode(), 255):
            value = (value ^ byte) * _FNV_PRIME % 2**64
    return f"{value:016x}"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that fires from `starts_at` to `ends_at`; its labels are its identity.

    `ends_at` may lie ahead: then it fires until then, unless it is posted with another end. `is_timeout` says that it
    was posted without an end, so this one is only how long it fires on when it is not posted again.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime
    updated_at: datetime
    is_timeout: bool = False
    generator_url: str = ""

    @property
    def fingerprint(self) -> str:
        """The identity of its labels."""
        return fingerprint(self.labels)

    @property
    def is_explained(self) -> bool:
        """Does it name a cause: one that is unknown has no confidence (alerts/decide.py)."""
        return "cause_confidence" in self.annotations

    def is_firing(self, now: datetime) -> bool:
        """Does it fire at `now`."""
        return self.ends_at > now


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notification that a receiver, by its integration at `place`, has not taken so far."""

    receiver: str
    integration: str
    group_key: str
    alerts_count: int
    error: str
    failed_at: datetime
    attempts_count: int
    place: int = 0


@dataclass(frozen=True, slots=True)
class NotificationStatus:
    """When one integration was notified of an alert that fires, or why not yet.

    Attributes:
        receiver: by its name; an Alertmanager by its URL.
        integration: pagerduty, slack, …, or alertmanager; None of a receiver that has no integration.
        notified_at: of the last notification that it took in which the alert fires; None: not yet.
        why_not: why not yet; empty once it was notified.
        next_at: when it is tried next; None where it was notified, or where that is not known.
    """

    receiver: str
    integration: str | None
    notified_at: datetime | None
    why_not: str = ""
    next_at: datetime | None = None


def alert_document(alert: Alert) -> dict[str, Any]:
    """An alert as JSON has it: the fields of Alertmanager's API v2, and whether its end is only a timeout."""
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": rfc3339(alert.ends_at),
        "updatedAt": rfc3339(alert.updated_at),
        "isTimeout": alert.is_timeout,
        "generatorURL": alert.generator_url,
    }


def alert_of(document: Mapping[str, Any]) -> Alert:
    """The alert of such a document."""
    starts_at, ends_at, updated_at = (from_rfc3339(document[name]) for name in ("startsAt", "endsAt", "updatedAt"))
    return Alert(
        labels=dict(document["labels"]),
        annotations=dict(document["annotations"]),
        starts_at=starts_at,
        ends_at=ends_at,
        updated_at=updated_at,
        is_timeout=bool(document["isTimeout"]),
        generator_url=str(document["generatorURL"]),
    )
