"""What GPUs, engines and ports told of each minute: read from the store, one frame each.

Of several metrics that tell the same, in one engine or another, the first that a thing tells counts.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import polars as pl

from analytics.cost.gpu_time import (
    ENGINE_MINUTES,
    EXTENTS,
    GPU_MINUTES,
    GPU_TIME,
    HELD_MINUTES_MAX,
    MINUTE_S,
    STALL_MINUTES,
)
from analytics.cost.price_book import mig_ratio
from analytics.samples import counter_rates
from domain.gpu_events import XidClass, xid
from domain.window import Window
from storage.cost_hours import read_gpu_extents
from storage.readers import read_samples, read_series, sample_rows
from storage.store import Store

_BYTES_A_TICK = 8  # ConnectX and Quantum count one tick of PortXmitWait per 8 bytes (NVIDIA, ibdiagnet manual)

# Of each list the first that a GPU or an engine tells counts.
_GPU_METRICS: Mapping[str, Sequence[str]] = {
    "busy_ratio": ("dcgm_fi_prof_gr_engine_active", "dcgm_fi_dev_gpu_util"),
    "memory_used_mib": ("dcgm_fi_dev_fb_used",),
    "clock_mhz": ("dcgm_fi_dev_sm_clock",),
    "clock_reasons": ("dcgm_fi_dev_clocks_event_reasons", "dcgm_fi_dev_clock_throttle_reasons"),
    "xid": ("dcgm_fi_dev_xid_errors",),
}
_PERCENT = {"dcgm_fi_dev_gpu_util"}
_CODES = {*_GPU_METRICS["clock_reasons"], *_GPU_METRICS["xid"]}  # a mean of them says nothing
_SEEN_BY = ("dcgm_fi_dev_gpu_util", "dcgm_fi_dev_gpu_temp", "dcgm_fi_dev_power_usage", "dcgm_fi_dev_fb_used")
ENGINE_METRICS: Mapping[str, Sequence[str]] = {
    "running": (
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "num_requests_running",  # NIM
        "tgi_batch_current_size",
    ),
    "waiting": (
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "num_requests_waiting",
        "nv_inference_pending_request_count",  # Triton
        "tgi_queue_size",
    ),
    "kv_usage_ratio": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
        "gpu_cache_usage_perc",
    ),
}
_TOKENS = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "sglang:generation_tokens_total",
    "sglang:prompt_tokens_total",
)
_WAITS = "node_infiniband_port_transmit_wait_total"
_LINK_RATE = "node_infiniband_rate_bytes_per_second"
_IDENTITY = ("gpu", "node", "gpu_model", "pool", "replica", "slice_ratio")
_LABELS = ("modelName", "exported_namespace", "namespace", "GPU_I_PROFILE")


def read_extents(store: Store, window: Window, mig_slices: Mapping[str, float]) -> pl.DataFrame:
    """What each GPU of a window is, and when it was first and last heard of at all. Schema: `EXTENTS`."""
    found = read_gpu_extents(store, window, _SEEN_BY)
    return found.with_columns(_slice_ratio("profile", mig_slices)).select(*EXTENTS)


def read_gpu_minutes(store: Store, window: Window, mig_slices: Mapping[str, float]) -> pl.DataFrame:
    """What GPUs told of each minute; `mig_slices` as of the price book. Schema: `GPU_MINUTES`."""
    names = [*_SEEN_BY, *(metric for metrics in _GPU_METRICS.values() for metric in metrics)]
    known = _gpu_series(store, window, sorted(set(names)), mig_slices)
    rows = _by_minute(store, window, known, _IDENTITY)
    if rows.is_empty():
        return pl.DataFrame(schema=GPU_MINUTES)
    seen = rows.select(*_IDENTITY, "time").unique(["gpu", "time"], keep="any")
    columns = {name: _first_told(rows, metrics, ("gpu", "time"), name) for name, metrics in _GPU_METRICS.items()}
    for name, column in columns.items():
        seen = seen.join(column, on=["gpu", "time"], how="left").with_columns(pl.col(name))
    gone = [code for code in range(1, 200) if xid(code).kind is XidClass.GONE]
    return seen.with_columns(
        pl.col("clock_reasons").cast(pl.Int64),
        pl.col("xid").cast(pl.Int64).is_in(gone).fill_null(value=False).alias("is_gone"),
    ).select(*GPU_MINUTES)


def read_gpus_there(store: Store, window: Window, mig_slices: Mapping[str, float], step_s: int) -> pl.DataFrame:
    """The GPUs that told of themselves in each step; one that is back within half an hour was there in between.

    Columns gpu, node, gpu_model, pool, replica, slice_ratio, time (start of a step).
    """
    known = _gpu_series(store, window, _SEEN_BY, mig_slices)
    rows = sample_rows(read_samples(store, window, known, step_s, "last"), step_s)
    inside = pl.col("time").is_between(window.start, window.end, closed="left")
    told = rows.filter(inside).join(known.select("series_id", *_IDENTITY), on="series_id")
    until_next = (pl.col("time").shift(-1) - pl.col("time")).over("gpu").dt.total_seconds()
    steps = pl.when(until_next <= HELD_MINUTES_MAX * MINUTE_S).then(until_next // step_s).otherwise(1)
    return (
        told.select(*_IDENTITY, "time")
        .unique(["gpu", "time"], keep="any")
        .sort("gpu", "time")
        .with_columns(pl.int_ranges(steps.cast(pl.Int64)).alias("step"))
        .explode("step")
        .select(*_IDENTITY, pl.col("time") + pl.duration(seconds=pl.col("step") * step_s))
    )


def _gpu_series(store: Store, window: Window, names: Sequence[str], mig_slices: Mapping[str, float]) -> pl.DataFrame:
    """Series of GPUs with what each GPU is: `_IDENTITY`, beside metric and series_id."""
    series = read_series(store, window, names, _LABELS).drop_nulls("gpu")
    label = {name: pl.col("labels").list.get(at, null_on_oob=True).replace("", None) for at, name in enumerate(_LABELS)}
    return series.with_columns(
        label["modelName"].alias("gpu_model"),
        pl.coalesce(label["exported_namespace"], label["namespace"]).alias("pool"),
        label["GPU_I_PROFILE"].alias("profile"),
    ).with_columns(_slice_ratio("profile", mig_slices))


def read_services(store: Store, window: Window) -> pl.DataFrame:
    """Whose the engines near a window are: columns replica, service, one row a replica."""
    names = [metric for metrics in ENGINE_METRICS.values() for metric in metrics]
    series = read_series(store, window, names).drop_nulls("replica")
    return series.group_by("replica").agg(pl.col("service").drop_nulls().first())


def read_engine_minutes(store: Store, window: Window) -> pl.DataFrame:
    """What engines told of each minute. Schema: `ENGINE_MINUTES`."""
    names = [metric for metrics in ENGINE_METRICS.values() for metric in metrics]
    series = read_series(store, window, names).drop_nulls("replica")
    rows = _by_minute(store, window, series, ("replica", "service", "model"))
    running = _first_told(rows, ENGINE_METRICS["running"], ("replica", "time"), "running", total=True)
    if running.is_empty():
        return pl.DataFrame(schema=ENGINE_MINUTES)
    found = running
    for name in ("waiting", "kv_usage_ratio"):
        told = _first_told(rows, ENGINE_METRICS[name], ("replica", "time"), name, total=name == "waiting")
        found = found.join(told, on=["replica", "time"], how="left")
    names_of = series.group_by("replica").agg(pl.col("service", "model").drop_nulls().first())
    found = found.join(names_of, on="replica", how="left")
    return found.join(_token_rates(store, window), on=["replica", "time"], how="left").select(*ENGINE_MINUTES)


def read_demand(store: Store, window: Window, replicas: Collection[str]) -> pl.DataFrame:
    """Requests running and waiting at once by minute, over these replicas: columns time, running."""
    names = [metric for name in ("running", "waiting") for metric in ENGINE_METRICS[name]]
    series = read_series(store, window, names).filter(pl.col("replica").is_in(list(replicas)))
    rows = _by_minute(store, window, series, ("replica",))
    parts = [
        _first_told(rows, ENGINE_METRICS[name], ("replica", "time"), "running", total=True)
        for name in ("running", "waiting")
    ]
    return pl.concat(parts).group_by("time").agg(pl.col("running").sum()).sort("time")


def _token_rates(store: Store, window: Window) -> pl.DataFrame:
    """Tokens per second of each replica and minute, read and written; null where a counter was not there before."""
    series = read_series(store, window, _TOKENS).drop_nulls("replica")
    rates = _rates(store, window, series)
    of_replica = rates.join(series.select("series_id", "replica"), on="series_id")
    return of_replica.group_by("replica", "time").agg(pl.col("rate").sum().alias("tokens_per_second"))


def read_stall_minutes(store: Store, window: Window) -> pl.DataFrame:
    """How much of each minute the ports of a node waited for credits, in the mean. Schema: `STALL_MINUTES`."""
    series = read_series(store, window, [_WAITS]).drop_nulls(["node", "port"])
    links = read_series(store, window, [_LINK_RATE]).drop_nulls(["node", "port"])
    rates = _rates(store, window, series)
    if rates.is_empty() or links.is_empty():
        return pl.DataFrame(schema=STALL_MINUTES)
    speed = sample_rows(read_samples(store, window, links, MINUTE_S, "mean"), MINUTE_S).join(
        links.select("series_id", "node", "port"), on="series_id"
    )
    speed = speed.group_by("node", "port").agg(pl.col("value").max().alias("bytes_per_second"))
    waits = rates.join(series.select("series_id", "node", "port"), on="series_id").join(speed, on=["node", "port"])
    ratio = (pl.col("rate") * _BYTES_A_TICK / pl.col("bytes_per_second")).clip(0, 1)
    return waits.group_by("node", "time").agg(ratio.mean().alias("stall_ratio")).select(*STALL_MINUTES)


def _by_minute(store: Store, window: Window, series: pl.DataFrame, keep: Sequence[str]) -> pl.DataFrame:
    """One row a series and minute with a sample: metric, time, value and what is kept of the series."""
    is_code = pl.col("metric").is_in(_CODES)
    levels = read_samples(store, window, series.filter(~is_code), MINUTE_S, "mean")
    codes = read_samples(store, window, series.filter(is_code), MINUTE_S, "last")
    inside = pl.col("time").is_between(window.start, window.end, closed="left")
    rows = pl.concat([sample_rows(levels, MINUTE_S), sample_rows(codes, MINUTE_S)])
    return rows.filter(inside).join(series.select("series_id", "metric", *keep), on="series_id")


def _first_told(
    rows: pl.DataFrame, metrics: Sequence[str], by: Sequence[str], name: str, *, total: bool = False
) -> pl.DataFrame:
    """The value of the first of some metrics that each thing tells, by thing and minute."""
    value = pl.when(pl.col("metric").is_in(_PERCENT)).then(pl.col("value") / 100).otherwise("value")
    told = rows.filter(pl.col("metric").is_in(list(metrics))).with_columns(
        value.alias(name), pl.col("metric").replace_strict(list(metrics), range(len(metrics))).alias("order")
    )
    aggregate = pl.col(name).sum() if total else pl.col(name).mean()
    each = told.group_by(*by, "order").agg(aggregate)
    return each.sort("order").unique(list(by), keep="first", maintain_order=True).drop("order")


def _rates(store: Store, window: Window, series: pl.DataFrame) -> pl.DataFrame:
    """Growth per second of counters by minute: columns series_id, time, rate."""
    kinds: dict[str, pl.DataType] = {"series_id": pl.UInt64(), "time": GPU_TIME["time"], "rate": pl.Float64()}
    rows = sample_rows(read_samples(store, window, series, MINUTE_S, "last"), MINUTE_S)
    rows = rows.filter(pl.col("time").is_between(window.start, window.end, closed="left"))
    if rows.is_empty():
        return pl.DataFrame(schema=kinds)
    # On every minute of the window: growth over a gap is spread over it, and that takes to know how long it was.
    ids = rows["series_id"].unique(maintain_order=True)
    step = (rows["time"] - window.start).dt.total_seconds() // MINUTE_S
    place = rows["series_id"].replace_strict(ids, range(len(ids)), return_dtype=pl.Int64)
    values = np.full((len(ids), math.ceil(window.seconds / MINUTE_S)), np.nan)
    values[place.to_numpy(), step.to_numpy()] = rows["value"].to_numpy()
    rates = counter_rates(values, MINUTE_S)
    series_at, step_at = np.nonzero(np.isfinite(rates))
    return pl.DataFrame(
        {"series_id": ids.gather(series_at), "step": step_at, "rate": rates[series_at, step_at]}
    ).select(
        pl.col("series_id"),
        (pl.lit(window.start) + pl.duration(seconds=pl.col("step") * MINUTE_S)).cast(kinds["time"]).alias("time"),
        "rate",
    )


def _slice_ratio(profile: str, mig_slices: Mapping[str, float]) -> pl.Expr:
    """The share of a GPU that a MIG profile is; a whole one where there is none, or one that is not known."""

    def ratio(name: str) -> float:
        try:
            return mig_ratio(name, mig_slices)
        except ValueError:
            return 1.0

    return (
        pl.col(profile)
        .map_elements(ratio, return_dtype=pl.Float64, skip_nulls=True)
        .fill_null(1.0)
        .alias("slice_ratio")
    )
