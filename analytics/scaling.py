"""How many replicas a model wants: from what its engines say of themselves, and never from what is not known."""

import math
from dataclasses import dataclass

import polars as pl

KV_TARGET_RATIO = 0.8  # fuller, and vLLM begins to preempt under bursts
SHRINK_BELOW_RATIO = 0.7  # of what the replicas can bear: so the same load does not ask for more again at once

GROWTH_MAX = 2.0  # of one answer: what more it takes is seen once these serve

ENGINES: dict[str, pl.DataType] = {
    "replica": pl.String(),
    "running": pl.Float64(),
    "waiting": pl.Float64(),
    "kv_usage_ratio": pl.Float64(),
}
"""One row a replica that told something of late; null where it did not tell that."""


@dataclass(frozen=True, slots=True)
class ScalingSignal:
    """What the engines of one model in one pool bear, and how many replicas that takes.

    `pressure_ratio` is the larger of two loads, each 1 where the replicas are just enough: KV blocks in use over
    `KV_TARGET_RATIO`, and requests running and waiting over requests running (what waits would run on more replicas).
    """

    replicas: int
    running: float
    waiting: float | None
    kv_usage_ratio: float | None
    pressure_ratio: float
    desired_replicas: int


def scaling_signal(engines: pl.DataFrame) -> ScalingSignal | None:
    """How many replicas are wanted; at least one, at most twice as many.

    None where no engine told how many requests it runs, or requests wait and none runs.

    It grows with the pressure at once, and shrinks when the pressure is below `SHRINK_BELOW_RATIO`, to what then bears
    it just so. A ratio over a target, rounded up, as Kubernetes' HorizontalPodAutoscaler does it.

    Args:
        engines: schema `ENGINES`.
    """
    told = engines.drop_nulls("running")
    if told.is_empty():
        return None
    running = float(told["running"].sum())
    waiting = None if told["waiting"].is_null().all() else float(told["waiting"].sum())
    kv_usage = told["kv_usage_ratio"].mean()
    kv_ratio = float(kv_usage) if isinstance(kv_usage, float) else None
    if waiting and not running:
        return None  # requests wait and none runs: the engines hang, or are not ready, and more of them would too
    queue = (running + waiting) / running if waiting is not None and running > 0 else 1.0 if running > 0 else 0.0
    # Where nothing waits, how full the caches are says how much room there is; without that, nothing says so.
    pressure = max(queue if waiting else 0.0, kv_ratio / KV_TARGET_RATIO) if kv_ratio is not None else queue
    replicas = told.height
    desired = replicas
    if pressure > 1 or pressure < SHRINK_BELOW_RATIO:
        desired = max(1, math.ceil(round(replicas * min(pressure, GROWTH_MAX), 6)))
    return ScalingSignal(replicas, running, waiting, kv_ratio, pressure, desired)
