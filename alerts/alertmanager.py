"""Alertmanager: alerts pushed to its API v2 exactly as Prometheus does, to every peer.

While an alert fires it is sent again at least each minute, with an end that lies four minutes ahead; when it is over
it is sent with its end for five minutes more, so that a peer that was away learns of it (its documentation of the
alerts API says so).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from domain.address import shown
from domain.alert import VALID, Alert, NotificationStatus
from domain.window import rfc3339

RESEND_DELAY = timedelta(seconds=60)  # as Prometheus calls it: --rules.alert.resend-delay
RESOLVED_RETENTION = timedelta(minutes=5)
PATH = "/api/v2/alerts"


@dataclass(slots=True)
class _Known:
    """An alert, when it was sent last, and when it was delivered to each peer last, by its URL."""

    alert: Alert
    sent_at: datetime | None = None
    delivered_at: dict[str, datetime] = field(default_factory=dict)


class AlertmanagerFeed:
    """What is to be posted when; without a clock or a socket."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._errors: dict[str, str] = {}

    def post(self, alerts: Iterable[Alert]) -> None:
        """Take these alerts; what has changed is due at once."""
        for alert in alerts:
            known = self._known.get(alert.fingerprint)
            if known is None:
                self._known[alert.fingerprint] = _Known(alert)
                continue
            if known.alert.ends_at >= alert.starts_at:  # it has not ended between: its beginning stays
                alert = replace(alert, starts_at=min(known.alert.starts_at, alert.starts_at))  # noqa: PLW2901
            is_same = (known.alert.annotations, known.alert.ends_at) == (alert.annotations, alert.ends_at)
            known.alert = alert
            known.sent_at = known.sent_at if is_same else None

    def due(self, now: datetime) -> dict[str, dict[str, Any]]:
        """The documents to POST to every peer now, by the fingerprints of their alerts."""
        for fingerprint in [name for name, one in self._known.items() if one.alert.ends_at + RESOLVED_RETENTION < now]:
            del self._known[fingerprint]
        due = {
            name: one for name, one in self._known.items() if one.sent_at is None or now - one.sent_at >= RESEND_DELAY
        }
        for one in due.values():
            one.sent_at = now
        return {name: posted_alert(one.alert, now) for name, one in due.items()}

    def delivered(self, url: str, fingerprints: Iterable[str], now: datetime) -> None:
        """A peer took these."""
        self._errors.pop(url, None)
        for fingerprint in fingerprints:
            if (known := self._known.get(fingerprint)) is not None:
                known.delivered_at[url] = now

    def failed(self, url: str, error: str) -> None:
        """A peer did not take what was due."""
        self._errors[url] = error

    def notification_status(self, url: str, fingerprint: str) -> NotificationStatus:
        """When an alert was delivered to a peer last; or why not yet."""
        known = self._known.get(fingerprint)
        if known is not None and url in known.delivered_at:
            return NotificationStatus(shown(url), "alertmanager", known.delivered_at[url])
        why = f"not taken: {self._errors[url]}" if url in self._errors else "about to be posted"
        next_at = known.sent_at + RESEND_DELAY if known is not None and known.sent_at is not None else None
        return NotificationStatus(shown(url), "alertmanager", None, why, next_at)


def posted_alert(alert: Alert, now: datetime) -> dict[str, Any]:
    """An alert as it is posted now: of one that fires the end lies four minutes ahead, or as soon as it is known."""
    ends_at = min(alert.ends_at, now + VALID) if alert.is_firing(now) else alert.ends_at
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": rfc3339(ends_at),
        "generatorURL": alert.generator_url,
    }
