"""Replay: who would have been notified, when, of what is stored of an interval of time.

The sources of `alerts.sources` are asked again, minute by minute, for what they would have found then; the alerts are
played through the routing tree. Whatever cannot be known afterwards is named in `NOT_REPLAYED`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from alerts.config import AlertingConfig
from alerts.dispatch import Dispatcher
from alerts.matchers import Labels
from alerts.notification import Notification, Reason
from alerts.settings import AlertsSettings
from alerts.sources import AlertContext, AlertSources, Evaluation, SpendFindings
from alerts.titles import heading
from analytics.burn_rates import BurnAlert
from analytics.cost.jobs import Pricing
from analytics.device_faults import DeviceFault
from analytics.jobs.devices import PastDeviceFaults
from analytics.jobs.fleet import past_traffic
from analytics.jobs.objectives import PastCounts, backtest, backtest_counts, slo_statuses
from analytics.knowledge import Knowledge
from analytics.traffic_stops import PastTraffic, StoppedTraffic
from domain.alert import Alert
from domain.incident import Incident, Status
from domain.slo import Objective, SloStatus
from domain.window import Window
from storage.incidents import read_incidents
from storage.store import Store

NOT_REPLAYED: Mapping[str, str] = {
    "late data": "of stored data it is known what time it is of, and not when it came in",
}
"""The sources that a replay does not ask, and why: their alerts are not in it."""

INTERVAL_SOURCES = ("incidents", "burn rates")
"""The sources whose alerts are known at once as intervals: they need no evaluation minute by minute."""

_TICK = timedelta(milliseconds=1)
_FIRES_ON = timedelta(days=3650)  # until it is posted with its end
_AFTER = timedelta(hours=1)  # of the last event: what a group has left to send
_EVALUATION_INTERVAL = timedelta(minutes=1)
_LOOKBACK = timedelta(minutes=30)  # what an evaluation goes over again
_NEXT_EVALUATION = timedelta(seconds=30)  # when a live one that takes something back comes at the soonest


@dataclass(frozen=True, slots=True)
class ReplayedNotification:
    """One notification that a receiver would have had."""

    at: datetime
    receiver: str
    kind: str
    reason: Reason
    firing_count: int
    resolved_count: int
    summary: str


def replay(config: AlertingConfig, alerts: Sequence[Alert]) -> list[ReplayedNotification]:
    """Play alerts through the routing tree, each posted at its `updated_at` and again when it ended.

    Nothing is sent.

    Args:
        config: routes and receivers.
        alerts: with `starts_at` and `ends_at` as they were; `updated_at` is when each was posted first.
    """
    events = sorted(
        [(one.updated_at, replace(one, ends_at=one.ends_at + _FIRES_ON)) for one in alerts]
        + [(one.ends_at, replace(one, updated_at=one.ends_at)) for one in alerts],
        key=lambda event: event[0],
    )
    if not events:
        return []
    dispatcher, notifications = Dispatcher(config), []
    now, last = events[0][0], events[-1][0] + _AFTER
    while now <= last:
        while events and events[0][0] <= now:
            dispatcher.post([events.pop(0)[1]], now)
        for notification in dispatcher.step(now):
            dispatcher.delivered(notification, now)
            notifications.append(_replayed(notification, now))
        due = [time for time in (dispatcher.next_due(), events[0][0] if events else None) if time is not None]
        if not due:
            break
        now = max(now + _TICK, min(due))
    return notifications


def _replayed(notification: Notification, now: datetime) -> ReplayedNotification:
    first = notification.alerts[0]
    return ReplayedNotification(
        at=now,
        receiver=notification.receiver,
        kind=notification.integration.kind,
        reason=notification.reason,
        firing_count=len(notification.firing),
        resolved_count=len(notification.resolved),
        summary=heading(first),
    )


@dataclass(frozen=True, slots=True)
class PastObjectives:
    """Objectives that do not change; `are_proposed` says that nobody promised them."""

    objectives: Sequence[Objective]
    are_proposed: bool = False

    def __call__(self) -> Sequence[Objective]:
        """All of them."""
        return self.objectives


def past_alerts(
    store: Store,
    window: Window,
    objectives: PastObjectives,
    *,
    settings: AlertsSettings,
    knowledge: Knowledge,
    pricing: Pricing,
    web_url: str = "",
    only: Collection[str] | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Alert]:
    """The alerts of an interval of stored time, by beginning; what goes on at its end ends there.

    Alerts are as they were posted first, at `updated_at`. What fires when the window begins is posted then. Incidents
    are as they are known by now, from their detection on; objectives, settings and prices are those given.

    Args:
        store: what is known.
        window: when.
        objectives: what was promised.
        settings: what pages, and what is a ticket.
        knowledge: how signals and kinds of cause are called, and which metrics tell of what waits.
        pricing: what GPUs cost, and what may be spent.
        web_url: where the pages are reached.
        only: names of the sources to ask; all that can be asked of the past when None.
        progress: called with how much is done, 0-1.
    """
    incidents = [_as_notified(one) for one in read_incidents(store, window)]
    findings = _PastFindings(store, objectives.objectives, window, pricing, knowledge)
    intervals = _FiringIntervals()
    sources = AlertSources(
        findings,
        objectives,
        AlertContext(settings, knowledge, web_url, _raised),
        intervals.firing,
        asks=lambda name: name not in NOT_REPLAYED and (only is None or name in only),
    )
    evaluations = {window.start}
    evaluations |= {at for one in incidents for at in (one.detected_at, one.ended_at) if at is not None}
    evaluations |= {at for one in findings.all_burns for at in (one.started_at, one.ended_at) if at is not None}
    if not set(sources.table) <= set(INTERVAL_SOURCES):
        evaluations |= set(_minutes(window))
    for now in sorted(one for one in evaluations if window.start <= one < window.end):
        evaluated = Window(now - _LOOKBACK, now)
        known = [
            _known_at(one, now)
            for one in incidents
            if one.detected_at <= now and (one.ended_at is None or one.ended_at > evaluated.start)
        ]
        intervals.add(sources.alerts(Evaluation(known, evaluated, now)), now)
        progress((now - window.start) / (window.end - window.start))
    return sorted(intervals.all(window.end), key=lambda one: (one.starts_at, one.fingerprint))


def _minutes(window: Window) -> Iterator[datetime]:
    minute = window.start.replace(second=0, microsecond=0)
    while minute < window.end:
        yield minute
        minute += _EVALUATION_INTERVAL


def _as_notified(incident: Incident) -> Incident:
    """One that was taken back by the evaluation after the one that found it fired until then."""
    if incident.ended_at is None:
        return incident
    return replace(incident, ended_at=max(incident.ended_at, incident.detected_at + _NEXT_EVALUATION))


def _known_at(incident: Incident, now: datetime) -> Incident:
    if incident.ended_at is None or incident.ended_at <= now:
        return incident
    return replace(incident, ended_at=None, status=Status.OPEN)


def _raised(_: str, error: Exception) -> None:
    raise error


class _PastFindings(SpendFindings):
    """What was known at the times of a window, one after the other (`alerts.sources.Findings`)."""

    def __init__(
        self, store: Store, objectives: Sequence[Objective], window: Window, pricing: Pricing, knowledge: Knowledge
    ) -> None:
        super().__init__(store, pricing)
        self._window = window
        self._counts = PastCounts(store, window, knowledge)
        self._faults = PastDeviceFaults(store, window.end)
        burns = (
            burn
            for one in objectives
            for burn in backtest(store, one, window, backtest_counts(store, one, window, knowledge))
        )
        self.all_burns = sorted(burns, key=lambda one: one.started_at)

    @cached_property
    def _traffic(self) -> PastTraffic:
        return past_traffic(self._store, self._window)

    def burns(self, _: Sequence[Objective], now: datetime) -> Sequence[BurnAlert]:
        """Of the objectives that it was made for."""
        return [
            one if one.ended_at is None or one.ended_at <= now else replace(one, ended_at=None)
            for one in self.all_burns
            if one.started_at <= now
        ]

    def statuses(self, objectives: Sequence[Objective], now: datetime) -> Sequence[SloStatus]:
        """Maintenance is excluded as it is known by now."""
        return slo_statuses(self._store, objectives, now, self._counts)

    def faults(self, incidents: Sequence[Incident], now: datetime) -> Sequence[DeviceFault]:
        """What the store remembers of faults is of today, and not asked."""
        return self._faults.at(now, incidents)

    def stopped(self, now: datetime) -> Sequence[StoppedTraffic]:
        """By the requests that began before."""
        return self._traffic.stopped(now)

    def newest(self, _: datetime) -> Mapping[str, datetime | None]:
        """Not known of the past."""
        return {}


_Key = tuple[tuple[str, str], ...]


class _FiringIntervals:
    """Alerts of one evaluation after another, as intervals: from the evaluation that fired them first until their end.

    One that an evaluation does not bring is over at the `ends_at` that it had last, as in `alerts.dispatch`.
    """

    def __init__(self) -> None:
        self._firing: dict[_Key, Alert] = {}
        self._firing_last: set[_Key] = set()
        self._over: list[Alert] = []

    def firing(self) -> list[Labels]:
        """The labels of those that fire."""
        return [one.labels for one in self._firing.values()]

    def add(self, alerts: Sequence[Alert], now: datetime) -> None:
        """Take the alerts of an evaluation at `now`, which is later than at the last call."""
        forgotten = [key for key, one in self._firing.items() if key not in self._firing_last and one.ends_at <= now]
        self._over += [self._firing.pop(key) for key in forgotten]
        firing = set()
        for one in alerts:
            key = tuple(sorted(one.labels.items()))
            known = self._firing.get(key)
            if one.is_firing(now):
                firing.add(key)
                self._firing[key] = one if known is None else replace(known, ends_at=one.ends_at)
            elif known is not None and one.ends_at > known.starts_at:  # else it is the end of an earlier one
                self._over.append(replace(self._firing.pop(key), ends_at=max(one.ends_at, known.updated_at)))
        self._firing_last = firing

    def all(self, end: datetime) -> list[Alert]:
        """All of them; those that fire are over at `end`."""
        still = [
            replace(one, ends_at=end if key in self._firing_last else min(one.ends_at, end))
            for key, one in self._firing.items()
        ]
        return [*self._over, *still]
