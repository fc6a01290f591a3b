"""`tailsight demo` as somebody new runs it, who copies what it prints into another terminal."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_lines_that_the_demo_prints_find_its_store_and_its_log_tells_of_no_failure(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TAILSIGHT_")}
    command = [sys.executable, "-m", "tailsight", "demo", "--days", "0.05", "--port", "0"]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
    ) as demo:  # fmt: skip
        give_up = threading.Timer(300, demo.kill)
        give_up.start()
        try:
            assert demo.stdout is not None
            lines = []
            for line in demo.stdout:
                lines.append(line.strip())
                if line.endswith(" incidents\n"):
                    break
            assert re.fullmatch(r"export TAILSIGHT_STORE=chdb:///.*/tailsight-demo-\w+", lines[-2]), lines
            copied = ["bash", "-c", "\n".join(lines[-2:])]
            asked = subprocess.run(
                copied, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
            )
            assert (asked.returncode, asked.stderr) == (0, "")
            demo.send_signal(signal.SIGINT)
            demo.stdout.read()
            assert demo.wait() == 0
        finally:
            give_up.cancel()
            demo.kill()
    assert (tmp_path / "log").read_text() == ""
