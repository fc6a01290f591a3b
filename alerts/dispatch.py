"""Dispatch: alerts aggregated into groups, of each of which receivers are notified as often as its route allows.

A state machine without a clock or a socket: it takes what came in and what time it is, and says what is to be sent.
The stages are Alertmanager's (dispatch/dispatch.go, notify/notify.go): wait for the group, leave out what is inhibited,
silenced or muted, deduplicate by the notification log, send, retry, log.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from alerts.config import AlertingConfig
from alerts.inhibition import Inhibitor
from alerts.matchers import Labels, all_match
from alerts.notification import Integration, Notification, Reason
from alerts.routing import Route
from alerts.silences import Silence, silence_document, silence_of
from domain.alert import VALID, Alert, DeadLetter, NotificationStatus, alert_document, alert_of
from domain.incident import Severity
from domain.window import from_rfc3339, rfc3339

_ALERT_RETENTION = timedelta(minutes=30)  # after its end
_LOG_RETENTION = timedelta(hours=120)  # of the notification log, as Alertmanager's data.retention
_SILENCE_RETENTION = timedelta(hours=120)  # after their end, as the same
_DEAD_LETTER_RETENTION = timedelta(hours=24)
_TIMEOUT_LEAST_S = 10.0  # a route with a short interval still gives a receiver this long
_RETRY_FIRST_S, _RETRY_FACTOR, _RETRY_MOST_S = 0.5, 1.5, 60.0
_DEAD_LETTERS_MAX = 1000


@dataclass(frozen=True, slots=True)
class _LogEntry:
    """An entry of the notification log (Alertmanager's nflog): the last notification of a group to an integration.

    `suppressed` are the alerts that were left out of it, as they were silenced or inhibited, each with the time of the
    last notification in which it fired. `explained` are the alerts of which the integration was notified with a cause.
    """

    firing: frozenset[str]
    resolved: frozenset[str]
    at: datetime
    suppressed: Mapping[str, datetime] = field(default_factory=dict)
    explained: frozenset[str] = frozenset()

    def notified_at(self, alert: Alert, fingerprint: str) -> datetime | None:
        """The last notification in which an alert fires; None: none since it does."""
        if fingerprint in self.firing:
            return self.at
        at = self.suppressed.get(fingerprint)
        return at if at is not None and at >= alert.starts_at else None


@dataclass(slots=True)
class _Pending:
    notification: Notification
    firing: frozenset[str]
    resolved: frozenset[str]
    due: datetime
    deadline: datetime
    attempts: int = 0
    is_out: bool = False
    error: str = ""


@dataclass(slots=True)
class _Group:
    route: Route
    labels: Mapping[str, str]
    next_flush: datetime
    alerts: dict[str, Alert] = field(default_factory=dict)
    has_flushed: bool = False
    pending: dict[int, _Pending] = field(default_factory=dict)
    flushed_resolved: dict[str, datetime] = field(default_factory=dict)
    has_failed: bool = False
    not_before: dict[int, datetime] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """As Alertmanager writes it in a notification."""
        inner = ", ".join(f'{name}="{self.labels[name]}"' for name in sorted(self.labels))
        return f"{self.route.key}:{{{inner}}}"


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Why nobody is notified of an alert: the silences that match it, the labels of the alert that inhibits it."""

    silenced_by: tuple[str, ...]
    inhibited_by: Mapping[str, str] | None

    def __bool__(self) -> bool:
        return bool(self.silenced_by) or self.inhibited_by is not None


@dataclass(frozen=True, slots=True)
class MatchedRoute:
    """A route that some labels match: the group that an alert of them joins there, and what mutes the route now.

    `firing` are the alerts of that group already. `muted_by` names the mute time interval that holds now, `is_inactive`
    says that none of the active time intervals does.
    """

    route: Route
    group_key: str
    group_labels: Mapping[str, str]
    firing: tuple[Alert, ...]
    muted_by: str | None
    is_inactive: bool

    @property
    def mute_reason(self) -> str | None:
        """Why the route is muted now, in words; None when it notifies."""
        return _mute_reason(self.route, self.muted_by, is_inactive=self.is_inactive)


def _mute_reason(route: Route, muted_by: str | None, *, is_inactive: bool) -> str | None:
    if muted_by is not None:
        return f"muted by {muted_by}"
    return f"active only in {', '.join(route.options.active_time_intervals)}" if is_inactive else None


class Dispatcher:
    """Alerts, groups, silences and the notification log, by one configuration."""

    def __init__(self, config: AlertingConfig) -> None:
        self.config = config
        self.alerts: dict[str, Alert] = {}
        self.silences: dict[str, Silence] = {}
        self.dead_letters: list[DeadLetter] = []
        self._groups: dict[tuple[int, tuple[tuple[str, str], ...]], _Group] = {}
        self._notification_log: dict[tuple[str, int, str], _LogEntry] = {}

    # -- what comes in -------------------------------------------------------------------------------------------------

    def post(self, alerts: Iterable[Alert], now: datetime) -> None:
        """Take these alerts, each in place of, or one with, the alert of the same labels that is known."""
        for posted in alerts:
            known = self.alerts.get(posted.fingerprint)
            alert = posted if known is None else _merged(known, posted)
            self.alerts[posted.fingerprint] = alert
            for route in self.config.route.match(alert.labels):
                self._aggregate(route, alert, now)

    def _aggregate(self, route: Route, alert: Alert, now: datetime) -> None:
        labels = route.options.group_labels(alert.labels)
        place = (route.index, tuple(sorted(labels.items())))
        wait = timedelta(seconds=route.options.group_wait_s)
        group = self._groups.get(place)
        if group is None:
            if not alert.is_firing(now):
                return  # nobody was notified of it
            group = self._groups[place] = _Group(route, labels, now + wait)
        group.alerts[alert.fingerprint] = alert
        if not group.has_flushed and alert.starts_at + wait < now:
            group.next_flush = now

    # -- what goes out -------------------------------------------------------------------------------------------------

    def step(self, now: datetime) -> list[Notification]:
        """What is to be sent now; each is to be answered by `delivered` or `failed`."""
        self._forget(now)
        due = [group for group in self._groups.values() if not group.pending and group.next_flush <= now]
        if due:
            inhibitor, silences = self._inhibitor(now), self._active_silences(now)
            for group in due:
                self._flush(group, inhibitor, silences, now)
        ready = [
            pending
            for group in self._groups.values()
            for pending in group.pending.values()
            if not pending.is_out and pending.due <= now
        ]
        for pending in ready:
            pending.is_out = True
            pending.attempts += 1
        return [pending.notification for pending in ready]

    def next_due(self) -> datetime | None:
        """When there may be something to send next; None when nothing is known to come."""
        times = [group.next_flush for group in self._groups.values() if not group.pending]
        times += [one.due for group in self._groups.values() for one in group.pending.values() if not one.is_out]
        return min(times, default=None)

    def _flush(self, group: _Group, inhibitor: Inhibitor, silences: Sequence[Silence], now: datetime) -> None:
        group.has_flushed, group.has_failed = True, False
        group.next_flush = now + timedelta(seconds=group.route.options.group_interval_s)
        group.flushed_resolved = {
            fingerprint: alert.updated_at for fingerprint, alert in group.alerts.items() if not alert.is_firing(now)
        }
        if self._is_muted(group.route, now):
            return
        active = [alert for alert in group.alerts.values() if not _suppression(alert.labels, inhibitor, silences)]
        if active:
            active.sort(key=_weight)
            for place, integration in enumerate(self.config.receivers[group.route.options.receiver]):
                self._enqueue(group, place, integration, active, now)
        if not group.pending:
            self._settle(group)

    def _enqueue(
        self, group: _Group, place: int, integration: Integration, alerts: Sequence[Alert], now: datetime
    ) -> None:
        """Make a notification pending, unless the notification log says that it is no news (deduplication)."""
        firing = frozenset(alert.fingerprint for alert in alerts if alert.is_firing(now))
        resolved = frozenset(alert.fingerprint for alert in alerts) - firing
        if now < group.not_before.get(place, now):
            group.has_failed = True
            return
        receiver = group.route.options.receiver
        last = self._notification_log.get((receiver, place, group.key))
        explained = _explained(alerts) & firing
        reason = _reason(last, firing, resolved, explained, integration, group.route.options.repeat_interval_s, now)
        if reason is None:
            return
        sent = [alert for alert in alerts if integration.send_resolved or alert.is_firing(now)]
        if not sent:  # nothing goes out: only the log is to forget what fired
            self._log((receiver, place, group.key), firing, resolved, frozenset(), now)
            return
        timeout_s = max(group.route.options.group_interval_s, _TIMEOUT_LEAST_S)
        group.pending[place] = _Pending(
            Notification(group.key, group.labels, receiver, place, integration, tuple(sent), now, reason),
            firing, resolved, due=now, deadline=now + timedelta(seconds=timeout_s),
        )  # fmt: skip

    def delivered(self, notification: Notification, now: datetime) -> None:
        """The receiver took it."""
        group, pending = self._pending(notification)
        if pending is not None and group is not None:
            log_key = (notification.receiver, notification.place, group.key)
            explained = _explained(notification.alerts)
            self._log(log_key, pending.firing, pending.resolved, explained, now)
            self._done(group, notification.place)
        self.dead_letters = [one for one in self.dead_letters if not self._is_settled_by(one, notification, now)]

    def _log(
        self,
        log_key: tuple[str, int, str],
        firing: frozenset[str],
        resolved: frozenset[str],
        explained: frozenset[str],
        now: datetime,
    ) -> None:
        suppressed: dict[str, datetime] = {}
        if (before := self._notification_log.get(log_key)) is not None:
            notified = {**before.suppressed, **dict.fromkeys(before.firing, before.at)}
            suppressed = {one: notified[one] for one in notified.keys() & self.alerts.keys() - firing - resolved}
            explained |= before.explained  # a cause that is doubted again and known again rings no second time
        self._notification_log[log_key] = _LogEntry(
            firing, resolved, now, suppressed, explained & (firing | suppressed.keys())
        )

    def failed(
        self, notification: Notification, now: datetime, error: str, *, retryable: bool, retry_after_s: float = 0.0
    ) -> None:
        """The receiver did not take it: try again a little later, or give it up and keep it as a dead letter.

        A receiver that asks for time has it, beyond the next flush too; the others of the group are notified meanwhile.
        """
        group, pending = self._pending(notification)
        if pending is None or group is None:
            return
        delay_s = min(_RETRY_FIRST_S * _RETRY_FACTOR ** (pending.attempts - 1), _RETRY_MOST_S)
        due = now + timedelta(seconds=max(delay_s, retry_after_s))
        if retryable and due <= pending.deadline:
            pending.due, pending.is_out, pending.error = due, False, error
            return
        group.has_failed = True
        if retry_after_s:
            group.not_before[notification.place] = due
        self.dead_letters.append(
            DeadLetter(notification.receiver, notification.integration.kind, group.key, len(notification.alerts),
                       error, now, pending.attempts, notification.place)
        )  # fmt: skip
        del self.dead_letters[:-_DEAD_LETTERS_MAX]
        self._done(group, notification.place)

    def _is_settled_by(self, letter: DeadLetter, delivered: Notification, now: datetime) -> bool:
        """It went out after all; or the same integration takes notifications again, and of its group nothing fires."""
        if (letter.receiver, letter.place) != (delivered.receiver, delivered.place):
            return False
        return letter.group_key == delivered.group_key or not self._fires(letter.group_key, now)

    def _fires(self, group_key: str, now: datetime) -> bool:
        groups = [group for group in self._groups.values() if group.key == group_key]
        return any(alert.is_firing(now) for group in groups for alert in group.alerts.values())

    def _is_configured(self, letter: DeadLetter) -> bool:
        return letter.place < len(self.config.receivers.get(letter.receiver, ()))

    def _pending(self, notification: Notification) -> tuple[_Group | None, _Pending | None]:
        for group in self._groups.values():
            pending = group.pending.get(notification.place)
            if pending is not None and pending.notification is notification:
                return group, pending
        return None, None  # the configuration was read anew meanwhile

    def _done(self, group: _Group, place: int) -> None:
        del group.pending[place]
        if not group.pending:
            self._settle(group)

    def _settle(self, group: _Group) -> None:
        """All were notified: what was resolved and has not come back since is done with."""
        if group.has_failed:
            return
        for fingerprint, updated_at in group.flushed_resolved.items():
            alert = group.alerts.get(fingerprint)
            if alert is not None and alert.updated_at == updated_at:
                del group.alerts[fingerprint]
        group.flushed_resolved = {}

    def _forget(self, now: datetime) -> None:
        for fingerprint in [one for one, alert in self.alerts.items() if alert.ends_at + _ALERT_RETENTION < now]:
            del self.alerts[fingerprint]
        for key in [key for key, entry in self._notification_log.items() if entry.at + _LOG_RETENTION < now]:
            del self._notification_log[key]
        for name in [name for name, silence in self.silences.items() if silence.ends_at + _SILENCE_RETENTION < now]:
            del self.silences[name]
        self.dead_letters = [
            one
            for one in self.dead_letters
            if self._is_configured(one) and now <= one.failed_at + _DEAD_LETTER_RETENTION
        ]
        empty = [
            place
            for place, group in self._groups.items()
            if group.has_flushed and not group.alerts and not group.pending and group.next_flush <= now
        ]
        for place in empty:
            del self._groups[place]

    # -- what is suppressed or muted, and who was notified -------------------------------------------------------------

    def firing(self, now: datetime) -> list[tuple[Alert, Suppressed]]:
        """What fires now, the first beginning first, and what suppresses each of them."""
        alerts = [alert for alert in self.alerts.values() if alert.is_firing(now)]
        alerts.sort(key=lambda alert: (alert.starts_at, alert.fingerprint))
        inhibitor = self._inhibitor(now)
        silences = self._active_silences(now)
        return [(alert, _suppression(alert.labels, inhibitor, silences)) for alert in alerts]

    def match_routes(self, labels: Labels, now: datetime) -> tuple[list[MatchedRoute], Suppressed]:
        """The routes of an alert of these labels if it fired now, and what would suppress it on all of them."""
        found = []
        for route in self.config.route.match(labels):
            group = self._group_of(route, labels, now)
            firing = tuple(one for one in group.alerts.values() if one.is_firing(now))
            muted_by, is_inactive = self._muted_by(route, now), self._is_inactive(route, now)
            found.append(MatchedRoute(route, group.key, group.labels, firing, muted_by, is_inactive))
        return found, _suppression(labels, self._inhibitor(now), self._active_silences(now))

    def notification_statuses(
        self, alerts: Iterable[tuple[Alert, Suppressed]], now: datetime
    ) -> list[tuple[NotificationStatus, ...]]:
        """Of each alert, when every integration of its routes was notified of it last, or why not yet."""
        mute_reasons = {
            route.index: _mute_reason(route, self._muted_by(route, now), is_inactive=self._is_inactive(route, now))
            for route in self.config.route.walk()
        }
        letters = {(one.receiver, one.place, one.group_key): one for one in self.dead_letters}
        return [self._statuses_of(alert, suppressed, mute_reasons, letters, now) for alert, suppressed in alerts]

    def _statuses_of(
        self,
        alert: Alert,
        suppressed: Suppressed,
        mute_reasons: Mapping[int, str | None],
        letters: Mapping[tuple[str, int, str], DeadLetter],
        now: datetime,
    ) -> tuple[NotificationStatus, ...]:
        found: dict[tuple[str, int], NotificationStatus] = {}  # of two routes to one receiver, the later notification
        fingerprint = alert.fingerprint
        suppression = "silenced" if suppressed.silenced_by else "inhibited" if suppressed else None
        for route in self.config.route.match(alert.labels):
            receiver, group = route.options.receiver, self._group_of(route, alert.labels, now)
            key = group.key
            integrations = self.config.receivers[receiver]
            if not integrations:
                found[receiver, 0] = NotificationStatus(receiver, None, None, "nothing to tell by")
            for place, integration in enumerate(integrations):
                entry = self._notification_log.get((receiver, place, key))
                at = None if entry is None else entry.notified_at(alert, fingerprint)
                why: tuple[str, datetime | None] = ("", None)
                if at is None:
                    held_by = suppression or mute_reasons[route.index]
                    letter = letters.get((receiver, place, key))
                    why = (held_by, None) if held_by else _pending_words(group, place, fingerprint, letter)
                before = found.get((receiver, place))
                if before is None or before.notified_at is None or (at is not None and at > before.notified_at):
                    found[receiver, place] = NotificationStatus(receiver, integration.kind, at, *why)
        return tuple(found.values())

    def _group_of(self, route: Route, labels: Labels, now: datetime) -> _Group:
        """The group that an alert of these labels joins; a new one where there is none."""
        group_labels = route.options.group_labels(labels)
        known = self._groups.get((route.index, tuple(sorted(group_labels.items()))))
        return known or _Group(route, group_labels, now)

    def muted_routes(self, now: datetime) -> frozenset[int]:
        """The routes, by their index, that are muted now: by a mute time interval, or outside their active ones."""
        return frozenset(route.index for route in self.config.route.walk() if self._is_muted(route, now))

    def last_delivered_at(self) -> dict[tuple[str, int], datetime]:
        """The last delivery to each integration, by the name of its receiver and its place in it."""
        found: dict[tuple[str, int], datetime] = {}
        for (receiver, place, _), entry in self._notification_log.items():
            integrations = self.config.receivers.get(receiver, ())
            if place >= len(integrations) or not (entry.firing or integrations[place].send_resolved):
                continue  # of another configuration; or nothing was sent, because it does not send resolved
            found[receiver, place] = max(entry.at, found.get((receiver, place), entry.at))
        return found

    def _inhibitor(self, now: datetime) -> Inhibitor:
        return Inhibitor(
            self.config.inhibit_rules, [alert.labels for alert in self.alerts.values() if alert.is_firing(now)]
        )

    def _active_silences(self, now: datetime) -> list[Silence]:
        return [silence for silence in self.silences.values() if silence.is_active(now)]

    def _is_muted(self, route: Route, now: datetime) -> bool:
        return self._is_inactive(route, now) or self._muted_by(route, now) is not None

    def _is_inactive(self, route: Route, now: datetime) -> bool:
        active = route.options.active_time_intervals
        return bool(active) and not any(self._holds(name, now) for name in active)

    def _muted_by(self, route: Route, now: datetime) -> str | None:
        return next((name for name in route.options.mute_time_intervals if self._holds(name, now)), None)

    def _holds(self, name: str, now: datetime) -> bool:
        return any(one.contains(now) for one in self.config.time_intervals[name])

    # -- what survives a restart ---------------------------------------------------------------------------------------

    def snapshot(self, now: datetime) -> dict[str, Any]:
        """Alerts, silences, the notification log (`told`) and dead letters, as one JSON document.

        Groups are made anew from the alerts: the notification log keeps them from being notified twice.
        """
        return {
            "at": rfc3339(now),
            "alerts": [alert_document(alert) for alert in self.alerts.values()],
            "silences": [silence_document(silence) for silence in self.silences.values()],
            "told": [
                {
                    "receiver": receiver,
                    "place": place,
                    "group": key,
                    "firing": sorted(entry.firing),
                    "resolved": sorted(entry.resolved),
                    "at": entry.at.isoformat(),
                    "left_out": {name: at.isoformat() for name, at in entry.suppressed.items()},
                    "explained": sorted(entry.explained),
                }
                for (receiver, place, key), entry in self._notification_log.items()
            ],
            "dead_letters": [
                {**{name: getattr(one, name) for name in DeadLetter.__slots__}, "failed_at": one.failed_at.isoformat()}
                for one in self.dead_letters
            ],
        }

    def restore(self, document: Mapping[str, Any], now: datetime) -> None:
        """Go on from a snapshot; alerts find their groups by the configuration that holds now.

        What fired when it was made fires on until there was time for an evaluation: without one nothing is resolved.
        """
        saved_at = from_rfc3339(document["at"]) if "at" in document else now
        for one in document.get("silences", ()):
            silence = silence_of(one)
            self.silences[silence.id] = silence
        for one in document.get("told", ()):
            key = (one["receiver"], one["place"], one["group"])
            suppressed = {name: datetime.fromisoformat(at) for name, at in one.get("left_out", {}).items()}
            at = datetime.fromisoformat(one["at"])
            explained = frozenset(one.get("explained", one["firing"]))  # a state of before: it rings nobody
            firing, resolved = frozenset(one["firing"]), frozenset(one["resolved"])
            self._notification_log[key] = _LogEntry(firing, resolved, at, suppressed, explained)
        self.dead_letters = [
            DeadLetter(**{**one, "failed_at": datetime.fromisoformat(one["failed_at"])})
            for one in document.get("dead_letters", ())
        ]
        notified = {name for entry in self._notification_log.values() for name in entry.firing}
        for one in document.get("alerts", ()):
            alert = alert_of(one)
            if alert.is_firing(saved_at) and alert.ends_at < now + VALID:
                alert = replace(alert, ends_at=now + VALID, is_timeout=True)
            self.alerts[alert.fingerprint] = alert
            for route in self.config.route.match(alert.labels):
                if alert.is_firing(now) or alert.fingerprint in notified:
                    labels = route.options.group_labels(alert.labels)
                    place = (route.index, tuple(sorted(labels.items())))
                    group = self._groups.setdefault(place, _Group(route, labels, now, has_flushed=True))
                    group.alerts[alert.fingerprint] = alert


def _weight(alert: Alert) -> tuple[Any, ...]:
    """By what a group is ordered: what wakes somebody before the rest, there an incident first, which knows why."""
    is_page = alert.labels.get("severity") == Severity.PAGE.value
    return not is_page, "incident" not in alert.labels, alert.starts_at, sorted(alert.labels.items())


def _pending_words(
    group: _Group, place: int, fingerprint: str, letter: DeadLetter | None
) -> tuple[str, datetime | None]:
    """Why an integration was not notified of an alert yet, though nothing suppresses it; and when it is tried next."""
    pending = group.pending.get(place)
    if pending is not None and fingerprint in pending.firing:
        return (f"not taken so far: {pending.error}", pending.due) if pending.error else ("being sent", None)
    due = max(group.next_flush, group.not_before.get(place, group.next_flush))
    if letter is not None:
        return f"not taken: {letter.error}", due
    return f"waits for its group ({'group_interval' if group.has_flushed else 'group_wait'})", due


def _merged(known: Alert, posted: Alert) -> Alert:
    """One alert of two of the same labels when their times overlap (Alertmanager, types.Alert.Merge)."""
    overlap = known.starts_at < posted.ends_at < known.ends_at or known.starts_at < posted.starts_at < known.ends_at
    if not overlap:
        return posted
    older, younger = (known, posted) if known.updated_at <= posted.updated_at else (posted, known)
    ends_at = younger.ends_at
    if not younger.is_firing(younger.updated_at):
        if not older.is_firing(younger.updated_at):
            ends_at = max(ends_at, older.ends_at)
    elif older.ends_at > ends_at and not older.is_timeout:
        ends_at = older.ends_at
    return replace(younger, starts_at=min(older.starts_at, younger.starts_at), ends_at=ends_at)


def _explained(alerts: Iterable[Alert]) -> frozenset[str]:
    return frozenset(alert.fingerprint for alert in alerts if alert.is_explained)


def _reason(
    last: _LogEntry | None,
    firing: frozenset[str],
    resolved: frozenset[str],
    explained: frozenset[str],
    integration: Integration,
    repeat_interval_s: float,
    now: datetime,
) -> Reason | None:
    """Why the receiver is to be notified; None when it need not be (Alertmanager, DedupStage.needsUpdate).

    One reason is ours alone: a cause that has become known, which is what whoever was woken waits for.
    """
    if last is None:
        return Reason.FIRST if firing else None
    if not firing <= last.firing:
        return Reason.NEW_ALERTS
    if not firing:
        return Reason.ALL_RESOLVED if last.firing else None
    if integration.send_resolved and not resolved <= last.resolved:
        return Reason.SOME_RESOLVED
    if not explained <= last.explained:
        return Reason.CAUSE_KNOWN
    return Reason.REPEAT if last.at < now - timedelta(seconds=repeat_interval_s) else None


def _suppression(labels: Labels, inhibitor: Inhibitor, silences: Sequence[Silence]) -> Suppressed:
    silenced_by = tuple(silence.id for silence in silences if all_match(silence.matchers, labels))
    return Suppressed(silenced_by, inhibitor.inhibitor_of(labels))
