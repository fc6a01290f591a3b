"""The window of an objective at a moment: the last so many days, or the one that the calendar says.

Calendar windows are counted on the clock of a place, so a day may have 23 or 25 hours and a month 28 to 31 days.
"""

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.slo import Calendar, Objective, Period, Sla
from domain.window import Window

_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_DAYS = {"d": 1, "w": 7}
_FIRST_MONTH = datetime(2001, 1, 1)  # noqa: DTZ001  # on the clock of whatever place


def slo_window(objective: Objective, now: datetime) -> Window:
    """The stretch of time whose events are counted at `now`; of a calendar window what has passed of it."""
    return period_window(Period(objective.window_days, objective.calendar), now)


def period_window(period: Period, now: datetime) -> Window:
    """The stretch of a period whose events are counted at `now`."""
    if period.calendar is None:
        return Window(now - timedelta(days=period.days), now)
    window = calendar_window(period.calendar, now)
    return Window(window.start, max(now, window.start + timedelta(microseconds=1)))


def periods_of(objective: Objective) -> tuple[Period, ...]:
    """The objective's own period, then the further ones."""
    return (Period(objective.window_days, objective.calendar), *objective.more_periods)


def sla_month(sla: Sla, now: datetime) -> Window:
    """The calendar month of now on the clock of the contract, whole."""
    return calendar_window(Calendar(1, "M", sla.time_zone, _FIRST_MONTH), now)


def judged_window(objective: Objective, now: datetime) -> Window:
    """The stretch whose events must be known to judge every period of an objective, and its SLA, at `now`."""
    starts = [period_window(period, now).start for period in periods_of(objective)]
    if objective.sla is not None:
        starts.append(sla_month(objective.sla, now).start)
    return Window(min(starts), max(now, min(starts) + timedelta(microseconds=1)))


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
    local, first = now.astimezone(ZoneInfo(windows.time_zone)).replace(tzinfo=None), windows.starts_at
    if windows.unit in _MONTHS:
        months = (local.year - first.year) * 12 + local.month - first.month
        return months // (_MONTHS[windows.unit] * windows.count)
    return (local - first).days // (_DAYS[windows.unit] * windows.count)


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
