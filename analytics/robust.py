"""Robust statistics: the middle and the scatter of values, of which some may be anything."""

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import NDArray

SIGMA_OF_MAD = 1.4826
"""From median absolute deviation to standard deviation, of normally distributed values (Rousseeuw and Croux 1993)."""


def median_and_sigma(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median and robust standard deviation, in the unit of the values: (n,), at least one, none of them NaN."""
    median = float(np.median(values))
    return median, SIGMA_OF_MAD * float(np.median(np.abs(values - median)))


class MovingMedian:
    """`median_and_sigma` of values that come and go, kept in order: the same to the last bit, without sorting anew."""

    def __init__(self) -> None:
        self._ordered: list[float] = []

    def __len__(self) -> int:
        return len(self._ordered)

    def add(self, value: float) -> None:
        """One more value, not NaN."""
        insort(self._ordered, value)

    def remove(self, value: float) -> None:
        """Take away one that was added."""
        del self._ordered[bisect_left(self._ordered, value)]

    def median_and_sigma(self) -> tuple[float, float]:
        """Median and robust standard deviation of what is there, at least one value."""
        ordered = self._ordered
        count = len(ordered)
        half = count // 2
        if count % 2:
            median = ordered[half]
            return median, SIGMA_OF_MAD * self._distances(median, half + 1)[0]
        median = (ordered[half - 1] + ordered[half]) / 2
        lower, upper = self._distances(median, half)
        return median, SIGMA_OF_MAD * ((lower + upper) / 2)

    def _distances(self, median: float, count: int) -> tuple[float, float]:
        """Of the distances from the median, the greatest of the `count` least ones, and the next one (inf: none).

        Those on each side are in order already, so it is only to be found how many of the least lie below.
        """
        ordered = self._ordered
        middle = len(ordered) // 2  # what lies before is not above the median, and the rest not below
        low, high = max(0, count - (len(ordered) - middle)), min(count, middle)
        while low < high:
            below = (low + high) // 2
            if median - ordered[middle - 1 - below] < ordered[middle + count - below - 1] - median:
                low = below + 1
            else:
                high = below
        above = count - low
        nearest = [median - ordered[middle - low]] if low else []
        nearest += [ordered[middle + above - 1] - median] if above else []
        following = [median - ordered[middle - 1 - low]] if low < middle else []
        following += [ordered[middle + above] - median] if middle + above < len(ordered) else []
        return max(nearest), min(following, default=float("inf"))


def binomial_dispersion(hits: NDArray[np.float64], of: NDArray[np.float64]) -> float:
    """By what factor counts of one share vary more than those of independent events do, at least 1.

    Pearson's statistic over its degrees of freedom (McCullagh and Nelder 1989, section 4.5); 1 for a single count, and
    where all are hits or none is.

    Args:
        hits: (n,) how many were hits.
        of: (n,) of how many, positive.
    """
    ratio = hits.sum() / of.sum() if len(of) > 1 else 0.0
    if not 0.0 < ratio < 1.0:
        return 1.0
    pearson = ((hits - of * ratio) ** 2 / (of * ratio * (1.0 - ratio))).sum()
    return max(1.0, float(pearson) / (len(hits) - 1))
