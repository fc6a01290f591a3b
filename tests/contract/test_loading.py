"""OTLP payloads become rows of the upstream tables: every column, once a token."""

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.survey import survey
from storage.errors import UndecodableError
from storage.otlp import ENCODINGS, OTLP_TABLES, Encoding
from storage.store import Store
from tests.contract.conftest import Ask, Load
from tests.contract.payloads import (
    PAYLOADS,
    SECOND_NS,
    SPAN_ID,
    T0_NS,
    T0_S,
    TRACE_ID,
    as_json,
    attributes,
    counter,
    exemplar,
    exponential_histogram,
    gauge,
    histogram,
    logs,
    metrics,
    point,
    record,
    span,
    summary,
    traces,
)

_SCOPE = InstrumentationScope(
    name="vllm", version="1.2", attributes=attributes({"kind": "engine"}), dropped_attributes_count=3
)


def test_every_column_of_a_span_is_filled(load: Load, ask: Ask) -> None:
    sent = span(
        "chat llama",
        duration_ns=1_234_567_891,
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        parent_span_id=bytes(7) + b"\xff",
        trace_state="vendor=1",
        kind=Span.SPAN_KIND_SERVER,
        attributes={"gen_ai.request.model": "llama", "n": 3},
        status=Status(code=Status.STATUS_CODE_ERROR, message="out of memory"),
        events=[
            Span.Event(time_unix_nano=T0_NS + 1, name="first token", attributes=attributes({"n": 1})),
            Span.Event(time_unix_nano=T0_NS + 2, name="preempted"),
        ],
        links=[Span.Link(trace_id=SPAN_ID * 2, span_id=SPAN_ID, trace_state="t=2", attributes=attributes({"k": "v"}))],
    )
    payload = traces(sent, resource={"service.name": "chat", "host.name": "gpu-07"}, scope=_SCOPE)
    load("otel_traces", payload)
    assert ask(
        "SELECT toUnixTimestamp64Nano(Timestamp), TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, "
        "ServiceName, ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, "
        "StatusMessage, arrayMap(t -> toUnixTimestamp64Nano(t), Events.Timestamp), Events.Name, Events.Attributes, "
        "Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes FROM otel_traces"
    ) == [
        (
            T0_NS,
            "0af7651916cd43dd8448eb211c80319c",
            "b7ad6b7169203331",
            "00000000000000ff",
            "vendor=1",
            "chat llama",
            "Server",
            "chat",
            {"service.name": "chat", "host.name": "gpu-07"},
            "vllm",
            "1.2",
            {"gen_ai.request.model": "llama", "n": "3"},
            1_234_567_891,
            "Error",
            "out of memory",
            [T0_NS + 1, T0_NS + 2],
            ["first token", "preempted"],
            [{"n": "1"}, {}],
            ["b7ad6b7169203331" * 2],
            ["b7ad6b7169203331"],
            ["t=2"],
            [{"k": "v"}],
        )
    ]


def test_every_column_of_a_log_record_is_filled(load: Load, ask: Ask) -> None:
    sent = record(
        "no free blocks",
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        flags=0x101,
        severity_text="WARN",
        severity_number=13,
        observed_time_unix_nano=T0_NS + 5,
        attributes={"n": 3},
        event_name="preemption",
    )
    resource = {"service.name": "chat", "k8s.pod.name": "chat-0"}
    urls = {"resource_schema_url": "https://resource/1", "scope_schema_url": "https://scope/2"}
    load("otel_logs", logs(sent, resource=resource, scope=_SCOPE, **urls))
    assert ask(
        "SELECT toUnixTimestamp64Nano(Timestamp), TraceId, SpanId, TraceFlags, SeverityText, SeverityNumber, "
        "ServiceName, Body, ResourceSchemaUrl, ResourceAttributes, ScopeSchemaUrl, ScopeName, ScopeVersion, "
        "ScopeAttributes, LogAttributes, EventName, `__otel_materialized_k8s.pod.name` FROM otel_logs"
    ) == [
        (
            T0_NS,
            TRACE_ID.hex(),
            SPAN_ID.hex(),
            1,
            "WARN",
            13,
            "chat",
            "no free blocks",
            "https://resource/1",
            resource,
            "https://scope/2",
            "vllm",
            "1.2",
            {"kind": "engine"},
            {"n": "3"},
            "preemption",
            "chat-0",
        )
    ]


def test_a_log_record_without_a_time_bears_the_one_it_was_observed_at(load: Load, ask: Ask) -> None:
    load("otel_logs", logs(record(time_ns=0, observed_time_unix_nano=T0_NS + 5)))
    assert ask("SELECT toUnixTimestamp64Nano(Timestamp) FROM otel_logs") == [(T0_NS + 5,)]


def test_the_time_span_of_a_trace_is_found_by_its_id(any_store: Store, ask: Ask) -> None:
    later = span("b", start_ns=T0_NS + 90 * SECOND_NS, trace_id=TRACE_ID)
    any_store.load_otlp("otel_traces", traces(span("a", trace_id=TRACE_ID), later), token="trace-times")
    assert ask("SELECT TraceId, toUnixTimestamp(Start), toUnixTimestamp(End) FROM otel_traces_trace_id_ts") == [
        (TRACE_ID.hex(), T0_S, T0_S + 90)
    ]


_COMMON_COLUMNS = (
    "ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, "
    "ScopeSchemaUrl, ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, "
    "toUnixTimestamp(StartTimeUnix), toUnixTimestamp(TimeUnix), Flags"
)
_EXEMPLAR_COLUMNS = (
    "Exemplars.FilteredAttributes, arrayMap(t -> toUnixTimestamp(t), Exemplars.TimeUnix), Exemplars.Value, "
    "Exemplars.SpanId, Exemplars.TraceId"
)
_OWN_COLUMNS = {
    "otel_metrics_gauge": "Value",
    "otel_metrics_sum": "Value, AggregationTemporality, IsMonotonic",
    "otel_metrics_histogram": "Count, Sum, BucketCounts, ExplicitBounds, Min, Max, AggregationTemporality",
    "otel_metrics_exponential_histogram": "Count, Sum, Scale, ZeroCount, PositiveOffset, PositiveBucketCounts, "
    "NegativeOffset, NegativeBucketCounts, Min, Max, AggregationTemporality",
    "otel_metrics_summary": "Count, Sum, ValueAtQuantiles.Quantile, ValueAtQuantiles.Value",
}
_ONE_EXEMPLAR = ([{"tenant": "acme"}], [T0_S + 1])


@pytest.mark.parametrize(
    ("table", "metric", "own", "exemplars"),
    [
        (
            "otel_metrics_gauge",
            gauge(
                "DCGM_FI_DEV_FB_USED",
                point(
                    17,
                    start_time_unix_nano=T0_NS - 60 * SECOND_NS,
                    attributes={"gpu": "0"},
                    flags=2,
                    exemplars=[exemplar(as_int=17, trace_id=TRACE_ID, span_id=SPAN_ID)],
                ),
                unit="MiBy",
                description="Used",
            ),
            (17.0,),
            (*_ONE_EXEMPLAR, [17.0], [SPAN_ID.hex()], [TRACE_ID.hex()]),
        ),
        (
            "otel_metrics_sum",
            counter("errors_total", [point(2.5, start_time_unix_nano=T0_NS - 60 * SECOND_NS)]),
            (2.5, 2, True),
            ([], [], [], [], []),
        ),
        (
            "otel_metrics_histogram",
            histogram(),
            (7, 42.5, [1, 2, 4], [5.0, 10.0], 0.5, 12.25, 1),
            (*_ONE_EXEMPLAR, [12.25], [SPAN_ID.hex()], [TRACE_ID.hex()]),
        ),
        (
            "otel_metrics_exponential_histogram",
            exponential_histogram(),
            (9, -1.5, -2, 2, -3, [1, 0, 300], 4, [5], -8.0, 4.0, 2),
            (*_ONE_EXEMPLAR, [-4.0], ["0" * 16], ["0" * 32]),
        ),
        ("otel_metrics_summary", summary(), (100, 25.0, [0.5, 0.99], [0.2, 1.5]), None),
    ],
)
def test_every_column_of_a_data_point_is_filled(
    load: Load,
    ask: Ask,
    table: str,
    metric: Metric,
    own: tuple[object, ...],
    exemplars: tuple[object, ...] | None,
) -> None:
    payload = metrics(
        metric,
        resource={"service.name": "vllm", "service.instance.id": "vllm-0"},
        scope=_SCOPE,
        resource_schema_url="https://resource/1",
        scope_schema_url="https://scope/2",
    )
    load(table, payload)
    (sent,) = getattr(metric, str(metric.WhichOneof("data"))).data_points
    common = (
        {"service.name": "vllm", "service.instance.id": "vllm-0"},
        "https://resource/1",
        "vllm",
        "1.2",
        {"kind": "engine"},
        3,
        "https://scope/2",
        "vllm",
        metric.name,
        metric.description,
        metric.unit,
        {pair.key: pair.value.string_value for pair in sent.attributes},
        sent.start_time_unix_nano // SECOND_NS,
        T0_S,
        sent.flags,
    )
    columns = f"{_COMMON_COLUMNS}, {_OWN_COLUMNS[table]}" + (f", {_EXEMPLAR_COLUMNS}" if exemplars else "")
    assert ask(f"SELECT {columns} FROM {table}") == [(*common, *own, *(exemplars or ()))]


def test_a_payload_fills_each_table_with_its_own_kind_of_metric(any_store: Store, ask: Ask) -> None:
    payload = metrics(gauge("g", point(1.0)), counter("c", [point(1)]), histogram(), exponential_histogram(), summary())
    tables = [table for table, signal in OTLP_TABLES.items() if signal == "metrics"]
    for table in tables:
        any_store.load_otlp(table, payload, token="one-of-each")
    assert {table: ask(f"SELECT count() FROM {table}") for table in tables} == {table: [(1,)] for table in tables}


def _without_exemplars(metric: Metric) -> Metric:
    for point_ in getattr(metric, str(metric.WhichOneof("data"))).data_points:
        del point_.exemplars[:]
    return metric


_OF_TEXTS: Any = {"attributes": {"gpu": "3", "pod": ""}}
_PLAIN = {
    "otel_metrics_gauge": metrics(gauge("g", point(1.5, **_OF_TEXTS), point(7)), scope=_SCOPE),
    "otel_metrics_sum": metrics(counter("c", [point(1.5, **_OF_TEXTS), point(7)]), scope=_SCOPE),
    "otel_metrics_histogram": metrics(_without_exemplars(histogram()), scope=_SCOPE),
    "otel_metrics_exponential_histogram": metrics(_without_exemplars(exponential_histogram()), scope=_SCOPE),
    "otel_metrics_summary": metrics(summary(), scope=_SCOPE),
}


@pytest.mark.parametrize("table", _PLAIN)
def test_what_is_loaded_as_plain_makes_the_rows_of_a_full_load(any_store: Store, ask: Ask, table: str) -> None:
    assert survey("metrics", _PLAIN[table]).is_plain
    any_store.load_otlp(table, _PLAIN[table], token="full")
    of_full_load = ask(f"SELECT * FROM {table} ORDER BY ALL")
    any_store.execute(f"TRUNCATE TABLE {table}")
    any_store.load_otlp(table, _PLAIN[table], token="plain", form="plain")
    assert ask(f"SELECT * FROM {table} ORDER BY ALL") == of_full_load
    assert of_full_load


def test_requests_one_after_the_other_are_one_payload(any_store: Store, ask: Ask) -> None:
    payload = traces(span("a"), resource={"service.name": "one"}) + traces(span("b"), resource={"service.name": "two"})
    any_store.load_otlp("otel_traces", payload, token="joined")
    assert ask("SELECT ServiceName, SpanName FROM otel_traces ORDER BY 1") == [("one", "a"), ("two", "b")]


def test_json_requests_one_a_line_are_one_payload(any_store: Store, ask: Ask) -> None:
    requests = (traces(span(name), resource={"service.name": name}) for name in ("one", "two"))
    payload = b"".join(as_json("otel_traces", request) for request in requests)
    any_store.load_otlp("otel_traces", payload, token="lines", form="json")
    assert ask("SELECT ServiceName FROM otel_traces ORDER BY 1") == [("one",), ("two",)]


@pytest.mark.parametrize("line", ["{", "spans", '{"resourceSpans": [{"x": 1e400}]}'])
def test_a_line_that_is_no_json_for_the_engine_is_undecodable_and_leaves_nothing(
    any_store: Store, ask: Ask, line: str
) -> None:
    payload = as_json("otel_traces", PAYLOADS["otel_traces"]) + line.encode() + b"\n"
    with pytest.raises(UndecodableError, match="a document is no JSON"):
        any_store.load_otlp("otel_traces", payload, token=f"bad-{line}", form="json")
    assert ask("SELECT count() FROM otel_traces") == [(0,)]


def test_an_empty_payload_is_no_row_and_no_error(any_store: Store, ask: Ask) -> None:
    any_store.load_otlp("otel_traces", b"", token="empty")
    assert ask("SELECT count() FROM otel_traces") == [(0,)]


# What is behind each table: the views' targets, as a reader sees them.
_COUNTS = {
    "otel_traces": "SELECT (SELECT count() FROM otel_traces), (SELECT count() FROM otel_traces_trace_id_ts), "
    "(SELECT count() FROM tailsight_requests), "
    "(SELECT sum(requests) FROM tailsight_request_rollup WHERE measure != 'ttft')",
    "otel_metrics_gauge": "SELECT (SELECT count() FROM otel_metrics_gauge), (SELECT count() FROM tailsight_samples), "
    "(SELECT sum(samples) FROM tailsight_sample_hours)",
    "otel_metrics_sum": "SELECT (SELECT count() FROM otel_metrics_sum), (SELECT count() FROM tailsight_samples), "
    "(SELECT sum(samples) FROM tailsight_sample_hours)",
}


@pytest.mark.parametrize("table", OTLP_TABLES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_token_twice_changes_nothing_and_another_doubles(
    any_store: Store, ask: Ask, table: str, encoding: Encoding
) -> None:
    payload = as_json(table, PAYLOADS[table]) if encoding == "json" else PAYLOADS[table]
    counts = _COUNTS.get(table, f"SELECT count() FROM {table}")
    any_store.load_otlp(table, payload, token="segment-1", form=encoding)
    (once,) = ask(counts)
    assert all(once)
    any_store.load_otlp(table, payload, token="segment-1", form=encoding)
    assert ask(counts) == [once]
    any_store.load_otlp(table, payload, token="segment-2", form=encoding)
    assert ask(counts) == [tuple(2 * int(str(count)) for count in once)]


def test_a_token_holds_for_a_payload_of_many_days_and_blocks(any_store: Store, ask: Ask) -> None:
    day_ns = 86_400 * SECOND_NS
    payload = traces(*(span("a", start_ns=T0_NS + (i % 7) * day_ns + i, span_id=i.to_bytes(8)) for i in range(70_000)))
    for _ in range(2):
        any_store.load_otlp("otel_traces", payload, token="seven-days")
    assert ask(_COUNTS["otel_traces"].replace("otel_traces_trace_id_ts", "otel_traces")) == [(70_000,) * 4]


def test_a_token_holds_from_one_way_in_to_the_other(store: Store, http_store: Store, clean_store: Store) -> None:
    for way in (http_store, store, http_store):
        way.load_otlp("otel_traces", PAYLOADS["otel_traces"], token="both-ways")
    assert store.engine is not None
    assert store.engine.run("SELECT count() FROM otel_traces").body == b"2\n"


def test_the_working_directory_stays_as_it_is(
    any_store: Store, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    any_store.load_otlp("otel_traces", PAYLOADS["otel_traces"], token="no-trace-on-disk")
    assert list(elsewhere.iterdir()) == []
