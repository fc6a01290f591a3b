"""The engine itself: what reading allows, and that nothing of one statement reaches the next."""

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.engine import READONLY, Engine, EngineError
from storage.statements import Insert
from storage.store import Store


@pytest.fixture
def engine(clean_store: Store) -> Engine:
    assert clean_store.engine is not None
    return clean_store.engine


@pytest.fixture
def pairs(engine: Engine) -> Iterator[str]:
    """A small table of our own."""
    engine.run("CREATE TABLE pairs (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    yield "pairs"
    engine.run("DROP TABLE pairs SYNC")


_READINGS = [
    "SELECT 1",
    "select count() from otel_traces",
    "  -- a comment\nWITH 1 AS x SELECT x",
    "FROM otel_traces SELECT count()",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "SHOW TABLES",
    "SHOW CREATE TABLE otel_traces",
    "DESCRIBE TABLE otel_traces",
    "DESC otel_traces",
    "DESCRIBE (SELECT 1)",
    "EXPLAIN SELECT 1",
    "EXISTS TABLE otel_traces",
    "SELECT 1;",
    "SELECT format('{} INTO OUTFILE', 'file(')",
    "SELECT * FROM numbers(3)",
    "SELECT * FROM view(SELECT 1)",
    "SELECT 1 AS files, 2 AS url, 3 AS outfile, 4 AS cluster",
    "SELECT name FROM system.tables",
]

WRITINGS = [
    "INSERT INTO otel_logs (Body) VALUES ('x')",
    "INSERT INTO otel_logs (Body) SELECT 'x'",
    "INSERT INTO otel_logs FROM INFILE '/etc/passwd' FORMAT TSV",
    "INSERT INTO FUNCTION file('/tmp/tailsight-must-not-exist', 'TSV', 'a Int8') VALUES (1)",
    "CREATE TABLE guest (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE guest (a Int8)",
    "CREATE DATABASE guest",
    "CREATE FUNCTION guest AS x -> x",
    "CREATE USER guest",
    "DROP TABLE otel_logs",
    "TRUNCATE TABLE otel_logs",
    "RENAME TABLE otel_logs TO guest",
    "ALTER TABLE otel_logs DELETE WHERE 1",
    "DELETE FROM otel_logs WHERE 1",
    "OPTIMIZE TABLE otel_logs FINAL",
    "CHECK TABLE otel_logs",
    "ATTACH DATABASE guest",
    "DETACH TABLE otel_logs",
    "GRANT ALL ON *.* TO default",
    "BACKUP TABLE otel_logs TO File('/tmp/tailsight-must-not-exist')",
    "SYSTEM STOP MERGES",
    "SYSTEM SHUTDOWN",
    "KILL QUERY WHERE 1",
    "USE system",
    "SET readonly = 0",
    "SET max_threads = 1",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS readonly = 2",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 SETTINGS max_execution_time = 0",
    "SELECT 1 FORMAT CSV SETTINGS readonly = 0",
    "SELECT 1 PARALLEL WITH SYSTEM STOP MERGES",
    "SELECT 1 INTO OUTFILE '/tmp/tailsight-must-not-exist'",
    "SELECT 1 INTO OUTFILE '/tmp/tailsight-must-not-exist' AND STDOUT FORMAT CSV",
    "SELECT 1 INTO/**/OUTFILE '/tmp/tailsight-must-not-exist'",
    "select 1 into\n-- x\noutfile '/tmp/tailsight-must-not-exist'",
    "EXPLAIN SELECT 1 INTO OUTFILE '/tmp/tailsight-must-not-exist'",
    "SELECT file('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    "SELECT \"file\" ( '/etc/passwd' )",
    "SELECT file/* */('/etc/passwd')",
    "SELECT $$x$$, file($tag$/etc/passwd$tag$)",
    "SELECT '\\'', file('/etc/passwd')",
    "SELECT '''', file('/etc/passwd')",
    "WITH file('/etc/passwd') AS x SELECT x",
    "SELECT 1 WHERE file('/etc/passwd') != ''",
    "EXPLAIN SELECT file('/etc/passwd')",
    "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT arrayMap(`file`, ['/etc/passwd'])",
    "SELECT * APPLY(file) FROM (SELECT '/etc/passwd' AS x)",
    "SELECT COLUMNS('x') APPLY file FROM (SELECT '/etc/passwd' AS x)",
    "WITH file AS f SELECT arrayMap(f, ['/etc/passwd'])",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "DESCRIBE TABLE file('/etc/passwd')",
    "DESC file('/etc/passwd')",
    "SELECT * FROM default.`/etc/passwd`",
    "DESCRIBE TABLE default.`/etc/passwd`",
    "DESCRIBE (SELECT * FROM default.`/etc/passwd` SETTINGS readonly = 0)",
    "EXISTS TABLE default.`/etc/passwd`",
    "EXISTS TABLE `default` . `/etc/passwd`",
    "EXISTS TABLE {database:Identifier}.{table:Identifier}",
    "SHOW CREATE TABLE default.`/etc/passwd`",
    "SELECT * FROM view(SELECT file('/etc/passwd'))",
    "SELECT * FROM viewIfPermitted(SELECT file('/etc/passwd') ELSE null('a String'))",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT aiGenerate('x', map())",
]

_BROKEN = [
    "",
    ";",
    "-- nothing",
    "SELEKT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE otel_logs",
    "SELECT 'a",
    "SELECT \x00 1",
]


@pytest.mark.parametrize("statement", _READINGS)
def test_a_guest_may_read_the_tables(engine: Engine, statement: str) -> None:
    engine.read(statement, "TabSeparated")


@pytest.mark.parametrize("statement", WRITINGS)
def test_a_guest_may_do_nothing_else(engine: Engine, statement: str) -> None:
    before = engine.run("SELECT name, total_rows FROM system.tables WHERE database = 'otel' ORDER BY name").body
    with pytest.raises(EngineError) as failure:
        engine.read(statement, "TabSeparated")
    assert failure.value.code == READONLY, str(failure.value)
    assert engine.run("SELECT name, total_rows FROM system.tables WHERE database = 'otel' ORDER BY name").body == before
    assert not Path("/tmp/tailsight-must-not-exist").exists()


@pytest.mark.parametrize("statement", _BROKEN)
def test_a_guest_asks_one_whole_statement_at_a_time(engine: Engine, statement: str) -> None:
    with pytest.raises(EngineError) as failure:
        engine.read(statement, "TabSeparated")
    assert failure.value.code == 62
    assert "formatQuery" not in str(failure.value)  # the question about the statement is not the guest's


@pytest.mark.parametrize("database", [None, "default", "otel", "system"])
@pytest.mark.parametrize("statement", ["SELECT * FROM '{path}'", "SELECT * FROM `{path}`", "DESCRIBE TABLE `{path}`"])
def test_a_file_is_no_table_for_a_guest(engine: Engine, statement: str, database: str | None, tmp_path: Path) -> None:
    present = tmp_path / "present.csv"
    present.write_text("a,b\n1,2\n")
    answers = set()
    for path in (present, tmp_path / "absent.csv"):
        with pytest.raises(EngineError) as failure:
            engine.read(statement.format(path=path), "TabSeparated", database=database)
        answers.add(failure.value.code)
    assert answers == {60}  # unknown, whether the file is there or not
    exists = engine.read(f"EXISTS TABLE `{present}`", "TabSeparated", database=database)
    assert exists.body == b"0\n"


def test_settings_in_a_subquery_lift_nothing(engine: Engine) -> None:
    inside = (
        "SELECT getSetting('readonly'), getSetting('max_execution_time') SETTINGS readonly = 0, max_execution_time = 0"
    )
    for statement in (
        f"SELECT * FROM ({inside})",
        f"WITH x AS ({inside}) SELECT * FROM x",
        f"SELECT * FROM view({inside})",
    ):
        assert engine.read(statement, "TabSeparated").body == b"1\t60\n"


def test_only_a_select_is_explained(engine: Engine) -> None:
    with pytest.raises(EngineError, match="Only SELECT is supported for EXPLAIN"):
        engine.read("EXPLAIN SYSTEM STOP MERGES", "TabSeparated")


def test_no_table_function_that_reaches_out_is_open_to_a_guest(engine: Engine) -> None:
    names = engine.run("SELECT name FROM system.table_functions WHERE NOT allow_readonly").body.decode().split()
    assert len(names) > 50
    for name in names:
        for statement in (f"SELECT * FROM {name}('a', 'b', 'c')", f"DESCRIBE TABLE {name}('a', 'b')"):
            if statement.startswith("DESCRIBE TABLE format("):
                continue  # a plain function of texts in a guise: it reads its own argument
            with pytest.raises(EngineError) as failure:
                engine.read(statement, "TabSeparated")
            assert failure.value.code in {READONLY, 62}, f"{statement}: {failure.value}"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM url('{url}', 'LineAsString')",
        "DESCRIBE TABLE url('{url}')",
        "DESCRIBE (SELECT * FROM url('{url}'))",
        "EXPLAIN SELECT * FROM url('{url}')",
        "EXPLAIN QUERY TREE SELECT * FROM url('{url}')",
        "EXISTS TABLE url('{url}')",
        "SHOW CREATE TABLE url('{url}')",
        "SELECT * FROM `{url}`",
        "SELECT * FROM s3('{url}/bucket/key')",
        "DESCRIBE TABLE s3('{url}/bucket/key')",
        "SELECT * FROM remote('{host}', system.one)",
        "DESCRIBE TABLE remote('{host}', system.one)",
        "SELECT * FROM mysql('{host}', 'd', 't', 'u', 'p')",
        "DESCRIBE TABLE postgresql('{host}', 'd', 't', 'u', 'p')",
        "EXPLAIN TABLE OVERRIDE mysql('{host}', 'd', 't', 'u', 'p') COLUMNS (a Int8)",
        "SELECT * FROM system.one WHERE dummy IN (SELECT * FROM url('{url}', 'CSV', 'a Int8'))",
    ],
)
def test_a_guest_cannot_make_the_engine_call_anybody(engine: Engine, statement: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(EngineError):
            engine.read(statement.format(host=host, url=f"http://{host}/x"), "TabSeparated")
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_guest_cannot_read_what_python_holds(engine: Engine) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    secret = pyarrow.table({"token": ["s3cret"]})
    assert secret.num_rows == 1
    for statement in ("SELECT * FROM Python(secret)", "DESCRIBE TABLE Python(secret)", "SELECT * FROM secret"):
        with pytest.raises(EngineError):
            engine.read(statement, "TabSeparated")


@pytest.mark.parametrize(
    "name", ["readonly", "max_memory_usage", "format_schema", "output_format_schema", "max_threads"]
)
def test_a_guest_may_not_change_how_the_engine_works(engine: Engine, name: str) -> None:
    with pytest.raises(EngineError, match=f"Cannot modify '{name}' setting in readonly mode"):
        engine.read("SELECT 1", "TabSeparated", settings={name: "1"})


def test_a_guest_may_say_how_the_answer_is_written(engine: Engine) -> None:
    answer = engine.read(
        "SELECT toUInt64(1) AS n", "JSONEachRow", settings={"output_format_json_quote_64bit_integers": "1"}
    )
    assert answer.body == b'{"n":"1"}\n'


def test_a_guest_may_shorten_its_time_but_not_lengthen_it(engine: Engine) -> None:
    question = "SELECT getSetting('max_execution_time')"
    assert engine.read(question, "TabSeparated").body == b"60\n"
    for asked, seconds in {"5": b"5\n", "0": b"60\n", "-1": b"60\n", "nan": b"60\n", "1e9": b"60\n"}.items():
        assert engine.read(question, "TabSeparated", settings={"max_execution_time": asked}).body == seconds
    with pytest.raises(EngineError, match="expected a number of seconds"):
        engine.read(question, "TabSeparated", settings={"max_execution_time": "long"})


def test_a_statement_that_takes_too_long_is_stopped(engine: Engine) -> None:
    with pytest.raises(EngineError) as failure:
        engine.read("SELECT sleepEachRow(1) FROM numbers(3)", "Null", settings={"max_execution_time": "0.1"})
    assert failure.value.code == 159


def test_parameters_are_values_for_a_guest_too(engine: Engine) -> None:
    answer = engine.read(
        "SELECT {text:String}, {list:Array(String)}, {number:Nullable(UInt8)}",
        "JSONCompactEachRow",
        parameters={"text": "'; DROP\\t", "list": "['it\\'s', 'file(']", "number": "\\N"},
    )
    assert answer.body == b'["\'; DROP\\t", ["it\'s","file("], null]\n'


def test_nothing_of_one_statement_reaches_the_next(engine: Engine) -> None:
    engine.run("SET max_block_size = 77", settings={"max_threads": "1"})
    engine.run("USE system")
    engine.run("CREATE TEMPORARY TABLE passing (a Int8)")
    with pytest.raises(EngineError, match="UNKNOWN_TABLE"):
        engine.run("SELECT * FROM passing")
    settings = engine.run("SELECT getSetting('max_block_size') = 77, getSetting('readonly'), currentDatabase()")
    assert settings.body == b"0\t0\totel\n"


def test_the_database_is_the_one_asked_for(engine: Engine) -> None:
    assert engine.read("SELECT currentDatabase()", "TabSeparated", database="system").body == b"system\n"
    with pytest.raises(EngineError, match="UNKNOWN_DATABASE"):
        engine.run("SELECT 1", database="no`such\\database")


@pytest.mark.parametrize("name", ["", "a b", "x = 1, readonly", "é"])
def test_a_setting_is_a_name(engine: Engine, name: str) -> None:
    with pytest.raises(EngineError, match="Unknown setting"):
        engine.run("SELECT 1", settings={name: "1"})


@pytest.mark.parametrize("name", ["NoSuchFormat", "", "CSV; DROP", "dataframe", "ArrowTable", "datastore"])
def test_a_format_is_one_of_bytes(engine: Engine, name: str) -> None:
    with pytest.raises(EngineError, match="Unknown format"):
        engine.run("SELECT 1", name)


@pytest.mark.parametrize(
    ("input_format", "rows"),
    [
        ("TabSeparated", b"1\tx\n2\ty\n"),
        ("CSV", b'1,"x"\n2,"y"\n'),
        ("JSONEachRow", b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}'),
        ("Values", b"(1, 'x'), (2, 'y')"),
        ("RowBinary", b"\x01" + bytes(7) + b"\x01x" + b"\x02" + bytes(7) + b"\x01y"),
    ],
)
def test_rows_of_any_format_are_stored_and_counted(engine: Engine, pairs: str, input_format: str, rows: bytes) -> None:
    answer = engine.insert(Insert(f"INSERT INTO {pairs} (a, b)", input_format, rows))
    assert answer.written_rows == 2
    assert engine.run(f"SELECT * FROM {pairs} ORDER BY a").body == b"1\tx\n2\ty\n"


def test_parameters_fill_an_insert_with_rows_and_reach_no_other_statement(engine: Engine, pairs: str) -> None:
    insert = Insert("INSERT INTO {t:Identifier}", "JSONEachRow", b'{"a":1,"b":"x"}')
    engine.insert(insert, parameters={"t": pairs})
    assert engine.run("SELECT * FROM pairs").body == b"1\tx\n"
    with pytest.raises(EngineError, match="UNKNOWN_QUERY_PARAMETER"):
        engine.insert(insert)
    with pytest.raises(EngineError, match="UNKNOWN_QUERY_PARAMETER"):
        engine.run("SELECT {t:String}")


@pytest.mark.parametrize("name", ["it's", r"a\\b", r"a\'b", "1', max_threads = '2", "`pairs`"])
def test_a_parameter_of_an_insert_means_what_it_means_in_a_question(engine: Engine, pairs: str, name: str) -> None:
    engine.run(f"CREATE TABLE {{t:Identifier}} AS {pairs}", parameters={"t": name})
    try:
        engine.insert(Insert("INSERT INTO {t:Identifier}", "CSV", b"1,x"), parameters={"t": name})
        assert engine.run("SELECT a FROM {t:Identifier}", parameters={"t": name}).body == b"1\n"
    finally:
        engine.run("DROP TABLE {t:Identifier} SYNC", parameters={"t": name})


def test_rows_can_be_changed_on_their_way_in(engine: Engine, pairs: str) -> None:
    insert = Insert(
        f"INSERT INTO {pairs} SELECT n + {{plus:UInt8}}, upper(t) FROM input('n UInt8, t String')", "CSV", b"1,x\n"
    )
    answer = engine.insert(insert, parameters={"plus": "41"})
    assert answer.written_rows == 1
    assert engine.run(f"SELECT * FROM {pairs}").body == b"42\tX\n"


def test_rows_on_their_way_in_leave_no_file_behind(engine: Engine, pairs: str, store_path: Path) -> None:
    def spooled() -> set[Path]:
        return {path for path in (store_path / "spool").iterdir() if path.suffix != ".proto"}

    insert = f"INSERT INTO {pairs} SELECT n, '' FROM input('n UInt8')"
    engine.insert(Insert(insert, "CSV", b"1\n"))
    with pytest.raises(EngineError):
        engine.insert(Insert(insert, "CSV", b"not a number\n"))
    assert spooled() == set()


@pytest.mark.parametrize(
    ("insert", "code"),
    [
        (Insert("INSERT INTO nowhere", "CSV", b"1"), 60),
        (Insert("INSERT INTO pairs", "NoSuchFormat", b"1"), 73),
        (Insert("INSERT INTO pairs", "Native", b"garbage"), 33),
        (Insert("INSERT INTO pairs", "CSV", b"not a number,x"), 27),
        (Insert("INSERT INTO pairs SELECT * FROM input('a Int8", "CSV", b"1"), 62),
    ],
)
def test_rows_that_cannot_be_stored_say_why(engine: Engine, pairs: str, insert: Insert, code: int) -> None:
    with pytest.raises(EngineError) as failure:
        engine.insert(insert)
    assert failure.value.code == code
    assert str(failure.value).startswith(f"Code: {code}. DB::Exception: ")
    assert engine.run(f"SELECT count() FROM {pairs}").body == b"0\n"


def test_an_answer_counts_what_it_took(engine: Engine) -> None:
    answer = engine.run("SELECT sum(number) FROM numbers(1000)")
    assert (answer.read_rows, answer.read_bytes, answer.result_rows, answer.written_rows) == (1000, 8000, 1, 0)
    assert answer.elapsed_ns > 0


def test_a_schema_that_a_full_disk_cut_off_is_written_again(engine: Engine, pairs: str) -> None:
    insert = Insert(f"INSERT INTO {pairs} (a) SELECT a FROM input('a UInt64')", "Protobuf", b"\x02\x08\x07")
    settings = {
        "format_schema_source": "string",
        "format_schema": 'syntax = "proto3"; message Pair { uint64 a = 1; }',
        "format_schema_message_name": "Pair",
    }
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            engine.insert(insert, settings=settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    engine.insert(insert, settings=settings)
    assert engine.read(f"SELECT a FROM {pairs}", "TSV").body == b"7\n"
