"""Frames as the store's readers give them, built by hand."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from storage.readers import REQUESTS, SAMPLES, SERIES

START = datetime(2026, 11, 23, tzinfo=UTC)
STEP_S = 15
_BLOCK = 8


def at(seconds: float) -> datetime:
    """So many seconds into the data."""
    return START + timedelta(seconds=seconds)


def request_series(
    ttft_ms_p99: Sequence[float | None],
    latency_ms_p99: Sequence[float | None] | None = None,
    *,
    service: str = "chat",
    model: str | None = None,
    seconds: Sequence[float] | None = None,
) -> pl.DataFrame:
    """One row a step, with what spikes are looked for in."""
    count = len(ttft_ms_p99)
    moments = [at(second) for second in (seconds or [STEP_S * step for step in range(count)])]
    return pl.DataFrame(
        {
            "time": moments,
            "service": [service] * count,
            "model": [model] * count,
            "ttft_ms_p99": ttft_ms_p99,
            "latency_ms_p99": latency_ms_p99 or [None] * count,
            "tpot_ms_p99": [None] * count,
            "requests": [100] * count,
            "errors": [0] * count,
        },
        schema={
            "time": pl.Datetime("us", "UTC"),
            "service": pl.String,
            "model": pl.String,
            "ttft_ms_p99": pl.Float64,
            "latency_ms_p99": pl.Float64,
            "tpot_ms_p99": pl.Float64,
            "requests": pl.UInt64,
            "errors": pl.UInt64,
        },
    )


def requests(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Requests as `read_requests` gives them; what a row does not say is null."""
    usual = dict.fromkeys(REQUESTS) | {"is_error": False, "latency_ms": 1000.0}
    return pl.DataFrame([usual | dict(row) for row in rows], schema=REQUESTS)


def series(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Series as `read_series` gives them; what a row does not say is null."""
    usual = dict.fromkeys(SERIES) | {"labels": []}
    return pl.DataFrame(
        [usual | {"series_id": number} | dict(row) for number, row in enumerate(rows, start=1)], schema=SERIES
    )


def samples(values: Mapping[int, Sequence[float | None]], step_s: int = STEP_S) -> pl.DataFrame:
    """Samples as `read_samples` gives them, a block of eight steps a row; None is a scrape that was missed."""
    rows = []
    for series_id, sampled in values.items():
        steps = [math.nan if value is None else float(value) for value in sampled]
        steps += [math.nan] * (-len(steps) % _BLOCK)
        for first in range(0, len(steps), _BLOCK):
            block = steps[first : first + _BLOCK]
            if not all(math.isnan(value) for value in block):  # the store has no row without a sample
                rows.append({"series_id": series_id, "time": at(first * step_s), "values": block})
    return pl.DataFrame(rows[::-1], schema=SAMPLES)
