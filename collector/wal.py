"""The write-ahead log: what was acknowledged is on the disk before the sender hears so.

A segment holds one signal in one encoding. Its layout: the magic number, then frames. A frame is one checked request:
a marker, the length and CRC-32 of what follows, when it was received (Unix nanoseconds), the first and the last day of
its items, how much they carry, whether it is plain, its items by upstream table, and its bytes. A reader finds the next
frame behind damage by the marker.

Version 3 of the layout, which does not say whether a frame is plain, is read too.

The magic number, and all of a frame but its request, is written as a field that no export request has. So a whole
segment of protobuf is itself one export request, and the engine can be given the file as it lies there.

One thread writes all segments. Whatever arrives while it waits for the disk shares the next sync, so a sync serves one
request at low load and many at high load.
"""

import contextlib
import ctypes
import logging
import os
import re
import secrets
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import IO

from isal import isal_zlib

from collector.errors import BacklogFullError, LogBusyError, LogUnavailableError
from collector.settings import WalSettings
from collector.telemetry import Telemetry
from storage.otlp import ENCODINGS, OTLP_TABLES, Encoding
from storage.ownership import OwnedError, take_ownership

log = logging.getLogger(__name__)

_STOPPING = "the collector is stopping: retry, its successor will answer"
# Field 15 of a message, length-delimited: https://protobuf.dev/programming-guides/encoding/#length-types.
_UNKNOWN_FIELD = 15 << 3 | 2
_VERSIONED = b"TAILWAL"
_MAGIC, _MAGIC_3 = (bytes([_UNKNOWN_FIELD, len(_VERSIONED) + 1]) + _VERSIONED + version for version in (b"4", b"3"))
_MARKER = b"\xf5\xfaWF"  # no UTF-8 text holds its first bytes
_NEXT_MARKER = re.compile(re.escape(_MARKER))
_PREFIX = struct.Struct("<BB4sII")  # field, its length, marker, length of content, CRC-32 of that length and content
_BEFORE_MARKER_BYTES = 2
_LENGTH = struct.Struct("<I")
_DAYS_NOT_TOLD = (0xFFFF, 0xFFFF)
_SUFFIX = ".wal"
_KEPT_BYTES_MAX = 64 << 20
_GATHER_S_MAX = 0.002
_PARTS_A_WRITE_MAX = 1024  # IOV_MAX: https://man7.org/linux/man-pages/man2/writev.2.html

SIGNAL_TABLES: Mapping[str, tuple[str, ...]] = {
    signal: tuple(table for table, fills in OTLP_TABLES.items() if fills == signal)
    for signal in dict.fromkeys(OTLP_TABLES.values())
}
"""The upstream tables that each signal fills, in the order of a frame's counts."""

# Protobuf, of which nearly all are, bears the bare name of its signal.
_STREAMS: Mapping[str, tuple[str, Encoding]] = {
    signal if encoding == "protobuf" else f"{signal}_{encoding}": (signal, encoding)
    for signal in SIGNAL_TABLES
    for encoding in ENCODINGS
}
_STREAM_NAMES = {stream: name for name, stream in _STREAMS.items()}
_SEGMENT_NAME = re.compile(rf"({'|'.join(_STREAMS)})-\d{{20}}-[0-9a-f]{{8}}\{_SUFFIX}")
# Those of this version and of the one before; they differ in length. The magic number tells which, while it is whole:
# no checksum tells when the length of one is damaged into that of the other.
_FRAME_HEADERS = {
    signal: (struct.Struct(f"<Q2HQ?{len(tables)}I"), struct.Struct(f"<Q2HQ{len(tables)}I"))
    for signal, tables in SIGNAL_TABLES.items()
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One checked request.

    Attributes:
        received_unix_ns: when it came.
        items: its items by upstream table; only tables with any.
        payload: its bytes; where it was read, a view of its segment's, which holds as long as `read_segment` says.
        encoding: what they are written in.
        days: the first and the last day (since 1970-01-01, UTC) that its items start in: the partitions they go to.
            None when the door did not tell.
        carried_bytes: what its items take at most when each carries a copy of its resource, as rows do.
        is_plain: it may be decoded as plain (`storage.otlp.Form`).
    """

    received_unix_ns: int
    items: Mapping[str, int]
    payload: bytes | memoryview
    encoding: Encoding = "protobuf"
    days: tuple[int, int] | None = None
    carried_bytes: int = 0
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """A closed file of the log. Its name is unique for ever: it is what the store knows it by."""

    path: Path

    @property
    def name(self) -> str:
        """`STREAM-TIME-RANDOM`; sorts by time within a stream."""
        return self.path.stem

    @property
    def stream(self) -> str:
        """Its signal and its encoding in one word."""
        return self.name.split("-", 1)[0]

    @property
    def signal(self) -> str:
        """Which of `SIGNAL_TABLES` it holds."""
        return _STREAMS[self.stream][0]

    @property
    def encoding(self) -> Encoding:
        """What all its frames are written in."""
        return _STREAMS[self.stream][1]

    @property
    def number(self) -> int:
        """When it was opened (Unix nanoseconds), or one more than the newest before it where the clock went back."""
        return int(self.name.split("-")[1])


@dataclass(frozen=True, slots=True)
class Contents:
    """What a segment holds.

    Attributes:
        frames: all that are whole.
        damaged_bytes: how many bytes were none of them.
        is_all_of_file: the file holds these frames and nothing else.
    """

    frames: tuple[Frame, ...]
    damaged_bytes: int
    is_all_of_file: bool = False


class ReadMemory:
    """Memory that one file after the other is read into: the kernel clears what is new, which takes thrice the reading.

    For one thread only. A file that is larger than segments are gets memory of its own, which is not kept.
    """

    def __init__(self) -> None:
        self._kept = bytearray()

    def read(self, path: Path) -> memoryview:
        """The bytes of a file; they hold until the next one is read.

        Raises:
            OSError: when it cannot be read.
        """
        with path.open("rb", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            data = memoryview(self._room(size_bytes))[:size_bytes]
            filled_bytes = 0
            while read_bytes := file.readinto(data[filled_bytes:]):
                filled_bytes += read_bytes
        return data[:filled_bytes].toreadonly()

    def _room(self, size_bytes: int) -> bytearray:
        if size_bytes > _KEPT_BYTES_MAX:
            return bytearray(size_bytes)
        if size_bytes > len(self._kept):
            self._kept = bytearray(size_bytes)
        return self._kept


def read_segment(segment: Segment, size_bytes: int | None = None, memory: ReadMemory | None = None) -> Contents:
    """All whole frames of a segment, whatever lies between them.

    Args:
        segment: which.
        size_bytes: how much of it was acknowledged: what lies behind is not read, and what is missing is damage. None
            when that is not known, as after a crash.
        memory: what the payloads are views of, so that they hold until it is read into again. Memory of their own when
            it is None.

    A frame that a crash cut short ends the segment; one that is damaged is left out, and the next one is found by its
    marker.
    """
    file = (memory or ReadMemory()).read(segment.path)
    data = file[:size_bytes]
    headers: Sequence[struct.Struct] = _FRAME_HEADERS[segment.signal]
    frames = []
    whole_bytes = 0
    for magic, header in zip((_MAGIC, _MAGIC_3), headers, strict=True):
        if data[: len(magic)] == magic:
            headers, whole_bytes = (header,), len(magic)
            break
    marker = _NEXT_MARKER.search(data)
    while marker is not None:
        start = marker.start() - _BEFORE_MARKER_BYTES
        frame, end = _frame_at(data, start, segment, headers)
        if frame is not None:
            frames.append(frame)
            whole_bytes += end - start
        marker = _NEXT_MARKER.search(data, end)
    damaged_bytes = max(len(data), size_bytes or 0) - whole_bytes
    return Contents(tuple(frames), damaged_bytes, is_all_of_file=not damaged_bytes and len(data) == len(file))


def _frame_at(
    data: memoryview, start: int, segment: Segment, headers: Sequence[struct.Struct]
) -> tuple[Frame | None, int]:
    """The frame that begins there, None when it is not whole, and where to look for the next; with one of `headers`."""
    tables = SIGNAL_TABLES[segment.signal]
    content_start = start + _PREFIX.size
    behind_marker = start + _BEFORE_MARKER_BYTES + len(_MARKER)
    if start < 0 or content_start > len(data):
        return None, behind_marker
    field, field_bytes, _, length, checksum = _PREFIX.unpack_from(data, start)
    end = content_start + length
    header = next((one for one in headers if _field_bytes(one) == field_bytes), None)
    if field != _UNKNOWN_FIELD or header is None or length < header.size or end > len(data):
        return None, behind_marker
    content = data[content_start:end]
    if _checksum(content) != checksum:
        return None, behind_marker
    received_unix_ns, first_day, last_day, carried_bytes, *told = header.unpack_from(content)
    days = (first_day, last_day)
    frame = Frame(
        received_unix_ns,
        {table: count for table, count in zip(tables, told[-len(tables) :], strict=True) if count},
        content[header.size :],
        segment.encoding,
        None if days == _DAYS_NOT_TOLD else days,
        carried_bytes,
        is_plain=any(told[: -len(tables)]),
    )
    return frame, end


def _checksum(*content: bytes | memoryview) -> int:
    checksum: int = isal_zlib.crc32(_LENGTH.pack(sum(map(len, content))))
    for part in content:
        checksum = isal_zlib.crc32(part, checksum)
    return checksum


def encoded_frame(signal: str, frame: Frame) -> tuple[bytes, bytes | memoryview]:
    """The bytes of one frame in a segment of that signal: what comes before its payload, and the payload."""
    layout, _ = _FRAME_HEADERS[signal]
    counts = [frame.items.get(table, 0) for table in SIGNAL_TABLES[signal]]
    header = layout.pack(
        frame.received_unix_ns, *(frame.days or _DAYS_NOT_TOLD), frame.carried_bytes, frame.is_plain, *counts
    )
    length, checksum = len(header) + len(frame.payload), _checksum(header, frame.payload)
    prefix = _PREFIX.pack(_UNKNOWN_FIELD, _field_bytes(layout), _MARKER, length, checksum)
    return prefix + header, frame.payload


def _field_bytes(header: struct.Struct) -> int:
    """The unknown field holds all that stands between its own length and the payload."""
    return _PREFIX.size - _BEFORE_MARKER_BYTES + header.size


@dataclass(slots=True)
class _OpenSegment:
    segment: Segment
    file: FileIO
    synced_bytes: int


@dataclass(slots=True)
class _Append:
    stream: str
    encoded: tuple[bytes | memoryview, ...]
    written: "Future[None]"

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.encoded))


class WriteAheadLog:
    """The log of one folder. `append` may be called from any thread; one thread takes the closed segments.

    A segment is open, then closed, taken, loaded, and removed at the checkpoint after that.

    Args:
        folder: made when it is not there. Segments that an earlier process left are closed ones.
        settings: sizes, ages and limits.
        telemetry: told of each sync and of the backlog.
        full: why nothing more may be taken, as of a disk that is nearly full; None when it may. Asked at each append,
            so it must not take long.
        store_path: the folder of an embedded store, whose disk a checkpoint syncs; None for a server, which looks after
            its own.

    Raises:
        LogUnavailableError: when the folder cannot be written, or holds segments of another version.
        LogBusyError: when another process writes it.
    """

    def __init__(
        self,
        folder: Path,
        settings: WalSettings,
        telemetry: Telemetry,
        full: Callable[[], str | None] = lambda: None,
        store_path: Path | None = None,
    ) -> None:
        self._folder = folder
        self._store_path = store_path
        self._settings = settings
        self._telemetry = telemetry
        self._lock = _take_ownership(folder)
        self._full = full
        self._closed = deque(segments_in(folder))
        try:
            _check_versions(folder, self._closed)
        except LogUnavailableError:
            self._lock.close()
            raise
        self._newest_number = max((segment.number for segment in self._closed), default=0)
        # On the monotonic clock, which never jumps. The wall clock tells how old what an earlier process left is.
        self._opened_monotonic_s = {segment: _monotonic_s(segment.number) for segment in self._closed}
        self._taken: Segment | None = None
        self._loaded: list[Segment] = []
        # Remembered, not asked for again: somebody may take a file away.
        self._size_bytes = {segment: segment.path.stat().st_size for segment in self._closed}
        self._backlog_bytes = sum(self._size_bytes.values())
        self._open: dict[str, _OpenSegment] = {}
        self._arrived: list[_Append] = []
        lock = threading.RLock()
        self._change = threading.Condition(lock)
        self._arrival = threading.Condition(lock)  # the writer alone waits for it
        self._enough = 1  # frames, for the writer to go on
        self._rotate_now = False
        self._refusal: str | None = None
        self._syncing_since_s: float | None = None
        self._is_failing = False
        self._stopping = False
        self._is_writing = True
        telemetry.wal_backlog_bytes.set_function(lambda: self._backlog_bytes)
        telemetry.waiting_seconds.set_function(lambda: self.waiting_s() or 0.0)
        self._writer = threading.Thread(target=self._write_forever, name="wal-writer", daemon=True)
        self._writer.start()

    @property
    def is_alive(self) -> bool:
        """Can it write; False after `close`, and when the writer's thread has failed."""
        return self._is_writing

    def append(self, signal: str, frame: Frame) -> "Future[None]":
        """Write one frame; the future is done when it is on the disk, and fails with LogUnavailableError.

        Raises:
            BacklogFullError: when the log or its disk holds as much as it may.
            LogUnavailableError: when the log is being closed, its writer has failed, or its disk does not answer.
        """
        append = _Append(_STREAM_NAMES[signal, frame.encoding], encoded_frame(signal, frame), Future())
        append.written.set_running_or_notify_cancel()  # it will be written, even when nobody waits for it any more
        full = self._full()
        if full is not None:
            raise BacklogFullError(full)
        with self._change:
            if self._refusal is not None:
                raise LogUnavailableError(self._refusal)
            if self._backlog_bytes + append.size_bytes > self._settings.backlog_bytes_max:
                raise BacklogFullError(
                    f"{self._backlog_bytes} bytes wait to be loaded, at most {self._settings.backlog_bytes_max} may: "
                    "retry later, or raise collector.wal.backlog_bytes_max"
                )
            self._check_disk_answers()
            self._backlog_bytes += append.size_bytes
            self._arrived.append(append)
            if len(self._arrived) >= self._enough:
                self._arrival.notify()
        return append.written

    def _check_disk_answers(self) -> None:
        since_s = self._syncing_since_s  # the writer changes it at any time
        if since_s is None:
            return
        waited_s = time.monotonic() - since_s
        if waited_s > self._settings.sync_seconds_max:
            raise LogUnavailableError(
                f"the disk of {self._folder} has not answered for {waited_s:.0f} s: retry later, and look at the disk"
            )

    def take(self, timeout_s: float) -> Segment | None:
        """The oldest closed segment, to be marked as loaded or given back; None when none closes in time."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._stopping, timeout_s)
            self._taken = self._closed.popleft() if self._closed else None
            return self._taken

    def give_back(self, segment: Segment) -> None:
        """Return the taken segment to the head of the line."""
        with self._change:
            self._closed.appendleft(segment)
            self._taken = None

    def mark_loaded(self, segment: Segment) -> None:
        """The taken segment is in the store; the next checkpoint removes it."""
        with self._change:
            self._backlog_bytes -= self._size_bytes.pop(segment)
            del self._opened_monotonic_s[segment]
            self._loaded.append(segment)
            self._taken = None
            self._change.notify_all()

    def size_bytes(self, segment: Segment) -> int:
        """How many bytes a closed segment that is not loaded yet had when it was closed."""
        return self._size_bytes[segment]

    def checkpoint(self) -> bool:
        """Remove what is loaded, once the disk holds what the store made of it; False when some of it stays.

        The store answers before its files are synced, which is enough against a crash of the process, not against a
        power cut. One sync for some seconds of segments costs less than one for each insert.

        A store on a server looks after its own disk. What this does not do: a segment that stays here after it was
        loaded changes nothing when it is loaded again only while the store remembers its token: ClickHouse keeps the
        last 1000 inserts of a table.
        """
        with self._change:
            loaded = tuple(self._loaded)
        if not loaded:
            return True
        if self._settings.fsync and self._store_path is not None:
            try:
                _sync_file_system(self._store_path)
            except OSError as error:
                log.warning("cannot sync %s, so loaded segments stay: %s", self._store_path, error.strerror)
                return False
        left = []
        for segment in loaded:
            try:
                segment.path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("cannot remove %s: %s", segment.path, error.strerror)
                left.append(segment)
        with self._change:
            self._loaded[: len(loaded)] = left
        return not left

    def rotate(self, timeout_s: float) -> bool:
        """Close every open segment, whatever its age; False when that takes longer."""
        with self._change:
            self._rotate_now = self._is_writing
            self._arrival.notify()
            return self._change.wait_for(lambda: not self._rotate_now, timeout_s)

    def wait_until_loaded(self, timeout_s: float) -> bool:
        """Wait until no closed segment is left to load; False when that takes longer."""
        with self._change:
            return self._change.wait_for(lambda: not self._closed and self._taken is None, timeout_s)

    def waiting_s(self) -> float | None:
        """How long ago the oldest segment that is not loaded yet was opened; None when nothing waits."""
        with self._change:
            oldest = min(self._opened_monotonic_s.values(), default=None)
        return None if oldest is None else time.monotonic() - oldest

    def age_s(self, segment: Segment) -> float:
        """How long ago a segment that is not loaded yet was opened."""
        with self._change:
            return time.monotonic() - self._opened_monotonic_s[segment]

    def stop_taking(self) -> None:
        """Refuse all further frames, so that what was acknowledged can be loaded to the end."""
        with self._change:
            self._refuse(_STOPPING)

    def close(self) -> None:
        """Write what has arrived, close the segments, and give the folder free."""
        with self._change:
            self._refuse(_STOPPING)
            self._stopping = True
            self._arrival.notify()
            self._change.notify_all()
        self._writer.join()
        self._lock.close()

    # -- the writer's thread -----------------------------------------------------------------------------------

    def _write_forever(self) -> None:
        arrived: list[_Append] = []
        synced_s, stopping = 0.0, False
        try:
            while not stopping:
                with self._change:
                    self._gather(len(arrived), synced_s)
                    self._arrival.wait_for(
                        lambda: self._arrived or self._rotate_now or self._stopping, self._seconds_to_rotation()
                    )
                    arrived, self._arrived = self._arrived, []
                    rotate_now, stopping = self._rotate_now, self._stopping
                began_s = time.monotonic()
                for stream in {append.stream for append in arrived}:
                    self._syncing_since_s = time.monotonic()
                    self._write(stream, [append for append in arrived if append.stream == stream])
                    self._syncing_since_s = None
                synced_s = time.monotonic() - began_s
                for stream in [stream for stream in self._open if rotate_now or stopping or self._is_due(stream)]:
                    self._close_segment(stream)
                if rotate_now:
                    with self._change:
                        self._rotate_now = False
                        self._change.notify_all()
        except Exception as error:
            log.exception("the write-ahead log in %s is written no more", self._folder)
            self._give_up(arrived, error)
        finally:
            with self._change:
                self._is_writing = self._rotate_now = False
                self._change.notify_all()

    def _gather(self, answered: int, synced_s: float) -> None:
        """Let the senders that were just answered send again, to share one sync; no longer than the last sync took."""
        self._enough = answered + len(self._arrived)
        if self._enough > 1:
            self._arrival.wait_for(
                lambda: len(self._arrived) >= self._enough or self._rotate_now or self._stopping,
                min(synced_s, _GATHER_S_MAX),
            )
        self._enough = 1

    def _give_up(self, arrived: list[_Append], error: Exception) -> None:
        """Tell everybody who waits, and leave what was acknowledged to the loader."""
        with self._change:
            self._refuse(f"the log in {self._folder} is written no more ({error!r}): restart the collector")
            unwritten = [append for append in (*arrived, *self._arrived) if not append.written.done()]
            self._arrived = []
            self._backlog_bytes -= sum(append.size_bytes for append in unwritten)
        for append in unwritten:
            append.written.set_exception(LogUnavailableError(self._refusal))
        for stream in tuple(self._open):
            self._cut_off(stream)

    def _refuse(self, why: str) -> None:
        self._refusal = self._refusal or why

    def _write(self, stream: str, batch: list[_Append]) -> None:
        size_bytes = sum(append.size_bytes for append in batch)
        try:
            opened = self._open.get(stream) or self._open_segment(stream)
            _write_all(opened.file, [part for append in batch for part in append.encoded])
            if self._settings.fsync:
                with self._telemetry.wal_sync_seconds.time():
                    os.fdatasync(opened.file.fileno())
            opened.synced_bytes += size_bytes
        except OSError as error:
            if not self._is_failing:  # who sends is told each time, who reads our log once
                log.warning("the write-ahead log in %s cannot be written: %s", self._folder, error.strerror)
            self._is_failing = True
            with self._change:
                self._backlog_bytes -= size_bytes
            self._cut_off(stream)
            for append in batch:
                append.written.set_exception(_unavailable(self._folder, error))
            return
        if self._is_failing:
            log.warning("the write-ahead log in %s can be written again", self._folder)
        self._is_failing = False
        self._telemetry.wal_bytes.labels(_STREAMS[stream][0]).inc(size_bytes)
        for append in batch:
            append.written.set_result(None)

    def _open_segment(self, stream: str) -> _OpenSegment:
        # Never a number twice and never a smaller one, whatever the clock does: names are tokens, and tell the order.
        self._newest_number = max(time.time_ns(), self._newest_number + 1)
        path = self._folder / f"{stream}-{self._newest_number:020d}-{secrets.token_hex(4)}{_SUFFIX}"
        opened = _OpenSegment(Segment(path), path.open("xb", buffering=0), 0)
        with self._change:
            self._open[stream] = opened
            self._opened_monotonic_s[opened.segment] = time.monotonic()
        _write_all(opened.file, [_MAGIC])
        _sync_folder(self._folder)
        opened.synced_bytes = len(_MAGIC)
        with self._change:
            self._backlog_bytes += len(_MAGIC)
        return opened

    def _close_segment(self, stream: str) -> None:
        opened = self._open[stream]
        try:
            opened.file.close()
        except OSError as error:  # what was acknowledged is on the disk already
            log.warning("closing %s: %s", opened.segment.path, error.strerror)
        self._telemetry.wal_segments.labels(opened.segment.signal).inc()
        with self._change:
            del self._open[stream]
            self._closed.append(opened.segment)
            self._size_bytes[opened.segment] = opened.synced_bytes
            self._change.notify_all()

    def _discard(self, stream: str) -> None:
        """Forget an open segment that holds no frame: a full disk would else leave one a try."""
        opened = self._open[stream]
        with contextlib.suppress(OSError):
            opened.file.close()
        with contextlib.suppress(OSError):
            opened.segment.path.unlink(missing_ok=True)
        with self._change:
            del self._open[stream], self._opened_monotonic_s[opened.segment]
            self._backlog_bytes -= opened.synced_bytes

    def _cut_off(self, stream: str) -> None:
        """After a failed write: keep what was acknowledged, and cut off what was not, for its sender will retry."""
        opened = self._open.get(stream)
        if opened is None:
            return
        if opened.synced_bytes <= len(_MAGIC):
            self._discard(stream)
            return
        try:
            os.truncate(opened.segment.path, opened.synced_bytes)
        except OSError as error:
            log.warning("cannot cut %s back to %d bytes: %s", opened.segment.path, opened.synced_bytes, error.strerror)
        self._close_segment(stream)

    def _is_due(self, stream: str) -> bool:
        opened = self._open[stream]
        if opened.synced_bytes >= self._settings.segment_bytes_max:
            return True
        # While others wait to be loaded, closing early gains nothing: a larger segment is cheaper to load.
        with self._change:
            waiting = any(segment.stream == stream for segment in self._closed)
        return not waiting and self.age_s(opened.segment) >= self._settings.segment_age_s

    def _seconds_to_rotation(self) -> float | None:
        if not self._open:
            return None
        oldest_s = max(self.age_s(opened.segment) for opened in self._open.values())
        # An overdue segment waits for the loader, which is looked at now and then.
        return max(0.05, self._settings.segment_age_s - oldest_s)


def segments_in(folder: Path) -> list[Segment]:
    """The segments that lie in a folder, oldest first."""
    segments = [Segment(path) for path in folder.iterdir() if _SEGMENT_NAME.fullmatch(path.name)]
    return sorted(segments, key=lambda segment: segment.number)


def _check_versions(folder: Path, segments: Iterable[Segment]) -> None:
    """See to it that all segments are of this version: another one's would be taken for damage, and thrown away."""
    others = []
    for segment in segments:
        with segment.path.open("rb") as file:
            head = file.read(len(_MAGIC))
        if _VERSIONED in head and head not in (_MAGIC, _MAGIC_3):
            others.append(segment.path.name)
    if others:
        raise LogUnavailableError(
            f"{folder} holds {len(others)} segments that another version of Tailsight wrote ({others[0]}, …): start "
            "that version once more and stop it with SIGTERM, which loads them; or move them away, which gives them up"
        )


def _monotonic_s(unix_ns: int) -> float:
    """That moment on the monotonic clock; now when it lies ahead, for the wall clock has gone back since."""
    return time.monotonic() - max(0.0, (time.time_ns() - unix_ns) / 1e9)


def _take_ownership(folder: Path) -> IO[str]:
    """Lock the folder; where its entries cannot be synced, nothing could be acknowledged."""
    try:
        lock = take_ownership(folder)
    except OSError as error:
        raise _unavailable(folder, error) from error
    except OwnedError as error:
        raise LogBusyError(
            f"the write-ahead log in {folder} is in use by process {error.owner}: "
            "stop that process, or name another data folder"
        ) from None
    try:
        _sync_folder(folder)
    except OSError as error:
        lock.close()
        raise _unavailable(folder, error) from error
    return lock


def _write_all(file: FileIO, parts: Sequence[bytes | memoryview]) -> None:
    """Write the parts one after the other, without first making one of them: most bytes are large requests."""
    left = deque(memoryview(part) for part in parts if part)
    while left:
        written_bytes = os.writev(file.fileno(), list(islice(left, _PARTS_A_WRITE_MAX)))
        while left and written_bytes >= len(left[0]):
            written_bytes -= len(left.popleft())
        if written_bytes:
            left[0] = left[0][written_bytes:]


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as the files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file_system(folder: Path) -> None:
    """Put on the disk all that the file system of a folder still holds in memory; without syncfs, all file systems.

    Raises:
        OSError: when the disk fails.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)  # Linux has it, Python does not
    if syncfs is None:
        os.sync()
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


def _unavailable(folder: Path, error: OSError) -> LogUnavailableError:
    return LogUnavailableError(
        f"cannot write the log in {folder}: {error.strerror}. Give this user the folder and the disk space, "
        "or name another data folder"
    )
