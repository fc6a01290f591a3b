"""Keeping the store in order while it serves: look for too many series, roll up, drop what is kept no longer."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from analytics.cost.jobs import settle
from collector.cardinality import CardinalityGuard
from storage.recovery import forget_known_series
from storage.retention import Retention, disk_of
from storage.rollup import roll_up_signals
from storage.store import Store
from tailsight.settings import Settings
from tailsight.telemetry import UpkeepTelemetry

log = logging.getLogger(__name__)

_HOURS_A_ROUND = 24
_KNOWN_SERIES = timedelta(minutes=15)
"""How long it is remembered which series were told of: it bounds that memory, and what a lost part may hide."""

_RECENT, _FAR = timedelta(days=2), timedelta(days=35)


class Upkeep:
    """One round of everything that the store needs now and then; a part that fails does not keep the others from it.

    Args:
        store: migrated by the first round.
        settings: what is kept, how full the disk may be, how many series there may be.
        registry: where its own metrics are registered.
    """

    def __init__(self, store: Store, settings: Settings, registry: CollectorRegistry) -> None:
        self._store = store
        self._series_max = settings.collector.cardinality.series_per_metric_max
        path = settings.store.embedded_path
        disk = (lambda: disk_of(path)) if path is not None else None
        self._retention = Retention(store, settings.store.retention, disk)
        self._pricing = settings.cost.to_job()
        self._looked_far_at: datetime | None = None
        # A day less: what retention is about to drop would be settled in each round anew.
        self._far = min(_FAR, timedelta(days=max(1, settings.store.retention.rollups_days - 1)))
        self._guard = CardinalityGuard(store, settings.collector.cardinality, registry)
        self._telemetry = UpkeepTelemetry(registry)
        # Asked when it is read: a full disk may be what keeps a look from its end.
        self._telemetry.disk_full.set_function(lambda: self.full_reason is not None)
        self._forget_series_at = datetime.min.replace(tzinfo=UTC)

    @property
    def full_reason(self) -> str | None:
        """Why nothing more should be taken in; None while there is room on the disk."""
        return self._retention.full_reason

    def round(self, now: datetime) -> None:
        """Do all that is due."""
        self._part("cardinality", lambda: self._guard.look(now))
        self._part("rollup", lambda: self._roll_up(now))
        self._part("retention", lambda: self._retain(now))
        self._part("known_series", lambda: self._forget_known_series(now))
        self._part("cost", lambda: self._settle(now))

    def _roll_up(self, now: datetime) -> None:
        hours = roll_up_signals(self._store, now, crowded=self._guard.crowded_metrics, series_max=self._series_max)
        self._telemetry.rolled_up_hours.inc(hours)

    def _settle(self, now: datetime) -> None:
        # What comes late by days is rare, and looking for it is dear: once an hour.
        hour = now.replace(minute=0, second=0, microsecond=0)
        reach = min(_RECENT, self._far) if hour == self._looked_far_at else self._far
        settled = settle(self._store, now, self._pricing, reach=reach, hours_max=_HOURS_A_ROUND)
        self._telemetry.settled_hours.inc(settled)
        if settled < _HOURS_A_ROUND:  # nothing is left for the next round
            self._looked_far_at = hour

    def _retain(self, now: datetime) -> None:
        kept = self._retention.look(now)
        for reason, days in (("expired", kept.expired), ("disk_full", kept.for_room)):
            for day in days:
                self._telemetry.dropped_rows.labels(day.table, reason).inc(day.rows)
                self._telemetry.dropped_bytes.labels(day.table, reason).inc(day.size_bytes)
        self._telemetry.tell_kept(kept.left)
        if kept.disk is not None:
            self._telemetry.disk_used.set(kept.disk.used_ratio)

    def _forget_known_series(self, now: datetime) -> None:
        # By the clock, not as segments are loaded: a Collector may write our tables by itself.
        if now >= self._forget_series_at:
            forget_known_series(self._store)
            self._forget_series_at = now + _KNOWN_SERIES

    def _part(self, name: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception:  # it is due again in the next round; that it failed is seen at /metrics
            log.exception("%s failed", name)
            self._telemetry.runs.labels(name, "failed").inc()
        else:
            self._telemetry.runs.labels(name, "done").inc()
            self._telemetry.last_success.labels(name).set(time.time())
