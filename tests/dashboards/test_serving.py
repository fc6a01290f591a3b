import asyncio
import zlib

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message

from dashboards.serving import BodyLimit, CacheControl, Compressed, SecurityHeaders, content_security_policy
from tests.dashboards.asking import Asker


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    app.state.asked = 0

    @app.get("/assets/app.js")
    def script() -> Response:
        app.state.asked += 1
        return Response("let answer = 42;\n" * 100, media_type="text/javascript")

    @app.get("/assets/photo")
    def photo() -> Response:
        return Response(b"\x00" * 1_000, media_type="image/png")

    @app.get("/_dash-layout")
    def layout() -> Response:
        app.state.asked += 1
        return Response(b'"' + b"x" * 1_000 + b'"', media_type="application/json")

    @app.get("/api/v1/things")
    def things() -> Response:
        return PlainTextResponse("x" * 1_000)

    return app


def test_texts_are_compressed_for_those_who_take_it(runner: asyncio.Runner, app: FastAPI) -> None:
    app.add_middleware(Compressed)
    client = Asker(runner, app)
    answer = client.get("/assets/app.js", accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < 200
    assert "Accept-Encoding" in answer.headers["vary"]
    assert answer.text == "let answer = 42;\n" * 100
    plain = client.get("/assets/app.js")
    assert "content-encoding" not in plain.headers
    assert plain.text == answer.text


def test_a_static_file_is_compressed_once_and_kept(runner: asyncio.Runner, app: FastAPI) -> None:
    app.add_middleware(Compressed)
    client = Asker(runner, app)
    answers = [client.get("/assets/app.js", accept_encoding="gzip").content for _ in range(3)]
    assert len(set(answers)) == 1
    assert app.state.asked == 1


def test_what_changes_is_compressed_each_time(runner: asyncio.Runner, app: FastAPI) -> None:
    app.add_middleware(Compressed)
    client = Asker(runner, app)
    for _ in range(2):
        assert client.get("/_dash-layout", accept_encoding="gzip").headers["content-encoding"] == "gzip"
    assert app.state.asked == 2


@pytest.mark.parametrize("path", ["/assets/photo", "/assets/missing.js", "/api/v1/things"])
def test_pictures_errors_and_the_api_are_left_alone(runner: asyncio.Runner, app: FastAPI, path: str) -> None:
    app.add_middleware(Compressed)
    answer = Asker(runner, app).get(path, accept_encoding="gzip")
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/assets/app.js", "/_dash-layout"])
def test_a_compressed_answer_is_whole_and_its_length_is_told(runner: asyncio.Runner, app: FastAPI, path: str) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    accepting = [(b"accept-encoding", b"gzip")]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": accepting}
    runner.run(Compressed(app)(scope, receive, send))
    start, body = sent
    assert int(dict(start["headers"])[b"content-length"]) == len(body["body"])
    assert len(zlib.decompress(body["body"], wbits=31)) > 1_000


def test_every_answer_outside_the_api_carries_the_security_headers(runner: asyncio.Runner, app: FastAPI) -> None:
    app.add_middleware(SecurityHeaders, policy=content_security_policy(["'sha256-abc'"]), outside=("/api/",))
    client = Asker(runner, app)
    headers = client.get("/assets/app.js").headers
    assert "script-src 'self' 'sha256-abc';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in client.get("/api/v1/things").headers


def test_the_policy_allows_no_eval_no_inline_script_and_nothing_from_elsewhere() -> None:
    directives = dict(part.split(" ", 1) for part in content_security_policy([]).split("; "))
    assert directives["script-src"] == "'self'"
    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == "'self'"
    assert "http" not in content_security_policy([])


def test_versioned_assets_stay_cached_and_others_are_asked_for_again(runner: asyncio.Runner, app: FastAPI) -> None:
    app.add_middleware(CacheControl)
    client = Asker(runner, app)
    assert "immutable" in client.get("/assets/app.js?m=1").headers["cache-control"]
    assert client.get("/assets/app.js").headers["cache-control"] == "no-cache"
    assert "cache-control" not in client.get("/assets/missing.js?m=1").headers


def test_a_callbacks_body_that_is_too_long_is_refused_and_others_pass_whole(
    runner: asyncio.Runner, app: FastAPI
) -> None:
    @app.post("/_dash-update-component")
    async def length(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(BodyLimit, bytes_max=1_000)
    client = Asker(runner, app)
    assert client.ask("POST", "/_dash-update-component", content=b"x" * 1_000).json() == 1_000
    refused = client.ask("POST", "/_dash-update-component", content=b"x" * 1_001)
    assert (refused.status_code, refused.text) == (413, "the body is longer than 1000 bytes")
