"""OTLP/HTTP from outside: each answer, its status, its body, its counter."""

import asyncio
import gzip
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.intake import Intake
from collector.receiver import OtlpHttpReceiver
from collector.settings import AcceptedTimes, OtlpHttpSettings, WalSettings
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog, read_segment, segments_in
from tests.collector.payloads import gauge_request, trace_request

PROTOBUF = {"content-type": "application/x-protobuf"}
GZIP = PROTOBUF | {"content-encoding": "gzip"}
LIMIT = 100_000
INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE = 3, 5, 8, 12, 14

Post = Callable[..., httpx.Response]


@pytest.fixture
def wal(tmp_path: Path, telemetry: Telemetry) -> Iterator[WriteAheadLog]:
    log = WriteAheadLog(tmp_path, WalSettings(segment_age_s=3600, backlog_bytes_max=50_000), telemetry)
    yield log
    log.close()


@pytest.fixture
def receiver(wal: WriteAheadLog, telemetry: Telemetry) -> Iterator[OtlpHttpReceiver]:
    app = OtlpHttpReceiver(Intake(wal, AcceptedTimes(), telemetry), OtlpHttpSettings(body_bytes_max=LIMIT), telemetry)
    yield app
    app.close()


@pytest.fixture
def post(receiver: OtlpHttpReceiver) -> Post:
    def send(
        body: bytes, path: str = "/v1/traces", headers: Mapping[str, str] = PROTOBUF, method: str = "POST"
    ) -> httpx.Response:
        async def request() -> httpx.Response:
            transport = httpx.ASGITransport(receiver)
            async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
                return await client.request(method, path, content=body, headers=headers)

        return asyncio.run(request())

    return send


def status(answer: httpx.Response) -> Status:
    assert answer.headers["content-type"] == "application/x-protobuf"
    return Status.FromString(answer.content)


@pytest.mark.parametrize("headers", [PROTOBUF, GZIP, {"content-type": "application/x-protobuf; charset=utf-8"}])
def test_spans_are_acknowledged_when_they_are_in_the_log(
    post: Post, tmp_path: Path, counted: Callable[..., float], headers: Mapping[str, str]
) -> None:
    payload = trace_request(time.time_ns(), spans=3)
    answer = post(gzip.compress(payload) if headers is GZIP else payload, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"
    (segment,) = segments_in(tmp_path)
    (frame,) = read_segment(segment).frames
    assert frame.payload == payload
    assert counted("accepted_items_total", table="otel_traces") == 3
    assert counted("requests_total", signal="traces", code="200") == 1


def test_data_points_are_acknowledged_too(post: Post, counted: Callable[..., float]) -> None:
    assert post(gauge_request(time.time_ns(), points=5), "/v1/metrics").status_code == 200
    assert counted("accepted_items_total", table="otel_metrics_gauge") == 5


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/traces/"])
def test_an_empty_request_is_a_success(post: Post, tmp_path: Path, path: str) -> None:
    assert post(b"", path).status_code == 200
    assert segments_in(tmp_path) == []


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"start_unix_ns": 1_000_000_000}, "too_old"),
        ({"end_unix_ns": 2**62}, "in_future"),
    ],
)
def test_spans_out_of_time_are_a_partial_success(
    post: Post, counted: Callable[..., float], times: dict[str, Any], reason: str
) -> None:
    answer = post(trace_request(time.time_ns(), spans=2, **times))
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 2
    assert reason.replace("_", " ") in partial.error_message
    assert counted("rejected_items_total", signal="traces", reason=reason) == 2
    assert counted("accepted_items_total", table="otel_traces") == 0


def test_an_end_before_its_start_is_accepted_and_counted(post: Post, counted: Callable[..., float]) -> None:
    now = time.time_ns()
    assert post(trace_request(now, start_unix_ns=now, end_unix_ns=now - 1)).content == b""
    assert counted("spans_ending_before_start_total") == 1


BAD_REQUESTS = {
    "broken protobuf": (b"\xff" * 20, PROTOBUF, 400, "undecodable", "ExportTraceServiceRequest"),
    "truncated protobuf": (trace_request(10**18)[:-3], PROTOBUF, 400, "undecodable", "ExportTraceServiceRequest"),
    "truncated gzip": (gzip.compress(os.urandom(5000))[:-9], GZIP, 400, "undecodable", "cut off"),
    "no gzip": (b"these are no spans", GZIP, 400, "undecodable", "no gzip"),
    "gzip bomb": (gzip.compress(bytes(10 * LIMIT)), GZIP, 413, "too_large", f"over {LIMIT} bytes"),
    "over the limit": (bytes(LIMIT + 1), PROTOBUF, 413, "too_large", f"at most {LIMIT}"),
    "JSON": (b"{}", {"content-type": "application/json"}, 415, "unsupported", "send application/x-protobuf"),
    "no media type": (b"", {}, 415, "unsupported", "send application/x-protobuf"),
    "zstd": (b"", PROTOBUF | {"content-encoding": "zstd"}, 415, "unsupported", "send gzip or identity"),
}


@pytest.mark.parametrize(
    ("body", "headers", "code", "reason", "message"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys()
)
def test_a_bad_request_is_told_what_is_wrong_and_counted(
    post: Post,
    tmp_path: Path,
    counted: Callable[..., float],
    body: bytes,
    headers: Mapping[str, str],
    code: int,
    reason: str,
    message: str,
) -> None:
    answer = post(body, headers=headers)
    assert answer.status_code == code
    assert "retry-after" not in answer.headers
    assert status(answer).code == INVALID_ARGUMENT
    assert message in status(answer).message
    assert counted("refused_requests_total", signal="traces", reason=reason) == 1
    assert counted("requests_total", signal="traces", code=str(code)) == 1
    assert segments_in(tmp_path) == []


def test_another_method_is_told_what_is_allowed(post: Post) -> None:
    answer = post(b"", method="GET")
    assert (answer.status_code, answer.headers["allow"], status(answer).code) == (405, "POST", UNIMPLEMENTED)


@pytest.mark.parametrize("path", ["/v1/logs", "/", "/v1/traces/x"])
def test_another_path_is_told_what_is_served(post: Post, path: str) -> None:
    answer = post(b"", path)
    assert (answer.status_code, status(answer).code) == (404, NOT_FOUND)
    assert "/v1/traces" in status(answer).message
    assert "/v1/metrics" in status(answer).message


def test_a_full_log_asks_to_retry_later(post: Post, counted: Callable[..., float]) -> None:
    now = time.time_ns()
    answers = [post(trace_request(now, spans=200)) for _ in range(4)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    assert status(answers[-1]).code == RESOURCE_EXHAUSTED
    refused = sum(answer.status_code == 429 for answer in answers)
    assert counted("refused_requests_total", signal="traces", reason="backlog_full") == refused
    assert counted("accepted_items_total", table="otel_traces") == 200 * (4 - refused)


def test_a_disk_that_cannot_be_written_asks_to_retry_later(
    post: Post, counted: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing_sync(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", failing_sync)
    answer = post(trace_request(time.time_ns()))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert status(answer).code == UNAVAILABLE
    assert "No space left on device" in status(answer).message
    assert counted("refused_requests_total", signal="traces", reason="log_unavailable") == 1
    assert counted("accepted_items_total", table="otel_traces") == 0


def speak(receiver: OtlpHttpReceiver, scope: dict[str, Any], *events: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends when it is sent these events."""
    sent: list[dict[str, Any]] = []
    waiting = list(events)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(event: Any) -> None:
        sent.append(dict(event))

    asyncio.run(receiver(scope, receive, send))
    return sent


HTTP = {
    "type": "http",
    "method": "POST",
    "path": "/v1/traces",
    "headers": [(b"content-type", b"application/x-protobuf")],
}


def test_a_sender_that_goes_away_amid_its_body_leaves_nothing(
    receiver: OtlpHttpReceiver, tmp_path: Path, counted: Callable[..., float]
) -> None:
    half = {"type": "http.request", "body": trace_request(time.time_ns())[:20], "more_body": True}
    assert speak(receiver, HTTP, half, {"type": "http.disconnect"}) == []
    assert counted("refused_requests_total", signal="traces", reason="disconnected") == 1
    assert segments_in(tmp_path) == []


def test_a_body_in_pieces_is_one_body(receiver: OtlpHttpReceiver, counted: Callable[..., float]) -> None:
    payload = trace_request(time.time_ns(), spans=9)
    pieces = [{"type": "http.request", "body": payload[at : at + 50], "more_body": True} for at in range(0, 400, 50)]
    end = {"type": "http.request", "body": payload[400:]}
    assert speak(receiver, HTTP, *pieces, end)[0]["status"] == 200
    assert counted("accepted_items_total", table="otel_traces") == 9


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_over_the_limit(receiver: OtlpHttpReceiver) -> None:
    piece = {"type": "http.request", "body": bytes(LIMIT // 2 + 1), "more_body": True}
    assert speak(receiver, HTTP, piece, piece)[0]["status"] == 413
