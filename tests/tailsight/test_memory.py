"""Freed memory stays with the process, and what is loaded is not looked through for garbage."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import resource, sys
if sys.argv[1] == "keep":
    from tailsight.memory import keep_freed_memory
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bodies = [bytearray(b"x") * (33 << 20)]  # glibc keeps nothing that is larger than it may
bytearray(b"x") * (1 << 20)
before = faults()
for _ in range(100):
    body = bytearray(b"x") * (4 << 20)
    del body
print(faults() - before)
"""


def faults(argument: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, argument], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def test_large_bodies_are_not_mapped_anew_each_time() -> None:
    assert faults("keep") < faults("leave") / 2


def test_a_full_collection_leaves_out_what_was_loaded_before() -> None:
    program = """
import gc
import tailsight.wiring
from tailsight.memory import spare_what_is_loaded
loaded = len(gc.get_objects())
spare_what_is_loaded()
print(loaded, len(gc.get_objects()), gc.isenabled())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded, looked_through, is_enabled = done.stdout.split()
    assert int(loaded) > 100_000
    assert int(looked_through) < 1_000
    assert is_enabled == "True"
