"""The data: what comes in, what does not and why, how far behind the store is, and who has fallen silent."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from collector.report import IngestReport
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import badge, empty_state, fact, panel
from dashboards.context import PageContext
from dashboards.state import DATA_RANGE, parse_state
from storage.readers import read_quarantine, read_sources

_LIMIT = 200


def layout() -> Component:
    """Where things are; all of it is filled by callbacks."""
    return html.Div(
        [
            html.Header([html.H1("Data"), html.Span(id="data-note", className="note")], className="page-head"),
            html.Div(id="data-waiting", className="strip"),
            html.Div(id="data-flow"),
            html.Div(id="data-losses"),
            html.Div(id="data-sources"),
            html.Div(id="data-quarantine"),
        ]
    )


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of this page: one of what this process tells, one of what the store does."""

    @callback(
        app,
        Output("data-note", "children"),
        Output("data-waiting", "children"),
        Output("data-flow", "children"),
        Output("data-losses", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_ingest(_search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        report = await asyncio.to_thread(context.ingest)
        if report is None:
            return "", [], no_collector(), None
        return "counts are since this process began", waiting_strip(report), flow(report), losses(report)

    @callback(
        app,
        Output("data-sources", "children"),
        Output("data-quarantine", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_stored(search: str | None, _ticks: int | None) -> tuple[Component, Component]:
        now, state = context.now(), parse_state(search)
        window = state.window(now, DATA_RANGE)
        found, kept = await asyncio.gather(
            asyncio.to_thread(read_sources, context.store, window),
            asyncio.to_thread(read_quarantine, context.store, window, _LIMIT),
        )
        lasting = text.lasting(state.range(DATA_RANGE).seconds)
        return sources(found, now, context.settings.stale_after_s, lasting), quarantine(kept, now, lasting)


def no_collector() -> Component:
    """What the page says in a process that only shows."""
    return empty_state(
        "inbox",
        "No collector in this process",
        html.P(
            "What it takes in and refuses is told by the collector itself: look at this page, or at /metrics, where it "
            "runs. What it has stored is below."
        ),
    )


def waiting_strip(report: IngestReport) -> list[Component]:
    """How far behind the store is, and whether anything is lost."""
    quarantined = sum(report.quarantined.values())
    return [
        fact("Waiting to be stored", f"{report.backlog_bytes / 2**20:.1f}", "MiB", title="acknowledged, in the log"),
        fact("Oldest of it", text.lasting(report.waiting_s) if report.waiting_s else "none"),
        fact("In quarantine", text.count(quarantined), "items"),
        fact("Damaged in the log", text.count(report.damaged_bytes), "bytes", title="no whole frame when it was read"),
    ]


def flow(report: IngestReport) -> Component:
    """Each upstream table: accepted, stored, in quarantine, still on its way."""
    rows = []
    for table in sorted(report.accepted.keys() | report.loaded.keys() | report.quarantined.keys()):
        accepted, loaded, bad = (
            counts.get(table, 0) for counts in (report.accepted, report.loaded, report.quarantined)
        )
        # What an earlier process accepted is loaded by this one, so there may be more loaded than accepted.
        rows.append((html.Code(table), *map(text.count, (accepted, loaded, bad, max(0, accepted - loaded - bad)))))
    return panel(
        "Taken in",
        _table(("Table", "Accepted", "Stored", "In quarantine", "On its way"), rows)
        if rows
        else html.P("Nothing was sent here yet.", className="calm"),
        note="spans, log records and data points",
    )


def losses(report: IngestReport) -> Component:
    """What did not come in, with the reason; senders were told of all of it but what was scraped."""
    rows = [
        (what, html.Code(of), _words(reason), text.count(count))
        for what, counts in (
            ("requests refused", report.refused_requests),
            ("items rejected", report.rejected_items),
            ("samples left out", report.dropped_samples),
            ("points kept, no samples", {("metrics", one): n for one, n in report.points_without_samples.items()}),
        )
        for (of, reason), count in _most_first(counts)
    ]
    return panel(
        "Not taken in",
        _table(("What", "Of", "Reason", "Count"), rows) if rows else html.P("Nothing was refused.", className="calm"),
        note="docs/operate.md and docs/sources/README.md say what each reason means",
    )


def sources(found: pl.DataFrame, now: datetime, stale_after_s: int, lasting: str) -> Component:
    """Who sent something, when last, and whether the last scrape went well; the silent ones first.

    Args:
        found: as of `storage.readers.read_sources`.
        now: the clock.
        stale_after_s: without new data for so long, a source counts as silent.
        lasting: the time that was looked at, in words.
    """
    ordered = found.sort(pl.col("up").fill_null(1), "newest", "kind", "name", nulls_last=False)
    rows = [
        (
            _state(newest, up, now, stale_after_s),
            html.Span([f"{name or 'no name'} ", html.Code(instance) if instance else None]),
            kind,
            "never"
            if newest is None
            else f"{text.since(newest, now)}, {text.lasting((now - newest).total_seconds())} ago",
        )
        for kind, name, instance, newest, up in ordered.head(_LIMIT).iter_rows()
    ]
    shown = f"the first {_LIMIT} of {found.height}" if found.height > _LIMIT else f"{found.height}"
    return panel(
        "Sources",
        _table(("State", "Source", "Sends", "Last seen (UTC)"), rows)
        if rows
        else html.P(f"Nothing came in within {lasting}.", className="calm"),
        note=f"{shown} seen in the last {lasting}",
    )


def quarantine(kept: pl.DataFrame, now: datetime, lasting: str) -> Component:
    """What was acknowledged and could not be decoded, with the reason. Argument as of `read_quarantine`."""
    rows = [
        (text.since(time, now), signal, _words(reason), text.count(count), html.Span(detail, className="note"))
        for time, signal, reason, _segment, count, detail in kept.iter_rows()
    ]
    return panel(
        "Quarantine",
        _table(("Came (UTC)", "Signal", "Reason", "Items", "What was found"), rows)
        if rows
        else html.P(f"Nothing that came within {lasting} is in quarantine.", className="calm"),
        note="the bytes are in tailsight_quarantine",
    )


def _state(newest: datetime | None, up: float | None, now: datetime, stale_after_s: int) -> Component:
    if up == 0:
        return badge("Down", "critical", "circle-alert")
    if newest is None or (now - newest).total_seconds() > stale_after_s:
        return badge("Silent", "warning", "circle-dashed")
    return badge("Up" if up is not None else "Live", "good", "circle-check")


def _most_first(counts: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _words(reason: str) -> str:
    return reason.replace("_", " ")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | Component]]) -> Component:
    return html.Div(
        html.Table(
            [
                html.Thead(html.Tr([html.Th(head, scope="col") for head in heads])),
                html.Tbody([html.Tr([html.Td(cell) for cell in row]) for row in rows]),
            ]
        ),
        className="table",
    )
