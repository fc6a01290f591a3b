from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.window import Window, from_rfc3339, hour_of, rfc3339, step_of

START = datetime(2026, 11, 23, 2, 41, tzinfo=UTC)


def test_a_window_is_kept_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    window = Window(datetime(2026, 11, 23, 3, 41, tzinfo=berlin), datetime(2026, 11, 23, 3, 42, tzinfo=berlin))
    assert window == Window(START, START + timedelta(minutes=1))
    assert window.start.tzinfo is UTC


@pytest.mark.parametrize("end", [START, START - timedelta(seconds=1)])
def test_a_window_ends_after_it_starts(end: datetime) -> None:
    with pytest.raises(ValueError, match="not after its start 2026-11-23T02:41:00"):
        Window(START, end)


def test_a_time_without_a_zone_is_refused_with_an_example_of_one_that_has_it() -> None:
    with pytest.raises(ValueError, match=r"window end .* has no time zone; give UTC, e.g. 2026-11-23T02:41:00Z"):
        Window(START, datetime(2026, 11, 23, 3))  # noqa: DTZ001  # that it has no zone is the point


def test_the_window_before_ends_where_this_one_starts() -> None:
    window = Window(START, START + timedelta(minutes=5))
    assert window.before(60) == Window(START - timedelta(seconds=60), START)
    assert window.seconds == 300


def test_a_window_can_be_widened_on_both_sides() -> None:
    window = Window(START, START + timedelta(minutes=5)).widened(before_s=60, after_s=30)
    assert window == Window(START - timedelta(seconds=60), START + timedelta(minutes=5, seconds=30))


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.timezones()))  # noqa: DTZ001  # bounds have no zone
def test_a_time_survives_being_written_and_read(moment: datetime) -> None:
    assert from_rfc3339(rfc3339(moment)) == moment.astimezone(UTC)


def test_a_time_is_written_short_and_with_a_z() -> None:
    assert rfc3339(START) == "2026-11-23T02:41:00Z"
    assert rfc3339(START.replace(microsecond=250_000)) == "2026-11-23T02:41:00.250000Z"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("yesterday", "'yesterday' is not an RFC 3339 time; expected e.g. 2026-11-23T02:41:20Z"),
        ("2026-11-23T02:41:20", "has no time zone; add Z for UTC, e.g. 2026-11-23T02:41:20Z"),
        ("0001-01-01T00:00:00+05:00", "outside of the years 1 to 9999"),
    ],
)
def test_what_is_no_time_is_refused_with_what_would_be_one(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        from_rfc3339(text)


def test_the_stretches_of_a_window_follow_each_other_and_the_last_one_is_what_is_left() -> None:
    window = Window(START, START + timedelta(hours=50))
    first, second, third = window.stretches(timedelta(days=1))
    assert (first.start, third.end) == (window.start, window.end)
    assert (first.end, second.end) == (second.start, third.start)
    assert [one.seconds for one in (first, second, third)] == [86_400, 86_400, 7200]


def test_a_step_begins_at_or_before_the_moment_in_it() -> None:
    assert step_of(START + timedelta(seconds=44), 15) == START + timedelta(seconds=30)
    assert step_of(START + timedelta(seconds=45), 15) == START + timedelta(seconds=45)


def test_an_hour_is_one_of_utc() -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    assert hour_of(datetime(2026, 11, 23, 8, 26, 59, 7, tzinfo=kathmandu)) == START.replace(minute=0)
