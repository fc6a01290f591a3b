"""An objective's budget, burn rates and events become Plotly figures, as plain dicts (see `dashboards.figures`)."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from analytics.burn_rates import WINDOWS, BurnAlert, BurnWindows
from dashboards import text
from dashboards.drawing import (
    TIME_AXIS_PX,
    BudgetView,
    Figure,
    budget_view,
    course,
    end_label,
    make_figure,
    plain_axis,
    time_axis,
    time_text,
)
from dashboards.figures import empty
from dashboards.severity import SEVERITIES
from domain.incident import Severity
from domain.slo import Objective
from domain.window import Window

BURN_SPANS_S = {"1h": 3_600, "6h": 6 * 3_600, "3d": 3 * 86_400}
"""The long windows of two pairs that page and of the slowest one, which makes a ticket."""

_STEPS = 96
_STEPS_S = (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400)
_LOWEST_RATE, _HIGHEST_RATE = 0.1, 30.0  # of the axis; what is below lies on it
_SPAN_TONES = {"1h": ("strong", 1.8), "6h": ("accent", 1.6), "3d": ("calm", 1.4)}
_SYMBOLS = {Severity.PAGE: "triangle-down", Severity.TICKET: "diamond"}
_THIN_RATIO = 0.004  # of the width: what lasted less is drawn so long
_LEFT_PX, _RIGHT_PX = 58, 132
_ROWS = {"trial": (0.16, 0.235), "today": (0.0, 0.075)}


def step_of(window: Window) -> int:
    """Seconds of a bar or a point: about a hundred fit into the window."""
    return next((step for step in _STEPS_S if window.seconds / step <= _STEPS), _STEPS_S[-1])


def by_step(counts: pl.DataFrame, window: Window, step_s: int) -> pl.DataFrame:
    """Columns time, good, bad and total of each step of a window that had events.

    Args:
        counts: columns time, total, good.
        window: which of them.
        step_s: seconds.
    """
    inside = counts.filter(pl.col("time").is_between(window.start, window.end, closed="left"))
    sums = inside.group_by(pl.col("time").dt.truncate(f"{step_s}s")).agg(pl.col("total", "good").sum()).sort("time")
    return sums.filter(pl.col("total") > 0).with_columns((pl.col("total") - pl.col("good")).alias("bad"))


def burn_down(
    history: Sequence[float | None],
    window: Window,
    alerts: Sequence[BurnAlert] = (),
    excluded: Sequence[Window] = (),
    *,
    tone: str = "calm",
) -> Figure:
    """The budget left through its window, with what fired, and what is excluded shaded.

    The dotted line is the even spend: all of the budget, gone exactly at the end.

    Args:
        history: at the ends of equal steps through the window, 1 is all of it.
        window: the objective's.
        alerts: of the window.
        excluded: stretches, of any time.
        tone: of the line.
    """
    known = [left for left in history if left is not None]
    if not known:
        return empty("Nothing to judge in this window yet")
    step = (window.end - window.start) / len(history)
    times = [window.start + step * (number + 1) for number in range(len(history))]
    view = budget_window(history, window)
    color = "line-neutral" if tone == "calm" else tone
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [time_text(window.start), time_text(window.end)],
            "y": [100, 0],
            "line": {"color": "$faint", "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "x": [time_text(moment) for moment in times],
            "y": [None if left is None else round(left * 100, 2) for left in history],
            "line": {"color": f"${color}", "width": 2},
            **({"fill": "tozeroy", "fillcolor": f"${color}/.1"} if view.bottom <= 0 else {}),
            "hovertemplate": "%{y:.1f} % left<br>%{x|%d %b %H:%M} UTC<extra></extra>",
        },
    ]
    inside = [one for one in alerts if window.start <= one.started_at <= window.end]
    for severity in (Severity.TICKET, Severity.PAGE):
        own = [one for one in inside if one.severity is severity]
        if own:
            heights = [_height_at(one.started_at, times, history) for one in own]
            traces.append(_alert_marks(own, heights, severity))
    counts = ", ".join(
        words for severity in (Severity.PAGE, Severity.TICKET) if (words := severity_count(inside, severity))
    )
    label = f"Error budget left over its window: {text.percent_floor(known[-1])}"
    return make_figure(
        traces,
        label + (f"; {counts} fired" if counts else "") + (f"; {view.words}" if view.words else ""),
        margin={"l": _LEFT_PX, "r": 14, "t": 10, "b": TIME_AXIS_PX},
        shapes=_shades(excluded, view.window),
        annotations=_shade_notes(excluded, view.window),
        xaxis=view.time_axis,
        yaxis=view.axis,
        hovermode="closest",
    )


def budget_window(history: Sequence[float | None], window: Window) -> BudgetView:
    """What `burn_down` shows of a budget's window."""
    first = next((at for at, left in enumerate(history) if left is not None), 0)
    since = window.start + (window.end - window.start) * (first + 1 if first else 0) / max(len(history), 1)
    return budget_view(min((left for left in history if left is not None), default=0.0) * 100, window, since)


def severity_count(alerts: Sequence[BurnAlert], severity: Severity) -> str:
    """`2 pages`, `1 ticket`; empty for none."""
    number, noun = sum(one.severity is severity for one in alerts), SEVERITIES[severity][0].lower()
    return "" if not number else f"{number} {noun}{'' if number == 1 else 's'}"


def fired(alert: BurnAlert) -> str:
    """`23 Nov 02:43, 16× too fast over 1 h, lasted 26 min`."""
    at = f"{alert.started_at.day} {alert.started_at:%b %H:%M}"
    lasted = "goes on" if alert.ended_at is None else f"lasted {lasting_of(alert)}"
    return f"{at}, {burnt(alert)}, {lasted}"


def burnt(alert: BurnAlert) -> str:
    """`16× too fast over 1 h`."""
    return f"{text.significant(alert.burn_rate, 2)}× too fast over {text.lasting(alert.windows.long_s)}"


def lasting_of(alert: BurnAlert) -> str:
    """How long it was up, or that it still is."""
    return "goes on" if alert.ended_at is None else text.lasting((alert.ended_at - alert.started_at).total_seconds())


def burn_rates(courses: pl.DataFrame, objective: Objective, window: Window, excluded: Sequence[Window] = ()) -> Figure:
    """Burn rates over the spans, on a logarithmic axis, with the rate from which each of them pages or tickets.

    Args:
        courses: as of `analytics.burn_rates.burn_rate_course`, over the values of `BURN_SPANS_S`.
        objective: whose rates; it decides what is too fast.
        window: what the x axis shows.
        excluded: stretches, of any time.
    """
    spans = {name: str(span) for name, span in BURN_SPANS_S.items()}
    peaks = {name: _peak(courses[column]) for name, column in spans.items()}
    if all(peak is None for peak in peaks.values()):
        return empty("Nothing to judge in this time")
    traces = []
    for name, column in reversed(spans.items()):
        tone, width = _SPAN_TONES[name]
        drawn = course(courses["time"], courses[column])
        rates = drawn["y"]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": drawn["x"],
                "y": [None if rate is None else max(rate, _LOWEST_RATE) for rate in rates],
                "customdata": rates,
                "line": {"color": f"${tone}", "width": width},
                "hovertemplate": f"%{{customdata:.3~g}}× over {text.lasting(BURN_SPANS_S[name])}<extra></extra>",
            }
        )
    limits = _limits(objective)
    shapes, notes = [], []
    for pair in limits:
        rate = pair.rate(objective)
        tone = SEVERITIES[pair.severity][1]
        height = math.log10(max(rate, _LOWEST_RATE))
        words = f"{SEVERITIES[pair.severity][0]} {text.significant(rate)}× over {text.lasting(pair.long_s)}"
        shapes.append(
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": max(rate, _LOWEST_RATE),
                "y1": max(rate, _LOWEST_RATE),
                "line": {"color": f"${tone}/.75", "width": 1, "dash": "dash"},
            }
        )
        notes += [
            end_label(words, height, tone),
            end_label(words, height, tone)
            | {"name": "narrow", "x": 0, "xanchor": "left", "xshift": 4, "yanchor": "bottom", "bgcolor": "$panel/.72"},
        ]
    top = max(_HIGHEST_RATE, *(peak * 1.4 for peak in peaks.values() if peak is not None))
    told = "; ".join(
        f"over {text.lasting(BURN_SPANS_S[name])} {text.significant(peak, 2)}×"
        for name, peak in peaks.items()
        if peak is not None
    )
    return make_figure(
        traces,
        f"Highest burn rate in this time: {told}",
        narrow_margin_right=12,
        margin={"l": _LEFT_PX, "r": _RIGHT_PX, "t": 10, "b": TIME_AXIS_PX},
        shapes=[*_shades(excluded, window), *shapes],
        annotations=notes,
        xaxis=time_axis(window),
        yaxis=plain_axis()
        | {
            "type": "log",
            "range": [math.log10(_LOWEST_RATE), math.log10(top)],
            "tickvals": [_LOWEST_RATE, 1, 10, 100, 1_000],
            "ticktext": [f"≤{_LOWEST_RATE:g}×", "1×", "10×", "100×", "1,000×"],
            "fixedrange": True,
        },
        hovermode="x unified",
    )


def _peak(rates: pl.Series) -> float | None:
    highest = rates.max()
    return float(highest) if isinstance(highest, int | float) else None


def _limits(objective: Objective) -> list[BurnWindows]:
    """The pairs whose long window is drawn; those that no error ratio could reach are not."""
    budget = 1 - objective.target_ratio
    return [one for one in WINDOWS if one.long_s in BURN_SPANS_S.values() and one.rate(objective) * budget < 1]


def events(steps: pl.DataFrame, window: Window, step_s: int, noun: str, excluded: Sequence[Window] = ()) -> Figure:
    """Bad events as bars above, good ones below, each on a scale of their own: a few bad ones count for much.

    Args:
        steps: as of `by_step`.
        window: what the x axis shows.
        step_s: width of a bar, seconds.
        noun: what an event is, such as `requests`.
        excluded: stretches, of any time.
    """
    if steps.is_empty():
        return empty(f"No {noun} in this time")
    middle = [time_text(moment + timedelta(seconds=step_s / 2)) for moment in steps["time"]]
    ratios = [text.percent(bad / total, 2) for bad, total in steps.select("bad", "total").iter_rows()]
    bad, good = (_whole(steps[name]) for name in ("bad", "good"))
    base = {"type": "bar", "x": middle, "width": step_s * 860}
    gap = {"line": {"width": 0}}
    traces = [
        base
        | {
            "y": bad,
            "yaxis": "y2",
            "customdata": ratios,
            "marker": {"color": "$critical", **gap},
            "hovertemplate": f"%{{y:,}} bad {noun}, %{{customdata}}<extra></extra>",
        },
        base
        | {"y": good, "marker": {"color": "$calm/.6", **gap}, "hovertemplate": f"%{{y:,}} good {noun}<extra></extra>"},
    ]
    total_bad, total = float(steps["bad"].sum()), float(steps["total"].sum())
    share = text.percent(total_bad / total, 2)
    ends = [
        end_label(
            f"<b>{sentence_count(total_bad)}</b> bad<br>{share} of all", 0.75, "critical" if total_bad else "muted"
        ),
        end_label(f"<b>{sentence_count(total - total_bad)}</b> good", 0.19, "muted"),
    ]
    return make_figure(
        traces,
        f"{sentence_count(total_bad)} of {sentence_count(total)} {noun} in this time were bad",
        narrow_margin_right=12,
        margin={"l": _LEFT_PX, "r": _RIGHT_PX, "t": 10, "b": TIME_AXIS_PX},
        shapes=_shades(excluded, window),
        annotations=[_title("Bad", 1.0), _title("Good", 0.44), *(one | {"yref": "paper"} for one in ends)],
        xaxis=time_axis(window) | {"anchor": "y"},
        yaxis=_count_axis(good, [0.0, 0.38]),
        yaxis2=_count_axis(bad, [0.56, 0.94]),
        hovermode="x unified",
        hoversubplots="axis",
        bargap=0,
    )


def sentence_count(number: float) -> str:
    """`18,420`; slices of time may be good in part."""
    return text.count(round(number)) if float(number).is_integer() else f"{number:,.1f}"


def _whole(values: pl.Series) -> list[float]:
    return [int(value) if float(value).is_integer() else round(float(value), 2) for value in values]


def _title(words: str, height: float) -> Figure:
    return end_label(f"<b>{words}</b>", height, "muted") | {
        "name": "title",
        "x": 0,
        "xanchor": "left",
        "xshift": 0,
        "yref": "paper",
        "yanchor": "top",
    }


def _count_axis(values: Sequence[float], domain: list[float]) -> Figure:
    highest = max(values, default=0.0) or 1.0
    top = 10.0 ** math.floor(math.log10(highest))
    top = next(factor * top for factor in (1, 2, 3, 5, 8, 10) if factor * top >= highest)
    number, prefix = text.compact(top)
    return plain_axis() | {
        "domain": domain,
        "range": [0, top * 1.04],
        "tickvals": [0, top],
        "ticktext": ["0", f"{number}{prefix}"],
        "fixedrange": True,
    }


@dataclass(frozen=True, slots=True)
class Trial:
    """What is compared in a backtest: a setting and the alerts that it would have brought."""

    objective: Objective
    alerts: Sequence[BurnAlert]


def backtest(
    steps: pl.DataFrame, trial: Trial, today: Trial, window: Window, excluded: Sequence[Window] = ()
) -> Figure:
    """The error ratio of the trial, what it would have brought marked over it, and as stretches against today's.

    Args:
        steps: as of `by_step`, of the trial's threshold.
        trial: what is tried.
        today: what holds.
        window: what the x axis shows.
        excluded: stretches, of any time.
    """
    if steps.is_empty():
        return empty("Nothing to judge in this time")
    ratios = steps.select("time", (pl.col("bad") / pl.col("total") * 100).alias("ratio"))
    budget = (1 - trial.objective.target_ratio) * 100
    top = max(_peak(ratios["ratio"]) or 0.0, budget) * 1.18
    line = course(ratios["time"], ratios["ratio"])
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            **line,
            "line": {"color": "$line-neutral", "width": 1.5},
            "fill": "tozeroy",
            "fillcolor": "$line-neutral/.1",
            "hovertemplate": "%{y:.3~g} % bad<br>%{x|%d %b %H:%M} UTC<extra></extra>",
        }
    ]
    shapes: list[Figure] = _shades(excluded, window)
    for severity in (Severity.TICKET, Severity.PAGE):
        own = [one for one in trial.alerts if one.severity is severity]
        tone = SEVERITIES[severity][1]
        if own:
            traces.append(_alert_marks(own, [top * 0.95] * len(own), severity))
        shapes += [_stem(one.started_at, tone) for one in own]
    for name, found in (("trial", trial), ("today", today)):
        low, high = _ROWS[name]
        shapes += [
            _bar(low, high, window.start, window.end, "$grid"),
            *(
                _bar(low, high, one.started_at, _drawn_end(one, window), f"${SEVERITIES[one.severity][1]}")
                for one in sorted(found.alerts, key=lambda one: one.severity is Severity.PAGE)
            ),
        ]
    shapes.append(
        {
            "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": budget, "y1": budget,
            "line": {"color": "$accent", "width": 1, "dash": "dash"},
        }
    )  # fmt: skip
    told = " and ".join(
        words for severity in (Severity.PAGE, Severity.TICKET) if (words := severity_count(trial.alerts, severity))
    )
    left = {"name": "row", "x": 0, "xanchor": "right", "xshift": -8, "yref": "paper"}
    budget_note = end_label(f"budget {text.significant(budget)} %", budget, "accent") | {
        "name": "budget", "x": 0, "xanchor": "left", "xshift": 4, "yanchor": "bottom", "bgcolor": "$panel/.72",
    }  # fmt: skip
    return make_figure(
        traces,
        f"Error ratio of the time tried, with {told or 'no alert'} that it would have brought",
        margin={"l": _LEFT_PX, "r": 14, "t": 8, "b": TIME_AXIS_PX},
        shapes=shapes,
        annotations=[
            budget_note,
            end_label("Trial", sum(_ROWS["trial"]) / 2, "strong") | left,
            end_label("Today", sum(_ROWS["today"]) / 2, "muted") | left,
        ],
        xaxis=time_axis(window) | {"anchor": "free", "position": 0, "nticks": 6},
        yaxis=plain_axis()
        | {
            "domain": [0.34, 1.0],
            "range": [0, top],
            "nticks": 4,
            "ticksuffix": " %",
            "tickformat": ".3~g",
            "fixedrange": True,
        },
        hovermode="closest",
    )


def _alert_marks(alerts: Sequence[BurnAlert], heights: Sequence[float | None], severity: Severity) -> Figure:
    word, tone, _ = SEVERITIES[severity]
    return {
        "type": "scatter",
        "mode": "markers",
        "cliponaxis": False,  # what has just fired stands at the very edge
        "x": [time_text(one.started_at) for one in alerts],
        "y": list(heights),
        "customdata": [[fired(one)] for one in alerts],
        "marker": {
            "symbol": _SYMBOLS[severity],
            "size": 10,
            "color": f"${tone}",
            "line": {"width": 1, "color": "$panel"},
        },
        "hovertemplate": f"<b>{word}</b> %{{customdata[0]}}<extra></extra>",
    }


def _height_at(moment: datetime, times: Sequence[datetime], history: Sequence[float | None]) -> float | None:
    """Per cent left at the end of the step that holds a moment."""
    left = history[min(bisect.bisect_left(times, moment), len(times) - 1)]
    return None if left is None else round(left * 100, 2)


def _drawn_end(alert: BurnAlert, window: Window) -> datetime:
    end = alert.ended_at or window.end
    return max(end, alert.started_at + (window.end - window.start) * _THIN_RATIO)


def _bar(low: float, high: float, start: datetime, end: datetime, color: str) -> Figure:
    return {
        "type": "rect",
        "yref": "paper",
        "x0": time_text(start),
        "x1": time_text(end),
        "y0": low,
        "y1": high,
        "fillcolor": color,
        "line": {"width": 0},
    }


def _stem(moment: datetime, tone: str) -> Figure:
    at = time_text(moment)
    line = {"color": f"${tone}/.5", "width": 1}
    return {"type": "line", "yref": "paper", "x0": at, "x1": at, "y0": 0.34, "y1": 1, "line": line}


def _shown(excluded: Sequence[Window], window: Window) -> list[Window]:
    """Those that overlap the window, as far as they do."""
    overlaps = ((max(one.start, window.start), min(one.end, window.end)) for one in excluded)
    return [Window(start, end) for start, end in overlaps if start < end]


def _shades(excluded: Sequence[Window], window: Window) -> list[Figure]:
    return [
        _bar(0, 1, one.start, one.end, "$accent/.13") | {"layer": "below", "line": {"width": 1, "color": "$accent/.4"}}
        for one in _shown(excluded, window)
    ]


def _shade_notes(excluded: Sequence[Window], window: Window) -> list[Figure]:
    """The word once, at the first stretch: the others look the same."""
    shown = _shown(excluded, window)
    if not shown:
        return []
    early = shown[0].start < window.start + (window.end - window.start) / 2
    return [
        end_label("excluded", 0.0, "accent")
        | {
            "name": "excluded",
            "xref": "x",
            "x": time_text(shown[0].end if early else shown[0].start),
            "xanchor": "left" if early else "right",
            "xshift": 4 if early else -4,
            "yref": "paper",
            "yanchor": "bottom",
        }
    ]
