"""From the log to the store: every acknowledged frame once, whatever goes wrong on the way."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import polars as pl
import pytest

from collector.loader import Loader
from collector.otlp import TimeRange, checked_metrics
from collector.settings import WalSettings
from collector.telemetry import Telemetry
from collector.wal import Frame, WriteAheadLog, segments_in
from storage.errors import QueryError, StoreError, StoreUnavailableError
from storage.store import Store
from tests.collector.conftest import Ask
from tests.collector.payloads import gauge_request, trace_request
from tests.collector.test_values import every_metric_kind

NOW = time.time_ns()
SETTINGS = WalSettings(segment_age_s=3600, checkpoint_s=0)
# Valid protobuf for the log's reader, none for the engine's: field 1 of the request is a message, not a number.
BAD = b"\x08\x01"


class FaultyStore:
    """A store in front of the real one that fails when it is told to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.errors: list[StoreError] = []
        self.tokens: list[str] = []

    def load_otlp(self, table: str, payload: bytes, *, token: str) -> None:
        self.tokens.append(token)
        if self.errors:
            raise self.errors.pop(0)
        self.store.load_otlp(table, payload, token=token)

    def insert(self, table: str, frame: pl.DataFrame) -> None:
        self.store.insert(table, frame)


@pytest.fixture
def wal(tmp_path: Path, telemetry: Telemetry) -> Iterator[WriteAheadLog]:
    log = WriteAheadLog(tmp_path, SETTINGS, telemetry)
    yield log
    log.close()


@pytest.fixture
def faulty(clean_store: Store) -> FaultyStore:
    return FaultyStore(clean_store)


@pytest.fixture
def loader(wal: WriteAheadLog, faulty: FaultyStore, telemetry: Telemetry) -> Iterator[Loader]:
    running = Loader(wal, cast("Store", faulty), SETTINGS, telemetry)
    running.start()
    yield running
    running.stop()


def append_spans(wal: WriteAheadLog, *payloads: bytes, spans: int = 2) -> None:
    for payload in payloads:
        wal.append("traces", Frame(NOW, {"otel_traces": spans}, payload)).result(timeout=30)


def spans_count(ask: Ask, table: str = "otel_traces") -> int:
    return int(ask(f"SELECT count() AS n FROM {table}")[0]["n"])


def test_what_is_in_the_log_comes_into_the_store(
    wal: WriteAheadLog, loader: Loader, ask: Ask, counted: Callable[..., float], tmp_path: Path
) -> None:
    append_spans(wal, trace_request(NOW, spans=2), trace_request(NOW, spans=2))
    assert loader.flush(60)
    assert spans_count(ask) == 4
    assert spans_count(ask, "tailsight_requests") == 4
    assert counted("loaded_items_total", table="otel_traces") == 4
    loader.stop()
    assert segments_in(tmp_path) == []


def test_one_segment_of_metrics_fills_all_five_tables(wal: WriteAheadLog, loader: Loader, ask: Ask) -> None:
    checked = checked_metrics(every_metric_kind().SerializeToString(), TimeRange(0, 2**63))
    wal.append("metrics", Frame(NOW, checked.items, checked.payload)).result(timeout=30)
    gauge = gauge_request(NOW, points=4)
    wal.append("metrics", Frame(NOW, {"otel_metrics_gauge": 4}, gauge)).result(timeout=30)
    assert loader.flush(60)
    assert {table: spans_count(ask, table) for table in checked.items} == dict(checked.items) | {
        "otel_metrics_gauge": checked.items["otel_metrics_gauge"] + 4
    }


def test_a_segment_that_is_loaded_again_changes_nothing(
    wal: WriteAheadLog, clean_store: Store, telemetry: Telemetry, ask: Ask
) -> None:
    loader = Loader(wal, clean_store, SETTINGS, telemetry)
    append_spans(wal, trace_request(NOW, spans=2))
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    for _ in range(3):  # as after a crash between the load and the removal
        loader.load(segment)
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 2
    assert ask("SELECT sum(requests) AS n FROM tailsight_request_rollup WHERE measure != 'ttft'") == [{"n": 2}]


def test_a_store_that_is_away_keeps_the_segment_in_the_log_until_it_is_back(
    wal: WriteAheadLog, faulty: FaultyStore, loader: Loader, ask: Ask, counted: Callable[..., float]
) -> None:
    faulty.errors = [StoreUnavailableError("away")] * 2
    append_spans(wal, trace_request(NOW, spans=2))
    assert loader.flush(60)
    assert spans_count(ask) == 2
    assert counted("load_failures_total", signal="traces", error="StoreUnavailableError") == 2
    assert len(set(faulty.tokens)) == 1, "each attempt bears the same token"


def test_a_store_that_refuses_everything_is_at_fault_and_not_the_data(
    wal: WriteAheadLog, faulty: FaultyStore, loader: Loader, ask: Ask
) -> None:
    faulty.errors = [QueryError("no such table")] * 4  # the segment and then the empty request, twice
    append_spans(wal, trace_request(NOW, spans=2))
    assert loader.flush(60)
    assert spans_count(ask) == 2
    assert spans_count(ask, "tailsight_quarantine") == 0


def test_a_frame_the_engine_cannot_decode_goes_to_quarantine_and_the_rest_goes_in(
    wal: WriteAheadLog, loader: Loader, ask: Ask, counted: Callable[..., float]
) -> None:
    good = [trace_request(NOW, spans=2) for _ in range(6)]
    append_spans(wal, *good[:4], BAD, *good[4:])
    assert loader.flush(60)
    assert spans_count(ask) == 12
    (row,) = ask("SELECT * FROM tailsight_quarantine")
    assert base64.b64decode(row["payload"]) == BAD
    assert (row["signal"], row["reason"], row["count"]) == ("traces", "undecodable", 2)
    assert row["segment"].startswith("traces-")
    assert row["detail"].startswith("otel_traces: the engine cannot decode")
    assert counted("quarantined_items_total", table="otel_traces", reason="undecodable") == 2


def test_quarantine_holds_a_frame_once_however_often_it_is_tried(
    wal: WriteAheadLog, clean_store: Store, telemetry: Telemetry, ask: Ask
) -> None:
    loader = Loader(wal, clean_store, SETTINGS, telemetry)
    append_spans(wal, trace_request(NOW, spans=2), BAD)
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    loader.load(segment)
    loader.load(segment)
    assert spans_count(ask) == 2
    assert spans_count(ask, "tailsight_quarantine") == 1


def test_damage_in_a_segment_is_counted_and_the_rest_goes_in(
    wal: WriteAheadLog, clean_store: Store, telemetry: Telemetry, ask: Ask, counted: Callable[..., float]
) -> None:
    append_spans(wal, trace_request(NOW, spans=2), trace_request(NOW, spans=2))
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    whole = segment.path.read_bytes()
    segment.path.write_bytes(whole[:-5])
    Loader(wal, clean_store, SETTINGS, telemetry).load(segment)
    assert spans_count(ask) == 2
    assert counted("wal_damaged_bytes_total", signal="traces") > 0


def test_a_segment_that_somebody_took_away_is_counted_and_the_next_one_goes_in(
    wal: WriteAheadLog, clean_store: Store, telemetry: Telemetry, ask: Ask, counted: Callable[..., float]
) -> None:
    append_spans(wal, trace_request(NOW, spans=2))
    wal.rotate(30)
    loader = Loader(wal, clean_store, SETTINGS, telemetry)
    gone = wal.take(0)
    assert gone is not None
    size_bytes = gone.path.stat().st_size
    gone.path.unlink()
    wal.give_back(gone)
    loader.start()
    append_spans(wal, trace_request(NOW, spans=3), spans=3)
    assert loader.flush(60)
    assert loader.is_alive
    loader.stop()
    assert spans_count(ask) == 3
    assert counted("wal_damaged_bytes_total", signal="traces") == size_bytes
    assert counted("wal_backlog_bytes") == 0


def test_a_loader_that_does_not_run_is_not_waited_for(
    wal: WriteAheadLog, clean_store: Store, telemetry: Telemetry
) -> None:
    append_spans(wal, trace_request(NOW, spans=2))
    assert not Loader(wal, clean_store, SETTINGS, telemetry).flush(threading.TIMEOUT_MAX)


def test_flush_gives_up_at_its_deadline(wal: WriteAheadLog, faulty: FaultyStore, loader: Loader) -> None:
    faulty.errors = [StoreUnavailableError("away")] * 1000
    append_spans(wal, trace_request(NOW, spans=2))
    assert not loader.flush(0.05)


def test_spans_of_many_days_are_loaded_together(wal: WriteAheadLog, loader: Loader, ask: Ask) -> None:
    days = [NOW - day * 86_400 * 10**9 for day in range(29)]
    append_spans(wal, *(trace_request(day, start_unix_ns=day, end_unix_ns=day + 1) for day in days), spans=1)
    assert loader.flush(60)
    assert ask("SELECT uniqExact(toDate(Timestamp)) AS days FROM otel_traces") == [{"days": 29}]


def test_the_lag_of_what_was_loaded_is_told(wal: WriteAheadLog, loader: Loader, counted: Callable[..., float]) -> None:
    append_spans(wal, trace_request(NOW, spans=2))
    threading.Event().wait(0.01)
    assert loader.flush(60)
    assert counted("load_lag_seconds", signal="traces") > 0
