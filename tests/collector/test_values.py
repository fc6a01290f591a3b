"""What is stored equals what an independent decoder reads from the request, in every column of every table."""

import gzip
import json
import math
import secrets
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.otlp import CHECKS, TimeRange
from storage.otlp import ENCODINGS, Encoding, Form
from storage.store import Store
from tests import reference_otlp
from tests.collector.conftest import Ask
from tests.collector.payloads import add_attributes, set_value, trace_request
from tests.scenarios.otlp_doors import to_json

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "otlp" / "recorded-sdk"
NOW = 1_795_000_000_000_000_000
ANY_TIME = TimeRange(0, 2**63 - 1)

REQUESTS: dict[str, Any] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
LOG_COLUMNS = "* REPLACE (toUnixTimestamp64Nano(Timestamp) AS Timestamp)"
TRACE_COLUMNS = """* REPLACE (
    toUnixTimestamp64Nano(Timestamp) AS Timestamp,
    arrayMap(time -> toUnixTimestamp64Nano(time), Events.Timestamp) AS `Events.Timestamp`)"""
METRIC_COLUMNS = "* REPLACE (toUnixTimestamp(StartTimeUnix) AS StartTimeUnix, toUnixTimestamp(TimeUnix) AS TimeUnix{})"
EXEMPLAR_COLUMN = ", arrayMap(time -> toUnixTimestamp(time), Exemplars.TimeUnix) AS `Exemplars.TimeUnix`"


def recorded_payloads() -> list[Any]:
    if not RECORDED.is_dir():
        return [pytest.param("", "", id="none", marks=pytest.mark.skip(f"no recorded payloads in {RECORDED}"))]
    entries = [json.loads(line) for line in (RECORDED / "index.jsonl").read_text().splitlines()]
    return [
        pytest.param(entry["path"].removeprefix("/v1/"), entry["file"], id=entry["file"])
        for entry in entries
        if entry["content_type"] == "application/x-protobuf"
    ]


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    """Each encoding in turn."""
    return cast("Encoding", request.param)


def encoded(signal: str, payload: bytes, encoding: Encoding) -> bytes:
    return to_json(REQUESTS[signal].FromString(payload)) if encoding == "json" else payload


def stored(store: Store, ask: Ask, signal: str, payload: bytes, encoding: Encoding) -> dict[str, list[dict[str, Any]]]:
    """The rows that a request left in the tables, by table."""
    checked = CHECKS[signal](payload, ANY_TIME, encoding)
    tables = {}
    for table, count in checked.items.items():
        token = f"{table}-{hash(payload)}"
        store.load_otlp(table, checked.payload, token=token, form="plain" if checked.is_plain else encoding)
        tables[table] = ask(f"SELECT {columns_of(table)} FROM {table}")
        assert len(tables[table]) == count
    return tables


def columns_of(table: str) -> str:
    if table in ("otel_traces", "otel_logs"):
        return TRACE_COLUMNS if table == "otel_traces" else LOG_COLUMNS
    return METRIC_COLUMNS.format("" if table == "otel_metrics_summary" else EXEMPLAR_COLUMN)


def expected(signal: str, payload: bytes) -> dict[str, list[dict[str, Any]]]:
    if signal == "metrics":
        return reference_otlp.metric_rows(payload)
    rows = (reference_otlp.trace_rows if signal == "traces" else reference_otlp.log_rows)(payload)
    return {f"otel_{signal}": rows} if rows else {}


DOUBLES = {"Value", "Sum", "Min", "Max", "ExplicitBounds", "Exemplars.Value"}
DOUBLES |= {"ValueAtQuantiles.Quantile", "ValueAtQuantiles.Value"}


def doubles(value: Any) -> Any:
    """JSON writes the double 2.0 as 2."""
    return [doubles(element) for element in value] if isinstance(value, list) else str(float(value))


def in_order(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """Rows as texts that compare, whatever order they were stored in."""
    return {
        table: sorted(
            json.dumps(
                {name: doubles(value) if name in DOUBLES else value for name, value in row.items()}, sort_keys=True
            )
            for row in rows
        )
        for table, rows in tables.items()
    }


@pytest.mark.parametrize(("signal", "file"), recorded_payloads())
def test_what_real_sdks_sent_is_stored_value_for_value(
    clean_store: Store, ask: Ask, signal: str, file: str, encoding: Encoding
) -> None:
    payload = (RECORDED / file).read_bytes()
    if file.endswith(".gz"):
        payload = gzip.decompress(payload)
    want = expected(signal, payload)
    assert want, "the recording holds something"
    assert in_order(stored(clean_store, ask, signal, encoded(signal, payload, encoding), encoding)) == in_order(want)


EDGE_VALUES: dict[str, Any] = {
    "negative": -7,
    "smallest": -(2**63),
    "two to the 62": 2**62,
    "zero": 0,
    "false": False,
    "true": True,
    "empty text": "",
    "unset": None,
    "unicode": 'naïve 🤖 \u2028 \u0000 "quoted" \\ <b>&</b>',
    "bytes": bytes(range(256)),
    "no bytes": b"",
    "nan": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "one": 1.0,
    "minus zero": -0.0,
    "a tenth": 0.1,
    "sum of tenths": 0.1 + 0.2,
    "large": 1e20,
    "large with digits": 123456789012345680000.0,
    "larger": 1e21,
    "larger with digits": 1.2345678901234567e25,
    "largest": 1.7976931348623157e308,
    "small": 1e-6,
    "smaller": 1e-7,
    "smaller with digits": 1.5e-7,
    "smallest of all": 5e-324,
    "empty array": [],
    "empty map": {},
    "array": [1, "two", 3.5, True, None, b"\x00\xff", math.nan, 1e21, -0.0],
    "array in map in array in map": {"b": [{"a": [[{"deep": "\u2029\t\n<&>"}], []]}], "a": {}},
}


def test_edge_values_are_stored_as_the_upstream_exporter_writes_them(
    clean_store: Store, ask: Ask, encoding: Encoding
) -> None:
    payload = trace_request(NOW, attributes=EDGE_VALUES)
    assert in_order(stored(clean_store, ask, "traces", encoded("traces", payload, encoding), encoding)) == in_order(
        expected("traces", payload)
    )


def test_the_texts_of_edge_values_are_these() -> None:
    """The reference itself, held against a few texts written by hand."""
    (row,) = reference_otlp.trace_rows(trace_request(NOW, attributes=EDGE_VALUES))
    texts = row["SpanAttributes"]
    assert texts["larger"] == "1e+21"
    assert texts["large"] == "100000000000000000000"
    assert texts["smaller with digits"] == "1.5e-7"
    assert texts["small"] == "0.000001"
    assert texts["array"] == '[1,"two",3.5,true,null,"AP8=","NaN",1e+21,-0]'
    assert texts["array in map in array in map"] == ('{"a":{},"b":[{"a":[[{"deep":"\\u2029\\t\\n<&>"}],[]]}]}')


def test_arrays_are_found_wherever_attributes_are(clean_store: Store, ask: Ask, encoding: Encoding) -> None:
    traces = ExportTraceServiceRequest.FromString(trace_request(NOW))
    span = traces.resource_spans[0].scope_spans[0].spans[0]
    add_attributes(traces.resource_spans[0].resource.attributes, {"in resource": [1]})
    add_attributes(span.events.add(time_unix_nano=NOW, name="e").attributes, {"in event": {"a": [2]}})
    add_attributes(span.links.add(trace_id=b"l" * 16, span_id=b"l" * 8).attributes, {"in link": [3]})
    payload = traces.SerializeToString()
    assert in_order(stored(clean_store, ask, "traces", encoded("traces", payload, encoding), encoding)) == in_order(
        expected("traces", payload)
    )


def test_log_records_are_stored_value_for_value(clean_store: Store, ask: Ask, encoding: Encoding) -> None:
    request: Any = ExportLogsServiceRequest()
    resource = request.resource_logs.add(schema_url="https://resource")
    add_attributes(resource.resource.attributes, {"service.name": "chat", "list": [1]})
    scope = resource.scope_logs.add(schema_url="https://scope")
    scope.scope.name, scope.scope.version = "scope", "1.2"
    add_attributes(scope.scope.attributes, {"in scope": {"k": [None]}})
    for number, body in enumerate(EDGE_VALUES.values()):
        record = scope.log_records.add(time_unix_nano=NOW + number, severity_number=number % 25, severity_text="INFO")
        if body is not None:
            set_value(record.body, body)
    add_attributes(record.attributes, EDGE_VALUES)
    scope.log_records.add(observed_time_unix_nano=NOW, event_name="observed", trace_id=b"t" * 16, span_id=b"s" * 8)
    scope.log_records.add(time_unix_nano=NOW, observed_time_unix_nano=NOW + 5, flags=0x101)
    payload = request.SerializeToString()
    got = stored(clean_store, ask, "logs", encoded("logs", payload, encoding), encoding)
    assert in_order(got) == in_order(expected("logs", payload))


def every_metric_kind() -> ExportMetricsServiceRequest:
    request: Any = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add(schema_url="https://resource")
    add_attributes(resource.resource.attributes, {"service.name": "chat", "list": ["a", 1]})
    scope = resource.scope_metrics.add(schema_url="https://scope")
    scope.scope.name, scope.scope.version, scope.scope.dropped_attributes_count = "scope", "1.2", 3
    add_attributes(scope.scope.attributes, {"in scope": {"k": [None]}})
    times = {"start_time_unix_nano": NOW - 60 * 10**9, "time_unix_nano": NOW}
    gauge = scope.metrics.add(name="gauge", description="d", unit="By").gauge
    gauge.data_points.add(**times, as_int=-(2**53))
    gauge.data_points.add(**times, as_double=math.nan, flags=1)
    gauge.data_points.add(**times)
    total = scope.metrics.add(name="sum").sum
    total.aggregation_temporality, total.is_monotonic = 2, True
    point = total.data_points.add(**times, as_int=2**62)
    add_attributes(point.attributes, {"in point": [[1.0]]})
    exemplar = point.exemplars.add(time_unix_nano=NOW, as_int=-5, trace_id=b"t" * 16, span_id=b"s" * 8)
    add_attributes(exemplar.filtered_attributes, {"in exemplar": {"x": -1}})
    point.exemplars.add(time_unix_nano=NOW, as_double=0.5)
    histogram = scope.metrics.add(name="histogram").histogram
    histogram.aggregation_temporality = 1
    histogram.data_points.add(**times, count=3, sum=4.5, bucket_counts=[1, 2], explicit_bounds=[0.25], min=-1, max=9)
    histogram.data_points.add(**times, count=0)
    exponential = scope.metrics.add(name="exponential").exponential_histogram
    exponential.aggregation_temporality = 2
    point = exponential.data_points.add(**times, count=7, sum=-2.5, scale=-3, zero_count=2, zero_threshold=0.1)
    point.positive.offset = -4
    point.positive.bucket_counts.extend([1, 0, 2**40])
    point.negative.offset = 5
    point.negative.bucket_counts.extend([2])
    summary = scope.metrics.add(name="summary").summary
    point = summary.data_points.add(**times, count=11, sum=12.0)
    point.quantile_values.add(quantile=0.5, value=1.5)
    point.quantile_values.add(quantile=0.99, value=math.nan)
    scope.metrics.add(name="nothing")
    return request


def test_every_kind_of_metric_is_stored_value_for_value(clean_store: Store, ask: Ask, encoding: Encoding) -> None:
    payload = every_metric_kind().SerializeToString()
    want = expected("metrics", payload)
    assert len(want) == 5
    assert in_order(stored(clean_store, ask, "metrics", encoded("metrics", payload, encoding), encoding)) == in_order(
        want
    )


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=6))  # a key is never empty (specification)
def test_whatever_attributes_hold_is_stored_value_for_value(
    store: Store, ask: Ask, encoding: Encoding, attributes: dict[str, Any]
) -> None:
    store.execute("TRUNCATE TABLE otel_traces")
    payload = trace_request(NOW, attributes=attributes)
    assert in_order(stored(store, ask, "traces", encoded("traces", payload, encoding), encoding)) == in_order(
        expected("traces", payload)
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    of_points=st.lists(
        st.dictionaries(st.sampled_from(["", "gpu", "pod"]), st.text(max_size=200) | st.none() | st.integers(0, 1)),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_is_plain_makes_the_rows_that_it_makes_in_full(
    store: Store, ask: Ask, of_points: list[dict[str, Any]]
) -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="power")
    for attributes in of_points:
        add_attributes(metric.gauge.data_points.add(time_unix_nano=NOW, as_int=1).attributes, attributes)
    payload = request.SerializeToString()
    rows = []
    for form in ("plain" if CHECKS["metrics"](payload, ANY_TIME, "protobuf").is_plain else "protobuf", "protobuf"):
        store.execute("TRUNCATE TABLE otel_metrics_gauge")
        store.load_otlp("otel_metrics_gauge", payload, token=secrets.token_hex(), form=cast("Form", form))
        rows.append(ask("SELECT * FROM otel_metrics_gauge ORDER BY ALL"))
    assert rows[0] == rows[1]
    assert len(rows[0]) == len(of_points)


def fill(message: Any, randomness: Random, encoding: Encoding, depth: int = 0) -> None:
    """Set random fields of any message to random values, extreme ones among them."""
    for field in message.DESCRIPTOR.fields:
        if randomness.random() < 0.3 or depth > 12:
            continue
        if field.message_type is None:
            values = [random_scalar(field, randomness, encoding) for _ in range(randomness.randrange(3))]
            if field.is_repeated:
                getattr(message, field.name).extend(values)
            elif values:
                setattr(message, field.name, values[0])
        elif field.is_repeated:
            for _ in range(randomness.randrange(3)):
                fill(getattr(message, field.name).add(), randomness, encoding, depth + 1)
        else:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), randomness, encoding, depth + 1)


def random_scalar(field: Any, randomness: Random, encoding: Encoding) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        # OTLP/JSON has ids of the right length, or none.
        length = randomness.randrange(20)
        if encoding == "json" and field.name.endswith("_id"):
            length = (16 if field.name == "trace_id" else 8) * (length % 2)
        noise = randomness.randbytes(length)
        return noise if field.type == field.TYPE_BYTES else noise.decode("utf-8", errors="replace")
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return randomness.choice([0.0, -1.5, math.nan, math.inf, -math.inf, 1e308, 5e-324, randomness.gauss(0, 1e6)])
    if field.cpp_type == field.CPPTYPE_BOOL:
        return randomness.random() < 0.5
    bits = 64 if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else 32
    unsigned = field.cpp_type in (field.CPPTYPE_UINT64, field.CPPTYPE_UINT32)
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if encoding == "json":  # counts are refused from 2^63 on
        high = min(high, 2**63 - 1)
    return randomness.choice([low, high, 0, 1, randomness.randint(low, high)])


TIMES = {
    "traces": ("start_time_unix_nano", "end_time_unix_nano"),
    "metrics": ("time_unix_nano",),
    "logs": ("time_unix_nano", "observed_time_unix_nano"),
}


@pytest.mark.parametrize("signal", REQUESTS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(randomness=st.randoms(use_true_random=False))
def test_whatever_the_door_accepts_the_engine_can_store(
    store: Store, signal: str, encoding: Encoding, randomness: Random
) -> None:
    request = REQUESTS[signal]()
    fill(request, randomness, encoding)
    accepted = TimeRange(NOW - 30 * 86_400 * 10**9, NOW)
    for resource in getattr(request, f"resource_{'spans' if signal == 'traces' else signal}"):
        for item in timed_items(resource, signal):
            if randomness.random() < 0.8:  # else it may be out of time, and be taken out
                for name in TIMES[signal]:
                    setattr(item, name, randomness.randint(accepted.oldest_unix_ns, accepted.newest_unix_ns))
    payload = encoded(signal, request.SerializeToString(), encoding)
    checked = CHECKS[signal](payload, accepted, encoding)
    for table in checked.items:
        token = f"any-{table}-{hash(checked.payload)}"
        store.load_otlp(table, checked.payload, token=token, form="plain" if checked.is_plain else encoding)


def timed_items(resource: Any, signal: str) -> list[Any]:
    if signal == "traces":
        return [span for scope in resource.scope_spans for span in scope.spans]
    if signal == "logs":
        return [record for scope in resource.scope_logs for record in scope.log_records]
    metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics if metric.WhichOneof("data")]
    return [point for metric in metrics for point in getattr(metric, metric.WhichOneof("data")).data_points]
