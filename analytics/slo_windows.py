"""The window of an objective at a moment: the last so many days, or the one that the calendar says.

Calendar windows are counted on the clock of a place, so a day may have 23 or 25 hours and a month 28 to 31 days.
"""

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.slo import Calendar, Objective
from domain.window import Window

_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_DAYS = {"d": 1, "w": 7}


def slo_window(objective: Objective, now: datetime) -> Window:
    """The stretch of time whose events are counted at `now`; of a calendar window what has passed of it."""
    if objective.calendar is None:
        return Window(now - timedelta(days=objective.window_days), now)
    period = calendar_window(objective.calendar, now)
    return Window(period.start, max(now, period.start + timedelta(microseconds=1)))


def calendar_window(windows: Calendar, now: datetime) -> Window:
    """The window of a calendar that holds `now`, from its beginning to that of the next."""
    number = _near(windows, now)
    while _beginning(windows, number) > now:
        number -= 1
    while _beginning(windows, number + 1) <= now:
        number += 1
    return Window(_beginning(windows, number), _beginning(windows, number + 1))


def _near(windows: Calendar, now: datetime) -> int:
    """A window not far from the one that holds `now`."""
    days = (now.astimezone(ZoneInfo(windows.time_zone)).replace(tzinfo=None) - windows.starts_at).days
    length = 30 * _MONTHS[windows.unit] if windows.unit in _MONTHS else _DAYS[windows.unit]
    return days // (length * windows.count)


def _beginning(windows: Calendar, number: int) -> datetime:
    """When the window of that number begins, in UTC; of a time that the clock shows twice the first."""
    first, steps = windows.starts_at, number * windows.count
    if windows.unit in _MONTHS:
        months = first.year * 12 + first.month - 1 + steps * _MONTHS[windows.unit]
        year, month = divmod(months, 12)
        day = min(first.day, calendar.monthrange(year, month + 1)[1])
        local = first.replace(year=year, month=month + 1, day=day)
    else:
        local = first + timedelta(days=steps * _DAYS[windows.unit])
    return local.replace(tzinfo=ZoneInfo(windows.time_zone)).astimezone(UTC)
