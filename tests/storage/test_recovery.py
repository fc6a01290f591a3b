"""Inserts that left no rows, or rows that are not whole on the disk: found, and made repeatable, and no others."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import recovery
from storage.errors import StoreUnavailableError
from storage.recovery import (
    RememberedInsert,
    TokenLogs,
    WrittenParts,
    forget_lost_inserts,
    lost_inserts,
    remembered_inserts,
)
from storage.store import Store
from tests.collector.payloads import gauge_request, trace_request

NOW = time.time_ns()


@pytest.fixture
def asked(clean_store: Store) -> Callable[[str], str]:
    engine = clean_store.engine
    assert engine is not None
    return lambda statement: engine.read(statement, "TSVRaw").body.decode().strip()


def lose_part(store: Store, asked: Callable[[str], str], table: str) -> None:
    """What is left when the process is killed after a part's token was written and before the part was renamed."""
    path = asked(f"SELECT path FROM system.parts WHERE active AND table = '{table}' ORDER BY modification_time LIMIT 1")
    store.execute(f"DETACH TABLE {table} SYNC")
    shutil.rmtree(Path(path))
    store.execute(f"ATTACH TABLE {table}")


def spans(asked: Callable[[str], str]) -> tuple[int, int, int, int]:
    """Rows of the table and of the views behind it."""
    return tuple(  # type: ignore[return-value]
        int(asked(f"SELECT {question}"))
        for question in (
            "count() FROM otel_traces",
            "count() FROM otel_traces_trace_id_ts",
            "count() FROM tailsight_requests",
            "sum(requests) FROM tailsight_request_rollup WHERE measure != 'ttft'",
        )
    )


def test_a_table_that_could_not_be_attached_comes_back(clean_store: Store) -> None:
    clean_store.execute("DETACH TABLE otel_logs SYNC")  # as after an ATTACH that a full disk did not let through
    forget_lost_inserts(clean_store)
    clean_store.load_otlp("otel_logs", b"", token="test_recovery/attached")


@pytest.mark.parametrize(
    "table", ["otel_traces", "otel_traces_trace_id_ts", "tailsight_requests", "tailsight_request_rollup"]
)
def test_rows_whose_token_outlived_them_come_in_again_and_no_others(
    clean_store: Store, asked: Callable[[str], str], table: str
) -> None:
    payload = trace_request(NOW, spans=3)
    token = f"test_recovery/{table}"
    clean_store.load_otlp("otel_traces", payload, token=token)
    lose_part(clean_store, asked, table)
    clean_store.load_otlp("otel_traces", payload, token=token)
    assert 0 in spans(asked), "the engine takes it for a repetition: if this fails, storage/recovery.py can go"
    assert forget_lost_inserts(clean_store) == 1
    clean_store.load_otlp("otel_traces", payload, token=token)
    assert spans(asked) == (3, 3, 3, 3)
    assert forget_lost_inserts(clean_store) == 0


@pytest.mark.parametrize("table", ["otel_metrics_gauge", "tailsight_samples", "tailsight_sample_hours"])
def test_so_do_points_and_what_lies_behind_their_landing_table(
    clean_store: Store, asked: Callable[[str], str], table: str
) -> None:
    def points() -> tuple[str, ...]:
        counts = ("count() FROM otel_metrics_gauge", "count() FROM tailsight_samples")
        return tuple(asked(f"SELECT {count}") for count in (*counts, "sum(samples) FROM tailsight_sample_hours"))

    payload = gauge_request(NOW, points=3)
    token = f"test_recovery/{table}"
    clean_store.load_otlp("otel_metrics_gauge", payload, token=token)
    lose_part(clean_store, asked, table)
    clean_store.load_otlp("otel_metrics_gauge", payload, token=token)
    assert "0" in points()
    assert forget_lost_inserts(clean_store) == 1
    clean_store.load_otlp("otel_metrics_gauge", payload, token=token)
    assert points() == ("3", "3", "3")
    assert forget_lost_inserts(clean_store) == 0


def test_what_merges_have_joined_is_not_lost(clean_store: Store, asked: Callable[[str], str]) -> None:
    payloads = [trace_request(NOW, spans=1) for _ in range(4)]
    for number, payload in enumerate(payloads):
        clean_store.load_otlp("otel_traces", payload, token=f"test_recovery/merged/{number}")
    clean_store.execute("OPTIMIZE TABLE otel_traces FINAL")
    assert forget_lost_inserts(clean_store) == 0
    for number, payload in enumerate(payloads):
        clean_store.load_otlp("otel_traces", payload, token=f"test_recovery/merged/{number}")
    assert spans(asked) == (4, 4, 4, 4)


def tear(asked: Callable[[str], str], table: str, file: str) -> None:
    """What is left of the newest part when the disk was full as the engine wrote that file."""
    path = asked(
        f"SELECT path FROM system.parts WHERE active AND table = '{table}' AND database = currentDatabase() "
        "ORDER BY min_block_number DESC LIMIT 1"
    )
    os.truncate(Path(path) / file, 0)


def test_the_engine_does_not_notice_that_a_write_fails(clean_store: Store) -> None:
    """If this fails, WrittenParts can go."""
    clean_store.execute("INSERT INTO FUNCTION file('/dev/full', 'TSV', 'number UInt64') SELECT number FROM numbers(9)")


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("otel_traces", "data.bin"),
        ("otel_traces", "checksums.txt"),
        ("otel_traces_trace_id_ts", "columns_substreams.txt"),
        ("tailsight_requests", "serialization.json"),
        ("tailsight_request_rollup", "count.txt"),
    ],
)
def test_rows_that_are_not_whole_on_the_disk_come_in_again(
    clean_store: Store, asked: Callable[[str], str], table: str, file: str
) -> None:
    payload = trace_request(NOW, spans=3)
    token = f"test_recovery/{table}/{file}"
    parts = WrittenParts(clean_store)
    clean_store.load_otlp("otel_traces", trace_request(NOW, spans=2), token=f"{token}/whole")
    clean_store.load_otlp("otel_traces", payload, token=token)
    tear(asked, table, file)
    assert spans(asked) == (5, 5, 5, 5), "memory still answers"
    assert parts.mend() == 1
    assert forget_lost_inserts(clean_store) == 1
    clean_store.load_otlp("otel_traces", payload, token=token)
    assert spans(asked) == (5, 5, 5, 5)
    assert WrittenParts(clean_store).mend() == 0


def test_what_a_torn_merge_had_joined_is_there_again(clean_store: Store, asked: Callable[[str], str]) -> None:
    parts = WrittenParts(clean_store)
    for number in range(2):
        clean_store.load_otlp("otel_traces", trace_request(NOW, spans=1), token=f"test_recovery/torn/{number}")
    clean_store.execute("OPTIMIZE TABLE otel_traces FINAL")
    tear(asked, "otel_traces", "data.bin")
    assert parts.mend() == 1
    assert forget_lost_inserts(clean_store) == 0
    assert spans(asked) == (2, 2, 2, 2)


def test_a_server_looks_after_its_own_disk(http_store: Store) -> None:
    assert WrittenParts(http_store).mend() == 0
    TokenLogs(http_store).reserve()
    assert forget_lost_inserts(http_store) == 0


def test_each_table_has_room_for_its_next_tokens(clean_store: Store, asked: Callable[[str], str]) -> None:
    TokenLogs(clean_store).reserve()
    logs = list(Path(asked("SELECT path FROM system.disks WHERE name = 'default'")).glob("store/*/*/dedup*/*.txt"))
    assert len(logs) >= 10
    for log in logs:
        status = log.stat()
        assert status.st_blocks * 512 - status.st_size >= 16 << 10, log


def test_what_has_its_room_can_be_written_to_a_full_disk(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1)
    token_log, other = disk / "deduplication_log_1.txt", disk / "other"
    token_log.write_bytes(b"1\t20261124_1_1_0\ta\n")
    recovery._reserve(token_log)
    assert token_log.read_bytes() == b"1\t20261124_1_1_0\ta\n", "the room lies beyond the end"
    other.touch()
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    with pytest.raises(StoreUnavailableError, match=r"no room for .*/other: No space left on device; give the disk"):
        recovery._reserve(other)
    with token_log.open("ab") as appended:
        appended.write(bytes(32 << 10))
    assert token_log.stat().st_size > 32 << 10


def test_a_file_system_that_cannot_reserve_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_args, **_options: object())
    (tmp_path / "log").touch()
    recovery._reserve(tmp_path / "log")
    assert (tmp_path / "log").stat().st_blocks == 0


def test_a_log_of_tokens_is_read_to_its_end() -> None:
    known = remembered_inserts(
        ["1\t20261124_1_1_0\ta\n", "1\t20261124_2_2_0\tb\n", "2\t20261124_1_1_0\ta\n", "1\t20261124_3_3_0\tc"]
    )
    assert known == [RememberedInsert("20261124_2_2_0", "b")]


def test_a_part_covers_the_blocks_of_its_own_partition_only() -> None:
    inserts = [
        RememberedInsert(f"2026112{day}_{block}_{block}_0", f"{day}{block}") for day in (3, 4) for block in (4, 7)
    ]
    lost = lost_inserts(inserts, [("20261123", 1, 5), ("20261124", 6, 9)])
    assert [insert.block_id for insert in lost] == ["37", "44"]
