"""A collector with an embedded store in a process of its own, a client, and one run between them.

    python -m benchmarks.server FOLDER [--no-views] [--index-profile upstream]

`benchmarks.ingest`, `benchmarks.metrics`, `benchmarks.against` and `benchmarks.soak` run it. Counted is all CPU time of
the server's process, every thread of the engine included, and of the processes it starts; not the client's.
"""

import argparse
import asyncio
import gzip
import http.client
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal, Self, get_args

import uvicorn
from prometheus_client import CollectorRegistry
from uvicorn.loops.auto import auto_loop_factory

from benchmarks import rotel
from collector.service import Collector
from collector.settings import CollectorSettings
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings
from storage.statements import Insert, split_insert
from storage.store import Store
from tailsight.memory import keep_freed_memory, spare_what_is_loaded
from tailsight.wiring import server_config

ROOT = Path(__file__).parent.parent
CONNECTIONS = 4
WARM_UP_REQUESTS = 8
PROTOBUF = "application/x-protobuf"

Signal = Literal["traces", "metrics"]
IndexProfile = Literal["lean", "upstream"]
Merges = Literal["stopped", "after", "on"]
"""Of a run: none, or those that are left to do behind it, counted apart; or as they come, counted with all else."""


class RefusedError(Exception):
    """The server did not take a request as it is."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Requests of one kind, gzipped.

    Attributes:
        items_a_request: how many spans or data points each body holds.
        warm_up: bodies that are sent first and not counted.
        bodies: others, all distinct, sent in turn as often as a run asks.
        unzipped_bytes: of `bodies` together.
        content_type: of each body.
        signal: which door they are for.
    """

    items_a_request: int
    warm_up: Sequence[bytes]
    bodies: Sequence[bytes]
    unzipped_bytes: int
    content_type: str = PROTOBUF
    signal: Signal = "traces"

    def of(self, items: int) -> list[bytes]:
        """Bodies of at least so many items together."""
        return list(islice(cycle(self.bodies), -(-items // self.items_a_request)))

    @property
    def distinct_items(self) -> int:
        """Items that no other body repeats."""
        return len(self.bodies) * self.items_a_request


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run: items that can be queried, and what they took. `cpu_s_with_merges` is of merges after the run only."""

    items: int
    cpu_s: float
    cpu_s_with_merges: float | None
    wall_s: float
    lag_s: float
    parts: int
    peak_rss_mib: float

    @property
    def items_per_cpu_second(self) -> float:
        """As the run says without those merges that came after it."""
        return self.items / self.cpu_s

    @property
    def items_per_cpu_second_with_merges(self) -> float | None:
        """Until nothing was left to merge."""
        return self.items / self.cpu_s_with_merges if self.cpu_s_with_merges else None


def zipped(
    bodies: Sequence[bytes], items_a_request: int, *, content_type: str = PROTOBUF, signal: Signal = "traces"
) -> Payload:
    """Bodies as they are sent; the first `WARM_UP_REQUESTS` are to warm up."""
    sent = [gzip.compress(body, 6) for body in bodies]
    return Payload(
        items_a_request=items_a_request,
        warm_up=sent[:WARM_UP_REQUESTS],
        bodies=sent[WARM_UP_REQUESTS:],
        unzipped_bytes=sum(map(len, bodies[WARM_UP_REQUESTS:])),
        content_type=content_type,
        signal=signal,
    )


# -- the server's process ----------------------------------------------------------------------------------------------


def cpu_s() -> float:
    """CPU time of this process and of the children it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def ask(store: Store, statement: str) -> list[list[Any]]:
    """The rows that a statement answers."""
    if store.engine is None:
        raise ValueError("the benchmark measures an embedded store")
    answer = store.engine.read(statement, "JSONCompactEachRow").body
    return [json.loads(line) for line in answer.splitlines()]


def serve(folder: Path, *, with_views: bool, index_profile: IndexProfile) -> None:
    """Print the port, then obey one command a line, each answered by one JSON object.

    `flush`; `merge` until nothing is left to merge; `optimize TABLE …` into one part a day; `insert FOLDER FIRST LAST`,
    which gives the engine what rotel wrote; `quit`.
    """
    store = open_owned(StoreSettings(url=f"chdb://{folder}", index_profile=index_profile))
    migrate(store)
    if not with_views:
        drop_views(store)
    store.execute("SYSTEM STOP MERGES")
    collector = Collector(CollectorSettings(), store, folder, CollectorRegistry())
    collector.start()
    keep_freed_memory()
    spare_what_is_loaded()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(collector.otlp_app, "otlp"))

    def run() -> None:
        with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listener]))

    threading.Thread(target=run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    print(listener.getsockname()[1], flush=True)
    for line in sys.stdin:
        match line.split():
            case ["flush"]:
                collector.flush(600)
            case ["merge"]:
                store.execute("SYSTEM START MERGES")
                wait_for_merges(store)
            case ["optimize", *tables]:
                store.execute("SYSTEM START MERGES")
                for table in tables:
                    # Wide, so that what each column takes can be told; in a large store all old parts are.
                    store.execute(f"ALTER TABLE {table} MODIFY SETTING min_bytes_for_wide_part = 0")
                    store.execute(f"OPTIMIZE TABLE {table} FINAL")
            case ["insert", rows, first, last]:
                insert(store, Path(rows), int(first), int(last))
            case ["quit"]:
                break
        print(json.dumps(state(store)), flush=True)
    collector.close()
    store.close()
    os._exit(0)  # the server's thread serves for ever


def drop_views(store: Store) -> None:
    """Leave the tables, and nothing that fills another one when they are written."""
    for (view,) in ask(store, "SELECT name FROM system.tables WHERE engine = 'MaterializedView' AND database = 'otel'"):
        store.execute(f"DROP VIEW {view}")


def insert(store: Store, folder: Path, first: int, last: int) -> None:
    """Give the engine files of rows, one insert each, in the way that costs it least, which is also how ours go in."""
    found = split_insert((folder / rotel.STATEMENT).read_bytes() + b"\n")
    if found is None or store.engine is None:
        raise ValueError("no INSERT with rows behind it, or no embedded store")
    of_traces = "database = 'otel' AND table = 'otel_traces'"
    columns = dict(ask(store, f"SELECT name, type FROM system.columns WHERE {of_traces}"))
    names = found.statement.partition("(")[2].rpartition(")")[0].split(",")
    structure = ", ".join(f"`{name.strip()}` {columns[name.strip()]}" for name in names)
    statement = f"{found.statement} SELECT * FROM input('{structure}')"
    settings = {"optimize_on_insert": "0", "max_threads": "1", "max_insert_threads": "1"}
    for file in sorted(folder.glob("*.rows"))[first:last]:
        rows = Insert(statement, found.input_format, file.read_bytes())
        store.engine.insert(rows, settings=settings | {"insert_deduplication_token": file.name})


def state(store: Store) -> dict[str, Any]:
    """What the store holds, by table, and what the process took so far."""
    rows, parts, stored_bytes = {}, {}, {}
    by_table = "SELECT table, sum(rows), count(), sum(bytes_on_disk) FROM system.parts"
    for table, *held in ask(store, f"{by_table} WHERE active AND database = 'otel' GROUP BY table"):
        rows[table], parts[table], stored_bytes[table] = map(int, held)
    ((rolled_up,),) = ask(store, "SELECT sum(requests) FROM tailsight_request_rollup WHERE measure != 'ttft'")
    ((counted,),) = ask(store, "SELECT sum(samples) FROM tailsight_sample_hours")
    columns = ask(
        store,
        "SELECT column, sum(column_bytes_on_disk) FROM system.parts_columns "
        "WHERE active AND database = 'otel' AND table = 'otel_traces' GROUP BY column",
    )
    return {
        "cpu_s": cpu_s(),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "traces": rows.get("otel_traces", 0),
        "metrics": sum(count for table, count in rows.items() if table.startswith("otel_metrics_")),
        "rows": rows,
        "views_agree": int(rolled_up) == rows.get("tailsight_requests", 0)
        and int(counted) == rows.get("tailsight_samples", 0),
        "parts": parts,
        "stored_bytes": stored_bytes,
        "span_bytes_by_column": {column: int(size) for column, size in columns},
    }


def wait_for_merges(store: Store) -> None:
    """Until no merge has begun for three seconds."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 3:
        time.sleep(0.2)
        if ask(store, "SELECT 1 FROM system.merges LIMIT 1"):
            quiet_since = time.monotonic()


# -- the client --------------------------------------------------------------------------------------------------------


class Server:
    """The server's process, as the client sees it; a context that ends it."""

    def __init__(
        self, folder: Path, *, with_views: bool = True, index_profile: IndexProfile = "lean", tree: Path = ROOT
    ) -> None:
        options = ["--views" if with_views else "--no-views", "--index-profile", index_profile]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", str(folder), *options],
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = self._read_line()
        if not told:
            raise RuntimeError(f"the server's process ended at once, with status {self._process.wait()}: see above")
        self.port = int(told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command; what it answers."""
        self._write_line(command)
        answer: dict[str, Any] = json.loads(self._read_line())
        return answer

    def quit(self) -> None:
        """End the process in good order."""
        self._write_line("quit")
        self._process.communicate(timeout=60)

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _write_line(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)


def send(port: int, bodies: Sequence[bytes], content_type: str = PROTOBUF, signal: Signal = "traces") -> None:
    """Send each body, over a few connections, each waiting for its answers.

    Raises:
        RefusedError: when the server answers anything but full success.
    """

    def send_share(share: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Content-Type": content_type, "Content-Encoding": "gzip"}
        for body in share:
            connection.request("POST", f"/v1/{signal}", body, headers)
            answer = connection.getresponse()
            if answer.read() not in {b"", b"{}"} or answer.status != http.client.OK:
                raise RefusedError(f"the server answered {answer.status} to {content_type}")
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send_share, [bodies[first::CONNECTIONS] for first in range(CONNECTIONS)]))


def measure(
    sent: Payload,
    items: int,
    *,
    with_views: bool = True,
    merges: Merges = "stopped",
    index_profile: IndexProfile = "lean",
    tree: Path = ROOT,
) -> Measurement:
    """One run against a fresh server, of this tree or another one.

    Raises:
        RefusedError: when the server does not take the payload.
        RuntimeError: when not all that was sent is in the store.
    """
    bodies = sent.of(items)
    with (
        tempfile.TemporaryDirectory(prefix="tailsight-bench-") as folder,
        Server(Path(folder) / "data", with_views=with_views, index_profile=index_profile, tree=tree) as server,
    ):
        send(server.port, sent.warm_up, sent.content_type, sent.signal)
        before = server.ask("flush")
        if merges == "on":
            before = server.ask("merge")
        started_s = time.monotonic()
        send(server.port, bodies, sent.content_type, sent.signal)
        sent_s = time.monotonic()
        loaded = server.ask("flush")
        loaded_s = time.monotonic()
        merged = loaded if merges == "stopped" else server.ask("merge")
        if merges == "on":
            loaded = merged
        server.quit()
    stored = loaded[sent.signal] - before[sent.signal]
    if stored != len(bodies) * sent.items_a_request or not merged["views_agree"]:
        raise RuntimeError(f"sent {len(bodies) * sent.items_a_request} of {sent.signal}, {stored} are in the store")
    return Measurement(
        items=stored,
        cpu_s=loaded["cpu_s"] - before["cpu_s"],
        cpu_s_with_merges=merged["cpu_s"] - before["cpu_s"] if merges == "after" else None,
        wall_s=loaded_s - started_s,
        lag_s=loaded_s - sent_s,
        parts=sum(count for table, count in loaded["parts"].items() if table.startswith(f"otel_{sent.signal}")),
        peak_rss_mib=merged["peak_rss_mib"],
    )


def merged(sent: Payload, tables: Sequence[str], *, with_views: bool = True) -> dict[str, Any]:
    """What a fresh server's store holds once each body was sent once and each of these tables is one part a day.

    Raises:
        RefusedError: when the server does not take the payload.
        RuntimeError: when not all that was sent is in the store.
    """
    bodies = [*sent.warm_up, *sent.bodies]
    with (
        tempfile.TemporaryDirectory(prefix="tailsight-bench-") as folder,
        Server(Path(folder) / "data", with_views=with_views) as server,
    ):
        send(server.port, bodies, sent.content_type, sent.signal)
        server.ask("flush")
        state = server.ask(f"optimize {' '.join(tables)}")
        server.quit()
    if state[sent.signal] != len(bodies) * sent.items_a_request:
        raise RuntimeError(
            f"sent {len(bodies) * sent.items_a_request} of {sent.signal}, {state[sent.signal]} are stored"
        )
    return state


def median(values: Iterable[float], digits: int | None = None) -> float | None:
    """The median, rounded; None of nothing."""
    found = list(values)
    return round(statistics.median(found), digits) if found else None


def machine() -> str:
    """What was measured on, in words."""
    return f"{os.cpu_count()} CPUs, {platform.machine()}, {cpu_model()}, Python {platform.python_version()}"


def cpu_model() -> str:
    """What the machine says about its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def main() -> None:
    """Be the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--views", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--index-profile", choices=get_args(IndexProfile), default="lean")
    arguments = parser.parse_args()
    serve(arguments.folder, with_views=arguments.views, index_profile=arguments.index_profile)


if __name__ == "__main__":
    main()
