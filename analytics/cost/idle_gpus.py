"""Dollars of GPUs that serve nobody: to give back, to free in quiet hours, to repair. All from the bill's rows."""

from collections.abc import Iterator
from datetime import timedelta

import polars as pl

from analytics.cost.advice import HOURS_PER_MONTH, Advice, AdviceGap, AdviceKind, confidence, likeness
from domain.cost import NANOUSD, IdleCause, Use
from domain.money import usd_text

LOAD_S = (35.0, 540.0)
"""Seconds from start to ready, fastest and slowest in public vLLM logs of 2025-26 (14 GiB to 79 GiB a rank)."""
_HOURS_MIN = 24
_QUIET_RATIO = 0.95  # an hour is quiet when that share of the replica's GPU time had no traffic
_RELEASE = (IdleCause.UNALLOCATED, IdleCause.NO_MODEL)
_REPAIR = {
    IdleCause.THROTTLED: "run below their clocks",
    IdleCause.STALLED_ON_FABRIC: "wait for the fabric",
    IdleCause.HUNG: "hang",
}
_STEPS = {
    IdleCause.THROTTLED: "Read the clock-throttle reasons of the nodes: heat, power cap or a slow-down by hardware.",
    IdleCause.STALLED_ON_FABRIC: "Look at the ports of the nodes: error counters, link speed, congestion.",
    IdleCause.HUNG: "Read the XID errors of the GPUs; drain and reset, or send the node to repair.",
}


def release(allocation: pl.DataFrame) -> list[Advice | AdviceGap]:
    """GPUs without pod or model: how many could be given back.

    The least is what stood free in every hour; the most is the mean.

    Args:
        allocation: rows of `ALLOCATION`, a day or more of whole hours.

    Returns:
        One piece of advice a pool and GPU model; or the gap.
    """
    hours = _hours(allocation)
    if hours.height < _HOURS_MIN:
        return [_too_short(AdviceKind.RELEASE, hours.height)]
    free = allocation.filter(_idle(*_RELEASE))
    found: list[Advice | AdviceGap] = []
    for (pool, gpu_model), group in _groups(free, "pool", "gpu_model"):
        by_hour = _by_hour(group, hours)
        gpus = by_hour["gpu_seconds"] / 3600
        least, mean = int(min(gpus.to_list()) + 1e-6), float(gpus.sum()) / hours.height
        month = _usd(group) / (float(group["gpu_seconds"].sum()) / 3600) * HOURS_PER_MONTH
        where = f"pool {pool}" if pool else "no pool"
        told = f"{least} {gpu_model or 'GPUs'}" if least else f"{gpu_model or 'GPUs'}, {mean:.1f} on average,"
        found.append(
            Advice(
                AdviceKind.RELEASE,
                pool or gpu_model or "unallocated",
                f"Give back {told} of {where}: paid for, and without a model.",
                (least * month, mean * month),
                confidence(likeness(*_halves(by_hour)), hours.height, _coverage(allocation)),
                (
                    (
                        f"{mean:.1f} GPUs without pod or model on average, never fewer than {least}, over "
                        f"{hours.height} hours."
                    ),
                    f"{usd_text(month)} a month each.",
                ),
                ("The GPUs can be given back, or lent to other work, at what they cost.",),
                ("Check that no reservation or commitment holds them.", "Drain the nodes and return them."),
                ("A rise of load that needs them: see the warm pool.", "A commitment that is paid either way."),
            )
        )
    return found


def held_idle(
    allocation: pl.DataFrame, hours_a_day: float = 4.0, load_s: tuple[float, float] = LOAD_S
) -> list[Advice | AdviceGap]:
    """Replicas that hold GPU memory through hours without traffic: what scaling them down then saves.

    Counted are whole hours (95 % of the replica's GPU time without traffic) of replicas that have more than
    `hours_a_day` of them; each spell of them costs one load at its end. The least saving keeps one replica of each
    model warm and loads slowly, the most keeps none and loads fast.

    Args:
        allocation: rows of `ALLOCATION` that name the replica, a day or more.
        hours_a_day: quiet hours of a replica from which it counts.
        load_s: seconds of a load, fastest and slowest.

    Returns:
        One piece of advice a model; gaps for what could not be judged.

    Raises:
        ValueError: for hours outside 0-24, or load times that are negative or upside down.
    """
    if not (0 <= hours_a_day <= 24 and 0 <= load_s[0] <= load_s[1]):
        raise ValueError(f"hours a day are 0 to 24, load times fastest then slowest; got {hours_a_day}, {load_s}")
    hours = _hours(allocation)
    if hours.height < _HOURS_MIN:
        return [_too_short(AdviceKind.HELD_IDLE, hours.height)]
    held = allocation.filter(_idle(IdleCause.NO_TRAFFIC))
    found: list[Advice | AdviceGap] = []
    unnamed = held.filter(pl.col("replica").is_null())
    if not unnamed.is_empty():
        found.append(
            AdviceGap(
                AdviceKind.HELD_IDLE,
                "replicas without a name",
                f"{usd_text(_usd(unnamed))} without traffic are not told by replica",
                "Send the pod's name with the GPU metrics.",
            )
        )
    days = hours.height / 24
    for (model,), group in _groups(_quiet_hours(allocation), "model"):
        replicas = [
            (spells, mine)
            for mine in group.partition_by("replica", maintain_order=True)
            if mine.height / days >= hours_a_day and mine.height > 0
            for spells in [_spells(mine)]
        ]
        if not replicas:
            continue
        slow, fast = ([_net_usd(mine, spells, load) for spells, mine in replicas] for load in reversed(load_s))
        scale = HOURS_PER_MONTH / hours.height
        low, high = (sum(slow) - max(slow)) * scale, sum(fast) * scale
        quiet = sum(mine.height for _, mine in replicas) / len(replicas) / days
        counted = pl.concat([mine for _, mine in replicas])
        found.append(
            Advice(
                AdviceKind.HELD_IDLE,
                model or "unknown model",
                f"Scale {model or 'the model'} down when quiet: {len(replicas)} of its replicas hold GPUs "
                f"without traffic for {quiet:.1f} hours a day.",
                (low, high),
                confidence(likeness(*_halves(_by_hour(counted, hours))), hours.height, _coverage(allocation)),
                (
                    (
                        f"{usd_text(_usd(counted) * scale)} a month in whole hours without traffic, in "
                        f"{sum(spells for spells, _ in replicas)} spells over {hours.height} hours."
                    ),
                    f"A load of {load_s[0]:.0f} to {load_s[1]:.0f} s after each spell is taken off.",
                    "The lower figure keeps one replica warm.",
                ),
                (
                    "Freed GPUs are given back or used by others.",
                    "The first request after a spell may wait for a load.",
                ),
                (
                    "Set the autoscaler's least number of replicas to 0 or 1, with a scale-down delay of an hour.",
                    "Or share the GPUs with a model that is busy at other hours.",
                ),
                ("Callers that cannot wait for a load.", "Traffic that comes at other hours than before."),
            )
        )
    return found


def repair(allocation: pl.DataFrame) -> list[Advice | AdviceGap]:
    """Dollars of GPU time lost to throttling, the fabric or hangs.

    The most is all of it; the least is what makes up whole GPUs, which alone can be given back.

    Args:
        allocation: rows of `ALLOCATION`, a day or more.

    Returns:
        One piece of advice a cause and pool; or the gap.
    """
    hours = _hours(allocation)
    if hours.height < _HOURS_MIN:
        return [_too_short(AdviceKind.REPAIR, hours.height)]
    found: list[Advice | AdviceGap] = []
    for cause, does in _REPAIR.items():
        for (pool,), group in _groups(allocation.filter(_idle(cause)), "pool"):
            usd = _usd(group) / hours.height * HOURS_PER_MONTH
            gpus = float(group["gpu_seconds"].sum()) / 3600 / hours.height
            where = f" of pool {pool}" if pool else ""
            found.append(
                Advice(
                    AdviceKind.REPAIR,
                    pool or "all pools",
                    f"Find out why GPUs{where} {does}: {gpus:.1f} GPUs' worth of time is lost.",
                    (int(gpus + 1e-6) / gpus * usd, usd),
                    confidence(likeness(*_halves(_by_hour(group, hours))), hours.height, _coverage(allocation)),
                    (
                        f"{usd_text(usd)} a month, {gpus:.2f} GPUs on average over {hours.height} hours.",
                        f"Most of it on {_worst_nodes(group)}.",
                    ),
                    ("The time that comes back is used, or whole GPUs are given back.",),
                    (_STEPS[cause],),
                    ("A power cap that was set on purpose.",) if cause is IdleCause.THROTTLED else (),
                )
            )
    return found


def _quiet_hours(allocation: pl.DataFrame) -> pl.DataFrame:
    """One row a quiet hour of a replica: time, replica, model, gpu_seconds, cost_nanousd."""
    is_quiet = _idle(IdleCause.NO_TRAFFIC)
    return (
        allocation.filter(pl.col("replica").is_not_null())
        .group_by("time", "replica")
        .agg(
            pl.col("model").drop_nulls().first(),
            pl.col("gpu_seconds").filter(is_quiet).sum(),
            pl.col("cost_nanousd").filter(is_quiet).sum(),
            pl.col("gpu_seconds").sum().alias("all_seconds"),
        )
        .filter((pl.col("gpu_seconds") > 0) & (pl.col("gpu_seconds") >= _QUIET_RATIO * pl.col("all_seconds")))
        .drop("all_seconds")
        .sort("replica", "time")
    )


def _spells(quiet: pl.DataFrame) -> int:
    """Runs of hours in a row, of one replica in order of time."""
    return 1 + int((quiet["time"].diff() > timedelta(hours=1)).sum())


def _net_usd(quiet: pl.DataFrame, spells: int, load_s: float) -> float:
    """What its quiet hours cost, less a load after each spell; never negative: it is then left as it is."""
    usd = _usd(quiet)
    return max(0.0, usd - spells * load_s / 3600 * usd / quiet.height)


def _idle(*causes: IdleCause) -> pl.Expr:
    return (pl.col("use") == Use.IDLE.value) & pl.col("idle_cause").is_in([cause.value for cause in causes])


def _groups(rows: pl.DataFrame, *by: str) -> Iterator[tuple[tuple[str | None, ...], pl.DataFrame]]:
    """Those that cost something, in a fixed order."""
    for group in rows.sort(*by, nulls_last=True).partition_by(*by, maintain_order=True):
        if int(group["cost_nanousd"].sum()) > 0 and float(group["gpu_seconds"].sum()) > 0:
            yield tuple(group[name][0] for name in by), group


def _hours(allocation: pl.DataFrame) -> pl.DataFrame:
    return allocation.select(pl.col("time").unique().sort())


def _by_hour(rows: pl.DataFrame, hours: pl.DataFrame) -> pl.DataFrame:
    """GPU seconds and nano-dollars of every hour of the bill; 0 in those without a row, which were billed otherwise."""
    sums = rows.group_by("time").agg(pl.col("gpu_seconds").sum(), pl.col("cost_nanousd").sum())
    return hours.join(sums, on="time", how="left").fill_null(0).sort("time")


def _halves(by_hour: pl.DataFrame) -> tuple[float, float]:
    """Mean nano-dollars an hour of the first and the second half of the time."""
    half = by_hour.height // 2
    early, late = by_hour["cost_nanousd"].head(half), by_hour["cost_nanousd"].tail(half)
    return float(early.sum()) / half, float(late.sum()) / half


def _coverage(allocation: pl.DataFrame) -> float:
    """The share of GPU time that is not without telemetry."""
    whole = float(allocation["gpu_seconds"].sum())
    dark = float(allocation.filter(_idle(IdleCause.NO_TELEMETRY))["gpu_seconds"].sum())
    return 1 - dark / whole if whole > 0 else 0.0


def _usd(rows: pl.DataFrame) -> float:
    return int(rows["cost_nanousd"].sum()) / NANOUSD


def _worst_nodes(rows: pl.DataFrame) -> str:
    nodes = rows.drop_nulls("node").group_by("node").agg(pl.col("cost_nanousd").sum())
    worst = nodes.sort("cost_nanousd", "node", descending=[True, False])["node"].head(3).to_list()
    return ", ".join(worst) or "nodes that are not named"


def _too_short(kind: AdviceKind, hours: int) -> AdviceGap:
    return AdviceGap(kind, "the bill", f"{hours} hours of it; {_HOURS_MIN} tell a day's course", "Wait a day.")
