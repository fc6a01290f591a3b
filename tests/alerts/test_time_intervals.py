from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from alerts.time_intervals import TimeInterval, TimeIntervalError, parse_time_interval, parse_time_range
from tests.alerts.conformance import cases, needs_cases

DOCUMENT = cases("timeinterval_cases.json")


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%d %b %y %H:%M %z")


@needs_cases
@pytest.mark.parametrize("case", DOCUMENT.get("yaml_cases", []), ids=lambda case: case["why"] or "plain")
def test_yaml_is_read_as_alertmanager_reads_it(case: dict[str, Any]) -> None:
    if case["error"]:
        with pytest.raises(TimeIntervalError):
            [parse_time_interval(one) for one in yaml.safe_load(case["yaml"])]
        return
    intervals = [parse_time_interval(one) for one in yaml.safe_load(case["yaml"])]
    for text in case["contains"]:
        assert any(interval.contains(moment(text)) for interval in intervals), text
    for text in case["excludes"]:
        assert not any(interval.contains(moment(text)) for interval in intervals), text


@needs_cases
@pytest.mark.parametrize("case", DOCUMENT.get("time_range_cases", []), ids=lambda case: case["yaml"])
def test_times_of_day_are_read_as_alertmanager_reads_them(case: dict[str, Any]) -> None:
    document = yaml.safe_load(case["yaml"])
    if case["error"]:
        with pytest.raises(TimeIntervalError):
            parse_time_range(document)
    else:
        assert parse_time_range(document) == (case["start_minute"], case["end_minute"])


@needs_cases
@pytest.mark.parametrize("case", DOCUMENT.get("contains_cases", []), ids=lambda case: case["why"] or "always")
def test_moments_lie_within_as_in_alertmanager(case: dict[str, Any]) -> None:
    if case["interval"].get("days_of_month") == ["-31:31"]:  # made in code there: as text it is refused there too
        interval = TimeInterval(days_of_month=((-31, 31),), months=((6, 6),))
    else:
        interval = parse_time_interval(case["interval"])
    for text in case["contains"]:
        assert interval.contains(moment(text)), text
    for text in case["excludes"]:
        assert not interval.contains(moment(text)), text


def test_an_unknown_field_or_zone_is_refused_with_what_is_valid() -> None:
    with pytest.raises(TimeIntervalError, match="weekdays"):
        parse_time_interval({"weekday": ["monday"]})
    with pytest.raises(TimeIntervalError, match="Europe/Berlin"):
        parse_time_interval({"location": "Mars/Phobos"})


def test_in_the_hour_that_a_clock_skips_or_repeats_the_clock_on_the_wall_counts() -> None:
    night = parse_time_interval({"times": [{"start_time": "02:00", "end_time": "03:00"}], "location": "Europe/Berlin"})
    assert not night.contains(datetime(2026, 3, 29, 1, 30, tzinfo=UTC))  # the clock says 03:30, an hour is skipped
    assert night.contains(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))  # 02:30 for the first time
    assert night.contains(datetime(2026, 10, 25, 1, 30, tzinfo=UTC))  # and for the second
