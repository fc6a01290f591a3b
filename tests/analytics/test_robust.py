import math

import numpy as np
import pytest

from analytics.robust import median_and_sigma


def test_of_normally_distributed_values_the_sigma_is_the_standard_deviation() -> None:
    values = np.random.default_rng(1).normal(10.0, 2.0, 20_000)
    assert median_and_sigma(values) == pytest.approx((10.0, 2.0), rel=0.02)


def test_a_few_values_of_any_size_pull_neither_away() -> None:
    assert median_and_sigma(np.array([1.0, 2.0, 3.0, 4.0, math.inf])) == (3.0, 1.4826)
