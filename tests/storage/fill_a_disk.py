"""Fill a small disk with days of samples, and see that retention brings it under its mark, or says that it cannot.

python fill_a_disk.py FOLDER
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.migrate import migrate
from storage.open import open_owned
from storage.retention import Retention, disk_of, read_days
from storage.settings import StoreSettings
from storage.store import Store

NOW = datetime.now(UTC)
SAMPLES_A_DAY = 2_000_000  # of random values: about 15 MB


def fill(store: Store, days_ago: int) -> None:
    """A day of samples that do not compress."""
    start = (NOW - timedelta(days=days_ago)).replace(hour=0, minute=0, second=0, microsecond=0)
    store.execute(
        "INSERT INTO tailsight_samples SELECT 'm', number % 100, {start:DateTime('UTC')} + number % 60, "
        "reinterpretAsFloat64(rand64()) FROM numbers({count:UInt64})",
        {"start": start, "count": SAMPLES_A_DAY},
    )


def settled_ratio(folder: Path) -> float:
    """How full the disk is once files that were dropped are gone from it."""
    ratio = disk_of(folder).used_ratio
    for _ in range(100):
        time.sleep(0.1)
        ratio, before = disk_of(folder).used_ratio, ratio
        if ratio == before:
            break
    return ratio


def main(folder: Path) -> None:
    """Eight days, of which some must go; then more of today than the disk may hold."""
    store = open_owned(StoreSettings(url=f"chdb://{folder}", memory_limit_bytes=1 << 30))
    migrate(store)
    store.execute("SYSTEM STOP MERGES")  # what is merged away stays on the disk for minutes
    for days_ago in range(8):
        fill(store, days_ago)
    limit = settled_ratio(folder) - 0.1
    settings = StoreSettings().retention.model_copy(update={"disk_full_ratio": limit})
    retention = Retention(store, settings, lambda: disk_of(folder))
    kept = retention.look(NOW)
    assert kept.for_room, "days were dropped"
    assert retention.full_reason is None
    assert settled_ratio(folder) <= limit
    left = {one.day for one in read_days(store) if one.table == "tailsight_samples"}
    assert left == {(NOW - timedelta(days=age)).date() for age in range(len(left))}, "the oldest ones"
    assert retention.look(NOW).for_room == (), "no more than that"

    while disk_of(folder).used_ratio <= limit + 0.2:
        fill(store, 0)
    retention.look(NOW)
    assert retention.full_reason
    assert {one.day for one in read_days(store)} == {NOW.date()}
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
