"""From the log to the store: every acknowledged frame once, whatever goes wrong on the way."""

import base64
import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.intake import Intake
from collector.loader import Loader
from collector.otlp import TimeRange, checked_metrics, checked_traces
from collector.settings import AcceptedTimes, WalSettings
from collector.telemetry import Telemetry
from collector.wal import Frame, WriteAheadLog, segments_in
from storage.errors import QueryError, StoreError, StoreUnavailableError, UndecodableError
from storage.otlp import Form
from storage.store import Store
from tests.collector.conftest import Ask
from tests.collector.payloads import add_attributes, gauge_request, trace_request
from tests.collector.test_values import every_metric_kind

NOW = time.time_ns()
DAY_NS = 86_400 * 10**9
TODAY = NOW // DAY_NS
SETTINGS = WalSettings(segment_age_s=3600, checkpoint_s=0)
POISON = "poison"
BAD = trace_request(NOW, attributes={"bad": POISON})


class FaultyStore:
    """A store in front of the real one that fails when it is told to, and cannot decode poison."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.errors: list[StoreError] = []
        self.tokens: list[str] = []
        self.files: list[Path] = []
        self.forms: list[Form] = []
        self.undecodable: Form | None = None
        self.fail_after: int | None = None

    def load_otlp(self, table: str, payload: bytes | Path, *, token: str, form: Form = "protobuf") -> None:
        self.tokens.append(token)
        self.forms.append(form)
        if form == self.undecodable:
            raise UndecodableError("the engine cannot decode the payload: it knows no such setting")
        if isinstance(payload, Path):
            self.files.append(payload)
        if self.fail_after is not None:
            self.fail_after -= 1
            if self.fail_after < 0:
                raise StoreUnavailableError("away")
        if self.errors:
            raise self.errors.pop(0)
        if POISON.encode() in (payload.read_bytes() if isinstance(payload, Path) else payload):
            raise UndecodableError("the engine cannot decode the payload: poison (in file/uri /tmp/x): While …")
        self.store.load_otlp(table, payload, token=token, form=form)

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


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


def append_spans(
    wal: WriteAheadLog, *payloads: bytes, spans: int = 2, days: tuple[int, int] | None = (TODAY, TODAY)
) -> None:
    for payload in payloads:
        wal.append("traces", Frame(NOW, {"otel_traces": spans}, payload, days=days)).result(timeout=30)


def with_a_bad_span(payload: bytes, position: int) -> tuple[bytes, str]:
    """A request one of whose spans is poisoned, and the id of that span."""
    request = ExportTraceServiceRequest.FromString(payload)
    span = request.resource_spans[0].scope_spans[0].spans[position]
    span.attributes.add(key="bad").value.string_value = POISON
    return request.SerializeToString(), span.span_id.hex()


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


def plain_request() -> bytes:
    """Three points whose labels are texts."""
    request = ExportMetricsServiceRequest.FromString(gauge_request(NOW, points=3))
    for number, point in enumerate(request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points):
        del point.attributes[:]
        add_attributes(point.attributes, {"gpu": str(number)})
    return request.SerializeToString()


@pytest.mark.parametrize(("others", "form"), [([], "plain"), ([gauge_request(NOW, points=3)], "protobuf")])
def test_a_segment_is_loaded_as_plain_when_all_of_it_is(
    wal: WriteAheadLog, faulty: FaultyStore, telemetry: Telemetry, ask: Ask, others: list[bytes], form: Form
) -> None:
    intake = Intake(wal, AcceptedTimes(), telemetry, now_unix_ns=lambda: NOW)
    payloads = [plain_request(), *others, plain_request()]
    for payload in payloads:
        intake.put("metrics", payload)[1].result(timeout=30)
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    loader = Loader(wal, cast("Store", faulty), SETTINGS, telemetry)
    for _ in range(2):  # as after a crash between the load and the removal
        loader.load(segment)
    assert set(faulty.forms) == {form}
    assert spans_count(ask, "otel_metrics_gauge") == spans_count(ask, "tailsight_samples") == 3 * len(payloads)
    labels = {row["gpu"] for row in ask("SELECT Attributes['gpu'] AS gpu FROM otel_metrics_gauge")}
    assert labels - {""} == {"0", "1", "2"}


def test_a_store_that_can_load_nothing_as_plain_puts_nothing_into_quarantine(
    wal: WriteAheadLog, faulty: FaultyStore, telemetry: Telemetry, ask: Ask
) -> None:
    frame = Frame(NOW, {"otel_metrics_gauge": 3}, plain_request(), days=(TODAY, TODAY), is_plain=True)
    wal.append("metrics", frame).result(timeout=30)
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    faulty.undecodable = "plain"
    loader = Loader(wal, cast("Store", faulty), SETTINGS, telemetry)
    with pytest.raises(UndecodableError):
        loader.load(segment)
    assert spans_count(ask, "tailsight_quarantine") == 0
    faulty.undecodable = None
    loader.load(segment)
    assert spans_count(ask, "otel_metrics_gauge") == 3


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


def test_what_is_not_whole_on_the_disk_stays_in_the_log_and_is_loaded_again(
    wal: WriteAheadLog,
    clean_store: Store,
    telemetry: Telemetry,
    ask: Ask,
    counted: Callable[..., float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storage.recovery._ROOM_BYTES", 1 << 60)  # any disk is nearly full
    torn: list[str] = []

    class TearingStore(FaultyStore):
        """A store whose disk is full, unnoticed, while it writes the first part."""

        def load_otlp(self, table: str, payload: bytes | Path, *, token: str, form: Form = "protobuf") -> None:
            super().load_otlp(table, payload, token=token, form=form)
            if not torn:
                (part,) = ask("SELECT path FROM system.parts WHERE active AND table = 'otel_traces'")
                (Path(part["path"]) / "data.bin").write_bytes(b"")
                torn.append(part["path"])

    loader = Loader(wal, cast("Store", TearingStore(clean_store)), SETTINGS, telemetry)
    append_spans(wal, trace_request(NOW, spans=2))
    loader.start()
    assert loader.flush(60)
    loader.stop()
    assert torn
    clean_store.execute("DETACH TABLE otel_traces SYNC")
    clean_store.execute("ATTACH TABLE otel_traces")
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 2
    assert counted("loaded_items_total", table="otel_traces") == 2, "each once"


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
    append_spans(wal, *good[:4])
    append_spans(wal, BAD, spans=1)
    append_spans(wal, *good[4:])
    assert loader.flush(60)
    assert spans_count(ask) == 12
    (row,) = ask("SELECT * FROM tailsight_quarantine")
    assert base64.b64decode(row["payload"]) == BAD
    assert (row["signal"], row["reason"], row["count"]) == ("traces", "undecodable", 1)
    assert row["segment"].startswith("traces-")
    assert row["detail"] == "otel_traces: the engine cannot decode the payload: poison", "no file that is gone by now"
    assert counted("quarantined_items_total", table="otel_traces", reason="undecodable") == 1


def test_a_request_in_an_odd_order_that_the_engine_refuses_is_stored_as_protobuf_reads_it(
    wal: WriteAheadLog, loader: Loader, ask: Ask
) -> None:
    request = ExportTraceServiceRequest.FromString(trace_request(NOW, spans=3))
    # A name that is a number: to protobuf's library an unknown field.
    request.resource_spans[0].scope_spans[0].spans[1].MergeFromString(b"\x28\x01")
    append_spans(wal, trace_request(NOW, spans=3), request.SerializeToString(), spans=3)
    assert loader.flush(60)
    assert ask("SELECT count() AS n, uniqExact(SpanName) AS names FROM otel_traces") == [{"n": 6, "names": 1}]
    assert spans_count(ask, "tailsight_quarantine") == 0


def test_quarantine_holds_a_frame_once_however_often_it_is_tried(
    wal: WriteAheadLog, faulty: FaultyStore, telemetry: Telemetry, ask: Ask
) -> None:
    loader = Loader(wal, cast("Store", faulty), SETTINGS, telemetry)
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


def test_of_a_bad_request_only_the_bad_span_goes_to_quarantine(
    wal: WriteAheadLog, loader: Loader, ask: Ask, counted: Callable[..., float]
) -> None:
    payload, bad_id = with_a_bad_span(trace_request(NOW, spans=20, attributes={"model": "x"}), 13)
    append_spans(wal, trace_request(NOW, spans=20), payload, trace_request(NOW, spans=20), spans=20)
    assert loader.flush(60)
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 59
    assert ask(f"SELECT count() AS n FROM otel_traces WHERE SpanId = '{bad_id}'") == [{"n": 0}]
    assert ask("SELECT count() AS n FROM otel_traces WHERE SpanAttributes['model'] = 'x'") == [{"n": 19}]
    (row,) = ask("SELECT * FROM tailsight_quarantine")
    assert (row["count"], row["reason"]) == (1, "undecodable")
    kept = ExportTraceServiceRequest.FromString(base64.b64decode(row["payload"])).resource_spans[0]
    assert [span.span_id.hex() for span in kept.scope_spans[0].spans] == [bad_id]
    assert kept.resource.attributes[0].key == "service.name", "what stands around the span is kept with it"
    assert counted("loaded_items_total", table="otel_traces") == 59
    assert counted("quarantined_items_total", table="otel_traces", reason="undecodable") == 1


def test_of_a_bad_metrics_request_only_the_bad_point_goes_to_quarantine(
    wal: WriteAheadLog, loader: Loader, ask: Ask, counted: Callable[..., float]
) -> None:
    request = ExportMetricsServiceRequest.FromString(gauge_request(NOW, points=9))
    request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[4].attributes.add(key=POISON)
    request.MergeFromString(every_metric_kind().SerializeToString())
    payload = request.SerializeToString()
    items = checked_metrics(payload, TimeRange(0, 2**63)).items
    wal.append("metrics", Frame(NOW, items, payload)).result(timeout=30)
    assert loader.flush(60)
    stored = {table: spans_count(ask, table) for table in items}
    assert stored == dict(items) | {"otel_metrics_gauge": items["otel_metrics_gauge"] - 1}
    (row,) = ask("SELECT * FROM tailsight_quarantine")
    assert (row["count"], row["detail"].split(":")[0]) == (1, "otel_metrics_gauge")


def test_of_a_bad_json_request_only_the_bad_span_goes_to_quarantine(
    wal: WriteAheadLog, loader: Loader, ask: Ask
) -> None:
    spans = [
        {
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "name": POISON if number == 3 else "llm_request",
            "kind": 2,
            "startTimeUnixNano": str(NOW),
            "endTimeUnixNano": str(NOW + 1),
        }
        for number in range(1, 8)
    ]
    attributes = [{"key": "service.name", "value": {"stringValue": "chat"}}]
    request = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]}]}
    checked = checked_traces(json.dumps(request).encode(), TimeRange(0, 2**63), "json")
    assert checked.days == (TODAY, TODAY)
    wal.append("traces", Frame(NOW, checked.items, checked.payload, "json", checked.days)).result(timeout=30)
    assert loader.flush(60)
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 6
    (row,) = ask("SELECT * FROM tailsight_quarantine")
    (bad,) = json.loads(base64.b64decode(row["payload"]))["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (row["count"], bad) == (1, spans[2])


def test_what_was_settled_before_an_error_is_counted_once(
    wal: WriteAheadLog, faulty: FaultyStore, telemetry: Telemetry, ask: Ask, counted: Callable[..., float]
) -> None:
    loader = Loader(wal, cast("Store", faulty), SETTINGS, telemetry)
    payload, _ = with_a_bad_span(trace_request(NOW, spans=4), 0)
    append_spans(wal, trace_request(NOW, spans=4), payload, spans=4)
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    for before in range(30):  # away at each step once: all together, the first half, the second, its halves, …
        faulty.fail_after = before
        with contextlib.suppress(StoreUnavailableError):
            loader.load(segment)
            break
    faulty.fail_after = None
    assert before > 5
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 7
    assert spans_count(ask, "tailsight_quarantine") == 1
    assert counted("loaded_items_total", table="otel_traces") == 7
    assert counted("quarantined_items_total", table="otel_traces", reason="undecodable") == 1


def test_a_segment_of_nothing_but_bad_requests_is_given_up_in_larger_pieces(
    wal: WriteAheadLog, faulty: FaultyStore, telemetry: Telemetry, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.loader._FAILED_LOADS_A_TABLE_MAX", 8)
    append_spans(wal, *[BAD] * 30, spans=1)
    loader = Loader(wal, cast("Store", faulty), SETTINGS, telemetry)
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    loader.load(segment)
    assert spans_count(ask, "tailsight_quarantine") == 30
    assert len(faulty.tokens) < 30


@pytest.mark.parametrize("is_bad", [True, False])
def test_what_was_loaded_leaves_the_log_before_a_segment_that_takes_many_inserts(
    wal: WriteAheadLog, faulty: FaultyStore, telemetry: Telemetry, *, is_bad: bool
) -> None:
    """The store remembers the last thousand tokens only; a segment of bad items, or of many days, may need hundreds."""
    loader = Loader(wal, cast("Store", faulty), SETTINGS, telemetry)
    many_days = [(trace_request(NOW - days * DAY_NS), TODAY - days) for days in range(20)]
    taken = []
    for items in (many_days[:1], [*many_days[:1], (BAD, TODAY)] if is_bad else many_days):
        for payload, day in items:
            append_spans(wal, payload, spans=1, days=(day, day))
        wal.rotate(30)
        segment = wal.take(0)
        assert segment is not None
        loader.load(segment)
        wal.mark_loaded(segment)
        taken.append(segment)
    assert [segment.path.exists() for segment in taken] == [False, True]


def test_looking_for_bad_items_ends_before_the_store_forgets_what_it_has_taken(
    wal: WriteAheadLog, loader: Loader, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.loader._LOOKING_PARTS_MAX", 3)
    append_spans(wal, *(BAD, trace_request(NOW)) * 15, spans=1)
    assert loader.flush(30)
    assert 3 < spans_count(ask) < 15
    assert spans_count(ask) + spans_count(ask, "tailsight_quarantine") == 30


def test_a_view_that_fails_is_no_fault_of_the_data_and_nothing_is_doubled(
    wal: WriteAheadLog, loader: Loader, clean_store: Store, ask: Ask, counted: Callable[..., float]
) -> None:
    clean_store.execute("CREATE TABLE failing (x String) ENGINE = MergeTree ORDER BY x")
    clean_store.execute(
        "CREATE MATERIALIZED VIEW failing_mv TO failing AS "
        "SELECT concat(TraceId, toString(toUInt8(SpanAttributes['bad']))) AS x FROM otel_traces"
    )
    try:
        append_spans(wal, *(trace_request(NOW, spans=2) for _ in range(4)))
        assert not loader.flush(1)
        assert spans_count(ask) == 8, "the table comes before its views"
        assert spans_count(ask, "tailsight_quarantine") == 0
    finally:
        clean_store.execute("DROP TABLE failing_mv SYNC")
        clean_store.execute("DROP TABLE failing SYNC")
    assert loader.flush(60)
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 8
    assert counted("loaded_items_total", table="otel_traces") == 8


def test_rows_that_a_crash_took_although_their_token_was_kept_come_in_again(
    wal: WriteAheadLog, clean_store: Store, telemetry: Telemetry, ask: Ask, counted: Callable[..., float]
) -> None:
    first = Loader(wal, clean_store, SETTINGS, telemetry)
    append_spans(wal, trace_request(NOW, spans=2))
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    first.load(segment)
    (part,) = ask("SELECT path FROM system.parts WHERE active AND table = 'otel_traces'")
    clean_store.execute("DETACH TABLE otel_traces SYNC")
    shutil.rmtree(part["path"])
    clean_store.execute("ATTACH TABLE otel_traces")
    wal.give_back(segment)
    second = Loader(wal, clean_store, SETTINGS, telemetry)
    second.start()
    assert second.flush(60)
    second.stop()
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 2
    assert counted("repeatable_inserts_total") == 1


def day_request(days_ago: int) -> bytes:
    start = NOW - days_ago * DAY_NS
    return trace_request(start, start_unix_ns=start, end_unix_ns=start + 1)


def test_spans_of_a_few_days_are_loaded_together(
    wal: WriteAheadLog, faulty: FaultyStore, loader: Loader, ask: Ask
) -> None:
    for days_ago in range(8):
        append_spans(wal, day_request(days_ago), spans=1, days=(TODAY - days_ago,) * 2)
    assert loader.flush(60)
    assert ask("SELECT uniqExact(toDate(Timestamp)) AS days FROM otel_traces") == [{"days": 8}]
    assert len(faulty.tokens) == 1


def test_spans_of_many_days_are_loaded_a_few_days_at_a_time(
    wal: WriteAheadLog, faulty: FaultyStore, loader: Loader, ask: Ask
) -> None:
    for days_ago in range(60):
        append_spans(wal, day_request(days_ago), spans=1, days=(TODAY - days_ago,) * 2)
    assert loader.flush(60)
    assert ask("SELECT count() AS n, uniqExact(toDate(Timestamp)) AS days FROM otel_traces") == [{"n": 60, "days": 60}]
    assert 8 <= len(faulty.tokens) <= 9
    assert spans_count(ask, "tailsight_requests") == 60


def test_a_request_whose_spans_lie_far_apart_is_divided(
    wal: WriteAheadLog, faulty: FaultyStore, loader: Loader, ask: Ask
) -> None:
    payload = b"".join(day_request(days_ago) for days_ago in range(0, 80, 10))
    append_spans(wal, payload, day_request(3), spans=8, days=(TODAY - 70, TODAY))
    assert loader.flush(60)
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 9
    assert 8 <= len(faulty.tokens) <= 9


def test_a_segment_that_goes_in_whole_is_read_from_its_file(
    wal: WriteAheadLog, faulty: FaultyStore, loader: Loader
) -> None:
    append_spans(wal, day_request(0), day_request(1), spans=1)
    assert loader.flush(60)
    assert [file.suffix for file in faulty.files] == [".wal"]


@pytest.mark.parametrize("first", range(8))
def test_a_request_over_many_days_that_is_alone_in_its_segment_goes_in_once(
    wal: WriteAheadLog, faulty: FaultyStore, loader: Loader, ask: Ask, first: int
) -> None:
    payload = day_request(first) + day_request(first + 20)
    append_spans(wal, payload, spans=2, days=(TODAY - first - 20, TODAY - first))
    assert loader.flush(60)
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 2
    assert len(faulty.tokens) == 2
    assert faulty.files == [], "neither piece is the whole segment"


def test_what_items_carry_is_cut_into_inserts_that_memory_holds(
    wal: WriteAheadLog, faulty: FaultyStore, loader: Loader, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.loader._CARRIED_BYTES_AN_INSERT_MAX", 1000)
    for spans, carried_bytes in ((2, 400), (2, 500), (8, 3000), (2, 200)):
        frame = Frame(
            NOW, {"otel_traces": spans}, trace_request(NOW, spans=spans), "protobuf", (TODAY, TODAY), carried_bytes
        )
        wal.append("traces", frame).result(timeout=30)
    assert loader.flush(60)
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 14
    assert len({token.rpartition("/")[2] for token in faulty.tokens}) == len(faulty.tokens) == 5
    assert faulty.files == []


def test_the_pieces_of_a_segment_are_the_same_when_it_is_loaded_again(
    wal: WriteAheadLog, clean_store: Store, telemetry: Telemetry, ask: Ask
) -> None:
    loader = Loader(wal, clean_store, SETTINGS, telemetry)
    append_spans(wal, b"".join(map(day_request, (0, 9, 40))), spans=3, days=(TODAY - 40, TODAY))
    append_spans(wal, day_request(20), spans=1, days=(TODAY - 20,) * 2)
    wal.rotate(30)
    segment = wal.take(0)
    assert segment is not None
    for _ in range(2):
        loader.load(segment)
    assert spans_count(ask) == spans_count(ask, "tailsight_requests") == 4


def test_no_more_is_loaded_than_the_store_remembers_while_the_disk_cannot_be_synced(
    tmp_path: Path, clean_store: Store, telemetry: Telemetry, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.loader._UNSYNCED_PARTS_MAX", 3)
    wal = WriteAheadLog(tmp_path, WalSettings(segment_age_s=3600, checkpoint_s=3600), telemetry)
    for _ in range(6):
        append_spans(wal, trace_request(NOW, spans=2))
        wal.rotate(30)
    loader = Loader(wal, clean_store, SETTINGS, telemetry)
    with monkeypatch.context() as broken:
        broken.setattr(wal, "checkpoint", lambda: False)
        loader.start()
        until = time.monotonic() + 60
        while spans_count(ask) < 6 and time.monotonic() < until:
            time.sleep(0.1)
        assert not loader.flush(1)
        loader.stop()
    assert spans_count(ask) == 6
    wal.close()


def test_the_lag_of_what_was_loaded_is_told(wal: WriteAheadLog, loader: Loader, counted: Callable[..., float]) -> None:
    append_spans(wal, trace_request(NOW, spans=2))
    threading.Event().wait(0.01)
    assert loader.flush(60)
    assert counted("load_lag_seconds", signal="traces") > 0
