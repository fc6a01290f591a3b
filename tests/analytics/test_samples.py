import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analytics.samples import before, counter_rates, growth
from tests import naive

ABSENT = math.nan


def test_the_sample_before_skips_what_was_missed() -> None:
    np.testing.assert_array_equal(before(np.array([[ABSENT, 1, ABSENT, 3]])), [[ABSENT, ABSENT, 1, 1]])


counters = st.lists(
    st.one_of(st.just(ABSENT), st.just(naive.CLAMPED_32_BIT), st.integers(0, 2**40).map(float)), min_size=1, max_size=40
)


@given(st.lists(counters, min_size=1, max_size=4), st.sampled_from([1, 15, 60]))
def test_rates_are_those_of_a_loop_over_each_counter(rows: list[list[float]], step_s: int) -> None:
    width = min(len(row) for row in rows)
    found = counter_rates(np.array([row[:width] for row in rows]), step_s)
    np.testing.assert_allclose(found, [naive.counter_rates(row[:width], step_s) for row in rows])


def test_a_counter_that_falls_was_reset_and_grew_by_what_it_shows() -> None:
    assert counter_rates(np.array([[100.0, 250.0, 30.0]]), 15)[0, 1:].tolist() == [10.0, 2.0]


def test_growth_over_missed_samples_is_spread_over_the_gap_and_told_at_its_end() -> None:
    rates = counter_rates(np.array([[0.0, ABSENT, ABSENT, 90.0]]), 15)[0]
    assert np.isnan(rates[:3]).all()
    assert rates[3] == 2.0


def test_a_counter_stuck_at_its_32_bit_maximum_is_unknown_not_idle() -> None:
    rates = counter_rates(np.array([[0.0, naive.CLAMPED_32_BIT, naive.CLAMPED_32_BIT]]), 15)[0]
    assert rates[1] > 0
    assert math.isnan(rates[2])


def test_growth_alone_is_told_at_the_end_of_a_gap_too_and_knows_no_end_of_a_field() -> None:
    full = naive.CLAMPED_32_BIT
    np.testing.assert_array_equal(growth(np.array([[full, full, ABSENT, 90]])), [[ABSENT, 0, ABSENT, 90]])
