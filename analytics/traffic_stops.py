"""Services that nobody reaches any more: no request, where there was always one.

An outage before the first span leaves no failure to count and no latency to rise; only that nothing comes says so.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

STEP_S = 300
HISTORY = timedelta(hours=26)
"""How far back is looked at: a day, to know whether the service is silent at this time every day, and two hours."""

EXPECTED_MIN = 20.0
"""Requests that would have come: by chance none does once in 5e8 (Poisson)."""

_USUAL = timedelta(hours=2)
_PRESENT_RATIO = 0.9  # of the steps of the two hours before: what pauses by itself is not missed

TRAFFIC_STEPS: dict[str, pl.DataType] = {
    "service": pl.String(),
    "time": pl.Datetime("us", "UTC"),
    "requests": pl.UInt64(),
    "oldest": pl.Datetime("us", "UTC"),
    "newest": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True, slots=True)
class StoppedTraffic:
    """A service that had requests until `last_at`, so many a minute before."""

    service: str
    last_at: datetime
    usual_per_minute: float


def stopped_traffic(steps: pl.DataFrame, now: datetime) -> list[StoppedTraffic]:
    """The services whose requests stopped five minutes ago or more, by name.

    Not told are those of which fewer than twenty would have come, those that paused by themselves in the two hours
    before, and those that were silent at the same time a day earlier.

    Args:
        steps: schema `TRAFFIC_STEPS`, of `HISTORY` until `now`; steps of five minutes without requests are not there.
        now: when it is looked.
    """
    found = []
    for (service,), rows in steps.group_by("service", maintain_order=True):
        last: datetime = rows["newest"].max()  # type: ignore[assignment]  # a group has rows
        silent_s = (now - last).total_seconds()
        if silent_s < STEP_S:
            continue
        before = rows.filter(pl.col("time") > last - _USUAL)
        per_second = int(before["requests"].sum()) / _USUAL.total_seconds()
        is_steady = before.height >= _PRESENT_RATIO * _USUAL.total_seconds() / STEP_S
        day = timedelta(days=1)
        then = rows.filter(pl.col("time").is_between(last - day + timedelta(seconds=STEP_S), now - day))
        was_silent = rows["time"].min() < last - day and then.is_empty() and silent_s >= 2 * STEP_S  # type: ignore[operator]
        if is_steady and per_second * silent_s >= EXPECTED_MIN and not was_silent:
            found.append(StoppedTraffic(str(service), last, per_second * 60))
    return sorted(found, key=lambda one: one.service)


class PastTraffic:
    """The services whose requests had stopped at any moment of a stretch, as `stopped_traffic` would have said then.

    Args:
        steps: schema `TRAFFIC_STEPS`, from `HISTORY` before the stretch until its end.
    """

    def __init__(self, steps: pl.DataFrame) -> None:
        ordered = steps.sort("service", "time")
        until = pl.col("oldest").shift(-1).over("service")
        silent = ordered.select("service", pl.col("newest").dt.offset_by(f"{STEP_S}s").alias("since"), until=until)
        silent = silent.filter(pl.col("until").is_null() | (pl.col("until") >= pl.col("since")))
        self._services = silent["service"].to_list()
        self._since_us = silent["since"].dt.epoch("us").to_numpy()
        self._until_us = silent["until"].dt.epoch("us").fill_null(np.iinfo(np.int64).max).to_numpy()
        self._of = {str(service): rows for (service,), rows in ordered.partition_by("service", as_dict=True).items()}

    def stopped(self, now: datetime) -> list[StoppedTraffic]:
        """Those at `now`, by name."""
        now_us = round(now.timestamp() * 1_000_000)
        # Only of those that are silent: what the step under way holds was not there yet.
        places = np.flatnonzero((self._since_us <= now_us) & (now_us <= self._until_us))
        known = [
            self._of[self._services[place]].filter(pl.col("time").ge(now - HISTORY) & pl.col("newest").lt(now))
            for place in places
        ]
        return stopped_traffic(pl.concat(known), now) if known else []
