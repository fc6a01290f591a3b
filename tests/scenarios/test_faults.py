"""Faults of disks, stores, files and clocks: what was acknowledged is stored once, and counters tell of all the rest.

kill -9 is in test_crash_safety.py.
"""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry

from collector.service import Collector
from collector.settings import CollectorSettings, WalSettings
from collector.wal import read_segment, segments_in
from storage.open import OWNER, open_store
from storage.otlp import Form
from storage.settings import StoreSettings
from storage.store import Store
from tests.ports import free_port
from tests.scenarios.senders import (
    ITEMS_A_REQUEST,
    ROOT,
    CollectorProcess,
    Report,
    Sender,
    check_exactly_once,
    found_in,
    points_request,
    report,
    trace_request,
)

QUICK = WalSettings(segment_age_s=0.05, checkpoint_s=0)
PATIENT = WalSettings(segment_age_s=3600, checkpoint_s=0)


class Door:
    """A collector in this process, what was sent to it and what it answered."""

    def __init__(self, store: Store, folder: Path, wal: WalSettings) -> None:
        self.registry = CollectorRegistry()
        self.collector = Collector(CollectorSettings(wal=wal), store, folder, self.registry)
        self.acknowledged: dict[str, set[int]] = {"traces": set(), "metrics": set()}
        self.answers: Counter[int] = Counter()

    def send(self, first: int, requests: int = 1) -> list[int]:
        """So many requests of spans and as many of points, with the numbers from `first` on; the answers."""
        return asyncio.run(self._send(first, requests))

    async def _send(self, first: int, requests: int) -> list[int]:
        transport = httpx.ASGITransport(self.collector.otlp_app)
        headers = {"content-type": "application/x-protobuf"}
        answers = []
        async with httpx.AsyncClient(transport=transport, base_url="http://collector", headers=headers) as client:
            for number in range(requests):
                start = first + number * ITEMS_A_REQUEST
                numbers = range(start, start + ITEMS_A_REQUEST)
                for signal, body in (("traces", trace_request(numbers)), ("metrics", points_request(numbers))):
                    answer = await client.post(f"/v1/{signal}", content=body)
                    answers.append(answer.status_code)
                    if answer.status_code == 200:
                        self.acknowledged[signal].update(numbers)
        self.answers.update(answers)
        return answers

    def counted(self, name: str, **labels: str) -> int:
        """One of its own counters, summed over all labels but these."""
        return int(
            sum(
                sample.value
                for family in self.registry.collect()
                for sample in family.samples
                if sample.name == f"tailsight_collector_{name}" and labels.items() <= sample.labels.items()
            )
        )

    def check_counters(self) -> None:
        """Everything that was sent is counted: as accepted and loaded, or as refused with the reason."""
        acknowledged = sum(map(len, self.acknowledged.values()))
        assert self.counted("accepted_items_total") == acknowledged
        assert self.counted("loaded_items_total") == acknowledged
        assert self.counted("refused_requests_total") == sum(self.answers.values()) - self.answers[200]
        assert self.counted("requests_total") == sum(self.answers.values())
        assert self.counted("quarantined_items_total") == self.counted("rejected_items_total") == 0
        assert self.counted("wal_backlog_bytes") == self.counted("waiting_seconds") == 0


@contextlib.contextmanager
def opened(store: Store, folder: Path, wal: WalSettings = PATIENT, *, loads: bool = True) -> Iterator[Door]:
    door = Door(store, folder, wal)
    try:
        if loads:
            door.collector.start()
        yield door
    finally:
        door.collector.close()


# -- disks ---------------------------------------------------------------------------------------------------------


def test_a_log_whose_disk_is_full_refuses_and_goes_on_by_itself(
    clean_store: Store, small_disk: Callable[[int], Path]
) -> None:
    with opened(clean_store, small_disk(1), QUICK, loads=False) as door:
        first = 1
        while 503 not in door.send(first):
            first += ITEMS_A_REQUEST
        for number in range(20):
            door.send(first + (number + 1) * ITEMS_A_REQUEST)
        refused = door.answers[503]
        assert refused >= 20
        assert door.counted("refused_requests_total", reason="log_unavailable") == refused
        door.collector.start()
        assert door.collector.flush(60)
        while set(door.send(100_000)) != {200}:  # what is loaded is removed by the next checkpoint
            time.sleep(0.05)
        assert door.collector.flush(60)
        door.check_counters()
    check_exactly_once(found_in(clean_store), door.acknowledged)


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True])
def test_store_and_log_on_a_full_disk_lose_nothing(small_disk: Callable[[int], Path], *, is_killed: bool) -> None:
    disk = small_disk(96)
    folder = disk / "data"
    sender = Sender()
    process = CollectorProcess(folder)
    sender.port = process.wait_until_ready()
    sender.start()
    for _ in range(3):
        time.sleep(0.5)
        filler = fill(disk / "filler")
        refused_before = sum(sender.answers.values()) - sender.answers[200]
        waited_until = time.monotonic() + 20
        while sum(sender.answers.values()) - sender.answers[200] < refused_before + 5:
            assert time.monotonic() < waited_until, "a full disk refuses nothing"
            fill(filler)  # what is loaded frees its place in the log
            time.sleep(0.05)
        if is_killed:
            sender.port = None
            process.kill()
        filler.unlink()
        if is_killed:
            process = CollectorProcess(folder)
            sender.port = process.wait_until_ready()
    time.sleep(0.5)
    sender.stop()
    code, counters = process.terminate()
    assert code == 0
    assert set(sender.answers) <= {200, 429, 503}
    assert counters["quarantined_items_total"] == 0, "a full disk is no fault of the data"
    check_exactly_once(report(folder), sender.acknowledged)


def fill(path: Path) -> Path:
    """Append to a file until its disk is full."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size_bytes in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size_bytes))
    return path


# -- stores --------------------------------------------------------------------------------------------------------


class ServerProcess:
    """A store behind HTTP in a process of its own, at the same address each time."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://{OWNER}:secret@127.0.0.1:{self.port}/otel"
        self._command = [sys.executable, "-m", "tests.scenarios.store_process", str(folder), str(self.port), "secret"]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=60)


@pytest.mark.slow
def test_a_server_that_goes_down_and_comes_back_gets_everything_once(tmp_path: Path) -> None:
    moments = random.Random(20261124)
    server = ServerProcess(tmp_path / "server")
    server.start()
    store = open_store(StoreSettings(url=server.url))
    try:
        with opened(store, tmp_path / "collector", QUICK) as door:
            first = 1
            for _ in range(3):
                for _ in range(20):
                    assert set(door.send(first)) == {200}, "the log takes what the store cannot"
                    first += ITEMS_A_REQUEST
                time.sleep(moments.uniform(0, 0.3))
                server.kill()
                for _ in range(10):
                    assert set(door.send(first)) == {200}
                    first += ITEMS_A_REQUEST
                server.start()
            assert door.collector.flush(120)
            assert door.counted("load_failures_total", error="StoreUnavailableError") > 0
            door.check_counters()
    finally:
        store.close()
        server.kill()
    check_exactly_once(report(tmp_path / "server"), door.acknowledged)


def serve(folder: Path, store_url: str, web: int, otlp: int) -> "subprocess.Popen[bytes]":
    """`tailsight serve` on these ports, with its log and what it tells in a folder."""
    doors = {"otlp_http": {"port": otlp}, "otlp_grpc": {"port": 0}, "wal": {"folder": str(folder / "wal")}}
    document = {"store": {"url": store_url}, "web": {"port": web}, "collector": doors}
    (folder / "tailsight.yaml").write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "tailsight", "serve", "--config", str(folder / "tailsight.yaml")]
    own = {name: value for name, value in os.environ.items() if not name.startswith("TAILSIGHT_")}
    with (folder / "log").open("w") as told:
        return subprocess.Popen(command, cwd=ROOT, env=own, stdout=told, stderr=told)


@pytest.mark.slow
def test_serve_that_comes_up_before_its_server_takes_in_what_is_sent_and_loads_it_once(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server")
    web, otlp = free_port(), free_port()
    process = serve(tmp_path, server.url, web, otlp)
    pages = httpx.Client(base_url=f"http://127.0.0.1:{web}", timeout=60)
    sender = Sender()
    try:
        wait_for(pages, "/healthz", 200)
        ready = wait_for(pages, "/readyz", 503).json()
        assert [check["name"] for check in ready["checks"] if not check["ok"]] == ["store", "loader"]
        assert pages.get("/").status_code == 200
        assert pages.get("/api/v1/incidents").status_code == 503
        sender.port = otlp
        sender.start()
        ends_at = time.monotonic() + 60
        while sender.answers[200] < 20:
            assert time.monotonic() < ends_at, (tmp_path / "log").read_text()
            time.sleep(0.05)
        assert "tailsight_collector_wal_backlog_bytes" in pages.get("/metrics").text
        server.start()
        wait_for(pages, "/readyz", 200)
        assert pages.get("/api/v1/incidents").json()["incidents"] == []
        sender.stop()
    finally:
        sender.stopped.set()
        pages.close()
        process.terminate()
        status = process.wait(120)
        server.kill()
    assert status == 0, (tmp_path / "log").read_text()
    assert set(sender.answers) == {200}
    check_exactly_once(report(tmp_path / "server"), sender.acknowledged)


@pytest.mark.slow
def test_serve_whose_server_refuses_it_ends_and_says_why(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server")
    server.start()
    try:
        status = serve(tmp_path, server.url.replace("secret", "another"), free_port(), free_port()).wait(60)
    finally:
        server.kill()
    told = (tmp_path / "log").read_text()
    assert status == 1
    assert "the store cannot be used" in told
    assert "Traceback" not in told
    assert "another" not in told


def wait_for(pages: httpx.Client, path: str, status: int) -> httpx.Response:
    """The first answer of this status, within a minute."""
    ends_at = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = pages.get(path)
            if answer.status_code == status:
                return answer
        assert time.monotonic() < ends_at, f"{path} does not answer {status}"
        time.sleep(0.1)


class SlowStore:
    """A store in front of the real one that answers when it is let."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_let = threading.Event()

    def load_otlp(self, table: str, payload: bytes | Path, *, token: str, form: Form = "protobuf") -> None:
        self.is_let.wait(60)
        self._store.load_otlp(table, payload, token=token, form=form)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def test_a_slow_store_is_seen_and_senders_are_told_to_wait_before_anything_is_dropped(
    clean_store: Store, tmp_path: Path
) -> None:
    slow = SlowStore(clean_store)
    limited = WalSettings(segment_age_s=0.05, checkpoint_s=0, backlog_bytes_max=100_000)
    with opened(cast("Store", slow), tmp_path, limited) as door:
        first = 1
        while 429 not in door.send(first):
            first += ITEMS_A_REQUEST
        assert door.counted("refused_requests_total", reason="backlog_full") == door.answers[429]
        assert 0 < door.counted("wal_backlog_bytes") <= 100_000
        running, waited_s = door.collector.loading()
        assert running
        assert waited_s is not None
        assert waited_s > 0
        slow.is_let.set()
        assert door.collector.flush(60)
        assert set(door.send(100_000)) == {200}
        assert door.collector.flush(60)
        door.check_counters()
    check_exactly_once(found_in(clean_store), door.acknowledged)


# -- files ---------------------------------------------------------------------------------------------------------


def left_in_the_log(store: Store, folder: Path) -> dict[str, set[int]]:
    """Ten requests of each signal that were acknowledged and not loaded."""
    with opened(store, folder, loads=False) as door:
        assert set(door.send(1, requests=10)) == {200}
        return door.acknowledged


def loaded_by_a_new_process(store: Store, folder: Path) -> tuple[Report, Door]:
    with opened(store, folder) as door:
        assert door.collector.flush(60)
    assert segments_in(folder / "wal") == []
    return found_in(store), door


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_costs_one_request_and_is_told(clean_store: Store, tmp_path: Path, seed: int) -> None:
    acknowledged = left_in_the_log(clean_store, tmp_path)
    places = random.Random(seed)
    for segment in segments_in(tmp_path / "wal"):
        content = bytearray(segment.path.read_bytes())
        content[places.randrange(len(content))] ^= 1 << places.randrange(8)
        segment.path.write_bytes(content)
    found, door = loaded_by_a_new_process(clean_store, tmp_path)
    lost = {
        "traces": acknowledged["traces"] - {int(span_id, 16) for span_id in found["spans"]},
        "metrics": acknowledged["metrics"] - {int(value) for value in found["points"]},
    }
    for signal, numbers in lost.items():
        assert len(numbers) in (0, ITEMS_A_REQUEST), "one request, or none when the magic number was hit"
        assert door.counted("wal_damaged_bytes_total", signal=signal) > 0
    check_exactly_once(found, {signal: acknowledged[signal] - lost[signal] for signal in lost})


def test_a_segment_cut_in_half_keeps_its_first_half(clean_store: Store, tmp_path: Path) -> None:
    left_in_the_log(clean_store, tmp_path)
    whole: dict[str, int] = {}
    for segment in segments_in(tmp_path / "wal"):
        os.truncate(segment.path, segment.path.stat().st_size // 2)
        whole[segment.signal] = len(read_segment(segment).frames) * ITEMS_A_REQUEST
    found, door = loaded_by_a_new_process(clean_store, tmp_path)
    assert whole == {"traces": len(found["spans"]), "metrics": len(found["points"])}
    assert whole["traces"] == 4 * ITEMS_A_REQUEST
    assert door.counted("wal_damaged_bytes_total") > 0
    kept = {signal: set(range(1, count + 1)) for signal, count in whole.items()}
    check_exactly_once(found, kept)


# -- clocks --------------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_disturbs_neither_order_nor_tokens_nor_ages(
    clean_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_ns = time.time_ns
    acknowledged: dict[str, set[int]] = {"traces": set(), "metrics": set()}
    numbers: list[int] = []
    first = 1
    for jumps_s in ((0, 86_400, -3_600), (-86_400, 0), (7_200, -7_200)):  # each is a process
        with opened(clean_store, tmp_path, loads=False) as door:
            for jump_s in jumps_s:
                monkeypatch.setattr(time, "time_ns", lambda jump_s=jump_s: true_ns() + jump_s * 10**9)
                assert set(door.send(first)) == {200}
                first += ITEMS_A_REQUEST
                door.collector.flush(30)  # closes the segments
                left = [segment.number for segment in segments_in(tmp_path / "wal")]
                assert left[: len(numbers)] == numbers, "a later segment has a larger number, whatever the clock said"
                numbers = left
            _, waited_s = door.collector.loading()
            assert waited_s is not None
            assert 0 <= waited_s < 86_400 + 7_200
        for signal, sent in door.acknowledged.items():
            acknowledged[signal] |= sent
    assert len(set(numbers)) == 14
    monkeypatch.setattr(time, "time_ns", true_ns)
    found, _ = loaded_by_a_new_process(clean_store, tmp_path)
    check_exactly_once(found, acknowledged)
