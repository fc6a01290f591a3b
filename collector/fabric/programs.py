"""Programs of the system, run without a shell and never for longer than they may.

They are started by `subprocess` from threads and not by the event loop: uvloop forks, which copies the page tables of a
process with gigabytes of engine in it and runs everybody's fork handlers; `subprocess` uses vfork.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from collector.errors import ReadingError

PACKAGES: Mapping[str, str] = {
    "ethtool": "ethtool",
    "ibnetdiscover": "infiniband-diags",
    "perfquery": "infiniband-diags",
    "ibqueryerrors": "infiniband-diags",
}
"""The package (of Debian, and of the Red Hat family) that brings each program."""

# A program that was killed has ended by then, unless it hangs in the kernel.
_KILLED_S = 5.0
# Of their own: programs that hang must not hold up what else waits for a thread.
_THREADS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="program")


@dataclass(frozen=True, slots=True)
class Output:
    """What a program printed. A program that failed may have printed good lines before."""

    text: str
    status: int
    complaint: str

    @property
    def failed(self) -> bool:
        """Did it end with an error."""
        return self.status != 0


async def run_program(program: str, *arguments: str, timeout_s: float) -> Output:
    """Run a program to its end, with all that it starts in a process group of its own.

    Raises:
        ReadingError: `missing_program` with what to install, `not_executable`, or `timeout`. Then nothing of it
            runs, but what hangs in the kernel.
    """
    run = _Run([program, *arguments], timeout_s)
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, run)
    except asyncio.CancelledError:
        run.stop()
        raise


class _Run:
    """One run of a program: called in a thread, stopped from any."""

    def __init__(self, command: list[str], timeout_s: float) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    def __call__(self) -> Output:
        with self._lock:
            if self._is_stopped:
                raise ReadingError("stopped", f"{_shown(self._command)} was not wanted any more")
            process = self._process = self._started()
        try:
            printed, complained = process.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            _leave(process)
            raise ReadingError("timeout", f"{_shown(self._command)} did not end within {self._timeout_s:g} s") from None
        complaint = complained.decode(errors="replace").strip().rpartition("\n")[2]
        return Output(printed.decode(errors="replace"), process.returncode, complaint)

    def stop(self) -> None:
        """Kill the program and all that it started, if it still runs; it does not begin any more if it has not."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _started(self) -> "subprocess.Popen[bytes]":
        program = self._command[0]
        try:
            return subprocess.Popen(  # noqa: S603  # no shell; the program is named in the settings
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {"LC_ALL": "C"},  # what is parsed must not be translated
                start_new_session=True,
            )
        except FileNotFoundError:
            package = PACKAGES.get(Path(program).name)
            install = f"install the package {package}, or " if package else ""
            raise ReadingError(
                "missing_program", f"there is no program {program}: {install}correct its path in the settings"
            ) from None
        except OSError as error:
            raise ReadingError("not_executable", f"{program} cannot be run: {error.strerror}") from error


def _leave(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a program that was killed; one that hangs in the kernel (state D) ends when its hardware answers."""
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_KILLED_S)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, name="hanging program", daemon=True).start()


async def text_of(program: str, *arguments: str, timeout_s: float) -> str:
    """What a program prints that must end well.

    Raises:
        ReadingError: as `run_program`, and `failed` with its own last words.
    """
    output = await run_program(program, *arguments, timeout_s=timeout_s)
    if output.failed:
        words = output.complaint or "it said nothing"
        raise ReadingError("failed", f"{_shown([program, *arguments])} ended with status {output.status}: {words}")
    return output.text


def _shown(command: list[str]) -> str:
    return f"`{' '.join(command)}`"
