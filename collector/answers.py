"""What a sender is answered, whichever door it came through: one table from our errors to HTTP and gRPC.

The rules are those of https://opentelemetry.io/docs/specs/otlp/: which codes ask a sender to retry, what a partial
success says, and that an error's body is a google.rpc.Status in the encoding of the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.code_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

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
from storage.otlp import Encoding

RETRY_AFTER_S = 5
"""When a sender that is told to retry should."""

# An answer may have 4 MiB; gRPC carries a message twice in 8 KiB of trailers, where a byte may become three characters.
_MESSAGE_BYTES_MAX = 1024

_RESPONSES: Mapping[str, tuple[Any, str]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not taken.

    Attributes:
        reason: the label of its counter.
        http_status: for OTLP/HTTP.
        code: the google.rpc.Code, for both.
        message: what is told to the sender.
        retryable: may the same request succeed later.
    """

    reason: str
    http_status: int
    code: int
    message: str
    retryable: bool = False

    def status(self) -> Status:
        """The google.rpc.Status; it holds a RetryInfo exactly when the sender should retry."""
        status = Status(code=self.code, message=shortened(self.message))
        if self.retryable:
            status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=RETRY_AFTER_S)))
        return status


# Error, label of the counter, HTTP status, google.rpc.Code
_REFUSALS: tuple[tuple[type[CollectorError], str, int, int], ...] = (
    (TooLargeError, TooLargeError.reason, 413, RESOURCE_EXHAUSTED),
    (UnsupportedError, UnsupportedError.reason, 415, INVALID_ARGUMENT),
    (UndecodableError, UndecodableError.reason, 400, INVALID_ARGUMENT),
    (StalledError, "stalled", 503, DEADLINE_EXCEEDED),
    (UnauthenticatedError, UnauthenticatedError.reason, 401, UNAUTHENTICATED),
    (OverloadedError, "overloaded", 429, RESOURCE_EXHAUSTED),
    (BacklogFullError, "backlog_full", 429, RESOURCE_EXHAUSTED),
    (LogUnavailableError, "log_unavailable", 503, UNAVAILABLE),
)


def refusal_of(error: Exception) -> Refusal:
    """How an error is answered; one that is none of ours is a defect, of which the sender learns no more than that."""
    for kind, reason, http_status, code in _REFUSALS:
        if isinstance(error, kind):
            return Refusal(reason, http_status, code, str(error), error.retryable)
    return Refusal("internal", 500, INTERNAL, "the collector failed on this request; its log says why")


def response_body(signal: str, encoding: Encoding, rejected: int = 0, message: str = "") -> bytes:
    """The answer to an export request that was taken.

    Args:
        signal: which service's answer.
        encoding: that of the request.
        rejected: items that were left out; they are not to be sent again.
        message: why; without rejected items, a warning.
    """
    response_type, rejected_field = _RESPONSES[signal]
    if not rejected and not message:
        return b"{}" if encoding == "json" else b""
    response = response_type()
    setattr(response.partial_success, rejected_field, rejected)
    response.partial_success.error_message = shortened(message)
    return encoded(response, encoding)


def encoded(message: Message, encoding: Encoding) -> bytes:
    """A message as protobuf, or as the JSON that protobuf defines for it."""
    body: bytes = message.SerializeToString()
    return MessageToJson(message, indent=None, ensure_ascii=False).encode() if encoding == "json" else body


def shortened(message: str) -> str:
    """As much of a message as any answer can carry: names of spans, which senders choose, have no end."""
    encoded_message = message.encode(errors="replace")
    if len(encoded_message) <= _MESSAGE_BYTES_MAX:
        return encoded_message.decode()
    return encoded_message[:_MESSAGE_BYTES_MAX].decode(errors="ignore") + "…"
