import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared"


@dataclass
class Receiver:
    """An OTLP/HTTP receiver that keeps bodies; answers from `answers` first, then 200."""

    url: str = ""
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def of(self, path: str) -> list[bytes]:
        return [body for where, body in self.bodies if where == path]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = kept.answers.pop(0) if kept.answers else (200, {})
            if status == 200:
                assert self.headers["Content-Encoding"] == "gzip"
                kept.bodies.append((self.path, gzip.decompress(body)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def start() -> datetime:
    return datetime(2026, 11, 20, 12, tzinfo=UTC)  # a Friday, in the busy half of the day


@pytest.fixture(scope="session")
def shared_telemetry() -> Path:
    folder = SHARED / "data" / "telemetry"
    if not folder.is_dir():
        pytest.skip(f"the recorded samples are not at {folder}")
    return folder
