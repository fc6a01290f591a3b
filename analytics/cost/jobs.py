"""The jobs of cost: read, split, write. The only module of `analytics.cost` that touches the store."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from analytics.cost.attribution import REQUEST_HOURS, allocate
from analytics.cost.gpu_time import (
    ENGINE_MINUTES,
    EXTENTS,
    GPU_MINUTES,
    GPU_TIME,
    MINUTE_S,
    STALL_MINUTES,
    gpu_time,
    with_gaps,
)
from analytics.cost.price_book import PriceBook, gpu_costs, mig_ratio, overhead_costs
from analytics.cost.request_shares import estimated_shares
from analytics.cost.step_models import StepModel, fit_step_model, step_model_for
from analytics.cost.unit_costs import Bill, bill_of, unit_costs
from analytics.samples import counter_rates
from domain.cost import Use
from domain.gpu_events import XidClass, xid
from domain.incident import Indicator
from domain.slo import Objective
from domain.window import Window
from storage.cost_hours import (
    hour_of,
    read_engine_requests,
    read_gpu_extents,
    read_gpu_hours,
    read_outcomes,
    read_request_hours,
    read_settled_hours,
    read_unsettled_hours,
    settle_hour,
    whole_hours,
)
from storage.readers import read_samples, read_series, sample_rows
from storage.store import Store

_SHARES = ("engine_ms", "input_engine_ms")
# Of a model of a middle size; where hardly a request is known of an engine, its constants are as good as any others.
_ORDINARY = ("qwen3-32b", "NVIDIA H100 80GB HBM3", 2)
_SETTLED_AFTER = timedelta(minutes=10)  # most requests of an hour have ended, and are sent, by then
_BEFORE = timedelta(minutes=15)  # requests that began earlier and run into an hour take part in it
_GAP = timedelta(hours=25)  # a GPU that falls silent and is back within a day was paid for
_LIVE_HOURS_MAX = 48  # hours not settled yet are computed as they are asked for: so many, the newest
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
_LABELS = ("modelName", "exported_namespace", "namespace", "GPU_I_PROFILE")


@dataclass(frozen=True, slots=True)
class Pricing:
    """How the bill is made and split.

    `warm` are patterns of replicas that stand idle because somebody wants them to.
    """

    book: PriceBook
    warm: tuple[str, ...] = field(default=())


def settle(
    store: Store,
    now: datetime,
    pricing: Pricing,
    *,
    reach: timedelta = timedelta(days=35),
    hours_max: int = 24,
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Settle the hours that are over and hold requests or samples that they were not settled from, newest first.

    Running it twice changes nothing.

    Args:
        store: migrated.
        now: hours that ended some minutes before are over.
        pricing: which replicas are a warm pool.
        reach: how far back to look.
        hours_max: most hours of one call; the rest is for the next.
        progress: told how much of this call is done, 0-1.

    Returns:
        How many hours were settled.
    """
    over = hour_of(now - _SETTLED_AFTER)
    found = read_unsettled_hours(store, Window(hour_of(now - reach), over), hours_max)
    for number, (hour, requests, samples) in enumerate(found.iter_rows()):
        window = Window(hour, hour + timedelta(hours=1))
        gpus, engine_minutes = _gpu_time(store, window, pricing)
        shares = _request_hours(store, window, gpus, engine_minutes)
        settle_hour(store, hour, shares, gpus, requests=requests, samples=samples, now=now)
        progress((number + 1) / found.height)
    return found.height


@dataclass(frozen=True, slots=True)
class Costs:
    """The bill of whole hours.

    `allocation` is of schema `ALLOCATION`. `unpriced_gpu_seconds` are on no bill, because no price is known of the GPU.
    """

    window: Window
    allocation: pl.DataFrame
    unpriced_gpu_seconds: float

    @property
    def bill(self) -> Bill:
        """What became of it."""
        return bill_of(self.allocation, self.unpriced_gpu_seconds)


def costs_of(store: Store, window: Window, pricing: Pricing, *, by_user: bool = False) -> Costs:
    """The bill of a window, split.

    The window is rounded out to whole hours. Of hours that are not settled yet the newest 48 are computed now.

    Args:
        store: migrated.
        window: event time.
        pricing: prices and warm pools.
        by_user: put users in the place of tenants; then requests are read again, which takes about a second an hour of
            a large fleet.
    """
    whole = whole_hours(window)
    around = whole.widened(_GAP.total_seconds(), _GAP.total_seconds())
    settled = read_settled_hours(store, around)
    kept = read_gpu_hours(store, around)
    gpus = [kept]
    shares = [] if by_user else [read_request_hours(store, whole)]
    for hour in read_unsettled_hours(store, whole, _LIVE_HOURS_MAX)["hour"]:
        if hour not in settled:
            live = Window(hour, hour + timedelta(hours=1))
            found, engine_minutes = _gpu_time(store, live, pricing)
            gpus.append(found)
            if not by_user:
                shares.append(_request_hours(store, live, found, engine_minutes))
    there = pl.col("time").is_between(whole.start, whole.end, closed="left")
    time = with_gaps(pl.concat(gpus)).filter(there)
    if by_user:
        shares = _shares_by_user(store, time)
    priced = _costs(pricing.book, time)
    whole_s = (pl.col("seconds") * pl.col("slice_ratio")).sum()
    unpriced = time.join(priced.filter(pl.col("cost_nanousd").is_null()), on=["time", "gpu"], how="semi")
    split_bill = allocate(time, priced, pl.concat(shares), _overheads(pricing.book, whole))
    return Costs(whole, split_bill, float(unpriced.select(whole_s).item()))


def unit_costs_of(
    store: Store, costs: Costs, objectives: Sequence[Objective], by: Collection[str] = ()
) -> pl.DataFrame:
    """What one of something costs, by dimensions. Schema: the dimensions, then `unit_costs.UNIT_COSTS`.

    A request is good when it did not fail and took no longer than the objectives of its service promise.

    Raises:
        ValueError: for something that unit costs are not told by.
    """
    promised: dict[str, tuple[float, float]] = {}
    for objective in objectives:
        limit_ms = objective.threshold_ms or 0.0
        ttft_ms, latency_ms = promised.get(objective.service, (0.0, 0.0))
        if objective.indicator is Indicator.TTFT:
            ttft_ms = min(ttft_ms or limit_ms, limit_ms)
        elif objective.indicator is Indicator.LATENCY:
            latency_ms = min(latency_ms or limit_ms, limit_ms)
        promised[objective.service] = (ttft_ms, latency_ms)
    return unit_costs(costs.allocation, read_outcomes(store, costs.window, promised, by), by)


def _overheads(book: PriceBook, window: Window) -> pl.DataFrame:
    """What is paid beside the GPUs, as rows of the bill; `price` is its name."""
    return overhead_costs(book, window).select(
        "time",
        pl.lit(Use.OVERHEAD.value).alias("use"),
        pl.col("overhead").alias("price"),
        "cost_nanousd",
    )


def _shares_by_user(store: Store, time: pl.DataFrame) -> list[pl.DataFrame]:
    """`REQUEST_HOURS` of each hour with users in the place of tenants."""
    hours = time["time"].unique().sort()
    parts = [pl.DataFrame(schema=REQUEST_HOURS)]
    for hour in hours:
        there = time.filter(pl.col("time") == hour)
        live = Window(hour, hour + timedelta(hours=1))
        parts.append(_request_hours(store, live, there, _engine_minutes(store, live), by_user=True))
    return parts


def _costs(book: PriceBook, time: pl.DataFrame) -> pl.DataFrame:
    """What each GPU-hour cost."""
    hours = time.group_by("time", "gpu").agg(
        pl.col("seconds").sum(), pl.col("node", "gpu_model", "pool").drop_nulls().first(), pl.col("slice_ratio").max()
    )
    return gpu_costs(book, hours).select("time", "gpu", "price", "cost_nanousd")


def _gpu_time(store: Store, window: Window, pricing: Pricing) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What each GPU did in a window, and what the engines told of each minute of it."""
    names = [*_SEEN_BY, *(metric for metrics in _GPU_METRICS.values() for metric in metrics)]
    series = read_series(store, window, sorted(set(names)), _LABELS)
    engines = _engine_minutes(store, window)
    extents = read_gpu_extents(store, window, _SEEN_BY).with_columns(_slice_ratio("profile")).select(*EXTENTS)
    gpus = _gpu_minutes(store, window, series.drop_nulls("gpu"))
    return gpu_time(gpus, engines, _stall_minutes(store, window), extents, window, pricing.warm), engines


def _request_hours(
    store: Store, window: Window, gpus: pl.DataFrame, engines: pl.DataFrame, *, by_user: bool = False
) -> pl.DataFrame:
    """Whose requests took how much of an hour of each replica's engine. Schema: `REQUEST_HOURS`.

    A request's engine time is spread evenly from when it left the queue to when it ended; what falls into the hour
    counts in it. A request itself counts in the hour that it began in.
    """
    requests = read_engine_requests(store, window.widened(before_s=_BEFORE.total_seconds()))
    if requests.is_empty():
        return pl.DataFrame(schema=REQUEST_HOURS)
    shared = requests.with_columns(_engine_ms(requests, gpus, engines))
    if by_user:
        shared = shared.with_columns(pl.col("user").alias("tenant"))
    began = pl.col("time") + pl.duration(milliseconds=pl.col("queue_ms").fill_null(0.0))
    ended = pl.col("time") + pl.duration(milliseconds=pl.col("latency_ms"))
    shared = shared.with_columns(began.alias("began"), pl.max_horizontal(ended, began).alias("ended"))
    inside = pl.min_horizontal("ended", pl.lit(window.end)) - pl.max_horizontal("began", pl.lit(window.start))
    length_ms = (pl.col("ended") - pl.col("began")).dt.total_milliseconds()
    part = pl.when(length_ms > 0).then(inside.dt.total_milliseconds() / length_ms).otherwise(1.0).clip(0, 1)
    is_here = pl.col("time") >= window.start
    return (
        shared.with_columns((pl.col(_SHARES) * part), is_here.cast(pl.UInt64).alias("requests"))
        .filter(is_here | (pl.col("engine_ms") > 0))
        .with_columns(
            pl.lit(window.start, dtype=REQUEST_HOURS["time"]).alias("time"),
            pl.col("input_tokens", "output_tokens").fill_null(0).cast(pl.UInt64) * pl.col("requests"),
        )
        .group_by("time", "service", "model", "version", "pool", "tenant", "replica", "node", "is_error")
        .agg(pl.col("requests", "input_tokens", "output_tokens", *_SHARES).sum())
        .select(*REQUEST_HOURS)
    )


def _engine_ms(requests: pl.DataFrame, gpus: pl.DataFrame, engines: pl.DataFrame) -> list[pl.Series]:
    """Each request's share of its engine's time, and the part of it that read the prompt."""
    of_replica = gpus.drop_nulls("replica").group_by("replica").agg(
        pl.col("gpu").n_unique().alias("gpus"), pl.col("gpu_model").drop_nulls().first()
    )  # fmt: skip
    running = engines.select("replica", "time", pl.col("running").alias("value"))
    asked = requests.with_row_index("row").with_columns(pl.lit(None, pl.UInt32).alias("cached_tokens"))
    asked = asked.join(of_replica, on="replica", how="left")
    shares, inputs = (pl.Series(name, [0.0]).new_from_index(0, requests.height) for name in _SHARES)
    for (model, gpu_model, count), part in asked.drop_nulls("replica").group_by("model", "gpu_model", "gpus"):
        steps = _step_model(model, gpu_model, count, part)
        if steps is None:  # nothing is known of its work but how long it took
            shares = shares.scatter(part["row"], (part["latency_ms"] - part["queue_ms"].fill_null(0.0)).clip(0))
            continue
        of_engine = estimated_shares(part, running, steps)
        prompts = part["input_tokens"].fill_null(0).cast(pl.Float64).to_numpy()
        alone = steps.p0 + steps.prompt_ms(prompts, np.zeros(len(prompts)))
        shares = shares.scatter(part["row"], of_engine)
        inputs = inputs.scatter(part["row"], np.minimum(alone, of_engine.to_numpy()))
    return [shares.alias(_SHARES[0]), inputs.alias(_SHARES[1])]


def _step_model(model: object, gpu_model: object, gpus: object, requests: pl.DataFrame) -> StepModel | None:
    """How long the steps of an engine take: known, or fitted to its requests; None for one that makes no tokens."""
    if requests["output_tokens"].fill_null(0).sum() == 0:
        return None
    if isinstance(model, str) and isinstance(gpu_model, str) and isinstance(gpus, int):
        known = step_model_for(model, gpu_model, gpus)
        if known is not None:
            return known
    try:
        return fit_step_model(requests)
    except ValueError:  # too few requests to tell
        return step_model_for(*_ORDINARY)


def _gpu_minutes(store: Store, window: Window, series: pl.DataFrame) -> pl.DataFrame:
    """What GPUs told of each minute. Schema: `GPU_MINUTES`."""
    label = {name: pl.col("labels").list.get(at, null_on_oob=True).replace("", None) for at, name in enumerate(_LABELS)}
    known = series.with_columns(
        label["modelName"].alias("gpu_model"),
        pl.coalesce(label["exported_namespace"], label["namespace"]).alias("pool"),
        label["GPU_I_PROFILE"].alias("profile"),
    ).with_columns(_slice_ratio("profile"))
    identity = ("gpu", "node", "gpu_model", "pool", "replica", "slice_ratio")
    rows = _by_minute(store, window, known, identity)
    if rows.is_empty():
        return pl.DataFrame(schema=GPU_MINUTES)
    seen = rows.select(*identity, "time").unique(["gpu", "time"], keep="any")
    columns = {name: _first_told(rows, metrics, ("gpu", "time"), name) for name, metrics in _GPU_METRICS.items()}
    for name, column in columns.items():
        seen = seen.join(column, on=["gpu", "time"], how="left").with_columns(pl.col(name))
    gone = [code for code in range(1, 200) if xid(code).kind is XidClass.GONE]
    return seen.with_columns(
        pl.col("clock_reasons").cast(pl.Int64),
        pl.col("xid").cast(pl.Int64).is_in(gone).fill_null(value=False).alias("is_gone"),
    ).select(*GPU_MINUTES)


def _engine_minutes(store: Store, window: Window) -> pl.DataFrame:
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


def _token_rates(store: Store, window: Window) -> pl.DataFrame:
    """Tokens per second of each replica and minute, read and written; null where a counter was not there before."""
    series = read_series(store, window, _TOKENS).drop_nulls("replica")
    rates = _rates(store, window, series)
    of_replica = rates.join(series.select("series_id", "replica"), on="series_id")
    return of_replica.group_by("replica", "time").agg(pl.col("rate").sum().alias("tokens_per_second"))


def _stall_minutes(store: Store, window: Window) -> pl.DataFrame:
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
    wide = rows.pivot(on="time", index="series_id", values="value", sort_columns=True)
    times = rows["time"].unique().sort()
    rates = counter_rates(wide.drop("series_id").cast(pl.Float64).to_numpy(), MINUTE_S)
    return (
        pl.DataFrame({"series_id": wide["series_id"], "rate": rates.tolist(), "time": [times] * wide.height})
        .explode("rate", "time")
        .with_columns(pl.col("rate").fill_nan(None))
        .drop_nulls("rate")
        .select(pl.col(name).cast(kind) for name, kind in kinds.items())
    )


def _slice_ratio(profile: str) -> pl.Expr:
    """The share of a GPU that a MIG profile is; a whole one where there is none, or one that is not known."""

    def ratio(name: str) -> float:
        try:
            return mig_ratio(name)
        except ValueError:
            return 1.0

    return (
        pl.col(profile)
        .map_elements(ratio, return_dtype=pl.Float64, skip_nulls=True)
        .fill_null(1.0)
        .alias("slice_ratio")
    )
