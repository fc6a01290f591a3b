"""An insert and its deduplication token on the disk together: made so beforehand, and mended where they are not.

A MergeTree table remembers an insert's deduplication token before it renames the part that holds its rows. When the
process is killed between the two, or the renaming fails, the token is known and the rows are not there: the same insert
again, which is to repair just that, would be taken for a repetition and change nothing. (Found with chDB 26.9 by
killing the process before each step that an insert takes in the file system.) A replicated table does both in one
transaction, and this concerns only the engine that runs in our own process.

That engine also does not notice when a write fails (with chDB 26.9, `INSERT INTO FUNCTION file('/dev/full', …)`
succeeds). While the disk is full, an insert may succeed of whose part some files are empty or cut. The part answers
from memory until the next start, which sets it aside as broken. So we look at the files ourselves.

Nor does it notice that a token was not written. Rows whose token is gone after a kill would be doubled by the same
insert again, and what was inserted without a token cannot be told from them. So the log of tokens is given its room on
the disk before anything is inserted.
"""

import ctypes
import errno
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage import sql
from storage.engine import NO_SUCH_DATA_PART, Engine, EngineError
from storage.errors import StoreUnavailableError
from storage.store import Store

log = logging.getLogger(__name__)

_PARTS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "table": pl.String,
    "path": pl.String,
    "partition_id": pl.String,
    "first_block": pl.Int64,
    "last_block": pl.Int64,
}
_WRITTEN_PARTS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "table": pl.String,
    "part": pl.String,
    "path": pl.String,
}
_ADDED, _DROPPED = "1", "2"
# Of a token's line of at most 100 bytes: for more parts than one insert makes.
_TOKEN_ROOM_BYTES, _TOKEN_ROOM_BYTES_MIN = 64 << 10, 16 << 10
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of fallocate(2)
# With more room than this at two looks, the disk was not full in between, or only while nothing was written.
_ROOM_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class RememberedInsert:
    """One part that an insert made, and the hash of partition and token it is remembered by."""

    part: str
    block_id: str

    @property
    def place(self) -> tuple[str, int]:
        """Its partition and its block: whichever part it was merged into covers that block."""
        partition_id, first_block, _last_block, _level = self.part.rsplit("_", 3)
        return partition_id, int(first_block)


class TokenLogs:
    """Keeps room on the disk for the tokens of the next inserts, so that a full disk takes none of them.

    Args:
        store: whose engine it is. A server looks after its own disk.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folders: list[Path] | None = None

    def reserve(self) -> None:
        """See to it that the next insert's tokens can be written. Costs half a millisecond.

        Where the file system cannot reserve (not Linux, or some network file systems), nothing is done.

        Raises:
            StoreError: when the store does not answer, or its disk is full.
        """
        if self._store.engine is None:
            return
        if self._folders is None:
            paths = self._store.query("inserted_parts", _PARTS)["path"].unique()
            self._folders = [Path(path) for path in paths]
        for folder in self._folders:
            logs = _logs(folder)
            if logs:
                _reserve(logs[-1])


def _reserve(file: Path) -> None:
    """Give a file that is appended to room beyond its end."""
    status = file.stat()
    if status.st_blocks * 512 - status.st_size >= _TOKEN_ROOM_BYTES_MIN:
        return
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)  # Python's changes the size
    if fallocate is None:
        return
    with file.open("ab") as opened:
        end = ctypes.c_int64(status.st_size + _TOKEN_ROOM_BYTES)
        failed = fallocate(opened.fileno(), _KEEP_SIZE, ctypes.c_int64(0), end)
    number = ctypes.get_errno() if failed else 0
    if number in {errno.ENOSPC, errno.EDQUOT}:
        raise StoreUnavailableError(f"there is no room for {file}: {os.strerror(number)}; give the disk room")


class WrittenParts:
    """Looks after what an embedded engine wrote: are the parts that it made whole on the disk.

    Args:
        store: whose engine it is. A server looks after its own disk.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked_at_unix_s = time.time()
        self._was_room_scarce = True

    def mend(self) -> int:
        """Let every table with a part that is not whole read its parts anew; how many such parts there were.

        Looks at the parts made since the last look, by inserts and by merges, and only where the disk was nearly full
        then or is now. Costs 4 ms a part. The table sets such a part aside, and takes back what a merge had put into
        it; of an insert the token is left, for `forget_lost_inserts`.

        Raises:
            StoreError: when the store does not answer.
        """
        engine = self._store.engine
        if engine is None:
            return 0
        now_unix_s = time.time()
        is_room_scarce = engine.free_bytes() < _ROOM_BYTES
        torn: dict[str, list[str]] = {}
        if is_room_scarce or self._was_room_scarce:
            since = int(min(self._looked_at_unix_s, now_unix_s)) - 1  # the store tells whole seconds
            for table, part, path in self._store.query("written_parts", _WRITTEN_PARTS, since=since).iter_rows():
                if not _is_whole(engine, table, part, Path(path)):
                    torn.setdefault(table, []).append(part)
        for table, parts in torn.items():
            log.warning("%s: not whole on the disk, as a full disk may leave it: %s", table, ", ".join(parts))
            with _detached(self._store, table):
                pass  # it looks at the files when it comes back
        self._looked_at_unix_s, self._was_room_scarce = now_unix_s, is_room_scarce
        return sum(map(len, torn.values()))


def _is_whole(engine: Engine, table: str, part: str, folder: Path) -> bool:
    """Is it on the disk as it should be; a part that has been merged into another one by now is not needed."""
    question = f"CHECK TABLE {sql.identifier(table)} PART {sql.quoted(part)}"
    try:
        if not all(file.stat().st_size for file in folder.iterdir()):  # some small files are not checked by the engine
            return False
        return engine.run(question, settings={"check_query_single_value_result": "1"}).body.strip() == b"1"
    except FileNotFoundError:
        return True
    except EngineError as error:
        if error.code == NO_SUCH_DATA_PART:
            return True
        raise StoreUnavailableError(f"the store cannot check {part} of {table}: {error}") from error


def forget_lost_inserts(store: Store) -> int:
    """Make every insert unknown of which a table knows the token and has no part; how many there were.

    Call it before inserts are repeated: after a start, and after an insert that failed. Costs some milliseconds. A
    table that has such a token is detached and attached again (12 ms), because it reads its tokens only then;
    statements that come in between fail, and may be repeated.

    Raises:
        StoreError: when the store does not answer, or its disk is full.
    """
    if store.engine is None:
        return 0
    attach_tables(store)  # that this could not be done may be why we are here
    folders = dict(store.query("inserted_parts", _PARTS).select("table", "path").unique().iter_rows())
    # First the tokens, then the parts: an insert that is under way may be among the latter only.
    remembered = {table: remembered_inserts(_lines(Path(folder))) for table, folder in folders.items()}
    parts = store.query("inserted_parts", _PARTS)
    forgotten = 0
    for table, inserts in remembered.items():
        blocks = parts.filter(pl.col("table") == table).select("partition_id", "first_block", "last_block")
        lost = lost_inserts(inserts, blocks.iter_rows())
        if lost:
            _forget(store, table, Path(folders[table]), lost)
            forgotten += len(lost)
    return forgotten


def attach_tables(store: Store) -> None:
    """Take tables and views of an embedded store into use that were detached, to be read anew, and stayed so.

    Raises:
        StoreError: when the store cannot do it now.
    """
    for (table,) in store.query("detached_tables", {"table": pl.String}).iter_rows():
        store.execute(f"ATTACH TABLE {sql.identifier(table)}")


def forget_known_series(store: Store) -> None:
    """Let each series be told of again. An insert that failed may have left some as known that were not told of.

    Raises:
        StoreError: when the store does not answer.
    """
    store.execute("TRUNCATE TABLE tailsight_series_known")


def lost_inserts(
    remembered: Iterable[RememberedInsert], blocks: Iterable[tuple[str, int, int]]
) -> list[RememberedInsert]:
    """The inserts that no part covers.

    Args:
        remembered: what a table knows.
        blocks: of each part in use, its partition, and its first and last block.
    """
    kept: dict[str, list[tuple[int, int]]] = {}
    for partition_id, first, last in blocks:
        kept.setdefault(partition_id, []).append((first, last))
    return [
        insert
        for insert in remembered
        if not any(first <= insert.place[1] <= last for first, last in kept.get(insert.place[0], ()))
    ]


def remembered_inserts(lines: Iterable[str]) -> list[RememberedInsert]:
    """What is known after these lines of a table's log of tokens; a line that was cut off counts as not written."""
    known: dict[str, RememberedInsert] = {}
    for line in lines:
        if not _is_record(line):
            continue
        operation, part, block_id = line.rstrip("\n").split("\t")
        if operation == _ADDED:
            known[block_id] = RememberedInsert(part, block_id)
        else:
            known.pop(block_id, None)
    return list(known.values())


def _is_record(line: str) -> bool:
    return line.count("\t") == 2 and line.endswith("\n")


def _lines(folder: Path) -> Iterator[str]:
    for file in _logs(folder):
        yield from _lines_of(file)


def _lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines(keepends=True)


def _logs(folder: Path) -> list[Path]:
    """A table's logs of tokens, oldest first."""
    return sorted((folder / "deduplication_logs").glob("deduplication_log_*.txt"), key=lambda file: _number(file.stem))


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def _forget(store: Store, table: str, folder: Path, lost: Sequence[RememberedInsert]) -> None:
    log.warning(
        "%s: %d inserts left their token and no rows, as a crash or a full disk may do; they can be repeated now",
        table,
        len(lost),
    )
    newest = _logs(folder)[-1]
    # In one step: of a line that a full disk cut off, the engine would read no further.
    unfinished = folder / "deduplication_log.unfinished"
    with _detached(store, table):
        try:
            lines = [line for line in _lines_of(newest) if _is_record(line)]
            lines += [f"{_DROPPED}\t{insert.part}\t{insert.block_id}\n" for insert in lost]
            unfinished.write_text("".join(lines))
            unfinished.rename(newest)
        except OSError as error:
            raise StoreUnavailableError(f"cannot write {newest}: {error.strerror}; give the disk room") from error


@contextmanager
def _detached(store: Store, table: str) -> Iterator[None]:
    """The table out of use; it reads its parts and its tokens anew afterwards."""
    name = sql.identifier(table)
    store.execute(f"DETACH TABLE {name} SYNC")
    try:
        yield
    finally:
        store.execute(f"ATTACH TABLE {name}")
