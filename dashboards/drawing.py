"""The plain parts of every chart: frame, axes, lines with gaps, labels at their ends.

Colours are tokens that the browser resolves (see `dashboards.figures`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from domain.window import Window

Figure = dict[str, Any]

TIME_AXIS_PX = 28

PERCENT_BAR: Figure = {
    "thickness": 6,
    "outlinewidth": 0,
    "len": 0.9,
    "tickvals": [0, 50, 100],
    "ticktext": ["0 %", "50", "100"],
    "tickfont": {"size": 11, "color": "$muted"},
    "x": 1.01,
    "xpad": 4,
}
"""The scale of a heatmap of per cent, at its right."""

_FONT = "Inter, system-ui, sans-serif"
_BUDGET_AXES = ((99.0, 0.25), (98.0, 0.5), (95.0, 1.0), (90.0, 2.0), (80.0, 5.0), (50.0, 10.0))  # first tick, step
_TIME = "%Y-%m-%d %H:%M:%S"


def make_figure(
    traces: Iterable[Figure],
    label: str,
    *,
    empty: str | None = None,
    height: int | None = None,
    narrow_margin_right: int | None = None,
    **layout: Any,
) -> Figure:
    """A figure with its frame, and in `meta` what surrounds it; `layout` is added to, or put in the place of, ours."""
    meta = {"label": label, "empty": empty, "height": height, "narrow_margin_right": narrow_margin_right}
    return {
        "data": list(traces),
        "layout": {
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": _FONT, "size": 11, "color": "$muted"},
            "hoverlabel": {
                "bgcolor": "$raised",
                "bordercolor": "$border",
                "font": {"family": _FONT, "size": 12, "color": "$strong"},
            },
            "showlegend": False,
            "dragmode": False,
            "uirevision": "kept",
            "meta": {name: value for name, value in meta.items() if value is not None},
            **layout,
        },
    }


def plain_axis() -> Figure:
    """An axis of faint grid lines and labels that keep off the plot."""
    return {
        "ticklen": 6,
        "tickcolor": "rgba(0,0,0,0)",
        "gridcolor": "$grid",
        "zeroline": False,
        "showline": False,
        "ticks": "outside",  # invisible: they keep the labels off the plot
        "tickfont": {"size": 11, "color": "$muted"},
        "automargin": False,
    }


def time_axis(window: Window) -> Figure:
    """An axis of a window: hours, or days where it is long."""
    long = window.seconds > 36 * 3_600
    return plain_axis() | {
        "type": "date",
        "range": [time_text(window.start), time_text(window.end)],
        "tickformat": "%d %b" if long else "%H:%M",
        "hoverformat": "%d %b %H:%M UTC" if long else "%H:%M:%S UTC",
        "nticks": 8,
        "showgrid": False,
        "fixedrange": True,
    }


@dataclass(frozen=True, slots=True)
class BudgetView:
    """The part of a chart of budgets in which their lines can be told apart.

    `bottom` is where its axis begins, per cent; `since` the first moment that anything is known of, where the window
    begins before.
    """

    window: Window
    bottom: float
    since: datetime | None

    @property
    def words(self) -> str:
        """What a reader must know not to be misled; empty where all is shown."""
        axis = f"the axis begins at {self.bottom:g} %" if self.bottom > 0 else ""
        since = "" if self.since is None else f"data since {self.since.day} {self.since:%b}"
        return ", ".join(part for part in (axis, since) if part)

    @property
    def axis(self) -> Figure:
        """The axis of budgets left, per cent."""
        ticks = [-100.0, -50.0, 0.0, 50.0, 100.0]
        if self.bottom > 0:
            step = next(step for begins, step in _BUDGET_AXES if begins == self.bottom)
            ticks = [self.bottom + step * number for number in range(round((100 - self.bottom) / step) + 1)]
        return plain_axis() | {
            "range": [self.bottom, self.top],
            "tickvals": ticks,
            "ticktext": [f"{tick:g} %".replace("-", "−") for tick in ticks],
            "fixedrange": True,
        }

    @property
    def top(self) -> float:
        """A little above a full budget."""
        return 100 + 0.04 * (100 - max(self.bottom, 0))

    @property
    def time_axis(self) -> Figure:
        """The axis of its time: days, and hours where there are few."""
        few = self.window.seconds < 4 * 86_400
        return time_axis(self.window) | {"tickformat": "%d %b %H:%M" if few else "%d %b", "nticks": 5 if few else 7}


def budget_view(lowest: float, window: Window, since: datetime) -> BudgetView:
    """What to show of budgets of which the lowest is this (per cent) and the first known at `since`.

    Full ones on an axis from zero would all be one line at its top.
    """
    begins = next((bottom for bottom, _ in _BUDGET_AXES if lowest >= bottom + 0.1 * (100 - bottom)), 0.0)
    bottom = begins if lowest >= 0 else max(lowest, -100.0)
    if since <= window.start:
        return BudgetView(window, bottom, None)
    return BudgetView(Window(since, window.end), bottom, since)


def course(times: pl.Series, values: pl.Series) -> Figure:
    """The x and y of a line that joins what is known and breaks where nothing is for three times the usual while.

    Steps may be shorter than samples are apart: a null at each such step would leave points without a line.
    """
    known = pl.DataFrame({"time": times, "value": values}).drop_nulls()
    gaps = known["time"].diff().dt.total_seconds().drop_nulls()
    limit_s = 3 * float(gaps.median() or 0)  # type: ignore[arg-type]  # seconds, a number
    x: list[str] = []
    y: list[float | None] = []
    before: datetime | None = None
    for moment, value in zip(known["time"], known["value"].round_sig_figs(4), strict=True):
        if before is not None and (moment - before).total_seconds() > limit_s:
            x.append(time_text(before + (moment - before) / 2))
            y.append(None)
        x.append(time_text(moment))
        y.append(value)
        before = moment
    return {"x": x, "y": y}


def end_label(label: str, height: float, tone: str) -> Figure:
    """A label at the right end of a line."""
    return {
        "name": "end",
        "text": label,
        "xref": "paper",
        "x": 1.0,
        "xshift": 8,
        "xanchor": "left",
        "y": height,
        "yanchor": "middle",
        "align": "left",
        "showarrow": False,
        "font": {"size": 11, "color": f"${tone}"},
    }


def time_text(moment: datetime) -> str:
    """A moment as Plotly reads it, without a zone: what is drawn is UTC whatever the zone of the browser."""
    return f"{moment:{_TIME}}"


def escaped(name: str) -> str:
    """Plotly reads a little HTML in texts; names come from the wire."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
