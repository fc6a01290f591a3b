"""OTLP/HTTP from outside: each answer, its status, its body, its counter."""

import asyncio
import gzip
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.admission import Admission
from collector.intake import Intake
from collector.receiver import OtlpHttpReceiver, with_cors
from collector.settings import AcceptedTimes, CorsSettings, OtlpHttpSettings, WalSettings
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog, read_segment, segments_in
from tests.collector.payloads import gauge_request, trace_request

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
GZIP = PROTOBUF | {"content-encoding": "gzip"}
ZSTD = PROTOBUF | {"content-encoding": "zstd"}
LIMIT = 100_000
INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE, UNAUTHENTICATED = 3, 5, 8, 12, 14, 16

Post = Callable[..., httpx.Response]


@pytest.fixture
def wal(tmp_path: Path, telemetry: Telemetry) -> Iterator[WriteAheadLog]:
    log = WriteAheadLog(tmp_path, WalSettings(segment_age_s=3600, backlog_bytes_max=50_000), telemetry)
    yield log
    log.close()


@pytest.fixture
def admission(wal: WriteAheadLog, telemetry: Telemetry) -> Iterator[Admission]:
    shared = Admission(Intake(wal, AcceptedTimes(), telemetry), 2 * LIMIT, telemetry)
    yield shared
    shared.close()


@pytest.fixture
def receiver(admission: Admission, telemetry: Telemetry) -> OtlpHttpReceiver:
    return OtlpHttpReceiver(admission, OtlpHttpSettings(body_bytes_max=LIMIT, body_timeout_s=0.2), telemetry)


def ask(
    app: Any, body: bytes, path: str = "/v1/traces", headers: Mapping[str, str] = PROTOBUF, method: str = "POST"
) -> httpx.Response:
    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
            return await client.request(method, path, content=body, headers=headers)

    return asyncio.run(request())


@pytest.fixture
def post(receiver: OtlpHttpReceiver) -> Post:
    return partial(ask, receiver)


def status(answer: httpx.Response) -> Status:
    if answer.headers["content-type"] == "application/json":
        return json_format.Parse(answer.content, Status())
    assert answer.headers["content-type"] == "application/x-protobuf"
    return Status.FromString(answer.content)


PACKED: dict[str, tuple[Mapping[str, str], Callable[[bytes], bytes]]] = {
    "plain": (PROTOBUF, bytes),
    "with a charset": ({"content-type": "application/x-protobuf; charset=utf-8"}, bytes),
    "in capitals": ({"content-type": "Application/X-Protobuf", "content-encoding": "GZIP"}, gzip.compress),
    "identity": (PROTOBUF | {"content-encoding": "identity"}, bytes),
    "gzip": (GZIP, gzip.compress),
    "zstd": (ZSTD, zstd.compress),
    "deflate": (PROTOBUF | {"content-encoding": "deflate"}, zlib.compress),
}


@pytest.mark.parametrize(("headers", "pack"), PACKED.values(), ids=PACKED)
def test_spans_are_acknowledged_when_they_are_in_the_log(
    post: Post,
    tmp_path: Path,
    counted: Callable[..., float],
    headers: Mapping[str, str],
    pack: Callable[[bytes], bytes],
) -> None:
    payload = trace_request(time.time_ns(), spans=3)
    answer = post(pack(payload), headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"
    (segment,) = segments_in(tmp_path)
    (frame,) = read_segment(segment).frames
    assert frame.payload == payload
    assert counted("accepted_items_total", table="otel_traces") == 3
    assert counted("requests_total", signal="traces", code="200") == 1


@pytest.mark.parametrize("spans", [1, 100, 1000], ids=lambda spans: f"{spans} spans")
def test_small_and_large_bodies_are_taken_alike(
    wal: WriteAheadLog, telemetry: Telemetry, tmp_path: Path, counted: Callable[..., float], spans: int
) -> None:
    """Small ones are checked on the event loop, large ones (also of few packed bytes) in a worker."""
    admission = Admission(Intake(wal, AcceptedTimes(), telemetry), 1 << 20, telemetry)
    receiver = OtlpHttpReceiver(admission, OtlpHttpSettings(), telemetry)
    payload = trace_request(time.time_ns(), spans=spans, attributes={"prompt": "x" * 30})
    assert ask(receiver, gzip.compress(payload), headers=GZIP).status_code == (200 if spans < 1000 else 429)
    assert ask(receiver, b"\xff" * len(payload)).status_code == 400
    assert counted("in_flight_bytes") == 0
    admission.close()


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
    "no zstd": (b"these are no spans", ZSTD, 400, "undecodable", "no zstd"),
    "gzip bomb": (gzip.compress(bytes(10 * LIMIT)), GZIP, 413, "too_large", f"over {LIMIT} bytes"),
    "zstd bomb": (zstd.compress(bytes(100 * LIMIT)), ZSTD, 413, "too_large", f"over {LIMIT} bytes"),
    "over the limit": (bytes(LIMIT + 1), PROTOBUF, 413, "too_large", f"at most {LIMIT}"),
    "no JSON": (b"{", JSON, 400, "undecodable", ""),
    "text": (b"{}", {"content-type": "text/plain"}, 415, "unsupported", "application/x-protobuf or application/json"),
    "no media type": (b"", {}, 415, "unsupported", "application/x-protobuf or application/json"),
    "brotli": (b"", PROTOBUF | {"content-encoding": "br"}, 415, "unsupported", "send gzip, zstd, deflate, identity"),
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
    assert status(answer).code == (RESOURCE_EXHAUSTED if code == 413 else INVALID_ARGUMENT)
    assert not status(answer).details, "nothing says that it could succeed later"
    assert message in status(answer).message
    assert counted("refused_requests_total", signal="traces", reason=reason) == 1
    assert counted("requests_total", signal="traces", code=str(code)) == 1
    assert counted("in_flight_bytes") == 0
    assert segments_in(tmp_path) == []


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("application/x-protobuf", "application/x-protobuf"),
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("text/plain", "application/json"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [("POST", "/v1/traces", b"\xff", 400), ("GET", "/v1/traces", b"", 405), ("POST", "/v1/spans", b"", 404)],
)
def test_an_answer_is_in_the_encoding_of_its_request_and_else_in_json(
    post: Post, sent: str, answered: str, method: str, path: str, body: bytes, code: int
) -> None:
    answer = post(body, path, {"content-type": sent}, method)
    assert answer.status_code == (415 if sent == "text/plain" and code == 400 else code)
    assert answer.headers["content-type"] == answered
    assert status(answer).message


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/logs"])
@pytest.mark.parametrize(("headers", "empty"), [(PROTOBUF, b""), (JSON, b"{}")])
def test_a_success_is_an_empty_message(post: Post, path: str, headers: Mapping[str, str], empty: bytes) -> None:
    answer = post(empty, path, headers)
    assert (answer.status_code, answer.content) == (200, empty)
    assert answer.headers["content-type"] == headers["content-type"]


def test_a_partial_success_in_json_counts_in_text(post: Post) -> None:
    spans = [{"name": "old", "startTimeUnixNano": "1", "endTimeUnixNano": 2}] * 3
    answer = post(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode(), headers=JSON)
    assert answer.status_code == 200
    partial_success = answer.json()["partialSuccess"]
    assert partial_success["rejectedSpans"] == "3"
    assert "too old" in partial_success["errorMessage"]


def test_json_that_holds_no_span_anywhere_is_a_success_with_a_warning(post: Post) -> None:
    answer = post(b'{"spans": [{"name": "a"}], "resourceSpans": []}', headers=JSON)
    assert answer.status_code == 200
    assert answer.json() == {
        "partialSuccess": {
            "errorMessage": "nothing was stored: the request holds 'spans', and traces are expected in 'resourceSpans'"
        }
    }


@pytest.mark.parametrize("body", [b"{}", b'{"resourceSpans": []}', b'{"resourceSpans": [{"scopeSpans": []}]}'])
def test_json_that_says_that_it_is_empty_is_no_reason_to_warn(post: Post, body: bytes) -> None:
    assert post(body, headers=JSON).content == b"{}"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_told_what_is_allowed(post: Post, method: str) -> None:
    answer = post(b"", method=method)
    assert (answer.status_code, answer.headers["allow"], status(answer).code) == (405, "POST", UNIMPLEMENTED)


@pytest.mark.parametrize("path", ["/v1/spans", "/", "/v1/traces/x", "/v1development/profiles"])
def test_another_path_is_told_what_is_served(post: Post, path: str) -> None:
    answer = post(b"", path)
    assert (answer.status_code, status(answer).code) == (404, NOT_FOUND)
    for served in ("/v1/traces", "/v1/metrics", "/v1/logs"):
        assert served in status(answer).message


def test_a_full_log_asks_to_retry_later(post: Post, counted: Callable[..., float]) -> None:
    now = time.time_ns()
    answers = [post(trace_request(now, spans=200)) for _ in range(4)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    assert status(answers[-1]).code == RESOURCE_EXHAUSTED
    assert status(answers[-1]).details[0].Is(RetryInfo.DESCRIPTOR)
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


def test_a_body_that_does_not_come_to_its_end_is_given_up(
    receiver: OtlpHttpReceiver, counted: Callable[..., float]
) -> None:
    sent = []

    async def receive() -> dict[str, Any]:
        if sent:
            await asyncio.sleep(3600)
        sent.append("the first half")
        return {"type": "http.request", "body": b"\x0a", "more_body": True}

    answers: list[Any] = []

    async def send(event: Any) -> None:
        answers.append(event)

    asyncio.run(receiver(HTTP, receive, send))
    assert answers[0]["status"] == 503
    assert counted("refused_requests_total", signal="traces", reason="stalled") == 1
    assert counted("in_flight_bytes") == 0


def test_bodies_that_are_together_too_large_wait_and_a_lone_one_never_does(
    receiver: OtlpHttpReceiver, admission: Admission, counted: Callable[..., float]
) -> None:
    payload = trace_request(time.time_ns(), spans=9)
    with admission.hold() as another:
        another.add(2 * LIMIT + 1)
        refused = ask(receiver, payload)
        assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
        assert "retry later" in status(refused).message
    assert counted("refused_requests_total", signal="traces", reason="overloaded") == 1
    assert ask(receiver, payload).status_code == 200


# -- who may send ------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(wal: WriteAheadLog, telemetry: Telemetry) -> Iterator[OtlpHttpReceiver]:
    intake = Intake(wal, AcceptedTimes(), telemetry)
    admission = Admission(intake, LIMIT, telemetry, lambda authorization: authorization == "Bearer right")
    yield OtlpHttpReceiver(admission, OtlpHttpSettings(), telemetry)
    admission.close()


def test_a_sender_with_the_token_may_send(guarded: OtlpHttpReceiver) -> None:
    headers = PROTOBUF | {"authorization": "Bearer right"}
    assert ask(guarded, trace_request(time.time_ns()), headers=headers).status_code == 200


@pytest.mark.parametrize(("sent", "told"), [({}, "none was sent"), ({"authorization": "Bearer wrong"}, "a wrong one")])
def test_a_sender_without_the_token_is_told_how_to_send_it(
    guarded: OtlpHttpReceiver, tmp_path: Path, counted: Callable[..., float], sent: dict[str, str], told: str
) -> None:
    answer = ask(guarded, trace_request(time.time_ns()), headers=PROTOBUF | sent)
    assert (answer.status_code, status(answer).code) == (401, UNAUTHENTICATED)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert told in status(answer).message
    assert "OTEL_EXPORTER_OTLP_HEADERS" in status(answer).message
    assert counted("refused_requests_total", signal="traces", reason="unauthenticated") == 1
    assert segments_in(tmp_path) == []


# -- pages in browsers -------------------------------------------------------------------------------------------------

PAGE = "https://shop.example.com"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-team",
}


def cors(receiver: OtlpHttpReceiver, *origins: str) -> Any:
    return with_cors(receiver, CorsSettings(allowed_origins=origins, allowed_headers=("X-Team",), max_age_s=60))


def test_no_page_may_send_unless_it_is_allowed(receiver: OtlpHttpReceiver) -> None:
    app = cors(receiver)
    assert app is receiver
    answer = ask(app, b"", headers=PREFLIGHT, method="OPTIONS")
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("allowed", ["*", PAGE, "https://*.example.com", "https://shop.*"])
def test_an_allowed_page_may_send(receiver: OtlpHttpReceiver, allowed: str) -> None:
    app = cors(receiver, "https://other.example", allowed)
    asked = ask(app, b"", headers=PREFLIGHT, method="OPTIONS")
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert asked.headers["access-control-allow-methods"] == "POST"
    assert "X-Team" in asked.headers["access-control-allow-headers"]
    assert asked.headers["access-control-max-age"] == "60"
    sent = ask(app, b"{}", headers=JSON | {"origin": PAGE})
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, PAGE)
    refused = ask(app, b"{", headers=JSON | {"origin": PAGE})
    assert refused.status_code == 400
    assert refused.headers["access-control-allow-origin"] == PAGE, "a page may read why"


@pytest.mark.parametrize("origin", ["https://evil.example", "https://shop.example.com.evil.example", "null"])
def test_another_page_may_not(receiver: OtlpHttpReceiver, origin: str) -> None:
    app = cors(receiver, PAGE, "https://*.example.com")
    answer = ask(app, b"", headers=PREFLIGHT | {"origin": origin}, method="OPTIONS")
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_may_ask_before_it_shows_the_token(guarded: OtlpHttpReceiver) -> None:
    assert ask(cors(guarded, PAGE), b"", headers=PREFLIGHT, method="OPTIONS").status_code == 200
