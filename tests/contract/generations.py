"""The exporter's tables as three generations of it make and fill them, written out from its DDL.

`old`: traces before August 2024, metrics up to v0.159. `current`: traces since, metrics since v0.160. `json`: the same
with `json: true`. Indexes and codecs are left out: nobody reads by them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.sql import quoted
from storage.store import Store

GENERATIONS = ("old", "current", "json")

_TRACES = """CREATE TABLE {database}.otel_traces
(
    Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String,
    SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String),
    ResourceAttributes {attributes}, {scope} SpanAttributes {attributes}, Duration {duration},
    StatusCode LowCardinality(String), StatusMessage String,
    `Events.Timestamp` Array(DateTime64(9)), `Events.Name` Array(LowCardinality(String)),
    `Events.Attributes` Array({attributes}), `Links.TraceId` Array(String), `Links.SpanId` Array(String),
    `Links.TraceState` Array(String), `Links.Attributes` Array({attributes})
)
ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY ({order})
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1"""

_POINTS = """CREATE TABLE {database}.otel_metrics_{points}
(
    ResourceAttributes {attributes}, ResourceSchemaUrl String, ScopeName String, ScopeVersion String,
    ScopeAttributes {attributes}, ScopeDroppedAttrCount UInt32, ScopeSchemaUrl String,
    ServiceName LowCardinality(String), MetricName {name}, MetricDescription String, MetricUnit String,
    Attributes {attributes}, StartTimeUnix {time}, TimeUnix {time}, Value Float64, Flags UInt32{own}
)
ENGINE = MergeTree PARTITION BY toDate(TimeUnix) ORDER BY ({order})
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1"""

_MAP = "Map(LowCardinality(String), String)"
_TRACES_OLD = "ServiceName, SpanName, toUnixTimestamp(Timestamp), TraceId"
_TRACES_NEW = "ServiceName, SpanName, toDateTime(Timestamp)"


@dataclass(frozen=True)
class WrittenSpan:
    """A span, before any exporter has written it; kinds and codes as OTLP counts them."""

    span_id: str
    start_ns: int
    trace_id: str = "0af7651916cd43dd8448eb211c80319c"
    parent_span_id: str = ""
    kind: int = 2
    duration_ns: int = 1_000_000_000
    failed: bool = False
    resource: Mapping[str, str] = field(default_factory=lambda: {"service.name": "chat"})
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenPoint:
    """A gauge or a counter's value, before any exporter has written it."""

    name: str
    value: float
    time_ns: int
    flags: int = 0
    resource: Mapping[str, str] = field(default_factory=lambda: {"service.name": "dcgm"})
    attributes: Mapping[str, str] = field(default_factory=dict)


def make_tables(store: Store, database: str, generation: str) -> None:
    """The three tables that are read, empty, in a database of their own."""
    attributes = "JSON" if generation == "json" else _MAP
    store.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
    store.execute(
        _TRACES.format(
            database=database,
            attributes=attributes,
            scope="" if generation == "old" else "ScopeName String, ScopeVersion String,",
            duration="Int64" if generation == "old" else "UInt64",
            order={"old": _TRACES_OLD, "json": f"{_TRACES_NEW}, Timestamp"}.get(generation, _TRACES_NEW),
        )
    )
    hashed = "cityHash64(toString(Attributes))" if generation == "json" else "cityHash64(Attributes)"
    for points, own in (("gauge", ""), ("sum", ", AggregationTemporality Int32, IsMonotonic Bool")):
        store.execute(
            _POINTS.format(
                database=database,
                points=points,
                attributes=attributes,
                own=own,
                name="String" if generation == "old" else "LowCardinality(String)",
                time="DateTime64(9)" if generation == "old" else "DateTime",
                order="ServiceName, MetricName, Attributes, toUnixTimestamp64Nano(TimeUnix)"
                if generation == "old"
                else f"ServiceName, MetricName, toStartOfHour(TimeUnix), {hashed}, TimeUnix",
            )
        )


def write_spans(store: Store, table: str, generation: str, spans: Sequence[WrittenSpan]) -> None:
    """One insert, as that generation of the exporter does it: also a duration below zero wraps as there."""
    kinds = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"]
    rows = []
    for span in spans:
        kind, code = kinds[span.kind], "Error" if span.failed else "Unset"
        service, duration = span.resource.get("service.name", ""), span.duration_ns
        if generation == "old":
            kind, code = f"SPAN_KIND_{kind.upper()}", f"STATUS_CODE_{code.upper()}"
        else:
            duration %= 2**64
        rows.append(
            f"(fromUnixTimestamp64Nano({span.start_ns}), {quoted(span.trace_id)}, {quoted(span.span_id)}, "
            f"{quoted(span.parent_span_id)}, 'generate', {quoted(kind)}, {quoted(service)}, "
            f"{_attributes(span.resource, generation)}, {_attributes(span.attributes, generation)}, {duration}, "
            f"{quoted(code)})"
        )
    store.execute(
        f"INSERT INTO {table} (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, "
        f"ResourceAttributes, SpanAttributes, Duration, StatusCode) VALUES {', '.join(rows)}"
    )


def write_points(store: Store, table: str, generation: str, points: Sequence[WrittenPoint]) -> None:
    """One insert, as that generation of the exporter does it."""
    rows = []
    for point in points:
        moment = f"fromUnixTimestamp64Nano({point.time_ns})"
        rows.append(
            f"({_attributes(point.resource, generation)}, {quoted(point.resource.get('service.name', ''))}, "
            f"{quoted(point.name)}, {_attributes(point.attributes, generation)}, "
            f"{moment if generation == 'old' else f'toDateTime({moment})'}, {point.value!r}, {point.flags})"
        )
    store.execute(
        f"INSERT INTO {table} (ResourceAttributes, ServiceName, MetricName, Attributes, TimeUnix, Value, Flags) "
        f"VALUES {', '.join(rows)}"
    )


def _attributes(values: Mapping[str, Any], generation: str) -> str:
    """As a map of texts; as JSON with numbers and Booleans as they are."""
    if generation == "json":
        return quoted(json.dumps(values))
    texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()}
    return f"map({', '.join(f'{quoted(key)}, {quoted(text)}' for key, text in texts.items())})" if texts else "map()"
