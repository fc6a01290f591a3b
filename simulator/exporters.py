"""The cloud's /metrics endpoints: Prometheus text over HTTP on loopback, one port per target."""

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.samples import Scrapes, Target

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOOPBACK = "127.0.0.1"


def text_of(target: Target, values: NDArray[np.float64]) -> str:
    """One scrape in the text exposition format; `values` has shape (series,). A series that is NaN is not there."""
    lines: list[str] = []
    numbers = iter(values.tolist())
    for family in target.families:
        lines.append(f"# HELP {family.name} {family.help_text}\n# TYPE {family.name} {family.kind}\n")
        for labels in family.labels:
            number = next(numbers)
            if math.isnan(number):
                continue
            pairs = ",".join(f'{name}="{value}"' for name, value in labels.items())
            lines.append(f"{family.name}{f'{{{pairs}}}' if pairs else ''} {family.write(number)}\n")
    return "".join(lines)


class Exporters:
    """Serves what each target last showed; ports are chosen by the operating system.

    Use as a context manager. Before the first `show` a target answers 503, as an exporter that is
    starting; so does one that shows nothing.
    """

    def __init__(self, scrapes: Sequence[Scrapes]) -> None:
        self._pages: dict[str, bytes | None] = {}
        self._targets = {scrape.target.name: scrape.target for scrape in scrapes}
        self._servers = {name: self._server(name) for name in self._targets}
        self._threads = [
            threading.Thread(target=server.serve_forever, name=f"exporter {name}", daemon=True)
            for name, server in self._servers.items()
        ]
        for thread in self._threads:
            thread.start()
        self.show(scrapes)

    def __enter__(self) -> "Exporters":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, scrapes: Sequence[Scrapes]) -> None:
        """From now on serve the last tick of these scrapes (nothing changes when there is none)."""
        for scrape in scrapes:
            if len(scrape.values):
                page = text_of(scrape.target, scrape.values[-1]).encode() if scrape.up[-1] else None
                self._pages[scrape.target.name] = page

    def targets(self) -> list[dict[str, Any]]:
        """`{"job", "url", "labels"}` of each target, as a collector is configured with it."""
        return [
            {
                "job": target.job,
                "url": f"http://{self.instances()[name]}/metrics",
                "labels": dict(target.labels),
            }
            for name, target in self._targets.items()
        ]

    def instances(self) -> Mapping[str, str]:
        """Target name → the `host:port` where it listens."""
        return {name: f"{LOOPBACK}:{server.server_port}" for name, server in self._servers.items()}

    def close(self) -> None:
        """Stop listening."""
        # Each waits out its poll interval, so all at once.
        with ThreadPoolExecutor(len(self._servers)) as pool:
            list(pool.map(ThreadingHTTPServer.shutdown, self._servers.values()))
        for server in self._servers.values():
            server.server_close()
        for thread in self._threads:
            thread.join()

    def _server(self, name: str) -> ThreadingHTTPServer:
        page_of = self._page

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = page_of(name, self.path)
                self.send_response(status)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
                """A scrape every few seconds is not worth a line."""

        return ThreadingHTTPServer((LOOPBACK, 0), Handler)

    def _page(self, name: str, path: str) -> tuple[HTTPStatus, bytes]:
        if path.partition("?")[0] != "/metrics":
            return HTTPStatus.NOT_FOUND, b"only /metrics is served here\n"
        body = self._pages.get(name)
        if body is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, b"no reading yet\n"
        return HTTPStatus.OK, body
