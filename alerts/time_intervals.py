"""Time intervals: when a route is muted or active, as Alertmanager has them (timeinterval/timeinterval.go).

A range of weekdays begins on Sunday; days of the month may count from its end; a range of times does not hold its end.
"""

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = tuple(name.lower() for name in calendar.month_name[1:])
_TIME = re.compile(r"(([01]\d|2[0-3]):([0-5]\d)|24:00)")
_FIELDS = ("times", "weekdays", "days_of_month", "months", "years", "location")
_MINUTES_A_DAY = 1440

Range = tuple[int, int]


class TimeIntervalError(ValueError):
    """A time interval that cannot be read; the message names what was found and what is valid."""


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """A moment is within when each field that is given holds it; ranges are inclusive, of `minutes` the end is not."""

    minutes: tuple[Range, ...] = ()
    weekdays: tuple[Range, ...] = ()
    days_of_month: tuple[Range, ...] = ()
    months: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()
    location: ZoneInfo | None = None

    def contains(self, moment: datetime) -> bool:
        """Is the moment within, by the clock of the location (UTC without one)."""
        local = moment.astimezone(self.location or ZoneInfo("UTC"))
        minute = local.hour * 60 + local.minute
        return (
            (not self.minutes or any(start <= minute < end for start, end in self.minutes))
            and _within(local.isoweekday() % 7, self.weekdays)
            and self._has_day(local)
            and _within(local.month, self.months)
            and _within(local.year, self.years)
        )

    def _has_day(self, local: datetime) -> bool:
        days = calendar.monthrange(local.year, local.month)[1]

        def from_start(day: int) -> int:
            return min(max(day if day > 0 else days + day + 1, 1), days)

        ranges = [(first, last) for first, last in self.days_of_month if first <= days]
        if not ranges:
            return not self.days_of_month
        return any(from_start(first) <= local.day <= from_start(last) for first, last in ranges)


def parse_time_interval(document: Mapping[str, Any]) -> TimeInterval:
    """Read one entry of `time_intervals` as YAML gives it.

    Raises:
        TimeIntervalError: naming the field and what is valid.
    """
    unknown = sorted(document.keys() - set(_FIELDS))
    if unknown:
        raise TimeIntervalError(f"unknown field {', '.join(unknown)}; valid are {', '.join(_FIELDS)}")
    return TimeInterval(
        minutes=tuple(parse_time_range(one) for one in document.get("times") or ()),
        weekdays=tuple(_named_range(one, _WEEKDAYS, "weekday", first=0) for one in document.get("weekdays") or ()),
        days_of_month=tuple(_day_range(str(one)) for one in document.get("days_of_month") or ()),
        months=tuple(_month_range(str(one)) for one in document.get("months") or ()),
        years=tuple(_year_range(str(one)) for one in document.get("years") or ()),
        location=_location(document.get("location")),
    )


def parse_time_range(document: Mapping[str, Any]) -> Range:
    """Read `{start_time: 09:00, end_time: 17:00}` as minutes of the day.

    Raises:
        TimeIntervalError: for a time that is none, or an end that is not after the start.
    """
    if set(document) != {"start_time", "end_time"}:
        raise TimeIntervalError(f"times need start_time and end_time, found {', '.join(sorted(document)) or 'neither'}")
    start, end = (_minute(document[name]) for name in ("start_time", "end_time"))
    if start >= end:
        raise TimeIntervalError(f"start_time {document['start_time']} is not before end_time {document['end_time']}")
    return start, end


def _minute(text: object) -> int:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise TimeIntervalError(f"{text!r} is no time; write hours and minutes in quotes, as in '09:00', up to '24:00'")
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _named_range(text: object, names: Sequence[str], what: str, *, first: int) -> Range:
    start, end = (_named(part, names, what, first) for part in _parts(str(text)))
    if start > end:
        hint = "; a range of weekdays begins on Sunday: split it in two" if what == "weekday" else ""
        raise TimeIntervalError(f"{what} {text}: the end is before the start{hint}")
    return start, end


def _named(text: str, names: Sequence[str], what: str, first: int) -> int:
    if text.lower() not in names:
        raise TimeIntervalError(f"{text!r} is no {what}; valid are {', '.join(names)}")
    return names.index(text.lower()) + first


def _month_range(text: str) -> Range:
    if not any(part.isdigit() for part in _parts(text)):
        return _named_range(text, _MONTHS, "month", first=1)
    start, end = (int(part) if part.isdigit() else _named(part, _MONTHS, "month", 1) for part in _parts(text))
    if not 1 <= start <= 12 or not 1 <= end <= 12:
        raise TimeIntervalError(f"month {text}: valid are 1 to 12, or {', '.join(_MONTHS)}")
    if start > end:
        raise TimeIntervalError(f"month {text}: the end is before the start")
    return start, end


def _day_range(text: str) -> Range:
    start, end = (_whole(part, "day of the month") for part in _parts(text))
    for day in (start, end):
        if not 1 <= abs(day) <= 31:
            raise TimeIntervalError(f"{day} is no day of the month; valid are 1 to 31, and -31 to -1 from its end")
    if start < 0 < end:
        raise TimeIntervalError(f"days of the month {text}: the end must count from the end, as the start does")
    latest = end if end > 0 else 31 + 1 + end  # of the longest month
    if start > (end if start < 0 else latest):
        raise TimeIntervalError(f"days of the month {text}: the end is always before the start")
    return start, end


def _year_range(text: str) -> Range:
    start, end = (_whole(part, "year") for part in _parts(text))
    if start > end:
        raise TimeIntervalError(f"years {text}: the end is before the start")
    return start, end


def _parts(text: str) -> tuple[str, str]:
    start, _, end = text.strip().partition(":")
    return start, end or start


def _whole(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TimeIntervalError(f"{text!r} is no {what}") from None


def _location(name: object) -> ZoneInfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError):
        raise TimeIntervalError(f"{name!r} is no time zone; write one of the IANA list, as in Europe/Berlin") from None


def _within(value: int, ranges: Sequence[Range]) -> bool:
    return not ranges or any(start <= value <= end for start, end in ranges)
