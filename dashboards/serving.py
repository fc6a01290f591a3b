"""What surrounds the pages: bounded bodies, security headers, compression, caching of what never changes.

Pure ASGI, because Starlette's BaseHTTPMiddleware buffers and never sees WebSockets.
"""

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from isal import isal_zlib
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STATIC = ("/assets/", "/_dash-component-suites/")
_COMPRESSIBLE = ("text/", "application/javascript", "application/json", "image/svg+xml")
_GZIP_WINDOW_BITS = 31
_KEPT_ANSWERS_MAX = 200  # more than there are files; a bound all the same, since paths come from outside
_YEAR_S = 31_536_000


def content_security_policy(script_hashes: Iterable[str]) -> str:
    """Nothing from elsewhere, no inline script but those of these hashes, no eval.

    Inline styles are allowed because Plotly writes its own style element.
    """
    directives = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *script_hashes]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


class SecurityHeaders:
    """Adds the headers to every answer outside `outside`, whose owner sets its own."""

    def __init__(self, app: ASGIApp, *, policy: str, outside: Sequence[str]) -> None:
        self._app = app
        self._headers = {
            "content-security-policy": policy,
            "referrer-policy": "same-origin",
            "x-content-type-options": "nosniff",
            "cross-origin-opener-policy": "same-origin",
        }
        self._outside = tuple(outside)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"].startswith(self._outside):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BodyLimit:
    """Refuses bodies of callbacks that are longer than `bytes_max`, before Dash reads them whole.

    It reads the body itself, because Dash would take an error while reading for an empty body.
    """

    def __init__(self, app: ASGIApp, *, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith("/_dash-"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._bytes_max:
                refusal = PlainTextResponse(f"the body is longer than {self._bytes_max} bytes", status_code=413)
                await refusal(scope, receive, send)
                return
        whole = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def receive_whole() -> Message:
            return next(whole, None) or await receive()

        await self._app(scope, receive_whole, send)


class Compressed:
    """Compresses texts; a static file only once, and then keeps it: plotly.js takes a fifth of a second each time.

    Static files do not change while the process runs, so an answer is kept by its path.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._kept: dict[str, tuple[list[tuple[bytes, bytes]], bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        path = scope.get("path", "")
        mine = path.startswith(("/_dash-", "/assets/"))
        if scope["type"] != "http" or not mine or "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            await self._app(scope, receive, send)
            return
        kept = self._kept.get(path)
        if kept is not None and scope["method"] == "GET":
            await _send_whole(send, *kept)
            return
        await self._app(scope, receive, _Compressing(send, self._keep(path) if path.startswith(_STATIC) else None))

    def _keep(self, path: str) -> Any:
        def keep(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
            if len(self._kept) < _KEPT_ANSWERS_MAX:
                self._kept[path] = (headers, body)

        return keep


class _Compressing:
    """Gathers one answer, compresses it where that pays, and sends it on."""

    def __init__(self, send: Send, keep: Any) -> None:
        self._send = send
        self._keep = keep
        self._start: Message = {}
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        headers = MutableHeaders(raw=list(self._start["headers"]))
        body = bytes(self._body)
        if (
            self._start["status"] == 200
            and len(body) > 500
            and headers.get("content-type", "").startswith(_COMPRESSIBLE)
        ):
            body = await asyncio.to_thread(_thorough if self._keep else _quick, body)
            headers["content-encoding"] = "gzip"
            headers["content-length"] = str(len(body))
            headers.add_vary_header("Accept-Encoding")
            if self._keep:
                self._keep(headers.raw, body)
        await self._send({**self._start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


class CacheControl:
    """Static files with a version in their address stay cached for a year; the others are asked for again."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith("/assets/"):
            await self._app(scope, receive, send)
            return
        versioned = scope["query_string"].startswith(b"m=") or scope["path"].startswith("/assets/fonts/")

        async def send_with_age(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                age = f"public, max-age={_YEAR_S}, immutable" if versioned else "no-cache"
                MutableHeaders(scope=message)["cache-control"] = age
            await send(message)

        await self._app(scope, receive, send_with_age)


async def _send_whole(send: Send, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _thorough(body: bytes) -> bytes:
    return zlib.compress(body, level=9, wbits=_GZIP_WINDOW_BITS)


def _quick(body: bytes) -> bytes:
    return bytes(isal_zlib.compress(body, level=1, wbits=_GZIP_WINDOW_BITS))
