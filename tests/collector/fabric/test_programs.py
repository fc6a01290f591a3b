"""Programs that do well, badly, not at all, and for ever."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from collector.errors import ReadingError
from collector.fabric import programs
from collector.fabric.programs import Output, run_program, text_of


def script(folder: Path, body: str, name: str = "program") -> str:
    """A program that does this."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return str(file)


def outcome(program: str, *arguments: str, timeout_s: float = 30.0) -> Output:
    return asyncio.run(run_program(program, *arguments, timeout_s=timeout_s))


def ends(pid: int) -> bool:
    """Does this process end within a while; one that nobody waits for has ended too."""
    for _ in range(3000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_arguments_reach_the_program_as_they_are_and_no_shell_reads_them(tmp_path: Path) -> None:
    program = script(tmp_path, 'printf "%s|" "$@"')
    assert outcome(program, "a b", "$(touch x)", ";", "*").text == "a b|$(touch x)|;|*|"


def test_what_a_failed_program_printed_before_is_kept(tmp_path: Path) -> None:
    found = outcome(script(tmp_path, "echo good; echo first >&2; echo 'last words' >&2; exit 3"))
    assert found == Output("good\n", 3, "last words")
    assert found.failed


def test_a_program_that_must_end_well_tells_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ReadingError, match="ended with status 3: no such port") as told:
        asyncio.run(text_of(script(tmp_path, "echo 'no such port' >&2; exit 3"), timeout_s=30))
    assert told.value.reason == "failed"


def test_a_missing_program_says_what_to_install() -> None:
    with pytest.raises(ReadingError, match="there is no program /nowhere/perfquery: install the package inf") as told:
        outcome("/nowhere/perfquery")
    assert told.value.reason == "missing_program"


def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    with pytest.raises(ReadingError, match="cannot be run: Permission denied") as told:
        outcome(str(tmp_path / "text"))
    assert told.value.reason == "not_executable"


def test_a_program_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    program = script(tmp_path, f"sleep 600 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(ReadingError, match=r"did not end within 0\.5 s") as told:
        outcome(program, timeout_s=0.5)
    assert told.value.reason == "timeout"
    assert ends(int((tmp_path / "child").read_text()))


def test_a_program_that_leaves_a_child_on_its_pipe_is_stopped_too(tmp_path: Path) -> None:
    program = script(tmp_path, f"sleep 600 & echo $! > {tmp_path}/child; exit 0")
    with pytest.raises(ReadingError, match="did not end"):
        outcome(program, timeout_s=0.5)
    assert ends(int((tmp_path / "child").read_text()))


def test_a_program_that_cannot_be_killed_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "killpg", lambda *_: None)  # as for one that hangs in the kernel
    monkeypatch.setattr(programs, "_KILLED_S", 0.1)
    program = script(tmp_path, f"echo $$ > {tmp_path}/own; exec sleep 600")
    with pytest.raises(ReadingError, match="did not end") as told:
        asyncio.run(asyncio.wait_for(run_program(program, timeout_s=0.5), 30))
    assert told.value.reason == "timeout"
    own = int((tmp_path / "own").read_text())
    os.kill(own, signal.SIGKILL)
    assert ends(own)


def test_nothing_stays_behind_when_the_caller_is_cancelled(tmp_path: Path) -> None:
    program = script(tmp_path, f"echo $$ > {tmp_path}/own; exec sleep 600")

    async def cancelled() -> None:
        running = asyncio.create_task(run_program(program, timeout_s=600))
        own = tmp_path / "own"
        while not own.exists() or not own.read_text().strip():  # noqa: ASYNC110  # a file wakes nobody
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(cancelled(), 30))
    assert ends(int((tmp_path / "own").read_text()))


def test_it_speaks_english_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert outcome(script(tmp_path, "echo $LC_ALL")).text == "C\n"
