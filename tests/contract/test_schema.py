"""The upstream tables, column by column, as the OpenTelemetry Collector's ClickHouse exporter makes them.

The declaration below is written out by hand, from contrib's exporter/clickhouseexporter: traces and logs of v0.151 and
later, metrics of v0.160 and later. It is what a site's own tables look like, so a difference here is a broken promise.
"""

from collections.abc import Iterator

import pytest

from storage.migrate import migrate
from storage.open import GatewayAddress, open_store
from storage.settings import StoreSettings
from storage.store import Store
from tests.contract.conftest import Ask, ask_of

_TEXT = "LowCardinality(String)"
_MAP = "Map(LowCardinality(String), String)"
_ZSTD = "CODEC(ZSTD(1))"
_DELTA4, _DELTA8 = "CODEC(Delta(4), ZSTD(1))", "CODEC(Delta(8), ZSTD(1))"

Column = tuple[str, str] | tuple[str, str, str]

_TRACES: list[Column] = [
    ("Timestamp", "DateTime64(9)", _DELTA8),
    ("TraceId", "String"),
    ("SpanId", "String"),
    ("ParentSpanId", "String"),
    ("TraceState", "String"),
    ("SpanName", _TEXT),
    ("SpanKind", _TEXT),
    ("ServiceName", _TEXT),
    ("ResourceAttributes", _MAP),
    ("ScopeName", "String"),
    ("ScopeVersion", "String"),
    ("SpanAttributes", _MAP),
    ("Duration", "UInt64"),
    ("StatusCode", _TEXT),
    ("StatusMessage", "String"),
    ("Events.Timestamp", "Array(DateTime64(9))"),
    ("Events.Name", f"Array({_TEXT})"),
    ("Events.Attributes", f"Array({_MAP})"),
    ("Links.TraceId", "Array(String)"),
    ("Links.SpanId", "Array(String)"),
    ("Links.TraceState", "Array(String)"),
    ("Links.Attributes", f"Array({_MAP})"),
]
_TRACE_TIMES: list[Column] = [("TraceId", "String"), ("Start", "DateTime", _DELTA4), ("End", "DateTime", _DELTA4)]
_LOGS: list[Column] = [
    ("Timestamp", "DateTime64(9)", _DELTA8),
    ("TraceId", "String"),
    ("SpanId", "String"),
    ("TraceFlags", "UInt8"),
    ("SeverityText", _TEXT),
    ("SeverityNumber", "UInt8"),
    ("ServiceName", _TEXT),
    ("Body", "String"),
    ("ResourceSchemaUrl", _TEXT),
    ("ResourceAttributes", _MAP),
    ("ScopeSchemaUrl", _TEXT),
    ("ScopeName", "String"),
    ("ScopeVersion", _TEXT),
    ("ScopeAttributes", _MAP),
    ("LogAttributes", _MAP),
    ("EventName", "String"),
    ("__otel_materialized_k8s.cluster.name", _TEXT),
    ("__otel_materialized_k8s.container.name", _TEXT),
    ("__otel_materialized_k8s.deployment.name", _TEXT),
    ("__otel_materialized_k8s.namespace.name", _TEXT),
    ("__otel_materialized_k8s.node.name", _TEXT),
    ("__otel_materialized_k8s.pod.name", _TEXT),
    ("__otel_materialized_k8s.pod.uid", _TEXT),
    ("__otel_materialized_deployment.environment.name", _TEXT),
]
_METRIC: list[Column] = [
    ("ResourceAttributes", _MAP, "CODEC(LZ4)"),
    ("ResourceSchemaUrl", "String"),
    ("ScopeName", "String"),
    ("ScopeVersion", "String"),
    ("ScopeAttributes", _MAP),
    ("ScopeDroppedAttrCount", "UInt32"),
    ("ScopeSchemaUrl", "String"),
    ("ServiceName", _TEXT),
    ("MetricName", _TEXT),
    ("MetricDescription", "String"),
    ("MetricUnit", "String"),
    ("Attributes", _MAP, "CODEC(LZ4)"),
    ("StartTimeUnix", "DateTime", _DELTA4),
    ("TimeUnix", "DateTime", _DELTA4),
    ("Flags", "UInt32"),
]
_EXEMPLARS: list[Column] = [
    ("Exemplars.FilteredAttributes", f"Array({_MAP})"),
    ("Exemplars.TimeUnix", "Array(DateTime)"),
    ("Exemplars.Value", "Array(Float64)"),
    ("Exemplars.SpanId", "Array(String)"),
    ("Exemplars.TraceId", "Array(String)"),
]

COLUMNS: dict[str, list[Column]] = {
    "otel_traces": _TRACES,
    "otel_traces_trace_id_ts": _TRACE_TIMES,
    "otel_logs": _LOGS,
    "otel_metrics_gauge": [*_METRIC, ("Value", "Float64"), *_EXEMPLARS],
    "otel_metrics_sum": [
        *_METRIC,
        ("Value", "Float64"),
        ("AggregationTemporality", "Int32"),
        ("IsMonotonic", "Bool"),
        *_EXEMPLARS,
    ],
    "otel_metrics_histogram": [
        *_METRIC,
        ("Count", "UInt64", _DELTA8),
        ("Sum", "Float64"),
        ("BucketCounts", "Array(UInt64)"),
        ("ExplicitBounds", "Array(Float64)"),
        ("Min", "Float64"),
        ("Max", "Float64"),
        ("AggregationTemporality", "Int32"),
        *_EXEMPLARS,
    ],
    "otel_metrics_exponential_histogram": [
        *_METRIC,
        ("Count", "UInt64", _DELTA8),
        ("Sum", "Float64"),
        ("Scale", "Int32"),
        ("ZeroCount", "UInt64"),
        ("PositiveOffset", "Int32"),
        ("PositiveBucketCounts", "Array(UInt64)"),
        ("NegativeOffset", "Int32"),
        ("NegativeBucketCounts", "Array(UInt64)"),
        ("Min", "Float64"),
        ("Max", "Float64"),
        ("AggregationTemporality", "Int32"),
        *_EXEMPLARS,
    ],
    "otel_metrics_summary": [
        *_METRIC,
        ("Count", "UInt64", _DELTA8),
        ("Sum", "Float64"),
        ("ValueAtQuantiles.Quantile", "Array(Float64)"),
        ("ValueAtQuantiles.Value", "Array(Float64)"),
    ],
}

_METRIC_KEY = "ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix"
KEYS = {
    "otel_traces": ("toDate(Timestamp)", "ServiceName, SpanName, toDateTime(Timestamp)"),
    "otel_traces_trace_id_ts": ("toDate(Start)", "TraceId, Start"),
    "otel_logs": ("toDate(Timestamp)", "toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp"),
} | {table: ("toDate(TimeUnix)", _METRIC_KEY) for table in COLUMNS if "metrics" in table}


def _of_maps(*names: tuple[str, str]) -> set[tuple[str, str, str, int]]:
    return {
        (f"idx_{short}_{part}", f"map{part.capitalize()}s({column})", "bloom_filter(0.01)", 1)
        for short, column in names
        for part in ("key", "value")
    }


_RESOURCE, _SCOPE = ("res_attr", "ResourceAttributes"), ("scope_attr", "ScopeAttributes")
_TRACE_ID = ("idx_trace_id", "TraceId", "bloom_filter(0.001)", 1)
_BY_TIME = ("idx_time_minmax", "TimeUnix", "minmax", 1)
_METRIC_TABLES = [table for table in COLUMNS if "metrics" in table]

LEAN_INDEXES = {
    "otel_traces": {_TRACE_ID},
    "otel_traces_trace_id_ts": {("idx_trace_id", "TraceId", "bloom_filter(0.01)", 1)},
    "otel_logs": {_TRACE_ID},
} | {table: {_BY_TIME} for table in _METRIC_TABLES}
UPSTREAM_INDEXES = {
    "otel_traces": {
        _TRACE_ID,
        *_of_maps(_RESOURCE, ("span_attr", "SpanAttributes")),
        ("idx_duration", "Duration", "minmax", 1),
    },
    "otel_traces_trace_id_ts": LEAN_INDEXES["otel_traces_trace_id_ts"],
    "otel_logs": {
        _TRACE_ID,
        *_of_maps(_RESOURCE, _SCOPE, ("log_attr", "LogAttributes")),
        ("idx_lower_body", "lower(Body)", "tokenbf_v1(32768, 3, 0)", 8),
    },
} | {table: {_BY_TIME, *_of_maps(_RESOURCE, _SCOPE, ("attr", "Attributes"))} for table in _METRIC_TABLES}


@pytest.fixture
def upstream_profile_ask(store: Store, gateway: GatewayAddress) -> Iterator[Ask]:
    """A second database on the session's engine, made with the index profile `upstream`."""
    store.execute("CREATE DATABASE upstream_profile")
    url = gateway.url.replace("http://", f"http://tailsight:{gateway.token}@")
    opened = open_store(StoreSettings(url=f"{url}/upstream_profile", index_profile="upstream"))
    migrate(opened)
    yield ask_of(opened)
    opened.close()
    store.execute("DROP DATABASE upstream_profile SYNC")


def _indexes(ask: Ask, table: str) -> set[tuple[object, ...]]:
    return set(
        ask(
            "SELECT name, expr, type_full, granularity FROM system.data_skipping_indices "
            f"WHERE database = currentDatabase() AND table = '{table}'"
        )
    )


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_has_exactly_the_columns_of_the_exporter(ask: Ask, table: str) -> None:
    # Also its codecs, but for the labels of points (docs/adr/0024-points-land-once.md).
    found = ask(
        "SELECT name, type, compression_codec FROM system.columns "
        f"WHERE database = currentDatabase() AND table = '{table}'"
    )
    declared = {(*column, _ZSTD)[:3] for column in COLUMNS[table]}
    assert set(found) == declared
    assert len(found) == len(declared)


def test_the_materialized_columns_of_the_logs_read_the_resource(ask: Ask) -> None:
    found = ask(
        "SELECT name, default_kind, default_expression FROM system.columns "
        "WHERE database = currentDatabase() AND table = 'otel_logs' AND default_kind != ''"
    )
    names = [column[0] for column in _LOGS if column[0].startswith("__otel_materialized_")]
    assert set(found) == {
        (name, "MATERIALIZED", f"ResourceAttributes['{name.removeprefix('__otel_materialized_')}']") for name in names
    }


def _keys(ask: Ask, table: str) -> tuple[object, ...]:
    (keys,) = ask(
        f"SELECT partition_key, sorting_key FROM system.tables WHERE database = currentDatabase() AND name = '{table}'"
    )
    return keys


def test_in_the_upstream_profile_tables_are_sorted_and_cut_as_the_exporter_does_it(upstream_profile_ask: Ask) -> None:
    assert {table: _keys(upstream_profile_ask, table) for table in COLUMNS} == KEYS


def test_in_the_lean_profile_spans_of_a_trace_lie_together(ask: Ask) -> None:
    together = ("toDate(Timestamp)", "ServiceName, toDateTime(Timestamp), TraceId, Timestamp")
    assert {table: _keys(ask, table) for table in COLUMNS} == KEYS | {"otel_traces": together}


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_is_read_by_granule_and_drops_whole_parts(ask: Ask, table: str) -> None:
    ((engine, engine_full),) = ask(
        f"SELECT engine, engine_full FROM system.tables WHERE database = currentDatabase() AND name = '{table}'"
    )
    assert str(engine).endswith("MergeTree")
    assert "index_granularity = 8192" in str(engine_full)
    assert "ttl_only_drop_parts = 1" in str(engine_full)


def test_the_time_span_of_a_trace_is_kept_by_a_view(ask: Ask) -> None:
    ((view,),) = ask("SELECT create_table_query FROM system.tables WHERE name = 'otel_traces_trace_id_ts_mv' LIMIT 1")
    assert "min(Timestamp) AS Start, max(Timestamp) AS End" in str(view)


@pytest.mark.parametrize("table", COLUMNS)
def test_the_lean_profile_has_few_indexes(ask: Ask, table: str) -> None:
    assert _indexes(ask, table) == LEAN_INDEXES[table]


def test_the_upstream_profile_has_all_indexes_of_the_exporter(upstream_profile_ask: Ask) -> None:
    assert {table: _indexes(upstream_profile_ask, table) for table in COLUMNS} == UPSTREAM_INDEXES


def test_a_column_of_ours_says_its_unit_where_it_has_one(ask: Ask) -> None:
    uncommented = ask(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND table LIKE 'tailsight_%' "
        "AND (name LIKE '%\\_ms' OR name LIKE '%tokens' OR name IN ('requests', 'errors', 'value')) AND comment = '' "
        "AND table NOT LIKE '%\\_mv'"
    )
    assert uncommented == []
