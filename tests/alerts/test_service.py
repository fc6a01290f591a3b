"""Alerting against real receivers on loopback, and a real Alertmanager where there is one."""

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from alerts.service import Alerting
from alerts.settings import AlertsSettings
from domain.alert import Alert, fingerprint
from storage.store import Store

CONFIG = """
route: {{receiver: oncall, group_by: [service], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}}
receivers:
- name: oncall
  webhook_configs: [{{url: 'http://127.0.0.1:{port}/'}}]
"""


class Receiver:
    """A webhook that keeps what it is told, and can refuse."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outer.status == 200:
                    outer.told.append(body)
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def alert(**labels: str) -> Alert:
    now = datetime.now(UTC)
    return Alert({"alertname": "SLOBurnRate", "service": "chat", **labels}, {}, now, now + timedelta(minutes=4), now)


def alerting(store: Store, settings: AlertsSettings, told: list[Any] | None = None) -> Alerting:
    def notified(*what: Any) -> None:
        if told is not None:
            told.append(what)

    return Alerting(store, settings, CollectorRegistry(), lambda: datetime.now(UTC), notified)


def runs(service: Alerting, until: Callable[[], bool], most_s: float = 15) -> None:
    async def run() -> None:
        task = asyncio.create_task(service.run())
        began = time.monotonic()
        while not until() and time.monotonic() - began < most_s:  # noqa: ASYNC110  # receivers are no events
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def router_settings(tmp_path: Path, receiver: Receiver) -> AlertsSettings:
    file = tmp_path / "alerting.yml"
    file.write_text(CONFIG.format(port=receiver.port))
    return AlertsSettings(config_file=file)


def test_a_receiver_is_told_once_also_after_a_restart(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    settings, told = router_settings(tmp_path, receiver), []  # type: ignore[var-annotated]
    service = alerting(clean_store, settings, told)
    one = alert(severity="page")
    service.tell([one])
    runs(service, lambda: bool(receiver.told))
    assert [body["alerts"][0]["labels"] for body in receiver.told] == [dict(one.labels)]
    assert len(told) == 1
    restarted = alerting(clean_store, settings)
    assert [known.alert.fingerprint for known in restarted.alerts()] == [one.fingerprint]
    restarted.tell([one])
    runs(restarted, lambda: len(receiver.told) > 1, most_s=3)
    assert len(receiver.told) == 1


def test_what_was_not_delivered_before_a_restart_is_delivered_after_it(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    settings = router_settings(tmp_path, receiver)
    receiver.status = 503
    service = alerting(clean_store, settings)
    service.tell([alert(severity="page")])
    runs(service, lambda: False, most_s=2)
    assert receiver.told == []
    receiver.status = 200
    runs(alerting(clean_store, settings), lambda: bool(receiver.told))
    assert len(receiver.told) == 1


def test_a_refusal_is_seen_as_a_dead_letter(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 404
    service = alerting(clean_store, router_settings(tmp_path, receiver))
    service.tell([alert()])
    runs(service, lambda: bool(service.dead_letters()))
    assert service.dead_letters()[0].error.startswith("HTTP 404")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _alertmanager(folder: Path, receiver: Receiver) -> Iterator[str]:
    file, port = folder / "am.yml", _free_port()
    file.write_text(CONFIG.format(port=receiver.port).replace("100ms", "1s"))
    command = [
        shutil.which("prometheus-alertmanager") or "alertmanager", f"--config.file={file}",
        f"--storage.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                if httpx.get(f"{url}/-/ready").is_success:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(
    shutil.which("prometheus-alertmanager") is None, reason="no Alertmanager (apt install prometheus-alertmanager)"
)
def test_a_real_alertmanager_takes_our_alerts_and_knows_them_by_the_same_fingerprint(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    with _alertmanager(tmp_path, receiver) as url:
        service = alerting(clean_store, AlertsSettings(alertmanagers=(url,)))
        one = alert(severity="page", model="llama 70b/é")
        service.tell([one])
        runs(service, lambda: bool(receiver.told))
        (known,) = httpx.get(f"{url}/api/v2/alerts").json()
        assert known["fingerprint"] == one.fingerprint == fingerprint(one.labels)
        assert known["labels"] == dict(one.labels)
        assert receiver.told[0]["version"] == "4"
