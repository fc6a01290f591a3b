"""Bills, idle time and forecasts become Plotly figures, as plain dicts (see `dashboards.figures`)."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate

import polars as pl

from analytics.cost.allocation import used
from analytics.cost.forecast import Forecast, Total
from analytics.cost.variance import Variance
from dashboards import text
from dashboards.cost_words import IDLE_CAUSES, PARTS, USES, Words
from dashboards.drawing import (
    PERCENT_BAR,
    TIME_AXIS_PX,
    Figure,
    course,
    end_label,
    escaped,
    make_figure,
    plain_axis,
    time_axis,
    time_text,
)
from dashboards.figures import empty
from domain.cost import NANOUSD, Use
from domain.money import usd_change_text
from domain.window import Window

_HOUR_S, _DAY_S = 3_600, 86_400
_HOURLY_UNTIL_S = 8 * _DAY_S  # of longer windows an hour's bar would be thinner than a pixel
_ROWS_MAX = 96
_MARGIN_LEFT_PX = 56
_BAR_RATIO = 0.86
_GAPS_UNTIL = 72  # bars: gaps between more of them fall on uneven pixels
_BAND_LEVEL = 0.8
_WATERFALL_ROW_PX = 27
_SEEN_RATIO = 0.0005
_DAY_AND_HOUR = "%d %b %H:%M"

_UNKNOWN, _OTHERS = "\0unknown", "\0others"  # no name of anything

SERIES = tuple(f"series-{number}" for number in range(1, 7))
"""Colours of what has none of its own."""

NOTHING_HEARD = "No GPU has been heard of in this time"


# -- Spend ---------------------------------------------------------------------------------------------------------


def step_of(window: Window) -> int:
    """Seconds of a bar: an hour, or a day where hours would be too many to see."""
    return _HOUR_S if window.seconds <= _HOURLY_UNTIL_S else _DAY_S


def step_words(window: Window) -> str:
    """The same in words."""
    return f"by the {'hour' if step_of(window) == _HOUR_S else 'day'}, UTC"


def spend_over_time(allocation: pl.DataFrame, window: Window) -> Figure:
    """The bill an hour, or a day, stacked by use.

    Args:
        allocation: schema `ALLOCATION`.
        window: what the x axis shows.
    """
    if allocation.is_empty():
        return empty(NOTHING_HEARD)
    words = {use.value: words for use, words in USES.items()}
    return _stacked(_summed(allocation, "use", step_of(window)), words, window, "Spend")


def idle_over_time(allocation: pl.DataFrame, window: Window) -> Figure:
    """Dollars of idle time an hour, or a day, stacked by cause.

    Args:
        allocation: schema `ALLOCATION`.
        window: what the x axis shows.
    """
    if allocation.is_empty():
        return empty(NOTHING_HEARD)
    idle = allocation.filter(used(Use.IDLE))
    if not idle["cost_nanousd"].sum():
        return empty("No GPU was idle in this time")
    words = {cause.value: words for cause, words in IDLE_CAUSES.items()}
    return _stacked(_summed(idle, "idle_cause", step_of(window)), words, window, "Idle spend")


def cost_over_time(served: pl.DataFrame, name: str, keys: Sequence[str | None], window: Window) -> Figure:
    """What requests cost an hour, or a day, stacked by a column: some values in their colours, the others together.

    Args:
        served: rows of schema `ALLOCATION` whose use is requests.
        name: the column.
        keys: its values that are told apart, at most as many as `SERIES`; null is the value that is not known.
        window: what the x axis shows.
    """
    if not served["cost_nanousd"].sum():
        return empty("No request is known of in this time")
    words = {key or _UNKNOWN: Words(key or "not known", "", tone) for key, tone in zip(keys, SERIES, strict=False)}
    filled = pl.col(name).fill_null(_UNKNOWN)
    grouped = served.with_columns(
        pl.when(filled.is_in(list(words))).then(filled).otherwise(pl.lit(_OTHERS)).alias(name)
    )
    sums = _summed(grouped, name, step_of(window))
    return _stacked(sums, words | {_OTHERS: Words("others", "", "faint")}, window, "Cost of requests")


def _summed(rows: pl.DataFrame, name: str, step_s: int) -> pl.DataFrame:
    """Columns time, the name, usd."""
    return (
        rows.group_by(pl.col("time").dt.truncate(f"{step_s}s"), name)
        .agg((pl.col("cost_nanousd").sum() / NANOUSD).alias("usd"))
        .sort("time")
    )


def _stacked(sums: pl.DataFrame, words: Mapping[str, Words], window: Window, title: str) -> Figure:
    step_s = step_of(window)
    name = sums.columns[1]
    bar_ratio = _BAR_RATIO if window.seconds / step_s <= _GAPS_UNTIL else 1.0
    traces = []
    for key, told in words.items():
        rows = sums.filter((pl.col(name) == key) & (pl.col("usd") != 0))
        if rows.is_empty():
            continue
        traces.append(
            {
                "type": "bar",
                "name": told.title,
                "x": [time_text(moment) for moment in rows["time"]],
                "y": [round(usd, 6) for usd in rows["usd"]],
                "width": step_s * 1_000 * bar_ratio,
                "offset": step_s * 1_000 * (1 - bar_ratio) / 2,
                "marker": {"color": f"${told.tone}", "line": {"width": 0}},
                "hovertemplate": f"%{{y:$,.2f}} {escaped(told.title)}<extra></extra>",
            }
        )
    every, an_every = ("hour", "an hour") if step_s == _HOUR_S else ("day", "a day")
    per_step = sums.group_by("time").agg(pl.col("usd").sum())
    total, most = float(per_step["usd"].sum()), per_step.sort("usd", descending=True).row(0)
    return make_figure(
        traces,
        f"{title} {an_every}, {text.usd(total)} in all; "
        f"most in the {every} of {text.day_and_clock(most[0])} UTC: {text.usd(most[1])}",
        margin={"l": _MARGIN_LEFT_PX, "r": 14, "t": 10, "b": TIME_AXIS_PX},
        barmode="stack",
        xaxis=_hours_axis(window),
        yaxis=_dollars_axis(),
        hovermode="x unified",
    )


def _hours_axis(window: Window) -> Figure:
    """As many labels as there is room for: these charts are as wide as the page, or as a phone.

    Of a few days there is room for hours between the days: those say which hour, or a day would stand there twice.
    """
    within_days = {"dtickrange": [None, _DAY_S * 1_000 - 1], "value": _DAY_AND_HOUR}
    axis = time_axis(window) | {"nticks": 0}
    return axis if axis["tickformat"] == "%H:%M" else axis | {"tickformatstops": [within_days]}


def _dollars_axis() -> Figure:
    return plain_axis() | {
        "tickprefix": "$",
        "separatethousands": True,
        "rangemode": "tozero",
        "nticks": 6,
        "fixedrange": True,
    }


# -- Idle ----------------------------------------------------------------------------------------------------------


def idle_heatmap(allocation: pl.DataFrame, window: Window) -> Figure:
    """How much of each replica's paid GPU time was idle, one column an hour: busy is calm, idle is warm.

    One row a replica and node, one more for what no pod has; nodes alone where those would be too many to see.

    Args:
        allocation: schema `ALLOCATION`.
        window: what the x axis shows.
    """
    paid = allocation.filter(pl.col("gpu_seconds") > 0)
    if paid.is_empty():
        return empty(NOTHING_HEARD)
    places = paid.select("node", "replica").unique()
    keys = ["node", "replica"] if places.height <= _ROWS_MAX else ["node"]
    idle_s = pl.col("gpu_seconds").filter(pl.col("use") == Use.IDLE.value).sum()
    hours = paid.group_by(*keys, "time").agg((idle_s / pl.col("gpu_seconds").sum()).alias("ratio"))
    times = _hours_of(window)
    column = {moment: index for index, moment in enumerate(times)}
    rows: list[list[float | None]] = []
    names: list[str] = []
    centres: dict[float, str] = {}
    for (node,), members in hours.sort(*keys, nulls_last=True).group_by(["node"], maintain_order=True):
        if rows:
            rows.append([None] * len(times))
            names.append("\u200b" * len(rows))  # a gap between nodes is a category too, and each needs a name
        label, first = str(node or "unknown node"), len(rows)
        for key, cells in members.group_by(keys, maintain_order=True):
            line: list[float | None] = [None] * len(times)
            for moment, ratio in cells.select("time", "ratio").iter_rows():
                line[column[moment]] = round(ratio * 100, 1)
            rows.append(line)
            names.append(f"{label} · {key[1] or 'no pod'}" if len(keys) > 1 else label)
        centres[(first + len(rows) - 1) / 2] = label
    return make_figure(
        [
            {
                "type": "heatmap",
                "x": [time_text(moment) for moment in (*times, window.end)],
                "y": [escaped(name) for name in names],
                "z": rows,
                "zmin": 0,
                "zmax": 100,
                "colorscale": "$scale-idle",
                "xgap": 1 if len(times) <= 2 * _DAY_S // _HOUR_S else 0,
                "ygap": 1,
                "hovertemplate": "%{y} · %{x|%d %b %H:%M} · %{z:.0f} % idle<extra></extra>",
                "hoverongaps": False,
                "colorbar": PERCENT_BAR,
            }
        ],
        f"Idle share of {places.height} places on {len(centres)} nodes, by hour",
        height=max(160, 44 + len(rows) * max(7, min(18, 480 // len(rows)))),
        margin={"l": 84, "r": 44, "t": 8, "b": TIME_AXIS_PX},
        xaxis=_hours_axis(window),
        yaxis=plain_axis()
        | {
            "type": "category",
            "autorange": "reversed",
            "tickvals": list(centres),
            "ticktext": [escaped(name) for name in centres.values()],
            "showgrid": False,
            "fixedrange": True,
        },
        hovermode="closest",
    )


def _hours_of(window: Window) -> list[datetime]:
    return [window.start + timedelta(hours=hour) for hour in range(int(window.seconds // _HOUR_S))]


# -- Forecast ------------------------------------------------------------------------------------------------------


def forecast_fan(history: pl.DataFrame, forecast: Forecast, *, days_before: int = 10) -> Figure:
    """Spend an hour: what was, then what is forecast, within its intervals.

    Args:
        history: columns time, cost_usd, one row an hour that is known.
        forecast: what comes after it.
        days_before: how much of the history is shown.
    """
    hours = forecast.hours
    begin, end = hours["time"][0], hours["time"][-1] + timedelta(hours=1)
    start = max(begin - timedelta(days=days_before), min(history["time"].min() or begin, begin))
    known = history.filter(pl.col("time") >= start).sort("time")
    ahead = [time_text(moment) for moment in hours["time"]]
    bands = [
        trace
        for index, level in enumerate(sorted(_levels(forecast), reverse=True))
        for trace in _band(ahead, hours, level, 0.1 + 0.09 * index)
    ]
    low, high = (hours[f"{side}_{_BAND_LEVEL * 100:g}_usd"] for side in ("lower", "upper"))
    traces = [
        *bands,
        _curve(known["time"], known["cost_usd"], "line-neutral", "spent", 1.5),
        _curve(hours["time"], hours["median_usd"], "accent", "forecast", 1.8),
    ]
    return make_figure(
        traces,
        f"Spend an hour, forecast from {text.day_and_clock(begin)} to {text.day_and_clock(end)} UTC: "
        f"{text.usd(float(hours['median_usd'].mean()))} on average, "  # type: ignore[arg-type]  # a number
        + (
            f"{_BAND_LEVEL:.0%} of hours within {text.usd(float(low.mean()))} and {text.usd(float(high.mean()))}"  # type: ignore[arg-type]
            if forecast.no_interval is None
            else "without an interval"
        ),
        narrow_margin_right=12,
        margin={"l": _MARGIN_LEFT_PX, "r": 14, "t": 22, "b": TIME_AXIS_PX},
        shapes=[_divide(begin)],
        annotations=[_divide_note(begin, "spent ", "right"), _divide_note(begin, " forecast", "left")],
        xaxis=_hours_axis(Window(start, end)),
        yaxis=_dollars_axis(),
        hovermode="x unified",
    )


def forecast_days(totals: Sequence[Total], level: float = _BAND_LEVEL) -> Figure:
    """The forecast by day, with the interval of each day's sum.

    Args:
        totals: days of the forecast; parts of a day are paler.
        level: of the intervals.
    """
    if not totals:
        return empty("No day is forecast")
    window = Window(totals[0].start.replace(hour=0), totals[-1].start.replace(hour=0) + timedelta(days=1))
    whole = [one.end - one.start >= timedelta(days=1) for one in totals]
    has_interval = totals[0].no_interval is None
    return make_figure(
        [
            {
                "type": "bar",
                "x": [time_text(one.start.replace(hour=0)) for one in totals],
                "y": [round(one.median_usd, 4) for one in totals],
                "width": _DAY_S * 1_000 * 0.62,
                "offset": _DAY_S * 1_000 * 0.19,
                "marker": {"color": ["$accent/.8" if is_whole else "$accent/.35" for is_whole in whole]},
                "customdata": [
                    (f"{level:.0%} of {_between(one, level)}" if has_interval else "no interval")
                    + ("" if is_whole else ", part of the day")
                    for one, is_whole in zip(totals, whole, strict=True)
                ],
                "hovertemplate": "%{y:$,.0f} · %{customdata}<extra></extra>",
            },
            *([_whiskers(totals, level)] if has_interval else []),
        ],
        "Forecast by day: " + "; ".join(f"{one.start.day} {one.start:%b} {text.usd(one.median_usd)}" for one in totals),
        margin={"l": _MARGIN_LEFT_PX, "r": 14, "t": 10, "b": TIME_AXIS_PX},
        xaxis=_hours_axis(window) | {"tickformat": "%d %b", "hoverformat": "%a %d %b"},
        yaxis=_dollars_axis(),
        hovermode="closest",
    )


def _whiskers(totals: Sequence[Total], level: float) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [time_text(one.start.replace(hour=12)) for one in totals],
        "y": [round(one.median_usd, 4) for one in totals],
        "marker": {"size": 0.1, "color": "$strong"},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [round(one.upper_usd[level] - one.median_usd, 4) for one in totals],
            "arrayminus": [round(one.median_usd - one.lower_usd[level], 4) for one in totals],
            "color": "$strong",
            "thickness": 1.2,
            "width": 3,
        },
        "hoverinfo": "skip",
    }


def _between(total: Total, level: float) -> str:
    return f"{text.usd(total.lower_usd[level])} to {text.usd(total.upper_usd[level])}"


def waterfall(found: Variance) -> Figure:
    """From the earlier bill to the later one, part by part; parts too small to be seen are left out.

    The axis need not begin at nothing, so the two bills are marks and not bars.

    Args:
        found: what is explained.
    """
    least = _SEEN_RATIO * max(found.before_nanousd, found.after_nanousd)
    parts = [(part, nanousd / NANOUSD) for part, nanousd in found.parts.items() if abs(nanousd) > least]
    before, after = found.before_nanousd / NANOUSD, found.after_nanousd / NANOUSD
    starts = list(accumulate((usd for _, usd in parts), initial=before))
    names = ["Before", *(PARTS[part].title for part, _ in parts), "Now"]
    low, high = min(*starts, after), max(*starts, after)
    room = (high - low) * 0.28 or high * 0.1
    traces: list[Figure] = [
        {
            "type": "bar",
            "orientation": "h",
            "y": [PARTS[part].title for part, _ in parts],
            "x": [round(usd, 6) for _, usd in parts],
            "base": [round(start, 6) for start in starts[:-1]],
            "width": 0.62,
            "marker": {"color": ["$warning" if usd > 0 else "$good" for _, usd in parts], "line": {"width": 0}},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "y": ["Before", "Now"],
            "x": [round(before, 6), round(after, 6)],
            "marker": {"symbol": "line-ns", "size": 17, "line": {"width": 3, "color": "$strong"}},
            "hoverinfo": "skip",
        },
    ]
    ends = [before, *(max(start, start + usd) for start, (_, usd) in zip(starts, parts, strict=False)), after]
    words = [text.usd(before), *(usd_change_text(usd) for _, usd in parts), text.usd(after)]
    return make_figure(
        traces,
        f"From {text.usd(before)} to {text.usd(after)}: "
        + (", ".join(f"{PARTS[part].title} {usd_change_text(usd)}" for part, usd in parts) or "nothing changed"),
        height=_WATERFALL_ROW_PX * len(names) + 2 * TIME_AXIS_PX,
        margin={"l": 102, "r": 12, "t": 6, "b": TIME_AXIS_PX},
        annotations=[
            end_label(f"<b>{word}</b>" if name in ("Before", "Now") else word, 0, "text")
            | {"name": "value", "xref": "x", "x": end, "y": name, "xshift": 7}
            for name, end, word in zip(names, ends, words, strict=True)
        ],
        shapes=[
            {
                "type": "line", "x0": level, "x1": level, "y0": number + 0.31, "y1": number + 0.69,
                "line": {"color": "$faint", "width": 1},
            }
            for number, level in enumerate(starts)
        ],
        xaxis=_dollars_axis() | {"range": [max(0.0, low - room), high + room], "nticks": 5, "rangemode": "normal"},
        yaxis=plain_axis()
        | {
            "type": "category", "categoryorder": "array", "categoryarray": names, "range": [len(names) - 0.5, -0.5],
            "showgrid": False, "fixedrange": True,
        },
    )  # fmt: skip


def backtest(forecast: Forecast, level: float = _BAND_LEVEL) -> Figure:
    """What was spent, and what would have been forecast of it before: folds that do not overlap, newest first chosen.

    Args:
        forecast: its folds.
        level: of the interval drawn.
    """
    shown = apart(forecast.folds)
    if shown.is_empty():
        return empty("Too little history to try the forecast on")
    window = Window(shown["time"].min(), shown["time"].max() + timedelta(hours=1))  # type: ignore[arg-type, operator]  # times
    traces: list[Figure] = []
    shapes = []
    for (origin,), fold in shown.group_by(["origin"], maintain_order=True):
        times = [time_text(moment) for moment in fold["time"]]
        traces += [
            *(_band(times, fold, level, 0.2) if forecast.no_interval is None else []),
            _curve(fold["time"], fold["median_usd"], "accent", "forecast", 1.6),
        ]
        shapes.append(_divide(origin))
    actual = shown.drop_nulls("actual_usd")
    traces.append(_curve(actual["time"], actual["actual_usd"], "strong", "spent", 1.4))
    return make_figure(
        traces,
        f"Backtest of {shown['origin'].n_unique()} forecasts against what was spent; "
        + (
            f"{text.percent_whole(forecast.coverage[level])} of hours within the interval of {level:.0%}"
            if forecast.no_interval is None
            else "without an interval"
        ),
        margin={"l": _MARGIN_LEFT_PX, "r": 14, "t": 10, "b": TIME_AXIS_PX},
        shapes=shapes,
        xaxis=_hours_axis(window),
        yaxis=_dollars_axis(),
        hovermode="x unified",
    )


def _levels(forecast: Forecast) -> tuple[float, ...]:
    """Those of its intervals; none where there are none to tell."""
    return forecast.levels if forecast.no_interval is None else ()


def apart(folds: pl.DataFrame) -> pl.DataFrame:
    """Those folds that do not overlap, from the newest back, in order of time."""
    kept: list[datetime] = []
    until: datetime | None = None
    ends = folds.group_by("origin").agg(pl.col("time").max().alias("last")).sort("origin", descending=True)
    for origin, last in ends.iter_rows():
        if until is None or last < until:
            kept.append(origin)
            until = origin
    return folds.filter(pl.col("origin").is_in(kept)).sort("time")


def _band(times: Sequence[str], rows: pl.DataFrame, level: float, alpha: float) -> list[Figure]:
    """The upper bound, then the lower one filled up to it."""
    edge = {"type": "scatter", "mode": "lines", "x": list(times), "line": {"width": 0}}
    low, high = ([round(usd, 4) for usd in rows[f"{side}_{level * 100:g}_usd"]] for side in ("lower", "upper"))
    return [
        edge | {"y": high, "hoverinfo": "skip"},
        edge
        | {
            "y": low,
            "fill": "tonexty",
            "fillcolor": f"$accent/{alpha:.2f}",
            "customdata": high,
            "hovertemplate": f"%{{y:$,.2f}} to %{{customdata:$,.2f}} ({level:.0%})<extra></extra>",
        },
    ]


def _curve(times: pl.Series, values: pl.Series, tone: str, name: str, width: float) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        **course(times, values),
        "line": {"color": f"${tone}", "width": width},
        "hovertemplate": f"%{{y:$,.2f}} {name}<extra></extra>",
    }


def _divide(moment: datetime) -> Figure:
    at = time_text(moment)
    line = {"color": "$faint", "width": 1, "dash": "dot"}
    return {"type": "line", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": line}


def _divide_note(moment: datetime, words: str, anchor: str) -> Figure:
    return end_label(words, 1.0, "muted") | {
        "name": "divide",
        "xref": "x",
        "x": time_text(moment),
        "xshift": 6 if anchor == "left" else -6,
        "xanchor": anchor,
        "yref": "paper",
        "yanchor": "bottom",
    }
