"""Dispatch: alerts gathered into groups, each told at most as often as its route allows.

A state machine without a clock or a socket: it is told what came in and what time it is, and says what is to be sent.
The order of things is Alertmanager's (dispatch/dispatch.go, notify/notify.go): wait for the group, leave out what is
inhibited, silenced or out of hours, ask whether the receiver knows it already, send, try again, remember.
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
from domain.alert import VALID, Alert, DeadLetter, Hearing, alert_document, alert_of
from domain.incident import Severity
from domain.window import from_rfc3339, rfc3339

_KEEP_RESOLVED = timedelta(minutes=30)
_KEEP_TOLD = timedelta(hours=120)  # as Alertmanager's log of notifications
_KEEP_SILENCES = timedelta(hours=120)  # after their end, as Alertmanager's data.retention
_TIMEOUT_LEAST_S = 10.0  # a route with a short interval still gives a receiver this long
_RETRY_FIRST_S, _RETRY_FACTOR, _RETRY_MOST_S = 0.5, 1.5, 60.0
_DEAD_LETTERS_MAX = 1000


@dataclass(frozen=True, slots=True)
class _Told:
    """What an integration was told of a group last; and when of alerts that were left out then, because held back.

    `explained` are those of them whose cause it was told, then or before.
    """

    firing: frozenset[str]
    resolved: frozenset[str]
    at: datetime
    left_out: Mapping[str, datetime] = field(default_factory=dict)
    explained: frozenset[str] = frozenset()

    def heard_at(self, alert: Alert, name: str) -> datetime | None:
        """When it was told last that an alert fires; None: not since it does."""
        if name in self.firing:
            return self.at
        at = self.left_out.get(name)
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
    """Why an alert is told to nobody: the silences that hold it, the labels of what inhibits it."""

    silenced_by: tuple[str, ...]
    inhibited_by: Mapping[str, str] | None

    def __bool__(self) -> bool:
        return bool(self.silenced_by) or self.inhibited_by is not None


@dataclass(frozen=True, slots=True)
class Reached:
    """A route that an alert of some labels reaches: the group that it joins there, and what keeps the route quiet now.

    `firing` are the alerts of that group already. `muted_by` names the time interval that mutes the route now,
    `inactive` says that none of those in which it is active holds now.
    """

    route: Route
    group_key: str
    group_labels: Mapping[str, str]
    firing: tuple[Alert, ...]
    muted_by: str | None
    inactive: bool

    @property
    def quiet(self) -> str | None:
        """What keeps the route quiet now, in words; None when it tells."""
        return _quiet_words(self.route, self.muted_by, inactive=self.inactive)


def _quiet_words(route: Route, muted_by: str | None, *, inactive: bool) -> str | None:
    if muted_by is not None:
        return f"muted by {muted_by}"
    return f"active only in {', '.join(route.options.active_time_intervals)}" if inactive else None


class Dispatcher:
    """Alerts, groups, silences and what was told, by one configuration."""

    def __init__(self, config: AlertingConfig) -> None:
        self.config = config
        self.alerts: dict[str, Alert] = {}
        self.silences: dict[str, Silence] = {}
        self.dead_letters: list[DeadLetter] = []
        self._groups: dict[tuple[int, tuple[tuple[str, str], ...]], _Group] = {}
        self._told: dict[tuple[str, int, str], _Told] = {}

    # -- what comes in -------------------------------------------------------------------------------------------------

    def post(self, alerts: Iterable[Alert], now: datetime) -> None:
        """Take these alerts, each in place of, or one with, the alert of the same labels that is known."""
        for posted in alerts:
            known = self.alerts.get(posted.fingerprint)
            alert = posted if known is None else _merged(known, posted)
            self.alerts[posted.fingerprint] = alert
            for route in self.config.route.match(alert.labels):
                self._gather(route, alert, now)

    def _gather(self, route: Route, alert: Alert, now: datetime) -> None:
        labels = route.options.group_labels(alert.labels)
        place = (route.index, tuple(sorted(labels.items())))
        wait = timedelta(seconds=route.options.group_wait_s)
        group = self._groups.get(place)
        if group is None:
            if not alert.is_firing(now):
                return  # nobody was told of it
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
            name: alert.updated_at for name, alert in group.alerts.items() if not alert.is_firing(now)
        }
        if self._is_out_of_hours(group.route, now):
            return
        told = [alert for alert in group.alerts.values() if not _suppression(alert.labels, inhibitor, silences)]
        if told:
            told.sort(key=_weight)
            for place, integration in enumerate(self.config.receivers[group.route.options.receiver]):
                self._ask(group, place, integration, told, now)
        if not group.pending:
            self._settle(group)

    def _ask(self, group: _Group, place: int, integration: Integration, alerts: Sequence[Alert], now: datetime) -> None:
        """Make it pending, unless the receiver knows it already."""
        firing = frozenset(alert.fingerprint for alert in alerts if alert.is_firing(now))
        resolved = frozenset(alert.fingerprint for alert in alerts) - firing
        if now < group.not_before.get(place, now):
            group.has_failed = True
            return
        receiver = group.route.options.receiver
        known = self._told.get((receiver, place, group.key))
        explained = _explained(alerts) & firing
        reason = _reason(known, firing, resolved, explained, integration, group.route.options.repeat_interval_s, now)
        if reason is None:
            return
        sent = [alert for alert in alerts if integration.send_resolved or alert.is_firing(now)]
        if not sent:  # only told to forget what fired
            self._remember((receiver, place, group.key), firing, resolved, frozenset(), now)
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
            known_as = (notification.receiver, notification.place, group.key)
            explained = _explained(notification.alerts)
            self._remember(known_as, pending.firing, pending.resolved, explained, now)
            self._done(group, notification.place)
        self.dead_letters = [one for one in self.dead_letters if not _is_of(one, notification)]  # it was told after all

    def _remember(
        self,
        known_as: tuple[str, int, str],
        firing: frozenset[str],
        resolved: frozenset[str],
        explained: frozenset[str],
        now: datetime,
    ) -> None:
        left_out: dict[str, datetime] = {}
        if (before := self._told.get(known_as)) is not None:
            heard = {**before.left_out, **dict.fromkeys(before.firing, before.at)}
            left_out = {name: heard[name] for name in heard.keys() & self.alerts.keys() - firing - resolved}
            explained |= before.explained  # a cause that is doubted again and known again rings no second time
        self._told[known_as] = _Told(firing, resolved, now, left_out, explained & (firing | left_out.keys()))

    def failed(
        self, notification: Notification, now: datetime, error: str, *, retryable: bool, retry_after_s: float = 0.0
    ) -> None:
        """The receiver did not take it: try again a little later, or give it up and keep it as a dead letter.

        A receiver that asks for time has it, beyond the next flush too; the others of the group are told meanwhile.
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
        """All were told: what was resolved and has not come back since is done with."""
        if group.has_failed:
            return
        for name, updated_at in group.flushed_resolved.items():
            alert = group.alerts.get(name)
            if alert is not None and alert.updated_at == updated_at:
                del group.alerts[name]
        group.flushed_resolved = {}

    def _forget(self, now: datetime) -> None:
        for name in [name for name, alert in self.alerts.items() if alert.ends_at + _KEEP_RESOLVED < now]:
            del self.alerts[name]
        for key in [key for key, told in self._told.items() if told.at + _KEEP_TOLD < now]:
            del self._told[key]
        for name in [name for name, silence in self.silences.items() if silence.ends_at + _KEEP_SILENCES < now]:
            del self.silences[name]
        empty = [
            place
            for place, group in self._groups.items()
            if group.has_flushed and not group.alerts and not group.pending and group.next_flush <= now
        ]
        for place in empty:
            del self._groups[place]

    # -- what is kept quiet --------------------------------------------------------------------------------------------

    def firing(self, now: datetime) -> list[tuple[Alert, Suppressed]]:
        """What fires now, the first beginning first, and what keeps each of them quiet."""
        alerts = [alert for alert in self.alerts.values() if alert.is_firing(now)]
        alerts.sort(key=lambda alert: (alert.starts_at, alert.fingerprint))
        inhibitor = self._inhibitor(now)
        silences = self._active_silences(now)
        return [(alert, _suppression(alert.labels, inhibitor, silences)) for alert in alerts]

    def reach(self, labels: Labels, now: datetime) -> tuple[list[Reached], Suppressed]:
        """Where an alert of these labels would go if it fired now, and what would keep it quiet everywhere."""
        found = []
        for route in self.config.route.match(labels):
            group = self._group_of(route, labels, now)
            firing = tuple(one for one in group.alerts.values() if one.is_firing(now))
            muted_by, inactive = self._muted_by(route, now), self._is_inactive(route, now)
            found.append(Reached(route, group.key, group.labels, firing, muted_by, inactive))
        return found, _suppression(labels, self._inhibitor(now), self._active_silences(now))

    def hearings(self, alerts: Iterable[tuple[Alert, Suppressed]], now: datetime) -> list[tuple[Hearing, ...]]:
        """Of each alert, what every integration of the routes that it takes has had of it, and why not yet."""
        quiet = {
            route.index: _quiet_words(route, self._muted_by(route, now), inactive=self._is_inactive(route, now))
            for route in self.config.route.walk()
        }
        letters = {(one.receiver, one.place, one.group_key): one for one in self.dead_letters}
        return [self._hearings(alert, suppressed, quiet, letters, now) for alert, suppressed in alerts]

    def _hearings(
        self,
        alert: Alert,
        suppressed: Suppressed,
        quiet: Mapping[int, str | None],
        letters: Mapping[tuple[str, int, str], DeadLetter],
        now: datetime,
    ) -> tuple[Hearing, ...]:
        found: dict[tuple[str, int], Hearing] = {}  # where two routes lead to one receiver, what it heard by either
        name, held = alert.fingerprint, "silenced" if suppressed.silenced_by else "inhibited" if suppressed else None
        for route in self.config.route.match(alert.labels):
            receiver, group = route.options.receiver, self._group_of(route, alert.labels, now)
            key = group.key
            integrations = self.config.receivers[receiver]
            if not integrations:
                found[receiver, 0] = Hearing(receiver, None, None, "nothing to tell by")
            for place, integration in enumerate(integrations):
                told = self._told.get((receiver, place, key))
                at = None if told is None else told.heard_at(alert, name)
                why: tuple[str, datetime | None] = ("", None)
                if at is None:
                    stays = held or quiet[route.index]
                    why = (
                        (stays, None) if stays else _waits_for(group, place, name, letters.get((receiver, place, key)))
                    )
                before = found.get((receiver, place))
                if before is None or before.told_at is None or (at is not None and at > before.told_at):
                    found[receiver, place] = Hearing(receiver, integration.kind, at, *why)
        return tuple(found.values())

    def _group_of(self, route: Route, labels: Labels, now: datetime) -> _Group:
        """The group that an alert of these labels joins; a new one where there is none."""
        group_labels = route.options.group_labels(labels)
        known = self._groups.get((route.index, tuple(sorted(group_labels.items()))))
        return known or _Group(route, group_labels, now)

    def out_of_hours(self, now: datetime) -> frozenset[int]:
        """The routes, by their index, that tell nobody at this time."""
        return frozenset(route.index for route in self.config.route.walk() if self._is_out_of_hours(route, now))

    def last_taken(self) -> dict[tuple[str, int], datetime]:
        """When each integration, by the name of its receiver and its place in it, took something last."""
        found: dict[tuple[str, int], datetime] = {}
        for (receiver, place, _), told in self._told.items():
            integrations = self.config.receivers.get(receiver, ())
            if place >= len(integrations) or not (told.firing or integrations[place].send_resolved):
                continue  # of another configuration; or it was not told, because it hears of no end
            found[receiver, place] = max(told.at, found.get((receiver, place), told.at))
        return found

    def _inhibitor(self, now: datetime) -> Inhibitor:
        return Inhibitor(
            self.config.inhibit_rules, [alert.labels for alert in self.alerts.values() if alert.is_firing(now)]
        )

    def _active_silences(self, now: datetime) -> list[Silence]:
        return [silence for silence in self.silences.values() if silence.is_active(now)]

    def _is_out_of_hours(self, route: Route, now: datetime) -> bool:
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
        """Alerts, silences and what was told, as one JSON document.

        Groups are made anew from the alerts: what was told keeps them from being told twice.
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
                    "firing": sorted(told.firing),
                    "resolved": sorted(told.resolved),
                    "at": told.at.isoformat(),
                    "left_out": {name: at.isoformat() for name, at in told.left_out.items()},
                    "explained": sorted(told.explained),
                }
                for (receiver, place, key), told in self._told.items()
            ],
            "dead_letters": [
                {**{name: getattr(one, name) for name in DeadLetter.__slots__}, "failed_at": one.failed_at.isoformat()}
                for one in self.dead_letters
            ],
        }

    def restore(self, document: Mapping[str, Any], now: datetime) -> None:
        """Go on from a snapshot; alerts find their groups by the configuration that holds now.

        What fired when it was made fires on until somebody has had time to look: that nobody looked ends nothing.
        """
        saved_at = from_rfc3339(document["at"]) if "at" in document else now
        for one in document.get("silences", ()):
            silence = silence_of(one)
            self.silences[silence.id] = silence
        for one in document.get("told", ()):
            key = (one["receiver"], one["place"], one["group"])
            left_out = {name: datetime.fromisoformat(at) for name, at in one.get("left_out", {}).items()}
            at = datetime.fromisoformat(one["at"])
            explained = frozenset(one.get("explained", one["firing"]))  # a state of before: it rings nobody
            self._told[key] = _Told(frozenset(one["firing"]), frozenset(one["resolved"]), at, left_out, explained)
        self.dead_letters = [
            DeadLetter(**{**one, "failed_at": datetime.fromisoformat(one["failed_at"])})
            for one in document.get("dead_letters", ())
        ]
        known = {name for told in self._told.values() for name in told.firing}
        for one in document.get("alerts", ()):
            alert = alert_of(one)
            if alert.is_firing(saved_at) and alert.ends_at < now + VALID:
                alert = replace(alert, ends_at=now + VALID, is_timeout=True)
            self.alerts[alert.fingerprint] = alert
            for route in self.config.route.match(alert.labels):
                if alert.is_firing(now) or alert.fingerprint in known:
                    labels = route.options.group_labels(alert.labels)
                    place = (route.index, tuple(sorted(labels.items())))
                    group = self._groups.setdefault(place, _Group(route, labels, now, has_flushed=True))
                    group.alerts[alert.fingerprint] = alert


def _weight(alert: Alert) -> tuple[Any, ...]:
    """By what a group is ordered: what wakes somebody before the rest, there an incident first, which knows why."""
    is_page = alert.labels.get("severity") == Severity.PAGE.value
    return not is_page, "incident" not in alert.labels, alert.starts_at, sorted(alert.labels.items())


def _waits_for(group: _Group, place: int, name: str, letter: DeadLetter | None) -> tuple[str, datetime | None]:
    """Why an integration was not told of an alert yet, though nothing holds it back; and when it is tried next."""
    pending = group.pending.get(place)
    if pending is not None and name in pending.firing:
        return (f"not taken so far: {pending.error}", pending.due) if pending.error else ("being sent", None)
    due = max(group.next_flush, group.not_before.get(place, group.next_flush))
    if letter is not None:
        return f"not taken: {letter.error}", due
    return f"waits for its group ({'group_interval' if group.has_flushed else 'group_wait'})", due


def _is_of(letter: DeadLetter, notification: Notification) -> bool:
    told = (notification.receiver, notification.place, notification.group_key)
    return (letter.receiver, letter.place, letter.group_key) == told


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
    known: _Told | None,
    firing: frozenset[str],
    resolved: frozenset[str],
    explained: frozenset[str],
    integration: Integration,
    repeat_interval_s: float,
    now: datetime,
) -> Reason | None:
    """Why the receiver is to be told; None when it knows (Alertmanager, DedupStage.needsUpdate).

    One reason is ours alone: a cause that has become known, which is what whoever was woken waits for.
    """
    if known is None:
        return Reason.FIRST if firing else None
    if not firing <= known.firing:
        return Reason.NEW_ALERTS
    if not firing:
        return Reason.ALL_RESOLVED if known.firing else None
    if integration.send_resolved and not resolved <= known.resolved:
        return Reason.SOME_RESOLVED
    if not explained <= known.explained:
        return Reason.CAUSE_KNOWN
    return Reason.REPEAT if known.at < now - timedelta(seconds=repeat_interval_s) else None


def _suppression(labels: Labels, inhibitor: Inhibitor, silences: Sequence[Silence]) -> Suppressed:
    silenced_by = tuple(silence.id for silence in silences if all_match(silence.matchers, labels))
    return Suppressed(silenced_by, inhibitor.inhibitor_of(labels))
