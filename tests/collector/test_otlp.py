"""Bodies become checked requests: unpacked within a limit, parsed, counted, and freed of what is out of time."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from collector.errors import TooLargeError, UndecodableError
from collector.otlp import CheckedRequest, TimeRange, checked_metrics, checked_traces
from storage.otlp import Encoding
from tests.collector.payloads import SECOND_NS, gauge_request, trace_request
from tests.scenarios.otlp_doors import to_json

NOW = 1_795_000_000_000_000_000
DAY_NS = 86_400 * SECOND_NS
Check = Callable[[bytes, TimeRange], CheckedRequest]

ACCEPTED = TimeRange(NOW - 30 * DAY_NS, NOW + 600 * SECOND_NS)


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_what_items_carry_is_told_and_bounded(encoding: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ExportTraceServiceRequest.FromString(trace_request(NOW, spans=5))
    request.resource_spans[0].resource.attributes.add(key="process.command_args").value.string_value = "x" * 10_000
    payload = request.SerializeToString() if encoding == "protobuf" else to_json(request)
    assert 50_000 < checked_traces(payload, ACCEPTED, encoding).carried_bytes < 60_000
    monkeypatch.setattr("collector.otlp._CARRIED_BYTES_MAX", 50_000)
    with pytest.raises(TooLargeError, match="5 items carry up to"):
        checked_traces(payload, ACCEPTED, encoding)


@pytest.mark.parametrize("kind", ["arrayValue", "kvlistValue"])
def test_json_values_that_are_nested_too_deep_are_told_as_such(kind: str) -> None:
    inner = '{"intValue":1}'
    for _ in range(150):
        values = inner if kind == "arrayValue" else f'{{"key":"a","value":{inner}}}'
        inner = f'{{"{kind}":{{"values":[{values}]}}}}'
    payload = f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"a","startTimeUnixNano":"{NOW}",'
    payload += f'"attributes":[{{"key":"deep","value":{inner}}}]}}]}}]}}]}}'
    with pytest.raises(UndecodableError, match="nested too deep"):
        checked_traces(payload.encode(), ACCEPTED, "json")


@pytest.mark.parametrize("second", ["[]", "{}"])
def test_a_key_that_comes_twice_in_json_is_refused_without_a_defect(second: str) -> None:
    payload = f'{{"resourceSpans":[{{"resource":5}}],"resourceSpans":{second}}}'
    with pytest.raises(UndecodableError):
        checked_traces(payload.encode(), ACCEPTED, "json")


def test_a_request_with_nothing_wrong_stays_as_it_is_byte_for_byte() -> None:
    payload = trace_request(NOW, spans=3)
    checked = checked_traces(payload, ACCEPTED)
    assert checked.payload is payload
    assert checked.items == {"otel_traces": 3}
    assert checked.rejections.total == 0


@pytest.mark.parametrize("check", [checked_traces, checked_metrics])
def test_an_empty_request_holds_nothing(check: Check) -> None:
    assert check(b"", ACCEPTED).items == {}


@pytest.mark.parametrize("check", [checked_traces, checked_metrics])
@given(payload=st.binary(min_size=1, max_size=64))
def test_any_bytes_are_a_request_or_undecodable(check: Check, payload: bytes) -> None:
    with suppress(UndecodableError):
        check(payload, ACCEPTED)


def test_text_that_is_not_utf_8_is_undecodable() -> None:
    payload = trace_request(NOW).replace(b"llm_request", b"llm\xff\xferequest"[:11])
    with pytest.raises(UndecodableError, match="ExportTraceServiceRequest"):
        checked_traces(payload, ACCEPTED)


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (NOW - 31 * DAY_NS, NOW, "too_old"),
        (0, NOW, "too_old"),
        (NOW + 601 * SECOND_NS, NOW + 601 * SECOND_NS, "in_future"),
        (NOW, NOW + 601 * SECOND_NS, "in_future"),
        (2**64 - 1, 2**64 - 1, "in_future"),
    ],
)
def test_a_span_out_of_time_is_taken_out_and_the_rest_stays(start: int, end: int, reason: str) -> None:
    request = ExportTraceServiceRequest.FromString(trace_request(NOW, spans=2))
    request.MergeFromString(trace_request(NOW, start_unix_ns=start, end_unix_ns=end))
    checked = checked_traces(request.SerializeToString(), ACCEPTED)
    assert checked.items == {"otel_traces": 2}
    assert checked.rejections.counts == {reason: 1}
    assert "'llm_request'" in checked.rejections.message
    assert "accepted are times from 2026-10" in checked.rejections.message
    assert checked_traces(checked.payload, ACCEPTED).items == {"otel_traces": 2}


def test_times_at_the_edges_are_accepted() -> None:
    payload = trace_request(NOW, start_unix_ns=ACCEPTED.oldest_unix_ns, end_unix_ns=ACCEPTED.newest_unix_ns)
    assert checked_traces(payload, ACCEPTED).rejections.total == 0


def test_an_end_before_its_start_is_kept_and_counted() -> None:
    checked = checked_traces(trace_request(NOW, start_unix_ns=NOW, end_unix_ns=NOW - 1), ACCEPTED)
    assert checked.items == {"otel_traces": 1}
    assert checked.ends_before_start == 1


@pytest.mark.parametrize(("time", "reason"), [(0, "too_old"), (NOW + DAY_NS, "in_future")])
def test_a_data_point_out_of_time_is_taken_out_and_the_rest_stays(time: int, reason: str) -> None:
    request = ExportMetricsServiceRequest.FromString(gauge_request(NOW, points=3))
    request.MergeFromString(gauge_request(time, metric="skewed", points=2))
    checked = checked_metrics(request.SerializeToString(), ACCEPTED)
    assert checked.items == {"otel_metrics_gauge": 3}
    assert checked.rejections.counts == {reason: 2}
    assert "'skewed'" in checked.rejections.message


def test_points_of_delta_sums_are_kept_and_counted() -> None:
    request = ExportMetricsServiceRequest.FromString(gauge_request(NOW, points=3))
    for temporality, points in ((1, 2), (2, 4)):
        sums = request.resource_metrics[0].scope_metrics[0].metrics.add(name="c").sum
        sums.aggregation_temporality = temporality
        for _ in range(points):
            sums.data_points.add(time_unix_nano=NOW, as_double=1)
    checked = checked_metrics(request.SerializeToString(), ACCEPTED)
    assert checked.items == {"otel_metrics_gauge": 3, "otel_metrics_sum": 6}
    assert checked.delta_points == 2
    assert checked_metrics(to_json(request), ACCEPTED, "json").delta_points == 2
