"""What a section of a report is made of: sentences, tables and charts, which every format lays out in its own way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reports.charts import Picture

Document = Mapping[str, Any]
Tone = Literal["", "good", "warning", "critical", "muted"]
ROWS_MAX = 12
"""Rows of a table that people read; the CSV tables have all."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Words in a table; `below` is a second, quieter line, `bar_ratio` a bar before them, `link` where they lead."""

    text: str
    tone: Tone = ""
    below: str = ""
    is_strong: bool = False
    bar_ratio: float | None = None
    link: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """Its heading, its share of the width, and on which side its words stand."""

    title: str
    weight: float
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; `note` says what was left out."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A few sentences."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Bullets:
    """Sentences one under the other."""

    items: tuple[str, ...]


Block = Table | Paragraph | Bullets | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    key: str
    title: str
    blocks: tuple[Block, ...]


def pictures_of(picture: Picture | None) -> list[Block]:
    """A chart as blocks; none where there was nothing to draw."""
    return [] if picture is None else [picture]


def table_of(title: str, columns: tuple[Column, ...], rows: Sequence[tuple[Cell, ...]], most: int, what: str) -> Table:
    """A table of at most `most` rows, which says how many of `what` it leaves out."""
    return Table(title, columns, tuple(rows[:most]), more_note(len(rows), most, what))


def more_note(count: int, most: int, what: str) -> str:
    """How many of `what` a table leaves out; empty where it has all."""
    return f"{count - most:,} more {what} are in the tables and the JSON document." if count > most else ""


def unknown_tone(value: Any) -> Tone:
    """Quiet where a value is not known."""
    return "muted" if value is None else ""


def less_is_good(moved: float | None, least: float) -> Tone:
    """Whether a number moved for the better, where less of it is better; none where it moved by less than `least`."""
    return "" if moved is None or abs(moved) < least else "critical" if moved > 0 else "good"
