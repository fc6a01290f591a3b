"""From the log to the store: each closed segment becomes one insert a table, exactly once.

A segment's name is its deduplication token, so loading it again, after a crash or after an error half-way, changes
nothing. A segment leaves the log only when all its tables are loaded and on the disk.

An insert that fails is the store's fault, and the segment waits, unless the engine says that it cannot decode the data;
then the item at fault is looked for, and kept in quarantine, and the rest goes in.
"""

import base64
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from collector.errors import RefusedError
from collector.items import Item, items_apart, request_of
from collector.otlp import canonical
from collector.settings import WalSettings
from collector.telemetry import Telemetry
from collector.wal import SIGNAL_TABLES, Contents, Frame, ReadMemory, Segment, WriteAheadLog, read_segment
from storage.errors import StoreError, StoreUnavailableError, UndecodableError
from storage.otlp import Encoding, Form
from storage.recovery import TokenLogs, WrittenParts, forget_known_series, forget_lost_inserts
from storage.store import Store

log = logging.getLogger(__name__)

_BACKOFF_S_MIN = 0.1
_BACKOFF_S_MAX = 10.0
_TAKE_TIMEOUT_S = 0.25
# A request without items, which any working store takes: in protobuf, one empty resource.
_NOTHING: Mapping[Encoding, bytes] = {"protobuf": b"\x0a\x00", "json": b"{}\n"}
# The engine names the file it read from: another one at each attempt, and gone by now.
_SPOOL_FILE = re.compile(r":? \(in file/uri .*", re.DOTALL)
_UNDECODABLE = "undecodable"
_DAY_NS = 86_400 * 10**9
# A day is a partition in each of four tables. Data of more days goes in by this many: no setting, because the pieces
# must be the same when a segment is loaded again.
_DAYS_AN_INSERT_MAX = 8
# The engine makes all rows of an insert at once, each with a copy of its resource's attributes.
_CARRIED_BYTES_AN_INSERT_MAX = 256 << 20
# Looking for bad items costs two inserts each. Of a segment that holds more, the rest is set aside in larger pieces.
_FAILED_LOADS_A_TABLE_MAX = 100
# The store remembers the last 1000 parts that were inserted into a table. All that is loaded and still in the log must
# be among them, or loading it again would double it. Counted by signal: gauges and sums fill the same table of samples.
_UNSYNCED_PARTS_MAX = 500
# A segment of many days, or with bad items, has a window of its own. Looking for these ends while there is room in it.
_LOOKING_PARTS_MAX = 800


class Loader:
    """Loads the closed segments of a log, oldest first, in a thread of its own."""

    def __init__(self, wal: WriteAheadLog, store: Store, settings: WalSettings, telemetry: Telemetry) -> None:
        self._wal = wal
        self._store = store
        self._checkpoint_s = settings.checkpoint_s
        self._telemetry = telemetry
        # What of the segments in the log was settled by this process: loaded, as so many parts, or put in quarantine.
        self._settled: dict[Segment, dict[str, int]] = {}
        # What of them was counted: what is not whole on the disk is loaded once more, and counted once.
        self._counted: dict[Segment, set[str]] = {}
        self._failed_loads: Counter[str] = Counter()
        self._unsynced_parts: Counter[str] = Counter()
        self._has_own_window = False
        # After a crash or an error, the store may know tokens of inserts whose rows it has lost.
        self._is_store_doubtful = True
        self._written_parts = WrittenParts(store)
        self._token_logs = TokenLogs(store)
        self._memory = ReadMemory()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._load_forever, name="wal-loader", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    @property
    def has_begun(self) -> bool:
        """Was it started."""
        return self._thread.ident is not None

    @property
    def is_alive(self) -> bool:
        """Is its thread running."""
        return self._thread.is_alive()

    def flush(self, deadline_s: float) -> bool:
        """Close the open segments and wait until all that was acknowledged is loaded; False when time runs out.

        A loader that does not run is not waited for.
        """
        ends_at = time.monotonic() + deadline_s
        rotated = self._wal.rotate(deadline_s)
        left_s = max(0.0, ends_at - time.monotonic()) if self.is_alive else 0.0
        return rotated and self._wal.wait_until_loaded(left_s)

    def stop(self) -> None:
        """Finish the load that is under way, and no other. What is left stays in the log."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def load(self, segment: Segment) -> None:
        """Load one segment into all its tables.

        Raises:
            StoreError: when the store cannot take it now; to be loaded again.
        """
        contents = self._contents(segment)
        settled = self._settled.setdefault(segment, {})
        self._failed_loads.clear()
        self._has_own_window = False
        for table in SIGNAL_TABLES[segment.signal]:
            frames = [frame for frame in contents.frames if table in frame.items]
            if frames:
                with self._telemetry.load_seconds.labels(table).time():
                    cut = pieces(segment.signal, table, frames)
                    if len(cut) > 1:
                        self._open_window(segment)
                    for place, piece in cut:
                        # The engine reads a whole segment from its file: nothing is copied on the way.
                        is_whole = piece is frames and len(frames) == len(contents.frames) and contents.is_all_of_file
                        file = segment.path if is_whole and segment.encoding == "protobuf" else None
                        self._load_frames(table, piece, segment, f"{segment.name}/{table}{place}", settled, file)
        del self._settled[segment]

    def _contents(self, segment: Segment) -> Contents:
        size_bytes = self._wal.size_bytes(segment)
        try:
            contents = read_segment(segment, size_bytes, self._memory)
        except FileNotFoundError:  # waiting does not bring it back, and all later ones would wait with it
            contents = Contents((), size_bytes)
        if contents.damaged_bytes and self._is_first(segment, "damaged"):
            self._telemetry.wal_damaged_bytes.labels(segment.signal).inc(contents.damaged_bytes)
            log.error("%s: %d bytes are lost, no whole frame or no file any more", segment.name, contents.damaged_bytes)
        return contents

    def _load_frames(
        self,
        table: str,
        frames: Sequence[Frame],
        segment: Segment,
        token: str,
        settled: dict[str, int],
        file: Path | None = None,
    ) -> None:
        """Load frames together; when the engine cannot decode them, the halves apart, down to the bad item.

        Undecodable data is found before anything of an insert is stored, so the halves may bear tokens of their own.
        After any other error a part of it may be there, and only the same insert again completes it. `file` holds just
        these frames, if there is one.
        """
        if token in settled:
            return
        form: Form = "plain" if all(frame.is_plain for frame in frames) else segment.encoding
        try:
            payload = file or b"".join(frame.payload for frame in frames)
            self._store.load_otlp(table, payload, form=form, token=token)
        except UndecodableError as error:
            self._telemetry.load_failures.labels(segment.signal, type(error).__name__).inc()
            self._open_window(segment)
            self._failed_loads[table] += 1
            # Is it the data or the store? A store at fault fails here too, and the segment waits.
            nothing = _NOTHING[segment.encoding]
            self._store.load_otlp(table, nothing, form=form, token=f"{token}/nothing")
            exhausted = (
                self._failed_loads[table] > _FAILED_LOADS_A_TABLE_MAX or sum(settled.values()) > _LOOKING_PARTS_MAX
            )
            halves = () if exhausted else smaller(segment.signal, table, frames)
            for name, half in zip("ab", halves, strict=False):
                self._load_frames(table, half, segment, f"{token}/{name}", settled)
            if not halves:
                self._quarantine(table, frames, segment, token, error)
                settled[token] = 0
            return
        settled[token] = parts = len(_days(frames))
        self._unsynced_parts[segment.signal] += parts
        if self._is_first(segment, token):
            self._telemetry.loaded.labels(table).inc(sum(frame.items[table] for frame in frames))

    def _quarantine(self, table: str, frames: Sequence[Frame], segment: Segment, token: str, error: StoreError) -> None:
        """Keep what cannot be decoded, with the reason."""
        detail = f"{table}: {_SPOOL_FILE.sub('', str(error))}"
        self._store.insert(
            "tailsight_quarantine",
            pl.DataFrame(
                [
                    {
                        "received_at": datetime.fromtimestamp(frame.received_unix_ns // 1000 / 1e6, UTC),
                        "signal": segment.signal,
                        "reason": _UNDECODABLE,
                        "segment": segment.name,
                        "count": frame.items[table],
                        "detail": detail,
                        "payload": base64.b64encode(frame.payload).decode(),
                    }
                    for frame in frames
                ],
                schema_overrides={"count": pl.UInt64},
            ),
            token=token,
        )
        if self._is_first(segment, token):
            count = sum(frame.items[table] for frame in frames)
            self._telemetry.quarantined.labels(table, _UNDECODABLE).inc(count)
            log.error("%s: %d items for %s are in quarantine: %s", segment.name, count, table, error)

    def _open_window(self, segment: Segment) -> None:
        """Remove what was loaded before this segment, so that only its own parts need to be remembered; once for it.

        Raises:
            StoreUnavailableError: when that cannot be synced or removed now.
        """
        if self._has_own_window:
            return
        if not self._wal.checkpoint():
            raise StoreUnavailableError("what was loaded before cannot be synced and removed from the log now")
        self._unsynced_parts = Counter({segment.signal: sum(self._settled[segment].values())})
        self._has_own_window = True

    def _is_first(self, segment: Segment, token: str) -> bool:
        """Was this of a segment not counted yet; from now on it is."""
        counted = self._counted.setdefault(segment, set())
        is_first = token not in counted
        counted.add(token)
        return is_first

    # -- the loader's thread -----------------------------------------------------------------------------------

    def _load_forever(self) -> None:
        backoff_s = _BACKOFF_S_MIN
        checkpoint_at = time.monotonic() + self._checkpoint_s
        while not self._stop.is_set():
            is_window_full = max(self._unsynced_parts.values(), default=0) >= _UNSYNCED_PARTS_MAX
            if is_window_full or time.monotonic() >= checkpoint_at:
                checkpoint_at = time.monotonic() + self._checkpoint_s
                if self._wal.checkpoint():
                    self._unsynced_parts.clear()
                elif is_window_full:
                    self._stop.wait(_BACKOFF_S_MAX)
                    continue
            segment = self._wal.take(_TAKE_TIMEOUT_S)
            if segment is None:
                continue
            try:
                self._repair_store()
                self._token_logs.reserve()
                self.load(segment)
                self._look_at_the_parts(segment)
            except Exception as error:  # whatever it is, the thread goes on and the segment waits
                self._wal.give_back(segment)
                self._is_store_doubtful = True
                self._report(segment, error, backoff_s)
                self._stop.wait(backoff_s)
                backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)
                continue
            self._telemetry.load_lag_seconds.labels(segment.signal).set(self._wal.age_s(segment))
            self._wal.mark_loaded(segment)
            self._counted.pop(segment, None)
            backoff_s = _BACKOFF_S_MIN
        self._wal.checkpoint()

    def _repair_store(self) -> None:
        """See to it that loading a segment again completes what is missing.

        Raises:
            StoreError: when the store does not answer.
        """
        if self._is_store_doubtful:
            if self._written_parts.mend():
                self._settled.clear()
            self._telemetry.repeatable_inserts.inc(forget_lost_inserts(self._store))
            forget_known_series(self._store)
        self._is_store_doubtful = False

    def _look_at_the_parts(self, segment: Segment) -> None:
        """See to it that what was loaded is on the disk, for the segment goes away then.

        Raises:
            StoreError: when it is not, and must be loaded again.
        """
        torn = self._written_parts.mend()
        if torn:
            raise StoreUnavailableError(
                f"{torn} parts are not whole on the disk after {segment.name} was loaded, as when the disk is full: "
                "it is loaded again; give the disk more room"
            )

    def _report(self, segment: Segment, error: Exception, backoff_s: float) -> None:
        self._telemetry.load_failures.labels(segment.signal, type(error).__name__).inc()
        if isinstance(error, StoreError):
            log.warning("%s waits %.1f s in the log: %s", segment.name, backoff_s, error)
        else:
            log.error("%s waits %.1f s in the log", segment.name, backoff_s, exc_info=error)


def pieces(signal: str, table: str, frames: Sequence[Frame]) -> list[tuple[str, Sequence[Frame]]]:
    """Frames as pieces that one insert can take each, with what each piece's token ends in.

    A piece is of a few days, and its rows carry no more than fits into memory: each has a copy of its resource. Nearly
    always there is one piece, the frames themselves. Only frames that are too much alone are decoded for it.
    """
    return [
        (f"{days}{size}", piece)
        for days, of_days in _pieces_by_days(signal, table, frames)
        for size, piece in _pieces_by_size(signal, table, of_days)
    ]


def _pieces_by_size(signal: str, table: str, frames: Sequence[Frame]) -> list[tuple[str, Sequence[Frame]]]:
    if sum(frame.carried_bytes for frame in frames) <= _CARRIED_BYTES_AN_INSERT_MAX:
        return [("", frames)]
    groups: list[list[Frame]] = [[]]
    carried_bytes = 0
    for part in (part for frame in frames for part in _parts_by_size(signal, table, frame)):
        if groups[-1] and carried_bytes + part.carried_bytes > _CARRIED_BYTES_AN_INSERT_MAX:
            groups.append([])
            carried_bytes = 0
        groups[-1].append(part)
        carried_bytes += part.carried_bytes
    return [(f"/size-{number}", group) for number, group in enumerate(groups)]


def _parts_by_size(signal: str, table: str, frame: Frame) -> list[Frame]:
    is_too_much = frame.carried_bytes > _CARRIED_BYTES_AN_INSERT_MAX
    items = items_apart(signal, frame.encoding, table, bytes(frame.payload)) if is_too_much else []
    if not items:
        return [frame]
    step = max(1, len(items) * _CARRIED_BYTES_AN_INSERT_MAX // frame.carried_bytes)
    return [_frame_of(frame, table, items[first : first + step]) for first in range(0, len(items), step)]


def _pieces_by_days(signal: str, table: str, frames: Sequence[Frame]) -> list[tuple[str, Sequence[Frame]]]:
    if len(_days(frames)) <= _DAYS_AN_INSERT_MAX:
        return [("", frames)]
    found: dict[int, list[Frame]] = {}
    for frame in frames:
        for number, part in _parts_by_days(signal, table, frame):
            found.setdefault(number, []).append(part)
    return [(f"/days-{number}", found[number]) for number in sorted(found)]


def smaller(signal: str, table: str, frames: Sequence[Frame]) -> tuple[Sequence[Frame], ...]:
    """All frames written anew; two halves of them; two halves of one frame's items; none of a single item."""
    written_anew = [_written_anew(signal, frame) for frame in frames]
    if any(new.payload != old.payload for new, old in zip(written_anew, frames, strict=True)):
        return (written_anew,)
    if len(frames) == 1:
        (frame,) = frames
        items = items_apart(signal, frame.encoding, table, bytes(frame.payload))
        frames = [_written_anew(signal, replace(frame, items={table: 1}, payload=item.payload)) for item in items]
        if len(frames) == 1 and frames[0].payload != frame.payload:  # it was among items of other tables
            return (frames,)
    half = len(frames) // 2
    return (frames[:half], frames[half:]) if half else ()


def _written_anew(signal: str, frame: Frame) -> Frame:
    """The request as protobuf's library reads it: the engine refuses some odd ways in which it may be written."""
    if frame.encoding != "protobuf":
        return frame
    try:
        return replace(frame, payload=canonical(signal, bytes(frame.payload)))
    except RefusedError:
        return frame


def _parts_by_days(signal: str, table: str, frame: Frame) -> list[tuple[int, Frame]]:
    first_day, last_day = _span(frame)
    first, last = first_day // _DAYS_AN_INSERT_MAX, last_day // _DAYS_AN_INSERT_MAX
    items = items_apart(signal, frame.encoding, table, bytes(frame.payload)) if first != last else []
    if not items:
        return [(first, frame)]
    found: dict[int, list[Item]] = {}
    for item in items:
        found.setdefault(item.time_unix_ns // _DAY_NS // _DAYS_AN_INSERT_MAX, []).append(item)
    return [(number, _frame_of(frame, table, found[number])) for number in found]


def _frame_of(frame: Frame, table: str, items: Sequence[Item]) -> Frame:
    """Some items of a frame for one table."""
    days = [item.time_unix_ns // _DAY_NS for item in items]
    return replace(
        frame,
        items={table: len(items)},
        payload=request_of(items),
        days=(min(days), max(days)),
        carried_bytes=frame.carried_bytes * len(items) // max(1, sum(frame.items.values())),
    )


def _days(frames: Iterable[Frame]) -> set[int]:
    """The days that these frames' items may lie in."""
    return {day for first, last in {_span(frame) for frame in frames} for day in range(first, last + 1)}


def _span(frame: Frame) -> tuple[int, int]:
    """First and last day of a frame; that of its coming when the door did not tell."""
    return frame.days or (frame.received_unix_ns // _DAY_NS,) * 2
