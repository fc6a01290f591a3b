"""What one of something costs: a prediction, a good one, a million tokens, an active user.

Three sums of dollars stand beside each other, and each says what it holds. `cost_usd` is GPU time that served requests.
`idle_usd` is what the same service, model or pool let stand idle. `full_cost_usd` is all of the bill: with them each
group bears of what is nobody's (unallocated GPUs, overhead, what could not be attributed) as much as its share of the
first two; so full costs add up to the bill.
"""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from analytics.cost.allocation import COUNTED, split, used
from domain.cost import NANOUSD, Use

UNIT_DIMENSIONS = ("service", "model", "tenant", "version", "pool")
"""What unit costs can be told by."""

UNIT_COSTS: dict[str, pl.DataType] = {
    "cost_usd": pl.Float64(),
    "idle_usd": pl.Float64(),
    "full_cost_usd": pl.Float64(),
    "errors_usd": pl.Float64(),
    "gpu_hours": pl.Float64(),
    "requests": pl.UInt64(),
    "good_requests": pl.UInt64(),
    "errors": pl.UInt64(),
    "users": pl.UInt64(),
    "input_tokens": pl.UInt64(),
    "output_tokens": pl.UInt64(),
    "cost_per_prediction_usd": pl.Float64(),
    "cost_per_good_prediction_usd": pl.Float64(),
    "full_cost_per_prediction_usd": pl.Float64(),
    "full_cost_per_good_prediction_usd": pl.Float64(),
    "cost_per_million_tokens_usd": pl.Float64(),
    "cost_per_million_input_tokens_usd": pl.Float64(),
    "cost_per_million_output_tokens_usd": pl.Float64(),
    "cost_per_active_user_usd": pl.Float64(),
}
"""Columns after the dimensions. A quotient is null where there is nothing to divide by, or nothing is known of it.

`errors_usd` of `cost_usd` went into requests that failed. `good_requests` kept what was promised of them.
"""


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill and what became of it, in dollars; the four uses add up to it exactly.

    `telemetry_ratio` is the share of paid GPU time in which the GPU told what it did, `priced_ratio` the share of GPU
    time that a price is known of (the rest is on no bill); null without any GPU time. `fabric_usd` was lost to ports
    that waited for credits.
    """

    bill_usd: float
    requests_usd: float
    idle_usd: float
    overhead_usd: float
    unattributed_usd: float
    fabric_usd: float
    errors_usd: float
    gpu_hours: float
    telemetry_ratio: float | None
    priced_ratio: float | None

    @property
    def attributed_ratio(self) -> float | None:
        """The share of the bill that is known to have served somebody, or to have been idle for a known cause."""
        return 1 - self.unattributed_usd / self.bill_usd if self.bill_usd else None


def bill_of(allocation: pl.DataFrame, unpriced_gpu_seconds: float = 0.0) -> Bill:
    """The bill of an allocation.

    Args:
        allocation: schema `ALLOCATION`.
        unpriced_gpu_seconds: GPU time that no price is known of.
    """
    nanousd = {use: int(allocation.filter(used(use))["cost_nanousd"].sum()) for use in Use}
    seconds = float(allocation["gpu_seconds"].sum())

    def of(condition: pl.Expr, column: str = "cost_nanousd") -> float:
        return float(allocation.filter(condition)[column].sum())

    silent = of(pl.col("idle_cause") == "no_telemetry", "gpu_seconds")
    return Bill(
        bill_usd=sum(nanousd.values()) / NANOUSD,
        requests_usd=nanousd[Use.REQUESTS] / NANOUSD,
        idle_usd=nanousd[Use.IDLE] / NANOUSD,
        overhead_usd=nanousd[Use.OVERHEAD] / NANOUSD,
        unattributed_usd=nanousd[Use.UNATTRIBUTED] / NANOUSD,
        fabric_usd=of(pl.col("idle_cause") == "stalled_on_fabric") / NANOUSD,
        errors_usd=of(pl.col("outcome") == "error") / NANOUSD,
        gpu_hours=seconds / 3600,
        telemetry_ratio=1 - silent / seconds if seconds else None,
        priced_ratio=seconds / (seconds + unpriced_gpu_seconds) if seconds + unpriced_gpu_seconds else None,
    )


def unit_costs(allocation: pl.DataFrame, outcomes: pl.DataFrame, by: Collection[str] = ()) -> pl.DataFrame:
    """What one of something costs, by dimensions, dearest first.

    Args:
        allocation: schema `ALLOCATION`.
        outcomes: columns `by`, requests, good, errors, users: what became of all requests of the same time. Empty when
            requests are kept no longer; then nothing is known of good requests and users.
        by: any of service, model, tenant, version, pool; none gives one row.

    Returns:
        The dimensions, then `UNIT_COSTS`. Idle time of no known group is in no row but in `full_cost_usd`.

    Raises:
        ValueError: for another dimension.
    """
    unknown = sorted(set(by) - set(UNIT_DIMENSIONS))
    if unknown:
        raise ValueError(f"cannot tell unit costs by {', '.join(unknown)}; valid are {', '.join(UNIT_DIMENSIONS)}")
    keys = list(by)
    requests = allocation.filter(used(Use.REQUESTS))
    failed = pl.when(pl.col("outcome") == "error").then("cost_nanousd").otherwise(0).sum().alias("errors_nanousd")
    sums = [*(pl.col(name).sum() for name in COUNTED), failed]
    of_requests = requests.group_by(keys).agg(sums) if keys else requests.select(sums)
    idle = allocation.filter(used(Use.IDLE)).filter(pl.all_horizontal(pl.col(keys).is_not_null()) if keys else True)
    of_idle = [pl.col("cost_nanousd").sum().alias("idle_nanousd"), pl.col("gpu_seconds").sum().alias("idle_seconds")]
    idle = idle.group_by(keys).agg(of_idle) if keys else idle.select(of_idle)
    told = outcomes.select(*keys, "good", "errors", "users")
    if not keys and told.is_empty():
        told = pl.DataFrame({name: [None] for name in told.columns}, schema=told.schema)
    rows = _joined(_joined(of_requests, idle, keys, "full"), told, keys, "left")
    rows = rows.with_columns(pl.col(*COUNTED, "errors_nanousd", "idle_nanousd", "idle_seconds").fill_null(0))
    return _quotients(rows, int(allocation["cost_nanousd"].sum())).select(*keys, *UNIT_COSTS)


def _joined(left: pl.DataFrame, right: pl.DataFrame, keys: list[str], how: str) -> pl.DataFrame:
    if not keys:
        return pl.concat([left, right], how="horizontal")
    return left.join(right, on=keys, how="full" if how == "full" else "left", nulls_equal=True, coalesce=True)


def _quotients(rows: pl.DataFrame, bill_nanousd: int) -> pl.DataFrame:
    rows = rows.with_columns(
        (pl.col("cost_nanousd") + pl.col("idle_nanousd")).alias("own"), pl.lit(bill_nanousd).alias("full_nanousd")
    ).with_columns(pl.lit(0).alias("bill"))
    rows = split(rows, ["bill"], "own", total="full_nanousd")
    full = pl.when((pl.col("own").sum() > 0) | (pl.len() == 1)).then(_usd("full_nanousd"))
    output = (pl.col("cost_nanousd") - pl.col("input_cost_nanousd")) / NANOUSD
    # Requests of which no priced GPU is known cost nobody knows what, not nothing.
    known = pl.when(pl.col("cost_usd") > 0).then("cost_usd")
    tokens = pl.col("input_tokens") + pl.col("output_tokens")
    return (
        rows.with_columns(
            _usd("cost_nanousd").alias("cost_usd"),
            _usd("idle_nanousd").alias("idle_usd"),
            full.alias("full_cost_usd"),
            _usd("errors_nanousd").alias("errors_usd"),
            ((pl.col("gpu_seconds") + pl.col("idle_seconds")) / 3600).alias("gpu_hours"),
            pl.col("good").cast(pl.UInt64).alias("good_requests"),
        )
        .with_columns(
            _per(known, pl.col("requests")).alias("cost_per_prediction_usd"),
            _per(known, pl.col("good_requests")).alias("cost_per_good_prediction_usd"),
            _per(pl.col("full_cost_usd"), pl.col("requests")).alias("full_cost_per_prediction_usd"),
            _per(pl.col("full_cost_usd"), pl.col("good_requests")).alias("full_cost_per_good_prediction_usd"),
            _per(1e6 * known, tokens).alias("cost_per_million_tokens_usd"),
            _per(pl.when(known > 0).then(1e6 * pl.col("input_cost_nanousd") / NANOUSD), pl.col("input_tokens")).alias(
                "cost_per_million_input_tokens_usd"
            ),
            _per(pl.when(known > 0).then(1e6 * output), pl.col("output_tokens")).alias(
                "cost_per_million_output_tokens_usd"
            ),
            _per(known, pl.col("users")).alias("cost_per_active_user_usd"),
        )
        .with_columns(pl.col("users").cast(pl.UInt64))
        .sort("cost_usd", descending=True)
    )


def _usd(nanousd: str) -> pl.Expr:
    """Dollars. Rounded where they end: a column is divided by way of the reciprocal, which is not quite 1e-9."""
    return (pl.col(nanousd) / NANOUSD).round(9)


def _per(amount: pl.Expr, count: pl.Expr) -> pl.Expr:
    return pl.when(count > 0).then(amount / count)
