"""Services that nobody reaches any more: no request, where there was always one.

An outage before the first span leaves no failure to count and no latency to rise; only that nothing comes says so.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

STEP_S = 300
HISTORY = timedelta(hours=26)
"""How far back is looked at: a day, to know whether the service is silent at this time every day, and two hours."""

_USUAL = timedelta(hours=2)
_EXPECTED_MIN = 20.0  # requests that would have come: by chance none does once in 5e8 (Poisson)
_PRESENT_RATIO = 0.9  # of the steps of the two hours before: what pauses by itself is not missed

TRAFFIC_STEPS: dict[str, pl.DataType] = {
    "service": pl.String(),
    "time": pl.Datetime("us", "UTC"),
    "requests": pl.UInt64(),
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
        if is_steady and per_second * silent_s >= _EXPECTED_MIN and not was_silent:
            found.append(StoppedTraffic(str(service), last, per_second * 60))
    return sorted(found, key=lambda one: one.service)
