"""Fewer replicas for the same requests: does the peak of a model fit, at the same objective and with headroom."""

import math
from dataclasses import dataclass

import polars as pl

from analytics.cost.advice import HOURS_PER_MONTH, Advice, AdviceGap, AdviceKind, confidence
from domain.money import usd_text
from domain.quantity import range_text

_HOURS_MIN = 24  # a peak is known after a whole day
_QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class Fleet:
    """The replicas of a model.

    Attributes:
        model: whose.
        replicas: how many are paid for.
        gpus_per_replica: of each.
        usd_per_gpu_hour: paid.
        sequences: requests at once that a replica can take within the objective, least and most; of
            `whatif.capacity`, or the most that was seen while the objective held.
        slowdown: how many times longer a request takes on a replica that full than today, least and most; of
            `whatif.slowdown`.
        coverage_ratio: the share of its GPU hours with telemetry.
    """

    model: str
    replicas: int
    gpus_per_replica: int
    usd_per_gpu_hour: float
    sequences: tuple[int, int]
    slowdown: tuple[float, float] = (1.0, 1.0)
    coverage_ratio: float = 1.0


def consolidation(
    demand: pl.DataFrame, fleet: Fleet, headroom_ratio: float = 0.2, replicas_min: int = 1
) -> Advice | AdviceGap | None:
    """Whether the model's requests fit into fewer replicas.

    The peak is the greatest of the hours' 99th percentiles of requests at once. On fewer replicas each request takes
    longer, so more run at once: the peak grows by the slowdown. A range of replicas comes from the ranges of `fleet`.

    Args:
        demand: columns time, running: requests running and waiting at a moment (by the minute, say), over all
            replicas; null where unknown.
        fleet: what there is.
        headroom_ratio: room kept above the peak.
        replicas_min: never fewer.

    Returns:
        The advice; None when the replicas are needed; a gap when less than a day was seen.

    Raises:
        ValueError: for a fleet or demand that cannot be.
    """
    _check(demand, fleet, headroom_ratio, replicas_min)
    hours = (
        demand.drop_nulls("running")
        .group_by(pl.col("time").dt.truncate("1h"))
        .agg(pl.col("running").quantile(_QUANTILE, "higher").alias("peak"))
        .sort("time")
    )
    if hours.height < _HOURS_MIN:
        return AdviceGap(
            AdviceKind.CONSOLIDATION,
            fleet.model,
            f"running requests of {hours.height} hours; a peak is known after {_HOURS_MIN}",
            "Send the engine's running and waiting requests, and wait a day.",
        )
    peak = float(hours["peak"].max())  # type: ignore[arg-type]  # a day of hours: there is a greatest
    fewest, most = _needed(peak, fleet, headroom_ratio, replicas_min)
    if most >= fleet.replicas:
        return None
    month = fleet.gpus_per_replica * fleet.usd_per_gpu_hour * HOURS_PER_MONTH
    low, high = ((fleet.replicas - count) * month for count in (most, fewest))
    half = hours.height // 2
    early, late = hours["peak"].head(half), hours["peak"].tail(hours.height - half)
    planned = _needed(float(early.max()), fleet, headroom_ratio, replicas_min)[1]  # type: ignore[arg-type]  # not empty
    fitted = int((late * fleet.slowdown[1] <= planned * fleet.sequences[0]).sum())
    return Advice(
        AdviceKind.CONSOLIDATION,
        fleet.model,
        f"Run {fleet.model} on {most} {'replica' if most == 1 else 'replicas'} in place of {fleet.replicas}: "
        f"its peak of {peak:.0f} requests at once fits, with headroom, at the same objective.",
        (low, high),
        # Laplace's rule of succession: no share of a few hours is certain
        confidence((fitted + 1) / (len(late) + 2), hours.height, fleet.coverage_ratio),
        (
            f"Greatest hourly p99 of requests at once: {peak:.0f}, over {hours.height} hours.",
            (
                f"A replica takes {_range(*fleet.sequences)} at once within the objective; requests take "
                f"{_range(*fleet.slowdown)} times as long there as now."
            ),
            (
                f"{range_text(str(fewest), str(most))} replicas are needed with {headroom_ratio:.0%} of headroom; "
                f"{usd_text(month)} a month each."
            ),
            f"A plan from the first half of that time would have fitted {fitted} of {len(late)} hours of the second.",
        ),
        ("The load of the time seen comes again.", "Requests can go to any replica of the model."),
        (
            f"Drain one of the {fleet.replicas} replicas and watch the objective through a daily peak.",
            f"Go on one at a time, down to {most}.",
            "Give the nodes back, or the GPUs stay on the bill as unallocated.",
        ),
        (
            "A peak above the ones seen.",
            "Prefix caches: fewer replicas hold fewer prefixes, and more of each prompt is computed.",
            "A replica lost at peak takes a greater share of the capacity.",
        ),
    )


def _needed(peak: float, fleet: Fleet, headroom_ratio: float, replicas_min: int) -> tuple[int, int]:
    """Fewest and most replicas for a peak."""
    best = peak * (1 + headroom_ratio) * fleet.slowdown[0] / fleet.sequences[1]
    worst = peak * (1 + headroom_ratio) * fleet.slowdown[1] / fleet.sequences[0]
    fewest, most = (max(replicas_min, math.ceil(need - 1e-9)) for need in (best, worst))
    return fewest, most


def _range(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _check(demand: pl.DataFrame, fleet: Fleet, headroom_ratio: float, replicas_min: int) -> None:
    missing = sorted({"time", "running"} - set(demand.columns))
    if missing:
        raise ValueError(f"demand lacks {', '.join(missing)}; it has {', '.join(demand.columns)}")
    least, most = fleet.sequences
    if not (
        min(fleet.replicas, fleet.gpus_per_replica, replicas_min) >= 1
        and 0 < fleet.usd_per_gpu_hour < math.inf
        and 1 <= least <= most
        and 1 <= fleet.slowdown[0] <= fleet.slowdown[1] < math.inf
        and 0 <= headroom_ratio < math.inf
    ):
        raise ValueError(
            "a fleet has replicas, GPUs, a price, sequences (least, most) and slowdown (least, most) of 1 or more, and "
            f"headroom of 0 or more; got {fleet}, headroom {headroom_ratio}, replicas_min {replicas_min}"
        )
    running = demand["running"].drop_nulls().cast(pl.Float64)
    if not running.is_between(0, math.inf, closed="left").all():
        raise ValueError(f"running requests are finite and not negative; got {min(running.to_list())}")
