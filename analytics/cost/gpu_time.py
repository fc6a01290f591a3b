"""What each GPU did with the time that it was paid for: busy, or idle for a cause.

A minute at a time, from what the GPU (DCGM), the engine on it and the ports of its node say; then summed. Seconds of
all states of a GPU add up to the time that it was there.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import polars as pl

from domain.cost import IdleCause
from domain.window import Window

BUSY = "busy"
"""The state of a GPU that served requests; the others are those of `IdleCause`."""

MINUTE_S = 60

GPU_MINUTES: dict[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),
    "gpu": pl.String(),
    "node": pl.String(),
    "gpu_model": pl.String(),
    "pool": pl.String(),
    "replica": pl.String(),
    "slice_ratio": pl.Float64(),
    "busy_ratio": pl.Float64(),
    "memory_used_mib": pl.Float64(),
    "clock_mhz": pl.Float64(),
    "clock_reasons": pl.Int64(),
    "is_gone": pl.Boolean(),
}
"""One row a GPU (or MIG slice) and minute in which it said anything.

`busy_ratio` is the share of time in which work ran on it, `clock_reasons` NVML's bits, `is_gone` that it left the bus
or that its driver gave it up.
"""

ENGINE_MINUTES: dict[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),
    "replica": pl.String(),
    "service": pl.String(),
    "model": pl.String(),
    "running": pl.Float64(),
    "waiting": pl.Float64(),
    "kv_usage_ratio": pl.Float64(),
    "tokens_per_second": pl.Float64(),
}
"""One row a replica and minute in which its engine told how many requests it runs."""

STALL_MINUTES: dict[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),
    "node": pl.String(),
    "stall_ratio": pl.Float64(),
}
"""The share of time in which the ports of a node had data to send and no credit to send it."""

EXTENTS: dict[str, pl.DataType] = {
    "gpu": pl.String(),
    "node": pl.String(),
    "gpu_model": pl.String(),
    "slice_ratio": pl.Float64(),
    "first_seen": pl.Datetime("us", "UTC"),
    "last_seen": pl.Datetime("us", "UTC"),
}
"""What each GPU is, and when it was first and last heard of, ever."""

GPU_TIME: dict[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),
    "gpu": pl.String(),
    "node": pl.String(),
    "gpu_model": pl.String(),
    "pool": pl.String(),
    "replica": pl.String(),
    "service": pl.String(),
    "model": pl.String(),
    "slice_ratio": pl.Float64(),
    "state": pl.String(),
    "seconds": pl.Float64(),
}
"""One row an hour, GPU, replica and state; `seconds` are those of the GPU or slice."""

_GROUP = tuple(name for name in GPU_TIME if name != "seconds")
_HOUR_S = 3600
_GAP_HOURS_MAX = 24
HELD_MINUTES_MAX = 30
_HELD_MIB = 1024.0  # a GPU with more memory in use holds something: a model, or what is left of one
_KV_FULL = 0.95
_RATED_MHZ = {"A100": 1410, "H100": 1980, "H200": 1980, "L40S": 2520}  # highest SM clocks (NVIDIA's data sheets)
_HUNG_MINUTES = 3  # a long prompt may take a minute without a single new token, but not three
# NVML: software power cap 0x4, hardware slowdown 0x8, software and hardware thermal slowdown 0x20 and 0x40, power brake
# 0x80. That the clock was lowered counts, not that a reason was given.
_SLOWED_BITS = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


def gpu_time(
    gpus: pl.DataFrame,
    engines: pl.DataFrame,
    stalls: pl.DataFrame,
    extents: pl.DataFrame,
    window: Window,
    warm: Sequence[str] = (),
) -> pl.DataFrame:
    """Where the time of every GPU went.

    A GPU is paid for from the first to the last time it was heard of; minutes between in which it said nothing are
    `no_telemetry`. Where work ran, what a lowered clock and ports without credits took of it is told apart. The rest is
    idle, for the first cause that holds: no workload holds the GPU; its engine is not there yet (it comes later in the
    window), or no model is in memory; requests wait for KV space; a warm pool; or just no traffic.

    Args:
        gpus: schema `GPU_MINUTES`.
        engines: schema `ENGINE_MINUTES`.
        stalls: schema `STALL_MINUTES`.
        extents: schema `EXTENTS`.
        window: what is told of.
        warm: patterns of replicas (`*`, `?`) that stand idle because somebody wants them to.

    Returns:
        A frame of schema `GPU_TIME`.
    """
    minutes = _grid(with_slices(gpus), extents, window)
    if minutes.is_empty():
        return pl.DataFrame(schema=GPU_TIME)
    told = engines.filter(pl.col("replica").is_not_null()).unique(["replica", "time"], keep="any")
    told = told.with_columns(_is_hung())
    of_replica = told.sort("time").group_by("replica").agg(
        pl.col("service", "model").drop_nulls().last(), pl.col("time").min().alias("first_told")
    )  # fmt: skip
    joined = (
        minutes.join(told.drop("service", "model"), on=["replica", "time"], how="left")
        .join(of_replica, on="replica", how="left")
        .join(stalls, on=["node", "time"], how="left")
    )
    parts = _parts(joined, _is_warm(joined, warm))
    return (
        parts.with_columns(pl.col("time").dt.truncate("1h"))
        .group_by(_GROUP)
        .agg(pl.col("seconds").sum())
        .filter(pl.col("seconds") > 0)
        .select(*GPU_TIME)
        .sort(_GROUP)
    )


def held(minutes: pl.DataFrame, by: str) -> pl.DataFrame:
    """What something told, held until it tells again.

    Who is scraped each five minutes says nothing in the four between, and is there all the same. It is held for half as
    long again as it was silent before (the first one: as it is after the next), and half an hour at most.

    Args:
        minutes: rows of one minute, columns time and `by`, one row of each at a time.
        by: whose minutes.
    """
    ordered = minutes.sort(by, "time")
    gap = (pl.col("time").diff().over(by).dt.total_seconds() / MINUTE_S).alias("before")
    known = ordered.with_columns(gap).with_columns(pl.col("before").shift(-1).over(by).alias("after"))
    usual = pl.coalesce("before", pl.col("after").shift(-1).over(by), "after", 1.0)
    steps = pl.min_horizontal(pl.col("after").fill_null(HELD_MINUTES_MAX), usual * 1.5, HELD_MINUTES_MAX)
    known = known.with_columns(pl.when(usual <= 1).then(1.0).otherwise(steps).ceil().cast(pl.Int64).alias("steps"))
    if known.is_empty() or known["steps"].max() == 1:
        return minutes
    return (
        known.with_columns(pl.int_ranges("steps").alias("step"))
        .explode("step")
        .with_columns(pl.col("time") + pl.duration(seconds=pl.col("step") * MINUTE_S))
        .sort("step")
        .unique([by, "time"], keep="first", maintain_order=True)
        .select(minutes.columns)
    )


def with_gaps(hours: pl.DataFrame) -> pl.DataFrame:
    """GPUs that fell silent and came back within a day were paid for in between: as `no_telemetry`.

    Args:
        hours: schema `GPU_TIME`. Only hours between two that a GPU was heard in are filled up, so they reach a day
            further on both sides than what is asked for.
    """
    of_gpu = hours.group_by("gpu", "time").agg(
        pl.col("seconds").sum(),
        pl.col("node", "gpu_model", "pool", "replica", "service", "model", "slice_ratio").last(),
    )
    of_gpu = of_gpu.sort("gpu", "time")
    following = pl.col("time").shift(-1).over("gpu")
    gap_hours = (following - pl.col("time")).dt.total_hours()
    is_near = (gap_hours <= _GAP_HOURS_MAX + 1).fill_null(value=False)
    known = of_gpu.with_columns(gap_hours.alias("gap_hours"), is_near.alias("is_near"))
    between = (
        known.filter(pl.col("is_near") & (pl.col("gap_hours") > 1))
        .with_columns(pl.int_ranges(1, "gap_hours").alias("missing"))
        .explode("missing")
        .with_columns(pl.col("time") + pl.duration(hours=pl.col("missing")), seconds=pl.lit(float(_HOUR_S)))
    )
    was_near = pl.col("is_near").shift(1).over("gpu").fill_null(value=False)
    short = (
        known.with_columns(was_near.alias("was_near"))
        .filter(pl.col("is_near") & pl.col("was_near") & (pl.col("seconds") < _HOUR_S - 1e-6))
        .with_columns(seconds=_HOUR_S - pl.col("seconds"))
    )
    silent = pl.concat([between, short], how="diagonal").with_columns(state=pl.lit(IdleCause.NO_TELEMETRY.value))
    return pl.concat([hours, silent.select(*GPU_TIME)]).group_by(_GROUP).agg(pl.col("seconds").sum()).select(*GPU_TIME)


def with_slices(gpus: pl.DataFrame) -> pl.DataFrame:
    """GPUs cut into MIG slices: what no slice takes of one is a slice of its own, which nobody holds.

    The GPU as a whole may report too; the slices stand for it.
    """
    whole = pl.col("gpu").str.split("/").list.first()
    sliced = gpus.filter(pl.col("gpu").str.contains("/", literal=True))
    if sliced.is_empty():
        return gpus
    spans = sliced.group_by("gpu").agg(
        whole.first().alias("whole"), pl.col("slice_ratio").last(), pl.col("time").min().alias("first"),
        pl.col("time").max().alias("last"), pl.col("node", "gpu_model").drop_nulls().first(),
    )  # fmt: skip
    moments = sliced.select(whole.alias("whole"), "time").unique()
    # A slice that missed a scrape is there all the same.
    is_there = pl.col("time").is_between(pl.col("first"), pl.col("last"))
    rest = (
        moments.join(spans, on="whole")
        .filter(is_there)
        .group_by("time", "whole")
        .agg(
            pl.col("node", "gpu_model").drop_nulls().first(),
            (1.0 - pl.col("slice_ratio").sum()).clip(0, 1).alias("slice_ratio"),
        )
        .filter(pl.col("slice_ratio") > 1e-9)
        .rename({"whole": "gpu"})
        .with_columns(busy_ratio=0.0, memory_used_mib=0.0, is_gone=pl.lit(value=False))
    )
    cut = sliced.select(whole.alias("gpu"), "time").unique()
    return pl.concat([gpus.join(cut, on=["gpu", "time"], how="anti"), rest], how="diagonal").select(*GPU_MINUTES)


def _grid(gpus: pl.DataFrame, extents: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Every minute in which a GPU was there, with what it said; who it was is taken from the minutes beside it."""
    times = pl.datetime_range(window.start, window.end, f"{MINUTE_S}s", closed="left", time_unit="us", eager=True)
    end = pl.col("time") + pl.duration(seconds=MINUTE_S)
    there = (
        _present(gpus, extents)
        .join(times.alias("time").to_frame(), how="cross")
        .filter((end > pl.col("first_seen")) & (pl.col("time") <= pl.col("last_seen")))
        .join(gpus.unique(["gpu", "time"], keep="any"), on=["gpu", "time"], how="left", suffix="_told")
        .sort("gpu", "time")
    )
    is_silent = pl.col("node_told").is_null()
    return there.with_columns(
        pl.coalesce("node_told", "node").alias("node"),
        pl.coalesce("gpu_model_told", "gpu_model").alias("gpu_model"),
        pl.coalesce("slice_ratio_told", "slice_ratio", 1.0).alias("slice_ratio"),
        *(
            pl.when(is_silent).then(pl.col(name).forward_fill().backward_fill().over("gpu")).otherwise(name).alias(name)
            for name in ("pool", "replica")
        ),
    )


def _present(gpus: pl.DataFrame, extents: pl.DataFrame) -> pl.DataFrame:
    """The GPUs and slices that said anything; what is left of one that is cut is there as long as any of its slices.

    One that was silent throughout is not told of here: whether it was paid for is seen once it is back (`with_gaps`).
    """
    whole = pl.col("gpu").str.split("/").list.first()
    cut = extents.filter(pl.col("gpu").str.contains("/", literal=True))
    rest = (
        gpus.filter(~pl.col("gpu").str.contains("/", literal=True))
        .select("gpu")
        .unique()
        .join(
            cut.group_by(whole.alias("gpu")).agg(
                pl.col("node", "gpu_model").first(), pl.col("first_seen").min(), pl.col("last_seen").max()
            ),
            on="gpu",
        )
    )
    said = gpus.select("gpu").unique()
    alone = extents.join(cut.select(whole.alias("gpu")), on="gpu", how="anti").join(said, on="gpu", how="semi")
    return pl.concat([alone, rest], how="diagonal")


def _is_hung() -> pl.Expr:
    """Whether requests ran for minutes and not one token came of it."""
    silent = pl.col("tokens_per_second").rolling_max(_HUNG_MINUTES).over("replica", order_by="time") == 0
    busy = pl.col("running").rolling_min(_HUNG_MINUTES).over("replica", order_by="time") > 0
    return (silent & busy).fill_null(value=False).alias("is_hung")


def _is_warm(minutes: pl.DataFrame, patterns: Sequence[str]) -> pl.Expr:
    names = [name for name in minutes["replica"].unique() if name and any(fnmatchcase(name, one) for one in patterns)]
    return pl.col("replica").is_in(names)


def _parts(minutes: pl.DataFrame, is_warm: pl.Expr) -> pl.DataFrame:
    """Each minute cut into its states, in seconds."""
    # Where all GPUs of a model are slowed, none of them tells how fast it could be.
    rated_mhz = pl.lit(0.0)
    for name, mhz in _RATED_MHZ.items():
        is_named = pl.col("gpu_model").str.contains(name, literal=True).fill_null(value=False)
        rated_mhz = pl.when(is_named).then(float(mhz)).otherwise(rated_mhz)
    usual_mhz = pl.max_horizontal(pl.col("clock_mhz").max().over("gpu_model"), rated_mhz)
    is_slowed = (pl.col("clock_reasons").fill_null(0) & _SLOWED_BITS) != 0
    slowed = pl.when(is_slowed).then((1 - pl.col("clock_mhz") / usual_mhz).clip(0, 1)).otherwise(0.0).fill_null(0.0)
    # An engine that tells of requests is busy with them, where the GPU does not say how busy it is.
    busy = pl.coalesce("busy_ratio", (pl.col("running") > 0).cast(pl.Float64)).clip(0, 1)
    lost = pl.col("is_gone").fill_null(value=False) | pl.col("is_hung").fill_null(value=False)
    cut = minutes.with_columns(
        pl.when(lost).then(0.0).otherwise(busy).alias("at_work"),
        slowed.alias("slowed"),
        pl.col("stall_ratio").fill_null(0.0).clip(0, 1),
        pl.when(lost).then(pl.lit(IdleCause.HUNG.value)).otherwise(_idle_cause(is_warm)).alias("cause"),
    )
    at_work, left = pl.col("at_work"), 1 - pl.col("slowed")
    seconds = {
        BUSY: at_work * left * (1 - pl.col("stall_ratio")),
        IdleCause.THROTTLED.value: at_work * pl.col("slowed"),
        IdleCause.STALLED_ON_FABRIC.value: at_work * left * pl.col("stall_ratio"),
    }
    rows = [cut.with_columns(pl.lit(state).alias("state"), (part * MINUTE_S).alias("seconds"))
            for state, part in seconds.items()]  # fmt: skip
    idle = 1 - pl.col("at_work").fill_null(0.0)
    # Requests ran for as much of the minute as there was at least one of them; what is busy of that is told above.
    waits_for_steps = pl.col("cause").is_in([IdleCause.NO_TRAFFIC.value, IdleCause.WARM_BY_POLICY.value])
    between = pl.when(waits_for_steps).then(pl.col("running").clip(0, 1) - pl.col("at_work")).clip(0).fill_null(0.0)
    for state, part in ((pl.lit(IdleCause.BETWEEN_STEPS.value), between), (pl.col("cause"), idle - between)):
        rows.append(cut.with_columns(state.alias("state"), (part * MINUTE_S).alias("seconds")))
    return pl.concat(rows)


def _idle_cause(is_warm: pl.Expr) -> pl.Expr:
    """Why the rest of the minute was idle."""
    holds = pl.col("memory_used_mib").fill_null(0.0) >= _HELD_MIB
    has_engine = pl.col("running").is_not_null()
    waits = (pl.col("waiting").fill_null(0) > 0) & (pl.col("kv_usage_ratio").fill_null(0) >= _KV_FULL)

    def named(cause: IdleCause) -> pl.Expr:
        return pl.lit(cause.value)

    return (
        pl.when(pl.col("busy_ratio").is_null() & ~has_engine)
        .then(named(IdleCause.NO_TELEMETRY))
        .when(pl.col("replica").is_null() & ~holds)
        .then(named(IdleCause.UNALLOCATED))
        .when(pl.col("replica").is_not_null() & ~has_engine & (pl.col("time") < pl.col("first_told")))
        .then(named(IdleCause.LOADING))
        .when(pl.col("replica").is_not_null() & ~has_engine & ~holds)
        .then(named(IdleCause.NO_MODEL))
        .when(~has_engine)
        .then(named(IdleCause.HELD_WITHOUT_ENGINE))
        .when(waits)
        .then(named(IdleCause.WAITING_FOR_KV_SPACE))
        .when(is_warm)
        .then(named(IdleCause.WARM_BY_POLICY))
        .otherwise(named(IdleCause.NO_TRAFFIC))
    )
