"""What faster answers are worth: an interval, from an elasticity that the user gives; without one, nothing.

No public study ties the latency of a language model to what its users pay or do. Known figures are of web pages, old
and second-hand, so none is built in.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy

from domain.incident import Indicator

MONTHS_PER_YEAR = 12
CORRELATION = (
    "Read from your own requests: a correlation. Slow requests may also be the long ones, or of other users; only a "
    "test that slows some users at random tells what latency does."
)
_BANDS_MIN, _REQUESTS_MIN = 3, 100


@dataclass(frozen=True, slots=True)
class Elasticity:
    """The share of value lost by 100 ms more, least and most, and who says so.

    Raises:
        ValueError: for a share outside 0-1, upside down, or without a source.
    """

    lost_ratio_per_100_ms: tuple[float, float]
    source: str

    def __post_init__(self) -> None:
        low, high = self.lost_ratio_per_100_ms
        if not 0 <= low <= high <= 1 or not self.source.strip():
            raise ValueError(
                f"an elasticity is a least and most share lost by 100 ms, 0 to 1, with a source; got {low} to {high}, "
                f"source {self.source!r}"
            )


@dataclass(frozen=True, slots=True)
class LatencyValue:
    """Dollars, least and most, of a change of latency; None with a reason when they cannot be told."""

    usd_per_month: tuple[float, float] | None
    usd_per_year: tuple[float, float] | None
    reason: str


def latency_value(faster_ms: float, value_usd_per_month: float | None, elasticity: Elasticity | None) -> LatencyValue:
    """What it is worth a month and a year that answers come so much sooner; negative when they come later.

    Linear in the milliseconds: value × share lost by 100 ms × milliseconds / 100, and never more than the value.

    Args:
        faster_ms: by how much, of the time that the elasticity is about.
        value_usd_per_month: what depends on it: revenue, say.
        elasticity: the user's own; None when not configured.

    Raises:
        ValueError: for milliseconds that are not finite, or a negative value.
    """
    if not math.isfinite(faster_ms) or (value_usd_per_month is not None and not 0 <= value_usd_per_month < math.inf):
        raise ValueError(
            f"milliseconds must be finite and the value not negative; got {faster_ms} ms, {value_usd_per_month} dollars"
        )
    if elasticity is None or value_usd_per_month is None:
        return LatencyValue(None, None, "not configured")
    shares = (max(-1.0, min(1.0, ratio * faster_ms / 100)) for ratio in elasticity.lost_ratio_per_100_ms)
    low, high = sorted(value_usd_per_month * share for share in shares)
    return LatencyValue((low, high), (low * MONTHS_PER_YEAR, high * MONTHS_PER_YEAR), elasticity.source)


@dataclass(frozen=True, slots=True)
class ServiceValue:
    """What depends on how soon a service answers: dollars a month, and the share of them lost with latency."""

    service: str
    indicator: Indicator
    value_usd_per_month: float
    elasticity: Elasticity


@dataclass(frozen=True, slots=True)
class LatencyWorth:
    """What sooner answers of a service are worth, and what the change of the last week is.

    `usd_per_month_of_100_ms` is least and most. The medians are of the last seven days and of the seven before, None
    where no request is known; `change_usd_per_month` is what the difference is worth: negative where answers come
    later.
    """

    service: str
    indicator: Indicator
    source: str
    usd_per_month_of_100_ms: tuple[float, float]
    median_ms: float | None
    median_before_ms: float | None
    change_usd_per_month: tuple[float, float] | None


def latency_worth(value: ServiceValue, median_ms: float | None, median_before_ms: float | None) -> LatencyWorth:
    """What 100 ms are worth to a service, and what its last week's change is."""
    faster_ms = 0.0 if median_ms is None or median_before_ms is None else median_before_ms - median_ms
    sooner, changed = (
        latency_value(ms, value.value_usd_per_month, value.elasticity).usd_per_month for ms in (100.0, faster_ms)
    )
    if sooner is None:
        raise ValueError(f"the value of {value.service} is not configured")
    is_known = median_ms is not None and median_before_ms is not None
    return LatencyWorth(
        value.service,
        value.indicator,
        value.elasticity.source,
        sooner,
        median_ms,
        median_before_ms,
        changed if is_known else None,
    )


def conversion_by_band(requests: pl.DataFrame, edges_ms: list[float]) -> pl.DataFrame:
    """How many requests of each band of latency led to what was wanted.

    Args:
        requests: columns latency_ms, is_converted; rows with a null are left out.
        edges_ms: ends of the bands, rising; a band holds its lower end.

    Returns:
        A row a band: from_ms, to_ms, requests, converted, mean_ms, ratio, ratio_low, ratio_high (95 %, Wilson 1927);
        bands without requests are left out.

    Raises:
        ValueError: for missing columns or fewer than two rising edges.
    """
    missing = sorted({"latency_ms", "is_converted"} - set(requests.columns))
    if missing:
        raise ValueError(f"requests lack {', '.join(missing)}; they have {', '.join(requests.columns)}")
    if len(edges_ms) < 2 or any(b <= a for a, b in itertools.pairwise(edges_ms)):
        raise ValueError(f"bands need two or more rising ends; got {edges_ms}")
    known = requests.drop_nulls(["latency_ms", "is_converted"])
    rows = []
    for low, high in itertools.pairwise(edges_ms):
        band = known.filter((pl.col("latency_ms") >= low) & (pl.col("latency_ms") < high))
        if band.is_empty():
            continue
        converted = int(band["is_converted"].sum())
        ends = scipy.stats.binomtest(converted, band.height).proportion_ci(method="wilson")
        mean = float(band["latency_ms"].sum()) / band.height
        rows.append(
            (low, high, band.height, converted, mean, converted / band.height, float(ends.low), float(ends.high))
        )
    names = ("from_ms", "to_ms", "requests", "converted", "mean_ms", "ratio", "ratio_low", "ratio_high")
    whole = {"requests", "converted"}
    return pl.DataFrame(rows, schema={n: pl.Int64() if n in whole else pl.Float64() for n in names}, orient="row")


def elasticity_seen(bands: pl.DataFrame) -> tuple[Elasticity | None, str]:
    """The elasticity that the bands show, with its warning; or None with the reason.

    Weighted least squares of the bands' ratios on their mean latency, weights by requests over the pooled variance;
    the slope by 100 ms over the mean ratio, with its 95 % interval.

    Args:
        bands: of `conversion_by_band`.
    """
    enough = bands.filter(pl.col("requests") >= _REQUESTS_MIN)
    if enough.height < _BANDS_MIN:
        return None, f"{enough.height} bands of {_REQUESTS_MIN} or more requests; {_BANDS_MIN} are needed"
    count, x, y = (enough[name].to_numpy().astype(np.float64) for name in ("requests", "mean_ms", "ratio"))
    pooled = float((count * y).sum() / count.sum())
    if not 0 < pooled < 1:
        return None, "all requests ended alike, so latency tells nothing"
    weights = count / (pooled * (1 - pooled))
    middle = (weights * x).sum() / weights.sum()
    spread = float((weights * (x - middle) ** 2).sum())
    slope = float((weights * (x - middle) * (y - pooled)).sum()) / spread
    error = 1.96 / math.sqrt(spread)
    low, high = (-100 * (slope + sign * error) / pooled for sign in (1, -1))
    if low <= 0:
        return None, f"no loss with latency is told apart from chance ({low:.2%} to {high:.2%} by 100 ms)"
    return Elasticity((min(1.0, low), min(1.0, high)), CORRELATION), CORRELATION
