"""What senders are answered: codes, details, partial successes, in both encodings."""

import json
from typing import Any

import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.answers import encoded, refusal_of, response_body
from collector.errors import (
    BacklogFullError,
    CollectorError,
    LogUnavailableError,
    OverloadedError,
    StalledError,
    TooLargeError,
    UnauthenticatedError,
    UndecodableError,
    UnsupportedError,
)

REFUSALS = [
    (UndecodableError("x"), 400, "INVALID_ARGUMENT"),
    (UnauthenticatedError("x"), 401, "UNAUTHENTICATED"),
    (StalledError("x"), 503, "DEADLINE_EXCEEDED"),
    (TooLargeError("x"), 413, "RESOURCE_EXHAUSTED"),
    (UnsupportedError("x"), 415, "INVALID_ARGUMENT"),
    (OverloadedError("x"), 429, "RESOURCE_EXHAUSTED"),
    (BacklogFullError("x"), 429, "RESOURCE_EXHAUSTED"),
    (LogUnavailableError("x"), 503, "UNAVAILABLE"),
    (RuntimeError("a secret"), 500, "INTERNAL"),
]


@pytest.mark.parametrize(("error", "http_status", "code"), REFUSALS, ids=lambda value: type(value).__name__)
def test_each_error_has_an_http_status_and_a_code(error: Exception, http_status: int, code: str) -> None:
    refusal = refusal_of(error)
    assert (refusal.http_status, Code.Name(refusal.code)) == (http_status, code)  # type: ignore[arg-type]
    assert "secret" not in refusal.message


@pytest.mark.parametrize(("error", "http_status"), [row[:2] for row in REFUSALS], ids=str)
def test_only_what_may_succeed_later_asks_to_retry(error: Exception, http_status: int) -> None:
    refusal = refusal_of(error)
    retryable = isinstance(error, CollectorError) and error.retryable
    assert retryable == (http_status in {429, 502, 503, 504}), "OTLP/HTTP knows these codes only"
    details = refusal.status().details
    assert len(details) == retryable
    for detail in details:
        retry = RetryInfo()
        assert detail.Unpack(retry)
        assert retry.retry_delay.seconds > 0


def test_a_status_in_json_is_that_of_protobuf() -> None:
    document = json.loads(encoded(refusal_of(BacklogFullError("full")).status(), "json"))
    assert document["code"] == 8
    assert document["message"] == "full"
    (detail,) = document["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.RetryInfo"


RESPONSES = [
    ("traces", ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    ("metrics", ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints"),
    ("logs", ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
]


@pytest.mark.parametrize(("signal", "response_type", "field", "json_name"), RESPONSES)
def test_rejected_items_are_told_with_the_reason(signal: str, response_type: Any, field: str, json_name: str) -> None:
    partial = response_type.FromString(response_body(signal, "protobuf", 3, "too old")).partial_success
    assert (getattr(partial, field), partial.error_message) == (3, "too old")
    assert json.loads(response_body(signal, "json", 3, "too old")) == {
        "partialSuccess": {json_name: "3", "errorMessage": "too old"}
    }


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_a_whole_success_says_nothing(signal: str) -> None:
    assert response_body(signal, "protobuf") == b""
    assert response_body(signal, "json") == b"{}"


def test_a_warning_rejects_nothing() -> None:
    assert json.loads(response_body("traces", "json", 0, "look")) == {"partialSuccess": {"errorMessage": "look"}}
    partial = ExportTraceServiceResponse.FromString(response_body("traces", "protobuf", 0, "look")).partial_success
    assert (partial.rejected_spans, partial.error_message) == (0, "look")


@pytest.mark.parametrize("character", ["a", "é", "模", "💥", "\ud800", "\x00"])
def test_no_message_makes_an_answer_large(character: str) -> None:
    message = character * 5_000_000
    assert len(response_body("traces", "protobuf", 1, message)) < 1100
    status = Status.FromString(encoded(refusal_of(UndecodableError(message)).status(), "protobuf"))
    assert len(status.message.encode()) < 1100
