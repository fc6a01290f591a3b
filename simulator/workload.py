"""Who asks for what, and when: arrivals, token lengths, prefix hits, tenants and users.

Sources: Azure LLM inference trace 2023, conversation (CC-BY-4.0); Mooncake FAST'25 conversation trace
(Apache-2.0); daily and weekly swing in the manner of ServeGen m-large (48-583 requests/s around 196).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

BLOCK_TOKENS = 512  # Mooncake's unit of prefix reuse
USERS_PER_TENANT = 200
DAILY_SWING_RATIO = 0.45
PEAK_HOUR_UTC = 15.0
WEEKDAY_FACTOR = 1.1
WEEKEND_FACTOR = 0.75  # so that the week's mean stays 1: (5 × 1.1 + 2 × 0.75) / 7
PEAK_FACTOR = (1 + DAILY_SWING_RATIO) * WEEKDAY_FACTOR
HOUR_S = 3600
UPSTREAMS_MAX = 2  # services that one request may call before generation
DAY_S = 24 * HOUR_S

# One request on its way in. Times are seconds since the Unix epoch; `first_choice` and `second_choice`
# are the replicas (within the service) between which the router decides; `luck` is uniform in 0-1; `upstream_s` is how
# long each of the cloud's upstream services takes to answer before the engine is asked (0 where there is none).
ARRIVAL = np.dtype(
    [
        ("arrived_at", "f8"),
        ("prompt_tokens", "i8"),
        ("cached_tokens", "i8"),
        ("output_tokens", "i8"),
        ("tenant", "i8"),
        ("user", "i8"),
        ("first_choice", "i8"),
        ("second_choice", "i8"),
        ("luck", "f8"),
        ("trace_id_high", "u8"),
        ("trace_id_low", "u8"),
        ("span_id", "u8"),
        ("request_id", "u8"),
        ("upstream_s", "f8", (UPSTREAMS_MAX,)),
    ]
)


@dataclass(frozen=True, slots=True)
class TokenLengths:
    """A distribution of token counts, given by quantiles and log-linear between them.

    `probabilities` ascend from 0; the last one may lie below 1: what is longer than the last quantile is
    refused by the gateway and never reaches an engine.
    """

    probabilities: tuple[float, ...]
    tokens: tuple[int, ...]

    def draw(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Token counts (at least 1) for uniform numbers in 0-1, same shape."""
        return self.quantile(uniform).astype(np.int64)

    def quantile(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse distribution function of what is let through."""
        scaled = probability * self.probabilities[-1]
        return np.exp(np.interp(scaled, self.probabilities, np.log(self.tokens)))

    @property
    def mean(self) -> float:
        """Mean tokens, by the midpoint rule over 1,000 quantiles."""
        return float(self.quantile((np.arange(1000) + 0.5) / 1000).mean())


@dataclass(frozen=True, slots=True)
class Workload:
    """The traffic of one service.

    `reuse_probability` of the requests continue a conversation and find `reuse_ratio_low` to
    `reuse_ratio_high` of their prompt in the KV store; the others find the block of the system prompt.
    """

    requests_per_s: float
    prompt: TokenLengths
    output: TokenLengths
    reuse_probability: float
    reuse_ratio_low: float
    reuse_ratio_high: float

    def at(self, requests_per_s: float) -> "Workload":
        """The same traffic at another mean rate."""
        return replace(self, requests_per_s=requests_per_s)


# Mooncake FAST'25 conversation, 12,031 requests: quantiles of input_length up to a context window of 32k
# (6.9 % are longer), of output_length, and a split of prefix reuse that gives its 37 % of blocks:
# 61 % of its requests find at most the first block, the quantiles 0.75 / 0.90 / 0.95 of the found share are
# 0.67 / 0.93 / 0.96.
CHAT_WORKLOAD = Workload(
    requests_per_s=1.2,
    prompt=TokenLengths(
        probabilities=(0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.9312),
        tokens=(512, 894, 901, 964, 2306, 6909, 15367, 27367, 32768),
    ),
    output=TokenLengths(
        probabilities=(0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0),
        tokens=(1, 3, 10, 24, 156, 350, 472, 597, 698, 1118, 2000),
    ),
    reuse_probability=0.45,
    reuse_ratio_low=0.5,
    reuse_ratio_high=0.98,
)
# Azure conversation, 19,366 requests; no prefix figures are published, so little reuse is assumed. The few
# prompts longer than the trace's p99 (4,142 tokens) are taken to be that long: the service has a 4k window.
ASSIST_WORKLOAD = Workload(
    requests_per_s=1.5,
    prompt=TokenLengths(
        probabilities=(0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 1.0),
        tokens=(16, 29, 181, 207, 396, 1020, 1189, 2735, 4083, 4142),
    ),
    output=TokenLengths(
        probabilities=(0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0),
        tokens=(4, 16, 41, 54, 85, 129, 395, 424, 451, 601, 1000),
    ),
    reuse_probability=0.1,
    reuse_ratio_low=0.3,
    reuse_ratio_high=0.6,
)


def traffic_factor(moment_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rate at a moment (seconds since the epoch) over the mean rate of the week."""
    hour = moment_s % DAY_S / HOUR_S
    weekday = (moment_s // DAY_S + 3) % 7  # the epoch was a Thursday; 0 is Monday
    daily = 1 + DAILY_SWING_RATIO * np.cos(2 * np.pi * (hour - PEAK_HOUR_UTC) / 24)
    return daily * np.where(weekday >= 5, WEEKEND_FACTOR, WEEKDAY_FACTOR)


def hour_of_arrivals(
    workload: Workload, seed: tuple[int, ...], hour: int, replicas_count: int, tenants_count: int
) -> NDArray[np.void]:
    """All arrivals of one hour (counted from the epoch) in order of time, shape (n,) of `ARRIVAL`.

    A Poisson process thinned to the daily and weekly cycle; each hour has its own random stream, so any
    stretch of time can be drawn alone.
    """
    randomness = np.random.default_rng((*seed, hour))
    expected = workload.requests_per_s * PEAK_FACTOR * HOUR_S
    moments_s = np.sort(hour * HOUR_S + HOUR_S * randomness.random(randomness.poisson(expected)))
    kept = randomness.random(moments_s.size) * PEAK_FACTOR < traffic_factor(moments_s)
    return describe_arrivals(moments_s[kept], workload, randomness, replicas_count, tenants_count)


def describe_arrivals(
    moments_s: NDArray[np.float64],
    workload: Workload,
    randomness: np.random.Generator,
    replicas_count: int,
    tenants_count: int,
) -> NDArray[np.void]:
    """What arrives at each of these moments: shape (n,) of `ARRIVAL`."""
    count = moments_s.size
    arrivals = np.zeros(count, ARRIVAL)
    arrivals["arrived_at"] = moments_s
    arrivals["prompt_tokens"] = workload.prompt.draw(randomness.random(count))
    arrivals["output_tokens"] = workload.output.draw(randomness.random(count))
    reuse_ratio = randomness.uniform(workload.reuse_ratio_low, workload.reuse_ratio_high, count)
    reused = randomness.random(count) < workload.reuse_probability
    found = np.where(reused, reuse_ratio * arrivals["prompt_tokens"], BLOCK_TOKENS)
    # Blocks are reused whole, and the last token is always computed.
    whole_blocks = np.minimum(found, arrivals["prompt_tokens"] - 1) // BLOCK_TOKENS * BLOCK_TOKENS
    arrivals["cached_tokens"] = whole_blocks
    arrivals["tenant"] = randomness.choice(tenants_count, count, p=tenant_shares(tenants_count))
    # Few users of a tenant do most of the asking.
    arrivals["user"] = (USERS_PER_TENANT * randomness.random(count) ** 2).astype(np.int64)
    arrivals["first_choice"] = randomness.integers(replicas_count, size=count)
    step = randomness.integers(1, max(replicas_count, 2), size=count)
    arrivals["second_choice"] = (arrivals["first_choice"] + step) % replicas_count
    arrivals["luck"] = randomness.random(count)
    for name in ("trace_id_high", "trace_id_low", "span_id", "request_id"):
        arrivals[name] = randomness.integers(1, 2**64, size=count, dtype=np.uint64)
    return arrivals


def chance_of(ids: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform numbers in 0-1 out of random ids: the same request always draws the same."""
    return (ids >> np.uint64(11)).astype(np.float64) * 2.0**-53


def tenant_shares(tenants_count: int) -> NDArray[np.float64]:
    """Shares of traffic by tenant, Zipf's law with exponent 1; they sum to 1."""
    weights = 1.0 / np.arange(1, tenants_count + 1)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares
