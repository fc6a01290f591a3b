"""Durations and time windows: how OpenSLO writes them (sections duration-shorthand and SLO, `timeWindow`)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.slo import Calendar

DurationUnit = Literal["m", "h", "d", "w", "M", "Q", "Y"]
DURATION = re.compile(r"([1-9][0-9]*)([mhdwMQY])")
"""How a duration is written: a count and a unit."""
DAYS = {"d": 1, "w": 7, "M": 30, "Q": 90, "Y": 365}
"""The days that each unit of whole days is taken as."""
_MINUTES = {"m": 1, "h": 60, **{unit: days * 1440 for unit, days in DAYS.items()}}
START_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
_START_TIME_TEXT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
CALENDAR_ORIGIN = datetime(2001, 1, 1)  # noqa: DTZ001  # a Monday that begins a month, a quarter and a year in any zone


@dataclass(frozen=True, slots=True)
class Duration:
    """So many of a unit (section duration-shorthand)."""

    count: int
    unit: DurationUnit

    @property
    def length_s(self) -> int:
        """Its length; a month is taken as 30 days, a quarter as 90, a year as 365, as in the Go SDK."""
        return self.count * _MINUTES[self.unit] * 60

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The stretch of this length that ends now (section SLO, `timeWindow`)."""

    duration: Duration


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """One stretch after the other, counted from `start_time`, a time on the clocks of `time_zone`."""

    duration: Duration
    start_time: datetime
    time_zone: str


TimeWindow: TypeAlias = RollingWindow | CalendarWindow


def duration_from(written: str) -> Duration:
    """A duration that was written and checked."""
    return Duration(int(written[:-1]), cast("DurationUnit", written[-1]))


def is_time_zone(name: Any) -> bool:
    """Is it a name of the IANA Time Zone Database."""
    try:
        return bool(name) and ZoneInfo(str(name)) is not None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # of a folder of zones, as in Europe, it is an OSError
        return False


def start_time_from(written: Any) -> datetime | None:
    """A time without a zone, as text or as another reader of YAML has made it; None when it is not one."""
    if isinstance(written, datetime):
        return written if written.tzinfo is None else None
    if not isinstance(written, str) or not _START_TIME_TEXT.fullmatch(written):
        return None
    try:
        return datetime.strptime(written, START_TIME_FORMAT)  # noqa: DTZ007  # the zone stands beside it
    except ValueError:
        return None


def time_window_from(window: Mapping[str, Any]) -> TimeWindow:
    """An entry of `timeWindow`, which was checked."""
    duration, calendar = duration_from(window["duration"]), window.get("calendar")
    if calendar is None:
        return RollingWindow(duration)
    return CalendarWindow(duration, start_time_from(calendar["startTime"]) or CALENDAR_ORIGIN, calendar["timeZone"])


def calendar_of(window: TimeWindow) -> Calendar | None:
    """The calendar of a window; None of one that rolls, or is shorter than a day."""
    duration = window.duration
    if not isinstance(window, CalendarWindow) or duration.unit not in DAYS:
        return None
    unit = cast("Literal['d', 'w', 'M', 'Q', 'Y']", duration.unit)
    return Calendar(duration.count, unit, window.time_zone, window.start_time)
