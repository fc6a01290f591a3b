"""The slow requests of an incident: what they have in common, and where the time of the slowest went."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from dash import html
from dash.development.base_component import Component

from analytics.scope import VALUES, contrast, stage_split
from dashboards import text
from dashboards.components import Children, badge, cell_of, pair_of_bars, panel
from domain.incident import Incident, Indicator
from domain.window import Window
from storage.readers import read_requests
from storage.store import Store

_WINDOW_S_MAX = 1_800  # the first half hour of an incident tells what it is
_REQUESTS_MAX = 100_000
_DIMENSIONS = ("replica", "node", "tenant", "version", "input_tokens")
_DIMENSION_TITLES = {"input_tokens": "Prompt tokens"}
_STANDS_OUT_RATIO = 0.2
_VALUES_MAX = 4
_TRACES_MAX = 8
_WIDE = ("Trace", "Where the time went")
_STAGES = (("queue_ms", "queue"), ("prefill_ms", "prefill"), ("transfer_ms", "transfer"), ("decode_ms", "decode"))


TraceLink = Callable[[str], str | None]
"""Where the trace of an id is seen whole, where a site has said it (`dashboards.trace_url`)."""


def show_slow_requests(
    store: Store,
    incident: Incident,
    threshold_ms: float | None,
    now: datetime,
    trace_link: TraceLink = lambda _: None,
) -> list[Component]:
    """Both panels; only the named traces when the requests are no longer kept.

    Args:
        store: where the requests are read.
        incident: whose requests.
        threshold_ms: the objective; None when there is none: then the usual p99 tells slow from the rest.
        now: the clock.
        trace_link: where traces lead.
    """
    one_in = _one_in(incident)
    requests = _read(store, incident, now, one_in)
    if requests.is_empty():
        return _named_traces(incident.exemplar_trace_ids, trace_link)
    requests = stage_split(requests)
    sample = "" if one_in == 1 else f"; a sample, one request in {one_in:,}"
    if incident.indicator is Indicator.ERRORS:
        return _show_failures(requests, incident, sample, trace_link)
    # A spike may stay below the objective: then that tells nothing apart.
    promised = threshold_ms is not None and threshold_ms < incident.peak_ms_p99
    slow_over_ms = threshold_ms if promised and threshold_ms is not None else incident.baseline_ms_p99
    meaning = "the objective" if promised else "the usual p99"
    shared = contrast(requests, slow_over_ms, incident.indicator, _DIMENSIONS)
    slowest = requests.sort(VALUES[incident.indicator], descending=True, nulls_last=True)
    return [
        in_common(shared, f"slow is over {meaning}, {text.duration_ms(slow_over_ms)}, or failed{sample}"),
        traces_table(slowest.head(_TRACES_MAX), incident.indicator, incident.exemplar_trace_ids, trace_link),
    ]


def _show_failures(requests: pl.DataFrame, incident: Incident, sample: str, trace_link: TraceLink) -> list[Component]:
    failed = requests.filter("is_error").sort("latency_ms", descending=True, nulls_last=True)
    shared = contrast(requests, math.inf, Indicator.LATENCY, _DIMENSIONS)  # no time is too long: only failures count
    return [
        in_common(shared, f"failed requests against the others{sample}", "failed"),
        *(
            [traces_table(failed.head(_TRACES_MAX), incident.indicator, incident.exemplar_trace_ids, trace_link)]
            if failed.height
            else []
        ),
    ]


def in_common(table: pl.DataFrame, note: str, word: str = "slow") -> Component:
    """What slow requests share and the others do not.

    Args:
        table: of `analytics.scope.contrast`; a dimension with one value only tells nothing, and is left out.
        note: what counts as slow.
        word: `slow`, or `failed` where only that counts.
    """
    title = f"What {word} requests have in common"
    if not table["slow_ratio"].sum():
        none = f"No request of this incident that is kept {'was slow' if word == 'slow' else word}."
        return panel(title, html.P(none, className="calm"), note=note)
    groups = []
    for (dimension,), told in table.group_by(["dimension"], maintain_order=True):
        if told.height < 2:
            continue
        lines = [
            _slow_and_rest(value, slow, rest, word)
            for value, slow, rest in told.head(_VALUES_MAX).select("value", "slow_ratio", "rest_ratio").iter_rows()
        ]
        others = told.slice(_VALUES_MAX)
        if others.height:
            lines.append(
                _slow_and_rest(
                    f"{others.height} more", float(others["slow_ratio"].sum()), float(others["rest_ratio"].sum()), word
                )
            )
        groups.append(
            html.Div(
                [html.H3(_DIMENSION_TITLES.get(dimension, dimension.capitalize())), html.Dl(lines)],
                className="contrast",
            )
        )
    legend = [
        html.Span(className="swatch swatch-accent"),
        word,
        html.Span(className="swatch swatch-rest"),
        "the rest",
    ]
    return panel(title, html.Div(groups, className="contrasts"), note=note, aside=legend)


def traces_table(
    slowest: pl.DataFrame, indicator: Indicator, exemplars: Sequence[str], trace_link: TraceLink
) -> Component:
    """The slowest requests with where their time went.

    Args:
        slowest: a frame of `read_requests` with the columns of `stage_split`.
        indicator: which time counts.
        exemplars: trace ids that the incident itself names.
        trace_link: where traces lead.
    """
    column = VALUES[indicator]
    # The time to the first token ends before the first decode step.
    stages = [(name, word) for name, word in _STAGES if indicator is not Indicator.TTFT or name != "decode_ms"]
    # A time per token is no length of a request: then the longest request is as long as the bar.
    longest_ms = slowest["latency_ms" if indicator is Indicator.TPOT else column].max()
    failures = indicator is Indicator.ERRORS
    heads = (
        "Trace",
        text.INDICATORS[text.timed(indicator)],
        "Where the time went",
        "Replica",
        "Tenant",
        "Prompt tokens",
    )
    rows = []
    for row in slowest.iter_rows(named=True):
        trace = [
            _trace(row["trace_id"], trace_link),
            badge("example", "calm") if row["trace_id"] in exemplars else None,
        ]
        cells: tuple[Children, ...] = (
            trace,
            html.Span(text.duration_ms(row[column]), className="number"),
            _split_bar(row, stages, longest_ms),
            html.Code(row["replica"] or text.UNKNOWN),
            row["tenant"] or text.UNKNOWN,
            html.Span(text.count(row["input_tokens"]), className="number"),
        )
        rows.append(
            html.Tr([cell_of(head, cell, is_wide=head in _WIDE) for head, cell in zip(heads, cells, strict=True)])
        )
    legend = [part for _, name in stages for part in (html.Span(className=f"swatch stage-{name}"), name)]
    return panel(
        "Failed traces" if failures else "Slowest traces",
        html.Div(
            html.Table(
                [
                    html.Thead(html.Tr([html.Th(name, scope="col") for name in heads])),
                    html.Tbody(rows),
                ]
            ),
            className="table listing traces",
        ),
        note="of the incident",
        aside=legend,
    )


def _slow_and_rest(name: str, slow_ratio: float, rest_ratio: float, word: str) -> Component:
    return pair_of_bars(
        name,
        slow_ratio,
        rest_ratio,
        name=name,
        meaning=f"{text.percent_whole(slow_ratio)} of the {word}, {text.percent_whole(rest_ratio)} of the rest",
        standing_out=slow_ratio - rest_ratio > _STANDS_OUT_RATIO,
    )


def _split_bar(row: dict[str, Any], stages: Sequence[tuple[str, str]], longest_ms: Any) -> Component:
    known = [(name, row[column]) for column, name in stages if row[column] is not None and row[column] > 0]
    if not known or not longest_ms:
        return html.Span("not told", className="note")
    return html.Div(
        [
            html.Span(
                className=f"stage-{name}",
                style={"width": f"{value / longest_ms:.1%}"},
                title=f"{name} {text.duration_ms(value)}",
            )
            for name, value in known
        ],
        className="split",
        role="img",
        **{"aria-label": ", ".join(f"{name} {text.duration_ms(value)}" for name, value in known)},
    )


def _trace(trace_id: str, trace_link: TraceLink) -> Component:
    link = trace_link(trace_id)
    shown = html.Code(trace_id)
    return shown if link is None else html.A(shown, href=link, target="_blank", rel="noreferrer")


def _named_traces(trace_ids: Sequence[str], trace_link: TraceLink) -> list[Component]:
    if not trace_ids:
        return []
    items = html.Ul([html.Li(_trace(trace_id, trace_link)) for trace_id in trace_ids], className="trace-ids")
    return [panel("Example traces", items, note="the requests themselves are no longer kept")]


def _one_in(incident: Incident) -> int:
    """How many requests one that is read stands for, so that about `_REQUESTS_MAX` are."""
    if not incident.slow_requests_ratio:
        return 1
    return max(1, math.ceil(incident.slow_requests_count / incident.slow_requests_ratio / _REQUESTS_MAX))


def _read(store: Store, incident: Incident, now: datetime, one_in: int) -> pl.DataFrame:
    end = min(incident.ended_at or now, incident.started_at + timedelta(seconds=_WINDOW_S_MAX))
    window = Window(incident.started_at, max(end, incident.started_at + timedelta(seconds=1)))
    return read_requests(store, window, incident.service, incident.model, one_in)
