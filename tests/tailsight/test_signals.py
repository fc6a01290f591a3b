"""Who asks a process of ours to end is heard, whatever its main thread does."""

import subprocess
import sys

import pytest

from tests.tailsight.test_wiring import ROOT

# The signal goes to another thread, so it does not interrupt what the main thread waits for.
PROGRAM = """
import os, signal, threading, time
from tailsight.signals import until_signal
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
stop = until_signal()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
threading.Timer(0.2, os.kill, (os.getpid(), signal.NAME)).start()
stop.wait()
print("it ends")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_another_thread_gets_ends_the_wait_of_the_main_thread(name: str) -> None:
    command = [sys.executable, "-c", PROGRAM.replace("NAME", name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "it ends\n", "")
