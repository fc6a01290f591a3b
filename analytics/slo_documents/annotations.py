"""What OpenSLO v1 has no field for stands in annotations of ours, which others ignore: checked, read and written here.

One SLO has exactly one time window in v1 (section SLO, `timeWindow`). Further ones stand in the annotation
`tailsight.io/more-windows`:

    windows  = window *("," window)
    window   = duration " rolling" / duration " calendar " zone
    duration = as anywhere in OpenSLO: a whole number above 0 and one of m h d w M Q Y
    zone     = a name of the IANA Time Zone Database

as in `7d rolling, 1M calendar Europe/Berlin`. Calendar windows written so are counted from midnight of Monday,
1 January 2001, in their zone: weeks begin on Mondays, months, quarters and years on their first days.

What a contract gives back stands in the annotation `tailsight.io/sla`, strictest tier first:

    sla   = number " usd monthly" 1*(";" tier)
    tier  = " below " ratio ": " ratio
    ratio = a number from 0 to 1, or per cent

as in `12000 usd monthly; below 99.9%: 10%; below 99%: 25%`.
"""

import itertools
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from analytics.slo_documents.checks import Check, field_path
from analytics.slo_documents.values import ratio_of_percent
from analytics.slo_documents.windows import (
    CALENDAR_ORIGIN,
    DURATION,
    CalendarWindow,
    RollingWindow,
    TimeWindow,
    duration_from,
    is_time_zone,
)
from domain.slo import CreditTier, Objective, Period, Sla

SLA = "tailsight.io/sla"
"""The annotation that holds what a contract gives back."""
MORE_WINDOWS = "tailsight.io/more-windows"
"""The annotation that holds further time windows of an SLO."""
_SLA = re.compile(r"(\d+(?:\.\d+)?) usd monthly((?:\s*;\s*below \d+(?:\.\d+)?%?:\s*\d+(?:\.\d+)?%?)+)")
_SLA_TIER = re.compile(r"below (\d+(?:\.\d+)?)(%?):\s*(\d+(?:\.\d+)?)(%?)")


def check_more_windows(annotations: Mapping[str, Any], check: Check, path: str) -> None:
    """Every window in our annotation is one; the grammar is in the text that heads this module."""
    text = annotations.get(MORE_WINDOWS)
    for written in text.split(",") if isinstance(text, str) else ():
        words = written.split()
        is_rolling = len(words) == 2 and words[1] == "rolling"
        is_calendar = len(words) == 3 and words[1] == "calendar" and is_time_zone(words[2])
        if not (is_rolling or is_calendar) or not DURATION.fullmatch(words[0]):
            told = f"has {written.strip()!r}; write windows as in '7d rolling, 1M calendar Europe/Berlin'"
            check.tell(field_path(path, MORE_WINDOWS), "time_window", told)


def more_windows(annotations: Mapping[str, str]) -> list[TimeWindow]:
    """The windows of our annotation, which was checked."""
    windows: list[TimeWindow] = []
    for written in filter(None, annotations.get(MORE_WINDOWS, "").split(",")):
        duration, _, *zone = written.split()
        rolling, calendar = RollingWindow(duration_from(duration)), (duration_from(duration), CALENDAR_ORIGIN)
        windows.append(CalendarWindow(*calendar, zone[0]) if zone else rolling)
    return windows


def check_sla(text: str, check: Check, path: str) -> None:
    """Our annotation of an SLA can be read; its grammar is in the text that heads this module."""
    if not _SLA.fullmatch(text.strip()):
        told = f"is {text!r}; write as in '12000 usd monthly; below 99.9%: 10%; below 99%: 25%'"
        check.tell(path, "sla", told)
        return
    tiers = sla_from(text, "UTC").tiers
    if any(tier.below_ratio > 1 or tier.credit_ratio > 1 for tier in tiers):
        check.tell(path, "sla", f"is {text!r}; ratios are at most 1 (100%)")
    falls = [(one.below_ratio, -one.credit_ratio) for one in tiers]
    if any(later[0] >= earlier[0] or later[1] >= earlier[1] for earlier, later in itertools.pairwise(falls)):
        check.tell(path, "sla", f"is {text!r}; each tier must lie below the one before it, and give more back")


def sla_from(text: str, time_zone: str) -> Sla:
    """The SLA of our annotation, which was checked."""
    fee = re.match(r"\d+(\.\d+)?", text.strip())
    tiers = [
        CreditTier(
            *(ratio_of_percent(number) if percent else float(number) for number, percent in (pair[:2], pair[2:]))
        )
        for pair in _SLA_TIER.findall(text)
    ]
    return Sla(float(fee[0]) if fee else 0.0, tuple(tiers), time_zone)


def annotations_document(objective: Objective) -> dict[str, Any]:
    """What of an objective OpenSLO has no field for."""
    written: dict[str, str] = {}
    if objective.more_periods:
        written[MORE_WINDOWS] = ", ".join(map(period_text, objective.more_periods))
    if objective.sla is not None:
        tiers = [f"below {_plain(one.below_ratio)}: {_plain(one.credit_ratio)}" for one in objective.sla.tiers]
        written[SLA] = "; ".join([f"{_plain(objective.sla.monthly_fee_usd)} usd monthly", *tiers])
    return {"annotations": written} if written else {}


def _plain(number: float) -> str:
    """A number without an exponent, which reads as the same one."""
    return f"{Decimal(repr(number)):f}"


def period_text(period: Period) -> str:
    """A period as our annotation has it: `7d rolling`, `1M calendar Europe/Berlin`."""
    if period.calendar is None:
        return f"{period.days}d rolling"
    return f"{period.calendar.count}{period.calendar.unit} calendar {period.calendar.time_zone}"
