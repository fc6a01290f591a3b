"""Bodies become checked requests: unpacked within a limit, parsed, counted, and freed of what is out of time."""

import gzip
import random
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from collector.errors import TooLargeError, UndecodableError, UnsupportedError
from collector.otlp import CheckedRequest, TimeRange, checked_metrics, checked_traces, decompressed, response_body
from tests.collector.payloads import SECOND_NS, gauge_request, trace_request

NOW = 1_795_000_000_000_000_000
DAY_NS = 86_400 * SECOND_NS
Check = Callable[[bytes, TimeRange], CheckedRequest]

ACCEPTED = TimeRange(NOW - 30 * DAY_NS, NOW + 600 * SECOND_NS)


def test_gzip_is_unpacked() -> None:
    assert decompressed(gzip.compress(b"spans"), "gzip", 100) == b"spans"


def test_several_gzip_members_are_one_body() -> None:
    assert decompressed(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip", 100) == b"one two"


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_plain_body_stays_as_it_is(encoding: str) -> None:
    assert decompressed(b"spans", encoding, 5) == b"spans"


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert len(decompressed(gzip.compress(bytes(1000)), "gzip", 1000)) == 1000


@pytest.mark.parametrize("body", [gzip.compress(bytes(1001)), gzip.compress(bytes(600)) * 2])
def test_a_body_that_unpacks_beyond_the_limit_is_refused(body: bytes) -> None:
    with pytest.raises(TooLargeError, match="over 1000 bytes after decompression"):
        decompressed(body, "gzip", 1000)


def test_a_gzip_bomb_is_refused_without_being_unpacked() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(512)]) + packer.flush()  # 512 MiB in 0.5 MiB
    with pytest.raises(TooLargeError):
        decompressed(bomb, "gzip", 1 << 20)


def test_a_gzip_body_that_was_cut_off_is_undecodable() -> None:
    with pytest.raises(UndecodableError, match="cut off"):
        decompressed(gzip.compress(random.Random(1).randbytes(10_000))[:-9], "gzip", 1 << 20)


def test_what_is_no_gzip_is_undecodable() -> None:
    with pytest.raises(UndecodableError, match="no gzip"):
        decompressed(b"these are no spans", "gzip", 1 << 20)


@given(st.binary(max_size=100), st.integers(0, 50), st.integers(0, 255))
def test_a_damaged_gzip_body_is_refused_or_unpacked_but_never_fails_otherwise(
    content: bytes, position: int, byte: int
) -> None:
    body = bytearray(gzip.compress(content))
    body[position % len(body)] = byte
    with suppress(UndecodableError, TooLargeError):
        decompressed(bytes(body), "gzip", 1000)


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(UnsupportedError, match="'br' is not served; send gzip or identity"):
        decompressed(b"", "br", 10)


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


def test_the_answer_to_a_whole_success_is_empty() -> None:
    assert response_body("traces", checked_traces(trace_request(NOW), ACCEPTED).rejections) == b""


def test_the_answer_tells_what_was_rejected() -> None:
    rejections = checked_traces(trace_request(NOW, spans=4, start_unix_ns=1), ACCEPTED).rejections
    answer = ExportTraceServiceResponse.FromString(response_body("traces", rejections)).partial_success
    assert answer.rejected_spans == 4
    assert "1970-01-01" in answer.error_message
    rejections = checked_metrics(gauge_request(1, points=5), ACCEPTED).rejections
    metrics = ExportMetricsServiceResponse.FromString(response_body("metrics", rejections)).partial_success
    assert metrics.rejected_data_points == 5
