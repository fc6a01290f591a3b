"""Tables that somebody else's Collector fills, of each generation: every reader answers as it does on our own."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from collector.service import Collector
from collector.settings import CollectorSettings
from domain.incident import Indicator
from domain.window import Window
from storage import readers, recovery
from storage.catch_up import CatchUp, CaughtUp, catch_up
from storage.errors import QueryError, StoreError, UnreadableTableError
from storage.migrate import migrate
from storage.open import GatewayAddress, open_store
from storage.otlp import ENCODINGS, Encoding
from storage.retention import Retention, read_days
from storage.settings import CatchUpSettings, RetentionSettings, StoreSettings, TablesSettings
from storage.store import Store
from storage.upstream import is_ours, sources
from tests.collector.payloads import trace_request
from tests.contract.conftest import ask_of
from tests.contract.generations import (
    GENERATIONS,
    WrittenPoint,
    WrittenSpan,
    make_tables,
    write_points,
    write_spans,
)
from tests.contract.payloads import (
    PAYLOADS,
    SECOND_NS,
    T0_NS,
    T0_S,
    as_json,
    counter,
    gauge,
    metrics,
    point,
    span,
    traces,
)
from tests.emptied import empty

T0 = datetime.fromtimestamp(T0_S, UTC)
HOUR = Window(T0 - timedelta(minutes=5), T0 + timedelta(minutes=55))

Opened = Callable[..., Store]


@pytest.fixture
def opened(store: Store, gateway: GatewayAddress) -> Iterator[Opened]:
    """Opens a database of the session's engine, as a server's client; all are dropped afterwards."""
    stores: list[Store] = []
    databases: set[str] = {"theirs"}

    def open_one(database: str, **tables: str) -> Store:
        store.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
        databases.add(database)
        url = gateway.url.replace("http://", f"http://tailsight:{gateway.token}@")
        stores.append(open_store(StoreSettings(url=f"{url}/{database}", tables=TablesSettings(**tables))))
        return stores[-1]

    for name in ("theirs", "ours", "reference"):
        store.execute(f"DROP DATABASE IF EXISTS {name} SYNC")
    yield open_one
    for one in stores:
        one.close()
    for name in databases:
        store.execute(f"DROP DATABASE IF EXISTS {name} SYNC")


@pytest.fixture(params=GENERATIONS)
def generation(request: pytest.FixtureRequest, store: Store, opened: Opened) -> str:
    """A generation, with its empty tables in the database `theirs`."""
    name: str = request.param
    make_tables(store, "theirs", name)
    return name


def _spans() -> list[WrittenSpan]:
    resource = {
        "service.name": "chat",
        "service.version": "1.4",
        "k8s.pod.name": "chat-0",
        "k8s.node.name": "gpu-07",
        "k8s.namespace.name": "prod",
    }
    told = {
        "gen_ai.request.model": "llama",
        "tenant.id": "acme",
        "user.id": "u1",
        "gen_ai.latency.time_to_first_token": 0.25,
        "gen_ai.latency.time_in_queue": 0.125,
        "gen_ai.latency.time_in_model_prefill": 0.0625,
        "gen_ai.latency.time_in_model_decode": 2,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "stream": True,
    }
    return [
        WrittenSpan("0000000000000001", T0_NS + 123_456_789, resource=resource, attributes=told),
        WrittenSpan("0000000000000002", T0_NS + 2 * SECOND_NS, resource=resource, attributes=told, failed=True),
        WrittenSpan("0000000000000003", T0_NS + 3 * SECOND_NS, duration_ns=-191_305),
        WrittenSpan("0000000000000004", T0_NS + 4 * SECOND_NS, kind=1, parent_span_id="0000000000000003"),
        WrittenSpan("0000000000000005", T0_NS + 5 * SECOND_NS, kind=5, parent_span_id="0000000000000003"),
        WrittenSpan("0000000000000006", T0_NS + 31 * SECOND_NS, attributes={"ttft_ms": "N/A", "model": "it's"}),
        WrittenSpan("0000000000000007", T0_NS + 32 * SECOND_NS, resource={}),
        # Twins: of one trace and one moment, told apart by their ids only.
        *(WrittenSpan(f"000000000000001{n}", T0_NS + 40 * SECOND_NS, kind=5, resource=resource) for n in range(2)),
    ]


def _points() -> list[WrittenPoint]:
    gpu = {"UUID": "GPU-1f", "gpu": "0", "Hostname": "gpu-07", "exported_pod": "chat-0", "k8s.pod.uid": "a.b"}
    scraped = {"service.name": "dcgm", "service.instance.id": "10.0.0.7:9400"}
    return [
        WrittenPoint("DCGM_FI_DEV_GPU_UTIL", 41.5, T0_NS, resource=scraped, attributes=gpu),
        WrittenPoint("DCGM_FI_DEV_GPU_UTIL", 43.5, T0_NS + 15 * SECOND_NS, resource=scraped, attributes=gpu),
        WrittenPoint("DCGM_FI_DEV_GPU_UTIL", 2147483632.0, T0_NS + 30 * SECOND_NS, resource=scraped, attributes=gpu),
        WrittenPoint("DCGM_FI_DEV_GPU_UTIL", 1.0, T0_NS + 45 * SECOND_NS, flags=1, resource=scraped, attributes=gpu),
        WrittenPoint("up", 1.0, T0_NS, attributes={"device": "mlx5_2", "port": "1"}),
        WrittenPoint("up", 0.0, T0_NS, resource={"service.name": "vllm", "host.name": "gpu-09"}),
    ]


def _as_otlp_span(written: WrittenSpan) -> bytes:
    sent = span(
        start_ns=written.start_ns,
        duration_ns=written.duration_ns,
        trace_id=bytes.fromhex(written.trace_id),
        span_id=bytes.fromhex(written.span_id),
        parent_span_id=bytes.fromhex(written.parent_span_id),
        kind=written.kind,
        status=Status(code=Status.STATUS_CODE_ERROR if written.failed else Status.STATUS_CODE_UNSET),
        attributes=written.attributes,
    )
    return traces(sent, resource=written.resource)


def _as_otlp_point(written: WrittenPoint, *, as_counter: bool) -> bytes:
    sent = point(written.value, time_ns=written.time_ns, flags=written.flags, attributes=written.attributes)
    metric = counter(written.name, [sent]) if as_counter else gauge(written.name, sent)
    return metrics(metric, resource=written.resource)


def _reference(opened: Opened, spans: Sequence[WrittenSpan], points: Sequence[WrittenPoint]) -> Store:
    """A store of ours that was sent the same through its own door: what every answer is held against."""
    reference = opened("reference")
    migrate(reference)
    reference.load_otlp("otel_traces", b"".join(map(_as_otlp_span, spans)), token="spans")
    for table, as_counter in (("otel_metrics_gauge", False), ("otel_metrics_sum", True)):
        chosen = points[3:] if as_counter else points[:3]
        payload = b"".join(_as_otlp_point(one, as_counter=as_counter) for one in chosen)
        reference.load_otlp(table, payload, token=table)
    return reference


def _write(store: Store, generation: str, spans: Sequence[WrittenSpan], points: Sequence[WrittenPoint]) -> None:
    """Into the tables of `theirs`, or of the database that the store is in."""
    database = f"{store.database}." if store.database == "theirs_current" else "theirs."
    write_spans(store, f"{database}otel_traces", generation, spans)
    write_points(store, f"{database}otel_metrics_gauge", generation, points[:3])
    write_points(store, f"{database}otel_metrics_sum", generation, points[3:])


def _answers(store: Store) -> dict[str, pl.DataFrame]:
    series = readers.read_series(store, HOUR, ["DCGM_FI_DEV_GPU_UTIL", "up"])
    by = ("model", "replica", "tenant", "version")
    return {
        "services": readers.read_services(store, HOUR),
        "request_series": readers.read_request_series(store, HOUR, 15),
        "requests": readers.read_requests(store, HOUR, "chat").sort("time", "trace_id", "replica", "model"),
        "traffic": readers.read_traffic(store, HOUR, "chat", 15, by),
        "latency": readers.read_latency(store, HOUR, "chat", 15, by),
        "slo_counts": readers.read_slo_counts(store, HOUR, "chat", Indicator.LATENCY, 900.0, 15),
        "heatmap": readers.read_heatmap(store, HOUR, "chat", Indicator.TTFT, 15),
        "series": series,
        "samples": readers.read_samples(store, HOUR, series, 15, "mean").sort("series_id", "time"),
        "freshness": pl.DataFrame(sorted(readers.read_freshness(store, T0 + timedelta(hours=1)).items()), orient="row"),
    }


def _assert_same_answers(store: Store, reference: Store) -> None:
    found, expected = _answers(store), _answers(reference)
    for question, frame in expected.items():
        assert frame.height, question
        assert_frame_equal(found[question], frame)


# -- reading -----------------------------------------------------------------------------------------------------


def test_every_reader_answers_as_on_our_own_tables(opened: Opened, generation: str) -> None:
    reference = _reference(opened, _spans(), _points())
    ours = opened("ours", **{signal: f"theirs.otel_{signal}" for signal in ("traces", "metrics_gauge", "metrics_sum")})
    migrate(ours)
    _write(ours, generation, _spans(), _points())
    assert catch_up(ours, HOUR).is_complete
    _assert_same_answers(ours, reference)


def test_a_database_of_theirs_is_read_without_being_told_and_only_our_names_are_made_in_it(
    opened: Opened, generation: str
) -> None:
    theirs = opened("theirs")
    _write(theirs, generation, _spans(), _points())
    ask = ask_of(theirs)
    made = "SELECT name, create_table_query FROM system.tables WHERE database = 'theirs' AND name LIKE 'otel%'"
    before = ask(made)
    migrate(theirs)
    assert ask(made) == before
    assert ask("SELECT name FROM system.tables WHERE database = 'theirs' AND name NOT LIKE 'tailsight\\_%'") == [
        (name,) for name, _ in before
    ]
    assert catch_up(theirs, HOUR).is_complete
    _assert_same_answers(theirs, _reference(opened, _spans(), _points()))
    assert migrate(theirs) == []


def test_an_insert_of_theirs_meets_nothing_of_ours(opened: Opened, generation: str) -> None:
    theirs = opened("theirs")
    migrate(theirs)
    theirs.execute("DROP TABLE tailsight_requests SYNC")
    _write(theirs, generation, _spans(), _points())
    assert ask_of(theirs)("SELECT count() FROM otel_traces") == [(len(_spans()),)]


def test_labels_of_json_are_the_same_map_on_engines_that_know_less(opened: Opened, store: Store) -> None:
    make_tables(store, "theirs", "json")
    theirs = opened("theirs")
    migrate(theirs)
    write_points(theirs, "otel_metrics_gauge", "json", _points())
    (source,) = [one for one in sources(theirs) if one.signal == "metrics_gauge"]
    assert source.dialect.has_json_values
    older = replace(source.dialect, has_json_values=False)
    questions = [
        f"SELECT {dialect.entries('Attributes')} FROM otel_metrics_gauge" for dialect in (source.dialect, older)
    ]
    newer_answer, older_answer = map(ask_of(theirs), questions)
    assert newer_answer == older_answer == [(dict(sorted(one.attributes.items())),) for one in _points()]


# -- our own door beside theirs ----------------------------------------------------------------------------------


async def _post(collector: Collector, payload: bytes) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(collector.otlp_app), base_url="http://x") as client:
        answer = await client.post("/v1/traces", content=payload, headers={"content-type": "application/x-protobuf"})
        return answer.status_code


def _held(store: Store) -> dict[str, int]:
    """Rows by table, of those that hold any."""
    asked = "SELECT table, sum(rows) FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table"
    return {str(table): int(str(rows)) for table, rows in ask_of(store)(asked) if rows}


def test_what_comes_through_our_door_is_kept_in_our_tables_and_becomes_requests(theirs: Store, tmp_path: Path) -> None:
    _write(theirs, "current", _spans(), _points())
    before = ask_of(theirs)("SELECT * FROM otel_traces ORDER BY ALL")
    collector = Collector(CollectorSettings(), theirs, tmp_path, CollectorRegistry())
    collector.start()
    assert asyncio.run(_post(collector, trace_request(time.time_ns(), spans=3))) == 200
    assert collector.flush(60)
    collector.close()
    assert ask_of(theirs)("SELECT * FROM otel_traces ORDER BY ALL") == before
    assert ask_of(theirs)("SELECT count() FROM tailsight_otel_traces") == [(3,)]
    assert _counted(theirs) == (3, 3, 0, 0)
    catch_up(theirs, HOUR)
    assert _counted(theirs) == (3 + 7, 3 + 7, 4, 3)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_table_of_the_door_is_one_of_ours(theirs: Store, encoding: Encoding) -> None:
    for _ in range(2):  # the second time changes nothing
        for table, payload in PAYLOADS.items():
            sent = as_json(table, payload) if encoding == "json" else payload
            theirs.load_otlp(table, sent, token=f"{encoding}/{table}", form=encoding)
    raw = {table: rows for table, rows in _held(theirs).items() if "otel" in table and not table.endswith("_ts")}
    histograms = ("otel_metrics_histogram", "otel_metrics_exponential_histogram", "otel_metrics_summary")
    assert raw == {f"tailsight_{table}": 1 if table in histograms else 2 for table in PAYLOADS}
    assert _counted(theirs) == (2, 2, 4, 2)


def test_nothing_goes_into_their_tables_while_ours_are_not_there_yet(opened: Opened, store: Store) -> None:
    make_tables(store, "theirs", "current")
    theirs = opened("theirs")
    with pytest.raises(QueryError, match="tailsight_otel_traces"):
        theirs.load_otlp("otel_traces", PAYLOADS["otel_traces"], token="early")
    migrate(theirs)
    theirs.load_otlp("otel_traces", PAYLOADS["otel_traces"], token="early")
    assert _held(theirs)["tailsight_otel_traces"] == 2
    assert "otel_traces" not in _held(theirs)


def test_retention_and_recovery_see_our_tables_beside_theirs(theirs: Store) -> None:
    _write(theirs, "current", _spans(), _points())
    for table, payload in PAYLOADS.items():
        theirs.load_otlp(table, payload, token=table)
    ours = {f"tailsight_{table}" for table in PAYLOADS}
    remembered = theirs.query("inserted_parts", recovery._PARTS)["table"].unique()
    assert ours <= set(remembered)
    assert not any(table.startswith("otel_") for table in remembered)
    assert ours <= {day.table for day in read_days(theirs)}
    Retention(theirs, RetentionSettings(), None).look(T0 + timedelta(days=1000))
    assert {table for table in _held(theirs) if "otel" in table} == {
        "otel_traces",
        "otel_metrics_gauge",
        "otel_metrics_sum",
    }


# -- once each, however it comes ---------------------------------------------------------------------------------

_COUNTED = """SELECT
    (SELECT count() FROM tailsight_requests),
    (SELECT sum(requests) FROM tailsight_request_rollup WHERE measure != 'ttft'),
    (SELECT count() FROM tailsight_samples), (SELECT uniqExact(series_id) FROM tailsight_series)"""


@pytest.fixture(scope="module")
def migrated_theirs(store: Store, gateway: GatewayAddress) -> Iterator[Store]:
    make_tables(store, "theirs_current", "current")
    url = gateway.url.replace("http://", f"http://tailsight:{gateway.token}@")
    found = open_store(StoreSettings(url=f"{url}/theirs_current"))
    migrate(found)
    yield found
    found.close()
    store.execute("DROP DATABASE theirs_current SYNC")


@pytest.fixture
def theirs(migrated_theirs: Store) -> Store:
    """A database of theirs of the current generation, migrated, its tables empty."""
    empty(migrated_theirs)
    return migrated_theirs


def _counted(store: Store) -> tuple[object, ...]:
    return ask_of(store)(_COUNTED)[0]


def test_looking_again_adds_nothing(theirs: Store) -> None:
    _write(theirs, "current", _spans(), _points())
    first = catch_up(theirs, HOUR)
    assert first == CaughtUp(
        {f"theirs_current.otel_{signal}": n for signal, n in (("traces", 9), ("metrics_gauge", 3), ("metrics_sum", 3))},
        is_complete=True,
    )
    counted = _counted(theirs)
    assert counted == (7, 7, 4, 3)
    assert catch_up(theirs, HOUR) == CaughtUp({}, is_complete=True)
    assert _counted(theirs) == counted


def test_what_comes_late_is_added_and_nothing_else(theirs: Store) -> None:
    reversed_spans, reversed_points = _spans()[::-1], _points()[::-1]
    for written in reversed_spans:  # one by one, newest first, twins apart
        write_spans(theirs, "otel_traces", "current", [written])
        assert catch_up(theirs, HOUR).rows == {"theirs_current.otel_traces": 1}
    for sample in reversed_points:
        write_points(theirs, "otel_metrics_gauge", "current", [sample])
        assert catch_up(theirs, HOUR).rows == {"theirs_current.otel_metrics_gauge": 1}
    assert _counted(theirs) == (7, 7, 4, 3)


def test_what_their_collector_wrote_twice_counts_once(theirs: Store) -> None:
    for _ in range(2):
        _write(theirs, "current", _spans(), _points())
    catch_up(theirs, HOUR)
    _write(theirs, "current", _spans(), _points())
    catch_up(theirs, HOUR)
    assert _counted(theirs) == (7, 7, 4, 3)


def test_what_lies_outside_of_the_window_is_left(theirs: Store) -> None:
    day_before = WrittenSpan("00000000000000aa", T0_NS - 24 * 3600 * SECOND_NS)
    write_spans(theirs, "otel_traces", "current", [*_spans(), day_before])
    catch_up(theirs, HOUR)
    assert _counted(theirs)[:2] == (7, 7)
    catch_up(theirs, HOUR.widened(before_s=2 * 24 * 3600))
    assert _counted(theirs)[:2] == (8, 8)


def test_weeks_are_read_in_one_call(theirs: Store) -> None:
    of_day, of_weeks = 24 * 3600 // 15, 25 * 24  # one row each 15 s, and one each hour: more than fit into one address
    for rows, step_s in ((of_day, 15), (of_weeks, 3600)):
        theirs.execute(
            "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, ServiceName) SELECT fromUnixTimestamp64Nano("
            f"{T0_NS} - toInt64(number) * {step_s * SECOND_NS}), 'of {step_s} s', hex(number), 'chat' "
            f"FROM numbers({rows})"
        )
    read = catch_up(theirs, HOUR.widened(before_s=25 * 24 * 3600)).rows
    assert read == {"theirs_current.otel_traces": of_day + of_weeks}
    assert _counted(theirs)[:2] == (of_day + of_weeks, of_day + of_weeks)


def test_rows_that_they_drop_stay_in_ours(theirs: Store) -> None:
    _write(theirs, "current", _spans(), _points())
    catch_up(theirs, HOUR)
    theirs.execute("TRUNCATE TABLE otel_traces")
    catch_up(theirs, HOUR)
    assert _counted(theirs) == (7, 7, 4, 3)


def test_requests_that_a_view_put_in_are_not_put_in_again(opened: Opened, store: Store) -> None:
    """As when a table over several servers holds what came in through our door too."""
    make_tables(store, "theirs", "current")
    ours = opened("ours", traces="theirs.otel_traces")
    migrate(ours)
    ours.load_otlp("otel_traces", b"".join(map(_as_otlp_span, _spans())), token="through our door")
    write_spans(ours, "theirs.otel_traces", "current", _spans())
    catch_up(ours, HOUR)
    assert _counted(ours)[:2] == (7, 7)


class CutShortError(Exception):
    """The power went."""


class CutShort:
    """A store that takes only so many changes more; the last one is made, and nobody hears of it."""

    def __init__(self, store: Store, changes_left: int) -> None:
        self._store = store
        self._changes_left = changes_left

    def execute(self, *arguments: Any) -> None:
        self._store.execute(*arguments)
        self._count()

    def insert(self, *arguments: Any) -> None:
        self._store.insert(*arguments)
        self._count()

    def _count(self) -> None:
        self._changes_left -= 1
        if self._changes_left == 0:
            raise CutShortError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_look_cut_short_anywhere_is_finished_by_the_next(theirs: Store) -> None:
    changes = 0
    cut_short = True
    while cut_short:
        changes += 1
        empty(theirs)
        _write(theirs, "current", _spans(), _points())
        try:
            catch_up(CutShort(theirs, changes), HOUR)  # type: ignore[arg-type]
            cut_short = False
        except CutShortError:
            catch_up(theirs, HOUR)
        assert _counted(theirs) == (7, 7, 4, 3), changes
    assert changes > 8  # of three tables: what is added, and that it was


def test_a_rollup_that_a_crash_left_short_is_completed(theirs: Store, opened: Opened) -> None:
    _write(theirs, "current", _spans(), _points())
    statement = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = "
    ((view,),) = ask_of(theirs)(f"{statement}'tailsight_request_rollup_mv'")
    theirs.execute(
        "DROP VIEW tailsight_request_rollup_mv SYNC"
    )  # between the two commits: requests without their rollup
    write_spans(theirs, "otel_traces", "current", [WrittenSpan("00000000000000bb", T0_NS)])
    catch_up(theirs, HOUR)
    theirs.execute(str(view))
    write_spans(theirs, "otel_traces", "current", [WrittenSpan("00000000000000cc", T0_NS)])
    catch_up(theirs, HOUR)
    assert _counted(theirs)[:2] == (9, 9)
    more = [WrittenSpan("00000000000000bb", T0_NS), WrittenSpan("00000000000000cc", T0_NS)]
    reference = _reference(opened, [*_spans(), *more], _points())
    assert_frame_equal(_answers(theirs)["latency"], _answers(reference)["latency"])


def test_a_rollup_that_our_own_door_is_about_to_write_is_left_to_it(theirs: Store) -> None:
    theirs.load_otlp("otel_traces", trace_request(T0_NS, spans=3), token="own")
    theirs.execute("TRUNCATE TABLE tailsight_request_rollup")  # as between the two commits of that insert
    write_spans(theirs, "otel_traces", "current", [WrittenSpan("00000000000000bb", T0_NS)])
    catch_up(theirs, HOUR)
    assert _counted(theirs)[:2] == (3 + 1, 1)


def test_time_that_runs_out_leaves_the_rest_to_the_next_look(theirs: Store) -> None:
    _write(theirs, "current", _spans(), _points())
    assert catch_up(theirs, HOUR, seconds_max=0) == CaughtUp({}, is_complete=False)
    assert _counted(theirs) == (0, 0, 0, 0)
    assert catch_up(theirs, HOUR).is_complete


def test_while_another_process_has_the_turn_nothing_is_added(theirs: Store) -> None:
    _write(theirs, "current", _spans(), _points())
    theirs.execute(
        "INSERT INTO tailsight_turns "
        "SELECT toUInt64(intDiv(toUnixTimestamp(now()), 60) + number), 'another' FROM numbers(3)"
    )
    assert catch_up(theirs, HOUR) == CaughtUp({}, is_complete=False)
    theirs.execute("TRUNCATE TABLE tailsight_turns")
    assert catch_up(theirs, HOUR).is_complete
    assert {holder for (holder,) in ask_of(theirs)("SELECT holder FROM tailsight_turns")} != {"another"}


@pytest.mark.parametrize("asked_before", [2, 3, 5])
def test_a_turn_that_ends_between_two_statements_leaves_the_rest_to_whoever_has_the_next(
    theirs: Store, monkeypatch: pytest.MonkeyPatch, asked_before: int
) -> None:
    _write(theirs, "current", _spans(), _points())
    asked = itertools.count(1)
    with monkeypatch.context() as patched:
        patched.setattr("storage.catch_up._has_turn", lambda _: next(asked) < asked_before)
        assert not catch_up(theirs, HOUR).is_complete
    assert catch_up(theirs, HOUR).is_complete
    assert _counted(theirs) == (7, 7, 4, 3)


# -- when what is looked at --------------------------------------------------------------------------------------


def test_the_first_round_reads_the_history_and_what_is_new_at_each_step(theirs: Store) -> None:
    now = T0 + timedelta(hours=6)
    now_ns = T0_NS + 6 * 3600 * SECOND_NS
    old = WrittenSpan("00000000000000aa", T0_NS - 24 * 3600 * SECOND_NS)
    write_spans(theirs, "otel_traces", "current", [*_spans(), old])
    steps = CatchUp(theirs, CatchUpSettings(history_days=0.5, late_hours=1))
    looks = 0
    while not steps.step(now).is_complete:
        looks += 1
        write_spans(theirs, "otel_traces", "current", [WrittenSpan(f"{looks:016x}", now_ns - SECOND_NS)])
        assert looks < 20
    assert looks == 11  # twelve hours, one at a time
    assert _counted(theirs)[0] == 7 + 11  # and not what is older than the history
    later = now + timedelta(minutes=11)
    assert steps.step(later).is_complete  # the next round goes back one hour only
    assert steps.step(later).is_complete


def test_a_table_that_cannot_be_read_any_more_keeps_no_other_from_being_read(theirs: Store) -> None:
    now = T0 + timedelta(hours=1)
    steps = CatchUp(theirs, CatchUpSettings(history_days=0.5, late_hours=1))
    theirs.execute("RENAME TABLE otel_metrics_sum TO whole_sum")
    theirs.execute("CREATE TABLE otel_metrics_sum (TimeUnix DateTime64(9)) ENGINE = MergeTree ORDER BY TimeUnix")
    try:
        write_spans(theirs, "otel_traces", "current", _spans())
        looked = steps.step(now)
        (fault,) = looked.faults
        assert "otel_metrics_sum" in fault
        assert looked.rows == {"theirs_current.otel_traces": len(_spans())}
        assert not looked.is_complete
        assert _counted(theirs)[0] == 7
    finally:
        theirs.execute("DROP TABLE otel_metrics_sum SYNC")
        theirs.execute("RENAME TABLE whole_sum TO otel_metrics_sum")
    write_points(theirs, "otel_metrics_sum", "current", _points())
    later = now + timedelta(hours=2)  # past what comes late
    looks = [steps.step(later) for _ in range(14)]
    assert sum(one.rows.get("theirs_current.otel_metrics_sum", 0) for one in looks) == len(_points())
    assert looks[-1].is_complete


def test_a_table_whose_reading_fails_keeps_no_other_from_being_read(theirs: Store) -> None:
    now = T0 + timedelta(minutes=5)
    steps = CatchUp(theirs, CatchUpSettings(history_days=0.5, late_hours=1))
    _write(theirs, "current", _spans(), _points())
    theirs.execute("RENAME TABLE otel_traces TO whole_traces")
    theirs.execute(
        "CREATE VIEW otel_traces AS SELECT * FROM whole_traces WHERE throwIf(Duration > 0, 'a shard is away') = 0"
    )
    try:
        (fault,) = steps.step(now).faults
        assert "theirs_current.otel_traces" in fault
        assert "a shard is away" in fault
        assert steps.step(now + timedelta(seconds=2)).faults == (fault,), "and it is not asked again at once"
        assert _counted(theirs)[0] == 0
        assert _counted(theirs)[2:] == (4, 3)
    finally:
        theirs.execute("DROP VIEW otel_traces SYNC")
        theirs.execute("RENAME TABLE whole_traces TO otel_traces")
    assert steps.step(now + timedelta(minutes=1)).faults == ()
    assert _counted(theirs) == (7, 7, 4, 3)


def test_all_of_the_history_is_read_in_one_go_with_word_of_how_far_it_is(theirs: Store) -> None:
    _write(theirs, "current", _spans(), _points())
    done = list(CatchUp(theirs, CatchUpSettings(history_days=0.5)).history(T0 + timedelta(hours=6)))
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert _counted(theirs) == (7, 7, 4, 3)


# -- whose a table is, and whether it can be read ----------------------------------------------------------------


def test_our_own_tables_are_no_source(store: Store) -> None:
    assert sources(store) == []
    assert store.table_prefix() == ""
    assert all(
        is_ours(table, store.otel_tables())
        for table in ("otel_traces", "otel_logs", "otel_metrics_sum", "tailsight_series")
    )


def test_their_tables_are_not_ours_beside_ours(theirs: Store) -> None:
    assert theirs.table_prefix() == "tailsight_"
    assert not any(is_ours(table, theirs.otel_tables()) for table in ("otel_traces", "otel_metrics_gauge", "otel_logs"))
    assert is_ours("tailsight_otel_traces", theirs.otel_tables())
    assert [source.name for source in sources(theirs)] == [
        "theirs_current.otel_traces",
        "theirs_current.otel_metrics_gauge",
        "theirs_current.otel_metrics_sum",
    ]


def test_a_table_named_in_the_settings_is_read_in_place_of_the_usual_one(theirs: Store, opened: Opened) -> None:
    theirs.execute("CREATE OR REPLACE VIEW otel_traces_distributed AS SELECT * FROM otel_traces")
    named = opened("ours", traces="theirs_current.otel_traces_distributed")
    migrate(named)
    (source,) = sources(named)
    assert source.name == "theirs_current.otel_traces_distributed"
    write_spans(theirs, "otel_traces", "current", _spans())
    catch_up(named, HOUR)
    theirs.execute("DROP VIEW otel_traces_distributed")
    assert _counted(named)[:2] == (7, 7)


def test_a_table_that_is_not_there_is_named_with_what_to_do(opened: Opened) -> None:
    ours = opened("ours", traces="nowhere.otel_traces")
    migrate(ours)
    with pytest.raises(UnreadableTableError, match=r"nowhere\.otel_traces.*store\.tables\.traces"):
        sources(ours)


def test_a_table_that_no_exporter_made_is_named_with_each_column_at_fault(opened: Opened, store: Store) -> None:
    store.execute("CREATE DATABASE theirs")
    store.execute(
        "CREATE TABLE theirs.spans (Timestamp DateTime64(9), TraceId UUID, SpanId String, ParentSpanId String, "
        "SpanKind String, ServiceName String, StatusCode String, ResourceAttributes Map(String, String), "
        "Duration UInt64) ENGINE = MergeTree ORDER BY Timestamp"
    )
    ours = opened("ours", traces="theirs.spans")
    migrate(ours)
    with pytest.raises(UnreadableTableError) as failure:
        sources(ours)
    message = str(failure.value)
    assert "theirs.spans" in message
    assert "TraceId is UUID (valid: String or LowCardinality(String))" in message
    assert "SpanAttributes is not there (Map(LowCardinality(String), String) or JSON)" in message
    assert "Duration UInt64" in message
    assert "store.tables.traces" in message


def test_a_table_without_flags_is_read_as_if_none_were_set(theirs: Store) -> None:
    theirs.execute("ALTER TABLE otel_metrics_gauge DROP COLUMN Flags")
    theirs.execute(
        f"INSERT INTO otel_metrics_gauge (ServiceName, MetricName, TimeUnix, Value) SELECT 'dcgm', 'up', {T0_S}, 1"
    )
    catch_up(theirs, HOUR)
    theirs.execute("ALTER TABLE otel_metrics_gauge ADD COLUMN Flags UInt32 AFTER Value")
    assert _counted(theirs)[2] == 1


def test_an_error_of_the_store_is_told_and_the_next_look_goes_on(theirs: Store) -> None:
    _write(theirs, "current", _spans(), _points())
    theirs.execute("RENAME TABLE tailsight_samples TO tailsight_samples_away")
    with pytest.raises(QueryError) as failure:
        catch_up(theirs, HOUR)
    assert isinstance(failure.value, StoreError)
    theirs.execute("RENAME TABLE tailsight_samples_away TO tailsight_samples")
    assert catch_up(theirs, HOUR).is_complete
    assert _counted(theirs) == (7, 7, 4, 3)


def test_deltas_of_sums_become_no_samples_whoever_made_the_table(theirs: Store) -> None:
    theirs.execute(
        "INSERT INTO otel_metrics_sum (ServiceName, MetricName, TimeUnix, Value, AggregationTemporality) "
        f"SELECT 'chat', concat('c', toString(number)), {T0_S}, 1, number FROM numbers(3)"
    )
    catch_up(theirs, HOUR)
    told = "SELECT metric FROM {} WHERE metric LIKE 'c_' ORDER BY metric"
    assert ask_of(theirs)(told.format("tailsight_samples")) == [("c0",), ("c2",)]
    assert ask_of(theirs)(told.format("tailsight_series")) == [("c0",), ("c2",)]
    delta = counter("c3", [point(1.0)])
    delta.sum.aggregation_temporality = 1
    theirs.load_otlp("otel_metrics_sum", metrics(delta, counter("c4", [point(1.0)])), token="deltas")
    assert ask_of(theirs)(told.format("tailsight_samples")) == [("c0",), ("c2",), ("c4",)]
    assert ask_of(theirs)(told.format("tailsight_series")) == [("c0",), ("c2",), ("c4",)]
