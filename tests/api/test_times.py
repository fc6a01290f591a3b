"""Times and steps are read strictly, and a fault is named with what is valid."""

from datetime import UTC, datetime

import pytest

from api.problems import Problem
from api.times import read_moment, read_step, widened_to_steps, window_between
from domain.window import Window

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_time_with_an_offset_is_read_as_utc() -> None:
    assert read_moment("2026-11-23T13:00:00+01:00") == NOON


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yesterday", "is not an RFC 3339 time; expected e.g."),
        ("", "is not an RFC 3339 time"),
        ("2026-11-23T12:00:00", "has no time zone; add Z"),
        ("1900-01-01T00:00:00Z", "valid are the years 1970 to 2105"),
        ("2106-02-08T00:00:00Z", "valid are the years 1970 to 2105"),
        ("0001-01-01T00:00:00+14:00", "outside of the years 1 to 9999"),
        ("2026-11-23T12:00:00 01:00", "in an address, write \\+ as %2B"),
    ],
)
def test_what_is_no_time_is_refused_with_what_is_valid(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_moment(text)


def test_a_number_is_no_time() -> None:
    with pytest.raises(ValueError, match="in quotes"):
        read_moment(1_763_899_200)


@pytest.mark.parametrize(("text", "seconds"), [("15", 15), ("60s", 60), ("5m", 300), ("1h", 3600), ("7d", 604_800)])
def test_a_step_is_a_duration(text: str, seconds: int) -> None:
    assert read_step(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-15", "1.5m", "10s", "1w", "999999999d", "١٥"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_step(text)


def test_without_bounds_the_window_is_the_last_day() -> None:
    assert window_between(None, None, NOON) == Window(datetime(2026, 11, 22, 12, tzinfo=UTC), NOON)


def test_without_a_start_the_window_is_the_day_before_its_end() -> None:
    end = datetime(2026, 11, 20, tzinfo=UTC)

    assert window_between(None, end, NOON) == Window(datetime(2026, 11, 19, tzinfo=UTC), end)


def test_a_window_that_ends_before_it_starts_names_the_field() -> None:
    with pytest.raises(Problem) as raised:
        window_between(NOON, NOON, NOON)

    (error,) = raised.value.errors
    assert error.field == "from"
    assert error.detail == "2026-11-23T12:00:00Z is not before 2026-11-23T12:00:00Z, `to`"


def test_a_start_in_the_future_without_an_end_is_compared_with_now() -> None:
    with pytest.raises(Problem, match="now, which the window ends at without `to`"):
        window_between(datetime(2026, 11, 24, tzinfo=UTC), None, NOON)


def test_a_window_is_widened_to_whole_steps() -> None:
    window = Window(datetime(2026, 11, 23, 11, 59, 59, tzinfo=UTC), datetime(2026, 11, 23, 12, 0, 0, 1, tzinfo=UTC))

    wide = widened_to_steps(window, 60)

    assert wide == Window(datetime(2026, 11, 23, 11, 59, tzinfo=UTC), datetime(2026, 11, 23, 12, 1, tzinfo=UTC))
    assert widened_to_steps(wide, 60) == wide
