"""Alerts pushed to a real Alertmanager: grouped, inhibited, silenced, resolved, and told once through restarts."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.settings import AlertsSettings
from domain.alert import Alert, fingerprint
from domain.window import rfc3339
from storage.store import Store
from tests.alerts.loopback import Clock, Receiver, alert, receiving, restored, runs
from tests.ports import free_port

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
REQUIRED = os.environ.get("TAILSIGHT_REQUIRE_ALERTMANAGER") == "1"
pytestmark = pytest.mark.skipif(
    PROGRAM is None and not REQUIRED, reason="no Alertmanager on PATH: run `make alertmanager`"
)

CONFIG = """
route: {{receiver: oncall, group_by: [service], group_wait: 1s, group_interval: 2s, repeat_interval: 1h}}
receivers:
- name: oncall
  webhook_configs: [{{url: '{url}'}}]
inhibit_rules:
- source_matchers: [severity="page"]
  target_matchers: [severity="ticket"]
  equal: [service]
"""
AGAIN = timedelta(seconds=61)  # after so long what fires is posted again


def test_it_is_there_where_it_is_required() -> None:
    assert PROGRAM, (
        "TAILSIGHT_REQUIRE_ALERTMANAGER is set, but PATH has no prometheus-alertmanager: run `make alertmanager`"
    )


class Alertmanager:
    """A real one with a folder of its own, to be stopped and started again."""

    def __init__(self, folder: Path, receiver: Receiver, peers: tuple[str, ...] = ()) -> None:
        folder.mkdir()
        (folder / "alertmanager.yml").write_text(CONFIG.format(url=receiver.url))
        self.url = f"http://127.0.0.1:{free_port()}"
        self.cluster = f"127.0.0.1:{free_port()}"
        self._command = [
            PROGRAM or "", f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}", f"--cluster.listen-address={self.cluster}",
            f"--cluster.advertise-address={self.cluster}", "--cluster.peer-timeout=3s", "--cluster.settle-timeout=5s",
            "--cluster.gossip-interval=50ms", *(f"--cluster.peer={peer}" for peer in peers),
        ]  # fmt: skip
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        began = time.monotonic()
        while time.monotonic() - began < 30:
            try:
                if httpx.get(f"{self.url}/-/ready").is_success:
                    return
            except httpx.HTTPError:
                pass
            assert self._process.poll() is None, f"it ended by itself: {self._log.read_text()[-2000:]}"
            time.sleep(0.1)
        raise AssertionError(f"it was not ready within 30 s: {self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def alerts(self) -> dict[str, dict[str, Any]]:
        """What it knows, by fingerprint."""
        return {one["fingerprint"]: one for one in httpx.get(f"{self.url}/api/v2/alerts").json()}

    def silence(self, **labels: str) -> str:
        now = Clock()()
        matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels.items()]
        document = {
            "matchers": matchers, "startsAt": rfc3339(now), "endsAt": rfc3339(now + timedelta(hours=1)),
            "createdBy": "ann", "comment": "known",
        }  # fmt: skip
        answer = httpx.post(f"{self.url}/api/v2/silences", json=document).raise_for_status()
        return str(answer.json()["silenceID"])


@contextmanager
def running(*alertmanagers: Alertmanager) -> Iterator[None]:
    with ExitStack() as stack:
        for one in alertmanagers:
            stack.callback(one.stop)
            one.start()
        yield


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def over(one: Alert) -> Alert:
    """The same alert, just over."""
    now = Clock()()
    return Alert(one.labels, one.annotations, one.starts_at, now - timedelta(milliseconds=1), now)


def statuses(document: dict[str, Any]) -> dict[str, str]:
    return {one["labels"].get("slo", ""): one["status"] for one in document["alerts"]}


def heard(receiver: Receiver) -> set[tuple[str, str]]:
    """What it was told so far: objective and status."""
    return {one for document in receiver.received for one in statuses(document).items()}


def test_alerts_are_grouped_inhibited_silenced_and_resolved_through_a_restart(
    clean_store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    peer = Alertmanager(tmp_path / "am", receiver)
    clock = Clock()
    service = restored(clean_store, AlertsSettings(alertmanagers=(peer.url,)), clock=clock)
    hour = timedelta(hours=1)
    ttft = alert(hour, {"summary": "slow"}, severity="page", slo="ttft", model="llama 70b/é")
    errors = alert(hour, severity="page", slo="errors")
    ticket = alert(hour, severity="ticket", slo="weekly")
    other = alert(hour, severity="page", slo="assist", service="assist")
    with running(peer):
        silence = peer.silence(service="assist")
        service.post([ttft, errors, ticket, other])
        assert runs(service, lambda: bool(receiver.received))
        known = peer.alerts()
        assert known.keys() == {one.fingerprint for one in (ttft, errors, ticket, other)}
        assert known[ttft.fingerprint]["labels"] == dict(ttft.labels)
        assert ttft.fingerprint == fingerprint(ttft.labels)
        assert known[other.fingerprint]["status"]["silencedBy"] == [silence]
        (inhibitor,) = known[ticket.fingerprint]["status"]["inhibitedBy"]
        assert inhibitor in {ttft.fingerprint, errors.fingerprint}
        (told,) = receiver.received
        assert statuses(told) == {"ttft": "firing", "errors": "firing"}, "grouped; the ticket waits, assist is silenced"
        assert told["groupLabels"] == {"service": "chat"}

        # It restarts in the middle: it has forgotten all alerts, and is posted them again.
        peer.stop()
        runs(service, lambda: False, most_s=1)  # nobody is there, and nothing is lost by it
        peer.start()
        assert not peer.alerts()
        clock.ahead += AGAIN
        assert runs(service, lambda: len(peer.alerts()) == 4)
        time.sleep(5)  # two flushes of the group
        assert len(receiver.received) == 1, "who was told before the restart is not told again"
        assert peer.alerts()[other.fingerprint]["status"]["state"] == "suppressed", "the silence has survived"

        # While it is away one alert ends, and another begins.
        peer.stop()
        new = alert(hour, severity="page", slo="tpot")
        service.post([over(errors), new])
        runs(service, lambda: False, most_s=1)
        peer.start()
        clock.ahead += AGAIN
        assert runs(service, lambda: heard(receiver) >= {("tpot", "firing"), ("errors", "resolved")})

        # The page is over: what it kept quiet is told.
        assert ("weekly", "firing") not in heard(receiver)
        service.post([over(ttft), over(new)])
        pages_over = {("ttft", "resolved"), ("tpot", "resolved")}
        assert runs(service, lambda: heard(receiver) >= {*pages_over, ("weekly", "firing")})
        service.post([over(ticket)])
        assert runs(service, lambda: ("weekly", "resolved") in heard(receiver))
        time.sleep(5)
    assert not any(slo == "assist" for slo, _ in heard(receiver))
    assert len(receiver.received) == len({str(sorted(statuses(document).items())) for document in receiver.received}), (
        "no twice"
    )


def test_two_peers_are_both_told_and_one_of_them_speaks(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    first = Alertmanager(tmp_path / "one", receiver)
    second = Alertmanager(tmp_path / "two", receiver, peers=(first.cluster,))
    service = restored(clean_store, AlertsSettings(alertmanagers=(first.url, second.url)))
    page = alert(timedelta(hours=1), severity="page", slo="ttft")
    with running(first, second):
        service.post([page])
        assert runs(service, lambda: bool(receiver.received))
        assert first.alerts().keys() == second.alerts().keys() == {page.fingerprint}
        time.sleep(6)  # longer than one waits for the other
        assert len(receiver.received) == 1
        first.stop()
        service.post([over(page)])
        assert runs(service, lambda: len(receiver.received) > 1), "one of them is enough"
        assert receiver.received[1]["status"] == "resolved"


def test_two_analyses_that_say_the_same_are_told_once(clean_store: Store, tmp_path: Path, receiver: Receiver) -> None:
    peer = Alertmanager(tmp_path / "am", receiver)
    page = alert(timedelta(hours=1), severity="page", slo="ttft")
    with running(peer):
        for _ in range(2):
            service = restored(clean_store, AlertsSettings(alertmanagers=(peer.url,)))
            service.post([page])
            assert runs(service, lambda: page.fingerprint in peer.alerts())
        assert runs(service, lambda: bool(receiver.received))
        time.sleep(4)
        assert len(receiver.received) == 1
        assert len(peer.alerts()) == 1
