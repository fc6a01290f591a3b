"""The one door to the database: ask a named question, insert a frame, load OTLP bytes.

A `Store` is safe to share between threads: each call borrows one of a few clients, because a client serves one
statement at a time. It never hands a client out.
"""

import logging
import queue
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from storage import otlp, sql
from storage.engine import Engine
from storage.errors import QueryError, StoreError, StoreUnavailableError, UndecodableError
from storage.statements import Insert

log = logging.getLogger(__name__)

_LAST_CALL_S_MAX = 60.0
# Codes of the engine's errors: https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
_CANNOT_DECODE = {27, 32, 33, 36, 117, 395, 436, 444}  # 395: thrown by the statement itself
# Then the table has its rows already, so it is no payload that could be taken apart and loaded by halves.
_IN_A_VIEW = "while pushing to view"
# Timeouts, too many queries, memory, disk, too many parts; a server, its Keeper or a shard that comes up or goes down.
_MAY_PASS = {159, 202, 209, 210, 225, 236, 241, 242, 243, 252, 279, 319, 745, 999}
# Of an answer of 5xx that the engine did not write: of a proxy whose server is down.
_FROM_A_PROXY = re.compile(r"HTTP driver received HTTP status 5\d\d")

SERIES_PER_METRIC_MAX = 100_000
"""Of a metric that has more series only the first ones are read, unless the settings of the collector say otherwise."""

_OTEL_TABLES = {"name": pl.String, "has_comments": pl.Boolean, "has_window": pl.Boolean}

_LOAD_SETTINGS: dict[str, str] = {
    "format_schema_source": "string",
    "input_format_protobuf_oneof_presence": "1",
    "insert_deduplicate": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    # The same payload must be cut into the same blocks each time, or the token would not match.
    "max_threads": "1",
    "max_insert_threads": "1",
    # In one block, so that what is found undecodable in its last row is found before the first row is stored.
    "min_insert_block_size_rows": str(1 << 40),
    "min_insert_block_size_bytes": "0",
    "async_insert": "0",
    "optimize_on_insert": "0",  # the views group before they write; sorting and collapsing again cost a third of all
    "max_partitions_per_insert_block": "0",  # bounded at the door: collector accepts a limited span of time
    "query_plan_enable_optimizations": "0",  # there is nothing to find a better plan for; looking costs 5 ms
}
# Every branch is worked out for every value: keeping account of which is needed costs a sixth of the whole load.
_EVERY_BRANCH = {"short_circuit_function_evaluation": "disable"}
_FORM_SETTINGS: Mapping[otlp.Form, Mapping[str, str]] = {
    "protobuf": _EVERY_BRANCH,
    "plain": _EVERY_BRANCH,
    "json": {},  # here one branch is the parsing of a document, which must stay an exception
}


class Store:
    """A pool of clients to one database.

    Args:
        connect: opens one more client; called at most `connections` times.
        connections: most statements at the same time.
        engine: the embedded engine, when this process owns it; None for a server.
        index_profile: which skip indexes the tables we make get.
        identity: the lists that views/*.sql read identity from.
        database: the one that holds all our tables.
        tables: tables of somebody else's to read, by signal, where the settings name one.
        series_per_metric_max: of a metric that has more series only the first ones are read.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        connections: int,
        engine: Engine | None,
        index_profile: str,
        identity: Mapping[str, tuple[str, ...]],
        database: str,
        tables: Mapping[str, str | None],
        series_per_metric_max: int,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(connections):
            self._idle.put(None)  # opened when first needed
        self._engine = engine
        self._index_profile = index_profile
        self._identity = dict(identity)
        self._database = database
        self._tables = dict(tables)
        self._series_per_metric_max = series_per_metric_max
        self._on_close = on_close
        self._prefix: str | None = None  # known once our tables are there
        self._connections = connections

    # -- asking ------------------------------------------------------------------------------------------------

    def query(self, name: str, schema: Mapping[str, Any], /, **parameters: Any) -> pl.DataFrame:
        """The answer to `queries/NAME.sql`, as a frame of exactly that schema.

        Raises:
            QueryError: when the store refuses, answers in another shape than declared, or with as many rows as the
                question's own limit: an answer that may be cut is none.
            StoreUnavailableError: when it cannot be reached.
        """
        with self._client() as client:
            table = client.query_arrow(sql.query(name), parameters=parameters, use_strings=True)
        frame = pl.DataFrame(pl.from_arrow(table))
        most = sql.rows_max(name)
        if most is not None and frame.height >= most:
            raise QueryError(
                f"queries/{name}.sql answered with {most} rows, its limit: ask for less time or longer steps"
            )
        if set(frame.columns) != set(schema):
            raise QueryError(
                f"queries/{name}.sql answered with columns {frame.columns}; its reader declares {list(schema)}"
            )
        return frame.select(pl.col(column).cast(dtype) for column, dtype in schema.items())

    # -- writing -----------------------------------------------------------------------------------------------

    def insert(self, table: str, frame: pl.DataFrame, *, token: str | None = None) -> None:
        """Append a frame to one of our own tables; columns by name.

        With the same `token` again it changes nothing. Without one, a table that remembers its inserts takes a frame
        that is equal to an earlier one for the same.
        """
        if frame.is_empty():
            return
        settings = {} if token is None else {"insert_deduplication_token": token}
        with self._client() as client:
            client.insert_arrow(table, frame.to_arrow(compat_level=pl.CompatLevel.oldest()), settings=settings)

    def execute(
        self, statement: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Run a statement that answers nothing."""
        with self._client() as client:
            client.command(statement, parameters=dict(parameters or {}), settings=dict(settings or {}))

    def load_otlp(
        self,
        table: str,
        payload: bytes | Path,
        *,
        token: str,
        form: otlp.Form = "protobuf",
    ) -> None:
        """Decode concatenated OTLP export requests in the engine and append one upstream table's rows, once.

        The same `token` again (after a crash, after an error half-way) changes nothing, neither in the table nor
        in the views behind it. The rows go into the table that we made, under whichever name it bears here; never into
        one of somebody else's.

        Args:
            table: one of `otlp.OTLP_TABLES`.
            payload: any number of export requests, one after the other; in JSON, each on a line of its own. Or the path
                of a file of them, which an embedded engine reads by itself.
            token: a name that no other payload of this table ever bears.
            form: what all of the requests are.

        Raises:
            UndecodableError: when the payload is no OTLP.
            StoreUnavailableError, QueryError: when it could not be stored; load it with the same token later.
        """
        schema, message = otlp.proto_schema(otlp.OTLP_TABLES[table])
        settings = {
            **_LOAD_SETTINGS,
            **_FORM_SETTINGS[form],
            "format_schema": schema,
            "format_schema_message_name": message,
            "insert_deduplication_token": token,
        }
        statement = sql.with_prefix(otlp.load_statement(table, form), self._known_prefix())
        input_format = otlp.INPUT_FORMATS[form]
        if self._engine is not None:
            with _translating():
                self._engine.insert(Insert(statement, input_format, payload), settings=settings)
            return
        body = payload if isinstance(payload, bytes) else payload.read_bytes()
        with self._client() as client:  # a server takes the payload as the body of the statement's own request
            client.command(f"{statement}\nFORMAT {input_format}", data=body, settings=settings)

    @contextmanager
    def merges_paused(self) -> Iterator[None]:
        """For a backfill: parts that are merged while more of the same time comes in are merged again and again."""
        self.execute("SYSTEM STOP MERGES")
        try:
            yield
        finally:
            self.execute("SYSTEM START MERGES")

    # -- schema ------------------------------------------------------------------------------------------------

    @property
    def index_profile(self) -> str:
        """Which skip indexes the tables we make get: lean or upstream."""
        return self._index_profile

    @property
    def connections(self) -> int:
        """Most statements at the same time."""
        return self._connections

    @property
    def engine(self) -> Engine | None:
        """The embedded engine when this process owns it, for its gateway; None for a server."""
        return self._engine

    @property
    def identity(self) -> Mapping[str, tuple[str, ...]]:
        """The lists of attributes that the views read identity from."""
        return self._identity

    @property
    def database(self) -> str:
        """The database that holds all our tables."""
        return self._database

    @property
    def tables(self) -> Mapping[str, str | None]:
        """Tables of somebody else's to read, by signal, where the settings name one."""
        return self._tables

    @property
    def series_per_metric_max(self) -> int:
        """Of a metric that has more series only the first ones are read."""
        return self._series_per_metric_max

    def otel_tables(self) -> dict[str, bool]:
        """The tables with upstream names in this database, also under our prefix; of each, did we make it.

        Ours bear the comments of our schema, which the exporter does not write. `otel_logs` has no comments: it is ours
        when it keeps our window of deduplication tokens and `otel_traces` beside it is ours.
        """
        frame = self.query("otel_tables", _OTEL_TABLES)
        commented = {name: has_comments for name, has_comments, _ in frame.iter_rows()}
        return {
            name: has_comments or (has_window and commented.get(name.replace("otel_logs", "otel_traces"), False))
            for name, has_comments, has_window in frame.iter_rows()
        }

    def table_prefix(self) -> str:
        """What our own upstream-shaped tables have before their names: `tailsight_` where others' bear the names.

        Once our tables are there it stays: a later start finds them under it.
        """
        return _prefix(self.otel_tables())

    def close(self) -> None:
        """Close every client and give the embedded engine free. A call that is under way has a minute to come back."""
        ends_at = time.monotonic() + _LAST_CALL_S_MAX
        for _ in range(self._connections):
            try:
                client = self._idle.get(timeout=max(0.0, ends_at - time.monotonic()))
            except queue.Empty:  # a server that hangs; the call ends with this process
                log.warning("a statement that the store has not answered is given up")
                continue
            if client is not None:
                client.close()
        self._on_close()

    # -- inside ------------------------------------------------------------------------------------------------

    def _known_prefix(self) -> str:
        """`table_prefix`, asked (20 ms) until our tables are there."""
        if self._prefix is not None:
            return self._prefix
        there = self.otel_tables()
        prefix = _prefix(there)
        if there.get(f"{prefix}otel_traces", False):
            self._prefix = prefix
        return prefix

    @contextmanager
    def _client(self) -> Iterator[Any]:
        client = self._idle.get()
        try:
            with _translating():
                if client is None:
                    client = self._connect()
                yield client
        finally:
            self._idle.put(client)


def _prefix(there: Mapping[str, bool]) -> str:
    taken = any(not ours for name, ours in there.items() if name.startswith("otel_"))
    return "tailsight_" if taken or "tailsight_otel_traces" in there else ""


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise _translated(error) from error


def _cause(error: Exception) -> str:
    """Why a server was not reached: of what urllib3 says after its last try, only what went wrong."""
    reason = getattr(error.__cause__, "reason", None)
    text = str(error if reason is None else reason).strip()
    return text.splitlines()[0][:500] if text else type(error).__name__


def _translated(error: Exception) -> StoreError:
    """Our error for one of the client library's or the operating system's."""
    from clickhouse_connect.driver.exceptions import OperationalError  # noqa: PLC0415  # late, as in `storage.open`

    text = str(error).strip()
    code = getattr(error, "code", None)  # of the engine's errors, through whichever client they came
    first_line = text.splitlines()[0][:500] if text else type(error).__name__
    if code in _CANNOT_DECODE and _IN_A_VIEW not in text:
        return UndecodableError(f"the engine cannot decode the payload: {first_line}")
    is_away = code is None and (isinstance(error, OperationalError) or _FROM_A_PROXY.match(text) is not None)
    if code in _MAY_PASS or is_away or (code is None and isinstance(error, OSError)):
        if is_away:
            return StoreUnavailableError(
                f"the store does not answer: is the server of store.url up, and reached from here? {_cause(error)}"
            )
        return StoreUnavailableError(f"the store cannot do this now: {first_line}")
    return QueryError(f"the store refused the statement: {first_line}")
