"""Filling our tables from somebody else's: each row once, however late it comes, whatever was cut short.

What was read is remembered by 15 s of event time as a number of rows. Where the table now holds another number, those
15 s are read again, and only what ours lack is added. So nothing depends on when rows come, nothing is put behind
the other table, and reading again changes nothing (docs/adr/0009).
"""

import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from domain.window import Window
from storage import sql
from storage.errors import StoreError
from storage.frames import TIME
from storage.settings import CatchUpSettings
from storage.store import Store
from storage.upstream import OURS, Dialect, Source, readable_sources, sources

_FILLED_BY = {"traces": ("requests",), "metrics_gauge": ("samples", "series"), "metrics_sum": ("samples", "series")}
"""By signal: the views of storage/views in place of which stands load/caught_up_*.sql."""

_BEHIND = {"bucket": TIME, "rows": pl.UInt64, "more": pl.Int64}
_BUCKETS = {"bucket": TIME}
_NOW = {"now": pl.Float64}
_HOLDER = {"holder": pl.String}

BUCKET = timedelta(seconds=15)
"""The step by which is remembered what was read; the step of the rollup of requests too."""

_ROWS_MAX = 500_000  # of one statement: its sets of what is known stay small, and others get their turn
_BUCKETS_MAX = 1_000  # of one statement: they are named in its address
_LIVE = timedelta(minutes=10)  # looked at each time: most requests end, and are sent, within minutes
_AHEAD = timedelta(minutes=10)  # hosts whose clocks are ahead
_STRETCH = timedelta(hours=1)  # of what lies further back, looked at in one go
_PAUSE = timedelta(minutes=10)  # from one look at all that may come late to the next

_PROBE_EVERY = timedelta(minutes=1)  # a probe costs half as much as a look that finds nothing

_TURN_S = 60
_STATEMENT_S_MAX = 25.0
_STATEMENT_SETTINGS = {
    "max_execution_time": _STATEMENT_S_MAX,
    "async_insert": "0",
    "insert_deduplicate": "0",  # equal rows of two batches are two; what repeats was left out before
    "optimize_on_insert": "0",  # as when we load: the views have grouped already
}
_PROCESS = uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What one look did.

    Args:
        rows: how many more rows the tables held than when they were last read, by table.
        is_complete: nothing was left for want of time, or because another process has the turn, or for a fault.
        faults: of each table that was not read, why; it is tried again within a minute.
    """

    rows: dict[str, int]
    is_complete: bool
    faults: tuple[str, ...] = ()


def catch_up(
    store: Store, window: Window, seconds_max: float = math.inf, tables: Sequence[Source] | None = None
) -> CaughtUp:
    """Add to our tables what somebody else's hold of a window and ours lack; newest first.

    Args:
        store: migrated.
        window: of event time; rounded out to 15 s.
        seconds_max: stop after this long. The rest waits for the next call.
        tables: what to read; what `sources` finds unless given.

    Raises:
        UnreadableTableError: when a table cannot be read.
        StoreError: when the store fails. Call again: what is done stays done, and nothing is added twice.
    """
    ends_at = time.monotonic() + seconds_max
    rows: dict[str, int] = {}
    for source in sources(store) if tables is None else tables:
        for day in reversed(window.stretches(timedelta(days=1))):  # of all of a long window there is too much to tell
            for buckets in _batches(_behind(store, source, day)):
                if time.monotonic() >= ends_at or not _read(store, source, buckets):
                    return CaughtUp(rows, is_complete=False)
                rows[source.name] = rows.get(source.name, 0) + max(0, int(buckets["more"].sum()))
    return CaughtUp(rows, is_complete=True)


class CatchUp:
    """Reads each table by itself, so that one which cannot be read keeps no other waiting.

    Each minute is asked which tables there are to read, and how they are written.
    """

    def __init__(self, store: Store, settings: CatchUpSettings) -> None:
        self._store = store
        self._settings = settings
        self._readers: list[_TableReader] = []
        self._faults: list[str] = []
        self._probe_at: datetime | None = None

    def step(self, now: datetime) -> CaughtUp:
        """Of each table, add what is new, and go on with its round; not much longer than the interval of the settings.

        Raises:
            StoreError: when the store does not answer, or does not say which tables there are.
        """
        if self._probe_at is None or now >= self._probe_at:
            self._probe(now)
        rows: dict[str, int] = {}
        is_complete = True
        readable: list[_TableReader] = []
        for reader in self._readers:
            try:
                looked = reader.look(now, self._settings.interval_s / len(self._readers))
            except StoreError as error:
                if error.retryable:
                    raise
                self._faults.append(f"reading the table {reader.source.name} failed: {error}")  # until the next probe
                continue
            readable.append(reader)
            rows |= looked.rows
            is_complete = is_complete and looked.is_complete
        self._readers = readable
        return CaughtUp(rows, is_complete and not self._faults, tuple(self._faults))

    def history(self, now: datetime) -> Iterator[float]:
        """All of the history, newest first; yields how much of it is done, in 0 to 1.

        Raises:
            UnreadableTableError, StoreError: as `catch_up`.
        """
        start, end = now - timedelta(days=self._settings.history_days), now + _AHEAD
        while end > start:
            stretch = Window(max(start, end - _STRETCH), end)
            while not catch_up(self._store, stretch).is_complete:
                time.sleep(1)  # another process has the turn, and does the same work
            end = stretch.start
            yield (now + _AHEAD - end) / (now + _AHEAD - start)

    def _probe(self, now: datetime) -> None:
        """A table that could not be read, or is written in another way now, is read from its history on."""
        found, faults = readable_sources(self._store)
        known = [reader for reader in self._readers if reader.source in found]
        read = [reader.source for reader in known]
        self._readers = known + [_TableReader(self._store, one, self._settings) for one in found if one not in read]
        self._faults = [str(fault) for fault in faults]
        self._probe_at = now + _PROBE_EVERY


class _TableReader:
    """Which stretches of event time to look at, and when: what is new each time, and by and by all that may come late.

    The first round goes back over the history that the settings ask for, later ones only as far as rows may be late.
    """

    def __init__(self, store: Store, source: Source, settings: CatchUpSettings) -> None:
        self.source = source
        self._store = store
        self._settings = settings
        self._round: Window | None = None  # what is left of the round under way
        self._next_round_at: datetime | None = None
        self._reach = timedelta(days=settings.history_days)

    def look(self, now: datetime, seconds_max: float) -> CaughtUp:
        """Add what is new, and as much of the round as there is time for.

        Raises:
            StoreError: as `catch_up`.
        """
        live = catch_up(self._store, Window(now - _LIVE, now + _AHEAD), tables=[self.source])
        stretch = self._stretch(now)
        if stretch is None:
            return live
        further = catch_up(self._store, stretch, seconds_max, [self.source])
        if further.is_complete:
            self._advance(stretch, now)
        rows = {name: live.rows.get(name, 0) + further.rows.get(name, 0) for name in {**live.rows, **further.rows}}
        return CaughtUp(rows, is_complete=live.is_complete and self._round is None)

    def _stretch(self, now: datetime) -> Window | None:
        """The newest hour of what is left of the round; None between two rounds."""
        if self._round is None:
            if self._next_round_at is not None and now < self._next_round_at:
                return None
            self._round = Window(now - self._reach, now - _LIVE)
        return Window(max(self._round.start, self._round.end - _STRETCH), self._round.end)

    def _advance(self, done: Window, now: datetime) -> None:
        if self._round is not None and done.start > self._round.start:
            self._round = Window(self._round.start, done.start)
            return
        self._round = None
        self._next_round_at = now + _PAUSE
        self._reach = timedelta(hours=self._settings.late_hours)


def _behind(store: Store, source: Source, window: Window) -> pl.DataFrame:
    return store.query(
        "behind",
        _BEHIND,
        source=source.name,
        database=source.database,
        table=source.table,
        time_column=source.time_column,
        start=_floor(window.start),
        end=_floor(window.end + BUCKET - timedelta(microseconds=1)),
    )


def _batches(behind: pl.DataFrame) -> list[pl.DataFrame]:
    """Cut, in order, where a batch becomes too much and where a day ends: days are partitions."""
    day = pl.col("bucket").dt.date()
    rows, buckets = pl.col("rows").cum_sum() // _ROWS_MAX, pl.int_range(pl.len()) // _BUCKETS_MAX
    keys = {"day": day, "by_rows": rows.over(day), "by_buckets": buckets.over(day)}
    cut = behind.with_columns(**keys).partition_by(*keys, maintain_order=True, include_key=False)
    return cut if behind.height else []


def _read(store: Store, source: Source, behind: pl.DataFrame) -> bool:
    """Add what ours lack of these 15 s, then remember how many rows there were; False when another has the turn.

    What was added before the turn was lost is there for whoever has it next: each statement adds what is missing.

    They were counted before they are read: rows that come between are read now, and once more when they are seen.
    """
    buckets = behind["bucket"].to_list()
    parameters = {"buckets": buckets, "start": min(buckets), "end": max(buckets) + BUCKET}
    for view in _FILLED_BY[source.signal]:
        if not _has_turn(store):
            return False
        store.execute(_statement(view, source, store), parameters, _STATEMENT_SETTINGS)
    if source.signal == "traces" and not _complete_rollup(store, parameters):
        return False
    read = behind.select(
        pl.lit(source.name).alias("source"), "bucket", "rows", pl.lit(datetime.now(UTC), dtype=TIME).alias("read_at")
    )
    store.insert("tailsight_caught_up", read)
    return True


def _complete_rollup(store: Store, parameters: Mapping[str, Any]) -> bool:
    """Requests and their rollup are two commits: add what a crash between them left out, as long as the turn lasts."""
    if not _has_turn(store):
        return False
    short = store.query("rollup_behind", _BUCKETS, **parameters)["bucket"].to_list()
    if short:
        select = _select("request_rollup", OURS, store)
        statement = sql.load_statement("caught_up_request_rollup").replace("{select}", select)
        if not _has_turn(store):  # two that add the same would add it twice
            return False
        store.execute(statement, {**parameters, "buckets": short}, _STATEMENT_SETTINGS)
    return True


def _statement(view: str, source: Source, store: Store) -> str:
    """The INSERT that does for a table of somebody else's what a view does for ours."""
    text = sql.load_statement(f"caught_up_{view}").replace("{select}", _select(view, source.dialect, store))
    if "{points}" in text:
        kind = source.signal.removeprefix("metrics_")
        points = sql.load_statement("caught_up_points").replace("{kind}", kind)
        select = _select(f"points_{kind}", source.dialect, store)
        text = text.replace("{points}", points.replace("{select}", select))
    return text.replace("{source}", source.sql)


def _select(view: str, dialect: Dialect, store: Store) -> str:
    """What a view selects, in a dialect."""
    (select,) = sql.statements(dialect.fill(sql.views()[view], store.identity).partition("\nAS")[2], "catch_up")
    return select


def _floor(moment: datetime) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // BUCKET.total_seconds() * BUCKET.total_seconds(), UTC)


def _has_turn(store: Store) -> bool:
    """May this process add rows now, for as long as one statement takes.

    The owner of an embedded store always may. On a server, of all processes the one that takes the minute first. Who
    has it takes the next one before it ends, so that the others come in when this process does no more.
    """
    if store.engine is not None:
        return True
    now = float(store.query("server_time", _NOW)["now"][0])
    turn, age_s = int(now // _TURN_S), now % _TURN_S
    return _takes(store, turn) and (age_s + _STATEMENT_S_MAX <= _TURN_S or _takes(store, turn + 1))


def _takes(store: Store, turn: int) -> bool:
    holders = store.query("turn", _HOLDER, turn=turn)["holder"].to_list()
    if not holders:
        token = {"insert_deduplication_token": f"turn-{turn}", "insert_deduplicate": "1", "async_insert": "0"}
        store.execute(sql.load_statement("turn"), {"turn": turn, "holder": _PROCESS}, token)
        holders = store.query("turn", _HOLDER, turn=turn)["holder"].to_list()
    return holders == [_PROCESS]
