"""Spot for work that may be interrupted: what it saves after the cost of interruptions, and where it stops to pay."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

import polars as pl
import scipy

from analytics.cost.advice import HOURS_PER_MONTH, Advice, AdviceGap, AdviceKind, confidence
from analytics.cost.price_book import PriceBook
from domain.cost import NANOUSD, PriceMode, Use
from domain.money import usd_text
from domain.window import Window

TOGETHER_S = 180.0
TOGETHER_RATIO = 0.92
"""Interruptions of one type and zone fall within three minutes in 92 % of 2,635 events (arXiv 2604.16457)."""
OUTAGE_S = (120.0, 3600.0)
"""How long spot then stays out: 2 to 60 min in skypilot-org/spot-traces, one zone, read by eye."""


@dataclass(frozen=True, slots=True)
class InterruptibleWork:
    """Pools whose work may be interrupted, and what the user knows of spot for them.

    Attributes:
        pool: pattern of the pools (`*` and `?`).
        prices: names of the spot prices in question, one a zone, say.
        interruptions_per_gpu_hour: least and most.
        lost_work_s: as in `SpotPlan`, with `reload_s`, `outage_s` and `usd_per_interruption`.
        gpu_model: pattern of the GPUs that those prices are for.
    """

    pool: str
    prices: tuple[str, ...]
    interruptions_per_gpu_hour: tuple[float, float]
    lost_work_s: float
    reload_s: float
    outage_s: tuple[float, float] = OUTAGE_S
    usd_per_interruption: float = 0.0
    gpu_model: str = "*"


@dataclass(frozen=True, slots=True)
class SpotPlan:
    """Work that could run on spot, and what an interruption costs it.

    Attributes:
        about: the pool or job.
        gpus: that the interruptible work holds, on average.
        on_demand_usd_per_gpu_hour: paid now.
        spot_usd_per_gpu_hour: least and most, over the zones and hours in question.
        interruptions_per_gpu_hour: least and most, of `interruption_rate`.
        lost_work_s: work done again after one, on average: half of the time between checkpoints, or of a request.
        reload_s: from a new node to ready: node, image, weights, compile.
        outage_s: least and most seconds until spot is to be had again after a common interruption.
        together_ratio: the share of interruptions that take all of a type and zone at once: then spot is out, and
            on-demand stands in.
        usd_per_interruption: of a GPU, beyond its time: missed objectives, say; the user's own figure.
    """

    about: str
    gpus: float
    on_demand_usd_per_gpu_hour: float
    spot_usd_per_gpu_hour: tuple[float, float]
    interruptions_per_gpu_hour: tuple[float, float]
    lost_work_s: float
    reload_s: float
    outage_s: tuple[float, float] = OUTAGE_S
    together_ratio: float = TOGETHER_RATIO
    usd_per_interruption: float = 0.0

    def __post_init__(self) -> None:
        least_first = (self.spot_usd_per_gpu_hour, self.interruptions_per_gpu_hour, self.outage_s)
        others = (self.gpus, self.lost_work_s, self.reload_s, self.usd_per_interruption)
        if not (
            all(0 <= low <= high < math.inf for low, high in least_first)
            and all(0 <= one < math.inf for one in others)
            and 0 < self.on_demand_usd_per_gpu_hour < math.inf
            and 0 <= self.together_ratio <= 1
        ):
            raise ValueError(
                "a spot plan has figures that are not negative, ranges least first, a price on demand above 0, and a "
                f"share together of 0 to 1; got {self}"
            )


@dataclass(frozen=True, slots=True)
class SpotWorth:
    """What the plan is worth.

    Attributes:
        saves_usd_per_month: least and most; negative where it costs more.
        usd_per_interruption: of a GPU, least and most.
        break_even_per_gpu_hour: the interruptions a GPU-hour at which nothing is saved, in the worst case and in the
            best; infinite when an interruption costs nothing, 0 when spot is not cheaper.
    """

    saves_usd_per_month: tuple[float, float]
    usd_per_interruption: tuple[float, float]
    break_even_per_gpu_hour: tuple[float, float]


def interruption_rate(times: Sequence[datetime], gpus_each: float, gpu_hours: float) -> tuple[float, float]:
    """Interruptions a GPU-hour, as a 95 % interval of a Poisson rate (Garwood 1936).

    Interruptions within three minutes of each other are one event of their zone: taken as many, the interval would be
    too narrow. Each event is counted for the GPUs that it takes on average.

    Args:
        times: when nodes were taken.
        gpus_each: GPUs of a node.
        gpu_hours: on spot, over which they were counted.

    Raises:
        ValueError: for no GPU-hours or GPUs.
    """
    if not (0 < gpu_hours < math.inf and 0 < gpus_each < math.inf):
        raise ValueError(f"a rate needs GPU-hours and GPUs above 0; got {gpu_hours} and {gpus_each}")
    events = events_of(times)
    gpus_an_event = gpus_each * (len(times) / events if events else 1.0)
    low = float(scipy.stats.chi2.ppf(0.025, 2 * events)) / 2 if events else 0.0
    high = float(scipy.stats.chi2.ppf(0.975, 2 * events + 2)) / 2
    return low * gpus_an_event / gpu_hours, high * gpus_an_event / gpu_hours


def events_of(times: Sequence[datetime]) -> int:
    """Interruptions, those within three minutes of the one before counted as one event."""
    ordered = sorted(times)
    apart = sum(later - before > timedelta(seconds=TOGETHER_S) for before, later in itertools.pairwise(ordered))
    return apart + 1 if ordered else 0


def spot_worth(plan: SpotPlan) -> SpotWorth:
    """The saving after interruptions, a month.

    An interruption of a GPU costs the lost work again at the price of spot, the reload at the price of what replaces
    it (on demand where all were taken together, else spot), and on demand in place of spot for the outage.
    The saving is a straight line in each of the three ranges, so its least and most are at their ends.
    """
    corners = [
        _worth(plan, *corner)
        for corner in itertools.product(plan.spot_usd_per_gpu_hour, plan.interruptions_per_gpu_hour, plan.outage_s)
    ]
    saved, costs, break_even = zip(*corners, strict=True)
    month = plan.gpus * HOURS_PER_MONTH
    return SpotWorth(
        (min(saved) * month, max(saved) * month), (min(costs), max(costs)), (min(break_even), max(break_even))
    )


def advise(
    plan: SpotPlan | None, hours_seen: float, coverage_ratio: float, about: str = ""
) -> Advice | AdviceGap | None:
    """Spot for the work of a plan, where even the worst case saves.

    Args:
        plan: the work; None when no price of spot or no interruptible work is known.
        hours_seen: over which it was watched.
        coverage_ratio: the share of its GPU hours with telemetry.
        about: the pool, where there is no plan.
    """
    if plan is None:
        return AdviceGap(
            AdviceKind.SPOT,
            about,
            "a price of spot for its GPUs, or which of its work may be interrupted",
            "Add a spot price to the price book, and name the pools of batch work in cost.spot.",
        )
    worth = spot_worth(plan)
    low, high = worth.saves_usd_per_month
    if low <= 0:
        return None
    rare, often = plan.interruptions_per_gpu_hour
    cheap, dear = plan.spot_usd_per_gpu_hour
    return Advice(
        AdviceKind.SPOT,
        plan.about,
        f"Run what may be interrupted of {plan.about} ({plan.gpus:.1f} GPUs) on spot.",
        (low, high),
        confidence(0.95, hours_seen, coverage_ratio),
        (
            (
                f"{usd_text(plan.on_demand_usd_per_gpu_hour)} a GPU-hour on demand, {usd_text(cheap)} to "
                f"{usd_text(dear)} on spot."
            ),
            (
                f"{rare:.4f} to {often:.4f} interruptions a GPU-hour, {usd_text(worth.usd_per_interruption[0])} to "
                f"{usd_text(worth.usd_per_interruption[1])} each; it stops to pay at "
                f"{worth.break_even_per_gpu_hour[0]:.2f} a GPU-hour."
            ),
            f"{plan.together_ratio:.0%} of interruptions take a whole zone within three minutes: {plan.gpus:.1f} GPUs.",
        ),
        (
            (
                f"After a common interruption spot is out {plan.outage_s[0] / 60:.0f} to {plan.outage_s[1] / 60:.0f} "
                "minutes, and on-demand GPUs stand in."
            ),
            "Interruptions come as often as they did.",
        ),
        (
            "Spread the work over two zones or GPU types.",
            "Write checkpoints, or retry requests, on the notice of interruption.",
            "Keep what users wait for on demand.",
        ),
        ("Spot at the price on demand: it was so in 2 of 15 zones of AWS.", "No on-demand GPUs to stand in."),
    )


def spot_plan(work: InterruptibleWork, allocation: pl.DataFrame, book: PriceBook, window: Window) -> SpotPlan | None:
    """The plan for some work as it was in a window; None when it held no GPU, or no price of spot was in force.

    Args:
        work: which pools, and the user's figures.
        allocation: the bill of the window; GPUs that are on spot already are left out.
        book: where the prices of spot are.
        window: whole hours.
    """
    on_spot = {price.name for price in book.prices if price.mode is PriceMode.SPOT}
    own = allocation.filter(
        (pl.col("use") != Use.OVERHEAD.value)
        & _matches("pool", work.pool, allocation)
        & _matches("gpu_model", work.gpu_model, allocation)
        & ~pl.col("price").is_in(list(on_spot))
    )
    gpu_hours = float(own["gpu_seconds"].sum()) / 3600
    before = [book.price_at(name, window.start) for name in work.prices]
    steps = [step for name in work.prices for step in book.steps_of(name)]
    inside = [step for step in steps if window.start < step.starts_at < window.end]
    paid = [step.usd_per_gpu_hour for step in (*before, *inside) if step is not None]
    if not gpu_hours or not paid:
        return None
    return SpotPlan(
        about=f"pool {work.pool}",
        gpus=gpu_hours / (window.seconds / 3600),
        on_demand_usd_per_gpu_hour=int(own["cost_nanousd"].sum()) / NANOUSD / gpu_hours,
        spot_usd_per_gpu_hour=(min(paid), max(paid)),
        interruptions_per_gpu_hour=work.interruptions_per_gpu_hour,
        lost_work_s=work.lost_work_s,
        reload_s=work.reload_s,
        outage_s=work.outage_s,
        usd_per_interruption=work.usd_per_interruption,
    )


def _matches(column: str, pattern: str, rows: pl.DataFrame) -> pl.Expr:
    names = [name for name in rows[column].drop_nulls().unique() if fnmatchcase(name, pattern)]
    return pl.col(column).is_in(names) if pattern != "*" else pl.lit(value=True)


def _worth(plan: SpotPlan, spot_usd: float, rate: float, outage_s: float) -> tuple[float, float, float]:
    """Of a GPU-hour: dollars saved; of an interruption: dollars; and the rate at which nothing is saved."""
    cheaper = plan.on_demand_usd_per_gpu_hour - spot_usd
    together = plan.together_ratio
    replacement_usd = together * plan.on_demand_usd_per_gpu_hour + (1 - together) * spot_usd
    cost = (
        plan.lost_work_s * spot_usd + plan.reload_s * replacement_usd + together * outage_s * max(0.0, cheaper)
    ) / 3600 + plan.usd_per_interruption
    break_even = 0.0 if cheaper <= 0 else cheaper / cost if cost > 0 else math.inf
    return cheaper - rate * cost, cost, break_even
