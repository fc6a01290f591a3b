import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from simulator.faults import Fault
from tailsight.simulate import PlannedFault, parted, scrape_plan
from tests.analytics.frames import START, at


def fault(starts_s: float, lasts_s: float) -> Fault:
    begins = at(starts_s)
    kind, entity = CauseKind.TRAFFIC_SURGE, Entity(EntityKind.SERVICE, "chat")
    return Fault(kind, entity, begins, begins + timedelta(seconds=lasts_s), strength=2.0, ramp_s=1.0)


@given(
    st.integers(1, 14 * 86_400),
    st.lists(st.tuples(st.integers(0, 14 * 86_400), st.integers(1, 7200)), max_size=5),
)
def test_the_parts_follow_one_another_and_cover_the_history(history_s: int, faults: list[tuple[int, int]]) -> None:
    inside = [fault(starts_s, lasts_s) for starts_s, lasts_s in faults if starts_s < history_s]
    parts = scrape_plan(START, at(history_s), inside)
    assert parts[0][0] == START
    assert parts[-1][1] == at(history_s)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(parts))
    assert all(begins < ends and step_s > 0 for begins, ends, step_s in parts)


def test_where_something_went_wrong_and_lately_is_looked_at_more_closely() -> None:
    wrong = fault(2 * 86_400, 900)
    parts = scrape_plan(START, at(4 * 86_400), [wrong])

    def step_at(seconds: float) -> float:
        return next(step_s for begins, ends, step_s in parts if begins <= at(seconds) < ends)

    usual = step_at(86_400)
    assert step_at(2 * 86_400 + 60) < usual
    assert step_at(4 * 86_400 - 60) < usual


def test_without_history_there_is_nothing_to_scrape() -> None:
    assert scrape_plan(START, START, []) == []


@pytest.mark.parametrize("lasts_s", [600, 86_400])
def test_a_fault_that_outlasts_the_history_ends_with_it(lasts_s: int) -> None:
    parts = scrape_plan(START, at(3600), [fault(3000, lasts_s)])
    assert parts[-1][1] == at(3600)


def test_a_fault_to_come_is_played_live_only() -> None:
    before, now = (
        PlannedFault(CauseKind.GPU_FAULT, timedelta(seconds=starts_s), timedelta(seconds=60)) for starts_s in (-60, 0)
    )
    assert parted([now, before], live=True) == ([before], [now])
    assert parted([before], live=False) == ([before], [])
    with pytest.raises(ValueError, match=r"gpu_fault starts 0 s after the history.*give --live, or a negative start"):
        parted([before, now], live=False)
