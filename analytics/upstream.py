"""Upstream: the time that requests of a service spend in the services it calls."""

import numpy as np
import polars as pl

from analytics.knowledge import Knowledge
from analytics.signals import Shift
from domain.entity import Entity, EntityKind

CALLED: dict[str, pl.DataType | type[pl.DataType]] = {
    "trace_id": pl.String,
    "called": pl.String,
    "ms": pl.Float64,
    "failed": pl.Boolean,
}

_MAD_TO_SIGMA = 1.4826  # for a normal distribution
_FEW = 5


def time_called(calls: pl.DataFrame, service: str) -> pl.DataFrame:
    """Milliseconds that each trace of a service spent in each service that it called. Schema: `CALLED`.

    A called service is that of the nearest span below the service's own which is of another service; what it calls
    itself is its own time. Calls at the same time count once. A client span whose server told nothing is not a call of
    a known service.

    Args:
        calls: a frame of `read_calls`.
        service: whose requests they were.
    """
    parents = calls.select("trace_id", pl.col("span_id").alias("parent_id"), pl.col("service").alias("caller"))
    called = (
        calls.join(parents, on=["trace_id", "parent_id"], how="inner")
        .filter((pl.col("caller") == service) & pl.col("service").is_not_null() & (pl.col("service") != service))
        .with_columns((pl.col("time").dt.epoch("us") / 1000.0).alias("from_ms"))
        .with_columns((pl.col("from_ms") + pl.col("duration_ms")).alias("to_ms"))
        .sort("trace_id", "service", "from_ms")
    )
    group = ["trace_id", "service"]
    reached = pl.col("to_ms").cum_max().shift(1).over(group)
    return (
        called.with_columns((pl.col("to_ms") - pl.max_horizontal("from_ms", reached)).clip(lower_bound=0).alias("ms"))
        .group_by(*group)
        .agg(pl.col("ms").sum(), pl.col("is_error").any().alias("failed"))
        .select("trace_id", pl.col("service").alias("called"), "ms", "failed")
        .sort("trace_id", "called")
    )


def upstream_shifts(
    usual: pl.DataFrame, during: pl.DataFrame, traces: tuple[int, int], excess_ms: float, knowledge: Knowledge
) -> tuple[list[Shift], dict[str, float]]:
    """How the time in each called service moved, and what share of the added time of a mean request that is.

    Args:
        usual: a frame of `time_called` of requests in usual time.
        during: the same of requests in the spike.
        traces: how many requests each of the two were asked of: one that called nobody spent nothing there.
        excess_ms: by how much the mean request of the spike took longer.
        knowledge: titles, units and floors of the signals.

    Returns:
        The shifts, and by called service its share of the excess (0-1).
    """
    shifts: list[Shift] = []
    ratios: dict[str, float] = {}
    for called in sorted(set(usual["called"]) | set(during["called"])):
        past, now = (
            _padded(frame.filter(pl.col("called") == called), count)
            for frame, count in zip((usual, during), traces, strict=True)
        )
        if min(traces) < _FEW:
            continue
        entity = Entity(EntityKind.SERVICE, called)
        before, level = float(past["ms"].mean()), float(now["ms"].mean())  # type: ignore[arg-type]  # counted: there is a mean
        signal = knowledge.signals["upstream_time"]
        spread = _MAD_TO_SIGMA * float(np.median(np.abs(past["ms"].to_numpy() - np.median(past["ms"].to_numpy()))))
        error = float(np.hypot(past["ms"].std() or 0.0, now["ms"].std() or 0.0)) / min(traces) ** 0.5  # type: ignore[arg-type]  # numbers
        scale = max(signal.floor, signal.relative_floor * before, min(spread, error * 4), error)
        sigmas = (level - before) / scale
        shifts.append(Shift(signal, entity, before, level, sigmas, sigmas, None))
        ratios[called] = float(np.clip((level - before) / excess_ms, 0.0, 1.0)) if excess_ms > 0 else 0.0
        failing = knowledge.signals["upstream_errors"]
        failed, failed_before = float(now["failed"].mean()), float(past["failed"].mean())  # type: ignore[arg-type]  # as above
        chance = ((failed_before + 1 / traces[1]) / traces[1]) ** 0.5
        sigmas = (failed - failed_before) / max(failing.floor, chance)
        shifts.append(Shift(failing, entity, failed_before, failed, sigmas, sigmas, None))
    return shifts, ratios


def _padded(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    idle = pl.DataFrame({"ms": [0.0], "failed": [False]}).select(
        pl.all().repeat_by(max(0, count - frame.height)).explode()
    )
    return pl.concat([frame.select("ms", "failed"), idle.drop_nulls()])
