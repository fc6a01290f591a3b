"""Advice about money: what to do, what it saves, how sure that is, and what it rests on.

Each question has its own file (`whatif`, `consolidation`, `idle_gpus`, `warm_pool`, `spot`), which answers with the
nouns of this one. `ranked` puts the answers in order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from analytics.cost.latency_value import LatencyWorth

HOURS_PER_MONTH = 730.0  # 365 × 24 / 12
THRESHOLD_USD_PER_MONTH = 50.0


class AdviceKind(StrEnum):
    """What is to be changed."""

    WEIGHT_FORMAT = "weight_format"
    TENSOR_PARALLEL = "tensor_parallel"
    GPU_TYPE = "gpu_type"
    CONSOLIDATION = "consolidation"
    RELEASE = "release"
    HELD_IDLE = "held_idle"
    REPAIR = "repair"
    WARM_POOL = "warm_pool"
    SPOT = "spot"


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do, with what it is worth.

    Attributes:
        kind: what is to be changed.
        about: the model or pool whose bill shrinks. Two pieces of advice about the same one overlap: they are not to
            be added up.
        title: one sentence that an engineer can act on.
        saves_usd_per_month: the least and the most that it is expected to save; the least is not negative.
        confidence: how likely the saving lies in that range, 0-1, of `confidence`.
        why: the figures it rests on.
        assumptions: what was taken for granted.
        how: the steps, first one first.
        breaks_if: what would make it wrong.

    Raises:
        ValueError: for a saving that is negative or upside down, or a confidence outside 0-1.
    """

    kind: AdviceKind
    about: str
    title: str
    saves_usd_per_month: tuple[float, float]
    confidence: float
    why: tuple[str, ...]
    assumptions: tuple[str, ...]
    how: tuple[str, ...]
    breaks_if: tuple[str, ...]

    def __post_init__(self) -> None:
        low, high = self.saves_usd_per_month
        if not 0 <= low <= high < float("inf"):
            raise ValueError(f"a saving is least then most, neither negative; got {low} to {high} ({self.title})")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence is 0 to 1; got {self.confidence} ({self.title})")

    @property
    def expected_usd_per_month(self) -> float:
        """The middle of the range times the confidence: what misses the range is counted as no saving."""
        return self.confidence * sum(self.saves_usd_per_month) / 2


@dataclass(frozen=True, slots=True)
class AdviceGap:
    """Advice that cannot be given: about what, which data is missing, and how to bring it."""

    kind: AdviceKind
    about: str
    missing: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """All advice, greatest expected saving first, what could not be judged, and what sooner answers are worth.

    `latency_value` is empty where no elasticity is configured: none is built in.
    """

    advice: tuple[Advice, ...]
    gaps: tuple[AdviceGap, ...]
    latency_value: tuple[LatencyWorth, ...] = ()

    @property
    def expected_usd_per_month(self) -> float:
        """What following it brings: of advice about the same model or pool only the best, because they overlap."""
        best: dict[str, float] = {}
        for one in self.advice:
            best[one.about] = max(best.get(one.about, 0.0), one.expected_usd_per_month)
        return sum(best.values())


def ranked(found: Iterable[Advice | AdviceGap], at_least_usd_per_month: float = THRESHOLD_USD_PER_MONTH) -> Ranking:
    """Put advice in order of expected saving and drop what is not worth reading; gaps stay, each once.

    Args:
        found: the answers to all questions.
        at_least_usd_per_month: the least expected saving that is listed.

    Raises:
        ValueError: for a threshold that is negative.
    """
    if not at_least_usd_per_month >= 0:
        raise ValueError(f"the least saving listed is 0 or more dollars a month; got {at_least_usd_per_month}")
    every = list(found)
    advice = [one for one in every if isinstance(one, Advice) and one.expected_usd_per_month > 0]
    listed = [one for one in advice if one.expected_usd_per_month >= at_least_usd_per_month]
    gaps = dict.fromkeys(one for one in every if isinstance(one, AdviceGap))
    return Ranking(tuple(sorted(listed, key=lambda one: (-one.expected_usd_per_month, one.title))), tuple(gaps))


def confidence(method: float, hours_seen: float, coverage_ratio: float) -> float:
    """How likely a stated range holds, 0-1: the product of three things.

    - `method`: how often ranges made in this way held where that could be checked (a benchmark, or the second half of
      the same data), or how alike the two halves of the data are (`likeness`), 0-1;
    - the time seen, as hours / (hours + 24): after a day a half, after a week seven eighths;
    - `coverage_ratio`: the share of the GPU hours in question of which there is telemetry, 0-1.

    Raises:
        ValueError: for a share outside 0-1, or negative hours.
    """
    if not (0 <= method <= 1 and 0 <= coverage_ratio <= 1 and hours_seen >= 0):
        raise ValueError(
            f"confidence takes shares of 0 to 1 and hours of 0 or more; got method {method}, "
            f"coverage {coverage_ratio}, {hours_seen} h"
        )
    return method * coverage_ratio * hours_seen / (hours_seen + 24)


def likeness(first: float, second: float) -> float:
    """How alike two halves of the time are in what they add up to, 0-1: the lesser over the greater.

    Raises:
        ValueError: for a negative sum.
    """
    if not (first >= 0 and second >= 0):
        raise ValueError(f"halves are compared in sums that are not negative; got {first} and {second}")
    return min(first, second) / max(first, second) if max(first, second) > 0 else 1.0
