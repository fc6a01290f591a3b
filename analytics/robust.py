"""Robust statistics: the middle and the scatter of values, of which some may be anything."""

import numpy as np
from numpy.typing import NDArray

SIGMA_OF_MAD = 1.4826
"""From median absolute deviation to standard deviation, of normally distributed values (Rousseeuw and Croux 1993)."""


def median_and_sigma(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median and robust standard deviation, in the unit of the values: (n,), at least one, none of them NaN."""
    median = float(np.median(values))
    return median, SIGMA_OF_MAD * float(np.median(np.abs(values - median)))
