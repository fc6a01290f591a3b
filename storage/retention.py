"""How long each family of tables keeps its days, and what goes first when the disk is full.

A day is a partition, and it goes as a whole: nothing is rewritten, nothing waits for a merge. Only tables that we made
are touched, and only those that are cut by day. The one exception is what series are: they live longer than a day, so
their rows go one by one, once a day, when nothing is kept any more of the time in which they were seen.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import polars as pl

from storage.errors import StoreError
from storage.rollup import seal_day
from storage.settings import RetentionSettings
from storage.store import Store
from storage.upstream import is_ours

log = logging.getLogger(__name__)


class Family(StrEnum):
    """Tables that are kept equally long, in the order in which they make room on a full disk."""

    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"
    QUARANTINE = "quarantine"
    SAMPLES = "samples"
    REQUESTS = "requests"
    ROLLUPS = "rollups"


FAMILIES: Mapping[str, Family] = {
    "otel_traces": Family.TRACES,
    "otel_traces_trace_id_ts": Family.TRACES,
    "otel_logs": Family.LOGS,
    "otel_metrics_gauge": Family.METRICS,
    "otel_metrics_sum": Family.METRICS,
    "otel_metrics_histogram": Family.METRICS,
    "otel_metrics_exponential_histogram": Family.METRICS,
    "otel_metrics_summary": Family.METRICS,
    "tailsight_quarantine": Family.QUARANTINE,
    "tailsight_samples": Family.SAMPLES,
    "tailsight_requests": Family.REQUESTS,
    "tailsight_request_rollup": Family.ROLLUPS,
    "tailsight_signal_rollup": Family.ROLLUPS,
    "tailsight_sample_hours": Family.ROLLUPS,
    "tailsight_caught_up": Family.ROLLUPS,
    "tailsight_cost_hours": Family.ROLLUPS,
    "tailsight_request_hours": Family.ROLLUPS,
    "tailsight_gpu_hours": Family.ROLLUPS,
}
"""The tables that are cut by day, by their upstream names where they have one. Others keep all, but silent series."""

# The families of a stage make room together; what is in no stage goes last.
_STAGES = ({Family.TRACES, Family.LOGS, Family.METRICS, Family.QUARANTINE}, {Family.SAMPLES, Family.REQUESTS})
_AHEAD = timedelta(days=1)  # a clock that is wrong by less is taken for right

_DAYS = {
    "table": pl.String,
    "partition_id": pl.String,
    "day": pl.Date,
    "rows": pl.UInt64,
    "size_bytes": pl.UInt64,
}
_ROWS = {"rows": pl.UInt64}


@dataclass(frozen=True, slots=True)
class Day:
    """One day of one table."""

    table: str
    family: Family
    partition_id: str
    day: date
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Disk:
    """How full a file system is, as for a user without privileges."""

    used_bytes: int
    size_bytes: int

    @property
    def used_ratio(self) -> float:
        """Share that is used, 0 to 1."""
        return self.used_bytes / self.size_bytes if self.size_bytes else 0.0


def disk_of(path: Path) -> Disk:
    """The file system that holds a folder.

    Raises:
        OSError: when it cannot be asked.
    """
    found = os.statvfs(path)
    free_bytes = found.f_bavail * found.f_frsize
    used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
    return Disk(used_bytes, used_bytes + free_bytes)


def read_days(store: Store) -> list[Day]:
    """The days of all tables that retention may cut, by table and day."""
    families = _ours(store)
    frame = store.query("days", _DAYS, tables=list(families))
    return [Day(family=families[row["table"]], **row) for row in frame.iter_rows(named=True)]


def expired(days: Iterable[Day], now: datetime, settings: RetentionSettings) -> list[Day]:
    """The days that are kept no longer, raw ones first. What lies ahead of now waits until its time has passed, too."""
    kept = settings.days_by_family
    found = [day for day in days if day.day < now.date() - timedelta(days=kept[day.family.value])]
    return sorted(found, key=lambda day: (_stage(day.family), day.day, day.table))


def making_room(days: Iterable[Day], now: datetime, settings: RetentionSettings, needed_bytes: int) -> list[Day]:
    """The days to drop for so many bytes, as far as they go: raw ones first, rollups last, of each the oldest first.

    Days ahead of now (a clock was wrong) go before the oldest. The last `disk_full_days_min` days are never among them.
    """
    first_kept = now.date() - timedelta(days=settings.disk_full_days_min - 1)
    ahead = now.date() + _AHEAD
    candidates = [day for day in days if day.day < first_kept or day.day > ahead]
    candidates.sort(key=lambda day: (_stage(day.family), day.day <= ahead, day.day, day.family, day.table))
    chosen: list[Day] = []
    for day in candidates:
        if needed_bytes <= 0:
            break
        chosen.append(day)
        needed_bytes -= day.size_bytes
    return chosen


def drop(store: Store, day: Day) -> None:
    """Drop one day of one table. What is rolled up of its samples stays as it is from now on.

    Raises:
        StoreError: when the store refuses; the day is still there.
    """
    if day.table == "tailsight_samples":
        seal_day(store, day.day)
    store.execute(
        "ALTER TABLE {table:Identifier} DROP PARTITION ID {partition_id:String}",
        {"table": day.table, "partition_id": day.partition_id},
        {"max_partition_size_to_drop": 0},  # the engine's guard against a slip of the hand
    )


def forget_silent_series(store: Store, now: datetime, settings: RetentionSettings) -> int:
    """Drop what a series is when neither a sample nor a rollup is kept of the days in which it was seen.

    The bound is a midnight, so rows are rewritten once a day at most.

    Returns:
        How many rows went: one for each entity that a series belonged to.

    Raises:
        StoreError: when the store cannot do it now.
    """
    kept = settings.days_by_family
    days = max(kept[Family.SAMPLES], kept[Family.ROLLUPS])
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    before = midnight - timedelta(days=days)
    rows = int(store.query("silent_series", _ROWS, before=before)["rows"][0])
    if rows:
        for table in ("tailsight_series", "tailsight_series_seen"):
            store.execute(
                "ALTER TABLE {table:Identifier} DELETE WHERE last_seen < {before:DateTime('UTC')}",
                {"table": table, "before": before},
                {"mutations_sync": 1},
            )
    return rows


@dataclass(frozen=True, slots=True)
class Kept:
    """What one look at the retention found and did."""

    expired: tuple[Day, ...]
    for_room: tuple[Day, ...]
    left: tuple[Day, ...]
    disk: Disk | None


class Retention:
    """Drops what is kept no longer, and makes room on a full disk. One thread looks; any may ask `full_reason`.

    Args:
        store: migrated.
        settings: how long, and how full.
        disk: the file system of an embedded store; None for a server's, which is not ours to watch.
    """

    def __init__(self, store: Store, settings: RetentionSettings, disk: Callable[[], Disk] | None) -> None:
        self._store = store
        self._settings = settings
        self._disk = disk
        self._full_reason: str | None = None

    @property
    def full_reason(self) -> str | None:
        """Why nothing more should be taken in, in words for the sender; None while there is room."""
        return self._full_reason

    def look(self, now: datetime) -> Kept:
        """Drop what is due at `now`.

        What the store does not drop now is logged, and is due again at the next look.

        Raises:
            StoreError, OSError: when the store or the file system cannot be asked.
        """
        try:
            days = read_days(self._store)
        except StoreError:  # a full disk may be why
            self._full_reason = self._reason(self._measured(), "the store cannot say what it holds")
            raise
        old = [
            day for day in expired(days, now, self._settings) if self._dropped(day, "is kept no longer", logging.INFO)
        ]
        left = [day for day in days if day not in old]
        disk = self._measured()
        room: list[Day] = []
        if disk is not None and (excess_bytes := self._excess_bytes(disk)) > 0:
            why = (
                f"makes room: the disk is {disk.used_ratio:.1%} full, {self._settings.disk_full_ratio:.0%} are allowed"
            )
            wanted = making_room(left, now, self._settings, excess_bytes)
            room = [day for day in wanted if self._dropped(day, why, logging.WARNING)]
            left = [day for day in left if day not in room]
            disk = Disk(disk.used_bytes - sum(day.size_bytes for day in room), disk.size_bytes)
        self._full_reason = self._reason(
            disk, f"nothing is left to drop but the last {self._settings.disk_full_days_min} days"
        )
        self._forget_series(now)
        return Kept(tuple(old), tuple(room), tuple(left), disk)

    def _measured(self) -> Disk | None:
        return self._disk() if self._disk is not None else None

    def _excess_bytes(self, disk: Disk) -> int:
        return disk.used_bytes - int(self._settings.disk_full_ratio * disk.size_bytes)

    def _reason(self, disk: Disk | None, why: str) -> str | None:
        if disk is None or self._excess_bytes(disk) <= 0:
            return None
        allowed = f"{self._settings.disk_full_ratio:.0%} are allowed"
        return f"the disk is {disk.used_ratio:.1%} full, {allowed}, and {why}: give it more room"

    def _forget_series(self, now: datetime) -> None:
        try:
            rows = forget_silent_series(self._store, now, self._settings)
        except StoreError as error:
            log.warning("silent series could not be dropped: %s", error)
            return
        if rows:
            log.info("tailsight_series: %d rows dropped: nothing is kept of the time in which they were seen", rows)

    def _dropped(self, day: Day, why: str, level: int) -> bool:
        what = f"{day.table} {day.day} ({day.rows:,} rows, {day.size_bytes / 1e6:,.1f} MB)"
        try:
            drop(self._store, day)
        except StoreError as error:
            log.warning("%s could not be dropped: %s", what, error)
            return False
        log.log(level, "%s dropped: it %s", what, why)
        return True


def oldest_days(days: Iterable[Day]) -> dict[str, date]:
    """The oldest day that each table holds."""
    found: dict[str, date] = {}
    for day in days:
        found[day.table] = min(day.day, found.get(day.table, day.day))
    return found


def _ours(store: Store) -> dict[str, Family]:
    """The tables that retention may cut, under the names they have here."""
    named = {
        prefix + name: family
        for name, family in FAMILIES.items()
        for prefix in (("", "tailsight_") if name.startswith("otel_") else ("",))
    }
    there = store.otel_tables()
    return {name: family for name, family in named.items() if is_ours(name, there)}


def _stage(family: Family) -> int:
    return next((number for number, stage in enumerate(_STAGES) if family in stage), len(_STAGES))
