"""The tables of the OpenTelemetry Collector's ClickHouse exporter: whose they are, how they look, how to read them.

We make such tables for what comes in through our own door. Others are somebody else's: found by DESCRIBE, read as they
are, never altered, and nothing is put behind them (docs/adr/0009).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from storage import sql
from storage.errors import QueryError, UnreadableTableError
from storage.store import Store

SIGNALS = ("traces", "metrics_gauge", "metrics_sum")
"""What is read from upstream tables; each is a key of `store.tables`, and `otel_` before it is the usual name."""

_DESCRIBE = {
    "name": pl.String,
    "type": pl.String,
    "default_type": pl.String,
    "default_expression": pl.String,
    "comment": pl.String,
    "codec_expression": pl.String,
    "ttl_expression": pl.String,
}
_FUNCTIONS = {"name": pl.String}


@dataclass(frozen=True, slots=True)
class _Kind:
    """Types that a column may have, as a pattern and in words."""

    pattern: str
    words: str


_TEXT = _Kind(r"String|LowCardinality\(String\)", "String or LowCardinality(String)")
_TIME = _Kind(r"DateTime(64)?(\(.*\))?", "DateTime or DateTime64")
_WHOLE = _Kind(r"U?Int(8|16|32|64)", "a whole number")
_NUMBER = _Kind(r"Float(32|64)|U?Int(8|16|32|64)", "Float64")
_ATTRIBUTES = _Kind(
    r"Map\((String|LowCardinality\(String\)), (String|LowCardinality\(String\))\)|JSON(\(.*\))?",
    "Map(LowCardinality(String), String) or JSON",
)

_POINTS = {
    "TimeUnix": _TIME,
    "ServiceName": _TEXT,
    "MetricName": _TEXT,
    "ResourceAttributes": _ATTRIBUTES,
    "Attributes": _ATTRIBUTES,
    "Value": _NUMBER,
}
_REQUIRED: Mapping[str, Mapping[str, _Kind]] = {
    "traces": {
        "Timestamp": _TIME,
        "TraceId": _TEXT,
        "SpanId": _TEXT,
        "ParentSpanId": _TEXT,
        "SpanKind": _TEXT,
        "ServiceName": _TEXT,
        "StatusCode": _TEXT,
        "ResourceAttributes": _ATTRIBUTES,
        "SpanAttributes": _ATTRIBUTES,
        "Duration": _WHOLE,
    },
    "metrics_gauge": _POINTS,
    "metrics_sum": _POINTS,
}
_OPTIONAL: Mapping[str, Mapping[str, _Kind]] = {
    "traces": {},
    "metrics_gauge": {"Flags": _WHOLE},
    "metrics_sum": {"Flags": _WHOLE, "AggregationTemporality": _WHOLE},
}

_PLACE = re.compile(
    r"""\{ (?: '(?P<key>[^']+)' | (?P<list>\w+) ) \ of \ (?P<column>\w+) \}  # one entry, the first of a list, or all
      | \{ (?P<optional>\w+) \ or \ (?P<instead>\w+) \}                      # a column that may be absent""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a table writes what views/*.sql read; by default as the tables that we make do.

    Args:
        json: columns of attributes that are JSON; the others are maps of text.
        absent: optional columns that the table does not have.
        has_json_values: the engine knows JSONAllValues (ClickHouse 26.4), six times as fast as doing without.
    """

    json: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    has_json_values: bool = True

    def entry(self, column: str, key: str) -> str:
        """SQL of one attribute as text; empty when there is none."""
        if column not in self.json:
            # The same as Column['key'], which takes two and a half times as long where keys are LowCardinality.
            return f"{column}.values[indexOf({column}.keys, {sql.quoted(key)})]"
        # A number stays a number in JSON, so not `.:String`. Dots in a key are levels, in the column as in the name.
        return f"ifNull(toString({column}.{sql.identifier(key)}), '')"

    def entries(self, column: str) -> str:
        """SQL of all attributes as a map of text."""
        if column not in self.json:
            return column
        if self.has_json_values:
            values = f"JSONAllValues({column})"
        else:
            level_by_level = "arrayFold((found, part) -> JSONExtractRaw(found, part), splitByChar('.', path), "
            values = (
                "arrayMap(raw -> if(startsWith(raw, '\"'), JSONExtractString(raw), raw), "
                f"arrayMap(path -> {level_by_level}toJSONString({column})), JSONAllPaths({column})))"
            )
        return f"mapFromArrays(JSONAllPaths({column}), {values})"

    def fill(self, text: str, lists: Mapping[str, Sequence[str]]) -> str:
        """The text of a view with its places filled in.

        `{'key' of Column}` becomes that attribute, `{list of Column}` the first one by the list's keys that is not
        empty, `{all of Column}` all of them as a map, and `{Column or 0}` the column where there is one, else 0.
        Written out, because a view's definition takes no parameters, and a loop over keys costs several times as much.

        Raises:
            KeyError: for a list that there is not.
        """

        def filled(place: re.Match[str]) -> str:
            if place["optional"]:
                return place["instead"] if place["optional"] in self.absent else place["optional"]
            if place["key"]:
                return self.entry(place["column"], place["key"])
            if place["list"] == "all":
                return self.entries(place["column"])
            entries = [self.entry(place["column"], key) for key in lists[place["list"]]]
            if len(entries) < 2:
                return entries[0] if entries else "''"
            return f"multiIf({''.join(f'{entry} != {sql.quoted(str())}, {entry}, ' for entry in entries)}'')"

        return _PLACE.sub(filled, text)


OURS = Dialect()
"""How the tables that we make are written."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table of somebody else's that our own are filled from.

    Args:
        signal: one of `SIGNALS`.
        database: where it is.
        table: its name there.
        dialect: how it is written.
    """

    signal: str
    database: str
    table: str
    dialect: Dialect

    @property
    def name(self) -> str:
        """As the settings name it."""
        return f"{self.database}.{self.table}"

    @property
    def time_column(self) -> str:
        """The column of the event time."""
        return "Timestamp" if self.signal == "traces" else "TimeUnix"

    @property
    def sql(self) -> str:
        """The name as SQL."""
        return f"{sql.identifier(self.database)}.{sql.identifier(self.table)}"


def is_ours(table: str, there: Mapping[str, bool]) -> bool:
    """Did our migrations make this table of the store's database; somebody else's is never altered, cut or dropped.

    All of `tailsight_*` is ours; of the others `there` tells, as `Store.otel_tables` answers.
    """
    return table.startswith("tailsight_") or there.get(table, False)


def sources(store: Store) -> list[Source]:
    """The tables of somebody else's to read: those that the settings name, else those in the store's own database.

    A table that we made is none: views fill ours from it as it is written.

    Raises:
        UnreadableTableError: when one is not there, or is not as any generation of the exporter makes it.
    """
    found, faults = readable_sources(store)
    if faults:
        raise faults[0]
    return found


def readable_sources(store: Store) -> tuple[list[Source], list[UnreadableTableError]]:
    """As `sources`, without those that cannot be read, and what is wrong with these."""
    there = store.otel_tables()
    ours = store.table_prefix()
    found: list[Source] = []
    faults: list[UnreadableTableError] = []
    for signal in SIGNALS:
        usual = f"otel_{signal}"
        named = store.tables.get(signal)
        if named is None and usual not in there:
            continue
        database, _, table = (named or usual).rpartition(".")
        database = database or store.database
        if (database, table) != (store.database, ours + usual):
            try:
                found.append(Source(signal, database, table, probe(store, signal, database, table)))
            except UnreadableTableError as fault:
                faults.append(fault)
    return found, faults


def probe(store: Store, signal: str, database: str, table: str) -> Dialect:
    """How a table is written, by DESCRIBE.

    Raises:
        UnreadableTableError: naming each column that is not there or cannot be read, what was found, and what is valid.
    """
    where = f"{database}.{table}"
    try:
        frame = store.query("describe", _DESCRIBE, database=database, table=table)
    except QueryError as error:
        raise UnreadableTableError(
            f"cannot read {signal} from the table {where}: {error}. Name the table that the Collector's exporter fills "
            f"in store.tables.{signal}, e.g. otel.otel_{signal}, and let the store's user read it"
        ) from error
    columns = dict(frame.select("name", "type").iter_rows())
    required, optional = _REQUIRED[signal], _OPTIONAL[signal]
    faults = [
        f"{name} is {columns[name]} (valid: {kind.words})" if name in columns else f"{name} is not there ({kind.words})"
        for name, kind in {**required, **{name: kind for name, kind in optional.items() if name in columns}}.items()
        if not re.fullmatch(kind.pattern, columns.get(name, ""))
    ]
    if faults:
        raise UnreadableTableError(
            f"cannot read {signal} from the table {where}: {'; '.join(faults)}. Its columns are "
            f"{', '.join(f'{name} {kind}' for name, kind in columns.items())}. Name a table as the OpenTelemetry "
            f"Collector's ClickHouse exporter makes it in store.tables.{signal}, or a view of yours with these columns"
        )
    json = frozenset(
        name for name, kind in required.items() if kind is _ATTRIBUTES and columns[name].startswith("JSON")
    )
    known = store.query("json_values", _FUNCTIONS).height > 0 if json else True
    return Dialect(json=json, absent=frozenset(set(optional) - set(columns)), has_json_values=known)
