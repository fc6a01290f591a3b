"""OTLP/HTTP: takes export requests, and answers when they are in the log.

A plain ASGI application: bodies are bytes from the socket to the log. What the specification asks of a receiver is in
https://opentelemetry.io/docs/specs/otlp/#otlphttp.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from google.rpc.code_pb2 import NOT_FOUND, UNAUTHENTICATED, UNIMPLEMENTED
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from collector.admission import Admission, HeldBytes
from collector.answers import RETRY_AFTER_S, Refusal, encoded
from collector.errors import StalledError, TooLargeError, UnsupportedError
from collector.settings import CorsSettings, OtlpHttpSettings
from collector.telemetry import Telemetry
from storage.otlp import Encoding

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SIGNALS = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "logs"}
_MEDIA_TYPES: Mapping[Encoding, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}
_ENCODINGS: Mapping[str, Encoding] = {media_type: encoding for encoding, media_type in _MEDIA_TYPES.items()}


@dataclass(frozen=True, slots=True)
class _Request:
    """What the head of a request says. `encoding` is also that of the answer."""

    signal: str
    method: str
    path: str
    headers: Mapping[bytes, str]
    media_type: str
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _Disconnected(Exception):  # noqa: N818  no error: senders may go away
    """The sender went away before its body was whole."""


class OtlpHttpReceiver:
    """The ASGI application for `/v1/traces`, `/v1/metrics` and `/v1/logs`."""

    def __init__(self, admission: Admission, settings: OtlpHttpSettings, telemetry: Telemetry) -> None:
        self._admission = admission
        self._body_bytes_max = settings.body_bytes_max
        self._body_timeout_s = settings.body_timeout_s
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"OTLP/HTTP speaks http, not {scope['type']}")
        request = _request(scope)
        try:
            answer = await self._answer(request, receive)
        except _Disconnected:
            self._telemetry.refused.labels(request.signal, "disconnected").inc()
            return
        self._telemetry.requests.labels(request.signal, str(answer.status)).inc()
        headers = [
            (b"content-type", _MEDIA_TYPES[request.encoding].encode()),
            (b"content-length", str(len(answer.body)).encode()),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, request: _Request, receive: Receive) -> _Answer:
        unserved = _unserved(request)
        if unserved is not None:
            return _refused(unserved, request.encoding)
        with self._admission.hold() as held:
            try:
                self._admission.check_sender(request.headers.get(b"authorization", ""))
                _check_media_type(request.media_type)
                body = await self._body(request, receive, held)
                answer = await self._admission.take(
                    request.signal,
                    body,
                    request.headers.get(b"content-encoding", "").lower(),
                    request.encoding,
                    self._body_bytes_max,
                    held,
                )
            except _Disconnected:
                raise
            except Exception as error:
                return _refused(self._admission.refusal(request.signal, error), request.encoding)
        return _Answer(200, answer)

    async def _body(self, request: _Request, receive: Receive, held: HeldBytes) -> bytes:
        """The whole body.

        Raises:
            TooLargeError, OverloadedError: as soon as it is known to be over the limit.
            StalledError: when it does not come in time.
        """
        announced = request.headers.get(b"content-length", "")
        if announced.isdecimal() and int(announced) > self._body_bytes_max:
            raise TooLargeError(
                f"the body is {announced} bytes, at most {self._body_bytes_max} are accepted: send smaller batches"
            )
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._body_timeout_s):
                async for chunk in _chunks(receive):
                    held.add(len(chunk))
                    if held.size_bytes > self._body_bytes_max:
                        raise TooLargeError(f"the body is over {self._body_bytes_max} bytes: send smaller batches")
                    chunks.append(chunk)
        except TimeoutError:
            raise StalledError(
                f"{held.size_bytes} bytes of the body came in {self._body_timeout_s:g} s, and no end: "
                "send smaller batches, or raise collector.otlp_http.body_timeout_s"
            ) from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def with_cors(app: OtlpHttpReceiver, settings: CorsSettings) -> ASGIApp:
    """The application, answering the browsers of the pages that may send; unchanged when none may."""
    if not settings.allowed_origins:
        return app
    patterns = [re.escape(origin).replace(r"\*", "[^/]*") for origin in settings.allowed_origins]
    return CORSMiddleware(
        app,
        allow_origins=["*"] if "*" in settings.allowed_origins else [],
        allow_origin_regex="|".join(patterns),
        allow_methods=["POST"],
        allow_headers=settings.allowed_headers,
        allow_credentials=True,  # browsers send beacons, which the SDK uses, with credentials only
        expose_headers=["Retry-After"],
        max_age=settings.max_age_s,
    )


def _request(scope: Scope) -> _Request:
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    headers = {name.lower(): value.decode("latin-1").strip() for name, value in pairs}
    media_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()
    path = scope["path"]
    return _Request(
        _SIGNALS.get(path.rstrip("/"), "none"),
        scope["method"],
        path,
        headers,
        media_type,
        # Whoever speaks neither is answered what a person can read.
        _ENCODINGS.get(media_type, "json"),
    )


def _unserved(request: _Request) -> Refusal | None:
    """The answer to what is no export request at all; None when it is one."""
    if request.signal == "none":
        paths = ", ".join(_SIGNALS)
        return Refusal("not_found", 404, NOT_FOUND, f"{request.path!r} is not served; POST to one of {paths}")
    if request.method != "POST":
        message = f"{request.method} is not served on {request.path}; POST an export request"
        return Refusal("not_allowed", 405, UNIMPLEMENTED, message)
    return None


def _check_media_type(media_type: str) -> None:
    if media_type not in _ENCODINGS:
        raise UnsupportedError(f"Content-Type {media_type[:50]!r} is not served; send {' or '.join(_ENCODINGS)}")


def _refused(refusal: Refusal, encoding: Encoding) -> _Answer:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if refusal.retryable:
        headers = ((b"retry-after", str(RETRY_AFTER_S).encode()),)
    elif refusal.http_status == 405:
        headers = ((b"allow", b"POST"),)
    elif refusal.code == UNAUTHENTICATED:
        headers = ((b"www-authenticate", b'Bearer realm="Tailsight"'),)
    return _Answer(refusal.http_status, encoded(refusal.status(), encoding), headers)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _Disconnected
        yield event.get("body", b"")
        if not event.get("more_body", False):
            return
