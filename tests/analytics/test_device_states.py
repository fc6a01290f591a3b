from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.device_states import highest_so_far, peers_have, stack, sums_within, within

ABSENT = float("nan")
numbers = st.sampled_from([ABSENT, 0.0, 1.0, 2.0, 3.0, 7.0])


class Light(StrEnum):
    RED = "red"
    GREEN = "green"


def test_several_states_may_hold_and_the_worst_is_told_first() -> None:
    green = np.array([[True, True]])
    states = stack([Light.RED, Light.GREEN], {Light.GREEN: green, Light.RED: np.array([[False, True]])})
    assert states.at(0, 0) == (Light.GREEN,)
    assert states.at(0, 1) == (Light.RED, Light.GREEN)
    assert states.worst().tolist() == [[1, 0]]
    np.testing.assert_array_equal(states.holds(Light.GREEN), green)


def test_a_state_that_nobody_looked_for_holds_nowhere() -> None:
    assert stack([Light.RED, Light.GREEN], {Light.GREEN: np.array([[True]])}).at(0, 0) == (Light.GREEN,)


def test_an_event_is_within_its_step_and_those_that_follow() -> None:
    events = np.array([[False, True, False, False, False]])
    assert within(events, 0).tolist() == events.tolist()
    assert within(events, 2).tolist() == [[False, True, True, True, False]]
    assert within(events, 99).tolist() == [[False, True, True, True, True]]


def test_what_is_unknown_adds_nothing_to_a_sum() -> None:
    assert sums_within(np.array([[1, ABSENT, 3, 4]]), 1).tolist() == [[1, 1, 3, 7]]


def test_the_highest_so_far_waits_for_the_first_sample() -> None:
    np.testing.assert_array_equal(highest_so_far(np.array([[ABSENT, 2, 1, ABSENT]])), [[ABSENT, 2, 2, 2]])


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=12), st.integers(1, 3))
def test_peers_are_the_others_of_a_group_as_a_loop_finds_them(
    rows: Sequence[tuple[float, int, int]], peers_min: int
) -> None:
    values = np.array([[value] for value, _, _ in rows])
    groups, owners = [group for _, group, _ in rows], [owner for _, _, owner in rows]
    expected = []
    for _, group, owner in rows:
        first: dict[int, float] = {}
        for value, its_group, its_owner in rows:
            if its_group == group and its_owner != owner:
                first.setdefault(its_owner, value)
        others = sorted(value for value in first.values() if not np.isnan(value))
        expected.append([others[(len(others) - 1) // 4] if len(others) >= peers_min else ABSENT])
    np.testing.assert_array_equal(peers_have(values, groups, owners, peers_min), expected)
