"""Rotel beside ours: a collector in Rust that takes OTLP/HTTP and writes ClickHouse's RowBinary.

`benchmarks.ingest` runs it.

https://pypi.org/project/rotel/ carries its binary. It is no dependency of ours: it is used where it is installed, else
fetched by uv into its cache, and left out, with the reason, where neither can be.

rotel writes to a sink, a process of its own, which keeps what it is sent and answers at once. Counted is rotel's own
CPU time, of all its threads. What a server would then spend to take in those very bytes is measured by giving them to
the engine.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).parent.parent
VERSION = "0.0.1a15"
BATCH_SPANS = 32_768  # four times its own choice: fewer and larger inserts, as ours are
BATCH_TIMEOUT = "1s"  # ours closes a segment after a second too
STATEMENT = "statement.sql"
"""The file that holds the INSERT whose rows are kept, up to and with its format."""
_FETCH_TIMEOUT_S = 120
_START_TIMEOUT_S = 20
_QUIET_S = 4.0  # longer than its batch timeout, also on a machine that is busy
_CLOCK_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class PeerMissingError(Exception):
    """rotel cannot be had here."""


@dataclass(frozen=True, slots=True)
class Inserts:
    """What rotel wrote: `STATEMENT` in the folder, and one file of rows an insert, `*.rows`, in the order of names.

    Attributes:
        warm_up: how many of the files came before the measurement.
        count: how many there are.
    """

    warm_up: int
    count: int


def find_binary() -> Path:
    """Rotel's program: on PATH, installed in this environment, or in uv's cache.

    Raises:
        PeerMissingError: saying why there is none.
    """
    on_path = shutil.which("rotel-agent")
    if on_path:
        return Path(on_path)
    beside_python = Path(sys.executable).with_name("uv")
    uv = beside_python if beside_python.exists() else shutil.which("uv")
    if uv is None:
        raise PeerMissingError("rotel-agent is not on PATH, and there is no uv to fetch it")
    where = "import rotel.agent; print(rotel.agent.Agent.agent_path)"
    command = [
        uv,
        "run",
        "--quiet",
        "--no-project",
        "--python",
        sys.executable,
        "--with",
        f"rotel=={VERSION}",
        "python",
    ]
    try:
        found = subprocess.run(
            [*command, "-c", where], capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=True, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise PeerMissingError(f"uv did not fetch rotel=={VERSION} within {_FETCH_TIMEOUT_S} s") from None
    except (OSError, subprocess.CalledProcessError) as error:
        told = " ".join(str(getattr(error, "stderr", None) or error).split())
        raise PeerMissingError(f"uv cannot fetch rotel=={VERSION}: {told[:300]}") from None
    binary = Path(found.stdout.strip())
    try:
        subprocess.run([binary, "version"], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerMissingError(f"{binary} does not run on this machine: {error}") from None
    return binary


def measure(
    binary: Path, folder: Path, send_warm_up: Callable[[int], None], send_rest: Callable[[int], None]
) -> tuple[float, Inserts]:
    """CPU seconds that rotel takes for what `send_rest` sends, and what it wrote.

    Args:
        binary: rotel's program.
        folder: an empty one; what rotel writes is kept there.
        send_warm_up: sends requests to a port of this machine, not counted.
        send_rest: sends those that are counted.

    Raises:
        RuntimeError: when rotel does not start, or writes with more than one statement.
    """
    with _sink(folder) as sink_port, _running(binary, sink_port) as (port, pid):
        send_warm_up(port)
        warm_up = _wait_until_quiet(folder, pid)
        before_s = _cpu_s(pid)
        send_rest(port)
        count = _wait_until_quiet(folder, pid)
        cpu_s = _cpu_s(pid) - before_s
    return cpu_s, Inserts(warm_up, count)


@contextmanager
def _running(binary: Path, sink_port: int) -> Iterator[tuple[int, int]]:
    """rotel, writing to the sink without compression, its cheapest way: its port and its process."""
    http, grpc = _free_port(), _free_port()
    with tempfile.TemporaryDirectory(prefix="rotel-") as folder, (Path(folder) / "log").open("w+") as log:
        options = {
            "pid-file": f"{folder}/pid",
            "otlp-http-endpoint": f"127.0.0.1:{http}",
            "otlp-grpc-endpoint": f"127.0.0.1:{grpc}",
            "batch-max-size": str(BATCH_SPANS),
            "batch-timeout": BATCH_TIMEOUT,
            "exporter": "clickhouse",
            "clickhouse-exporter-endpoint": f"http://127.0.0.1:{sink_port}",
            "clickhouse-exporter-compression": "none",
            "clickhouse-exporter-async-insert": "false",
        }
        arguments = [argument for name, value in options.items() for argument in (f"--{name}", value)]
        process = subprocess.Popen([binary, "start", *arguments], cwd=folder, env={}, stdout=log, stderr=log)
        try:
            if not _answers(http, process):
                log.seek(0)
                raise RuntimeError(f"rotel does not start: {log.read()[-500:]}")
            yield http, process.pid
        finally:
            process.terminate()
            process.wait(timeout=30)


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    ends_at = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < ends_at and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _cpu_s(pid: int) -> float:
    """CPU time of all threads of a process: fields 14 and 15 of https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_A_SECOND


# -- the sink --------------------------------------------------------------------------------------------------------


@contextmanager
def _sink(folder: Path) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rotel", "--sink", folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _wait_until_quiet(folder: Path, pid: int) -> int:
    """Until nothing has come and rotel has done nothing for a while; how many files of rows there are."""
    seen, quiet_since = None, time.monotonic()
    while time.monotonic() - quiet_since < _QUIET_S:
        time.sleep(0.1)
        found = (len(list(folder.iterdir())), _cpu_s(pid))
        if found != seen:
            seen, quiet_since = found, time.monotonic()
    return len(list(folder.glob("*.rows")))


class Sink:
    """As much of ClickHouse's HTTP interface as an INSERT needs: keeps the rows of each in a file, answers 200.

    Raises:
        RuntimeError: in the connection's thread, when another statement comes than the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._bodies = 0

    def serve(self) -> None:
        """Print the port, and answer for ever."""
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._answer_all, args=(connection,), daemon=True).start()

    def _answer_all(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while request_line := stream.readline():
                path = request_line.split()[1].decode()
                is_chunked = False
                size = 0
                while (header := stream.readline().strip().lower()) != b"":
                    is_chunked = is_chunked or header == b"transfer-encoding: chunked"
                    if header.startswith(b"content-length:"):
                        size = int(header.partition(b":")[2])
                self._keep_statement(path)
                number = self._next_number()
                partial = self._folder / f"{number:06}.partial"
                with partial.open("wb") as file:
                    for piece in _chunks(stream) if is_chunked else [stream.read(size)]:
                        file.write(piece)
                partial.rename(partial.with_suffix(".rows"))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def _next_number(self) -> int:
        with self._lock:
            self._bodies += 1
            return self._bodies

    def _keep_statement(self, path: str) -> None:
        [statement] = parse_qs(urlsplit(path).query)["query"]
        file = self._folder / STATEMENT
        with self._lock:
            if not file.exists():
                file.write_text(statement)
            elif file.read_text() != statement:
                raise RuntimeError(f"two statements: {file.read_text()} and {statement}")


def _chunks(stream: BufferedReader) -> Iterator[bytes]:
    """The pieces of a chunked body: https://www.rfc-editor.org/rfc/rfc9112#section-7.1."""
    while size := int(stream.readline().partition(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    while stream.readline().strip():  # trailers
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sink", type=Path, required=True, help="folder to keep inserted rows in")
    Sink(parser.parse_args().sink).serve()
