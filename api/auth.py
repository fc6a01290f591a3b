"""Who may ask: who has the token, as a bearer token or as the password of any user name; without one, this machine."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import Problem, problem_response
from domain.address import host_name, is_loopback

PAGERDUTY_HOOK, ALERTMANAGER_HOOK = "/api/v1/hooks/pagerduty", "/api/v1/hooks/alertmanager"
OPEN_PATHS = frozenset({"/healthz", "/readyz", PAGERDUTY_HOOK, ALERTMANAGER_HOOK})
"""What an orchestrator asks without a token, and what asks for a secret of its own (api/hooks.py)."""

_CHALLENGE = 'Bearer realm="Tailsight", Basic realm="Tailsight", charset="UTF-8"'
_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


class TokenCheck:
    """Lets requests and websockets pass that carry the token; covers the whole application, pages included."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._admits = admits(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one connection."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN_PATHS or self._knows(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "a token is needed"})
        else:
            problem = Problem(
                "unauthorized", "no token was sent, or a wrong one", headers={"WWW-Authenticate": _CHALLENGE}
            )
            await problem_response(problem, scope["path"])(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        return self._admits(Headers(scope=scope).get("authorization", ""))


class HostCheck:
    """Without a token: lets pass what was asked under a name of this machine, or under that of `public_url`.

    The port is on loopback then, but a browser on this machine may be led to it: a web page has its own name point to
    127.0.0.1, and reads along (DNS rebinding). Its name is in Host, which no page can change.
    """

    def __init__(self, app: ASGIApp, public_url: str | None) -> None:
        self._app = app
        self._public_host = urlsplit(public_url).hostname if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one connection."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("host")
        host = host_name(asked)
        if is_loopback(host) or (host is not None and host == self._public_host):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "the host is not ours"})
        else:
            public = f"{self._public_host!r}, that of web.public_url" if self._public_host else "that of web.public_url"
            problem = Problem(
                "misdirected",
                f"found {f'the host {asked!r}' if asked else 'no host'}; without a token valid are 127.0.0.1, "
                f"localhost, [::1], and {public}",
            )
            await problem_response(problem, scope["path"])(scope, receive, send)


def admits(token: str) -> Callable[[str], bool]:
    """Does an `Authorization` header, read as Latin-1, carry this token; the function that says so."""
    token_digest = _digest(token)

    def carries_token(authorization: str) -> bool:
        # Headers are read as Latin-1; a token is UTF-8, as the challenge says.
        sent = sent_token(authorization.encode("latin-1").decode(errors="replace"))
        # Digests have one length, so the time to compare tells nothing of the token's.
        return sent is not None and hmac.compare_digest(_digest(sent), token_digest)

    return carries_token


def sent_token(authorization: str) -> str | None:
    """The token in an `Authorization` header: RFC 6750 (Bearer) or RFC 7617 (Basic); None when there is none."""
    scheme, _, credentials = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip() or None
        case "basic":
            return _password(credentials.strip())
        case _:
            return None


def _password(credentials: str) -> str | None:
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    _, colon, password = text.partition(":")
    return password if colon and password else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
