"""Two versions side by side, and replicas side by side: who is slower, and who bears too much.

Differences come with an interval, by the bootstrap (Efron, 1979: percentiles of the differences of resampled data), so
that a few slow requests are not taken for a slow release.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy
from numpy.typing import NDArray

from analytics.request_times import tpot_ms

QUANTILES = (0.5, 0.95, 0.99)
MEASURES = ("latency_ms", "ttft_ms", "tpot_ms")

_ROUNDS = 400
_SAMPLE_MAX = 4000  # of more requests a sample is resampled; what that adds to the interval is on the safe side
_N_MIN = 20
_TAIL_MIN = 5  # requests beyond a quantile, or nothing is said of it
_SEED = 20261129
_LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """One quantile of one time, of version a and of version b; b minus a lies between low and high by 95 %.

    Null where there are too few requests to say.
    """

    measure: str
    quantile: float
    a_ms: float | None
    b_ms: float | None
    difference_ms: float | None
    low_ms: float | None
    high_ms: float | None
    a_count: int
    b_count: int

    @property
    def verdict(self) -> str:
        """`slower`, `faster` or `same` (b against a); `unknown` where too little is known."""
        if self.low_ms is None or self.high_ms is None:
            return "unknown"
        return "slower" if self.low_ms > 0 else "faster" if self.high_ms < 0 else "same"


@dataclass(frozen=True, slots=True)
class ErrorDifference:
    """Failures of two versions; `chance` is that of such a difference when there is none (Fisher's exact test)."""

    a_errors: int
    a_count: int
    b_errors: int
    b_count: int
    chance: float | None

    @property
    def verdict(self) -> str:
        """`more`, `fewer` or `same` (b against a); `unknown` without requests of both."""
        if self.chance is None:
            return "unknown"
        a_ratio, b_ratio = self.a_errors / self.a_count, self.b_errors / self.b_count
        return "same" if self.chance > 1 - _LEVEL else "more" if b_ratio > a_ratio else "fewer"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions at the same time; counts are of one request in `one_in`."""

    differences: tuple[Difference, ...]
    errors: ErrorDifference
    a_input_tokens_mean: float | None
    b_input_tokens_mean: float | None
    one_in: int = 1


def compare_versions(requests: pl.DataFrame, a: str, b: str) -> Comparison:
    """How version b does against version a.

    Args:
        requests: a frame of `storage.readers.read_requests`.
        a: the version that is compared with, as a rule the older one.
        b: the version that is asked about.
    """
    parts = {name: requests.filter(pl.col("version") == name).with_columns(tpot_ms()) for name in (a, b)}
    generator = np.random.default_rng(_SEED)
    differences = []
    for measure in MEASURES:
        values = [part.filter(~pl.col("is_error"))[measure].drop_nulls().to_numpy() for part in (parts[a], parts[b])]
        differences += _differences(measure, values[0], values[1], generator)
    counts = [(int(part["is_error"].sum()), part.height) for part in (parts[a], parts[b])]
    (a_errors, a_count), (b_errors, b_count) = counts
    chance = None
    if a_count and b_count:
        table = [[a_errors, a_count - a_errors], [b_errors, b_count - b_errors]]
        chance = float(scipy.stats.fisher_exact(table).pvalue)
    prompts = [part["input_tokens"].mean() for part in (parts[a], parts[b])]
    told = [float(mean) if isinstance(mean, int | float) else None for mean in prompts]
    errors = ErrorDifference(a_errors, a_count, b_errors, b_count, chance)
    return Comparison(tuple(differences), errors, told[0], told[1])


def _differences(measure: str, a: Floats, b: Floats, generator: np.random.Generator) -> list[Difference]:
    drawn = {}
    for name, values in (("a", a), ("b", b)):
        if len(values) >= _N_MIN:
            size = min(len(values), _SAMPLE_MAX)
            sample = values if size == len(values) else generator.choice(values, size, replace=False)
            rounds = generator.choice(sample, (_ROUNDS, size))
            drawn[name] = np.quantile(rounds, QUANTILES, axis=1)
    found = []
    for place, quantile in enumerate(QUANTILES):
        known = all(len(values) * (1 - quantile) >= _TAIL_MIN for values in (a, b))
        ends: tuple[float | None, float | None, float | None] = (None, None, None)
        a_ms, b_ms = (float(np.quantile(values, quantile)) if len(values) else None for values in (a, b))
        if known and len(drawn) == 2 and a_ms is not None and b_ms is not None:
            spread = drawn["b"][place] - drawn["a"][place]
            low, high = np.quantile(spread, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
            ends = (b_ms - a_ms, float(low), float(high))
        found.append(Difference(measure, quantile, a_ms, b_ms, *ends, len(a), len(b)))
    return found


LOADS: dict[str, pl.DataType] = {
    "replica": pl.String(),
    "requests": pl.UInt64(),
    "errors": pl.UInt64(),
    "tokens": pl.UInt64(),
    "load_ratio": pl.Float64(),
    "latency_ms_p99": pl.Float64(),
    "ttft_ms_p99": pl.Float64(),
}
"""One row a replica; `load_ratio` is its tokens (requests, where no tokens are told) over the mean of all."""


@dataclass(frozen=True, slots=True)
class Imbalance:
    """How unevenly replicas were loaded over a window.

    `imbalance_ratio` is the busiest one's load over the mean less 1 (0: even); `variation_ratio` the standard deviation
    over the mean. Null with fewer than two replicas.
    """

    replicas: pl.DataFrame
    imbalance_ratio: float | None
    variation_ratio: float | None


def imbalance(replicas: pl.DataFrame) -> Imbalance:
    """How unevenly replicas were loaded.

    Args:
        replicas: a row each: replica, requests, errors, input_tokens, output_tokens, latency_ms_p99, ttft_ms_p99.
    """
    tokens = pl.col("input_tokens") + pl.col("output_tokens")
    known = replicas.drop_nulls("replica").with_columns(tokens.alias("tokens"))
    load = pl.col("tokens") if known["tokens"].sum() else pl.col("requests")
    known = known.with_columns((load / load.mean()).alias("load_ratio")).sort("load_ratio", descending=True)
    ratios = known["load_ratio"]
    if len(ratios) < 2 or not known["requests"].sum():
        return Imbalance(known.select(*LOADS), None, None)
    return Imbalance(known.select(*LOADS), float(ratios.max()) - 1.0, float(ratios.std(ddof=0)))  # type: ignore[arg-type]  # numbers
