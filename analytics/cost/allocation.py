"""The bill, split: one row an hour and group, whose dollars add up to the bill exactly.

Every figure of cost that Tailsight shows is a sum over these rows.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from domain.cost import NANOUSD, Use

ALLOCATION: dict[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),
    "use": pl.String(),
    "idle_cause": pl.String(),
    "service": pl.String(),
    "model": pl.String(),
    "version": pl.String(),
    "pool": pl.String(),
    "tenant": pl.String(),
    "replica": pl.String(),
    "node": pl.String(),
    "gpu_model": pl.String(),
    "price": pl.String(),
    "outcome": pl.String(),
    "gpu_seconds": pl.Float64(),
    "cost_nanousd": pl.Int64(),
    "input_cost_nanousd": pl.Int64(),
    "requests": pl.UInt64(),
    "input_tokens": pl.UInt64(),
    "output_tokens": pl.UInt64(),
    "is_estimated": pl.Boolean(),
}
"""Columns of the bill. `time` is the start of the hour, `use` a `domain.cost.Use`, `outcome` ok or error.

`input_cost_nanousd` is the part of a request's cost that went into reading its prompt; the rest wrote the answer.
What is not known, or means nothing for the row's use, is null; counts are 0 where `use` is not requests.
`is_estimated` says that the shares rest on gauges and sums, not on a log of the engine's steps.
"""

COUNTED = ("gpu_seconds", "cost_nanousd", "input_cost_nanousd", "requests", "input_tokens", "output_tokens")
"""The columns that add up."""

DIMENSIONS = (
    "model",
    "tenant",
    "service",
    "version",
    "pool",
    "idle_cause",
    "use",
    "node",
    "replica",
    "gpu_model",
    "price",
)
"""What the bill can be asked by."""


KNOWN_WHOLE_MIN = 0.95
"""Of the hours of a stretch so many are known, or its sum is not told as that of the whole."""


def known_hours(allocation: pl.DataFrame) -> list[datetime]:
    """The hours in which a GPU was heard of, in order; of the others the bill is not known."""
    return allocation.filter(pl.col("gpu_seconds") > 0)["time"].unique().sort().to_list()


def apportion(total: int, weights: ArrayLike) -> list[int]:
    """Split a whole number in proportion to weights, so that the parts add up to it exactly.

    By largest remainder (Hamilton's method): each part is its quota rounded down, and what is left goes, one each, to
    the largest remainders, of equal ones to the first.

    Args:
        total: what is split, e.g. nano-dollars.
        weights: one a part, not negative; where all are 0 the parts are equal.

    Raises:
        ValueError: for no weights, or one that is negative or not finite.
    """
    shares = np.asarray(weights, dtype=np.float64)
    if shares.size == 0 or not np.isfinite(shares).all() or (shares < 0).any():
        raise ValueError(
            f"cannot split {total} by {shares.size} weights; expected one or more, finite and not negative"
        )
    shares = shares / shares.max() if shares.max() > 0 else np.ones_like(shares)
    sign, whole = (-1, -total) if total < 0 else (1, total)
    quotas = shares / shares.sum() * whole
    parts = np.floor(quotas).astype(np.int64)
    left = whole - int(parts.sum())
    if left > 0:
        order = np.argsort(-(quotas - parts), kind="stable")
        parts[order[: left % parts.size]] += 1
        parts += left // parts.size
    while left < 0:  # above 2^53 a quota is rounded, perhaps up
        largest = int(parts.argmax())
        taken = min(-left, int(parts[largest]))
        parts[largest] -= taken
        left += taken
    return [sign * int(part) for part in parts]


def split(frame: pl.DataFrame, over: Sequence[str], weight: str, total: str = "cost_nanousd") -> pl.DataFrame:
    """`apportion`, a group of rows at a time: a total that all rows of a group bear becomes their parts of it.

    Args:
        frame: rows; `over` names the group of each.
        over: columns that are equal within a group.
        weight: a column, not negative; where all of a group are 0 its parts are equal.
        total: a column of whole numbers below 2^53, the same in all rows of a group.
    """
    weights = pl.col(weight).fill_null(0.0) / pl.col(weight).max().over(over)
    known = pl.when(pl.col(weight).max().over(over) > 0).then(weights).otherwise(1.0)
    frame = frame.with_columns(known.alias("_weight"))
    quota = pl.col("_weight") / pl.col("_weight").sum().over(over) * pl.col(total)
    frame = frame.with_columns(quota.alias("_quota"), quota.floor().cast(pl.Int64).alias("_part"))
    left = pl.col(total) - pl.col("_part").sum().over(over)
    rank = (pl.col("_quota") - pl.col("_part")).rank("ordinal", descending=True).over(over)
    return frame.with_columns((pl.col("_part") + (rank <= left).cast(pl.Int64)).alias(total)).drop(
        "_weight", "_quota", "_part"
    )


def cost_by(allocation: pl.DataFrame, by: Collection[str] = ()) -> pl.DataFrame:
    """The bill summed by dimensions, dearest first.

    Args:
        allocation: rows of schema `ALLOCATION`.
        by: any of `DIMENSIONS`; none gives one row, the bill.

    Returns:
        The dimensions, then `COUNTED`.

    Raises:
        ValueError: for something the bill is not told by.
    """
    unknown = sorted(set(by) - set(DIMENSIONS))
    if unknown:
        raise ValueError(f"cannot tell cost by {', '.join(unknown)}; valid are {', '.join(DIMENSIONS)}")
    sums = [pl.col(name).sum() for name in COUNTED]
    if not by:
        return allocation.select(sums)
    return allocation.group_by(*by).agg(sums).sort("cost_nanousd", *by, descending=[True, *(False for _ in by)])


def rows_of(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """An allocation from a few rows; what a row does not name is null, and 0 for what is counted."""
    counted = dict.fromkeys(COUNTED, 0)
    whole = [{**dict.fromkeys(ALLOCATION), **counted, "is_estimated": True, **row} for row in rows]
    return pl.DataFrame(whole, schema=ALLOCATION)


def bill_usd(allocation: pl.DataFrame) -> float:
    """The whole bill in dollars."""
    return int(allocation["cost_nanousd"].sum()) / NANOUSD


def used(use: Use) -> pl.Expr:
    """Whether a row's dollars went to that use."""
    return pl.col("use") == use.value
