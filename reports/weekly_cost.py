"""The money part of the weekly report: the bill of the week summed by who and what, beside that of the week before."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from analytics.cost.allocation import bill_usd, used
from domain.cost import NANOUSD, Use
from domain.window import Window

Document = dict[str, Any]


def cost_document(allocation: pl.DataFrame, before: pl.DataFrame | None, window: Window, zone: ZoneInfo) -> Document:
    """The bill of a week.

    Args:
        allocation: rows of the week, of schema `ALLOCATION`.
        before: those of the week before; None where there are none.
        window: the week.
        zone: on whose clock a day begins.

    Returns:
        `cost_usd` and its parts, each with `cost_before_usd`; a value that means nothing (a price per token without
        tokens) is None. `models` and `tenants` each add up to the bill with the row whose `name` is None.
    """
    earlier = before if before is not None and before.height else None
    now_sums, before_sums = _sums(allocation), None if earlier is None else _sums(earlier)
    estimated = allocation.filter(pl.col("is_estimated"))
    return {
        "cost_usd": now_sums["cost_usd"],
        "cost_before_usd": None if before_sums is None else before_sums["cost_usd"],
        "cost_change_ratio": _ratio_of_change(now_sums, before_sums, "cost_usd"),
        **{name: now_sums[name] for name in _COUNTED},
        **{f"{name}_before": None if before_sums is None else before_sums[name] for name in _COUNTED},
        "per_million_tokens_usd": now_sums["per_million_tokens_usd"],
        "per_million_tokens_before_usd": None if before_sums is None else before_sums["per_million_tokens_usd"],
        "per_million_tokens_change_ratio": _ratio_of_change(now_sums, before_sums, "per_million_tokens_usd"),
        "per_thousand_good_requests_usd": now_sums["per_thousand_good_requests_usd"],
        "failed_requests_cost_usd": _usd(allocation.filter(pl.col("outcome") == "error")),
        "idle_gpu_time_ratio": now_sums["idle_gpu_time_ratio"],
        "idle_gpu_time_before_ratio": None if before_sums is None else before_sums["idle_gpu_time_ratio"],
        "estimated_cost_ratio": _share(_usd(estimated), now_sums["cost_usd"]),
        "uses": _parts(allocation, earlier, "use", [use.value for use in Use]),
        "idle_causes": _parts(
            allocation.filter(used(Use.IDLE)), None if earlier is None else earlier.filter(used(Use.IDLE)), "idle_cause"
        ),
        "days": _days(allocation, window, zone),
        "days_before": [] if earlier is None else _days(earlier, _week_before(window, zone), zone),
        "models": _groups(allocation, earlier, "model"),
        "tenants": _groups(allocation, earlier, "tenant"),
        "gpu_models": _gpu_models(allocation),
    }


_COUNTED = ("requests_count", "good_requests_count", "input_tokens_count", "output_tokens_count")


def _sums(rows: pl.DataFrame) -> Document:
    of_requests = rows.filter(used(Use.REQUESTS))
    cost_usd = bill_usd(rows)
    good = int(of_requests.filter(pl.col("outcome") == "ok")["requests"].sum())
    tokens_in, tokens_out = int(of_requests["input_tokens"].sum()), int(of_requests["output_tokens"].sum())
    gpu_s = float(rows["gpu_seconds"].sum())
    idle_s = float(rows.filter(used(Use.IDLE))["gpu_seconds"].sum())
    return {
        "cost_usd": cost_usd,
        "requests_count": int(of_requests["requests"].sum()),
        "good_requests_count": good,
        "input_tokens_count": tokens_in,
        "output_tokens_count": tokens_out,
        "per_million_tokens_usd": _per(cost_usd, tokens_in + tokens_out, 1e6),
        "per_thousand_good_requests_usd": _per(cost_usd, good, 1e3),
        "idle_gpu_time_ratio": _share(idle_s, gpu_s),
    }


def _groups(rows: pl.DataFrame, before: pl.DataFrame | None, by: str) -> list[Document]:
    """Sums by one dimension, dearest first; what belongs to nobody comes last, its name None."""
    earlier = {} if before is None else {name: _sums(part) for name, part in _split(before, by)}
    found = []
    for name, part in _split(rows, by):
        sums = _sums(part)
        was = earlier.get(name)
        found.append(
            {
                "name": name,
                **sums,
                "idle_cost_usd": _usd(part.filter(used(Use.IDLE))),
                "cost_before_usd": None if before is None else was["cost_usd"] if was else 0.0,
                "per_million_tokens_before_usd": was["per_million_tokens_usd"] if was else None,
                "per_million_tokens_change_ratio": _ratio_of_change(sums, was, "per_million_tokens_usd"),
            }
        )
    return sorted(found, key=lambda row: (row["name"] is None, -row["cost_usd"], row["name"] or ""))


def _split(rows: pl.DataFrame, by: str) -> list[tuple[str | None, pl.DataFrame]]:
    parts = rows.partition_by(by, as_dict=True, maintain_order=True)
    return [(None if key[0] is None else str(key[0]), part) for key, part in parts.items()]


def _parts(rows: pl.DataFrame, before: pl.DataFrame | None, by: str, names: list[str] | None = None) -> list[Document]:
    """Dollars and GPU-hours by one dimension; the given names in their order, or what there is, dearest first."""
    now = {name: part for name, part in _split(rows, by) if name is not None}
    earlier = {} if before is None else {name: part for name, part in _split(before, by) if name is not None}
    total_usd = _usd(rows)
    found = [
        {
            "name": name,
            "cost_usd": _usd(now[name]) if name in now else 0.0,
            "cost_before_usd": None if before is None else _usd(earlier[name]) if name in earlier else 0.0,
            "cost_ratio": _share(_usd(now[name]) if name in now else 0.0, total_usd),
            "gpu_hours": float(now[name]["gpu_seconds"].sum()) / 3600 if name in now else 0.0,
        }
        for name in (names if names is not None else sorted({*now, *earlier}))
    ]
    return found if names is not None else sorted(found, key=lambda part: (-float(str(part["cost_usd"])), part["name"]))


def _days(rows: pl.DataFrame, window: Window, zone: ZoneInfo) -> list[Document]:
    """Dollars of each day by use; a day without rows has None, for nothing is known of it."""
    dated = rows.with_columns(pl.col("time").dt.convert_time_zone(zone.key).dt.date().alias("date"))
    by_day = {
        (row["date"], row["use"]): row["cost_nanousd"] / NANOUSD
        for row in dated.group_by("date", "use").agg(pl.col("cost_nanousd").sum()).iter_rows(named=True)
    }
    seen = {date for date, _ in by_day}
    first = window.start.astimezone(zone).date()
    last = (window.end - timedelta(microseconds=1)).astimezone(zone).date()
    dates = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [
        {
            "date": date.isoformat(),
            "cost_usd": sum(by_day.get((date, use.value), 0.0) for use in Use) if date in seen else None,
            **{f"{use.value}_cost_usd": by_day.get((date, use.value), 0.0) if date in seen else None for use in Use},
        }
        for date in dates
    ]


def _gpu_models(rows: pl.DataFrame) -> list[Document]:
    """Billed and idle GPU-hours by model of GPU, most first."""
    found: list[Document] = []
    for name, part in _split(rows, "gpu_model"):
        hours = float(part["gpu_seconds"].sum()) / 3600
        if name is None and not hours and not _usd(part):  # rows of requests that no GPU is known of
            continue
        idle = part.filter(used(Use.IDLE))
        found.append(
            {
                "name": name,
                "gpu_hours": hours,
                "mean_gpus": hours / max(1, part["time"].n_unique()),
                "requests_gpu_time_ratio": _share(
                    float(part.filter(used(Use.REQUESTS))["gpu_seconds"].sum()), hours * 3600
                ),
                "idle_gpu_time_ratio": _share(float(idle["gpu_seconds"].sum()), hours * 3600),
                "idle_cost_usd": _usd(idle),
                "cost_usd": _usd(part),
            }
        )
    return sorted(found, key=lambda row: (-row["gpu_hours"], row["name"] or ""))


def _week_before(window: Window, zone: ZoneInfo) -> Window:
    start: datetime = window.start.astimezone(zone) - timedelta(days=7)  # on the clock of the place
    return Window(start, window.start)


def _usd(rows: pl.DataFrame) -> float:
    return int(rows["cost_nanousd"].sum()) / NANOUSD


def _per(usd: float, of: float, each: float) -> float | None:
    return usd / of * each if of else None


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _ratio_of_change(now: Document, before: Document | None, name: str) -> float | None:
    was = None if before is None else before[name]
    return None if was is None or now[name] is None or was == 0 else now[name] / was - 1
