"""With a token nobody gets past the door without it; without one, nobody under another's name; probes excepted."""

import asyncio
import base64
from typing import Any

import pytest
from fastapi import WebSocket
from pydantic import SecretStr, ValidationError

from api.auth import sent_token
from api.settings import AuthSettings

TOKEN = "s3cret:with-colon-é"


@pytest.fixture(scope="module")
def guarded(make_asker: Any) -> Any:
    """A client of an API that asks for the token, with a page added to it as the dashboard adds its own."""
    asker = make_asker(token=SecretStr(TOKEN))
    asker.app.add_api_route("/", lambda: "page", methods=["GET"])
    return asker


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("path", ["/", "/api/v1/services", "/api/docs", "/api/openapi.json", "/metrics", "/nothing"])
def test_without_the_token_pages_and_api_are_refused_with_a_challenge(guarded: Any, path: str) -> None:
    response = guarded.get(path)

    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"].startswith('Bearer realm="Tailsight", Basic')
    assert response.json()["type"] == "/api/docs#problem-unauthorized"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_token(guarded: Any, path: str) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/healthz/", "//healthz", "/x/../healthz", "/healthz/../api/v1/services"])
def test_what_only_looks_like_a_probe_needs_the_token(guarded: Any, path: str) -> None:
    assert asyncio.run(status_of(guarded.app, path)) == 401


@pytest.mark.parametrize(
    "authorization", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic("anyone", TOKEN), basic("", TOKEN)]
)
def test_the_token_opens_as_bearer_and_as_password(guarded: Any, authorization: str) -> None:
    for path in ("/", "/api/v1/topology"):
        response = guarded("GET", path, headers={"Authorization": authorization.encode()})
        assert response.status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Token {TOKEN}", TOKEN, "Basic", "Basic !!", basic("anyone", "wrong")],
)
def test_anything_else_does_not_open(guarded: Any, authorization: str) -> None:
    response = guarded("GET", "/api/v1/topology", headers={"Authorization": authorization.encode()})

    assert response.status_code == 401


def test_a_password_may_hold_colons() -> None:
    assert sent_token(basic("user", "a:b")) == "a:b"


@pytest.mark.parametrize("credentials", ["dXNlcg==", "dXNlcjo=", "/w=="])
def test_credentials_without_a_password_hold_no_token(credentials: str) -> None:
    assert sent_token(f"Basic {credentials}") is None


def test_an_empty_token_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="token"):
        AuthSettings(token="")


def test_settings_do_not_print_the_token() -> None:
    assert "s3cret" not in repr(AuthSettings(token="s3cret"))


@pytest.mark.parametrize(
    ("headers", "first_sent"),
    [([], "websocket.close"), ([(b"authorization", f"Bearer {TOKEN}".encode())], "websocket.accept")],
)
def test_websockets_need_the_token(make_api: Any, headers: list[tuple[bytes, bytes]], first_sent: str) -> None:
    app = make_api(token=SecretStr(TOKEN))

    async def accept(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    app.add_api_websocket_route("/live", accept)
    scope = {"type": "websocket", "path": "/live", "headers": headers, "query_string": b"", "subprotocols": []}

    sent = asyncio.run(messages_of(app, scope, {"type": "websocket.connect"}))

    assert sent[0]["type"] == first_sent


SILENCE = {
    "matchers": [{"name": "service", "value": "chat"}],
    "endsAt": "2026-11-23T05:00:00Z",
    "createdBy": "a web page",
    "comment": "by DNS rebinding",
}


def under(ask: Any, host: str, method: str, path: str, **options: Any) -> Any:
    """The answer to what is asked under the name of a host."""
    return ask(method, path, headers={"Host": host}, **options)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.9:8080", "169.254.169.254", ""]
)
def test_without_a_token_no_other_name_is_answered(make_asker: Any, host: str) -> None:
    ask = make_asker()
    ask.app.add_api_route("/", lambda: "page", methods=["GET"])
    for path in ("/", "/api/v1/services", "/api/docs", "/metrics", "/nothing"):
        assert under(ask, host, "GET", path).status_code == 421, path
    refused = under(ask, host, "POST", "/api/v1/silences", json=SILENCE)
    assert refused.status_code == 421
    assert ask.get("/api/v1/silences").json()["silences"] == []
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["type"] == "/api/docs#problem-misdirected"
    for said in (f"{host!r}" if host else "no host", "127.0.0.1", "web.public_url", "token"):
        assert said in problem["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:41234", "localhost:8080", "LOCALHOST", "[::1]:8080", "[::1]"])
def test_without_a_token_this_machine_is_answered_at_any_port(make_asker: Any, host: str) -> None:
    ask = make_asker()
    assert under(ask, host, "GET", "/api/v1/topology").status_code == 200
    assert under(ask, host, "POST", "/api/v1/silences", json=SILENCE).status_code == 200


def test_behind_a_proxy_the_name_that_people_use_is_answered(make_asker: Any) -> None:
    ask = make_asker(public_url="https://Tailsight.example.com:8443/")
    assert under(ask, "tailsight.example.com", "GET", "/api/v1/topology").status_code == 200
    assert under(ask, "TAILSIGHT.example.com:8443", "GET", "/api/v1/topology").status_code == 200
    assert under(ask, "localhost:8080", "GET", "/api/v1/topology").status_code == 200
    refused = under(ask, "evil.example", "GET", "/api/v1/topology")
    assert refused.status_code == 421
    assert "'tailsight.example.com', that of web.public_url" in refused.json()["detail"]


def test_with_a_token_any_name_is_answered(guarded: Any) -> None:
    headers = {"Host": "gpu-07-03:8080", "Authorization": f"Bearer {TOKEN}".encode()}
    assert guarded("GET", "/api/v1/topology", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_call_us_as_they_like(ask: Any, path: str) -> None:
    assert under(ask, "10.0.0.9:8080", "GET", path).status_code == 200


@pytest.mark.parametrize(
    ("host", "first_sent"), [(b"evil.example", "websocket.close"), (b"localhost:8080", "websocket.accept")]
)
def test_websockets_are_for_this_machine_too(make_api: Any, host: bytes, first_sent: str) -> None:
    app = make_api()

    async def accept(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    app.add_api_websocket_route("/live", accept)
    headers = [(b"host", host)]
    scope = {"type": "websocket", "path": "/live", "headers": headers, "query_string": b"", "subprotocols": []}

    sent = asyncio.run(messages_of(app, scope, {"type": "websocket.connect"}))

    assert sent[0]["type"] == first_sent


async def status_of(app: Any, path: str) -> int:
    """The status of a GET of a path as it stands: clients tidy paths up before they send them."""
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    sent = await messages_of(app, scope, {"type": "http.request"})
    return int(sent[0]["status"])


async def messages_of(app: Any, scope: dict[str, Any], received: dict[str, Any]) -> list[dict[str, Any]]:
    """What an ASGI application sends to one message."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return received

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
