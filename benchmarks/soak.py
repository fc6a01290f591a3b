"""Does memory stay flat at full speed, and how long does a sender wait at half load.

    python -m benchmarks.soak [--minutes N] [--half-load-seconds N]

The collector of `benchmarks.ingest` in a process of its own, merges on; OTLP/HTTP, protobuf, gzip. First as fast as it
takes requests, over a few connections, each waiting for its answer, for so many minutes: its resident memory every ten
seconds, and the CPU time of its process, merges included. Then half as many requests a second as it stored, each sent
at its own time whether or not those before it are answered: the time from then to the answer. A request that is told to
come later is sent again, and counted.
"""

import argparse
import http.client
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.ingest import SPANS_A_REQUEST, payload
from benchmarks.server import CONNECTIONS, Server, machine

WATCH_SECONDS = 10.0
HALF_LOAD_CONNECTIONS = 16
DISTINCT_REQUESTS = 256
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}


class WatchedServer(Server):
    """The server's process, whose memory can be looked at."""

    def rss_mib(self) -> float:
        """Its resident memory, the engine included."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@dataclass(slots=True)
class Soak:
    """What was seen: memory (MiB) by seconds since the start, and answers."""

    rss: list[tuple[float, float]] = field(default_factory=list)
    accepted: int = 0
    told_to_wait: int = 0


def post(connection: http.client.HTTPConnection, body: bytes) -> bool:
    """Was the request taken; False when it is to be sent again later.

    Raises:
        RuntimeError: for any other answer.
    """
    connection.request("POST", "/v1/traces", body, HEADERS)
    answer = connection.getresponse()
    answer.read()
    if answer.status not in {http.client.OK, http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE}:
        raise RuntimeError(f"the server answered {answer.status}")
    return answer.status == http.client.OK


def soak(server: WatchedServer, bodies: Sequence[bytes], seconds: float) -> Soak:
    """Send as fast as requests are taken, and watch the memory."""
    seen = Soak()
    lock = threading.Lock()
    started_s = time.monotonic()

    def send(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for body in itertools.cycle(bodies[first::CONNECTIONS]):
            if time.monotonic() - started_s > seconds:
                return connection.close()
            taken = post(connection, body)
            with lock:
                seen.accepted += taken
                seen.told_to_wait += not taken
            if not taken:
                time.sleep(0.1)
        return None

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        sending = [pool.submit(send, first) for first in range(CONNECTIONS)]
        while not all(one.done() for one in sending):
            seen.rss.append((time.monotonic() - started_s, server.rss_mib()))
            time.sleep(min(WATCH_SECONDS, max(0.1, started_s + seconds - time.monotonic())))
        for one in sending:
            one.result()
    return seen


def acknowledge_ms(
    server: Server, bodies: Sequence[bytes], requests_a_second: float, seconds: float
) -> tuple[list[float], int]:
    """How long each request took from the time it was due (ms), and how often one was told to come later.

    Waiting for a free connection, and until it could come, is included.
    """
    due = iter(range(int(requests_a_second * seconds)))
    lock = threading.Lock()
    taken_ms: list[float] = []
    told_to_wait = itertools.count()
    started_s = time.monotonic()

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        while True:
            with lock:
                number = next(due, None)
            if number is None:
                return connection.close()
            due_s = started_s + number / requests_a_second
            time.sleep(max(0.0, due_s - time.monotonic()))
            while not post(connection, bodies[number % len(bodies)]):
                next(told_to_wait)
                time.sleep(0.1)
            taken_ms.append((time.monotonic() - due_s) * 1000)

    with ThreadPoolExecutor(HALF_LOAD_CONNECTIONS) as pool:
        for one in [pool.submit(send) for _ in range(HALF_LOAD_CONNECTIONS)]:
            one.result()
    return taken_ms, next(told_to_wait)


def growth_mib_per_min(rss: Sequence[tuple[float, float]]) -> float | None:
    """The slope of memory after the first quarter, in which caches fill; None for less than three looks."""
    later = rss[len(rss) // 4 :]
    if len(later) < 3:
        return None
    slope, _ = statistics.linear_regression(*zip(*later, strict=True))
    return slope * 60


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--half-load-seconds", type=float, default=60)
    arguments = parser.parse_args()
    console = Console()
    bodies = payload(1, DISTINCT_REQUESTS).bodies
    with (
        tempfile.TemporaryDirectory(prefix="tailsight-soak-") as folder,
        WatchedServer(Path(folder) / "data") as server,
    ):
        before = server.ask("merge")
        started_s = time.monotonic()
        seen = soak(server, bodies, 60 * arguments.minutes)
        lag_started_s = time.monotonic()
        after = server.ask("flush")
        stored = after["traces"]
        ended_s = time.monotonic()
        if stored != seen.accepted * SPANS_A_REQUEST:
            raise RuntimeError(f"{seen.accepted * SPANS_A_REQUEST} spans were accepted, {stored} are stored")
        spans_a_second = stored / (ended_s - started_s)
        spans_a_cpu_second = stored / (after["cpu_s"] - before["cpu_s"])
        half_load = spans_a_second / 2 / SPANS_A_REQUEST
        taken_ms, told_at_half_load = acknowledge_ms(server, bodies, half_load, arguments.half_load_seconds)
        waits_ms = sorted(taken_ms)
        server.quit()
    table = Table(
        title=f"{arguments.minutes:g} minutes at full speed, then {arguments.half_load_seconds:g} s at half load"
    )
    for heading in ("after, s", "resident memory, MiB"):
        table.add_column(heading, justify="right")
    for second, rss_mib in seen.rss[:: max(1, len(seen.rss) // 20)]:
        table.add_row(f"{second:.0f}", f"{rss_mib:.0f}")
    growth = growth_mib_per_min(seen.rss)
    p50, p99 = (waits_ms[int(len(waits_ms) * share)] for share in (0.50, 0.99))
    console.print(machine())
    console.print(table)
    console.print(
        f"stored {spans_a_second:,.0f} spans a second, {spans_a_cpu_second:,.0f} a CPU-second; "
        f"the last of them {ended_s - lag_started_s:.1f} s after it was sent; "
        f"{seen.told_to_wait} requests were told to come later; acknowledged at half load "
        f"({half_load:.0f} requests of {SPANS_A_REQUEST} spans a second): p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"{told_at_half_load} told to come later"
    )
    figures = {
        "rss_peak_mib": round(max(rss_mib for _, rss_mib in seen.rss)),
        "rss_growth_mib_per_min": None if growth is None else round(growth, 2),
        "ack_p50_ms_half_load": round(p50, 1),
        "ack_p99_ms_half_load": round(p99, 1),
        "spans_per_second_wall": round(spans_a_second),
        "spans_per_cpu_second_with_merges": round(spans_a_cpu_second),
        "told_to_wait": seen.told_to_wait,
        "told_to_wait_half_load": told_at_half_load,
        "minutes": arguments.minutes,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
