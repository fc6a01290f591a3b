"""Frames become Plotly figures, as plain dicts: no I/O, no browser.

Colours are tokens (`$critical`, `$critical/.2`, `$scale-calm/2`) that the browser resolves against the theme's style
sheet, so a figure is the same in the dark and in the light. `layout.meta` carries what surrounds a chart: `label` (the
sentence a screen reader says), `empty` (what to say when there is nothing to draw), `height` (px, where it depends on
the data) and `narrow_margin_right` (px, on a phone, where labels at the right end are left out).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypeAlias

import polars as pl

from analytics.knowledge import Knowledge
from dashboards import drawing, text
from dashboards.drawing import (
    PERCENT_BAR,
    TIME_AXIS_PX,
    BudgetView,
    course,
    end_label,
    escaped,
    make_figure,
    plain_axis,
    time_axis,
    time_text,
)
from domain.cause import Evidence
from domain.incident import Incident, Indicator
from domain.quantity import scale_of, unit_words
from domain.slo import SloStatus
from domain.window import Window

Figure: TypeAlias = drawing.Figure

_BUCKETS_PER_OCTAVE = 4  # storage.readers.read_heatmap
_LABEL_GAP_RATIO = 0.075
_HEADROOM_RATIO = 0.2  # of the heatmap's height, for labels
_END_LABELS_PX = 148  # charts that stand above each other share it, so that their times line up
_BANDS_MAX = 8
_NARROW_TITLE_MOST = 43  # characters that stand above a band on a phone
_INDEXED_ROWS_MAX, _INDEXED_ROW_PX = 48, 11  # rows of GPUs that are high enough for a number beside each
_BAND_PX, _BAND_TITLE_PX, _BAND_GAP_PX = 104, 26, 14


def empty(message: str, height: int | None = None) -> Figure:
    """A chart with nothing to draw, that says why."""
    hidden = {"visible": False}
    return make_figure([], message, empty=message, height=height, xaxis=hidden, yaxis=hidden)


# -- Budgets -------------------------------------------------------------------------------------------------------


def budget_burn_down(statuses: Sequence[SloStatus], tones: Mapping[str, str], now: datetime) -> Figure:
    """Budget left of each objective over its window, labelled at the end of its line.

    The dashed line is the even spend: all of the budget, gone exactly at the end of the window.

    Args:
        statuses: the objectives.
        tones: the colour token of each objective, by its name.
        now: the end of the windows.
    """
    drawn = [status for status in statuses if any(left is not None for left in status.budget_left_history)]
    if not drawn:
        return empty("No requests to judge yet")
    view = budget_view(drawn, now)
    start, bottom = now - timedelta(days=max(status.objective.window_days for status in drawn)), view.bottom
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [time_text(start), time_text(now)],
            "y": [100, 0],
            "line": {"color": "$faint", "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
        }
    ]
    labels = []
    worst_last = sorted(drawn, key=lambda status: -_left(status))
    for status in worst_last:
        tone = tones[status.objective.name]
        history = status.budget_left_history
        name = f"{status.objective.service} {text.INDICATORS[status.objective.indicator]}"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": [time_text(moment) for moment in _even_times(now, status.objective.window_days, len(history))],
                "y": [None if left is None else round(left * 100, 2) for left in history],
                "line": {"color": f"${tone}", "width": 1.4 if tone == "calm" else 2},
                "hovertemplate": f"%{{y:.1f}} % left · {escaped(name)}<extra></extra>",
            }
        )
        labels.append((_left(status) * 100, f"<b>{text.percent_floor(_left(status))}</b> {escaped(name)}", tone))
    worst_tone = tones[worst_last[-1].objective.name]
    if worst_tone != "calm" and bottom <= 0:  # an area means something only down to zero
        traces[-1] |= {"fill": "tozeroy", "fillcolor": f"${worst_tone}/.08"}
    heights = _spread([height for height, _, _ in labels], gap=_LABEL_GAP_RATIO * (view.top - bottom))
    annotations = [
        end_label(label, height, "muted" if tone == "calm" else tone)
        for (_, label, tone), height in zip(labels, heights, strict=True)
    ]
    return make_figure(
        traces,
        "Error budget left: "
        + "; ".join(
            f"{s.objective.service} {text.objective_title(s.objective)} {text.percent_floor(_left(s))}"
            for s in reversed(worst_last)
        )
        + (f"; {view.words}" if view.words else ""),
        narrow_margin_right=12,
        margin={"l": 52, "r": 176, "t": 8, "b": TIME_AXIS_PX},
        annotations=annotations,
        xaxis=view.time_axis,
        yaxis=view.axis,
        hovermode="x unified",
    )


def budget_view(statuses: Sequence[SloStatus], now: datetime) -> BudgetView:
    """What `budget_burn_down` shows of these."""
    window = Window(now - timedelta(days=max((one.objective.window_days for one in statuses), default=1)), now)
    known = [
        (window.start if at == 0 else moment, left)
        for one in statuses
        for at, (moment, left) in enumerate(_course_of(one, now))
        if left is not None
    ]
    since = min((moment for moment, _ in known), default=window.start)
    now_left = [one.budget_left_ratio for one in statuses if one.budget_left_ratio is not None]
    lefts = [*(left for _, left in known), *now_left]
    return drawing.budget_view(min(lefts, default=0.0) * 100, window, since)


def _course_of(status: SloStatus, now: datetime) -> list[tuple[datetime, float | None]]:
    history = status.budget_left_history
    return list(zip(_even_times(now, status.objective.window_days, len(history)), history, strict=True))


def _left(status: SloStatus) -> float:
    known = [left for left in status.budget_left_history if left is not None]
    return status.budget_left_ratio if status.budget_left_ratio is not None else known[-1]


def _even_times(now: datetime, window_days: int, count: int) -> list[datetime]:
    span = timedelta(days=window_days)
    return [now - span + span * (index + 1) / count for index in range(count)]


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved apart until they are `gap` from each other, keeping their order, as little as a sweep allows."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    moved = list(heights)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] + gap)
    overshoot = moved[order[-1]] - max(heights[order[-1]], 100 - gap / 2) if order else 0.0
    if overshoot > 0:
        ceiling = moved[order[-1]] - overshoot
        for index in reversed(order):
            moved[index] = min(moved[index], ceiling)
            ceiling = moved[index] - gap
    return moved


# -- Latency -------------------------------------------------------------------------------------------------------


def latency_heatmap(
    cells: pl.DataFrame,
    percentiles: pl.DataFrame,
    *,
    window: Window,
    step_s: int,
    indicator: Indicator,
    threshold_ms: float | None,
    incidents: Sequence[Incident],
    knowledge: Knowledge,
    explained: Window | None = None,
) -> Figure:
    """How many requests took how long, calm below the objective and alarming above it, with p99 on top.

    Args:
        cells: as of storage.readers.HEATMAP.
        percentiles: columns time and p99_ms.
        window: what the x axis shows.
        step_s: width of a column, seconds.
        indicator: what was measured.
        threshold_ms: the objective; None when there is none: then everything is calm.
        incidents: marked where they began, with their causes.
        knowledge: how kinds of cause are called.
        explained: the window being explained, shaded.
    """
    if cells.is_empty():
        return empty("No requests with this measurement in this time")
    lowest, highest = int(cells["bucket"].min()), int(cells["bucket"].max())  # type: ignore[arg-type]  # not empty
    split = highest + 1 if threshold_ms is None else _first_bucket_above(threshold_ms)
    times = _columns(window, step_s)
    traces = [
        _bucket_trace(cells, times, step_s, range(low, high), scale)
        for low, high, scale in (
            (lowest, min(split, highest + 1), "$scale-calm/1.6"),
            (max(split, lowest), highest + 1, "$scale-alarm/1.6"),
        )
        if low < high
    ]
    line = percentiles.sort("time")
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            **course(line["time"].dt.offset_by(f"{step_s * 500}ms"), line["p99_ms"]),
            "line": {"color": "$strong", "width": 1.8},
            "hovertemplate": "p99 %{y:.0f} ms<extra></extra>",
        }
    )
    last = line.drop_nulls("p99_ms").tail(1)
    p99 = last["p99_ms"][0] if last.height else None
    annotations = []
    if p99 is not None and (peak := line["p99_ms"].arg_max()) is not None:
        annotations.append(
            _point_label(
                f"<b>p99 {text.duration_ms(line['p99_ms'][peak])}</b>",
                line["time"][peak],
                math.log10(line["p99_ms"][peak]),
                window,
            )
        )
    lines, notes = _objective_line(threshold_ms, logarithmic=True)
    begun = _begun_in(window, incidents)
    low_ms, top_ms = _edge_ms(lowest), max(_edge_ms(highest + 1), threshold_ms or 0.0)
    high_ms = top_ms * (top_ms / low_ms) ** _HEADROOM_RATIO
    return make_figure(
        traces,
        f"{text.INDICATORS_IN_FULL[indicator]} of requests over time; last p99 {text.duration_ms(p99)}"
        + ("" if threshold_ms is None else f", objective {text.duration_ms(threshold_ms)}"),
        margin={"l": 52, "r": 12, "t": 8, "b": TIME_AXIS_PX},
        shapes=[*lines, *map(_begin_line, begun), *_shade(explained, "accent")],
        annotations=[*annotations, *notes, *(_begin_note(one, window, knowledge) for one in begun)],
        xaxis=time_axis(window),
        yaxis=plain_axis()
        | {"type": "log", "range": [math.log10(low_ms), math.log10(high_ms)], "fixedrange": True, "showgrid": False}
        | _duration_ticks(low_ms, high_ms),
        hovermode="closest",
        **_selectable(explained),
    )


def incident_latency(
    percentiles: pl.DataFrame,
    incident: Incident,
    *,
    window: Window,
    threshold_ms: float | None,
    explained: Window | None = None,
) -> Figure:
    """The spike: p99 over p50, with the usual p99 as a line, the objective, and the time of the spike shaded.

    Args:
        percentiles: columns time, p50_ms, p99_ms.
        incident: its usual p99, beginning and end.
        window: what the x axis shows.
        threshold_ms: the objective; None when there is none.
        explained: another window being explained, shaded too.
    """
    line = percentiles.sort("time")
    if not line["p99_ms"].count():
        return empty("No requests of this time are kept")
    peak, usual = incident.peak_ms_p99, incident.baseline_ms_p99
    top = max(_greatest(line["p99_ms"]), peak, usual, threshold_ms or 0.0) * 1.1
    lasts = [("p50", line["p50_ms"].drop_nulls()[-1])] if line["p50_ms"].count() else []
    traces = [
        _line(line["time"], line["p50_ms"], "faint", "p50 %{y:.0f} ms"),
        _line(line["time"], line["p99_ms"], "strong", "p99 %{y:.0f} ms", width=2),
    ]
    ends = _spread_labels(
        [
            (peak, f"<b>p99 {text.duration_ms(incident.peak_ms_p99)}</b> at its peak", "strong"),
            *((value, f"{name} {text.duration_ms(value)}", "muted") for name, value in [("usual", usual), *lasts]),
            *([(threshold_ms, f"SLO {text.duration_ms(threshold_ms)}", "critical")] if threshold_ms else []),
        ],
        top,
    )
    lines, notes = _objective_line(threshold_ms, logarithmic=False)
    return make_figure(
        traces,
        f"{text.INDICATORS_IN_FULL[text.timed(incident.indicator)]}: p99 usually {text.duration_ms(usual)}, "
        f"{text.duration_ms(incident.peak_ms_p99)} at its peak",
        narrow_margin_right=12,
        margin={"l": 52, "r": _END_LABELS_PX, "t": 8, "b": TIME_AXIS_PX},
        shapes=[*spike_shade(incident, window), *_shade(explained, "accent"), _level(usual, "muted"), *lines],
        annotations=[*(note | {"name": "narrow"} for note in notes), *ends],
        xaxis=time_axis(window),
        yaxis=plain_axis() | {"range": [0, top], "fixedrange": True} | _linear_duration_ticks(top),
        hovermode="x unified",
        **_selectable(explained),
    )


def incident_failures(
    counts: pl.DataFrame, incident: Incident, *, window: Window, explained: Window | None = None
) -> Figure:
    """Failures: the share of the requests that failed, with the time of the spike shaded.

    Args:
        counts: columns time, requests, errors.
        incident: its share of failures, beginning and end.
        window: what the x axis shows.
        explained: another window being explained, shaded too.
    """
    known = counts.filter(pl.col("requests") > 0).sort("time")
    if known.is_empty():
        return empty("No requests of this time are kept")
    failed = known["errors"] / known["requests"] * 100
    mean = incident.slow_requests_ratio * 100
    top = min(max(_greatest(failed), mean, 1.0) * 1.1, 104.0)
    ends = [(mean, f"<b>{text.percent(incident.slow_requests_ratio, 2)} failed</b> in the spike", "strong")]
    return make_figure(
        [_line(known["time"], failed, "strong", "%{y:.3~g} % failed", width=2)],
        f"Failures: {text.percent(incident.slow_requests_ratio, 2)} of the requests in the spike",
        narrow_margin_right=12,
        margin={"l": 52, "r": _END_LABELS_PX, "t": 8, "b": TIME_AXIS_PX},
        shapes=[*spike_shade(incident, window), *_shade(explained, "accent"), _level(mean, "muted")],
        annotations=_spread_labels(ends, top),
        xaxis=time_axis(window),
        yaxis=plain_axis() | {"range": [0, top], "fixedrange": True, "ticksuffix": " %", "nticks": 5},
        hovermode="x unified",
        **_selectable(explained),
    )


def _greatest(values: pl.Series) -> float:
    return max(float(value) for value in values if value is not None)


def _first_bucket_above(threshold_ms: float) -> int:
    """The first bucket of which more than half lies above the objective."""
    return math.ceil(_BUCKETS_PER_OCTAVE * math.log2(threshold_ms) - 0.5)


def _edge_ms(bucket: int) -> float:
    return float(2 ** (bucket / _BUCKETS_PER_OCTAVE))


def _columns(window: Window, step_s: int) -> list[datetime]:
    first = window.start.timestamp() // step_s * step_s
    start = window.start - timedelta(seconds=window.start.timestamp() - first)
    return [
        start + timedelta(seconds=index * step_s)
        for index in range(math.ceil((window.end - start).total_seconds() / step_s))
    ]


def _bucket_trace(cells: pl.DataFrame, times: Sequence[datetime], step_s: int, buckets: range, scale: str) -> Figure:
    # A few crowded cells must not leave the others dark.
    brightest = cells.filter(pl.col("bucket").is_in(list(buckets)))["requests"].quantile(0.98)
    found = {
        (time, bucket): requests for time, bucket, requests in cells.select("time", "bucket", "requests").iter_rows()
    }
    rows = [[found.get((time, bucket)) for time in times] for bucket in buckets]
    edges = [*times, times[-1] + timedelta(seconds=step_s)]
    return {
        "type": "heatmap",
        "x": [time_text(moment) for moment in edges],
        "y": [round(_edge_ms(bucket), 3) for bucket in (*buckets, buckets.stop)],
        "z": rows,
        "zmin": 0,
        "zmax": brightest,
        "colorscale": scale,
        "showscale": False,
        "hovertemplate": "%{x|%H:%M} · about %{y:.0f} ms · %{z} requests<extra></extra>",
        "hoverongaps": False,
    }


def _objective_line(threshold_ms: float | None, *, logarithmic: bool) -> tuple[list[Figure], list[Figure]]:
    if threshold_ms is None:
        return [], []
    line = _level(threshold_ms, "critical") | {"line": {"color": "$critical", "width": 1.2, "dash": "dash"}}
    note = {
        "text": f"SLO {text.duration_ms(threshold_ms)}",
        "xref": "paper",
        "x": 0.004,
        "xanchor": "left",
        "y": math.log10(threshold_ms) if logarithmic else threshold_ms,
        "yanchor": "bottom",
        "showarrow": False,
        "bgcolor": "$panel/.72",
        "font": {"size": 11, "color": "$critical"},
    }
    return [line], [note]


def _level(height: float, tone: str) -> Figure:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": height,
        "y1": height,
        "line": {"color": f"${tone}", "width": 1, "dash": "dot"},
    }


def _begun_in(window: Window, incidents: Sequence[Incident]) -> list[Incident]:
    return [one for one in incidents if window.start <= one.started_at < window.end]


def _begin_line(incident: Incident) -> Figure:
    """A vertical line where an incident began."""
    at = time_text(incident.started_at)
    return {
        "type": "line",
        "yref": "paper",
        "x0": at,
        "x1": at,
        "y0": 0,
        "y1": 1,
        "line": {"color": "$critical", "width": 1, "dash": "dot"},
    }


def _begin_note(incident: Incident, window: Window, knowledge: Knowledge) -> Figure:
    """Its cause, beside that line."""
    early = incident.started_at < window.start + (window.end - window.start) / 2
    return {
        "text": escaped(knowledge.cause_title(incident.cause.kind)),
        "x": time_text(incident.started_at),
        "xanchor": "left" if early else "right",
        "yref": "paper",
        "y": 1,
        "yanchor": "top",
        "showarrow": False,
        "bgcolor": "$panel/.72",
        "font": {"size": 11, "color": "$critical"},
    }


def _point_label(label: str, moment: datetime, height: float, window: Window) -> Figure:
    late = moment > window.start + (window.end - window.start) / 2
    return {
        "text": label,
        "x": time_text(moment),
        "y": height,
        "xanchor": "right" if late else "left",
        "yanchor": "bottom",
        "yshift": 2,
        "showarrow": False,
        "bgcolor": "$panel/.72",
        "font": {"size": 11, "color": "$strong"},
    }


def _duration_ticks(low_ms: float, high_ms: float) -> Figure:
    """Ticks at 50 ms and its doublings, thinned to at most eight."""
    exponents = range(math.ceil(math.log2(low_ms / 50)), math.floor(math.log2(high_ms / 50)) + 1)
    every = max(1, math.ceil(len(exponents) / 8))
    ticks = [50 * 2.0**exponent for exponent in exponents[::every]]
    return {"tickvals": ticks, "ticktext": [_tick_duration(tick) for tick in ticks]}


def _linear_duration_ticks(top_ms: float) -> Figure:
    rough = top_ms / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    ticks = [index * step for index in range(int(top_ms / step) + 1)]
    return {"tickvals": ticks, "ticktext": ["0" if tick == 0 else _tick_duration(tick) for tick in ticks]}


def _tick_duration(tick_ms: float) -> str:
    return f"{text.significant(tick_ms / 1_000)} s" if tick_ms >= 1_000 else f"{text.significant(tick_ms)} ms"


def _spread_labels(labels: Sequence[tuple[float, str, str]], top: float) -> list[Figure]:
    heights = _spread([height * 100 / top for height, _, _ in labels], gap=9)
    return [
        end_label(label, height * top / 100, tone) for (_, label, tone), height in zip(labels, heights, strict=True)
    ]


# -- GPUs ----------------------------------------------------------------------------------------------------------


def gpu_activity(
    activity: pl.DataFrame,
    gpus: pl.DataFrame,
    *,
    window: Window,
    step_s: int,
    incidents: Sequence[Incident] = (),
) -> Figure:
    """One row a GPU, grouped by node, one column a step: busy is dark, idle is warm, no sample is a gap.

    A GPU that serves no replica, where others are known to, is grey: it is idle, and nothing is wrong with it.

    Args:
        activity: columns node, gpu, time, ratio (0-1).
        gpus: as of `dashboards.gpus.described`.
        window: what the x axis shows.
        step_s: width of a column, seconds.
        incidents: marked where they began.
    """
    if activity.is_empty():
        return empty("No GPU metrics yet: DCGM_FI_PROF_GR_ENGINE_ACTIVE has not been seen in this time")
    times = _columns(window, step_s)
    rows = _gpu_rows(activity, gpus, times)
    nodes = {row.node: None for row in rows if row is not None}
    centres = {node: _centre([place for place, row in enumerate(rows) if row and row.node == node]) for node in nodes}
    names = [" " * place if row is None else row.name for place, row in enumerate(rows)]
    served = any(row and row.replica for row in rows)
    is_free = [served and row is not None and row.replica is None for row in rows]
    blank: list[float | None] = [None] * len(times)
    common = {
        "type": "heatmap",
        "x": [time_text(moment) for moment in (*times, times[-1] + timedelta(seconds=step_s))],
        "y": names,
        "zmin": 0,
        "zmax": 100,
        "hovertemplate": "%{y}<br>%{x|%d %b %H:%M} · %{z:.0f} % busy<extra></extra>",
        "hoverongaps": False,
    }
    values = [blank if row is None else row.values for row in rows]
    busy: Figure = common | {
        "z": [blank if free else one for one, free in zip(values, is_free, strict=True)],
        "colorscale": "$scale-activity",
        "colorbar": PERCENT_BAR,
    }
    idle: Figure = common | {
        "z": [one if free else blank for one, free in zip(values, is_free, strict=True)],
        "colorscale": "$scale-free",
        "showscale": False,
    }
    indexed = len(rows) <= _INDEXED_ROWS_MAX and all(row is None or row.index is not None for row in rows)
    row_px = _INDEXED_ROW_PX if indexed else max(4, min(9, 420 // len(rows)))
    ticks: Figure = {"tickvals": list(centres.values()), "ticktext": list(centres)}
    if indexed:
        places = [place for place, row in enumerate(rows) if row is not None]
        ticks = {
            "tickvals": places,
            "ticktext": [str(row.index) for row in rows if row is not None],
            "tickfont": {"size": 9, "color": "$muted"},
            "ticklen": 3,
        }
    return make_figure(
        [busy, *([idle] if any(is_free) else [])],
        f"Activity of {sum(row is not None for row in rows)} GPUs on {len(centres)} nodes over time",
        height=max(180, 52 + len(rows) * row_px),
        margin={"l": 98 if indexed else 84, "r": 44, "t": 8, "b": TIME_AXIS_PX},
        shapes=[_begin_line(one) for one in _begun_in(window, incidents)],
        annotations=[_node_note(node, centre) for node, centre in centres.items()] if indexed else [],
        xaxis=time_axis(window),
        yaxis=plain_axis()
        | {
            "type": "category",
            "range": [len(rows) - 0.5, -0.5],
            "showgrid": False,
            "fixedrange": True,
        }
        | ticks,
        hovermode="closest",
    )


@dataclass(frozen=True, slots=True)
class _GpuRow:
    """A GPU's row of the heatmap: what it is called, and how busy it was in each column, per cent."""

    node: str
    name: str
    index: int | None
    replica: str | None
    values: list[float | None]


def _gpu_rows(activity: pl.DataFrame, gpus: pl.DataFrame, times: Sequence[datetime]) -> list[_GpuRow | None]:
    """The GPUs that told anything, by node and index; None between two nodes."""
    found: dict[tuple[str | None, str | None], dict[datetime, float]] = {}
    for node, gpu, time, ratio in activity.select("node", "gpu", "time", "ratio").iter_rows():
        found.setdefault((node, gpu), {})[time] = ratio
    rows: list[_GpuRow | None] = []
    for node, gpu, index, replica in gpus.select("node", "gpu", "index", "replica").iter_rows():
        seen = found.get((node, gpu))
        if seen is None:
            continue
        label = node or "unknown node"
        if rows and rows[-1] is not None and rows[-1].node != label:
            rows.append(None)
        name = f"{label} {gpu}" if index is None else text.gpu_place(label, index, replica)
        rows.append(_GpuRow(label, name, index, replica, _standing([_per_cent(seen.get(time)) for time in times])))
    return rows


def _centre(places: Sequence[int]) -> float:
    return (places[0] + places[-1]) / 2


def _node_note(node: str, centre: float) -> Figure:
    """The name of a node, left of the indices of its GPUs."""
    return {
        "text": escaped(node),
        "xref": "paper",
        "x": 0,
        "xanchor": "right",
        "xshift": -20,
        "y": centre,
        "yanchor": "middle",
        "showarrow": False,
        "font": {"size": 11, "color": "$muted"},
    }


def _standing(values: Sequence[float | None]) -> list[float | None]:
    """Each sample stands for the columns until the next, where that comes as soon as its neighbours do.

    How often a GPU is sampled may change with the time: what stood still is a silence much longer than those before
    and after it, and is a gap. One column is always bridged: scrapes drift against columns.
    """
    known = [place for place, value in enumerate(values) if value is not None]
    gaps = [after - before for before, after in pairwise(known)]
    shown = list(values)
    for number, place in enumerate(known):
        around = [gaps[other] for other in (number - 1, number + 1) if 0 <= other < len(gaps)]
        usual = max(around, default=1)
        gap = gaps[number] if number < len(gaps) else min(usual, len(values) - place)
        stands = gap if gap <= max(2, 1.5 * usual) else 2
        for column in range(place + 1, min(place + max(stands, 2), len(values))):
            if values[column] is not None:
                break
            shown[column] = values[place]
    return shown


def _per_cent(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio * 100, 1)


# -- Evidence ------------------------------------------------------------------------------------------------------


def evidence_multiples(
    series: pl.DataFrame, incident: Incident, *, window: Window, names: Mapping[str, str] = text.NO_NAMES
) -> Figure:
    """What moved with the spike: one band a signal on one time axis, those of the likeliest cause first and accented.

    Args:
        series: columns signal, title, unit, entity_kind, entity_name, time, value.
        incident: its causes' evidence gives order, before, during and lead.
        window: what the x axis shows.
        names: what people call a GPU, by its UUID.
    """
    bands = [
        _band(rank, evidence, rows, text.called(evidence, names))
        for rank, evidence in _told_once(incident)
        if not (rows := _rows_of(series, evidence)).is_empty()
    ][:_BANDS_MAX]
    if not bands:
        kept = "is kept for this time" if _told_once(incident) else "moved in a way that explains it"
        return empty(f"No signal {kept}", height=96)
    height = _BAND_PX * len(bands) + TIME_AXIS_PX
    drawn = [_draw_band(band, index, len(bands)) for index, band in enumerate(bands)]
    axes: Figure = {f"yaxis{axis_number(index)}": axis for index, (_, axis, _, _) in enumerate(drawn)}
    return make_figure(
        [trace for trace, _, _, _ in drawn],
        "What moved with the spike: " + "; ".join(f"{band.name} {text.lead(band.evidence.lead_s)}" for band in bands),
        height=height,
        narrow_margin_right=12,
        margin={"l": 52, "r": _END_LABELS_PX, "t": 0, "b": TIME_AXIS_PX},
        shapes=[*spike_shade(incident, window), *(line for _, _, _, lines in drawn for line in lines)],
        annotations=[note for _, _, notes, _ in drawn for note in notes],
        xaxis=time_axis(window) | {"anchor": "y" if len(bands) == 1 else f"y{len(bands)}"},
        hovermode="x unified",
        hoversubplots="axis",
        **axes,
    )


def evidence_without_course(series: pl.DataFrame, incident: Incident) -> list[Evidence]:
    """The evidence that `evidence_multiples` has no band for: what is compared once, or is no longer kept."""
    return [evidence for _, evidence in _told_once(incident) if _rows_of(series, evidence).is_empty()]


def _told_once(incident: Incident) -> list[tuple[int, Evidence]]:
    """The evidence with the rank of its cause; what several causes share belongs to the likeliest."""
    told = [(cause.rank, evidence) for cause in incident.explanation.causes for evidence in cause.evidence]
    first_told = {(evidence.signal, evidence.entity): (rank, evidence) for rank, evidence in reversed(told)}
    return sorted(first_told.values(), key=told.index)


@dataclass(frozen=True, slots=True)
class Band:
    """One signal of the multiples: its cause's rank, what was found, its course (columns time, value, title), whose.

    `unit` is that of the values of the course.
    """

    rank: int
    evidence: Evidence
    rows: pl.DataFrame
    whose: str
    unit: str

    @property
    def name(self) -> str:
        """The signal and whose it is."""
        return f"{self.rows['title'][0]} of {self.whose}"


def _band(rank: int, evidence: Evidence, rows: pl.DataFrame, whose: str) -> Band:
    """The course in the unit that suits it, as `domain.quantity` has it."""
    most = max(abs(value) for value in rows["value"])
    scale = scale_of(most, evidence.unit, evidence.entity.kind)
    unit = scale.unit if scale.unit == "%" else unit_words(scale.unit)
    return Band(rank, evidence, rows.with_columns(pl.col("value") / scale.divisor), whose, unit)


def _rows_of(series: pl.DataFrame, evidence: Evidence) -> pl.DataFrame:
    return series.filter(
        (pl.col("signal") == evidence.signal)
        & (pl.col("entity_kind") == evidence.entity.kind.value)
        & (pl.col("entity_name") == evidence.entity.name)
        & pl.col("value").is_not_null()
    ).sort("time")


def _draw_band(band: Band, index: int, count: int) -> tuple[Figure, Figure, list[Figure], list[Figure]]:
    """Trace, y axis, notes and separating lines of one band; its title stands above its plot."""
    top = 1 - index / count
    plot_top = top - _BAND_TITLE_PX / (_BAND_PX * count)
    plot_low = 1 - (index + 1) / count + _BAND_GAP_PX / (_BAND_PX * count)
    tone = "accent" if band.rank == 1 else "line-neutral"
    low, high = _extent(band.rows["value"])
    trace = {
        "type": "scatter",
        "mode": "lines" if band.rows.height > 1 else "markers",  # a line of one point would not be seen
        "name": escaped(band.name),
        **course(band.rows["time"], band.rows["value"]),
        "yaxis": f"y{axis_number(index)}",
        "line": {"color": f"${tone}", "width": 1.6},
        "hovertemplate": f"{escaped(band.name)}: %{{y:.4~g}} {escaped(band.unit)}<extra></extra>",
    }
    if band.rank == 1 and low == 0:
        trace |= {"fill": "tozeroy", "fillcolor": "$accent/.12"}
    axis = plain_axis() | {
        "domain": [plot_low, plot_top],
        "range": [low - (high - low) * 0.03, high + (high - low) * 0.06],
        "tickvals": [low, high],
        "ticktext": [_tick(low), _tick(high)],
        "showgrid": False,
        "fixedrange": True,
    }
    signal = str(band.rows["title"][0])
    fits = max(_NARROW_TITLE_MOST - len(signal), 8)
    whose = band.whose if len(band.whose) <= fits else band.whose.partition(" (")[0]  # without the replica
    short = whose if len(whose) <= fits else f"{whose[: fits - 1].rstrip(' ,')}…"
    at = top - 4 / (_BAND_PX * count)
    when = text.lead(band.evidence.lead_s)
    change = escaped(band.evidence.move)
    notes = [
        _band_title(signal, band.whose, at) | {"name": "end"},
        _band_title(signal, short, at) | {"name": "narrow"},
        _paper_note(f"<b>{when}</b><br>{change}", 1.0, plot_top, tone if band.rank == 1 else "muted")
        | {"name": "end", "xshift": 8},
        _paper_note(f"<b>{when}</b> · {change}", 0.0, plot_top, tone if band.rank == 1 else "muted")
        | {"name": "narrow", "bgcolor": "$panel/.8"},
    ]
    line = {"type": "line", "xref": "paper", "yref": "paper", "x0": 0, "x1": 1, "y0": top, "y1": top}
    return trace, axis, notes, [line | {"line": {"color": "$grid", "width": 1}}] if index else []


def _band_title(signal: str, whose: str, y: float) -> Figure:
    words = f"<b>{escaped(signal)}</b>  {escaped(whose)}"
    return _paper_note(words, 0.0, y, "strong") | {"font": {"size": 12, "color": "$strong"}}


def axis_number(index: int) -> str:
    """Plotly calls its first axis `y`, the others `y2`, `y3` and so on."""
    return "" if index == 0 else str(index + 1)


def _paper_note(words: str, x: float, y: float, tone: str) -> Figure:
    return {
        "text": words,
        "xref": "paper",
        "yref": "paper",
        "x": x,
        "y": y,
        "xanchor": "left",
        "yanchor": "top",
        "align": "left",
        "showarrow": False,
        "font": {"size": 11, "color": f"${tone}"},
    }


def _extent(values: pl.Series) -> tuple[float, float]:
    """What the axis of a band spans: from zero where the values come near it, never without height."""
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]  # there is a value
    if 0 <= low <= 0.2 * high:
        low = 0.0
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _tick(value: Any) -> str:
    number, prefix = text.compact(float(value), 2)
    return f"{number}{prefix}"


# -- Shared --------------------------------------------------------------------------------------------------------


def _selectable(explained: Window | None) -> Figure:
    """A horizontal drag selects; the box it leaves goes away when the window explained changes."""
    revision = "none" if explained is None else f"{time_text(explained.start)}~{time_text(explained.end)}"
    return {
        "dragmode": "select",
        "selectdirection": "h",
        "selections": [],
        "selectionrevision": revision,
        "newselection": {"line": {"color": "$accent", "width": 1, "dash": "solid"}},
    }


def _shade(window: Window | None, tone: str) -> list[Figure]:
    if window is None:
        return []
    return [
        {
            "type": "rect",
            "yref": "paper",
            "x0": time_text(window.start),
            "x1": time_text(window.end),
            "y0": 0,
            "y1": 1,
            "fillcolor": f"${tone}/.16",
            "line": {"color": f"${tone}/.7", "width": 1},
        }
    ]


def spike_shade(incident: Incident, window: Window) -> list[Figure]:
    """The time of the spike, as far as the window shows it, with a line where it began."""
    start, end = max(incident.started_at, window.start), min(incident.ended_at or window.end, window.end)
    if start >= end:
        return []
    area = _shade(Window(start, end), "critical")[0]
    begin = {"type": "line", "yref": "paper", "x0": time_text(start), "x1": time_text(start), "y0": 0, "y1": 1}
    return [
        area | {"fillcolor": "$critical/.1", "line": {"width": 0}, "layer": "below"},
        begin | {"line": {"color": "$critical/.7", "width": 1}},
    ]


def _line(times: pl.Series, values: pl.Series, tone: str, hover: str, width: float = 1.4) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        **course(times, values),
        "line": {"color": f"${tone}", "width": width},
        "hovertemplate": f"{hover}<extra></extra>",
    }
