"""Silences: time in which nobody was heard of a service, although requests should have come."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.traffic_stops import EXPECTED_MIN


class HeardTime:
    """The time of a service without the silences that its traffic does not explain: that nothing comes is no calm.

    A silence is not explained while its history tells that `EXPECTED_MIN` requests should have come in it, and none so
    long was in that history. So a service that is asked in bursts is calm between them, and one that nobody asks for a
    history is silent as usual.

    Args:
        starts_s: (n,) starts of the steps that have requests, ascending, n >= 1.
        requests: (n,) how many.
        until_s: the end of what was looked at.
        step_s: how long a step is.
        history_s: how long a history is; it ends with the silence.
    """

    def __init__(
        self, starts_s: NDArray[np.float64], requests: NDArray[np.int64], until_s: float, step_s: int, history_s: int
    ) -> None:
        ends_s = np.append(starts_s[1:], until_s)
        silent_s = np.maximum(ends_s - starts_s - step_s, 0.0)
        total = np.append(0, np.cumsum(requests))
        oldest = np.searchsorted(starts_s, ends_s - history_s)
        expected = np.maximum(total[1:] - total[oldest], 0) / history_s * silent_s
        lost_s = np.zeros(len(starts_s))
        for place in np.flatnonzero(expected >= EXPECTED_MIN):
            if silent_s[place] > silent_s[oldest[place] : place].max(initial=0.0):
                lost_s[place] = silent_s[place]
        self._starts_s = starts_s
        self._lost_s = np.append(0.0, np.cumsum(lost_s))
        self.until_s = until_s - float(self._lost_s[-1])

    def of(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """These starts of steps, each less the unexplained silences before it."""
        heard_s: NDArray[np.float64] = seconds - self._lost_s[np.searchsorted(self._starts_s, seconds)]
        return heard_s


def heard_times(series: pl.DataFrame, until: datetime, step_s: int, history_s: int) -> Mapping[str, HeardTime]:
    """The heard time of each service of a frame of `read_request_series`; all of its models are heard together."""
    by_step = series.group_by("service", "time").agg(pl.col("requests").sum()).filter(pl.col("requests") > 0)
    return {
        str(service): HeardTime(
            rows["time"].dt.epoch("us").to_numpy() / 1e6,
            rows["requests"].cast(pl.Int64).to_numpy(),
            until.timestamp(),
            step_s,
            history_s,
        )
        for (service,), rows in by_step.sort("time").group_by("service")
    }
