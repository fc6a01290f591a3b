"""Why the bill of one window differs from another's: price, volume, mix, efficiency, idle, and what is left.

The cost of a group's requests is a product: all tokens x its share of them x GPU seconds a token x price of a GPU
second. Re-priced one factor at a time, the difference falls into parts that depend on the order; the Shapley value
(Shapley 1953; for decompositions Shorrocks 2013) is their mean over all orders, so it depends on none. What serves no
request is GPU seconds x price. It is worked out in fractions, so the parts of each group add up to its difference
exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction
from math import factorial
from typing import Literal

import polars as pl

from analytics.cost.allocation import DIMENSIONS, known_hours, used
from domain.cost import NANOUSD, Use


class Part(StrEnum):
    """What a difference is due to.

    `efficiency` also has the cost of requests that brought no tokens; `unattributed` is the use of that name, and what
    costs money without a GPU second is with the use that it is billed under.
    """

    PRICE = "price"
    VOLUME = "volume"
    MIX = "mix"
    EFFICIENCY = "efficiency"
    IDLE = "idle"
    OVERHEAD = "overhead"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Variance:
    """A difference of two bills, explained; money in nano-dollars.

    Attributes:
        by: the dimension of the groups.
        before_nanousd: the earlier bill.
        after_nanousd: the later bill.
        parts: they add up to the difference.
        groups: one row a group, greatest difference first: group, before_nanousd, after_nanousd, difference_nanousd, a
            column <part>_nanousd for each part; and for before and after what moved: volume_*, share_* (of all volume),
            gpu_seconds_per_unit_*, usd_per_gpu_second_*, idle_gpu_seconds_*; null where there is none.
        unpriced_gpu_seconds: before and after, of rows without a cost; they are in no part.
        known_hours: before and after, of which the bill is known.
    """

    by: str
    before_nanousd: int
    after_nanousd: int
    parts: dict[Part, int]
    groups: pl.DataFrame
    unpriced_gpu_seconds: tuple[float, float]
    known_hours: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Use:
    """What one use of one group took in a window."""

    cost_nanousd: int = 0
    gpu_seconds: Fraction = Fraction(0)
    volume: int = 0

    @property
    def is_priced_by_volume(self) -> bool:
        return self.volume > 0 and self.gpu_seconds > 0

    @property
    def price(self) -> Fraction | None:
        """Nano-dollars of a GPU second."""
        return self.cost_nanousd / self.gpu_seconds if self.gpu_seconds > 0 else None


_NOTHING = _Use()
_PART_OF_USE = {
    Use.REQUESTS: Part.EFFICIENCY,
    Use.IDLE: Part.IDLE,
    Use.OVERHEAD: Part.OVERHEAD,
    Use.UNATTRIBUTED: Part.UNATTRIBUTED,
}


def alike(before: pl.DataFrame, after: pl.DataFrame, apart: timedelta) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two bills of as long windows, of those hours alone that are known in both: what one knows more is no difference.

    Args:
        before: the earlier bill, rows of schema `ALLOCATION`.
        after: the later bill.
        apart: how much later its window begins.
    """
    known = set(known_hours(before))
    shared = [hour for hour in known_hours(after) if hour - apart in known]
    earlier = [hour - apart for hour in shared]
    return before.filter(pl.col("time").is_in(earlier)), after.filter(pl.col("time").is_in(shared))


def variance(
    before: pl.DataFrame, after: pl.DataFrame, by: str = "model", volume: Literal["tokens", "requests"] = "tokens"
) -> Variance:
    """Explain the difference of two bills.

    A group that is new or gone is mix, at its own efficiency and price; a window without any volume differs by volume
    alone. Windows may be of different length: what the longer one has more is volume, and idle.

    Args:
        before: the earlier bill, rows of schema `ALLOCATION`.
        after: the later bill.
        by: what the groups are told by, one of `DIMENSIONS`.
        volume: what is counted: input and output tokens, or requests.

    Raises:
        ValueError: for something that a bill is not told by.
    """
    if by not in DIMENSIONS:
        raise ValueError(f"cannot tell cost by {by}; valid are {', '.join(DIMENSIONS)}")
    one, two = _uses(before, by, volume), _uses(after, by, volume)
    volumes = _volume(one), _volume(two)
    rows = []
    for group in sorted({*one, *two}, key=lambda group: (group is None, group)):
        uses = one.get(group, {}), two.get(group, {})
        parts = dict.fromkeys(Part, 0)
        for use in Use:
            old, new = (found.get(use, _NOTHING) for found in uses)
            for part, amount in _explained(use, old, new, volumes).items():
                parts[part] += amount
        rows.append(_row(group, uses, volumes, parts))
    groups = pl.DataFrame(rows, schema=_GROUPS).sort(
        pl.col("difference_nanousd").abs(), descending=True, maintain_order=True
    )
    return Variance(
        by=by,
        before_nanousd=int(groups["before_nanousd"].sum()),
        after_nanousd=int(groups["after_nanousd"].sum()),
        parts={part: int(groups[f"{part}_nanousd"].sum()) for part in Part},
        groups=groups,
        unpriced_gpu_seconds=(_unpriced(before), _unpriced(after)),
        known_hours=(len(known_hours(before)), len(known_hours(after))),
    )


_GROUPS: dict[str, pl.DataType] = {
    "group": pl.String(),
    "before_nanousd": pl.Int64(),
    "after_nanousd": pl.Int64(),
    "difference_nanousd": pl.Int64(),
    # a group that went from one dear token to a billion has parts that are huge, and cancel
    **{f"{part}_nanousd": pl.Int128() for part in Part},
    "volume_before": pl.UInt64(),
    "volume_after": pl.UInt64(),
    **{
        f"{name}_{window}": pl.Float64()
        for name in ("share", "gpu_seconds_per_unit", "usd_per_gpu_second", "idle_gpu_seconds")
        for window in ("before", "after")
    },
}


def shapley_of_product(before: Sequence[Fraction], after: Sequence[Fraction]) -> list[Fraction]:
    """How much each factor contributes to the difference of two products; they add up to it exactly.

    The mean over all orders in which the factors can be moved. A factor contributes its own movement times a mean of
    the others' products, in which k of n - 1 have moved with weight k! (n - 1 - k)! / n! (Shapley 1953).
    """
    n = len(before)
    weights = [Fraction(factorial(k) * factorial(n - 1 - k), factorial(n)) for k in range(n)]
    contributions = []
    for own in range(n):
        if after[own] == before[own]:
            contributions.append(Fraction(0))
            continue
        by_moved = [Fraction(1)]  # sums of the others' products, by how many of them have moved
        for other in range(n):
            if other != own:
                stays = [value * before[other] for value in by_moved] + [Fraction(0)]
                moves = [Fraction(0)] + [value * after[other] for value in by_moved]
                by_moved = [a + b for a, b in zip(stays, moves, strict=True)]
        mean = sum((weight * value for weight, value in zip(weights, by_moved, strict=True)), Fraction(0))
        contributions.append((after[own] - before[own]) * mean)
    return contributions


def whole(parts: Sequence[Fraction]) -> list[int]:
    """Whole numbers near the parts that add up to their sum, which is whole; what is 0 stays 0, negated parts negate.

    Each is rounded, and what that leaves goes, one each, to those that were rounded furthest.
    """
    rounded = [round(part) for part in parts]
    left = int(sum(parts, Fraction(0))) - sum(rounded)
    sign = 1 if left > 0 else -1
    order = sorted(range(len(parts)), key=lambda at: -sign * (parts[at] - rounded[at]))
    for at in order[: abs(left)]:
        rounded[at] += sign
    return rounded


def _explained(use: Use, old: _Use, new: _Use, volumes: tuple[int, int]) -> dict[Part, int]:
    """The difference that one use of one group makes, by part."""
    if use is not Use.REQUESTS:
        return _by_seconds(_PART_OF_USE[use], old, new)
    products = [one if one.is_priced_by_volume else _NOTHING for one in (old, new)]
    others = [_NOTHING if one.is_priced_by_volume else one for one in (old, new)]
    found = _by_volume(products[0], products[1], volumes)
    rest = _by_seconds(Part.EFFICIENCY, others[0], others[1])
    return {part: found.get(part, 0) + rest.get(part, 0) for part in {*found, *rest}}


def _by_volume(old: _Use, new: _Use, volumes: tuple[int, int]) -> dict[Part, int]:
    """All volume x share x GPU seconds a unit x price; a factor that one window does not know is the other's."""
    if not (old.volume or new.volume):
        return {}
    factors = []
    for one, other, every in ((old, new, volumes[0]), (new, old, volumes[1])):
        known = one if one.volume else other
        share = Fraction(one.volume, every) if every else Fraction(other.volume, max(volumes))
        factors.append(
            (Fraction(every), share, known.gpu_seconds / known.volume, known.cost_nanousd / known.gpu_seconds)
        )
    amounts = whole(shapley_of_product(*factors))
    return dict(zip((Part.VOLUME, Part.MIX, Part.EFFICIENCY, Part.PRICE), amounts, strict=True))


def _by_seconds(part: Part, old: _Use, new: _Use) -> dict[Part, int]:
    """GPU seconds x price; what costs without GPU seconds has no price, and differs as its part."""
    loose = sum(sign * one.cost_nanousd for sign, one in ((-1, old), (1, new)) if one.price is None)
    prices = [one.price for one in (old, new)]
    known = [price for price in prices if price is not None]
    if not known:
        return {part: loose}
    factors = [(one.gpu_seconds, one.price if one.price is not None else known[0]) for one in (old, new)]
    seconds, price = whole(shapley_of_product(*factors))
    return {part: seconds + loose, Part.PRICE: price}


def _uses(bill: pl.DataFrame, by: str, volume: str) -> dict[str | None, dict[Use, _Use]]:
    counted = pl.col("requests") if volume == "requests" else pl.col("input_tokens") + pl.col("output_tokens")
    group = pl.col(by).cast(pl.String).alias("group")
    sums = (
        bill.filter(pl.col("cost_nanousd").is_not_null())
        .group_by(group, pl.col("use").alias("of_use"))
        .agg(
            pl.col("cost_nanousd").sum(),
            pl.col("gpu_seconds").sum(),
            counted.filter(used(Use.REQUESTS)).sum().alias("volume"),
        )
    )
    found: dict[str | None, dict[Use, _Use]] = {}
    for name, use, cost_nanousd, gpu_seconds, units in sums.iter_rows():
        found.setdefault(name, {})[Use(use)] = _Use(cost_nanousd, Fraction(gpu_seconds or 0.0), units or 0)
    return found


def _volume(uses: dict[str | None, dict[Use, _Use]]) -> int:
    """All volume that requests' cost is a product of."""
    requests = (found.get(Use.REQUESTS, _NOTHING) for found in uses.values())
    return sum(one.volume for one in requests if one.is_priced_by_volume)


def _unpriced(bill: pl.DataFrame) -> float:
    return float(bill.filter(pl.col("cost_nanousd").is_null())["gpu_seconds"].sum())


def _row(
    group: str | None, uses: tuple[dict[Use, _Use], dict[Use, _Use]], volumes: tuple[int, int], parts: dict[Part, int]
) -> dict[str, str | float | None]:
    row: dict[str, str | float | None] = {"group": group}
    costs = [sum(use.cost_nanousd for use in found.values()) for found in uses]
    row |= {"before_nanousd": costs[0], "after_nanousd": costs[1], "difference_nanousd": costs[1] - costs[0]}
    row |= {f"{part}_nanousd": amount for part, amount in parts.items()}
    for window, found, every in zip(("before", "after"), uses, volumes, strict=True):
        requests = found.get(Use.REQUESTS, _NOTHING)
        seconds = sum((use.gpu_seconds for use in found.values()), Fraction(0))
        row |= {
            f"volume_{window}": requests.volume,
            f"share_{window}": requests.volume / every if every else None,
            f"gpu_seconds_per_unit_{window}": float(requests.gpu_seconds / requests.volume)
            if requests.volume
            else None,
            f"usd_per_gpu_second_{window}": float(costs[window == "after"] / seconds / NANOUSD) if seconds else None,
            f"idle_gpu_seconds_{window}": float(found.get(Use.IDLE, _NOTHING).gpu_seconds),
        }
    return row
