"""Asking: parameters stay values, answers have the shape that was declared, and each failure has its own type."""

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from storage.errors import QueryError, StoreError, StoreUnavailableError, UndecodableError
from storage.open import open_store
from storage.otlp import OTLP_TABLES
from storage.settings import StoreSettings
from storage.store import Store
from tests.contract.conftest import Ask
from tests.contract.payloads import span, traces
from tests.ports import free_port

_DOCUMENT = {"document": pl.String, "updated_at": pl.Datetime("us", "UTC")}

INJECTIONS = [
    "'; DROP TABLE tailsight_documents; --",
    "' OR 1 = 1 --",
    "\\' OR 1 = 1 --",
    "\\",
    "''",
    "`",
    "{kind:String}",
    "%(name)s %s {} {{}}",
    "a\tb\nc\rd",
    "\\N",
    "NULL",
    "-- /* # ",
    "模型 💥",
    "",
]


def _remember(store: Store, *names: str) -> None:
    rows = [{"kind": "test", "name": name, "document": f"<{name}>", "updated_at": datetime.now(UTC)} for name in names]
    store.insert("tailsight_documents", pl.DataFrame(rows))


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_parameter_is_a_value_whatever_is_in_it(any_store: Store, name: str) -> None:
    _remember(any_store, name, "another")
    assert any_store.query("document", _DOCUMENT, kind="test", name=name)["document"].to_list() == [f"<{name}>"]
    assert any_store.query("document", _DOCUMENT, kind=name, name="another").rows() == []


def test_parameters_too_long_for_a_url_arrive_whole(any_store: Store) -> None:
    name = "it's long\t" * 20_000
    _remember(any_store, name)
    assert any_store.query("document", _DOCUMENT, kind="test", name=name)["document"].to_list() == [f"<{name}>"]


def test_an_answer_has_the_declared_columns_in_the_declared_order_and_types(any_store: Store) -> None:
    frame = any_store.query("migrations", {"checksum": pl.Categorical(), "name": pl.String})
    assert frame.schema == {"checksum": pl.Categorical(), "name": pl.String}
    assert frame.height > 10


@pytest.mark.parametrize("schema", [{"name": pl.String}, {"name": pl.String, "checksum": pl.String, "more": pl.String}])
def test_an_answer_of_another_shape_is_refused(any_store: Store, schema: dict[str, type[pl.String]]) -> None:
    with pytest.raises(QueryError, match=r"migrations\.sql answered with columns .* declares"):
        any_store.query("migrations", schema)


def test_an_empty_answer_has_the_declared_columns_too(any_store: Store) -> None:
    frame = any_store.query("document", _DOCUMENT, kind="nobody", name="nothing")
    assert frame.schema == _DOCUMENT
    assert frame.is_empty()


def test_a_frame_is_stored_value_for_value(any_store: Store, ask: Ask) -> None:
    moment = datetime(2026, 11, 23, 2, 41, 20, 123456, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "updated_at": [moment],
            "id": ["a'b\\c\n模"],
            "service": ["chat"],
            "status": ["open"],
            "started_at": [moment],
            "ended_at": pl.Series([None], dtype=pl.Datetime("us", "UTC")),
            "document": ['{"a": "é"}'],
        }
    )
    any_store.insert("tailsight_incidents", frame)
    micros = int(moment.timestamp()) * 1_000_000 + 123456
    assert ask(
        "SELECT id, service, status, toUnixTimestamp64Micro(started_at), ended_at, document, "
        "toUnixTimestamp64Micro(updated_at) FROM tailsight_incidents"
    ) == [("a'b\\c\n模", "chat", "open", micros, None, '{"a": "é"}', micros)]


def test_an_empty_frame_inserts_nothing(any_store: Store, ask: Ask) -> None:
    any_store.insert("tailsight_documents", pl.DataFrame(schema={"kind": pl.String}))
    assert ask("SELECT count() FROM tailsight_documents") == [(0,)]


@pytest.mark.parametrize("table", OTLP_TABLES)
@pytest.mark.parametrize(
    "payload", [b"this is no protobuf", traces(span())[:-3], b"\x0a\xff\xff\xff\x7f"], ids=["garbage", "cut", "lying"]
)
def test_a_payload_that_is_no_otlp_is_undecodable_and_leaves_nothing(
    any_store: Store, ask: Ask, table: str, payload: bytes
) -> None:
    with pytest.raises(UndecodableError, match="cannot decode the payload") as failure:
        any_store.load_otlp(table, payload, token="bad")
    assert not failure.value.retryable
    assert ask(f"SELECT count() FROM {table}") == [(0,)]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SELECT nothing FROM nowhere", "UNKNOWN_TABLE"),
        ("SELEKT 1", "Syntax error"),
        ("SELECT no_such_column FROM otel_traces", "UNKNOWN_IDENTIFIER"),
        ("DROP TABLE nowhere", "UNKNOWN_TABLE"),
    ],
)
def test_a_refused_statement_says_why_and_is_not_worth_repeating(any_store: Store, statement: str, reason: str) -> None:
    with pytest.raises(QueryError, match=reason) as failure:
        any_store.execute(statement)
    assert not failure.value.retryable


def test_a_statement_that_takes_too_long_is_stopped_and_may_be_tried_again(any_store: Store) -> None:
    with pytest.raises(StoreUnavailableError, match="TIMEOUT_EXCEEDED") as failure:
        any_store.execute("SELECT sleepEachRow(1) FROM numbers(3) FORMAT Null", settings={"max_execution_time": 0.1})
    assert failure.value.retryable


def test_a_statement_that_takes_too_much_memory_may_be_tried_again(any_store: Store) -> None:
    with pytest.raises(StoreUnavailableError, match="MEMORY_LIMIT_EXCEEDED"):
        any_store.execute("SELECT groupArray(number) FROM numbers(10000000)", settings={"max_memory_usage": 10_000_000})


def test_settings_of_one_statement_do_not_reach_the_next(any_store: Store, ask: Ask) -> None:
    for _ in range(8):  # more often than there are clients
        any_store.execute("SELECT 1", settings={"max_block_size": 123})
    assert ask("SELECT getSetting('max_block_size')") != [(123,)]


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    port = free_port()
    opened = open_store(StoreSettings(url=f"http://127.0.0.1:{port}/otel"))
    with pytest.raises(
        StoreUnavailableError, match=r"the store does not answer.*: \[Errno 111\] Connection refused$"
    ) as failure:
        opened.execute("SELECT 1")
    assert failure.value.retryable
    opened.close()


@pytest.mark.parametrize(
    ("status", "code", "is_retryable"),
    [(502, None, True), (500, None, True), (500, 999, True), (500, 279, True), (403, None, False), (403, 516, False)],
)
def test_what_a_proxy_answers_for_a_server_that_is_down_may_pass(
    *, status: int, code: int | None, is_retryable: bool
) -> None:
    """As nginx does, and a server whose Keeper or shard is not there yet."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            if code is not None:
                self.send_header("X-ClickHouse-Exception-Code", str(code))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = open_store(StoreSettings(url=f"http://127.0.0.1:{server.server_address[1]}/otel"))
        try:
            with pytest.raises(StoreError) as failure:
                opened.execute("SELECT 1")
        finally:
            opened.close()
            server.shutdown()
    assert failure.value.retryable is is_retryable
