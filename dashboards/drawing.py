"""The plain parts of every chart: frame, axes, lines with gaps, labels at their ends.

Colours are tokens that the browser resolves (see `dashboards.figures`).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import polars as pl

from domain.window import Window

Figure = dict[str, Any]

TIME_AXIS_PX = 28

_FONT = "Inter, system-ui, sans-serif"
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
