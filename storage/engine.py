"""The embedded engine as a server sees it: one statement in, one answer out.

Each statement gets a handle of its own (2 ms), for a handle keeps what was asked of it: settings, the database, the
read-only mode that cannot be left again. So nothing that one statement asks for reaches the next.
"""

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage import sql, statements

# Codes of the engine's errors: https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
CANNOT_PARSE_NUMBER = 72
UNKNOWN_FORMAT = 73
UNKNOWN_SETTING = 115
READONLY = 164
NO_SUCH_DATA_PART = 232
SUPPORT_IS_DISABLED = 344

# What a guest may set: how the answer is written, and limits that only make it smaller. Not the rest of the
# output_format_* family, some of which names files.
_GUEST_SETTINGS = frozenset(
    {
        "date_time_input_format",
        "date_time_output_format",
        "extremes",
        "join_use_nulls",
        "limit",
        "max_block_size",
        "max_execution_time",
        "offset",
        "output_format_arrow_string_as_string",
        "output_format_json_named_tuples_as_objects",
        "output_format_json_quote_64bit_integers",
        "output_format_json_quote_denormals",
        "output_format_json_quote_floats",
        "session_timezone",
    }
)
_GUEST_RESULT_BYTES_MAX = 256 << 20

# What reaches out of the tables although the engine counts it as reading. It refuses these table functions in a SELECT
# by itself, but not in DESCRIBE TABLE url('…'), which fetches. (`format` is left: as a plain function it joins texts.)
_REACHING_TABLE_FUNCTIONS = """
SELECT lower(name) FROM system.table_functions
WHERE NOT allow_readonly AND name != 'format' OR name IN ('cluster', 'clusterAllReplicas', 'eval')"""
_REACHING_FUNCTIONS = """
SELECT lower(name) FROM system.functions
WHERE name IN ('file', 'hasColumnInTable', 'showCertificate') OR name ILIKE 'ai%'"""

_CODE = re.compile(r"Code: (\d+)")
_SETTING_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PYTHON_OBJECTS = {"arrowtable", "dataframe", "datastore"}  # formats that answer an object instead of bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement answered, and what it took: rows, bytes before compression, nanoseconds."""

    body: bytes
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


class EngineError(Exception):
    """The engine refused. `code` is ClickHouse's; the text is `Code: 60. DB::Exception: … (UNKNOWN_TABLE)`."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @classmethod
    def named(cls, code: int, name: str, message: str) -> "EngineError":
        """An error of ours, written as the engine writes its own."""
        return cls(code, f"Code: {code}. DB::Exception: {message}. ({name})")


class Engine:
    """The engine that this process owns.

    Args:
        connection: what chDB's `connect` opens; the same for all of a process.
        database: the one that a statement runs in when it asks for no other.
        spool: a folder for rows on their way in, which the engine reads as files.
        seconds_max: a statement that takes longer is stopped.
        guest_memory_bytes_max: most memory of one statement of a guest.
    """

    def __init__(
        self, connection: str, *, database: str, spool: Path, seconds_max: float, guest_memory_bytes_max: int
    ) -> None:
        self._connection = connection
        self._database = database
        self._spool = spool
        self._seconds_max = seconds_max
        self._guest_memory_bytes_max = guest_memory_bytes_max
        self._reaching: tuple[frozenset[str], frozenset[str]] | None = None
        self._schema_lock = threading.Lock()

    def free_bytes(self) -> int:
        """How much room the disk of the store has left."""
        return shutil.disk_usage(self._spool).free

    def read(
        self,
        statement: str,
        output_format: str,
        *,
        database: str | None = None,
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Answer:
        """Answer one statement that only reads the tables, for somebody who may do nothing else.

        Args:
            statement: one SELECT, SHOW, DESCRIBE, EXPLAIN or EXISTS.
            output_format: used when the statement names none.
            database: runs in this one; `default`, which tools say when they were told nothing, means ours.
            parameters: values of `{name:Type}`, as text, escaped as in TabSeparated.
            settings: some of those that change how the answer is written.

        Raises:
            EngineError: READONLY for all that does more than read, and whatever the engine finds wrong.
        """
        asked = dict(settings or {})
        for name in asked:
            if name not in _GUEST_SETTINGS:
                raise EngineError.named(READONLY, "READONLY", f"Cannot modify '{name}' setting in readonly mode")
        limits = {
            "max_execution_time": str(_shorter(asked.get("max_execution_time"), self._seconds_max)),
            "max_memory_usage": str(self._guest_memory_bytes_max),
            "max_result_bytes": str(_GUEST_RESULT_BYTES_MAX),
        }
        # The engine's own `default` resolves any name to a file of that name.
        with self._handle(None if database == "default" else database, asked | limits) as handle:
            _ask(handle, "SET readonly = 1")  # last: from here on the handle takes no setting, not even this one
            canonical = _canonical(handle, statement)
            reason = statements.forbidden_reading(canonical, *self._functions_that_reach_out(handle))
            if reason:
                raise EngineError.named(READONLY, "READONLY", f"Cannot execute query in readonly mode: {reason}")
            return _ask(handle, statement, output_format, parameters)

    def run(
        self,
        statement: str,
        output_format: str = "TabSeparated",
        *,
        database: str | None = None,
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run any statement, for the owner of the store. Arguments as in `read`.

        Raises:
            EngineError: whatever the engine finds wrong.
        """
        with self._handle(database, self._limited(settings)) as handle:
            return _ask(handle, statement, output_format, parameters)

    def insert(
        self,
        insert: statements.Insert,
        *,
        database: str | None = None,
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run an INSERT with the rows behind it; also `INSERT … SELECT … FROM input('…')`. Arguments as in `read`.

        Raises:
            EngineError: whatever the engine finds wrong.
        """
        settings = self._with_schema_file(self._limited(settings))
        with self._handle(database, settings) as handle:
            if not statements.reads_input(insert.statement):
                # Rows are streamed without parameters. As settings of the handle they end with it, as all settings do.
                _set(handle, {f"param_{name}": text for name, text in (parameters or {}).items()})
                return _stream(handle, insert)
            # The embedded engine has no request to take rows from; it shares our file system instead.
            with _as_file(insert.rows, self._spool) as path:
                source = f"file({sql.quoted(str(path))}, {sql.quoted(insert.input_format)}, "
                return _ask(handle, statements.reading_from(insert.statement, source), "TabSeparated", parameters)

    def _limited(self, settings: Mapping[str, str] | None) -> dict[str, str]:
        return {"max_execution_time": str(self._seconds_max)} | dict(settings or {})

    def _with_schema_file(self, settings: dict[str, str]) -> dict[str, str]:
        """Format schemas as files: given as text, the engine would copy them into the working directory first."""
        if settings.get("format_schema_source") != "string":
            return settings
        schema = settings.get("format_schema", "").encode()
        path = self._spool / f"{hashlib.sha256(schema).hexdigest()[:32]}.proto"
        with self._schema_lock:
            if not path.exists():  # under its name it is whole, even where the disk was full at the first attempt
                unfinished = path.with_suffix(".unfinished")
                unfinished.write_bytes(schema)
                unfinished.rename(path)
        return settings | {"format_schema_source": "file", "format_schema": str(path)}

    @contextmanager
    def _handle(self, database: str | None, settings: Mapping[str, str]) -> Iterator[Any]:
        import chdb  # noqa: PLC0415  # late, because a process that has imported chdb must never fork

        handle = chdb.connect(self._connection)
        try:
            _ask(handle, f"USE {sql.identifier(database or self._database)}")
            _set(handle, settings)
            yield handle
        finally:
            handle.close()

    def _functions_that_reach_out(self, handle: Any) -> tuple[frozenset[str], frozenset[str]]:
        if self._reaching is None:  # the engine says which; they stay the same as long as it runs
            of_tables, plain = (
                frozenset(_ask(handle, question).body.decode().split())
                for question in (_REACHING_TABLE_FUNCTIONS, _REACHING_FUNCTIONS)
            )
            self._reaching = of_tables, plain
        return self._reaching


def _set(handle: Any, settings: Mapping[str, str]) -> None:
    if settings:
        _ask(handle, "SET " + ", ".join(f"{_known(name)} = {sql.quoted(text)}" for name, text in settings.items()))


def _ask(
    handle: Any, statement: str, output_format: str = "TabSeparated", parameters: Mapping[str, str] | None = None
) -> Answer:
    if not output_format.isalnum() or output_format.lower() in _PYTHON_OBJECTS:
        raise EngineError.named(UNKNOWN_FORMAT, "UNKNOWN_FORMAT", f"Unknown format {output_format}")
    try:
        result = handle.query(statement, output_format, params=dict(parameters or {}))
    except Exception as error:
        raise _refusal(error) from None
    return Answer(
        body=result.bytes() or b"",
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )


def _canonical(handle: Any, statement: str) -> str:
    """The one statement as the engine understands it: without comments, every name and text in one spelling."""
    question = f"SELECT formatQuerySingleLine({sql.quoted(statement)})"
    try:
        return _ask(handle, question, "RawBLOB").body.decode()
    except EngineError as error:  # what is wrong with the statement, without the question that we put it in
        raise EngineError(error.code, str(error).partition(": In scope SELECT formatQuery")[0]) from None


def _stream(handle: Any, insert: statements.Insert) -> Answer:
    rows = insert.rows.read_bytes() if isinstance(insert.rows, Path) else insert.rows
    try:
        inserter = handle.send_insert(insert.statement, insert.input_format)
        try:
            inserter.append(rows)
            result = inserter.finish()
        finally:
            inserter.close()
    except Exception as error:
        raise _refusal(error) from None
    return Answer(
        body=b"",
        read_rows=result.rows_written,
        read_bytes=len(rows),
        written_rows=result.rows_written,
        written_bytes=result.bytes_written,
        elapsed_ns=int(result.elapsed * 1e9),
    )


def _refusal(error: Exception) -> EngineError:
    """The engine's own words, from the code on, whatever the library wrote before them."""
    text = str(error)
    found = _CODE.search(text)
    return EngineError(int(found[1]), text[found.start() :].strip()) if found else EngineError(1, text)


def _known(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise EngineError.named(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
    return name


def _shorter(asked: str | None, seconds_max: float) -> float:
    """The seconds asked for, when they are fewer; 0 means no limit, as everywhere in ClickHouse."""
    try:
        seconds = float(asked or 0)
    except ValueError:
        message = f"max_execution_time is {asked!r}; expected a number of seconds"
        raise EngineError.named(CANNOT_PARSE_NUMBER, "CANNOT_PARSE_NUMBER", message) from None
    return seconds if 0 < seconds < seconds_max else seconds_max


@contextmanager
def _as_file(rows: bytes | Path, spool: Path) -> Iterator[Path]:
    if isinstance(rows, Path):
        yield rows
        return
    handle, name = tempfile.mkstemp(dir=spool)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(rows)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
