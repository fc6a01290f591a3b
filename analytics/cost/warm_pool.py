"""How many spares to keep warm: one curve of idle dollars against requests that a cold start makes wait.

The fleet is taken to follow demand: replicas in place at a moment are those that the demand of a load time earlier
asked for (and, going down, the most of the scale-down delay before it). What demand exceeds of them and the spares
waits. Load times are taken at even quantiles, so the curve is exact for them and needs no random numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
import scipy
from numpy.typing import NDArray

from analytics.cost.advice import HOURS_PER_MONTH, Advice, AdviceGap, AdviceKind, confidence
from domain.money import usd_text

Floats = NDArray[np.float64]

SPARES_MAX = 64
_QUANTILES = (np.arange(20) + 0.5) / 20
_DAYS_MIN = 2  # fewer have no spread
_DAY_HOURS_MIN = 12.0  # of a day that counts as one


@dataclass(frozen=True, slots=True)
class Replica:
    """What one replica of a model takes and costs: requests at once within the objective, GPUs, dollars a GPU-hour."""

    model: str
    sequences: int
    gpus: int
    usd_per_gpu_hour: float

    @property
    def usd_per_month(self) -> float:
        """Of a whole one."""
        return self.gpus * self.usd_per_gpu_hour * HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class WarmPoint:
    """A month with that many spares; the total is None where a missed request has no price."""

    spares: int
    idle_usd: float
    missed_requests: float
    total_usd: float | None


@dataclass(frozen=True, slots=True)
class WarmPool:
    """The curve, from no spares to the number from which nothing is missed (or 64), and the knee of it.

    `days` are the months' missed requests as each day alone would give them, a row a day and a column a number of
    spares.
    """

    points: tuple[WarmPoint, ...]
    knee: int
    days: tuple[tuple[float, ...], ...]


def lognormal_load_s(median_s: float, p95_s: float) -> list[float]:
    """Load times at even quantiles of the lognormal distribution with that median and 95th percentile.

    Raises:
        ValueError: when they are not positive, or upside down.
    """
    if not 0 < median_s <= p95_s < math.inf:
        raise ValueError(f"load times need 0 < median <= p95 seconds; got {median_s} and {p95_s}")
    normal = NormalDist()
    sigma = math.log(p95_s / median_s) / normal.inv_cdf(0.95)
    return [median_s * math.exp(sigma * normal.inv_cdf(float(one))) for one in _QUANTILES]


def warm_pool(
    demand: pl.DataFrame,
    load_s: Sequence[float],
    replica: Replica,
    request_s: float,
    usd_per_missed_request: float | None = None,
    scale_down_s: float = 300.0,
) -> WarmPool | AdviceGap:
    """The curve over the number of spares.

    The knee is the cheapest number where a missed request has a price; else the point of the curve of missed requests
    farthest below the line between its ends (Satopää et al. 2011, "Finding a Kneedle in a Haystack").

    Args:
        demand: columns time, running: requests running and waiting at once, at even steps, over all replicas.
        load_s: seconds from order to ready, as observed or of `lognormal_load_s`.
        replica: of the model.
        request_s: mean seconds of a request.
        usd_per_missed_request: what a request that waits for a cold start costs; the user's own figure.
        scale_down_s: how long a replica stays that is not needed (300 s is Kubernetes' default).

    Returns:
        The curve, or what is missing for one.

    Raises:
        ValueError: for input that cannot be.
    """
    _check(demand, load_s, replica, request_s, usd_per_missed_request, scale_down_s)
    if not load_s:
        return _gap(
            replica, "no load time was observed", "Send the engine's start and ready times, or give a median and p95."
        )
    series = demand.drop_nulls("running").sort("time")
    steps_s = series["time"].diff().dt.total_microseconds().drop_nulls().to_numpy() / 1e6
    step_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    _, day, count = np.unique(series["time"].dt.date().to_numpy(), return_inverse=True, return_counts=True)
    seen_h = count * step_s / 3600
    whole = seen_h >= _DAY_HOURS_MIN
    if whole.sum() < _DAYS_MIN:
        return _gap(replica, f"{_DAYS_MIN} days of demand: {whole.sum()} were seen", "Wait, or give a longer window.")
    running = series["running"].to_numpy().astype(np.float64)
    times_s = series["time"].dt.epoch("us").to_numpy() / 1e6
    loads = np.quantile(np.asarray(load_s, dtype=np.float64), _QUANTILES)
    short = _short(running, times_s, loads, replica.sequences, scale_down_s)  # a row a load time
    top = min(SPARES_MAX, math.ceil(float(short.max()) / replica.sequences))
    # requests hit: those in excess at a moment, each there for the length of a request
    hit = np.stack(
        [
            np.maximum(short - spares * replica.sequences, 0.0).mean(axis=0) * step_s / request_s
            for spares in range(top + 1)
        ]
    )
    by_day = np.stack([np.bincount(day, weights=row) for row in hit], axis=1)
    missed = by_day.sum(axis=0) / seen_h.sum() * HOURS_PER_MONTH
    points = []
    for spares, requests in enumerate(missed.tolist()):
        idle = spares * replica.usd_per_month
        total = None if usd_per_missed_request is None else idle + requests * usd_per_missed_request
        points.append(WarmPoint(spares, idle, requests, total))
    days = by_day[whole] / seen_h[whole, None] * HOURS_PER_MONTH
    return WarmPool(tuple(points), _knee(points), tuple(map(tuple, days.tolist())))


def advise(
    found: WarmPool,
    spares_now: int,
    replica: Replica,
    usd_per_missed_request: float | None = None,
    coverage_ratio: float = 1.0,
) -> Advice | AdviceGap | None:
    """Another number of spares than now, where that is cheaper.

    With a price of a missed request, the cheapest number; the range is the 95 % interval of the
    mean over days (Student's t).
    Without one, only fewer spares that miss no more than now.

    Returns:
        The advice; None when the number is right; a gap when more spares might pay, but no price says so.

    Raises:
        ValueError: for a negative number of spares, or a price other than the curve was made with.
    """
    if spares_now < 0 or (found.points[0].total_usd is None) is not (usd_per_missed_request is None):
        raise ValueError(
            f"spares are 0 or more, and the price of a missed request is the curve's; got {spares_now}, "
            f"{usd_per_missed_request}"
        )
    now = min(spares_now, len(found.points) - 1)  # beyond the curve nothing more is missed
    days = np.asarray(found.days)
    if usd_per_missed_request is None:
        best = next(
            point.spares for point in found.points if point.missed_requests <= found.points[now].missed_requests
        )
        if best == spares_now:
            missed = found.points[now].missed_requests
            return None if missed == 0 else _unpriced(replica.model, missed)
    else:
        best = found.knee
        if best == spares_now:
            return None
    price = usd_per_missed_request or 0.0
    by_day = (spares_now - best) * replica.usd_per_month + (days[:, now] - days[:, best]) * price
    spread = float(scipy.stats.t.ppf(0.975, len(by_day) - 1) * by_day.std(ddof=1)) / math.sqrt(len(by_day))
    mean = float(by_day.mean())
    if mean - spread < 0:
        return None
    missed_now, missed_then = found.points[now].missed_requests, found.points[best].missed_requests
    return Advice(
        AdviceKind.WARM_POOL,
        replica.model,
        f"Keep {best} spare replicas of {replica.model} warm in place of {spares_now}.",
        (mean - spread, mean + spread),
        confidence(0.95, 24.0 * len(days), coverage_ratio),
        (
            f"A spare costs {usd_text(replica.usd_per_month)} a month.",
            f"About {missed_now:,.0f} requests a month wait for a cold start now, {missed_then:,.0f} then"
            + (f", at {usd_text(price)} each." if price else "."),
            f"{len(days)} days seen; the range is the 95 % interval of their mean.",
        ),
        ("The fleet follows demand a load time late.", "Load times stay as observed."),
        (f"Set the least number of spare replicas to {best}.", "Watch waiting requests through a daily rise."),
        ("A faster rise of demand than any seen.", "Slower loads: another model, a cold compile cache, a far store."),
    )


def _short(running: Floats, times_s: Floats, loads_s: Floats, sequences: int, scale_down_s: float) -> Floats:
    """Requests at once beyond the replicas in place, a row a load time and a column a moment."""
    asked = np.maximum(1.0, np.ceil(running / sequences))
    padded = np.append(asked, 0.0)  # `reduceat` takes no index beyond the end
    rows = []
    for load in loads_s:
        until = np.maximum(1, np.searchsorted(times_s, times_s - load, side="right"))  # asked before: in place
        since = np.minimum(np.searchsorted(times_s, times_s - load - scale_down_s, side="left"), until - 1)
        in_place = np.maximum.reduceat(padded, np.column_stack([since, until]).ravel())[::2]
        rows.append(np.maximum(running - in_place * sequences, 0.0))
    return np.stack(rows)


def _knee(points: Sequence[WarmPoint]) -> int:
    if points[0].total_usd is not None:
        return min(points, key=lambda one: (one.total_usd, one.spares)).spares
    first, last = points[0], points[-1]
    if first.missed_requests == last.missed_requests:
        return 0
    drop = first.missed_requests - last.missed_requests
    below = [(first.missed_requests - point.missed_requests) / drop - point.spares / last.spares for point in points]
    return int(np.argmax(np.round(below, 9)))


def _gap(replica: Replica, missing: str, remedy: str) -> AdviceGap:
    return AdviceGap(AdviceKind.WARM_POOL, replica.model, missing, remedy)


def _unpriced(model: str, missed: float) -> AdviceGap:
    return AdviceGap(
        AdviceKind.WARM_POOL,
        model,
        f"what a request that waits for a cold start costs: {missed:,.0f} a month do",
        "Give usd_per_missed_request, to weigh them against more spares.",
    )


def _check(
    demand: pl.DataFrame,
    load_s: Sequence[float],
    replica: Replica,
    request_s: float,
    usd_per_missed_request: float | None,
    scale_down_s: float,
) -> None:
    missing = sorted({"time", "running"} - set(demand.columns))
    if missing:
        raise ValueError(f"demand lacks {', '.join(missing)}; it has {', '.join(demand.columns)}")
    running = demand["running"].drop_nulls().cast(pl.Float64)
    if any(not 0 <= one < math.inf for one in (*running, *load_s)):
        raise ValueError("running requests and load times must be finite and not negative")
    if not (min(replica.sequences, replica.gpus) >= 1 and min(replica.usd_per_gpu_hour, request_s) > 0):
        raise ValueError(
            f"a replica takes a request, a GPU and a price, and a request takes time; got {replica}, {request_s} s"
        )
    if scale_down_s < 0 or (usd_per_missed_request is not None and not 0 <= usd_per_missed_request < math.inf):
        raise ValueError(
            f"the scale-down delay and the price of a missed request must not be negative; got {scale_down_s}, "
            f"{usd_per_missed_request}"
        )
