"""What was to be expected: the p99 that as much load brought before, so that what only moved with it is told apart."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from domain.window import Window

_STEP_S = 60
_STEPS_MIN = 20
_REQUESTS_MIN = 5  # fewer have no percentile to learn from
_SEEN_QUANTILE, _SEEN_RATIO = 0.9, 1.1  # of the load seen; held beyond it, nobody knows what the service would do


@dataclass(frozen=True, slots=True)
class Load:
    """What the load of a spike brought before it.

    `explains` is the share of the rise (0-1) that as much load brought in usual time, None where there hardly ever was
    as much (`is_unseen`) or too little is known of usual time: then nothing speaks against the load.
    """

    explains: float | None = None
    is_unseen: bool = False


def load_of(requests: pl.DataFrame, column: str, spike: Window, reference: Window, one_in: int = 1) -> Load:
    """What share of the rise of p99 the load of the spike brought whenever it was there before.

    The logarithm of a minute's 90th percentile is fitted to its request rate and token rate by quantile regression
    (Koenker and Bassett 1978; the median, so that minutes that were bad for another reason do not pull), on usual time
    alone.

    Args:
        requests: a frame of `read_requests` over both windows.
        column: the time that spiked, as a column of it.
        spike: the window of the spike.
        reference: usual time before it.
        one_in: how many requests each row stands for.
    """
    from sklearn.linear_model import QuantileRegressor  # noqa: PLC0415  # a second of import

    usual, during = (_minutes(requests, column, window, one_in) for window in (reference, spike))
    if usual.height < _STEPS_MIN or during.is_empty():
        return Load()
    load, now = (frame.select("rate", "tokens").to_numpy() for frame in (usual, during))
    level = np.median(now, axis=0)
    if (level > _SEEN_RATIO * np.quantile(load, _SEEN_QUANTILE, axis=0)).any():
        return Load(is_unseen=True)
    middle, scale = np.median(load, axis=0), np.maximum(load.std(axis=0), 1e-9)
    model = QuantileRegressor(quantile=0.5, alpha=1e-3, solver="highs")
    model.fit((load - middle) / scale, np.log(usual["high_ms"].to_numpy()))
    before, expected = (math.exp(float(model.predict([(x - middle) / scale])[0])) for x in (middle, level))
    observed = float(during["high_ms"].median())  # type: ignore[arg-type]  # not empty: there is a median
    if observed <= before:
        return Load()
    return Load(min(1.0, max(0.0, (expected - before) / (observed - before))))


def _minutes(requests: pl.DataFrame, column: str, window: Window, one_in: int) -> pl.DataFrame:
    """Requests and tokens a second, and the 90th percentile of the time, by minute."""
    tokens = pl.sum_horizontal(pl.col("input_tokens", "output_tokens").fill_null(0).cast(pl.Float64))
    return (
        requests.filter(pl.col("time").is_between(window.start, window.end, closed="left"))
        .group_by(pl.col("time").dt.truncate(f"{_STEP_S}s"))
        .agg(
            (pl.len() * one_in / _STEP_S).alias("rate"),
            (tokens.sum() * one_in / _STEP_S).alias("tokens"),
            pl.col(column).filter(~pl.col("is_error")).quantile(0.9).alias("high_ms"),
            pl.len().alias("n"),
        )
        .filter((pl.col("n") >= _REQUESTS_MIN) & (pl.col("high_ms") > 0))
        .sort("time")
    )
