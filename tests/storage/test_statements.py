import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.statements import (
    Insert,
    first_word,
    forbidden_reading,
    output_format,
    reading_from,
    reads_input,
    split_insert,
)


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("SELECT 1", "SELECT"),
        ("  \n\tselect 1", "SELECT"),
        ("-- DROP\n/* DROP */ # DROP\n#! DROP\nSHOW TABLES", "SHOW"),
        ("((SELECT 1))", "SELECT"),
        ("'text' SELECT", "SELECT"),
        ("", ""),
        ("-- nothing", ""),
        ("/* never closed SELECT", "NEVER"),
    ],
)
def test_the_first_word_is_found_behind_comments_and_brackets(statement: str, word: str) -> None:
    assert first_word(statement) == word


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("SELECT 1", None),
        ("SELECT 1 FORMAT JSON", "JSON"),
        ("SELECT 1 format JSON ; ", "JSON"),
        ("SELECT 1 FORMAT JSON -- FORMAT CSV", "JSON"),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "JSON"),
        ("SELECT format FROM t", None),
        ("SELECT 'FORMAT JSON'", None),
        ("SELECT (SELECT 1 FORMAT JSON)", None),
        ("SELECT 1 AS `x FORMAT JSON`", None),
        ('SELECT 1 AS "x FORMAT JSON"', None),
        ("SELECT format('{}', 1) FORMAT CSV", "CSV"),
    ],
)
def test_the_format_of_a_statement_is_its_last_clause(statement: str, found: str | None) -> None:
    assert output_format(statement) == found


@pytest.mark.parametrize(
    ("text", "insert"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", Insert("INSERT INTO t", "CSV", b"1,2\n")),
        (b"INSERT INTO t (a, b) FORMAT Native\n\x00\xff\n", Insert("INSERT INTO t (a, b)", "Native", b"\x00\xff\n")),
        (b"insert into t format TSV\r\n1", Insert("insert into t", "TSV", b"1")),
        (b'INSERT INTO t FORMAT JSONEachRow {"a": 1}', Insert("INSERT INTO t", "JSONEachRow", b'{"a": 1}')),
        (b"INSERT INTO t FORMAT CSV", Insert("INSERT INTO t", "CSV", b"")),
        (b"INSERT INTO t FORMAT CSV;\n1", Insert("INSERT INTO t", "CSV", b"1")),
        (b"INSERT INTO t (`FORMAT x`, a) FORMAT CSV\n1", Insert("INSERT INTO t (`FORMAT x`, a)", "CSV", b"1")),
        (b"/* FORMAT x */ INSERT INTO t FORMAT CSV\n1", Insert("/* FORMAT x */ INSERT INTO t", "CSV", b"1")),
        (
            b"INSERT INTO t SELECT a FROM input('a String') FORMAT CSV\n1",
            Insert("INSERT INTO t SELECT a FROM input('a String')", "CSV", b"1"),
        ),
        (
            b"INSERT INTO t SELECT format FROM input('x') FORMAT CSV\n1",
            Insert("INSERT INTO t SELECT format FROM input('x')", "CSV", b"1"),
        ),
        (b"INSERT INTO t VALUES (1, 'FORMAT CSV')", None),
        (b"INSERT INTO t SELECT 1 FORMAT CSV", None),
        (b"INSERT INTO t SELECT 1", None),
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", None),
        (b"SELECT 1 FORMAT CSV", None),
        (b"\xff\xfe\x00", None),
        (b"", None),
    ],
)
def test_an_insert_is_cut_from_the_rows_behind_it(text: bytes, insert: Insert | None) -> None:
    assert split_insert(text) == insert


def test_rows_keep_blanks_and_empty_lines_after_the_first_line() -> None:
    insert = split_insert(b"INSERT INTO t FORMAT CSV \n\n  1\n\n")
    assert insert is not None
    assert insert.rows == b"\n  1\n\n"


def test_an_insert_that_is_not_utf_8_says_so() -> None:
    with pytest.raises(UnicodeDecodeError):
        split_insert(b"INSERT INTO \xff FORMAT CSV\n1")


@given(rows=st.binary())
def test_rows_are_never_changed(rows: bytes) -> None:
    assert split_insert(b"INSERT INTO t FORMAT Native\n" + rows) == Insert("INSERT INTO t", "Native", rows)


@given(text=st.binary())
def test_no_text_is_too_strange_to_look_at(text: bytes) -> None:
    first_word(text.decode(errors="replace"))
    output_format(text.decode(errors="replace"))
    if not text.lstrip().upper().startswith(b"INSERT"):
        split_insert(text)


def test_only_a_call_of_input_is_read_from_elsewhere() -> None:
    statement = "INSERT INTO t SELECT 'input(', input, `input` FROM input ('a String') -- input("
    assert reads_input(statement)
    assert reading_from(statement, "file('p', 'F', ") == (
        "INSERT INTO t SELECT 'input(', input, `input` FROM file('p', 'F', 'a String') -- input("
    )
    assert not reads_input("INSERT INTO t SELECT 'input(' FROM input")


_TABLE_FUNCTIONS, _FUNCTIONS = frozenset({"file", "url", "python"}), frozenset({"file"})


@pytest.mark.parametrize(
    "canonical",
    [
        "SELECT 1",
        "WITH 1 AS x SELECT x",
        "SHOW TABLES",
        "DESCRIBE TABLE t",
        "EXPLAIN SELECT 1",
        "EXISTS TABLE t",
        "SELECT 'file(', 'INTO OUTFILE', `INTO OUTFILE` FROM t",
        "SELECT files, url FROM t WHERE (url = 1)",
        "SELECT outfile AS into FROM t",
        "SELECT myfile('x')",
        "SELECT default, 'default.x', {name:String} FROM t",
    ],
)
def test_reading_the_tables_is_not_forbidden(canonical: str) -> None:
    assert forbidden_reading(canonical, _TABLE_FUNCTIONS, _FUNCTIONS) is None


@pytest.mark.parametrize(
    ("canonical", "reason"),
    [
        ("INSERT INTO t VALUES (1)", "INSERT is not allowed"),
        ("CHECK TABLE t", "CHECK is not allowed"),
        ("SYSTEM STOP MERGES", "SYSTEM is not allowed"),
        ("", "an empty statement is not allowed"),
        ("SELECT 1 INTO OUTFILE 'x'", "INTO OUTFILE is not allowed"),
        ("SELECT 1 PARALLEL WITH SYSTEM STOP MERGES", "PARALLEL WITH is not allowed"),
        ("SELECT file('x')", "the function file reaches out"),
        ("SELECT FILE('x')", "the function FILE reaches out"),
        ("SELECT `file`('x')", "the function file reaches out"),
        ("EXISTS TABLE default.`/etc/passwd`", "the database default holds the files"),
        ("EXISTS TABLE `default`.t", "the database default holds the files"),
        ("SELECT * FROM {table:Identifier}", "a parameter that is a name is not allowed"),
        ("SELECT * APPLY file FROM t", "the function file reaches out"),
        ("SELECT arrayMap(file, ['x'])", "the function file reaches out"),
        ("WITH `file` AS f SELECT * APPLY f", "the function file reaches out"),
        ("SELECT file", "the function file reaches out"),
        ("DESCRIBE TABLE url('x')", "the function url reaches out"),
        ("SELECT * FROM (SELECT 1 IN (SELECT file('x')))", "the function file reaches out"),
    ],
)
def test_reaching_out_of_the_tables_is_forbidden_with_the_reason(canonical: str, reason: str) -> None:
    found = forbidden_reading(canonical, _TABLE_FUNCTIONS, _FUNCTIONS)
    assert found is not None
    assert reason in found
