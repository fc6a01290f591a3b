"""The GPU bill, split over what the GPUs did and over the requests that they served.

Each GPU-hour's dollars are split over its states by their seconds; what was busy is split over the requests of the
replica by their share of its engine's time (`request_shares`, the Shapley value of the step model). Nothing is lost:
what cannot be given to a request is `unattributed`, and all rows add up to the bill exactly.
"""

from collections.abc import Sequence

import polars as pl

from analytics.cost.allocation import ALLOCATION, COUNTED, split
from analytics.cost.gpu_time import BUSY
from domain.cost import Use

REQUEST_HOURS: dict[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),
    "service": pl.String(),
    "model": pl.String(),
    "version": pl.String(),
    "pool": pl.String(),
    "tenant": pl.String(),
    "replica": pl.String(),
    "node": pl.String(),
    "is_error": pl.Boolean(),
    "requests": pl.UInt64(),
    "input_tokens": pl.UInt64(),
    "output_tokens": pl.UInt64(),
    "engine_ms": pl.Float64(),
    "input_engine_ms": pl.Float64(),
}
"""One row an hour and group of requests. Counts are of those that began in the hour, `engine_ms` of the time in it.

`input_engine_ms` is the part of `engine_ms` that read prompts.
"""

_PLACE = ("time", "replica", "node", "gpu_model", "price")
_OF_IDLE = ("service", "model", "pool")


def allocate(
    gpu_time: pl.DataFrame, costs: pl.DataFrame, request_hours: pl.DataFrame, overheads: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Split the bill of some hours.

    Args:
        gpu_time: schema `gpu_time.GPU_TIME`.
        costs: what each GPU-hour cost: columns time, gpu, price, cost_nanousd. Of a GPU without a price both are null:
            it is on no bill.
        request_hours: schema `REQUEST_HOURS`.
        overheads: rows of schema `ALLOCATION` that belong to no GPU.

    Returns:
        A frame of schema `ALLOCATION`. Requests of a replica that no priced GPU is known of are in it with no dollars.
    """
    priced = gpu_time.join(costs.drop_nulls("cost_nanousd"), on=["time", "gpu"], how="inner")
    priced = priced.with_columns((pl.col("seconds") * pl.col("slice_ratio")).alias("gpu_seconds"))
    priced = split(priced, ["time", "gpu"], "gpu_seconds")
    is_busy = pl.col("state") == BUSY
    idle = (
        priced.filter(~is_busy)
        .group_by(*_PLACE, *_OF_IDLE, "state")
        .agg(pl.col("gpu_seconds", "cost_nanousd").sum())
        .with_columns(pl.lit(Use.IDLE.value).alias("use"), pl.col("state").alias("idle_cause"))
    )
    at_work = priced.filter(is_busy).group_by(*_PLACE, *_OF_IDLE).agg(pl.col("gpu_seconds", "cost_nanousd").sum())
    served, rest = _served(at_work, request_hours)
    return _stacked([served, rest, idle, *([overheads] if overheads is not None else [])])


def _served(at_work: pl.DataFrame, request_hours: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Busy GPU time given to requests, and what is left of it because no request is known of its replica."""
    requests = request_hours.with_columns(
        pl.lit(Use.REQUESTS.value).alias("use"),
        pl.when("is_error").then(pl.lit("error")).otherwise(pl.lit("ok")).alias("outcome"),
    )
    weighed = requests.group_by("time", "replica").agg(pl.col("engine_ms").sum()).filter(pl.col("engine_ms") > 0)
    weighed = weighed.drop_nulls("replica").select("time", "replica")
    shared = at_work.join(weighed, on=["time", "replica"], how="inner")
    rest = at_work.join(weighed, on=["time", "replica"], how="anti").with_columns(
        pl.lit(Use.UNATTRIBUTED.value).alias("use")
    )
    # A replica over several nodes has its requests on each; they are counted once.
    shared = shared.with_columns(
        pl.struct("node", "gpu_model", "price").rank("ordinal").over("time", "replica").alias("place")
    ).drop(_OF_IDLE)
    served = requests.drop("node").join(shared, on=["time", "replica"], how="inner")
    served = split(served, ["time", "replica", "place"], "engine_ms")
    total_ms = pl.col("engine_ms").sum().over("time", "replica", "place")
    is_first = pl.col("place") == 1
    served = served.with_columns(
        (pl.col("gpu_seconds") * pl.col("engine_ms") / total_ms).alias("gpu_seconds"),
        _input_cost(),
        *(
            pl.when(is_first).then(name).otherwise(0).alias(name)
            for name in ("requests", "input_tokens", "output_tokens")
        ),
    )
    unplaced = requests.join(shared.select("time", "replica").unique(), on=["time", "replica"], how="anti")
    return pl.concat([served, unplaced], how="diagonal"), rest


def _input_cost() -> pl.Expr:
    """What of the dollars went into reading prompts."""
    ratio = pl.when(pl.col("engine_ms") > 0).then(pl.col("input_engine_ms") / pl.col("engine_ms")).otherwise(0.0)
    return (pl.col("cost_nanousd") * ratio.fill_null(0.0).clip(0, 1)).floor().cast(pl.Int64).alias("input_cost_nanousd")


def _stacked(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Rows of all kinds in the one schema: what a row does not have is null, and 0 for what is counted."""
    whole = pl.concat(parts, how="diagonal")
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in ALLOCATION.items() if name not in whole.columns]
    return (
        whole.with_columns(missing)
        .with_columns(pl.col(COUNTED).fill_null(0), pl.col("is_estimated").fill_null(value=True))
        .select(pl.col(name).cast(kind) for name, kind in ALLOCATION.items())
        .filter((pl.col("cost_nanousd") != 0) | (pl.col("requests") > 0) | (pl.col("gpu_seconds") > 0))
    )
