"""Levels of signals in words, as sentences, pages that wake somebody, and reports tell them."""

from datetime import UTC, datetime

from domain.window import rfc3339

HARDLY = 0.05
"""A flag that so small a share of the samples had was not up; one that so small a share lacked was up all the time."""

_UNIX_TIMES_FROM_S = 1e9  # a length of thirty years is a moment
_LARGE = {
    "MiB": ((1 << 10, "GiB"),),
    "B": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
    "B/s": ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")),
}
_HOURLY_UNDER = 1 / 60  # per second: fewer than one a minute are told by the hour
_UNIT_WORDS = {
    "ratio": "",
    "1/s": "per second",
    "s/s": "",
    "metrics": "",
    "generation": "",
    "errors": "",
    "events": "",
    "flag": "",
    "replicas": "",
}


def unit_words(unit: str) -> str:
    """A unit behind a number; empty for one that the number tells itself.

    >>> [unit_words(unit) for unit in ("1/s", "ratio", "MiB")]
    ['per second', '', 'MiB']
    """
    return _UNIT_WORDS.get(unit, unit)


def is_moment(value: float, unit: str) -> bool:
    """Is it a Unix time, and no length of time."""
    return unit == "s" and value >= _UNIX_TIMES_FROM_S


def range_text(low: str, high: str) -> str:
    """`3 to 5`; one of them where both read the same."""
    return low if low == high else f"{low} to {high}"


def level_text(value: float, unit: str) -> str:
    """A level without its unit, but where it is a share, a yes or no, or a moment.

    >>> [level_text(*told) for told in ((0.97, "ratio"), (1.0, "flag"), (0.6, "s/s"), (70_060_658.0, "1/s"))]
    ['97%', 'yes', '60% of the time', '70,060,658']
    """
    if unit == "ratio":
        return f"{value:.0%}"
    if unit == "flag":
        return "no" if value < HARDLY else "yes" if value > 1 - HARDLY else f"{value:.0%} of the time"
    if unit == "s/s":
        return f"{value:.0%} of the time"
    if is_moment(value, unit):
        return f"{datetime.fromtimestamp(value, UTC):%H:%M:%S}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def levels_text(unit: str, *levels: float) -> tuple[list[str], str]:
    """Levels in one unit that suits the largest of them, and its words.

    >>> levels_text("MiB", 73_411.0, 80_922.0), levels_text("1/s", 0.0, 0.00278)
    ((['71.7', '79'], 'GiB'), (['0', '10'], 'per hour'))
    """
    most = max(map(abs, levels), default=0.0)
    for factor, larger in _LARGE.get(unit, ()):
        if most >= factor:
            return [level_text(level / factor, larger) for level in levels], larger
    if unit == "1/s" and 0 < most < _HOURLY_UNDER:
        return [level_text(level * 3600, unit) for level in levels], "per hour"
    return [level_text(level, unit) for level in levels], unit_words(unit)


def move_text(before: float | None, during: float, unit: str) -> str:
    """From what to what it went.

    >>> move_text(0.37, 85.4, "1/s"), move_text(None, 0.97, "ratio"), move_text(0.0, 1_795_400_000.0, "s")
    ('0.37 → 85.4 per second', 'no data → 97%', 'at 2026-11-23T02:13:20Z')
    """
    if is_moment(during, unit):
        return f"at {rfc3339(datetime.fromtimestamp(round(during), UTC))}"
    levels, words = levels_text(unit, *([] if before is None else [before]), during)
    past = "no data" if before is None else levels[0]
    return f"{past} → {levels[-1]} {words}".rstrip()
