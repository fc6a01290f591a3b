"""Events of objectives that are not requests: minutes that were fast enough, GPUs that worked, data that was fresh.

Each function turns what was read into good and all events by the minute, which are counted, sliced and judged like
requests. Only minutes that are over count: of one that goes on it is not known yet.
"""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from domain.gpu_events import XIDS
from domain.window import Window

MINUTE_S = 60

GPU_ALIVE = ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_PROF_GR_ENGINE_ACTIVE")
"""A GPU that works tells at least one of these; one that fell off the bus may go on telling what the driver keeps."""
GPU_XID = "DCGM_FI_DEV_XID_ERRORS"
"""The last XID, until the driver starts anew."""
FAULTY_XIDS = tuple(code for code, described in XIDS.items() if described.is_hardware)
"""XIDs that lie with the machine, not with a program."""

_COUNTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "time": pl.Datetime("us", "UTC"),
    "total": pl.UInt64,
    "good": pl.UInt64,
}

Seconds = NDArray[np.int64]


def throughput_counts(
    requests: pl.DataFrame, waiting: pl.DataFrame, window: Window, floor_per_s: float
) -> pl.DataFrame:
    """Minutes in which somebody asked, and of these the ones with enough predictions a second.

    Asked was in a minute in which requests began (failed ones too) or waited in an engine. A minute in which nobody
    asked is no event: it is neither good nor bad.

    Args:
        requests: columns time, total, good: all and those that did not fail, by the minute of their beginning.
        waiting: columns time, waiting: minutes with requests in the queue of an engine.
        window: minutes that lie wholly within it are counted.
        floor_per_s: predictions a second that are enough.

    Returns:
        Columns time, total, good, a row an event.
    """
    minutes = _minutes(window)
    asked, predictions = np.zeros(len(minutes), dtype=np.bool_), np.zeros(len(minutes))
    for frame in (requests.filter(pl.col("total") > 0), waiting.filter(pl.col("waiting") > 0)):
        places, _ = _placed(frame, minutes)
        asked[places] = True
    places, inside = _placed(requests, minutes)
    np.add.at(predictions, places, requests["good"].to_numpy().astype(float)[inside])
    return _counts(minutes, asked.astype(np.int64), asked & (predictions >= floor_per_s * MINUTE_S))


def freshness_counts(newest: pl.DataFrame, first: datetime | None, window: Window, age_max_s: float) -> pl.DataFrame:
    """Minutes since the first data ever, and of these the ones at whose end the newest was young enough.

    By event time: data that comes in late makes the past fresh.

    Args:
        newest: columns time, newest: of each minute that had any, the newest; from `age_max_s` before the window on.
        first: when the first came at all; None for never, and then there are no events.
        window: minutes that lie wholly within it are counted.
        age_max_s: how old the newest may be.

    Returns:
        Columns time, total, good, a row an event.
    """
    minutes = _minutes(window)
    if first is None:
        return pl.DataFrame(schema=_COUNTS)
    times = np.sort(newest["newest"].dt.epoch("us").to_numpy()) if newest.height else np.zeros(0, dtype=np.int64)
    ends_us = (minutes + MINUTE_S) * 1_000_000
    known = ends_us > int(first.timestamp() * 1e6)
    place = np.searchsorted(times, ends_us, side="left") - 1  # the newest before the minute is over
    age_us = np.full(len(minutes), np.inf)
    seen = place >= 0
    age_us[seen] = ends_us[seen] - times[place[seen]]
    return _counts(minutes, known.astype(np.int64), known & (age_us <= age_max_s * 1e6))


def gpu_counts(told: pl.DataFrame, seen: pl.DataFrame, window: Window, expected_s: float) -> pl.DataFrame:
    """Minutes of expected GPUs, and of these the ones in which the GPU told of itself and of no hardware fault.

    A GPU is expected of the exporter that told of it, from its first sample until so long after its last. Where the
    exporter did not answer (`up` is 0, or neither it nor any GPU was heard of) nothing is known of its GPUs: no events.

    Args:
        told: columns time, job, instance, reported, healthy, up (a frame of `storage.readers.SLO_GPUS`).
        seen: columns job, instance, gpu, first, last (a frame of `storage.readers.SLO_GPU_SEEN`).
        window: minutes that lie wholly within it are counted.
        expected_s: how long a GPU that fell silent is waited for.

    Returns:
        Columns time, total, good, a row a minute that had events.
    """
    minutes = _minutes(window)
    total, good = np.zeros(len(minutes), dtype=np.int64), np.zeros(len(minutes), dtype=np.int64)
    exporters = told.partition_by("job", "instance", as_dict=True)
    for exporter, gpus in seen.partition_by("job", "instance", as_dict=True).items():
        minutes_of = exporters.get(exporter)
        if minutes_of is None:
            continue
        places, inside = _placed(minutes_of, minutes)
        reported, healthy = (minutes_of[name].to_numpy().astype(np.int64)[inside] for name in ("reported", "healthy"))
        answered = (minutes_of["up"].fill_null(0).to_numpy()[inside] > 0) | (reported > 0)
        expected = np.maximum(_expected(gpus, minutes[places], expected_s), reported)
        total[places] += np.where(answered, expected, 0)
        good[places] += np.where(answered, healthy, 0)
    return _counts(minutes, total, good)


def _expected(gpus: pl.DataFrame, minutes: Seconds, expected_s: float) -> Seconds:
    """How many of these GPUs are expected in each minute."""
    first, last = (np.sort(gpus[name].dt.epoch("s").to_numpy()) for name in ("first", "last"))
    came = np.searchsorted(first, minutes + MINUTE_S, side="left")
    gone = np.searchsorted(last + int(expected_s), minutes, side="left")
    expected: Seconds = (came - gone).astype(np.int64)
    return expected


def _minutes(window: Window) -> Seconds:
    """The beginnings of the whole minutes of a window, in seconds since 1970."""
    first = -(-int(window.start.timestamp() * 1e6) // (MINUTE_S * 1_000_000))
    end = int(window.end.timestamp() * 1e6) // (MINUTE_S * 1_000_000)
    return np.arange(first, max(first, end), dtype=np.int64) * MINUTE_S


def _placed(frame: pl.DataFrame, minutes: Seconds) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The place of each row among the minutes, and which rows have one."""
    times = frame["time"].dt.epoch("s").to_numpy() if frame.height else np.zeros(0, dtype=np.int64)
    if not len(minutes):
        return np.zeros(0, dtype=np.intp), np.zeros(len(times), dtype=np.bool_)
    places = (times - minutes[0]) // MINUTE_S
    inside = (places >= 0) & (places < len(minutes)) & (times >= minutes[0])
    return places[inside].astype(np.intp), inside


def _counts(minutes: Seconds, total: NDArray[np.int64], good: NDArray[np.int64] | NDArray[np.bool_]) -> pl.DataFrame:
    """A row each minute that had events."""
    held = total > 0
    times = (minutes[held] * 1_000_000).astype("datetime64[us]")
    columns = {"time": pl.Series(times).dt.replace_time_zone("UTC"), "total": total[held], "good": good[held]}
    return pl.DataFrame(columns).cast(pl.Schema(_COUNTS))


def widened_for_age(window: Window, age_max_s: float) -> Window:
    """The window with what must be known before it to say how old the newest data was at its first minute."""
    return Window(window.start - timedelta(seconds=age_max_s + MINUTE_S), window.end)
