"""The bill in the JSON of OpenCost's `/allocation/compute`, for clients that read OpenCost.

Names and meaning of the fields: AllocationJSON in OpenCost's core/pkg/opencost/allocation_json.go.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import polars as pl

from domain.cost import NANOUSD, Use
from domain.window import Window, rfc3339

IDLE, SHARED, UNALLOCATED = "__idle__", "__shared__", "__unallocated__"
"""What OpenCost calls idle GPUs, what is shared by all, and what lacks the property that is aggregated by."""

_LABELS = ("model", "tenant", "version", "pool", "gpu_model", "price")
AGGREGATES: Mapping[str, str] = {
    "service": "service",
    "node": "node",
    "pod": "replica",
    **{f"label:{name}": name for name in _LABELS},
}
"""What OpenCost can aggregate by, and the bill's column that it is."""

# A GPU's price holds its share of the machine, so no dollar is told as one of processors, memory, disks or network.
_NO_DOLLARS = (
    *("cpuCost", "cpuCostAdjustment", "cpuCostIdle", "gpuCostAdjustment", "gpuCostIdle"),
    *("ramCost", "ramCostAdjustment", "ramCostIdle", "pvCost", "pvCostAdjustment"),
    *("networkCost", "networkCrossZoneCost", "networkCrossRegionCost", "networkInternetCost", "networkCostAdjustment"),
    *("loadBalancerCost", "loadBalancerCostAdjustment", "externalCost"),
)
_NOT_KNOWN = (
    *("cpuCores", "cpuCoreRequestAverage", "cpuCoreLimitAverage", "cpuCoreUsageAverage", "cpuCoreHours"),
    *("cpuEfficiency", "gpuEfficiency", "networkTransferBytes", "networkReceiveBytes", "pvBytes", "pvByteHours", "pvs"),
    *("ramBytes", "ramByteRequestAverage", "ramByteLimitAverage", "ramByteUsageAverage", "ramByteHours"),
    *("ramEfficiency", "totalEfficiency", "lbAllocations", "gpuAllocation"),
)


def opencost_allocation(allocation: pl.DataFrame, window: Window, aggregate: Sequence[str]) -> dict[str, Any]:
    """A window's bill as one set of OpenCost allocations.

    Idle GPU time is the allocation `__idle__`, overhead is `__shared__`, and the total costs of all are the bill. What
    OpenCost tells of processors, memory and disks is null, their costs 0. Costs are not rounded to OpenCost's five
    digits, lest they no longer add up.

    Args:
        allocation: rows of schema `ALLOCATION`.
        window: rows whose hour starts inside are told.
        aggregate: one or more of `AGGREGATES`; the labels also without `label:`.

    Returns:
        `{"code": 200, "data": [{name: allocation}]}`; a name has one part for each of `aggregate`, with `/` between.

    Raises:
        ValueError: for no aggregate, or one that the bill is not told by.
    """
    columns = _columns(aggregate)
    is_workload = pl.col("use").is_in([Use.REQUESTS.value, Use.UNATTRIBUTED.value])
    named = allocation.filter(pl.col("time").is_between(window.start, window.end, closed="left")).select(
        pl.when(pl.col("use") == Use.IDLE.value)
        .then(pl.lit(IDLE))
        .when(pl.col("use") == Use.OVERHEAD.value)
        .then(pl.lit(SHARED))
        .otherwise(pl.concat_str([pl.col(name).fill_null(UNALLOCATED) for name in columns.values()], separator="/"))
        .alias("name"),
        *(pl.when(is_workload).then(name).alias(name) for name in dict.fromkeys(columns.values())),
        *("time", "gpu_seconds", "cost_nanousd"),
    )
    sums = named.group_by("name").agg(
        pl.col(*dict.fromkeys(columns.values())).first(),
        pl.col("gpu_seconds", "cost_nanousd").sum(),
        pl.col("time").min().alias("start"),
        pl.col("time").max().alias("last"),
    )
    rows = sums.sort("cost_nanousd", "name", descending=[True, False]).iter_rows(named=True)
    return {"code": 200, "data": [{row["name"]: _allocation(row, window, columns) for row in rows}]}


def _columns(aggregate: Sequence[str]) -> dict[str, str]:
    """By what OpenCost calls it, the column of each aggregate."""
    asked = [f"label:{name}" if name in _LABELS else name for name in aggregate]
    unknown = [name for name in asked if name not in AGGREGATES]
    if unknown or not asked or isinstance(aggregate, str):
        told = repr(aggregate) if isinstance(aggregate, str) else ", ".join(unknown) or "nothing"
        raise ValueError(f"cannot aggregate by {told}; valid are {', '.join(AGGREGATES)}")
    return {name: AGGREGATES[name] for name in asked}


def _allocation(row: Mapping[str, Any], window: Window, columns: Mapping[str, str]) -> dict[str, Any]:
    end = min(row["last"] + timedelta(hours=1), window.end)
    hours = (end - row["start"]) / timedelta(hours=1)
    gpu_hours = row["gpu_seconds"] / 3600
    cost_usd = row["cost_nanousd"] / NANOUSD
    is_shared = row["name"] == SHARED
    return {
        "name": row["name"],
        "properties": _properties(row, columns),
        "window": {"start": rfc3339(window.start), "end": rfc3339(window.end)},
        "start": rfc3339(row["start"]),
        "end": rfc3339(end),
        "minutes": hours * 60,
        **dict.fromkeys(_NOT_KNOWN),
        **dict.fromkeys(_NO_DOLLARS, 0.0),
        "gpuCount": gpu_hours / hours,
        "gpuHours": gpu_hours,
        "gpuCost": 0.0 if is_shared else cost_usd,
        "sharedCost": cost_usd if is_shared else 0.0,
        "totalCost": cost_usd,
    }


def _properties(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    known = {name: row[column] for name, column in columns.items() if row[column] is not None}
    labels = {name.removeprefix("label:"): value for name, value in known.items() if name.startswith("label:")}
    found: dict[str, Any] = {name: known[name] for name in ("node", "pod") if name in known}
    if "service" in known:
        found["services"] = [known["service"]]
    return {**found, "labels": labels} if labels else found
