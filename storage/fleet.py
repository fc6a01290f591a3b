"""Questions on all GPUs and ports of a fleet at once, or on those of one node.

`storage.readers` asks of the series that it is handed; here a question names metrics alone, for a list of a hundred
thousand series takes longer to read than what it asks for.
"""

from collections.abc import Sequence

import polars as pl

from domain.window import Window
from storage.frames import TIME, Schema, bounds, known
from storage.readers import SAMPLE_ROWS, SERIES
from storage.store import Store

LAST_SEEN: Schema = {"series_id": pl.UInt64, "last_seen": TIME}
WORKLOADS: Schema = {"replica": pl.String, "service": pl.String, "model": pl.String}
_LOOKED_AT_S, _LOOKS = 300, 24
_SERIES_IDS: Schema = {"series_id": pl.UInt64}


def read_device_series(
    store: Store, window: Window, metrics: Sequence[str], labels: Sequence[str] = (), node: str | None = None
) -> pl.DataFrame:
    """The series of these metrics alive in the window, of one node where it is named. Schema: `SERIES`."""
    asked = {"metrics": _lower(metrics), "labels": list(labels), "node": node or ""}
    return known(store.query("device_series", SERIES, **bounds(window), **asked))


def read_device_samples(store: Store, window: Window, metrics: Sequence[str], step_s: int) -> pl.DataFrame:
    """The last value of each step of all series of these metrics. Schema: `SAMPLE_ROWS`."""
    return store.query("device_samples", SAMPLE_ROWS, **bounds(window), metrics=_lower(metrics), step_s=step_s)


def read_moved_series(store: Store, window: Window, metrics: Sequence[str]) -> pl.Series:
    """The ids of those series of these metrics whose value changed within the window.

    They are counters: one that moved and was set back to what it was before is not seen to.
    """
    asked = {"metrics": _lower(metrics), "every_s": max(_LOOKED_AT_S, round(window.seconds) // _LOOKS)}
    return store.query("moved_series", _SERIES_IDS, **bounds(window), **asked)["series_id"]


def read_last_seen(store: Store, series: pl.DataFrame) -> pl.DataFrame:
    """When each of these series (of schema `SERIES`) was heard of last. Schema: `LAST_SEEN`."""
    if series.is_empty():
        return pl.DataFrame(schema=LAST_SEEN)
    asked = {"metrics": series["metric"].unique().to_list(), "series_ids": series["series_id"].to_list()}
    return store.query("last_seen", LAST_SEEN, **asked)


def read_workloads(store: Store, window: Window) -> pl.DataFrame:
    """Which service and model each replica served most requests of. Schema: `WORKLOADS`."""
    return known(store.query("workloads", WORKLOADS, **bounds(window)))


def _lower(metrics: Sequence[str]) -> list[str]:
    return [metric.lower() for metric in metrics]
