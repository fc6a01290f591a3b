"""OTLP/HTTP: takes export requests, and answers when they are in the log.

A plain ASGI application: bodies are bytes from the socket to the log. What the specification asks of a receiver is in
https://opentelemetry.io/docs/specs/otlp/#otlphttp.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from google.rpc.code_pb2 import INTERNAL, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNAVAILABLE, UNIMPLEMENTED

from collector.errors import (
    BacklogFullError,
    CollectorError,
    LogUnavailableError,
    RefusedError,
    TooLargeError,
    UndecodableError,
    UnsupportedError,
)
from collector.intake import Intake
from collector.otlp import decompressed, response_body, status_body
from collector.settings import OtlpHttpSettings
from collector.telemetry import Telemetry

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SIGNALS = {"/v1/traces": "traces", "/v1/metrics": "metrics"}
_PROTOBUF = "application/x-protobuf"
_RETRY_AFTER_S = 5
# Two bodies in work keep two cores busy; more would only hold more memory.
_WORKERS = 2

# Error, HTTP status, google.rpc.Code
_ANSWERS: tuple[tuple[type[CollectorError], int, int], ...] = (
    (TooLargeError, 413, INVALID_ARGUMENT),
    (UnsupportedError, 415, INVALID_ARGUMENT),
    (UndecodableError, 400, INVALID_ARGUMENT),
    (BacklogFullError, 429, RESOURCE_EXHAUSTED),
    (LogUnavailableError, 503, UNAVAILABLE),
)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _Disconnected(Exception):  # noqa: N818  no error: senders may go away
    """The sender went away before its body was whole."""


class OtlpHttpReceiver:
    """The ASGI application for `/v1/traces` and `/v1/metrics`."""

    def __init__(self, intake: Intake, settings: OtlpHttpSettings, telemetry: Telemetry) -> None:
        self._intake = intake
        self._body_bytes_max = settings.body_bytes_max
        self._telemetry = telemetry
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="otlp-http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"OTLP/HTTP speaks http, not {scope['type']}")
        signal = _SIGNALS.get(scope["path"].rstrip("/"), "none")
        try:
            answer = await self._answer(signal, scope, receive)
        except _Disconnected:
            self._telemetry.refused.labels(signal, "disconnected").inc()
            return
        self._telemetry.requests.labels(signal, str(answer.status)).inc()
        headers = [
            (b"content-type", _PROTOBUF.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def close(self) -> None:
        """Let the workers finish."""
        self._workers.shutdown()

    async def _answer(self, signal: str, scope: Scope, receive: Receive) -> _Answer:
        if signal == "none":
            return _error(
                404, NOT_FOUND, f"{scope['path']!r} is not served; POST traces to /v1/traces and metrics to /v1/metrics"
            )
        if scope["method"] != "POST":
            message = f"{scope['method']} is not served on {scope['path']}; POST an export request"
            return _error(405, UNIMPLEMENTED, message, (b"allow", b"POST"))
        try:
            headers = _headers(scope)
            encoding = _encoding(headers)
            body = await _body(headers, receive, self._body_bytes_max)
            loop = asyncio.get_running_loop()
            rejections, written = await loop.run_in_executor(self._workers, self._put, signal, body, encoding)
            await asyncio.wrap_future(written)
        except _Disconnected:
            raise
        except CollectorError as error:
            return self._refusal(signal, error)
        except Exception:
            log.exception("a %s request could not be taken in", signal)
            self._telemetry.refused.labels(signal, "internal").inc()
            return _error(500, INTERNAL, "the collector failed on this request; its log says why")
        return _Answer(200, response_body(signal, rejections))

    def _put(self, signal: str, body: bytes, encoding: str) -> Any:
        checked, written = self._intake.put(signal, decompressed(body, encoding, self._body_bytes_max))
        return checked.rejections, written

    def _refusal(self, signal: str, error: CollectorError) -> _Answer:
        if isinstance(error, RefusedError):
            reason = error.reason
        else:
            reason = "backlog_full" if isinstance(error, BacklogFullError) else "log_unavailable"
        self._telemetry.refused.labels(signal, reason).inc()
        status, code = next((status, code) for kind, status, code in _ANSWERS if isinstance(error, kind))
        retry = ((b"retry-after", str(_RETRY_AFTER_S).encode()),) if error.retryable else ()
        return _error(status, code, str(error), *retry)


def _error(status: int, code: int, message: str, *headers: tuple[bytes, bytes]) -> _Answer:
    return _Answer(status, status_body(code, message), headers)


def _headers(scope: Scope) -> dict[bytes, str]:
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return {name.lower(): value.decode("latin-1").strip() for name, value in pairs}


def _encoding(headers: dict[bytes, str]) -> str:
    """The content encoding of a request that is protobuf.

    Raises:
        UnsupportedError: when it is another media type.
    """
    media_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()
    if media_type != _PROTOBUF:
        raise UnsupportedError(f"Content-Type {media_type!r} is not served; send {_PROTOBUF}")
    return headers.get(b"content-encoding", "").lower()


async def _body(headers: dict[bytes, str], receive: Receive, bytes_max: int) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: as soon as it is known to be over the limit.
    """
    announced = headers.get(b"content-length", "")
    if announced.isdecimal() and int(announced) > bytes_max:
        raise TooLargeError(f"the body is {announced} bytes, at most {bytes_max} are accepted: send smaller batches")
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _Disconnected
        chunk = event.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise TooLargeError(f"the body is over {bytes_max} bytes: send smaller batches")
        chunks.append(chunk)
        if not event.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
