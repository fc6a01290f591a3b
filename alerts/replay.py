"""Replay: who would have been told, when, of alerts whose beginnings and ends are known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.config import AlertingConfig
from alerts.decide import burn_alert, incident_alert
from alerts.dispatch import Dispatcher, Notification, Reason
from analytics.jobs import backtest
from domain.alert import Alert
from domain.slo import Objective
from domain.window import Window
from storage.readers import read_incidents
from storage.store import Store

_TICK = timedelta(milliseconds=1)
_FIRES_ON = timedelta(days=3650)  # until it is posted with its end
_AFTER = timedelta(hours=1)  # of the last event: what a group has left to tell


@dataclass(frozen=True, slots=True)
class Told:
    """One notification that a receiver would have had."""

    at: datetime
    receiver: str
    kind: str
    reason: Reason
    firing_count: int
    resolved_count: int
    summary: str


def replay(config: AlertingConfig, alerts: Sequence[Alert]) -> list[Told]:
    """Play alerts through the routing tree, each posted when it began and again when it ended; nothing is sent.

    Args:
        config: who is told.
        alerts: with `starts_at` and `ends_at` as they were.
    """
    events = sorted(
        [(one.starts_at, replace(one, ends_at=one.ends_at + _FIRES_ON, updated_at=one.starts_at)) for one in alerts]
        + [(one.ends_at, replace(one, updated_at=one.ends_at)) for one in alerts],
        key=lambda event: event[0],
    )
    if not events:
        return []
    dispatcher, told = Dispatcher(config), []
    now, last = events[0][0], events[-1][0] + _AFTER
    while now <= last:
        while events and events[0][0] <= now:
            dispatcher.post([events.pop(0)[1]], now)
        for notification in dispatcher.step(now):
            dispatcher.delivered(notification, now)
            told.append(_told(notification, now))
        due = [time for time in (dispatcher.next_due(), events[0][0] if events else None) if time is not None]
        if not due:
            break
        now = max(now + _TICK, min(due))
    return told


def _told(notification: Notification, now: datetime) -> Told:
    first = notification.alerts[0]
    return Told(
        at=now,
        receiver=notification.receiver,
        kind=notification.integration.kind,
        reason=notification.reason,
        firing_count=len(notification.firing),
        resolved_count=len(notification.resolved),
        summary=first.annotations.get("summary") or first.labels.get("alertname", ""),
    )


def past_alerts(store: Store, objectives: Sequence[Objective], window: Window, web_url: str = "") -> list[Alert]:
    """The alerts of a stretch of stored time, by beginning; what goes on at its end ends there.

    Args:
        store: requests and incidents.
        objectives: what was promised.
        window: when.
        web_url: where the pages are reached.
    """
    incidents = read_incidents(store, window)
    burns = [one for objective in objectives for one in backtest(store, objective, window)]
    ended = [replace(one, ended_at=one.ended_at or window.end) for one in incidents]
    found = [incident_alert(one, web_url, window.end) for one in ended]
    found += [
        burn_alert(replace(one, ended_at=one.ended_at or window.end), incidents, web_url, window.end) for one in burns
    ]
    return sorted((one for one in found if one is not None), key=lambda one: (one.starts_at, one.fingerprint))
