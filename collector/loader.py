"""From the log to the store: each closed segment becomes one insert a table, exactly once.

A segment's name is its deduplication token, so loading it again, after a crash or after an error half-way, changes
nothing. A segment leaves the log only when all its tables are loaded and on the disk.
"""

import base64
import logging
import re
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

from collector.settings import WalSettings
from collector.telemetry import Telemetry
from collector.wal import SIGNAL_TABLES, Contents, Frame, Segment, WriteAheadLog, read_segment
from storage.errors import QueryError, StoreError, UndecodableError
from storage.store import Store

log = logging.getLogger(__name__)

_BACKOFF_S_MIN = 0.1
_BACKOFF_S_MAX = 10.0
_TAKE_TIMEOUT_S = 0.25
# One empty ResourceSpans or ResourceMetrics: a request that any working store takes.
_NOTHING = b"\x0a\x00"
# The engine names the file it read from: another one at each attempt, and gone by now.
_SPOOL_FILE = re.compile(r":? \(in file/uri .*", re.DOTALL)


class Loader:
    """Loads the closed segments of a log, oldest first, in a thread of its own."""

    def __init__(self, wal: WriteAheadLog, store: Store, settings: WalSettings, telemetry: Telemetry) -> None:
        self._wal = wal
        self._store = store
        self._checkpoint_s = settings.checkpoint_s
        self._telemetry = telemetry
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._load_forever, name="wal-loader", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

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
        try:
            contents = read_segment(segment)
        except FileNotFoundError:  # waiting does not bring it back, and all later ones would wait with it
            contents = Contents((), self._wal.size_bytes(segment))
        if contents.damaged_bytes:
            self._telemetry.wal_damaged_bytes.labels(segment.signal).inc(contents.damaged_bytes)
            log.warning(
                "%s: %d bytes are lost, no whole frame or no file any more", segment.name, contents.damaged_bytes
            )
        for table in SIGNAL_TABLES[segment.signal]:
            frames = [frame for frame in contents.frames if table in frame.items]
            if frames:
                with self._telemetry.load_seconds.labels(table).time():
                    self._load_frames(table, frames, segment, f"{segment.name}/{table}")
        if contents.frames:
            oldest = min(frame.received_unix_ns for frame in contents.frames)
            self._telemetry.load_lag_seconds.labels(segment.signal).set((time.time_ns() - oldest) / 1e9)

    def _load_frames(self, table: str, frames: Sequence[Frame], segment: Segment, token: str) -> None:
        """Load frames together; when the engine cannot decode them, the halves apart, down to the bad frame."""
        try:
            self._store.load_otlp(table, b"".join(frame.payload for frame in frames), token=token)
        except (UndecodableError, QueryError) as error:
            self._telemetry.load_failures.labels(segment.signal, type(error).__name__).inc()
            # Is it the data or the store? A store at fault fails here too, and the segment waits.
            self._store.load_otlp(table, _NOTHING, token=f"{token}/nothing")
            if len(frames) == 1:
                self._quarantine(table, frames[0], segment, error)
                return
            half = len(frames) // 2
            self._load_frames(table, frames[:half], segment, f"{token}/a")
            self._load_frames(table, frames[half:], segment, f"{token}/b")
            return
        self._telemetry.loaded.labels(table).inc(sum(frame.items[table] for frame in frames))

    def _quarantine(self, table: str, frame: Frame, segment: Segment, error: StoreError) -> None:
        reason = "undecodable" if isinstance(error, UndecodableError) else "refused"
        self._store.insert(
            "tailsight_quarantine",
            pl.DataFrame(
                {
                    # Equal at each attempt, so that the store keeps one row however often it is tried.
                    "received_at": [datetime.fromtimestamp(frame.received_unix_ns // 1000 / 1e6, UTC)],
                    "signal": [segment.signal],
                    "reason": [reason],
                    "segment": [segment.name],
                    "count": [frame.items[table]],
                    "detail": [f"{table}: {_SPOOL_FILE.sub('', str(error))}"],
                    "payload": [base64.b64encode(frame.payload).decode()],
                },
                schema_overrides={"count": pl.UInt64},
            ),
        )
        self._telemetry.quarantined.labels(table, reason).inc(frame.items[table])
        log.error("%s: %d items for %s are in quarantine: %s", segment.name, frame.items[table], table, error)

    # -- the loader's thread -----------------------------------------------------------------------------------

    def _load_forever(self) -> None:
        backoff_s = _BACKOFF_S_MIN
        checkpoint_at = time.monotonic()
        while not self._stop.is_set():
            segment = self._wal.take(_TAKE_TIMEOUT_S)
            if segment is not None:
                try:
                    self.load(segment)
                except Exception as error:  # whatever it is, the thread goes on and the segment waits
                    self._wal.give_back(segment)
                    self._report(segment, error, backoff_s)
                    self._stop.wait(backoff_s)
                    backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)
                    continue
                self._wal.mark_loaded(segment)
                backoff_s = _BACKOFF_S_MIN
            if time.monotonic() - checkpoint_at >= self._checkpoint_s:
                self._wal.checkpoint()
                checkpoint_at = time.monotonic()
        self._wal.checkpoint()

    def _report(self, segment: Segment, error: Exception, backoff_s: float) -> None:
        self._telemetry.load_failures.labels(segment.signal, type(error).__name__).inc()
        if isinstance(error, StoreError):
            log.warning("%s waits %.1f s in the log: %s", segment.name, backoff_s, error)
        else:
            log.error("%s waits %.1f s in the log", segment.name, backoff_s, exc_info=error)
