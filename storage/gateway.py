"""ClickHouse's HTTP interface over the embedded engine, so that other processes can ask the store that this one owns.

Whoever bears the token may do anything. Everybody else on this machine may read tables, and nothing besides: that is
what Grafana, a BI tool or curl need. The interface is as https://clickhouse.com/docs/interfaces/http says, without
sessions, progress headers, external data and the native compressed blocks (`compress=1`).
"""

import asyncio
import base64
import binascii
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import pyarrow as pa

from domain.address import host_name, is_loopback
from storage import engine, statements
from storage.engine import Answer, Engine, EngineError
from storage.open import OWNER
from storage.store import Store

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
T = TypeVar("T")

# Codes of ClickHouse's errors that the gateway itself raises.
_NOT_IMPLEMENTED = 48
_UNKNOWN_COMPRESSION_METHOD = 89
_TOO_MANY_SIMULTANEOUS_QUERIES = 202
_NOT_ENOUGH_SPACE = 243
_CANNOT_DECOMPRESS = 271
_TOO_MANY_BYTES = 307
_INCORRECT_DATA = 117
_AUTHENTICATION_FAILED = 516

# How ClickHouse maps its codes to HTTP:
# https://github.com/ClickHouse/ClickHouse/blob/master/src/Server/HTTP/exceptionCodeToHTTPStatus.cpp
_STATUS_BY_CODE = {
    code: status
    for status, codes in {
        400: (6, 26, 27, 38, 41, 53, 62, 69, 72, 86, _INCORRECT_DATA, _CANNOT_DECOMPRESS, 386, 456, 457),
        403: (engine.READONLY, 497, _AUTHENTICATION_FAILED),
        404: (46, 47, 50, 56, 60, engine.UNKNOWN_FORMAT, 81, engine.UNKNOWN_SETTING),
        408: (159,),
        413: (_TOO_MANY_BYTES,),
        501: (_NOT_IMPLEMENTED, _UNKNOWN_COMPRESSION_METHOD, engine.SUPPORT_IS_DISABLED),
        503: (_TOO_MANY_SIMULTANEOUS_QUERIES, _NOT_ENOUGH_SPACE),
    }.items()
    for code in codes
}

# Arguments of the interface itself, not settings of the engine. Some ask for what a loopback connection does not need.
_OWN_ARGUMENTS = frozenset(
    {
        "add_http_cors_header",
        "buffer_size",
        "cancel_http_readonly_queries_on_client_close",
        "client_protocol_version",
        "close_session",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "http_zlib_compression_level",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "stacktrace",
        "user",
        "wait_end_of_query",
    }
)

_CONTENT_TYPES = (
    (re.compile(r"TabSeparated|TSV"), "text/tab-separated-values; charset=UTF-8"),
    (re.compile(r"CSV"), "text/csv; charset=UTF-8"),
    (re.compile(r"JSON.*EachRow|NDJSON"), "application/x-ndjson; charset=UTF-8"),
    (re.compile(r"JSON"), "application/json; charset=UTF-8"),
    (re.compile(r"XML"), "application/xml; charset=UTF-8"),
    (re.compile(r"Pretty|Vertical|Values|Markdown"), "text/plain; charset=UTF-8"),
    (re.compile(r""), "application/octet-stream"),
)

_CODECS = ("lz4", "zstd", "gzip")  # the cheapest first: on loopback bytes cost nothing

_OWNER_BODY_BYTES_MAX = 512 << 20
_GUEST_BODY_BYTES_MAX = 1 << 20
_GUESTS_AT_ONCE = 2
_WAITING_MAX = 64


@dataclass(frozen=True, slots=True)
class _Request:
    """One HTTP request; header names in lower case."""

    method: str
    path: str
    arguments: Mapping[str, str]
    headers: Mapping[str, str]
    client_host: str | None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class _Lane:
    """Threads that wait for the engine, and a bounded number of requests that wait for them."""

    def __init__(self, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"gateway-{name}")
        self._most = threads + _WAITING_MAX
        self._busy = 0

    async def run(self, work: Callable[[], T]) -> T:
        if self._busy >= self._most:
            message = f"{self._busy} statements are running or waiting already; try again later"
            raise EngineError.named(_TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", message)
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._busy -= 1

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


class Gateway:
    """The gateway of an embedded store, as an ASGI 3 application. Close it before the store.

    Args:
        store: one that this process owns.
        token: with the user name `tailsight` it allows everything; it is compared in constant time.

    Raises:
        ValueError: when the store is no embedded one of this process, or the token is empty.
    """

    def __init__(self, store: Store, token: str) -> None:
        if store.engine is None:
            raise ValueError("this store is not embedded in this process; connect to its own HTTP interface instead")
        if not token:
            raise ValueError("the token is empty; write_gateway_address makes one")
        self._engine = store.engine
        self._token = token
        # Guests have threads of their own: however many they are, the owner's commands never wait for them.
        self._owners, self._guests = _Lane("owner", store.connections), _Lane("guest", _GUESTS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        try:
            response = await self._answer(_request(scope), receive)
        except _Disconnected:
            return
        await _send(send, response)

    def close(self) -> None:
        """Wait for the statements under way, `query_seconds_max` at most; those that wait for a thread are dropped."""
        self._owners.close()
        self._guests.close()

    async def _answer(self, request: _Request, receive: Receive) -> _Response:
        direct = _direct_response(request)
        if direct is not None:
            return direct
        try:
            owner = _is_owner(request, self._token)
            body = await _read_body(request, receive, _OWNER_BODY_BYTES_MAX if owner else _GUEST_BODY_BYTES_MAX)
            lane, work = (self._owners, _answer_owner) if owner else (self._guests, _answer_guest)
            return await lane.run(lambda: work(self._engine, request, body))
        except EngineError as error:
            return _refusal(error)
        except UnicodeDecodeError as error:
            return _refusal(
                EngineError.named(_INCORRECT_DATA, "INCORRECT_DATA", f"The statement is not UTF-8: {error}")
            )
        except OSError as error:
            message = f"Cannot keep the body beside the data: {error}"
            return _refusal(EngineError.named(_NOT_ENOUGH_SPACE, "NOT_ENOUGH_SPACE", message))


# -- who asks, and for what ------------------------------------------------------------------------------------


def _request(scope: Scope) -> _Request:
    client = scope.get("client")
    return _Request(
        method=scope["method"],
        path=scope["path"].removeprefix(scope.get("root_path", "")) or "/",
        arguments=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers={name.decode("latin-1").lower(): text.decode("latin-1") for name, text in scope["headers"]},
        client_host=client[0] if client else None,
    )


def _direct_response(request: _Request) -> _Response | None:
    """The answers that need no engine: is anybody there, and what is not served."""
    text = {"Content-Type": "text/plain; charset=UTF-8"}
    if request.path not in {"/", "/ping"}:
        return _Response(404, b"There is no such path. Valid are / (statements) and /ping.\n", text)
    if request.method not in {"GET", "POST", "HEAD"}:
        return _Response(
            405, b"Valid methods are GET (reading only), POST and HEAD.\n", text | {"Allow": "GET, POST, HEAD"}
        )
    if request.path == "/ping" or request.method == "HEAD":
        return _Response(200, b"Ok.\n", text)
    if request.method == "GET" and "query" not in request.arguments:
        return _Response(200, b"Ok.\n", text)
    return None


def _is_owner(request: _Request, token: str) -> bool:
    """Whether everything is allowed; False for a guest.

    Raises:
        EngineError: AUTHENTICATION_FAILED for credentials that are not ours, and for a guest from another machine.
    """
    user, password = _credentials(request)
    if user == OWNER and hmac.compare_digest(password.encode(), token.encode()):
        return True
    if user not in {"", "default"} or password:
        message = f"{user}: Authentication failed: the token is in gateway.json beside the data, for user {OWNER}"
        raise EngineError.named(_AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", message)
    # The Host too, or any web page could have its own name point here and read along (DNS rebinding).
    if not is_loopback(request.client_host) or not is_loopback(host_name(request.headers.get("host"))):
        message = "Authentication failed: without the token the store answers to this machine only, as 127.0.0.1"
        raise EngineError.named(_AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", message)
    return False


def _credentials(request: _Request) -> tuple[str, str]:
    headers, arguments = request.headers, request.arguments
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", ""), headers.get("x-clickhouse-key", "")
    if "authorization" in headers:
        kind, _, encoded = headers["authorization"].partition(" ")
        try:
            user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        return (user, password) if kind.lower() == "basic" and colon else (kind or "nobody", encoded)
    return arguments.get("user", ""), arguments.get("password", "")


# -- what is sent ----------------------------------------------------------------------------------------------


class _Disconnected(Exception):  # noqa: N818  # nobody is left to be told of an error
    """The client went away in the middle of its request."""


async def _read_body(request: _Request, receive: Receive, bytes_max: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > bytes_max:
        raise _too_large(bytes_max)
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bytes_max:
            raise _too_large(bytes_max)
        if not message.get("more_body"):
            return b"".join(parts)


def _decoded(request: _Request, body: bytes, bytes_max: int) -> bytes:
    """The body without its Content-Encoding; never more than `bytes_max`, however well it was packed."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity" or not body:
        return body
    if encoding not in _CODECS:
        message = f"Content-Encoding {encoding} is not supported; valid are {', '.join(_CODECS)}"
        raise EngineError.named(_UNKNOWN_COMPRESSION_METHOD, "UNKNOWN_COMPRESSION_METHOD", message)
    try:
        plain: bytes = pa.CompressedInputStream(pa.BufferReader(body), encoding).read(bytes_max + 1)
    except (OSError, pa.ArrowException) as error:
        raise EngineError.named(
            _CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", f"The body is not {encoding}: {error}"
        ) from None
    if len(plain) > bytes_max:
        raise _too_large(bytes_max)
    return plain


def _too_large(bytes_max: int) -> EngineError:
    return EngineError.named(
        _TOO_MANY_BYTES, "TOO_MANY_BYTES", f"The body is larger than {bytes_max} bytes; send less at once"
    )


def _statement_and_arguments(request: _Request, body: bytes) -> tuple[bytes, Mapping[str, str]]:
    """The statement with any rows behind it, and all arguments, wherever in the request they stand."""
    arguments = dict(request.arguments)
    for name in ("compress", "decompress"):
        if arguments.get(name) not in {None, "", "0"}:
            message = f"{name}=1 (native compressed blocks) is not supported; use Accept-Encoding and Content-Encoding"
            raise EngineError.named(_NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        arguments |= _form_fields(request.headers["content-type"], body)
        body = b""
    statement = arguments.get("query", "").encode()
    # As ClickHouse reads it: what the URL begins, the body goes on.
    return b"\n".join(part for part in (statement, body) if part), arguments


def _form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """Arguments that were too long for a URL."""
    message = BytesParser(policy=policy.HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise EngineError.named(_NOT_IMPLEMENTED, "NOT_IMPLEMENTED", "External data is not supported")
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        fields[str(name)] = payload.decode() if isinstance(payload, bytes) else ""
    return fields


# -- answering (in a thread) -----------------------------------------------------------------------------------


def _answer_guest(owned: Engine, request: _Request, body: bytes) -> _Response:
    sent, arguments = _statement_and_arguments(request, _decoded(request, body, _GUEST_BODY_BYTES_MAX))
    statement = sent.decode()
    answer = owned.read(
        statement,
        _default_format(request, arguments),
        database=_database(request, arguments),
        parameters=_parameters(arguments),
        settings=_settings(arguments),
    )
    return _response(
        request, arguments, answer, statements.output_format(statement) or _default_format(request, arguments)
    )


def _answer_owner(owned: Engine, request: _Request, body: bytes) -> _Response:
    if request.method == "GET":  # reads only, whoever asks: a link must not change anything
        return _answer_guest(owned, request, body)
    sent, arguments = _statement_and_arguments(request, _decoded(request, body, _OWNER_BODY_BYTES_MAX))
    database, parameters, settings = _database(request, arguments), _parameters(arguments), _settings(arguments)
    insert = statements.split_insert(sent)
    if insert is not None:
        answer = owned.insert(insert, database=database, parameters=parameters, settings=settings)
        return _response(request, arguments, answer, None)
    statement = sent.decode()
    kind = statements.first_word(statement)
    if kind in {"SET", "USE"}:
        message = f"The gateway keeps no session, so {kind} would change nothing; give settings and database in the URL"
        raise EngineError.named(engine.SUPPORT_IS_DISABLED, "SUPPORT_IS_DISABLED", message)
    default = _default_format(request, arguments)
    answer = owned.run(statement, default, database=database, parameters=parameters, settings=settings)
    answers_rows = kind in statements.READING or bool(answer.body)
    return _response(
        request, arguments, answer, (statements.output_format(statement) or default) if answers_rows else None
    )


def _default_format(request: _Request, arguments: Mapping[str, str]) -> str:
    return request.headers.get("x-clickhouse-format") or arguments.get("default_format") or "TabSeparated"


def _database(request: _Request, arguments: Mapping[str, str]) -> str | None:
    return arguments.get("database") or request.headers.get("x-clickhouse-database")


def _parameters(arguments: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("param_"): text for name, text in arguments.items() if name.startswith("param_")}


def _settings(arguments: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text for name, text in arguments.items() if name not in _OWN_ARGUMENTS and not name.startswith("param_")
    }


# -- what comes back -------------------------------------------------------------------------------------------


def _response(request: _Request, arguments: Mapping[str, str], answer: Answer, output_format: str | None) -> _Response:
    summary = {
        "read_rows": answer.read_rows,
        "read_bytes": answer.read_bytes,
        "written_rows": answer.written_rows,
        "written_bytes": answer.written_bytes,
        "result_rows": answer.result_rows,
        "result_bytes": len(answer.body),
        "elapsed_ns": answer.elapsed_ns,
    }
    headers = {
        "X-ClickHouse-Summary": json.dumps({name: str(number) for name, number in summary.items()}),
        "X-ClickHouse-Query-Id": _header_safe(arguments.get("query_id") or str(uuid.uuid4())),
        "X-ClickHouse-Server-Display-Name": "tailsight",
    }
    if output_format is not None:
        headers["X-ClickHouse-Format"] = output_format
        headers["Content-Type"] = next(name for pattern, name in _CONTENT_TYPES if pattern.search(output_format))
    body, codec = _encoded(request, arguments, answer.body)
    if codec:
        headers["Content-Encoding"] = codec
    return _Response(200, body, headers)


def _encoded(request: _Request, arguments: Mapping[str, str], body: bytes) -> tuple[bytes, str | None]:
    """The body in an encoding that the client takes, if it asked for one in both ways that ClickHouse wants."""
    accepted = {name.partition(";")[0].strip() for name in request.headers.get("accept-encoding", "").split(",")}
    codec = next((name for name in _CODECS if name in accepted), None)
    if not body or codec is None or arguments.get("enable_http_compression") not in {"1", "true"}:
        return body, None
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(body)
    return sink.getvalue().to_pybytes(), codec


def _refusal(error: EngineError) -> _Response:
    headers = {"Content-Type": "text/plain; charset=UTF-8", "X-ClickHouse-Exception-Code": str(error.code)}
    status = _STATUS_BY_CODE.get(error.code, 500)
    if status == 503:
        headers["Retry-After"] = "1"
    return _Response(status, f"{error}\n".encode(errors="replace"), headers)


def _header_safe(text: str) -> str:
    return re.sub(r"[^\x21-\x7e]", "", text)


async def _send(send: Send, response: _Response) -> None:
    headers = dict(response.headers) | {"Content-Length": str(len(response.body))}
    encoded = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})
