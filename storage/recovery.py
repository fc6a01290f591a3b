"""Tokens of inserts that left no rows, made unknown again.

A MergeTree table remembers an insert's deduplication token before it renames the part that holds its rows. When the
process is killed between the two, or the renaming fails, the token is known and the rows are not there: the same insert
again, which is to repair just that, would be taken for a repetition and change nothing. (Found with chDB 26.9 by
killing the process before each step that an insert takes in the file system.) A replicated table does both in one
transaction, and this concerns only the engine that runs in our own process.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage import sql
from storage.store import Store

log = logging.getLogger(__name__)

_PARTS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "table": pl.String,
    "path": pl.String,
    "partition_id": pl.String,
    "first_block": pl.Int64,
    "last_block": pl.Int64,
}
_ADDED, _DROPPED = "1", "2"


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


def forget_lost_inserts(store: Store) -> int:
    """Make every insert unknown of which a table knows the token and has no part; how many there were.

    Call it before inserts are repeated: after a start, and after an insert that failed. Costs some milliseconds. A
    table that has such a token is detached and attached again (12 ms), because it reads its tokens only then;
    statements that come in between fail, and may be repeated.

    Raises:
        StoreError: when the store does not answer.
    """
    if store.engine is None:
        return 0
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
        fields = line.rstrip("\n").split("\t")
        if len(fields) != 3 or not line.endswith("\n"):
            continue
        operation, part, block_id = fields
        if operation == _ADDED:
            known[block_id] = RememberedInsert(part, block_id)
        else:
            known.pop(block_id, None)
    return list(known.values())


def _lines(folder: Path) -> Iterator[str]:
    for file in _logs(folder):
        with file.open() as lines:
            yield from lines


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
    name = sql.identifier(table)
    store.execute(f"DETACH TABLE {name} SYNC")
    try:
        with _logs(folder)[-1].open("a") as newest:
            newest.writelines(f"{_DROPPED}\t{insert.part}\t{insert.block_id}\n" for insert in lost)
    finally:
        store.execute(f"ATTACH TABLE {name}")
