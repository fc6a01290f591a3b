"""Requests taken apart: each item once, with all that stands around it, at its own time."""

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.items import items_apart
from tests.collector.payloads import trace_request
from tests.collector.test_values import every_metric_kind

NOW = 1_795_000_000_000_000_000
KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


def joined(payloads: list[bytes]) -> bytes:
    return b"".join(payloads)


def test_spans_apart_are_the_spans_together_with_their_resource_and_scope() -> None:
    payload = joined([trace_request(NOW + number, spans=number, attributes={"n": number}) for number in (1, 3)])
    items = items_apart("traces", "protobuf", "otel_traces", payload)
    whole = ExportTraceServiceRequest.FromString(payload)
    spans = [span for resource in whole.resource_spans for span in resource.scope_spans[0].spans]
    assert [item.time_unix_ns for item in items] == [span.start_time_unix_nano for span in spans]
    for item, span in zip(items, spans, strict=True):
        (resource,) = ExportTraceServiceRequest.FromString(item.payload).resource_spans
        assert resource.resource == whole.resource_spans[0].resource
        assert list(resource.scope_spans[0].spans) == [span]


@pytest.mark.parametrize("kind", KINDS)
def test_points_apart_are_those_of_their_table_with_all_of_their_metric(kind: str) -> None:
    whole = every_metric_kind()
    metrics = [
        metric
        for resource in whole.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.WhichOneof("data") == kind
    ]
    items = items_apart("metrics", "protobuf", f"otel_metrics_{kind}", whole.SerializeToString())
    parts = [ExportMetricsServiceRequest.FromString(item.payload) for item in items]
    apart = [part.resource_metrics[0].scope_metrics[0].metrics[0] for part in parts]
    assert len(apart) == sum(len(getattr(metric, kind).data_points) for metric in metrics) > 0
    position = 0
    for metric in metrics:
        for point in getattr(metric, kind).data_points:
            expected = type(metric)()
            expected.CopyFrom(metric)
            del getattr(expected, kind).data_points[:]
            getattr(expected, kind).data_points.append(point)
            assert apart[position] == expected
            assert items[position].time_unix_ns == point.time_unix_nano
            position += 1


def test_a_log_record_without_a_time_is_of_when_it_was_observed() -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add(time_unix_nano=5, observed_time_unix_nano=9)
    records.add(observed_time_unix_nano=9)
    items = items_apart("logs", "protobuf", "otel_logs", request.SerializeToString())
    assert [item.time_unix_ns for item in items] == [5, 9]


def test_json_is_taken_apart_like_protobuf() -> None:
    resource: dict[str, Any] = {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "chat"}}]}}
    points = [{"timeUnixNano": "7", "asInt": 1}, {"timeUnixNano": 8, "asDouble": 2.5}]
    total = {"name": "total", "sum": {"dataPoints": points, "isMonotonic": True}}
    level = {"name": "level", "gauge": {"dataPoints": points[:1]}}
    document = {"resourceMetrics": [resource | {"scopeMetrics": [{"scope": {"name": "s"}, "metrics": [total, level]}]}]}
    items = items_apart("metrics", "json", "otel_metrics_sum", json.dumps(document).encode())
    assert [item.time_unix_ns for item in items] == [7, 8]
    for item, point in zip(items, points, strict=True):
        one = total | {"sum": {"dataPoints": [point], "isMonotonic": True}}
        assert json.loads(item.payload) == {
            "resourceMetrics": [resource | {"scopeMetrics": [{"scope": {"name": "s"}, "metrics": [one]}]}]
        }


def test_json_spans_and_records_are_taken_apart() -> None:
    spans = [{"startTimeUnixNano": "3", "name": "a"}, {"name": "b"}]
    document = {"resourceSpans": [{"scopeSpans": [{"spans": spans}, {"spans": None}]}, {}]}
    items = items_apart("traces", "json", "otel_traces", json.dumps(document).encode())
    assert [item.time_unix_ns for item in items] == [3, 0]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"observedTimeUnixNano": "4"}]}]}]}
    assert [item.time_unix_ns for item in items_apart("logs", "json", "otel_logs", json.dumps(logs).encode())] == [4]


@pytest.mark.parametrize("payload", [b"\xff\xff", b"[1]", b"{", b'{"resourceSpans":[3]}', b"[" * 9999])
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_what_is_no_request_is_not_taken_apart(payload: bytes, encoding: Any) -> None:
    assert items_apart("traces", encoding, "otel_traces", payload) == []
