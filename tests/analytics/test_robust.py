import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.robust import MovingMedian, binomial_dispersion, median_and_sigma


def test_of_normally_distributed_values_the_sigma_is_the_standard_deviation() -> None:
    values = np.random.default_rng(1).normal(10.0, 2.0, 20_000)
    assert median_and_sigma(values) == pytest.approx((10.0, 2.0), rel=0.02)


def test_a_few_values_of_any_size_pull_neither_away() -> None:
    assert median_and_sigma(np.array([1.0, 2.0, 3.0, 4.0, math.inf])) == (3.0, 1.4826)


@given(st.lists(st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float), min_size=1, max_size=40), st.integers(1, 12))
def test_a_moving_median_is_that_of_what_is_left_to_the_last_bit(values: list[float], kept: int) -> None:
    moving = MovingMedian()
    for place, value in enumerate(values):
        moving.add(value)
        if place >= kept:
            moving.remove(values[place - kept])
        left = np.array(values[max(0, place + 1 - kept) : place + 1])
        assert len(moving) == len(left)
        assert moving.median_and_sigma() == median_and_sigma(left)


def test_counts_of_independent_events_vary_as_such_and_those_that_come_in_bursts_vary_more() -> None:
    random = np.random.default_rng(2)
    of = np.full(400, 50.0)
    assert binomial_dispersion(random.binomial(50, 0.1, 400).astype(float), of) == pytest.approx(1.0, abs=0.15)
    assert binomial_dispersion(50.0 * (random.uniform(size=400) < 0.1), of) > 20


@pytest.mark.parametrize("hits", [[0.0, 0.0, 0.0], [5.0, 5.0, 5.0], [2.0]])
def test_what_never_varies_has_no_dispersion_of_its_own(hits: list[float]) -> None:
    assert binomial_dispersion(np.array(hits), np.full(len(hits), 5.0)) == 1.0
