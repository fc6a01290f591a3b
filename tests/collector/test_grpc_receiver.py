"""OTLP/gRPC from outside, by a real client: each answer, its code, its details, its counter."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_health.v1 import health_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.admission import Admission
from collector.errors import ListenError
from collector.grpc_receiver import SERVICES, OtlpGrpcReceiver
from collector.intake import Intake
from collector.settings import AcceptedTimes, OtlpGrpcSettings, WalSettings
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog, read_segment, segments_in
from tests.collector.payloads import gauge_request, trace_request

LIMIT = 100_000
SETTINGS = OtlpGrpcSettings(port=0, message_bytes_max=LIMIT)
TRACES = f"/{SERVICES['traces']}/Export"
METRICS = f"/{SERVICES['metrics']}/Export"

Metadata = Sequence[tuple[str, str]]


@pytest.fixture
def wal(tmp_path: Path, telemetry: Telemetry) -> Iterator[WriteAheadLog]:
    log = WriteAheadLog(tmp_path, WalSettings(segment_age_s=3600, backlog_bytes_max=50_000), telemetry)
    yield log
    log.close()


@pytest.fixture
def admission(wal: WriteAheadLog, telemetry: Telemetry) -> Iterator[Admission]:
    shared = Admission(Intake(wal, AcceptedTimes(), telemetry), LIMIT, telemetry)
    yield shared
    shared.close()


@pytest.fixture
def receiver(admission: Admission, telemetry: Telemetry) -> OtlpGrpcReceiver:
    return OtlpGrpcReceiver(admission, SETTINGS, telemetry)


def served(receiver: OtlpGrpcReceiver, talk: Callable[[aio.Channel], Awaitable[None]]) -> None:
    """Let a client talk to the running receiver."""

    async def serve() -> None:
        await receiver.start()
        try:
            async with aio.insecure_channel(f"127.0.0.1:{receiver.port}") as channel:
                await talk(channel)
        finally:
            await receiver.stop(0)

    asyncio.run(serve())


def export(
    receiver: OtlpGrpcReceiver,
    message: bytes,
    method: str = TRACES,
    metadata: Metadata = (),
    compression: grpc.Compression | None = None,
) -> bytes:
    """The answer to one message."""
    answers: list[bytes] = []

    async def talk(channel: aio.Channel) -> None:
        answers.append(await channel.unary_unary(method)(message, metadata=metadata, compression=compression))

    served(receiver, talk)
    return answers[0]


def refused(receiver: OtlpGrpcReceiver, message: bytes, **how: Any) -> tuple[grpc.StatusCode, Status]:
    """The code and the google.rpc.Status that refuse one message."""
    with pytest.raises(aio.AioRpcError) as caught:
        export(receiver, message, **how)
    details = dict(caught.value.trailing_metadata()).get("grpc-status-details-bin", b"")
    status = Status.FromString(details)
    if details:
        assert (status.code, status.message) == (caught.value.code().value[0], caught.value.details())
    return caught.value.code(), status


def asks_to_retry(status: Status) -> bool:
    return any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_spans_are_acknowledged_when_they_are_in_the_log(
    receiver: OtlpGrpcReceiver,
    tmp_path: Path,
    counted: Callable[..., float],
    compression: grpc.Compression | None,
) -> None:
    payload = trace_request(time.time_ns(), spans=30)
    assert export(receiver, payload, compression=compression) == b""
    (segment,) = segments_in(tmp_path)
    (frame,) = read_segment(segment).frames
    assert frame.payload == payload
    assert counted("accepted_items_total", table="otel_traces") == 30
    assert counted("requests_total", signal="traces", code="OK") == 1
    assert counted("in_flight_bytes") == 0


def test_data_points_are_acknowledged_too(receiver: OtlpGrpcReceiver, counted: Callable[..., float]) -> None:
    assert export(receiver, gauge_request(time.time_ns(), points=5), METRICS) == b""
    assert counted("accepted_items_total", table="otel_metrics_gauge") == 5


@pytest.mark.parametrize("signal", SERVICES)
def test_an_empty_request_is_a_success(receiver: OtlpGrpcReceiver, tmp_path: Path, signal: str) -> None:
    assert export(receiver, b"", f"/{SERVICES[signal]}/Export") == b""
    assert segments_in(tmp_path) == []


def test_spans_out_of_time_are_a_partial_success(receiver: OtlpGrpcReceiver) -> None:
    answer = export(receiver, trace_request(time.time_ns(), spans=2, start_unix_ns=1_000_000_000))
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    assert partial.rejected_spans == 2
    assert "too old" in partial.error_message


def test_broken_protobuf_is_an_invalid_argument(
    receiver: OtlpGrpcReceiver, tmp_path: Path, counted: Callable[..., float]
) -> None:
    code, status = refused(receiver, b"\xff" * 20)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "ExportTraceServiceRequest" in status.message
    assert not asks_to_retry(status)
    assert counted("refused_requests_total", signal="traces", reason="undecodable") == 1
    assert counted("requests_total", signal="traces", code="INVALID_ARGUMENT") == 1
    assert segments_in(tmp_path) == []


@pytest.mark.parametrize(
    ("message", "compression"),
    [(bytes(LIMIT + 1), None), (bytes(LIMIT + 1), grpc.Compression.Gzip), (bytes(1 << 26), grpc.Compression.Gzip)],
    ids=["as sent", "unpacked", "bomb"],
)
def test_a_message_over_the_limit_is_refused_for_good(
    receiver: OtlpGrpcReceiver, tmp_path: Path, message: bytes, compression: grpc.Compression | None
) -> None:
    code, status = refused(receiver, message, compression=compression)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not asks_to_retry(status)
    assert segments_in(tmp_path) == []


def test_a_full_log_asks_to_retry_later(receiver: OtlpGrpcReceiver, counted: Callable[..., float]) -> None:
    code, status = refused(receiver, trace_request(time.time_ns(), spans=900))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert asks_to_retry(status)
    assert counted("refused_requests_total", signal="traces", reason="backlog_full") == 1


def test_messages_that_are_together_too_large_wait(receiver: OtlpGrpcReceiver, admission: Admission) -> None:
    with admission.hold() as another:
        another.add(LIMIT)
        code, status = refused(receiver, trace_request(time.time_ns()))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert asks_to_retry(status)


def test_a_disk_that_cannot_be_written_asks_to_retry_later(
    receiver: OtlpGrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing_sync(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", failing_sync)
    code, status = refused(receiver, trace_request(time.time_ns()))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert asks_to_retry(status)
    assert "No space left on device" in status.message


def test_a_long_message_about_a_span_fits_into_the_trailers(receiver: OtlpGrpcReceiver) -> None:
    code, status = refused(receiver, b"\xff" + "模".encode() * 9000)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.message


@pytest.mark.parametrize(
    "method", ["/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/profiles.ProfilesService/Export"]
)
def test_another_method_is_unimplemented(receiver: OtlpGrpcReceiver, method: str) -> None:
    assert refused(receiver, b"", method=method)[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_sender_needs_the_token(
    wal: WriteAheadLog, telemetry: Telemetry, counted: Callable[..., float], tmp_path: Path
) -> None:
    admission = Admission(
        Intake(wal, AcceptedTimes(), telemetry), LIMIT, telemetry, lambda authorization: authorization == "Bearer right"
    )
    payload = trace_request(time.time_ns())
    guarded = OtlpGrpcReceiver(admission, SETTINGS, telemetry)
    for metadata in ((), (("authorization", "Bearer wrong"),)):
        code, status = refused(guarded, payload, metadata=metadata)
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert "authorization: Bearer" in status.message
        assert segments_in(tmp_path) == []
        guarded = OtlpGrpcReceiver(admission, SETTINGS, telemetry)
    assert export(guarded, payload, metadata=(("authorization", "Bearer right"),)) == b""
    assert counted("refused_requests_total", signal="traces", reason="unauthenticated") == 2
    admission.close()


def test_who_sends_is_checked_before_the_message_is_read(wal: WriteAheadLog, telemetry: Telemetry) -> None:
    admission = Admission(Intake(wal, AcceptedTimes(), telemetry), LIMIT, telemetry, lambda _: False)
    code, _ = refused(OtlpGrpcReceiver(admission, SETTINGS, telemetry), bytes(LIMIT + 1))
    assert code is grpc.StatusCode.UNAUTHENTICATED, "and not too large, which only a reader can know"
    admission.close()


def test_a_message_waits_for_room_and_one_that_does_not_come_makes_room(
    admission: Admission, telemetry: Telemetry, counted: Callable[..., float]
) -> None:
    settings = SETTINGS.model_copy(update={"message_timeout_s": 0.5, "messages_read_max": 1})
    receiver = OtlpGrpcReceiver(admission, settings, telemetry)

    async def talk(channel: aio.Channel) -> None:
        stalled: aio.StreamUnaryCall[bytes, bytes] = channel.stream_unary(TRACES)()
        await stalled.wait_for_connection()
        while not receiver._reading.locked():  # noqa: ASYNC110  # until its message is waited for
            await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(channel.unary_unary(TRACES)(trace_request(time.time_ns())))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        with pytest.raises(aio.AioRpcError) as caught:
            await stalled
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await waiting == b""

    served(receiver, talk)
    assert counted("refused_requests_total", signal="traces", reason="stalled") == 1


def test_what_grpc_refuses_as_too_large_is_counted(receiver: OtlpGrpcReceiver, counted: Callable[..., float]) -> None:
    async def talk(channel: aio.Channel) -> None:
        with pytest.raises(aio.AioRpcError):
            await channel.unary_unary(TRACES)(bytes(LIMIT + 1))
        while not counted("refused_requests_total", signal="traces", reason="too_large"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    served(receiver, talk)
    assert counted("requests_total", signal="traces", code="RESOURCE_EXHAUSTED") == 1


def test_a_request_without_a_message_is_refused_for_good(receiver: OtlpGrpcReceiver) -> None:
    async def talk(channel: aio.Channel) -> None:
        empty: aio.StreamUnaryCall[bytes, bytes] = channel.stream_unary(TRACES)()
        await empty.done_writing()
        with pytest.raises(aio.AioRpcError, match="no message came, or one of more than 100000 bytes"):
            await empty

    served(receiver, talk)


@pytest.mark.parametrize("service", ["", *SERVICES.values()])
def test_an_orchestrator_is_told_that_it_serves(receiver: OtlpGrpcReceiver, service: str) -> None:
    request: Message = health_pb2.HealthCheckRequest(service=service)
    answer = export(receiver, request.SerializeToString(), "/grpc.health.v1.Health/Check")
    assert health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING


def test_a_port_that_is_taken_is_told(admission: Admission, telemetry: Telemetry) -> None:
    async def both() -> None:
        first = OtlpGrpcReceiver(admission, SETTINGS, telemetry)
        await first.start()
        taken = SETTINGS.model_copy(update={"port": first.port})
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{first.port}"):
            await OtlpGrpcReceiver(admission, taken, telemetry).start()
        await first.stop(0)

    asyncio.run(both())


def test_stopping_lets_what_is_under_way_end_and_takes_no_more(
    receiver: OtlpGrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, syncing, may_sync = os.fdatasync, threading.Event(), threading.Event()

    def held_sync(handle: int) -> None:
        syncing.set()
        may_sync.wait(30)
        sync(handle)

    monkeypatch.setattr(os, "fdatasync", held_sync)

    async def talk(channel: aio.Channel) -> None:
        call = channel.unary_unary(TRACES)
        under_way = asyncio.ensure_future(call(trace_request(time.time_ns())))
        assert await asyncio.to_thread(syncing.wait, 30)
        stopping = asyncio.ensure_future(receiver.stop(10))
        may_sync.set()
        await stopping
        assert await under_way == b""
        with pytest.raises(aio.AioRpcError) as caught:
            await call(trace_request(time.time_ns()))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    served(receiver, talk)


def test_stopping_what_never_started_does_nothing(receiver: OtlpGrpcReceiver) -> None:
    asyncio.run(receiver.stop(1))
