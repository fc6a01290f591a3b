"""kill -9 during ingest, again and again: what was acknowledged is there, exactly once, in all that is made of it.

TAILSIGHT_FAULT_ROUNDS says how often; the suite of faults (docs/operate.md) was run with 50.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.scenarios.senders import CollectorProcess, Sender, check_exactly_once, report

ROUNDS = int(os.environ.get("TAILSIGHT_FAULT_ROUNDS", "10"))


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    moments = random.Random(20261123)
    folder = tmp_path / "data"
    sender = Sender()
    sender.start()
    for number in range(ROUNDS):
        process = CollectorProcess(folder)
        if number % 4 == 3:  # while it starts, migrates, and loads what is left
            time.sleep(moments.uniform(0.5, 3.0))
        else:
            sender.port = process.wait_until_ready()
            time.sleep(moments.uniform(0.05, 1.0))
            sender.port = None  # somebody else may get it
        process.kill()
    process = CollectorProcess(folder)
    sender.port = process.wait_until_ready()
    time.sleep(0.5)
    sender.stop()
    code, counters = process.terminate()
    assert code == 0, "SIGTERM drains within its deadline"
    assert not list((folder / "wal").glob("*.wal")), "what is loaded is removed from the log"
    assert counters["quarantined_items_total"] == 0

    found = report(folder)
    check_exactly_once(found, sender.acknowledged)
    acknowledged = sum(map(len, sender.acknowledged.values()))
    assert acknowledged > 100 * ROUNDS
    print(  # noqa: T201  # the figures of a run, shown by -s
        f"{ROUNDS} kills: {sender.sent_items} items sent, {acknowledged} acknowledged, "
        f"{len(found['spans']) + len(found['points'])} stored, 0 missing, 0 twice"
    )
