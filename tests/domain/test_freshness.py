from datetime import UTC, datetime, timedelta

import pytest

from domain.freshness import Looks, known_until

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("looks", "allowed_s"),
    [
        (Looks(NOON - timedelta(hours=3), 30, NOON), 120),
        (Looks(NOON, 30), 120),  # the first look still goes on
        (Looks(NOON - timedelta(hours=3), 300, NOON), 900),  # looks each five minutes: three of them may be missed
    ],
)
def test_looks_are_overdue_two_minutes_and_three_intervals_after_the_last_that_went_well(
    looks: Looks, allowed_s: int
) -> None:
    assert not looks.are_overdue(NOON + timedelta(seconds=allowed_s))
    assert looks.are_overdue(NOON + timedelta(seconds=allowed_s + 1))


def test_all_is_known_until_the_kind_that_is_furthest_behind() -> None:
    earlier = NOON - timedelta(minutes=7)
    assert known_until({"requests": earlier, "samples": NOON}) == earlier
    assert known_until({"requests": None, "samples": NOON}) == NOON, "a kind that never came is not missed"
    assert known_until({"requests": None, "samples": None}) is None
