"""Samples rolled up by minute, an hour at a time, once the hour is over.

Views tell how many samples of each hour came in (`tailsight_sample_hours`); an hour that holds more of them than were
rolled up is rolled up, again if need be. So a late sample, a backfill and a job that was cut short are one case, and
running the job twice changes nothing.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import polars as pl

from storage import sql
from storage.frames import TIME
from storage.store import Store

log = logging.getLogger(__name__)

_SETTLED = timedelta(minutes=2)  # what an hour's last scrapes take to come in
_SEALED = 1 << 62  # more samples than any hour has: nothing is rolled up again
_OPEN_HOURS = {"hour": TIME, "samples_count": pl.UInt64}
_DAYS = {"day": pl.Date}


def roll_up_signals(
    store: Store, now: datetime, hours_max: int = 48, crowded: Sequence[str] = (), series_max: int = 100_000
) -> int:
    """Roll up the hours that are over and hold samples that the rollup lacks, the newest first.

    Args:
        store: migrated.
        now: hours that ended before, with a little time for what comes late, are over.
        hours_max: most hours of one call; the rest is for the next.
        crowded: metrics in lower case of which only the first `series_max` series are rolled up, of those alive in
            these hours.
        series_max: how many these are.

    Returns:
        How many hours were rolled up.

    Raises:
        StoreError: when the store cannot do it now; what was rolled up stays.
    """
    over = (now - _SETTLED).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    found = store.query("open_hours", _OPEN_HOURS, start=datetime.fromtimestamp(0, UTC), end=over, limit=hours_max)
    for _, rows in groupby(found.iter_rows(), key=lambda row: row[0].date()):
        # How many there were is asked before they are read: what comes in between is rolled up the next time.
        samples_count = dict(rows)
        store.execute(
            sql.load_statement("signal_rollup"),
            {
                "start": min(samples_count),
                "end": max(samples_count) + timedelta(hours=1),
                "hours": sorted(samples_count),
                "crowded": list(crowded),
                "series_max": series_max,
            },
        )
        _write_hours(store, list(samples_count), rolled_up=list(samples_count.values()))
    return found.height


def count_unknown_hours(store: Store) -> int:
    """Count the samples that came in before they were counted as they come; the hours that were found.

    To be called while nothing is being inserted; a sample that is counted twice costs one needless rollup.
    """
    days = store.query("unknown_days", _DAYS)["day"].to_list()
    if not days:
        return 0
    found = store.query("unknown_hours", _OPEN_HOURS, days=days)
    _write_hours(store, found["hour"].to_list(), samples=found["samples_count"].to_list())
    return found.height


def seal_day(store: Store, day: date) -> None:
    """Keep what is rolled up of this day whatever comes later: its samples are about to be dropped."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    _write_hours(store, [midnight + timedelta(hours=hour) for hour in range(24)], rolled_up=[_SEALED] * 24)


def _write_hours(
    store: Store, hours: Sequence[datetime], samples: Sequence[int] = (), rolled_up: Sequence[int] = ()
) -> None:
    """Add to what is known of these hours; what is not given is 0, which changes nothing."""
    nothing = [0] * len(hours)
    frame = pl.DataFrame(
        {"hour": hours, "samples": samples or nothing, "rolled_up": rolled_up or nothing},
        schema={"hour": TIME, "samples": pl.UInt64, "rolled_up": pl.UInt64},
    )
    store.insert("tailsight_sample_hours", frame)
