"""Receivers of notifications on loopback, and alerting that notifies them: for tests of what goes over the wire."""

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer, StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry

from alerts.service import Alerting
from alerts.settings import AlertsSettings
from domain.alert import Alert
from storage.store import Store


@dataclass(frozen=True)
class Answer:
    """How a receiver answers, after `delay_s`; one that `echoes` repeats what it was sent, as some do who refuse it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    echoes: bool = False


class Receiver:
    """A receiver that keeps what it takes: the next of `answers`, else `usual`, decides whether it does."""

    def __init__(self, usual: Answer, tls: ssl.SSLContext | None) -> None:
        self.usual = usual
        self.answers: deque[Answer] = deque()
        self.asked: list[tuple[float, int]] = []
        self.received: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(raw)
                answer = outer.answers.popleft() if outer.answers else outer.usual
                outer.asked.append((time.monotonic(), answer.status))
                outer.paths.append(self.path)
                outer.headers.append(dict(self.headers))
                if answer.status < 300:
                    outer.received.append(body)
                time.sleep(answer.delay_s)
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    head = f"Cannot POST {self.path} of {self.headers['Authorization']}: ".encode()
                    told = head + raw if answer.echoes else b""
                    self.send_header("Content-Length", str(len(told)))
                    self.end_headers()
                    self.wfile.write(told)
                except ConnectionError:
                    pass  # whoever asked has gone: that is what a stall brings

            def do_GET(self) -> None:  # a login page, say
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.server.server_address[1]}/"


@contextmanager
def _serving(server: BaseServer) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)  # seconds until it sees that it ends
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def receiving(usual: Answer = Answer(), tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:  # frozen
    """A receiver that listens."""
    made = Receiver(usual, tls)
    with _serving(made.server):
        yield made


class Mailbox:
    """A mail server, as far as one mail needs one, that keeps what it takes."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.mails: list[str] = []
        outer = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                data = False
                text: list[str] = []
                for raw in self.rfile:
                    line = raw.decode().rstrip("\r\n")
                    if data:
                        if line == ".":
                            data = False
                            outer.mails.append("\n".join(text))
                            self.wfile.write(b"250 taken\r\n")
                        else:
                            text.append(line)
                    elif line.upper().startswith("DATA"):
                        data = True
                        self.wfile.write(b"354 go on\r\n")
                    elif line.upper().startswith("RCPT") and "nobody@" in line:
                        self.wfile.write(b"550 no such user\r\n")
                    elif line.upper().startswith("QUIT"):
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        self.wfile.write(b"250 ok\r\n")

        self.server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.smarthost = f"127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def mailing(tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """A mail server that listens."""
    made = Mailbox(tls)
    with _serving(made.server):
        yield made


class Clock:
    """The time, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def alert(ends: timedelta = timedelta(minutes=4), annotations: dict[str, str] | None = None, **labels: str) -> Alert:
    """One that fires since now."""
    now = datetime.now(UTC)
    return Alert({"alertname": "SLOBurnRate", "service": "chat", **labels}, annotations or {}, now, now + ends, now)


def restored(
    store: Store,
    settings: AlertsSettings,
    recorded: list[Any] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    registry: CollectorRegistry | None = None,
) -> Alerting:
    """Alerting as `serve` makes it, once the store has answered."""

    def notified(*what: Any) -> None:
        if recorded is not None:
            recorded.append(what)

    service = Alerting(store, settings, registry or CollectorRegistry(), clock, notified=notified)
    service.restore()
    return service


def runs(service: Alerting, until: Callable[[], bool], most_s: float = 15) -> bool:
    """Let it run until it is so, at most so long: is it so."""

    async def run() -> None:
        task = asyncio.create_task(service.run())
        began = time.monotonic()
        while not until() and time.monotonic() - began < most_s:  # noqa: ASYNC110  # receivers are no events
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    return until()


def settings_of(folder: Path, text: str) -> AlertsSettings:
    """Those of our own router, by this YAML."""
    file = folder / "alerting.yml"
    file.write_text(text)
    return AlertsSettings(config_file=file)
