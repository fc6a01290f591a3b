"""With a token configured nobody gets past the door without it; probes excepted."""

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
