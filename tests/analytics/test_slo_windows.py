"""Windows of objectives, and budgets in them, held against counting by hand."""

from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.slo import slo_status
from analytics.slo_windows import calendar_window, slo_window
from domain.incident import Indicator
from domain.slo import Calendar, Objective, Slices
from domain.window import Window, rfc3339

BERLIN = "Europe/Berlin"
FIRST, LAST = (datetime.fromisoformat(text) for text in ("2001-01-02", "2060-01-01"))  # on any clock
Unit = Literal["d", "w", "M", "Q", "Y"]


def of(unit: Unit, zone: str = BERLIN, count: int = 1, starts: str = "2001-01-01 00:00:00") -> Calendar:
    return Calendar(count, unit, zone, datetime.fromisoformat(starts))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("windows", "now", "start", "end"),
    [
        # Worked by hand from the zone's rules: CET is UTC+1, CEST UTC+2, changed on 29 March and 25 October 2026.
        (of("M"), "2026-03-15T12:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
        (of("d"), "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),  # 23 hours
        (of("d"), "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),  # 25 hours
        (of("w"), "2026-11-29T12:00:00Z", "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z"),  # Monday to Monday
        (of("Q"), "2026-11-29T12:00:00Z", "2026-09-30T22:00:00Z", "2026-12-31T23:00:00Z"),
        (of("Y"), "2026-11-29T12:00:00Z", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
        (of("M", starts="2026-01-31 00:00:00"), "2026-02-28T12:00:00Z", "2026-02-27T23:00:00Z", "2026-03-30T22:00:00Z"),
        (of("M", "America/New_York"), "2026-11-01T04:30:00Z", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"),
    ],
)
def test_a_calendar_window_is_that_of_the_clock_on_the_wall(windows: Calendar, now: str, start: str, end: str) -> None:
    found = calendar_window(windows, at(now))
    assert (rfc3339(found.start), rfc3339(found.end)) == (start, end)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["d", "w", "M", "Q", "Y"]),
    st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
    st.integers(1, 5),
    st.datetimes(FIRST, LAST),
    st.datetimes(FIRST, LAST),
)
def test_windows_follow_each_other_without_gap_or_overlap(
    unit: Unit, zone: str, count: int, now: datetime, starts_at: datetime
) -> None:
    windows = Calendar(count, unit, zone, starts_at)
    found = calendar_window(windows, now.replace(tzinfo=UTC))
    assert found.start <= now.replace(tzinfo=UTC) < found.end
    assert calendar_window(windows, found.end).start == found.end
    assert calendar_window(windows, found.end - timedelta(microseconds=1)) == found
    local = found.start.astimezone(ZoneInfo(zone))
    assert (local.minute, local.second) == (starts_at.minute, starts_at.second) or zone != "UTC"


def test_a_rolling_window_is_of_whole_days_up_to_now() -> None:
    objective = Objective("x", "chat", Indicator.ERRORS, 0.99, 30)
    assert slo_window(objective, at("2026-03-31T00:00:00Z")) == Window(
        at("2026-03-01T00:00:00Z"), at("2026-03-31T00:00:00Z")
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40 * 1440), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60),
    st.sampled_from([None, of("M"), of("w"), of("d"), of("Q", "America/New_York")]),
    st.integers(0, 45 * 1440),
)
def test_a_budget_is_what_counting_every_record_by_hand_gives(
    minutes: list[tuple[int, int, int]], windows: Calendar | None, now_minute: int
) -> None:
    origin = at("2026-03-01T00:00:00Z")  # over the change of the clocks, and a month's end
    now = origin + timedelta(minutes=now_minute)
    objective = Objective("x", "chat", Indicator.ERRORS, 0.99, 30, calendar=windows)
    rows = [(origin + timedelta(minutes=minute), good + bad, good) for minute, good, bad in minutes]
    counts = pl.DataFrame(
        rows, schema={"time": pl.Datetime("us", "UTC"), "total": pl.Int64, "good": pl.Int64}, orient="row"
    )
    start = now - timedelta(days=30)
    if windows is not None:
        zone = ZoneInfo(windows.time_zone)
        local = now.astimezone(zone)
        first = {
            "M": local.replace(day=1),
            "Q": local.replace(month=(local.month - 1) // 3 * 3 + 1, day=1),
            "w": local - timedelta(days=local.weekday()),
            "d": local,
        }[windows.unit]
        start = datetime(first.year, first.month, first.day, tzinfo=zone).astimezone(UTC)
    total = sum(all_ for time, all_, _ in rows if start <= time < now)
    good = sum(good for time, _, good in rows if start <= time < now)
    status = slo_status(objective, counts, now)
    assert (status.total_count, status.good_count) == (total, good)
    if total:
        assert status.sli_ratio == pytest.approx(good / total, abs=1e-9)
        assert status.budget_left_ratio == pytest.approx(1 - (total - good) / (0.01 * total), abs=1e-9)


def test_of_slices_of_time_each_counts_alike_however_many_requests_it_has() -> None:
    origin = at("2026-03-01T00:00:00Z")
    rows = [(origin, 1000, 1000), (origin + timedelta(minutes=1), 10, 9), (origin + timedelta(minutes=2), 10, 10)]
    schema = {"time": pl.Datetime("us", "UTC"), "total": pl.Int64, "good": pl.Int64}
    counts = pl.DataFrame(rows, schema=schema, orient="row")
    now = origin + timedelta(minutes=5)
    whole, ratio = (
        slo_status(Objective("x", "chat", Indicator.ERRORS, 0.9, 30, slices=Slices(60, target)), counts, now)
        for target in (0.95, None)
    )
    assert (whole.good_count, whole.total_count) == (2, 3)  # empty minutes count for nothing
    assert ratio.sli_ratio == pytest.approx((1 + 0.9 + 1) / 3)
