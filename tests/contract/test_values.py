"""Values as the exporter writes them: how kinds, ids, numbers and what is absent become text and columns."""

import math
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.contract.conftest import Ask, Load
from tests.contract.payloads import SECOND_NS, T0_NS, T0_S, gauge, metrics, point, span, traces


def test_span_kinds_are_words(load: Load, ask: Ask) -> None:
    kinds = [0, 1, 2, 3, 4, 5, 99]
    spans = [Span(name=str(kind), kind=kind, start_time_unix_nano=T0_NS) for kind in kinds]  # type: ignore[arg-type]
    load("otel_traces", traces(*spans))
    assert dict(ask("SELECT SpanName, SpanKind FROM otel_traces")) == {
        "0": "Unspecified",
        "1": "Internal",
        "2": "Server",
        "3": "Client",
        "4": "Producer",
        "5": "Consumer",
        "99": "Unspecified",
    }


def test_status_codes_are_words(load: Load, ask: Ask) -> None:
    spans = [span(str(code), status=Status(code=code)) for code in (0, 1, 2, 77)]  # type: ignore[arg-type]
    load("otel_traces", traces(*spans, span("none")))
    assert dict(ask("SELECT SpanName, StatusCode FROM otel_traces")) == {
        "0": "Unset",
        "1": "Ok",
        "2": "Error",
        "77": "Unset",
        "none": "Unset",
    }


def test_ids_are_lower_case_hex_and_empty_when_absent(load: Load, ask: Ask) -> None:
    spans = [
        Span(name="with", trace_id=b"\xab" * 16, span_id=b"\xcd" * 8, parent_span_id=b"\xef" * 8),
        Span(name="without", links=[Span.Link(trace_state="t=1")]),
    ]
    load("otel_traces", traces(*spans))
    assert ask(
        "SELECT TraceId, SpanId, ParentSpanId, Links.TraceId, Links.SpanId FROM otel_traces ORDER BY SpanName"
    ) == [
        ("ab" * 16, "cd" * 8, "ef" * 8, [], []),
        ("", "", "", [""], [""]),
    ]


def test_exemplar_ids_are_zeros_when_absent(load: Load, ask: Ask) -> None:
    exemplars = [
        Exemplar(time_unix_nano=T0_NS, as_double=1.0),
        Exemplar(time_unix_nano=T0_NS, as_int=2, trace_id=b"\xab" * 16, span_id=b"\xcd" * 8),
    ]
    load("otel_metrics_gauge", metrics(gauge("g", point(1.0, exemplars=exemplars))))
    assert ask("SELECT Exemplars.TraceId, Exemplars.SpanId, Exemplars.Value FROM otel_metrics_gauge") == [
        (["0" * 32, "ab" * 16], ["0" * 16, "cd" * 8], [1.0, 2.0])
    ]


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "duration_ns"),
    [
        (T0_NS, T0_NS + 5, 5),
        (T0_NS, T0_NS, 0),
        (T0_NS, T0_NS - 191_305, 0),  # upstream wraps this to 2^64 - 191305
        (T0_NS, 0, 0),
        (1, 2**63, 2**63 - 1),
    ],
)
def test_a_span_that_ends_before_it_starts_lasts_0_ns(
    load: Load, ask: Ask, start_ns: int, end_ns: int, duration_ns: int
) -> None:
    sent = Span(name="a", start_time_unix_nano=start_ns, end_time_unix_nano=end_ns)
    load("otel_traces", traces(sent))
    assert ask("SELECT Duration FROM otel_traces") == [(duration_ns,)]


TEXTS: dict[str, tuple[Any, str]] = {
    "text": ('it\'s \\ "quoted" \t\n 模型 💥', 'it\'s \\ "quoted" \t\n 模型 💥'),
    "empty text": ("", ""),
    "not set": (None, ""),
    "true": (True, "true"),
    "false": (False, "false"),
    "zero": (0, "0"),
    "negative": (-1, "-1"),
    "largest integer": (2**63 - 1, "9223372036854775807"),
    "smallest integer": (-(2**63), "-9223372036854775808"),
    "2^62": (2**62, "4611686018427387904"),
    "whole double": (1.0, "1"),
    "zero double": (0.0, "0"),
    "fraction": (0.7, "0.7"),
    "smallest plain": (1e-6, "0.000001"),
    "below plain": (1e-7, "1e-7"),
    "far below": (-2.5e-300, "-2.5e-300"),
    "largest plain": (1e20, "100000000000000000000"),
    "shortest digits": (1.2345678901234568e20, "123456789012345680000"),
    "above plain": (1e21, "1e+21"),
    "far above": (-1.5e300, "-1.5e+300"),
    "not a number": (math.nan, "NaN"),
    "infinite": (math.inf, "Infinity"),
    "infinite below": (-math.inf, "-Infinity"),
    "bytes": (b"\x00\xff\x10", "AP8Q"),
    "no bytes": (b"", ""),
}


def test_attribute_values_become_text_as_the_exporter_writes_them(load: Load, ask: Ask) -> None:
    values = {name: value for name, (value, _) in TEXTS.items()}
    resource = {"service.name": "chat"} | values
    load("otel_traces", traces(span(attributes=values), resource=resource))
    expected = {name: text for name, (_, text) in TEXTS.items()}
    assert ask("SELECT SpanAttributes, ResourceAttributes FROM otel_traces") == [
        (expected, {"service.name": "chat"} | expected)
    ]


def test_the_service_is_empty_when_the_resource_names_none(load: Load, ask: Ask) -> None:
    load("otel_traces", traces(span(), resource={"host.name": "gpu-07"}))
    assert ask("SELECT ServiceName FROM otel_traces") == [("",)]


def test_times_keep_their_nanoseconds_in_traces_and_their_seconds_in_metrics(load: Load, ask: Ask) -> None:
    late_ns = T0_NS + SECOND_NS - 1
    load("otel_traces", traces(span(start_ns=late_ns)))
    load("otel_metrics_gauge", metrics(gauge("g", point(1.0, time_ns=late_ns))))
    assert ask("SELECT toUnixTimestamp64Nano(Timestamp) FROM otel_traces") == [(late_ns,)]
    assert ask("SELECT toUnixTimestamp(TimeUnix), toUnixTimestamp(StartTimeUnix) FROM otel_metrics_gauge") == [
        (T0_S, 0)
    ]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(17, 17.0), (-3, -3.0), (2**53 + 1, 2.0**53), (0.25, 0.25), (None, 0.0), (math.inf, math.inf)],
)
def test_a_number_is_a_double_and_0_when_unset(load: Load, ask: Ask, sent: float | None, stored: float) -> None:
    load("otel_metrics_gauge", metrics(gauge("g", point(sent))))
    assert ask("SELECT Value FROM otel_metrics_gauge") == [(stored,)]


def test_not_a_number_stays_not_a_number(load: Load, ask: Ask) -> None:
    load("otel_metrics_gauge", metrics(gauge("g", point(math.nan))))
    assert ask("SELECT isNaN(Value) FROM otel_metrics_gauge") == [(1,)]


def test_what_a_histogram_does_not_say_is_0_in_the_exporters_table(load: Load, ask: Ask) -> None:
    plain, exponential = Metric(name="h"), Metric(name="e")
    plain.histogram.data_points.append(HistogramDataPoint(time_unix_nano=T0_NS, count=3))
    exponential.exponential_histogram.data_points.append(ExponentialHistogramDataPoint(time_unix_nano=T0_NS, count=3))
    for table in ("otel_metrics_histogram", "otel_metrics_exponential_histogram"):
        load(table, metrics(plain, exponential))
    assert ask("SELECT Count, Sum, Min, Max, BucketCounts, ExplicitBounds FROM otel_metrics_histogram") == [
        (3, 0.0, 0.0, 0.0, [], [])
    ]
    assert ask(
        "SELECT Count, Sum, Min, Max, Scale, PositiveBucketCounts, NegativeBucketCounts "
        "FROM otel_metrics_exponential_histogram"
    ) == [(3, 0.0, 0.0, 0.0, 0, [], [])]


def test_metric_names_keep_their_capitals(load: Load, ask: Ask) -> None:
    names = ["DCGM_FI_DEV_FB_USED", "dcgm_fi_dev_fb_used", "vllm:num_requests_waiting"]
    load("otel_metrics_gauge", metrics(*(gauge(name, point(1.0)) for name in names)))
    assert ask("SELECT MetricName FROM otel_metrics_gauge ORDER BY 1") == [(name,) for name in names]
