"""The fleet as it is: how evenly replicas are used, releases side by side, engines, and traffic that stopped."""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from analytics.compare import Comparison, Imbalance, compare_versions, imbalance
from analytics.cost.minutes import ENGINE_METRICS
from analytics.jobs.devices import NOW_S
from analytics.jobs.explaining import sampling
from analytics.scaling import ENGINES
from analytics.traffic_stops import HISTORY, PastTraffic, StoppedTraffic, stopped_traffic
from analytics.traffic_stops import STEP_S as TRAFFIC_STEP_S
from domain.window import Window, step_of
from storage.readers import (
    read_latency,
    read_replica_pools,
    read_requests,
    read_samples,
    read_series,
    read_services,
    read_traffic_steps,
    sample_rows,
)
from storage.store import Store

_ROLLUP_S = 15  # what steps of latency are multiples of
_NOW_STEP_S = 5
_FRESH_S = 60.0  # what one replica told so much earlier than another is no longer so


def stopped_services(store: Store, now: datetime) -> list[StoppedTraffic]:
    """The services that nobody reaches any more."""
    return stopped_traffic(read_traffic_steps(store, Window(now - HISTORY, now)), now)


def past_traffic(store: Store, window: Window) -> PastTraffic:
    """The services that nobody reached, at any moment of a window."""
    whole = Window(step_of(window.start - HISTORY, TRAFFIC_STEP_S), window.end)
    days = whole.stretches(timedelta(days=1))
    return PastTraffic(pl.concat([read_traffic_steps(store, day) for day in days]))


def imbalance_of(store: Store, service: str, window: Window) -> Imbalance:
    """How unevenly the replicas of a service were loaded over a window (rounded down to 15 s)."""
    step_s = math.ceil(window.end.timestamp() / _ROLLUP_S) * _ROLLUP_S  # one for all time until then
    return imbalance(read_latency(store, window, service, step_s, ["replica"]))


def compared_releases(store: Store, service: str, window: Window, a: str, b: str) -> Comparison:
    """How version b of a service did against version a over a window."""
    seen = read_services(store, window, service)
    one_in = sampling(seen)
    return replace(compare_versions(read_requests(store, window, service, one_in=one_in), a, b), one_in=one_in)


@dataclass(frozen=True, slots=True)
class EnginesNow:
    """What the engines of one model in one pool told last.

    `engines` is of schema `analytics.scaling.ENGINES`; `known` says that some were heard of in the last hour, `others`
    which models and pools were.
    """

    engines: pl.DataFrame
    data_age_s: float | None
    known: bool
    others: tuple[tuple[str, str], ...]


def engines_now(store: Store, model: str, pool: str, now: datetime) -> EnginesNow:
    """The newest of what each engine told within the last minutes, and how old that is.

    The pool of an engine is its namespace label; else the pool that its replica's requests came from.
    """
    hour = Window(now - timedelta(hours=1), now)
    names = {column: metrics for column, metrics in ENGINE_METRICS.items() if column in ENGINES}
    labels = ("exported_namespace", "namespace")
    series = read_series(store, hour, [one for metrics in names.values() for one in metrics], labels)
    told = [pl.col("labels").list.get(at, null_on_oob=True).replace("", None) for at in range(len(labels))]
    pools = read_replica_pools(store, hour).rename({"model": "asked_model"})
    series = series.drop_nulls("replica").join(pools, on="replica", how="left").with_columns(
        pl.coalesce(*told, "pool").alias("pool"), pl.coalesce("model", "asked_model").alias("model")
    )  # fmt: skip
    others = series.select("model", "pool").drop_nulls().unique().sort("model", "pool").rows()
    mine = series.filter((pl.col("model") == model) & (pl.col("pool") == pool))
    recent = Window(now - timedelta(seconds=NOW_S), now)
    rows = sample_rows(read_samples(store, recent, mine, _NOW_STEP_S, "last"), _NOW_STEP_S)
    rows = rows.join(mine.select("series_id", "metric", "replica"), on="series_id")
    newest = rows["time"].max()
    if not isinstance(newest, datetime):
        return EnginesNow(pl.DataFrame(schema=ENGINES), None, not mine.is_empty(), tuple(others))
    # A sample of a step is at most as old as the step's beginning; one that stands still for minutes tells nothing.
    age_s = max(0.0, (now - newest).total_seconds())
    fresh = rows.filter(pl.col("time") >= newest - timedelta(seconds=_FRESH_S))
    # A replica may tell of several engines (data parallel), each in a series of its own.
    newest_of = fresh.sort("time").group_by("replica", "metric", "series_id").agg(pl.col("value").last())
    is_share = pl.col("metric").is_in(list(names["kv_usage_ratio"]))
    value = pl.when(is_share.first()).then(pl.col("value").mean()).otherwise(pl.col("value").sum())
    last = newest_of.group_by("replica", "metric").agg(value)
    engines = last.select("replica").unique()
    for column, metrics in names.items():
        order = {metric: rank for rank, metric in enumerate(metrics)}
        own = last.filter(pl.col("metric").is_in(list(metrics))).with_columns(
            pl.col("metric").replace_strict(order, return_dtype=pl.Int64).alias("rank")
        )
        own = own.sort("rank").unique("replica", keep="first", maintain_order=True)
        engines = engines.join(own.select("replica", pl.col("value").alias(column)), on="replica", how="left")
    return EnginesNow(engines.select(*ENGINES), age_s, known=True, others=tuple(others))
