"""Levels of signals in words, as sentences, pages that wake somebody, and reports tell them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from domain.entity import EntityKind
from domain.window import rfc3339

HARDLY = 0.05
"""A flag that so small a share of the samples had was not up; one that so small a share lacked was up all the time."""

_UNIX_TIMES_FROM_S = 1e9  # a length of thirty years is a moment
_HOURLY_UNDER = 1 / 60  # per second: fewer than one a minute are told by the hour
_UNIT_WORDS = {
    "%": "",
    "1/s": "per second",
    "s/s": "",
    "metrics": "",
    "generation": "",
    "errors": "",
    "events": "",
    "flag": "",
    "replicas": "",
    "tasks": "",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit that levels are told in, and what one of it is in the unit that they are kept in."""

    divisor: float
    unit: str


_SCALES: Mapping[str, tuple[Scale, ...]] = {
    "MiB": (Scale(1 << 10, "GiB"), Scale(1, "MiB")),
    "B": (Scale(1e12, "TB"), Scale(1e9, "GB"), Scale(1e6, "MB"), Scale(1e3, "kB"), Scale(1, "B")),
    "B/s": (Scale(1e12, "TB/s"), Scale(1e9, "GB/s"), Scale(1e6, "MB/s"), Scale(1e3, "kB/s"), Scale(1, "B/s")),
    "ms": (Scale(1e3, "s"), Scale(1, "ms")),
    "ratio": (Scale(0.01, "%"),),
    "1/s": (Scale(1e9, "billion per second"), Scale(1e6, "million per second"), Scale(1, "1/s")),
    "ticks/s": (Scale(1e9, "billion ticks/s"), Scale(1e6, "million ticks/s"), Scale(1, "ticks/s")),
}
_OF_NETWORKS = frozenset({EntityKind.PORT, EntityKind.LINK, EntityKind.SWITCH})
_BITS = (Scale(1.25e11, "Tb/s"), Scale(1.25e8, "Gb/s"), Scale(1.25e5, "Mb/s"), Scale(125, "kb/s"), Scale(0.125, "b/s"))


def scale_of(most: float, unit: str, of: EntityKind | None = None) -> Scale:
    """The unit that suits a level.

    Args:
        most: the level, or the largest of several.
        unit: that it is kept in.
        of: what it is a level of. Rates of networks are told in bits, as those of their ports are (400 Gb/s); those of
            NVLink and PCIe, which are a GPU's, in bytes, as NVIDIA states them.
    """
    scales = _BITS if unit == "B/s" and of in _OF_NETWORKS else _SCALES.get(unit, (Scale(1, unit),))
    return next((scale for scale in scales if abs(most) >= scale.divisor), scales[-1])


def unit_words(unit: str) -> str:
    """A unit behind a number; empty for one that the number tells itself.

    >>> [unit_words(unit) for unit in ("1/s", "%", "MiB")]
    ['per second', '', 'MiB']
    """
    return _UNIT_WORDS.get(unit, unit)


def is_moment(value: float, unit: str) -> bool:
    """Is it a Unix time, and no length of time."""
    return unit == "s" and value >= _UNIX_TIMES_FROM_S


def range_text(low: str, high: str) -> str:
    """`3 to 5`; one of them where both read the same."""
    return low if low == high else f"{low} to {high}"


def amounts(unit: str, *levels: float, of: EntityKind | None = None) -> list[tuple[str, str]]:
    """Each level in the unit that suits it, and the words of that unit; 0 in that of the largest.

    >>> amounts("MiB", 7_567.0, 60.0), amounts("B/s", 5e10, 0.0, of=EntityKind.PORT)
    ([('7.39', 'GiB'), ('60', 'MiB')], [('400', 'Gb/s'), ('0', 'Gb/s')])
    """
    most = max(map(abs, levels), default=0.0)
    if unit == "1/s" and 0 < most < _HOURLY_UNDER:
        return [(_number(level * 3600, unit), "per hour") for level in levels]
    scales = [scale_of(level or most, unit, of) for level in levels]
    return [
        (_number(level / scale.divisor, scale.unit), unit_words(scale.unit))
        for level, scale in zip(levels, scales, strict=True)
    ]


def levels_text(unit: str, *levels: float, of: EntityKind | None = None) -> tuple[list[str], str]:
    """Levels, and behind them the words of the last one's unit; one that is told in another bears that itself.

    >>> levels_text("MiB", 73_411.0, 80_922.0), levels_text("MiB", 7_567.0, 60.0), levels_text("1/s", 0.0, 0.00278)
    ((['71.7', '79'], 'GiB'), (['7.39 GiB', '60'], 'MiB'), (['0', '10'], 'per hour'))
    """
    told = amounts(unit, *levels, of=of)
    last = told[-1][1]
    return [number if words == last else f"{number} {words}" for number, words in told], last


def move_text(before: float | None, during: float, unit: str, of: EntityKind | None = None) -> str:
    """From what to what it went; arguments as of `scale_of`.

    >>> move_text(0.37, 85.4, "1/s"), move_text(None, 0.97, "ratio"), move_text(0.0, 1_795_400_000.0, "s")
    ('0.37 → 85.4 per second', 'no data → 97%', 'at 2026-11-23T02:13:20Z')
    """
    if is_moment(during, unit):
        return f"at {rfc3339(datetime.fromtimestamp(round(during), UTC))}"
    levels, words = levels_text(unit, *([] if before is None else [before]), during, of=of)
    past = "no data" if before is None else levels[0]
    return f"{past} → {levels[-1]} {words}".rstrip()


def _number(value: float, unit: str) -> str:
    """A level without its unit, but where it is a share, a yes or no, or a moment.

    >>> [_number(*told) for told in ((97.0, "%"), (0.4, "%"), (1.0, "flag"), (0.6, "s/s"), (70_060_658.0, "1/s"))]
    ['97%', '0.4%', 'yes', '60% of the time', '70,060,658']
    """
    if unit == "%":
        return f"{value:.0f}%" if abs(value) >= 1 or value == 0 else f"{value:.2g}%"
    if unit == "flag":
        return "no" if value < HARDLY else "yes" if value > 1 - HARDLY else f"{value:.0%} of the time"
    if unit == "s/s":
        return f"{value:.0%} of the time"
    if is_moment(value, unit):
        return f"{datetime.fromtimestamp(value, UTC):%H:%M:%S}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
