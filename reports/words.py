"""Numbers, times and names as reports say them; what is not known is said to be, never 0."""

import math
from datetime import datetime

from domain.incident import Indicator
from domain.money import usd_change_text, usd_range_text, usd_text
from domain.slo import sli_percent

NOT_KNOWN = "not known"
NOT_CONFIGURED = "not configured"
INDICATORS = {
    Indicator.TTFT: "TTFT",
    Indicator.LATENCY: "Latency",
    Indicator.TPOT: "Time per token",
    Indicator.ERRORS: "Availability",
    Indicator.THROUGHPUT: "Throughput",
    Indicator.GOODPUT: "Goodput",
    Indicator.GPU_AVAILABILITY: "GPU availability",
    Indicator.DATA_FRESHNESS: "Data freshness",
}


def money(usd: float | None) -> str:
    """`$11,384`, `$0.81`, `$0.0042`, `−$240`."""
    return NOT_KNOWN if usd is None else usd_text(usd)


def money_range(low_usd: float | None, high_usd: float | None) -> str:
    """`$10,701 to $14,723`; one of them where the other is not known, or reads the same."""
    known = [usd for usd in (low_usd, high_usd) if usd is not None]
    return usd_range_text(known[0], known[-1]) if known else NOT_KNOWN


def money_change(usd: float | None) -> str:
    """`+$240`, `−$1,120`."""
    return NOT_KNOWN if usd is None else usd_change_text(usd)


def count(number: float | None) -> str:
    """`18,420`; from ten million on `18.4 M`, `1.25 B`."""
    if number is None:
        return NOT_KNOWN
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e7, "M")):
        if abs(number) >= factor:
            return f"{number / (1e6 if unit == 'M' else factor):,.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{number:,.0f}"


def percent(ratio: float | None, decimals: int = 0) -> str:
    """`31 %` of 0.31; `<1 %` where there is something but less than can be shown."""
    if ratio is None:
        return NOT_KNOWN
    least = 10.0**-decimals
    if 0 < ratio * 100 < least / 2:
        return f"<{least:.{decimals}f}\N{NO-BREAK SPACE}%"
    return _signed(f"{ratio * 100:.{decimals}f}\N{NO-BREAK SPACE}%")


def percent_down(ratio: float | None) -> str:
    """Whole per cent, rounded down: a budget never looks fuller than it is, and is the same everywhere."""
    return NOT_KNOWN if ratio is None else _signed(f"{math.floor(ratio * 100 + 1e-9)}\N{NO-BREAK SPACE}%")


def percent_of_target(ratio: float | None, target_ratio: float) -> str:
    """`99.499 %`: an SLI beside its target, as `sli_percent` has it."""
    return NOT_KNOWN if ratio is None else f"{sli_percent(ratio, target_ratio)}\N{NO-BREAK SPACE}%"


def change(ratio: float | None) -> str:
    """`+4 %`, `−9 %`, `0 %`: against the week before."""
    if ratio is None:
        return NOT_KNOWN
    if ratio >= 9.995:
        return f"×{ratio + 1:,.0f}"
    whole = round(ratio * 100)
    return _signed(f"{whole:+d}\N{NO-BREAK SPACE}%") if whole else "0\N{NO-BREAK SPACE}%"


def points(ratio: float | None) -> str:
    """`−3 pt`: a difference of two ratios, in percentage points."""
    if ratio is None:
        return NOT_KNOWN
    whole = round(ratio * 100)
    return _signed(f"{whole:+d}\N{NO-BREAK SPACE}pt") if whole else "0\N{NO-BREAK SPACE}pt"


def lasting(seconds: float | None) -> str:
    """`45 s`, `26 min`, `2 h 43 min`, `3 d 4 h`."""
    if seconds is None:
        return NOT_KNOWN
    if seconds < 0:
        return f"−{lasting(-seconds)}"
    whole = round(seconds)
    if whole < 120:
        return f"{whole}\N{NO-BREAK SPACE}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}\N{NO-BREAK SPACE}min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return (
            f"{hours}\N{NO-BREAK SPACE}h {minutes}\N{NO-BREAK SPACE}min" if minutes else f"{hours}\N{NO-BREAK SPACE}h"
        )
    days, hours = divmod(hours, 24)
    return f"{days}\N{NO-BREAK SPACE}d {hours}\N{NO-BREAK SPACE}h" if hours else f"{days}\N{NO-BREAK SPACE}d"


def number(value: int, one: str, many: str = "") -> str:
    """`1 incident`, `3 incidents`, `no incidents`."""
    return f"{value or 'no'} {one if value == 1 else many or one + 's'}"


def day(moment: datetime) -> str:
    """`17 Nov`, without regard to the locale of the machine."""
    return f"{moment.day}\N{NO-BREAK SPACE}{_MONTHS[moment.month - 1][:3]}"


def weekday(moment: datetime) -> str:
    """`Mon`."""
    return _WEEKDAYS[moment.weekday()]


def day_and_clock(moment: datetime) -> str:
    """`Tue 17 Nov 02:41`."""
    return f"{weekday(moment)} {day(moment)} {moment:%H:%M}".replace(" ", "\N{NO-BREAK SPACE}")


def days(first: datetime, last: datetime) -> str:
    """`16 to 22 November 2026`, with as much of the first day as differs."""
    parts = [str(first.day)]
    if (first.year, first.month) != (last.year, last.month):
        parts.append(_MONTHS[first.month - 1])
    if first.year != last.year:
        parts.append(str(first.year))
    return f"{' '.join(parts)} to {last.day} {_MONTHS[last.month - 1]} {last.year}"


_SENTENCE_SPACES = 5


def shortened(words: str, length: int) -> str:
    """At most that many characters: whole sentences, else the beginning of one; of a long name both ends tell it."""
    if len(words) <= length:
        return words
    if ". " in words[: length + 1]:
        return words[: words.rindex(". ", 0, length + 1) + 1]
    if words.count(" ") >= _SENTENCE_SPACES:
        return words[: length - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"
    tail = (length - 1) // 3
    return f"{words[: length - 1 - tail]}…{words[len(words) - tail :]}"


def _signed(text: str) -> str:
    return text.replace("-", "−")


_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
