"""The charts of the report: pictures made of a few plain shapes, drawn as SVG, and by the same shapes in the PDF.

Pure and deterministic, without a script. Colours are those of the pages in the light; blue and amber, which every eye
tells apart, carry the meaning, and each mark is named beside it or in a legend. Lengths are pixels, y goes down.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape
from typing import Any, Literal
from zoneinfo import ZoneInfo

from analytics.slo import rounded_up
from domain.cost import IDLE_TITLES
from domain.window import duration_text, from_rfc3339
from domain.wording import readable, sentence
from reports import words

STRONG, TEXT, MUTED, FAINT, GRID = "#0d1218", "#2a313c", "#5a6372", "#a3abb8", "#e1e4ea"
ACCENT, ACCENT_PALE, AMBER, SLATE = "#3d57d9", "#a9b8f5", "#f0ae4a", "#7c8697"
GOOD, WARNING, CRITICAL = "#0c7a4d", "#b97a0a", "#c3242c"
CRITICAL_PALE, WARNING_PALE = "#f7d5d6", "#fbe6bd"

STATE_COLOURS = {"met": GOOD, "at_risk": WARNING, "missed": CRITICAL, "no_data": MUTED}
USE_COLOURS = {"requests": ACCENT, "overhead": ACCENT_PALE, "idle": AMBER, "unattributed": SLATE}
USE_WORDS = {"requests": "serving requests", "overhead": "overhead", "idle": "idle", "unattributed": "not attributed"}
_IDLE_TITLES = {cause.value: title for cause, title in IDLE_TITLES.items()}

WIDTH = 720.0
"""Of every picture; its height is its own."""

_SVG = "http://www.w3.org/2000/svg"
_SIZE = 11.0
_LETTER = 0.56  # mean width of a letter of Inter, of its size

Point = tuple[float, float]
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rect:
    """A filled box."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    radius: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A stroke through points."""

    points: tuple[Point, ...]
    stroke: str
    width: float = 1.0
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class Area:
    """A filled shape with these corners."""

    points: tuple[Point, ...]
    fill: str


@dataclass(frozen=True, slots=True)
class Label:
    """Words; y is their base line."""

    x: float
    y: float
    text: str
    fill: str = MUTED
    size: float = _SIZE
    anchor: Literal["start", "middle", "end"] = "start"
    is_bold: bool = False


Shape = Rect | Line | Area | Label


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart: `name` tells it from others, `title` says what it shows, `description` what can be read off it."""

    name: str
    title: str
    description: str
    height: float
    shapes: tuple[Shape, ...]
    width: float = WIDTH


def svg(picture: Picture, *, has_words: bool = True) -> str:
    """The picture as an SVG element that says of itself what it shows; without words, its shapes alone."""
    shapes = [shape for shape in picture.shapes if has_words or not isinstance(shape, Label)]
    name, box = escape(picture.name), f"0 0 {_n(picture.width)} {_n(picture.height)}"
    told = [
        f'<title id="{name}-title">{escape(picture.title)}</title>',
        f'<desc id="{name}-description">{escape(picture.description)}</desc>',
    ]
    return "\n".join(
        [
            f'<svg xmlns="{_SVG}" viewBox="{box}" role="img" aria-labelledby="{name}-title {name}-description">',
            *(told if has_words else ()),
            *(_element(shape) for shape in shapes),
            "</svg>",
        ]
    )


def _element(shape: Shape) -> str:
    if isinstance(shape, Rect):
        radius = f' rx="{_n(shape.radius)}"' if shape.radius else ""
        return (
            f'<rect x="{_n(shape.x)}" y="{_n(shape.y)}" width="{_n(shape.width)}" height="{_n(shape.height)}"'
            f'{radius} fill="{shape.fill}"/>'
        )
    if isinstance(shape, Label):
        weight = ' font-weight="600"' if shape.is_bold else ""
        return (
            f'<text x="{_n(shape.x)}" y="{_n(shape.y)}" font-size="{_n(shape.size)}" fill="{shape.fill}" '
            f'text-anchor="{shape.anchor}"{weight}>{escape(shape.text)}</text>'
        )
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in shape.points)
    if isinstance(shape, Area):
        return f'<polygon points="{points}" fill="{shape.fill}"/>'
    dashes = ' stroke-dasharray="3 3"' if shape.is_dashed else ""
    return (
        f'<polyline points="{points}" fill="none" stroke="{shape.stroke}" stroke-width="{_n(shape.width)}"'
        f'{dashes} stroke-linejoin="round"/>'
    )


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"


def text_width(text: str, size: float = _SIZE) -> float:
    """About how wide words are, in pixels."""
    return len(text) * size * _LETTER


# -- Money ---------------------------------------------------------------------------------------------------------


def cost_by_day(days: Sequence[Document]) -> Picture | None:
    """Each day's dollars, stacked by what they went to; None without a day that is known."""
    known = [day for day in days if day["cost_usd"] is not None]
    if not known:
        return None
    left, top, bottom, height = 56.0, 46.0, 196.0, 222.0
    uses = [use for use in USE_COLOURS if any(day[f"{use}_cost_usd"] for day in known)]
    shapes: list[Shape] = [*_legend([(USE_WORDS[use], USE_COLOURS[use]) for use in uses], left)]
    scale = _Scale(max(day["cost_usd"] for day in known), top, bottom)
    shapes += _money_grid(scale, left)
    step = (WIDTH - left) / len(days)
    for number, day in enumerate(days):
        middle = left + step * (number + 0.5)
        when = date.fromisoformat(day["date"])
        name = _WEEKDAYS[when.weekday()]
        shapes.append(Label(middle, bottom + 18, f"{name} {when.day}", anchor="middle"))
        if day["cost_usd"] is None:
            shapes.append(Label(middle, bottom - 8, words.NOT_KNOWN, FAINT, anchor="middle"))
            continue
        y = bottom
        for use in uses:
            tall = bottom - scale(day[f"{use}_cost_usd"])
            if tall > 0:
                y -= tall
                shapes.append(Rect(middle - step * 0.34, y, step * 0.68, max(0.4, tall - 0.8), USE_COLOURS[use], 1))
        shapes.append(Label(middle, y - 6, words.money(day["cost_usd"]), STRONG, anchor="middle", is_bold=True))
    told = ", ".join(f"{day['date']} {words.money(day['cost_usd'])}" for day in days)
    return Picture("cost-by-day", "Spend per day, by what it went to", told, height, tuple(shapes))


def idle_by_cause(causes: Sequence[Document]) -> Picture | None:
    """What idle GPUs cost, by why they were idle, dearest first; None where nothing idled."""
    shown = [cause for cause in causes if cause["cost_usd"] > 0]
    if not shown:
        return None
    total = sum(cause["cost_usd"] for cause in shown)
    left, row = 214.0, 26.0
    widest = WIDTH - left - 150
    shapes: list[Shape] = []
    for number, cause in enumerate(shown):
        y = number * row + 4
        share = cause["cost_usd"] / total
        length = max(1.5, cause["cost_usd"] / shown[0]["cost_usd"] * widest)
        shapes.append(Label(0, y + 13, _IDLE_TITLES[cause["name"]], TEXT, 12))
        shapes.append(Rect(left, y + 2, length, 14, AMBER, 2))
        shapes.append(
            Label(left + length + 8, y + 13, words.money(cause["cost_usd"]), STRONG, 12, is_bold=True),
        )
        wide = text_width(words.money(cause["cost_usd"]), 12.5)
        shapes.append(Label(left + length + 16 + wide, y + 13, words.percent(share), MUTED, 12))
    told = ", ".join(f"{readable(cause['name'])} {words.money(cause['cost_usd'])}" for cause in shown)
    return Picture("idle-by-cause", "What idle GPUs cost, by cause", told, len(shown) * row + 4, tuple(shapes))


def forecast_fan(days: Sequence[Document], horizon: Sequence[Document], time_zone: str) -> Picture | None:
    """What was spent a day and what will be, with its interval where there is one; None without a forecast."""
    zone = ZoneInfo(time_zone)
    past = [(date.fromisoformat(day["date"]), day["cost_usd"]) for day in days if day["cost_usd"] is not None]
    ahead: list[tuple[date, float, float, float]] = [
        (
            from_rfc3339(point["time"]).astimezone(zone).date(),
            point["median_usd"],
            *(point["median_usd"] if bound is None else bound for bound in (point["lower_usd"], point["upper_usd"])),
        )
        for point in horizon
        if point["median_usd"] is not None
    ]
    if not ahead:
        return None
    left, right, top, bottom, height = 56.0, WIDTH - 112, 18.0, 172.0, 198.0
    dates = [when for when, *_ in past] + [when for when, *_ in ahead]
    first, span = min(dates), max(1, (max(dates) - min(dates)).days)

    def x(when: date) -> float:
        return left + (when - first).days / span * (right - left)

    scale = _Scale(max([usd for _, usd in past] + [upper for *_, upper in ahead]), top, bottom)
    shapes = _money_grid(scale, left, right)
    joint = [(x(past[-1][0]), scale(past[-1][1]))] if past else []
    upper = joint + [(x(when), scale(high)) for when, _, _, high in ahead]
    lower = joint + [(x(when), scale(low)) for when, _, low, _ in ahead]
    shapes.append(Area((*upper, *reversed(lower)), "#dde4fb"))
    shapes.append(
        Line((*joint, *((x(when), scale(median)) for when, median, _, _ in ahead)), ACCENT, 2, is_dashed=True)
    )
    if len(past) > 1:
        shapes.append(Line(tuple((x(when), scale(usd)) for when, usd in past), STRONG, 2))
    for number in range(0, span + 1, max(1, math.ceil((span + 1) / 7))):
        when = first + timedelta(days=number)
        shapes.append(
            Label(x(when), bottom + 18, words.day(datetime.combine(when, datetime.min.time())), anchor="middle")
        )
    when, median, low, high = ahead[-1]
    ends = _spread([scale(high), scale(median), scale(low)], 14)
    for y, text, is_bold in zip(
        ends,
        (f"{words.money(high)} at most", words.money(median), f"{words.money(low)} at least"),
        (False, True, False),
        strict=True,
    ):
        shapes.append(Label(right + 8, y + 4, text, ACCENT if is_bold else MUTED, is_bold=is_bold))
    told = (
        f"Daily spend on {when.isoformat()}: {words.money(median)}, between {words.money(low)} and {words.money(high)}"
    )
    return Picture("forecast", "Spend per day and its forecast", told, height, tuple(shapes))


def variance_waterfall(before_usd: float, after_usd: float, parts: Sequence[Document]) -> Picture | None:
    """From the bill of the week before to this one, part by part; None without parts, or where one is not known."""
    if not parts or any(part["cost_usd"] is None for part in parts):
        return None
    moved = [part for part in parts if abs(part["cost_usd"]) >= 0.005]
    steps = [("week before", before_usd, True), *((part["name"], part["cost_usd"], False) for part in moved)]
    steps.append(("this week", after_usd, True))
    levels, level = [before_usd, after_usd], before_usd
    for part in parts:
        level += part["cost_usd"]
        levels.append(level)
    low, high = min(levels), max(levels)
    floor = max(0.0, low - (high - low or high or 1.0) * 0.6)
    top, bottom, height = 26.0, 168.0, 206.0
    step = WIDTH / len(steps)

    def y(usd: float) -> float:
        return bottom - (usd - floor) / ((high - floor) or 1.0) * (bottom - top)

    shapes: list[Shape] = []
    level = before_usd
    for number, (name, usd, is_total) in enumerate(steps):
        x, wide = number * step + step * 0.16, step * 0.68
        after = usd if is_total else level + usd
        high_y, low_y = (y(usd), bottom) if is_total else (min(y(level), y(after)), max(y(level), y(after)))
        colour = SLATE if is_total else AMBER if usd > 0 else ACCENT
        shapes.append(Rect(x, high_y, wide, max(1.0, low_y - high_y), colour, 1))
        if number + 1 < len(steps):
            shapes.append(Line(((x + wide, y(after)), (x + step, y(after))), FAINT))
        value = words.money(usd) if is_total else words.money_change(usd)
        shapes.append(Label(x + wide / 2, high_y - 6, value, STRONG, anchor="middle", is_bold=True))
        longest = max(6, int(step / (_SIZE * _LETTER)))
        shapes.append(Label(x + wide / 2, bottom + 18, words.shortened(readable(name), longest), anchor="middle"))
        level = after
    shapes.append(Line(((0, bottom), (WIDTH, bottom)), FAINT))
    if floor > 0:
        shapes.append(Label(0, height - 1, f"Columns begin at {words.money(floor)}, not at 0.", MUTED, 10))
    told = ", ".join(f"{readable(name)} {words.money(usd)}" for name, usd, _ in steps)
    return Picture("variance", "Why the bill changed", told, height, tuple(shapes))


# -- Promises ------------------------------------------------------------------------------------------------------

_BUDGET_LINES = 6


def budget_history(slos: Sequence[Document]) -> Picture | None:
    """The budget left of the worst objectives over their windows, each named at its end; None without data."""
    drawn = [
        slo
        for slo in slos
        if slo["budget_left_ratio"] is not None
        and sum(left is not None for left in slo["budget_left_history_ratio"]) > 1
    ]
    drawn = sorted(drawn, key=lambda slo: (slo["budget_left_ratio"], slo["name"]))[:_BUDGET_LINES]
    if not drawn:
        return None
    left, right, top, bottom, height = 48.0, WIDTH - 262, 10.0, 176.0, 200.0
    floor: float = max(
        -1.0, min(0.0, *(left for slo in drawn for left in slo["budget_left_history_ratio"] if left is not None))
    )

    def y(ratio: float) -> float:
        return bottom - (min(1.0, max(floor, ratio)) - floor) / (1 - floor) * (bottom - top)

    shapes: list[Shape] = []
    for tick in (-1.0, -0.5, 0.0, 0.5, 1.0):
        if tick >= floor:
            shapes.append(Line(((left, y(tick)), (right, y(tick))), FAINT if tick == 0 else GRID))
            shapes.append(Label(left - 8, y(tick) + 4, words.percent(tick), anchor="end"))
    for slo in reversed(drawn):  # the worst on top
        history = slo["budget_left_history_ratio"]
        step = (right - left) / (len(history) - 1)
        points = tuple((left + number * step, y(one)) for number, one in enumerate(history) if one is not None)
        is_calm = slo["state"] == "met"
        shapes.append(Line(points, FAINT if is_calm else STATE_COLOURS[slo["state"]], 1.4 if is_calm else 2.2))
    for slo, end in zip(drawn, _spread([y(slo["budget_left_ratio"]) for slo in drawn], 15), strict=True):
        colour = TEXT if slo["state"] == "met" else STATE_COLOURS[slo["state"]]
        value = words.percent_down(slo["budget_left_ratio"])
        shapes.append(Label(right + 10, end + 4, value, colour, is_bold=True))
        name = words.shortened(f"{slo['service']} {slo['title']}", 34)
        shapes.append(Label(right + 56, end + 4, name, colour))
    windows = sorted({slo["window_days"] for slo in drawn})
    shapes.append(Label(left, bottom + 18, f"{windows[-1]} days ago" if len(windows) == 1 else "window begins"))
    shapes.append(Label(right, bottom + 18, "end of the week", anchor="end"))
    told = "; ".join(f"{slo['service']} {slo['title']} {words.percent_down(slo['budget_left_ratio'])}" for slo in drawn)
    return Picture("budget-history", "Error budget left", told, height, tuple(shapes))


_LANES = 6
_LANE_PX = 40.0


def week_timeline(
    document: Document, latency: Sequence[Document] | None, incidents: Sequence[Document]
) -> Picture | None:
    """The week by service: its p99 as a line, its incidents as bands; None where there is neither."""
    start, end = from_rfc3339(document["from"]), from_rfc3339(document["to"])
    zone = ZoneInfo(document["time_zone"])
    series = {one["service"]: one["points"] for one in latency or ()}
    spent: dict[str, float] = {}
    for one in incidents:
        spent[one["service"]] = spent.get(one["service"], 0.0) + (one["budget_spent_ratio"] or 0.0) + 1e-6
    services = sorted({*series, *spent}, key=lambda name: (-spent.get(name, 0.0), name))[:_LANES]
    if not services:
        return None
    left, right, top = 132.0, WIDTH - 66, 20.0
    bottom = top + len(services) * _LANE_PX

    def x(moment: datetime) -> float:
        return left + min(1.0, max(0.0, (moment - start) / (end - start))) * (right - left)

    shapes: list[Shape] = []
    midnight = start.astimezone(zone)
    while midnight < end:
        shapes.append(Line(((x(midnight), top), (x(midnight), bottom)), GRID))
        shapes.append(Label(x(midnight) + 4, top - 7, f"{words.weekday(midnight)} {midnight.day}"))
        midnight += timedelta(days=1)  # on the clock of the place
    for lane, service in enumerate(services):
        low, high = top + (lane + 1) * _LANE_PX, top + lane * _LANE_PX + 6
        shapes.append(Line(((0, low), (WIDTH, low)), GRID))
        shapes.append(Label(0, low - 14, words.shortened(service, 20), TEXT, is_bold=True))
        for one in incidents:
            if one["service"] == service:
                began, over = x(from_rfc3339(one["started_at"])), x(from_rfc3339(one["ended_at"] or document["to"]))
                colour = CRITICAL_PALE if one["severity"] == "page" else WARNING_PALE
                shapes.append(Rect(began, high - 5, max(3.0, over - began), _LANE_PX - 1.5, colour))
        shapes += _lane_line(series.get(service, ()), x, high + 2, low - 3, right)
    shapes.append(Rect(left, bottom + 8, 10, 10, CRITICAL_PALE))
    shapes.append(Label(left + 15, bottom + 17, "incident that paged"))
    shapes.append(Rect(left + 140, bottom + 8, 10, 10, WARNING_PALE))
    shapes.append(Label(left + 155, bottom + 17, "other incident"))
    shapes.append(Label(right, bottom + 17, "line: p99, highest at right", anchor="end"))
    told = f"{sentence(words.number(len(incidents), 'incident'))} on " + ", ".join(services)
    return Picture("week", "p99 and incidents through the week", told, bottom + 24, tuple(shapes))


def _lane_line(points: Sequence[Document], x: Any, high: float, low: float, right: float) -> list[Shape]:
    known = [point["p99_ms"] for point in points if point["p99_ms"] is not None]
    if not known or max(known) <= 0:
        return []
    most = max(known)
    drawn: list[list[Point]] = [[]]
    for point in points:
        if point["p99_ms"] is None:
            drawn.append([])  # a gap stays a gap
        else:
            drawn[-1].append((x(from_rfc3339(point["time"])), low - point["p99_ms"] / most * (low - high)))
    shapes: list[Shape] = [Line(tuple(part), TEXT, 1.1) for part in drawn if len(part) > 1]
    return [*shapes, Label(right + 8, low - 10, duration_text(most), TEXT)]


# -- Parts of charts -----------------------------------------------------------------------------------------------

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class _Scale:
    """From dollars to pixels, from 0 to a round number; `ticks` are the grid's."""

    def __init__(self, most: float, top: float, bottom: float) -> None:
        step = rounded_up(most / 4) if most > 0 else 1.0
        count = max(1, math.ceil(most / step - 1e-9))
        self.ticks = [step * number for number in range(count + 1)]
        self._most, self._top, self._bottom = max(self.ticks[-1], most), top, bottom

    def __call__(self, usd: float) -> float:
        return self._bottom - usd / self._most * (self._bottom - self._top)


def _money_grid(scale: _Scale, left: float, right: float = WIDTH) -> list[Shape]:
    shapes: list[Shape] = []
    for tick in scale.ticks:
        shapes.append(Line(((left, scale(tick)), (right, scale(tick))), GRID if tick else FAINT))
        shapes.append(Label(left - 8, scale(tick) + 4, words.money(tick), anchor="end"))
    return shapes


def _legend(entries: Sequence[tuple[str, str]], left: float) -> list[Shape]:
    shapes: list[Shape] = []
    x = left
    for name, colour in entries:
        shapes += [Rect(x, 3, 10, 10, colour, 2), Label(x + 15, 12, name, TEXT)]
        x += text_width(name) + 36
    return shapes


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved apart so that labels do not touch; they come in order from top to bottom, or are taken so."""
    order = sorted(range(len(heights)), key=lambda number: heights[number])
    placed = [heights[number] for number in order]
    for number in range(1, len(placed)):
        placed[number] = max(placed[number], placed[number - 1] + gap)
    shift = max(0.0, placed[-1] - max(heights[number] for number in order)) / 2 if placed else 0.0
    found = [0.0] * len(heights)
    for place, number in enumerate(order):
        found[number] = placed[place] - shift
    return found
