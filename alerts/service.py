"""Alerting as a service: alerts are grouped, routed, notified of, and survive a restart.

State is kept in the store as one document. It is kept, and who was notified is noted, beside the sending: a store that
hangs delays nobody's page. What was sent just before a kill is sent again; an end in good order waits for what is being
sent, for some seconds. Of what waits to be noted only the newest is held; what had to make room is counted.
"""

import asyncio
import contextlib
import logging
import threading
from collections import Counter as Counts
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, Counter, Gauge

from alerts.alertmanager import PATH, AlertmanagerFeed
from alerts.config import AlertingConfig
from alerts.decide import alertmanager_silence_url
from alerts.deliver import DeliveryError, deliver, send
from alerts.dispatch import Dispatcher, MatchedRoute, Suppressed
from alerts.matchers import Labels
from alerts.notification import Notification
from alerts.receivers.messages import HttpMessage
from alerts.settings import AlertsSettings, HooksSettings
from alerts.silences import Silence
from alerts.titles import heading
from domain.address import shown
from domain.alert import VALID, Alert, DeadLetter, NotificationStatus
from storage.documents import change_document, read_document
from storage.errors import StoreError, StoreUnavailableError
from storage.store import Store

log = logging.getLogger(__name__)

_STEP_S = 1.0
_TIMEOUT_S = 10.0
_KEEP_AGAIN_S_MAX = 60.0  # after failures, each twice as long after the one before
_LAST_KEEP_S_MAX = 5.0  # of an end in good order, all of it
_LAST_SEND_S_MAX = 3.0  # of that, so that some is left to keep what came of it
_UNRECORDED_MAX = 1000
_KIND, _NAME = "alerting", "state"


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert as it stands: its receivers, what suppresses or mutes it, and who was notified.

    Attributes:
        alert: the alert.
        receivers: of the routes that it matches.
        suppressed: silenced, or inhibited by another alert.
        is_muted: all of its routes are muted now.
        notification_statuses: when each integration was notified of it last, or why not yet.
    """

    alert: Alert
    receivers: tuple[str, ...]
    suppressed: Suppressed
    is_muted: bool = False
    notification_statuses: tuple[NotificationStatus, ...] = ()


class Alerting:
    """Alerts of one process: `restore`, then `run` in one event loop. `post` may be called from any thread.

    Args:
        store: where the state is kept.
        settings: who is notified.
        registry: where its own metrics are registered.
        now: the clock.
        web_url: where people reach the pages, for links.
        notified: called, in a thread, with what a receiver has taken and when; again while it raises.
    """

    def __init__(
        self,
        store: Store,
        settings: AlertsSettings,
        registry: CollectorRegistry,
        now: Callable[[], datetime],
        web_url: Callable[[], str] = lambda: "",
        notified: Callable[[Notification, datetime], None] = lambda *_: None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._now = now
        self._web_url = web_url
        self._notified = notified
        self._lock = threading.Lock()
        self._saving = threading.Lock()  # of two states at once the older must not be kept last
        self._keeping = threading.Lock()
        self._unrecorded: deque[tuple[Notification, datetime]] = deque(maxlen=_UNRECORDED_MAX)
        self._has_told_of_unrecorded = False
        self._sending: set[asyncio.Task[None]] = set()
        self._config = settings.config
        self._dispatcher = Dispatcher(self._config)
        self._feed = AlertmanagerFeed()
        self._has_changed = False
        self._telemetry = _Telemetry(registry)
        self._is_restored = False

    def restore(self) -> None:
        """Go on from the state that was kept; only the first time. Before that nothing is kept in its place.

        Raises:
            StoreError: when the store does not tell it.
        """
        with self._saving:
            if self._is_restored:
                return
            kept = read_document(self._store, _KIND, _NAME)
            with self._lock:
                if kept is not None:
                    self._dispatcher.restore(kept, self._now())
                self._is_restored = True

    @contextlib.contextmanager
    def _known(self) -> Iterator[None]:
        """Hold the lock, once there is a state.

        Raises:
            StoreUnavailableError: before `restore` nobody can say that nothing fires, or that nothing is silenced.
        """
        with self._lock:
            if not self._is_restored:
                raise StoreUnavailableError("alerts and silences are not known before the store has answered once")
            yield

    @property
    def notifies_nobody(self) -> bool:
        """Is there no Alertmanager and no receiver with an integration, so that alerts are only shown."""
        return not self._settings.alertmanagers and not any(self._config.receivers.values())

    @property
    def notifies_by_alertmanager_only(self) -> bool:
        """Does our own router notify nobody, so that a silence of ours would silence nothing."""
        return bool(self._settings.alertmanagers) and not any(self._config.receivers.values())

    @property
    def config(self) -> AlertingConfig:
        """Routes and receivers of our own router."""
        return self._config

    @property
    def alertmanagers(self) -> tuple[str, ...]:
        """The Alertmanagers that get every alert, and route it themselves; URLs as they may be shown."""
        return tuple(map(shown, self._settings.alertmanagers))

    @property
    def hooks(self) -> HooksSettings:
        """The webhooks that we take."""
        return self._settings.hooks

    def post(self, alerts: Iterable[Alert]) -> None:
        """Take these alerts in; each is routed, and sent again to every Alertmanager while it fires."""
        taken = [self._of_this_site(alert) for alert in alerts]
        with self._lock:
            self._dispatcher.post(taken, self._now())
            self._feed.post(taken)
            self._has_changed = self._has_changed or bool(taken)

    def _of_this_site(self, alert: Alert) -> Alert:
        labels, annotations = {**alert.labels, **self._settings.labels}, alert.annotations
        if "summary" in annotations:  # Alertmanager and webhooks make their titles of it
            annotations = {**annotations, "summary": heading(alert)}
        alertmanager = self._settings.alertmanager_for_people
        if self.notifies_by_alertmanager_only and alertmanager is not None and "silence_url" in annotations:
            annotations = {**annotations, "silence_url": alertmanager_silence_url(labels, alertmanager)}
        return replace(alert, labels=labels, annotations=annotations)

    def keep_firing(self, names: Collection[str] | None = None) -> None:
        """Keep up what fires for as long as if it were posted again: whether it does could not be evaluated.

        Args:
            names: of the alerts (`alertname`) that could not be evaluated; all unless said.
        """
        now = self._now()
        with self._lock:
            kept_up = [
                replace(alert, ends_at=max(alert.ends_at, now + VALID), updated_at=now, is_timeout=True)
                for alert in self._dispatcher.alerts.values()
                if alert.is_firing(now) and (names is None or alert.labels["alertname"] in names)
            ]
            self._dispatcher.post(kept_up, now)
            self._feed.post(kept_up)
            self._has_changed = self._has_changed or bool(kept_up)

    def firing(self) -> list[Alert]:
        """What fires now, first beginning first.

        Raises:
            StoreUnavailableError: before `restore`.
        """
        with self._known():
            return [alert for alert, _ in self._dispatcher.firing(self._now())]

    def alerts(self) -> list[KnownAlert]:
        """The same, each with its receivers, what suppresses or mutes it, and who was notified when.

        Raises:
            StoreUnavailableError: before `restore`.
        """
        now = self._now()
        with self._known():
            firing = self._dispatcher.firing(now)
            by_routes = self._dispatcher.notification_statuses(firing, now)
            by_peers = [
                [self._feed.notification_status(url, one.fingerprint) for url in self._settings.alertmanagers]
                for one, _ in firing
            ]
        muted = self._dispatcher.muted_routes(now)
        known = []
        for (alert, suppressed), by_us, by_alertmanager in zip(firing, by_routes, by_peers, strict=True):
            statuses = (*(() if self.notifies_by_alertmanager_only else by_us), *by_alertmanager)
            routes = self._config.route.match(alert.labels)
            receivers = tuple(one.options.receiver for one in routes)
            is_muted = all(one.index in muted for one in routes)
            known.append(KnownAlert(alert, receivers, suppressed, is_muted, statuses))
        return known

    def match_routes(self, labels: Labels) -> tuple[list[MatchedRoute], Suppressed]:
        """The routes of an alert of these labels if it fired now, and what would suppress it."""
        with self._lock:
            return self._dispatcher.match_routes(labels, self._now())

    def muted_routes(self) -> frozenset[int]:
        """The routes, by their index, that are muted now."""
        return self._dispatcher.muted_routes(self._now())

    def last_delivered_at(self) -> dict[tuple[str, int], datetime]:
        """The last delivery to each integration, by the name of its receiver and its place in it.

        Raises:
            StoreUnavailableError: before `restore`.
        """
        with self._known():
            return self._dispatcher.last_delivered_at()

    def silences(self) -> list[Silence]:
        """All silences, the newest first; those that are over too, until they are taken away.

        Raises:
            StoreUnavailableError: before `restore`.
        """
        with self._known():
            return sorted(self._dispatcher.silences.values(), key=lambda one: one.starts_at, reverse=True)

    def set_silence(self, silence: Silence) -> None:
        """Set a silence, or change it. It holds at once; where the store does not answer it is kept once it does.

        Raises:
            StoreUnavailableError: before `restore`.
        """
        with self._known():
            self._dispatcher.silences[silence.id] = silence
            self._has_changed = True
        self._save_now_or_later()

    def delete_silence(self, silence_id: str) -> bool:
        """Delete a silence, as `set_silence` sets one; False when there is none of that id.

        Raises:
            StoreUnavailableError: before `restore`.
        """
        with self._known():
            found = self._dispatcher.silences.pop(silence_id, None) is not None
            self._has_changed = self._has_changed or found
        self._save_now_or_later()
        return found

    def _save_now_or_later(self) -> None:
        try:
            self.save()
        except StoreError as error:  # `run` tries again
            log.warning("alerting_state_not_kept error=%s", error)

    def dead_letters(self) -> Sequence[DeadLetter]:
        """What receivers would not take, the newest last.

        Raises:
            StoreUnavailableError: before `restore`.
        """
        with self._known():
            return tuple(self._dispatcher.dead_letters)

    def save(self) -> None:
        """Keep the state, if it has changed since the last time.

        Raises:
            StoreError: when the store does not take it, and before `restore`.
        """
        with self._saving:
            with self._known():  # what is kept must not be lost to what is not known yet
                if not self._has_changed:
                    return
                state, self._has_changed = self._dispatcher.snapshot(self._now()), False
            try:
                change_document(self._store, _KIND, _NAME, lambda _: state, self._now())
            except BaseException:
                self._has_changed = True
                raise

    async def run(self) -> None:
        """Send what is due, until cancelled; then keep the state.

        Raises:
            StoreUnavailableError: before `restore`: who was notified is not known, and would be notified again.
        """
        with self._known():
            self._delivered = asyncio.Event()  # one belongs to one loop
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client, asyncio.TaskGroup() as sending:
            sending.create_task(self._keep_forever())
            try:
                while True:
                    self._step(client, sending)
                    await asyncio.sleep(_STEP_S)
            finally:  # as far as it can be: at the next start what was kept holds
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_KEEP_S_MAX):
                        await self._end_sending()
                        await asyncio.to_thread(self._keep)

    async def _end_sending(self) -> None:
        """Wait for what is being sent, and cut short what takes longer: what is kept next is what came of it."""
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=_LAST_SEND_S_MAX)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _step(self, client: httpx.AsyncClient, sending: asyncio.TaskGroup) -> None:
        now = self._now()
        with self._lock:
            notifications = self._dispatcher.step(now)
            documents = self._feed.due(now)
            self._telemetry.firing.set(sum(alert.is_firing(now) for alert in self._dispatcher.alerts.values()))
            self._telemetry.set_dead_letters(self._dispatcher.dead_letters)
        for notification in notifications:
            task = sending.create_task(self._deliver(notification, client))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        for url in self._settings.alertmanagers if documents else ():
            sending.create_task(self._push(url, documents, client))

    async def _keep_forever(self) -> None:
        """Keep the state and note what receivers have taken, at once after a delivery; one thread at a time."""
        pause_s = _STEP_S
        while True:
            self._delivered.clear()
            is_kept = await asyncio.to_thread(self._keep)
            pause_s = _STEP_S if is_kept else min(2 * pause_s, _KEEP_AGAIN_S_MAX)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._delivered.wait()

    def _keep(self) -> bool:
        """Keep the state, and note all that is not noted yet; False when some of it is to be tried again."""
        is_kept = True
        with self._keeping:
            try:
                self.save()
            except StoreUnavailableError as error:  # it would not take what is to be noted either
                log.warning("alerting_state_not_kept error=%s", error)
                return False
            except Exception:
                is_kept = False
                log.exception("alerting_state_not_kept")
            for _ in range(len(self._unrecorded)):
                notification, at = self._unrecorded.popleft()
                try:
                    self._notified(notification, at)
                except Exception as error:
                    is_kept = False
                    log.warning("notification_not_noted receiver=%s error=%r", notification.receiver, error)
                    self._note_later(notification, at)
                    if isinstance(error, StoreUnavailableError):
                        break
            if is_kept:
                self._has_told_of_unrecorded = False
        return is_kept

    async def _deliver(self, notification: Notification, client: httpx.AsyncClient) -> None:
        kind = notification.integration.kind
        try:
            await deliver(notification, self._config.global_settings.linking_to(self._web_url()), client)
        except Exception as error:  # a bug in one kind of receiver must not keep the others from being notified
            if not isinstance(error, DeliveryError):
                log.exception("notification_failed_by_itself kind=%s", kind)
                error = DeliveryError(f"{type(error).__name__}: {error}", retryable=False)
            log.warning("notification_failed receiver=%s kind=%s error=%s", notification.receiver, kind, error)
            self._telemetry.notifications.labels(kind, "failed").inc()
            with self._lock:
                self._dispatcher.failed(
                    notification, self._now(), str(error), retryable=error.retryable, retry_after_s=error.retry_after_s
                )
                self._has_changed = True
            return
        self._telemetry.notifications.labels(kind, "delivered").inc()
        now = self._now()
        with self._lock:
            self._dispatcher.delivered(notification, now)
            self._has_changed = True
        self._note_later(notification, now)
        self._delivered.set()

    def _note_later(self, notification: Notification, at: datetime) -> None:
        with self._lock:  # the loop and the thread that keeps both come here
            is_full = len(self._unrecorded) == _UNRECORDED_MAX
            self._unrecorded.append((notification, at))  # where it is full, the first makes room
        if is_full:
            self._telemetry.unrecorded.inc()
            if not self._has_told_of_unrecorded:  # once, until all is noted again
                self._has_told_of_unrecorded = True
                log.warning("notifications_never_noted waiting_max=%d", _UNRECORDED_MAX)

    async def _push(self, url: str, documents: dict[str, dict[str, Any]], client: httpx.AsyncClient) -> None:
        http = self._settings.alertmanager_http_config
        try:
            await send(HttpMessage(url + PATH, list(documents.values()), http.headers(), http), client)
        except Exception as error:  # all are posted again in a minute
            if not isinstance(error, DeliveryError | OSError):  # an OSError is of a file of secrets
                log.exception("alertmanager_push_failed_by_itself")
            log.warning("alertmanager_not_reached url=%s error=%s", shown(url), error)
            self._telemetry.pushes.labels(shown(url), "failed").inc()
            with self._lock:
                self._feed.failed(url, str(error))
        else:
            self._telemetry.pushes.labels(shown(url), "done").inc()
            with self._lock:
                self._feed.delivered(url, documents, self._now())


class _Telemetry:
    """What alerting says of itself at /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.firing = Gauge("tailsight_alerts_firing", "Alerts that fire now", registry=registry)
        self.notifications = Counter(
            "tailsight_notifications",
            "Notifications by kind of receiver and outcome",
            ["kind", "outcome"],
            registry=registry,
        )
        self.pushes = Counter(
            "tailsight_alertmanager_pushes",
            "Posts to each Alertmanager, by outcome",
            ["url", "outcome"],
            registry=registry,
        )
        self.unrecorded = Counter(
            "tailsight_notifications_unrecorded",
            "Notifications that were taken and never noted with their incident: too many waited for the store",
            registry=registry,
        )
        self._dead_letters = Gauge(
            "tailsight_notification_dead_letters",
            "Notifications that a receiver has not taken",
            ["receiver"],
            registry=registry,
        )
        self._receivers: set[str] = set()

    def set_dead_letters(self, letters: Iterable[DeadLetter]) -> None:
        """How many there are of each receiver: 0 once it took what it had refused."""
        counts = Counts(letter.receiver for letter in letters)
        self._receivers |= counts.keys()
        for receiver in self._receivers:
            self._dead_letters.labels(receiver).set(counts[receiver])
