"""ClickHouse's HTTP interface, as curl, clickhouse-connect and dashboards use it, and as strangers abuse it."""

import asyncio
import base64
import gzip
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import polars as pl
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.engine import EngineError
from storage.gateway import Gateway, _Lane
from storage.open import OWNER, GatewayAddress, open_store
from storage.settings import StoreSettings
from storage.store import Store
from tests.storage.test_engine import WRITINGS

_TOKEN = "a-token-of-this-test"


@pytest.fixture
def guest(gateway: GatewayAddress) -> Iterator[httpx.Client]:
    """Anybody on this machine."""
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        yield client


@pytest.fixture
def owner(gateway: GatewayAddress) -> Iterator[httpx.Client]:
    """Whoever bears the token."""
    with httpx.Client(base_url=gateway.url, auth=(OWNER, gateway.token), trust_env=False) as client:
        yield client


@pytest.fixture
def pairs(owner: httpx.Client) -> Iterator[str]:
    """A small table of our own."""
    owner.post("/", content="CREATE TABLE pairs (a UInt64, b String) ENGINE = MergeTree ORDER BY a").raise_for_status()
    yield "pairs"
    owner.post("/", content="DROP TABLE pairs SYNC").raise_for_status()


def _client(gateway: GatewayAddress, **options: Any) -> Any:
    url = httpx.URL(gateway.url)
    return clickhouse_connect.get_client(
        host=url.host, port=url.port, database="otel", autogenerate_session_id=False, **options
    )


def _refused(response: httpx.Response, status: int, code: int) -> None:
    assert (response.status_code, response.headers.get("x-clickhouse-exception-code")) == (status, str(code)), (
        response.text
    )
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")


# -- what is asked, and how --------------------------------------------------------------------------------------


def test_ping_is_answered_to_everybody(guest: httpx.Client) -> None:
    for answer in (guest.get("/ping"), guest.get("/"), guest.head("/ping"), guest.head("/")):
        assert answer.status_code == 200
    assert guest.get("/ping").text == "Ok.\n"


def test_a_statement_may_stand_in_the_url_in_the_body_or_in_both(guest: httpx.Client) -> None:
    assert guest.get("/", params={"query": "SELECT 1"}).text == "1\n"
    assert guest.post("/", params={"query": "SELECT 1"}).text == "1\n"
    assert guest.post("/", content="SELECT 1").text == "1\n"
    assert guest.post("/", params={"query": "SELECT"}, content="1 + 1").text == "2\n"


def test_a_body_that_curl_calls_a_form_is_a_statement(guest: httpx.Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert guest.post("/", content="SELECT '1+1&a=b'", headers=form).text == "1+1&a=b\n"


def test_the_format_is_the_statements_then_the_headers_then_the_urls(guest: httpx.Client) -> None:
    url, header = {"default_format": "CSV"}, {"X-ClickHouse-Format": "TSVWithNames"}
    asked = [
        (guest.post("/", content="SELECT 'a' AS x"), "TabSeparated", "a\n"),
        (guest.post("/", content="SELECT 'a' AS x", params=url), "CSV", '"a"\n'),
        (guest.post("/", content="SELECT 'a' AS x", params=url, headers=header), "TSVWithNames", "x\na\n"),
        (guest.post("/", content="SELECT 'a' AS x FORMAT Values", params=url, headers=header), "Values", "('a')"),
    ]
    for response, output_format, text in asked:
        assert (response.headers["x-clickhouse-format"], response.text) == (output_format, text)


@pytest.mark.parametrize(
    ("output_format", "content_type"),
    [
        ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
        ("CSVWithNames", "text/csv; charset=UTF-8"),
        ("JSON", "application/json; charset=UTF-8"),
        ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
        ("PrettyCompact", "text/plain; charset=UTF-8"),
        ("Native", "application/octet-stream"),
        ("Arrow", "application/octet-stream"),
    ],
)
def test_the_media_type_follows_the_format(guest: httpx.Client, output_format: str, content_type: str) -> None:
    response = guest.post("/", content="SELECT 1", params={"default_format": output_format})
    assert response.headers["content-type"] == content_type


def test_parameters_of_the_url_fill_the_statement(guest: httpx.Client) -> None:
    parameters = {"param_text": "it\\'s\\t'; DROP", "param_list": "['a','b\\'c']", "param_n": "7"}
    response = guest.post("/", content="SELECT {text:String}, {list:Array(String)}[2], {n:UInt8}", params=parameters)
    assert response.text == "it\\'s\\t\\'; DROP\tb\\'c\t7\n"


def test_settings_of_the_url_hold_for_the_statement(owner: httpx.Client) -> None:
    response = owner.post("/", content="SELECT getSetting('max_block_size')", params={"max_block_size": "123"})
    assert response.text == "123\n"
    assert owner.post("/", content="SELECT getSetting('max_block_size')").text != "123\n"
    _refused(owner.post("/", content="SELECT 1", params={"max_blok_size": "1"}), 404, 115)


def test_the_database_is_the_one_of_the_url_or_the_header(guest: httpx.Client) -> None:
    question = "SELECT currentDatabase()"
    assert guest.post("/", content=question).text == "otel\n"
    assert guest.post("/", content=question, params={"database": "system"}).text == "system\n"
    assert guest.post("/", content=question, headers={"X-ClickHouse-Database": "system"}).text == "system\n"
    _refused(guest.post("/", content=question, params={"database": "nowhere"}), 404, 81)


def test_an_answer_says_what_it_took(guest: httpx.Client) -> None:
    response = guest.post("/", content="SELECT sum(number) FROM numbers(1000)", params={"query_id": "mine\r\nX: y"})
    summary = json.loads(response.headers["x-clickhouse-summary"])
    assert summary | {"elapsed_ns": "?"} == {
        "read_rows": "1000",
        "read_bytes": "8000",
        "written_rows": "0",
        "written_bytes": "0",
        "result_rows": "1",
        "result_bytes": str(len(response.content)),
        "elapsed_ns": "?",
    }
    assert response.headers["x-clickhouse-query-id"] == "mineX:y"
    assert len(guest.post("/", content="SELECT 1").headers["x-clickhouse-query-id"]) == 36


def test_a_statement_without_rows_has_no_format(owner: httpx.Client, pairs: str) -> None:
    response = owner.post("/", content=f"TRUNCATE TABLE {pairs}")
    assert (response.status_code, response.content) == (200, b"")
    assert "x-clickhouse-format" not in response.headers
    assert owner.post("/", content=f"SELECT * FROM {pairs}").headers["x-clickhouse-format"] == "TabSeparated"


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        ("SELEKT 1", 400, 62),
        ("SELECT * FROM nowhere", 404, 60),
        ("SELECT no_such_function()", 404, 46),
        ("SELECT no_such_column FROM otel_traces", 404, 47),
        ("SELECT {missing:UInt8}", 400, 456),
        ("SELECT throwIf(1)", 500, 395),
        ("SELECT 1 FORMAT NoSuchFormat", 404, 73),
    ],
)
def test_an_error_has_clickhouses_code_and_a_status(
    guest: httpx.Client, owner: httpx.Client, statement: str, status: int, code: int
) -> None:
    _refused(guest.post("/", content=statement), status, code)
    _refused(owner.post("/", content=statement), status, code)


def test_a_statement_that_takes_too_long_is_a_time_out(guest: httpx.Client) -> None:
    parameters = {"max_execution_time": "0.1"}
    _refused(guest.post("/", content="SELECT sleepEachRow(1) FROM numbers(3)", params=parameters), 408, 159)


def test_a_statement_that_is_not_utf_8_is_refused(guest: httpx.Client, owner: httpx.Client) -> None:
    for client in (guest, owner):
        _refused(client.post("/", content=b"SELECT '\xff'"), 400, 117)
    _refused(owner.post("/", content=b"INSERT INTO \xff FORMAT CSV\n1"), 400, 117)


@pytest.mark.parametrize("path", ["/otel", "/play", "/replicas_status", "/ping/x"])
def test_other_paths_say_which_there_are(guest: httpx.Client, path: str) -> None:
    response = guest.get(path)
    assert response.status_code == 404
    assert "/ping" in response.text


def test_other_methods_say_which_there_are(guest: httpx.Client) -> None:
    response = guest.put("/", content="SELECT 1")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST, HEAD")


# -- compression -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_an_answer_is_packed_when_asked_for_in_both_ways(guest: httpx.Client, codec: str) -> None:
    question, header = "SELECT repeat('a', 100000)", {"Accept-Encoding": f"br, {codec};q=1.0"}
    with guest.stream(
        "POST", "/", content=question, params={"enable_http_compression": "1"}, headers=header
    ) as response:
        packed = b"".join(response.iter_raw())
        assert response.headers["content-encoding"] == codec
    assert len(packed) < 1000
    assert pa.CompressedInputStream(pa.BufferReader(packed), codec).read() == b"a" * 100_000 + b"\n"
    with guest.stream("POST", "/", content=question, headers=header) as response:
        assert "content-encoding" not in response.headers


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_a_body_may_be_packed(owner: httpx.Client, guest: httpx.Client, pairs: str, codec: str) -> None:
    def packed(body: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(body)
        packed_body: bytes = sink.getvalue().to_pybytes()
        return packed_body

    header = {"Content-Encoding": codec}
    assert guest.post("/", content=packed(b"SELECT 'packed'"), headers=header).text == "packed\n"
    query = {"query": f"INSERT INTO {pairs} FORMAT CSV"}
    assert owner.post("/", params=query, content=packed(b"1,x\n"), headers=header).status_code == 200
    assert owner.post("/", content=f"SELECT * FROM {pairs}").text == "1\tx\n"


def test_a_body_that_is_not_what_it_is_called_is_refused(guest: httpx.Client) -> None:
    _refused(guest.post("/", content=b"SELECT 1", headers={"Content-Encoding": "gzip"}), 400, 271)
    cut = gzip.compress(b"SELECT 1")[:-4]
    _refused(guest.post("/", content=cut, headers={"Content-Encoding": "gzip"}), 400, 271)
    _refused(guest.post("/", content=b"SELECT 1", headers={"Content-Encoding": "snappy"}), 501, 89)


@pytest.mark.parametrize("name", ["compress", "decompress"])
def test_native_blocks_are_refused_rather_than_misread(guest: httpx.Client, name: str) -> None:
    _refused(guest.post("/", content="SELECT 1", params={name: "1"}), 501, 48)
    assert guest.post("/", content="SELECT 1", params={name: "0"}).text == "1\n"


def test_a_body_that_is_too_large_is_refused_packed_or_not(guest: httpx.Client) -> None:
    blanks = b" " * (1 << 20)
    _refused(guest.post("/", content=b"SELECT 1" + blanks), 413, 307)
    _refused(guest.post("/", content=iter([b"SELECT 1", blanks])), 413, 307)  # its length not announced
    bomb = gzip.compress(b"SELECT 1" + blanks * 50)
    assert len(bomb) < 100_000
    _refused(guest.post("/", content=bomb, headers={"Content-Encoding": "gzip"}), 413, 307)


# -- writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "insert",
    [
        {"content": b"INSERT INTO pairs (a, b) FORMAT CSV\n1,x\n2,y\n"},
        {"params": {"query": "INSERT INTO pairs (a, b) FORMAT CSV"}, "content": b"1,x\n2,y\n"},
        {"params": {"query": "INSERT INTO pairs FORMAT JSONEachRow"}, "content": b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}'},
        {"content": b"INSERT INTO pairs VALUES (1, 'x'), (2, 'y')"},
        {"params": {"query": "INSERT INTO pairs VALUES"}, "content": b"(1, 'x'), (2, 'y')"},
        {"content": b"INSERT INTO pairs SELECT number + 1, ['x', 'y'][number + 1] FROM numbers(2)"},
        {
            "params": {"query": "INSERT INTO pairs SELECT n, lower(t) FROM input('n UInt8, t String') FORMAT TSV"},
            "content": b"1\tX\n2\tY\n",
        },
    ],
    ids=["body", "url", "json", "values", "values in the body", "select", "input"],
)
def test_rows_come_in_every_way_there_is(owner: httpx.Client, pairs: str, insert: dict[str, Any]) -> None:
    response = owner.post("/", **insert)
    assert response.status_code == 200, response.text
    assert json.loads(response.headers["x-clickhouse-summary"])["written_rows"] == "2"
    assert owner.post("/", content=f"SELECT * FROM {pairs} ORDER BY a").text == "1\tx\n2\ty\n"


def test_parameters_of_the_url_fill_an_insert_with_rows(owner: httpx.Client, pairs: str) -> None:
    insert = b'INSERT INTO {t:Identifier} FORMAT JSONEachRow {"a":1,"b":"x"}'
    assert owner.post("/", params={"param_t": pairs}, content=insert).status_code == 200
    assert owner.post("/", content="SELECT * FROM pairs").text == "1\tx\n"
    _refused(owner.post("/", content=insert), 400, 456)


def test_the_same_deduplication_token_stores_rows_once(owner: httpx.Client) -> None:
    owner.post("/", content="TRUNCATE TABLE otel_logs").raise_for_status()
    for token in ("one", "one", "two"):
        parameters = {"query": "INSERT INTO otel_logs (Body) FORMAT CSV", "insert_deduplication_token": token}
        owner.post("/", params=parameters, content=b"x\n").raise_for_status()
    assert owner.post("/", content="SELECT count() FROM otel_logs").text == "2\n"


@pytest.mark.parametrize("statement", ["SET max_threads = 1", "USE system"])
def test_what_only_a_session_would_keep_is_refused(owner: httpx.Client, statement: str) -> None:
    response = owner.post("/", content=statement)
    _refused(response, 501, 344)
    assert "keeps no session" in response.text


# -- clickhouse-connect ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "lz4"])
def test_clickhouse_connect_writes_and_reads(gateway: GatewayAddress, pairs: str, *, compress: bool | str) -> None:
    with _client(gateway, username=OWNER, password=gateway.token, compress=compress) as client:
        assert client.ping()
        assert client.insert(pairs, [[1, "x"], [2, "y"]], column_names=["a", "b"]).written_rows == 2
        client.insert_arrow(pairs, pl.DataFrame({"a": [3], "b": ["z"]}).to_arrow(compat_level=pl.CompatLevel.oldest()))
        client.raw_insert(pairs, ["a", "b"], b"4,w\n", fmt="CSV")
        assert client.query(f"SELECT * FROM {pairs} ORDER BY a").result_rows == [(1, "x"), (2, "y"), (3, "z"), (4, "w")]
        assert client.query_arrow(f"SELECT max(a) AS a FROM {pairs}").to_pydict() == {"a": [4]}
        with client.query_row_block_stream(f"SELECT a FROM {pairs} ORDER BY a") as stream:
            assert [row for block in stream for row in block] == [(1,), (2,), (3,), (4,)]
        assert client.query(f"SELECT * FROM {pairs} LIMIT 0").column_names == ("a", "b")
        assert client.command(f"SELECT count() FROM {pairs}") == 4
        assert client.query("SELECT {t:String}", parameters={"t": "it's \\ \n"}).result_rows == [("it's \\ \n",)]
        assert client.query("SELECT length({t:String})", parameters={"t": "a" * 100_000}).result_rows == [(100_000,)]
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as failure:
            client.query("SELECT * FROM nowhere")
        assert failure.value.code == 60


def test_clickhouse_connect_reads_as_a_guest(gateway: GatewayAddress) -> None:
    with _client(gateway) as client:
        assert client.query("SELECT count() FROM system.one").result_rows == [(1,)]
        assert client.query_arrow("SELECT 'x' AS a").to_pydict() == {"a": ["x"]}
        with pytest.raises(DatabaseError, match="readonly mode") as failure:
            client.command("CREATE TABLE guest (a Int8) ENGINE = Memory")
        assert failure.value.code == 164
        with pytest.raises(DatabaseError, match="readonly mode"):
            client.insert("otel_logs", [["x"]], column_names=["Body"])


def test_external_data_is_refused_rather_than_ignored(gateway: GatewayAddress, tmp_path: Path) -> None:
    from clickhouse_connect.driver.external import ExternalData  # noqa: PLC0415  # only this test needs it

    (tmp_path / "rows.csv").write_text("1\n")
    external = ExternalData(file_path=str(tmp_path / "rows.csv"), fmt="CSV", structure="a Int8")
    with _client(gateway) as client, pytest.raises(DatabaseError, match="External data is not supported"):
        client.query("SELECT * FROM rows", external_data=external)


# -- who may what ------------------------------------------------------------------------------------------------


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _headers(user: str, password: str) -> dict[str, str]:
    return {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}


@pytest.mark.parametrize("how", [_basic, _headers], ids=["basic", "headers"])
def test_the_token_allows_writing(
    guest: httpx.Client, gateway: GatewayAddress, how: Callable[..., dict[str, str]]
) -> None:
    response = guest.post("/", content="OPTIMIZE TABLE otel_logs", headers=how(OWNER, gateway.token))
    assert response.status_code == 200, response.text


def test_the_token_in_the_url_allows_writing(guest: httpx.Client, gateway: GatewayAddress) -> None:
    credentials = {"user": OWNER, "password": gateway.token}
    assert guest.post("/", content="OPTIMIZE TABLE otel_logs", params=credentials).status_code == 200


@pytest.mark.parametrize("how", [_basic, _headers], ids=["basic", "headers"])
@pytest.mark.parametrize(
    ("user", "password"),
    [
        (OWNER, "wrong"),
        (OWNER, ""),
        ("default", "wrong"),
        ("", "wrong"),
        ("root", ""),
        (OWNER.upper(), "wrong"),
        (OWNER, "ü"),
    ],
)
def test_wrong_credentials_are_refused_not_read_only(
    guest: httpx.Client, how: Callable[..., dict[str, str]], user: str, password: str
) -> None:
    headers = {name: text.encode() for name, text in how(user, password).items()}
    _refused(guest.post("/", content="SELECT 1", headers=headers), 403, 516)  # type: ignore[arg-type]


@pytest.mark.parametrize("header", ["Bearer abc", "Basic !!!", "Basic", "", "Digest x", "Basic /w=="])
def test_strange_credentials_are_refused(guest: httpx.Client, gateway: GatewayAddress, header: str) -> None:
    _refused(guest.post("/", content="SELECT 1", headers={"Authorization": header}), 403, 516)
    _refused(guest.post("/", content="SELECT 1", headers={"Authorization": f"Bearer {gateway.token}"}), 403, 516)


@pytest.mark.parametrize(
    "credentials", [{}, {"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""}, _basic("default", "")]
)
def test_nobodys_name_is_a_guest(guest: httpx.Client, credentials: dict[str, str]) -> None:
    assert guest.post("/", content="SELECT getSetting('readonly')", headers=credentials).text == "1\n"


@pytest.mark.parametrize("statement", WRITINGS)
def test_a_guest_writes_and_reaches_nothing(guest: httpx.Client, statement: str) -> None:
    _refused(guest.post("/", content=statement), 403, 164)
    _refused(guest.get("/", params={"query": statement}), 403, 164)


def test_a_guest_cannot_split_a_statement_between_url_and_body(guest: httpx.Client) -> None:
    _refused(guest.post("/", params={"query": "SELECT 1"}, content="; DROP TABLE otel_logs"), 400, 62)
    _refused(
        guest.post("/", params={"query": "SELECT 1 -- "}, content="INTO OUTFILE '/tmp/tailsight-must-not-exist'"),
        403,
        164,
    )
    _refused(guest.post("/", params={"query": "INSERT INTO otel_logs (Body) FORMAT CSV"}, content="x"), 403, 164)


@pytest.mark.parametrize("name", ["readonly", "max_memory_usage", "format_schema", "allow_ddl", "profile"])
def test_a_guest_cannot_lift_its_limits_in_the_url(guest: httpx.Client, name: str) -> None:
    _refused(guest.post("/", content="SELECT 1", params={name: "0"}), 403, 164)


def test_a_get_only_reads_whoever_asks(owner: httpx.Client) -> None:
    _refused(owner.get("/", params={"query": "OPTIMIZE TABLE otel_logs"}), 403, 164)
    assert owner.get("/", params={"query": "SELECT 1"}).text == "1\n"


# -- the application by itself -----------------------------------------------------------------------------------

App = Callable[..., Coroutine[Any, Any, None]]
_CREDENTIALS = [(b"x-clickhouse-user", OWNER.encode()), (b"x-clickhouse-key", _TOKEN.encode())]


def _scope(**changes: Any) -> dict[str, Any]:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8123")],
        "client": ("127.0.0.1", 50000),
    }
    return scope | changes


def _call(app: App, scope: dict[str, Any], *messages: MutableMapping[str, Any]) -> list[MutableMapping[str, Any]]:
    """What the application sends for a request of these messages."""
    sent: list[MutableMapping[str, Any]] = []
    waiting = iter(messages)

    async def receive() -> MutableMapping[str, Any]:
        return next(waiting)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def _body(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


@pytest.fixture
def app(store: Store) -> Iterator[App]:
    made = Gateway(store, _TOKEN)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("client", "host", "status"),
    [
        (("127.0.0.1", 1), b"127.0.0.1:8123", 200),
        (("127.0.0.1", 1), b"localhost", 200),
        (("127.9.9.9", 1), b"LOCALHOST:1", 200),
        (("::1", 1), b"[::1]:8123", 200),
        (("10.0.0.9", 1), b"127.0.0.1:8123", 403),
        (("not an address", 1), b"127.0.0.1:8123", 403),
        (None, b"127.0.0.1:8123", 403),
        (("127.0.0.1", 1), b"rebound.example.com:8123", 403),
        (("127.0.0.1", 1), b"10.0.0.1:8123", 403),
        (("127.0.0.1", 1), b"", 403),
    ],
)
def test_a_guest_is_on_this_machine_and_knows_it(app: App, client: Any, host: bytes, status: int) -> None:
    scope = _scope(client=client, headers=[(b"host", host)])
    start, _ = _call(app, scope, _body(b"SELECT 1"))
    assert start["status"] == status


def test_the_token_is_good_from_anywhere(app: App) -> None:
    scope = _scope(client=("10.0.0.9", 1), headers=[(b"host", b"tailsight"), *_CREDENTIALS])
    assert _call(app, scope, _body(b"SELECT 1"))[0]["status"] == 200


def test_a_body_may_come_in_parts(app: App) -> None:
    _, body = _call(app, _scope(), _body(b"SEL", more=True), _body(b"ECT 1", more=True), _body(b""))
    assert body["body"] == b"1\n"


def test_a_client_that_goes_away_is_let_go(app: App) -> None:
    assert _call(app, _scope(), _body(b"SELECT", more=True), {"type": "http.disconnect"}) == []


def test_a_websocket_is_closed(app: App) -> None:
    assert _call(app, _scope(type="websocket")) == [{"type": "websocket.close", "code": 1003}]


def test_a_store_that_is_not_embedded_has_no_gateway(gateway: GatewayAddress) -> None:
    remote = open_store(StoreSettings(url=f"{gateway.url}/otel"))
    with pytest.raises(ValueError, match="connect to its own HTTP interface"):
        Gateway(remote, _TOKEN)


def test_a_gateway_needs_a_token(store: Store) -> None:
    with pytest.raises(ValueError, match="token is empty"):
        Gateway(store, "")


def test_more_statements_than_can_wait_are_turned_away() -> None:
    async def crowd() -> None:
        lane, release = _Lane("test", threads=2), threading.Event()
        running = [asyncio.create_task(lane.run(lambda: release.wait(60))) for _ in range(2 + 64)]
        await asyncio.sleep(0)  # let each of them begin to wait
        with pytest.raises(EngineError, match="try again later") as failure:
            await lane.run(release.is_set)
        assert failure.value.code == 202
        release.set()
        assert await asyncio.gather(*running) == [True] * len(running)
        assert await lane.run(release.is_set)
        lane.close()

    asyncio.run(crowd())


def test_closing_waits_for_the_statement_under_way(store: Store) -> None:
    gateway = Gateway(store, _TOKEN)
    answers: list[list[MutableMapping[str, Any]]] = []
    asking = threading.Thread(
        target=lambda: answers.append(_call(gateway, _scope(), _body(b"SELECT 'guest', sleep(1)"))), name="asking"
    )
    asking.start()
    running = b"SELECT count() FROM system.processes WHERE query LIKE '%guest\\', sleep%' AND query NOT LIKE '%system%'"
    while _call(gateway, _scope(headers=_CREDENTIALS), _body(running))[1]["body"] == b"0\n":
        assert asking.is_alive(), "the statement is seen while it runs"
    gateway.close()
    assert store.engine is not None
    assert store.engine.run(running.decode()).body == b"0\n", "no handle of the engine is left behind"
    asking.join()
    assert answers[0][0]["status"] == 200


_NAMES = st.sampled_from(
    ["query", "database", "default_format", "param_x", "user", "max_execution_time", "session_id", "x"]
)
_HEADERS = st.sampled_from(
    ["Content-Encoding", "Content-Type", "X-ClickHouse-Format", "Accept-Encoding", "X-ClickHouse-Database"]
)
_WORDS = st.sampled_from(
    ["gzip", "lz4", "multipart/form-data; boundary=x", "multipart/form-data", "JSON", "SELECT 1", "%", "1"]
)


@given(
    method=st.sampled_from(["GET", "POST"]),
    arguments=st.dictionaries(_NAMES, st.text(max_size=20) | _WORDS, max_size=4),
    headers=st.dictionaries(
        _HEADERS, st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=9) | _WORDS, max_size=3
    ),
    body=st.binary(max_size=200)
    | st.sampled_from([b"INSERT INTO x FORMAT ", b"--x\r\n", b"\x1f\x8b", b"/*", b"'" * 99]),
    as_owner=st.booleans(),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_is_answered(
    guest: httpx.Client,
    owner: httpx.Client,
    method: str,
    arguments: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    *,
    as_owner: bool,
) -> None:
    client = owner if as_owner else guest
    response = client.request(method, "/", params=arguments, headers=headers, content=body)
    assert response.status_code in {200, 400, 403, 404, 413, 500, 501}
    if response.status_code == 500:  # the engine's own verdict, not a fault of ours
        assert response.headers["x-clickhouse-exception-code"]
