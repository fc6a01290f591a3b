"""One incident: how bad, why, what moved with it, where, whom it hit, and the traces to open."""

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from dash import Dash, Input, Output, ctx, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from analytics.jobs.explaining import evidence_series, explain_window
from analytics.knowledge import Knowledge
from analytics.scope import VALUES
from dashboards import figures, handling, text
from dashboards.callbacks import callback
from dashboards.components import badge, chart, empty_state, fact, figure_of, icon, page_link, panel, state_words
from dashboards.context import PageContext
from dashboards.explanation import explained_window, uncharted, why
from dashboards.freshness import SAMPLES, Gap, hiding, hiding_end, lasted_words
from dashboards.gpus import (
    affected_names,
    described,
    gpu_tiles,
    mean_activity,
    read_activity,
    read_gpu_names,
    read_gpus,
)
from dashboards.severity import SEVERITIES
from dashboards.slow_requests import show_slow_requests
from dashboards.state import incident_id_of, incident_path, parse_state
from dashboards.whereabouts import show_whereabouts
from domain.incident import Incident, Indicator, Status
from domain.window import Window
from domain.wording import sentence
from storage.incidents import read_incident
from storage.readers import read_latency, read_request_series
from storage.store import Store
from storage.topology import read_topology

_BEFORE_S_MIN, _BEFORE_S_MAX = 1_800, 21_600
_AFTER_S = 600
_SETTLED_AFTER = timedelta(seconds=2 * _AFTER_S)
_STEPS_MAX = 120
_ROLLUP_STEP_S = 15


def layout() -> Component:
    """Where things are; all of it is filled by callbacks."""
    return html.Div(
        [
            html.Div(id="incident-head"),
            handling.layout(),
            html.Div(id="incident-impact", className="strip"),
            html.Div(id="incident-explained"),
            html.Div(
                [
                    html.Div(
                        [
                            panel(
                                html.Span("p99", id="incident-latency-title"),
                                chart("incident-latency", 250, selectable=True),
                                note=html.Span(id="incident-latency-note"),
                                aside="Drag to explain another window",
                            ),
                            html.Div(id="incident-whereabouts"),
                            panel(
                                "What moved with it",
                                [chart("incident-evidence", 360), html.Div(id="incident-uncharted")],
                                note="same time axis",
                            ),
                            panel(
                                "Where",
                                html.Div(id="incident-where"),
                                note="GPU activity during the spike, by index; warm is idle, grey serves no replica",
                            ),
                        ],
                        className="stack",
                    ),
                    html.Div(
                        [
                            panel(
                                "Why",
                                html.Div(id="incident-why"),
                                note=html.Span(id="incident-why-note"),
                            ),
                        ],
                        className="stack",
                    ),
                ],
                className="columns incident-columns",
            ),
            html.Div(id="incident-requests"),
        ],
        className="incident",
    )


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of this page. An incident pins its own window, so the range of the address does not matter."""
    store = context.store
    handling.register(app, context)

    @callback(
        app,
        Output("incident-head", "children"),
        Output("incident-impact", "children"),
        Output("incident-why-note", "children"),
        Output("incident-why", "children"),
        Output("incident-whereabouts", "children"),
        Input("url", "pathname"),
        Input("tick", "n_intervals"),
    )
    async def show_incident(path: str | None, _ticks: int | None) -> tuple[Any, ...]:
        incident = await _find(context, path)
        if incident is None:
            return no_such_incident(path), [], "", [], None
        now = context.now()
        unseen, names = await asyncio.gather(
            asyncio.to_thread(context.read_unseen, now, incident.service),
            asyncio.to_thread(_names, context, incident),
        )
        return _told(
            incident, now, hiding_end(unseen, incident, context.analysis.spikes.calm), context.knowledge, names
        )

    @callback(
        app,
        Output("incident-latency-title", "children"),
        Output("incident-latency-note", "children"),
        Output(figure_of("incident-latency"), "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_latency(path: str | None, search: str | None, _ticks: int | None) -> tuple[str, str, figures.Figure]:
        incident = await _read(context, path)
        if incident is None:
            return "p99", "", figures.empty("")
        explained = parse_state(search).explain
        if incident.indicator is Indicator.ERRORS:
            failures = await asyncio.to_thread(_failures, context, incident, explained)
            return "Failures", "share of the requests", failures
        return (
            text.percentile_title(incident.indicator),
            "with p50 and the usual level",
            await asyncio.to_thread(_latency, context, incident, explained),
        )

    @callback(
        app,
        Output(figure_of("incident-evidence"), "data"),
        Output("incident-uncharted", "children"),
        Input("url", "pathname"),
        Input("tick", "n_intervals"),
    )
    async def show_evidence(path: str | None, _ticks: int | None) -> tuple[figures.Figure, Component | None]:
        incident = await _read(context, path)
        if incident is None:
            return figures.empty(""), None
        window, step_s = pinned_window(incident, context.now())
        series, names = await asyncio.gather(
            asyncio.to_thread(evidence_series, store, incident, window, step_s, context.knowledge),
            asyncio.to_thread(_names, context, incident),
        )
        without_course = figures.evidence_without_course(series, incident)
        return (
            figures.evidence_multiples(series, incident, window=window, names=names),
            uncharted(without_course, context.knowledge, names),
        )

    @callback(app, Output("incident-where", "children"), Input("url", "pathname"), Input("tick", "n_intervals"))
    async def show_where(path: str | None, _ticks: int | None) -> Component | None:
        incident = await _read(context, path)
        return await asyncio.to_thread(_where, context, incident) if incident else None

    @callback(app, Output("incident-requests", "children"), Input("url", "pathname"), Input("tick", "n_intervals"))
    async def show_requests(path: str | None, _ticks: int | None) -> list[Component]:
        incident = await _read(context, path)
        return await asyncio.to_thread(_requests, context, incident) if incident else []

    @callback(app, Output("incident-explained", "children"), Input("url", "pathname"), Input("url", "search"))
    async def show_explained(path: str | None, search: str | None) -> Component | None:
        state, incident = parse_state(search), await _read(context, path)
        if incident is None or state.explain is None:
            return None
        found, names = await asyncio.gather(
            asyncio.to_thread(
                explain_window, store, incident.service, state.explain, incident.indicator, context.analysis
            ),
            asyncio.to_thread(read_gpu_names, store, state.explain),
        )
        return explained_window(
            state.explain,
            found,
            incident.indicator,
            context.knowledge,
            incident_path(incident.id),
            state,
            incident.service,
            names,
        )


# -- Pieces, from what was read ------------------------------------------------------------------------------------


def pinned_window(incident: Incident, now: datetime) -> tuple[Window, int]:
    """The time around an incident that its page shows, and the step (s, a multiple of 15) for about 120 columns.

    As long before as it lasted, half an hour at least, and ten minutes after its end, but not beyond now. It starts
    and ends with a step: half a step would look like a fall.
    """
    end = min(now, (incident.ended_at or now) + timedelta(seconds=_AFTER_S))
    lasted_s = max((end - incident.started_at).total_seconds(), _ROLLUP_STEP_S)
    before_s = min(max(lasted_s, _BEFORE_S_MIN), _BEFORE_S_MAX)
    step_s = _ROLLUP_STEP_S * math.ceil((before_s + lasted_s) / (_ROLLUP_STEP_S * _STEPS_MAX))
    began_s = incident.started_at.timestamp()
    start_s = (began_s - before_s) // step_s * step_s
    end_s = max(end.timestamp() // step_s, began_s // step_s + 1) * step_s
    return Window(datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC)), step_s


def _told(
    incident: Incident, now: datetime, hidden: Gap | None, knowledge: Knowledge, names: Mapping[str, str]
) -> tuple[Any, ...]:
    """Head, impact and causes; lists that somebody has unfolded stay as they are where no cause can change."""
    found = incident.explanation
    heading = (head(incident, now, hidden), impact(incident), why_note(incident, now, hidden))
    if _is_settled(incident, now):
        return (*heading, no_update, no_update)
    causes = why(found, incident.indicator, knowledge, names)
    return (*heading, causes, show_whereabouts(found.whereabouts, incident.indicator))


def no_such_incident(path: str | None) -> Component:
    """For a link that leads nowhere."""
    return empty_state(
        "circle-question-mark",
        "There is no such incident",
        [
            html.P(["No incident is called ", html.Code(incident_id_of(path) or "")]),
            page_link("See all incidents", "/incidents", "button"),
        ],
    )


def head(incident: Incident, now: datetime, hidden: Gap | None = None) -> Component:
    """What it is, since when (up to when that was seen, where the rest is `hidden`), and what to do with it."""
    word, tone, icon_name = SEVERITIES[incident.severity]
    going_on = incident.status is Status.OPEN or hidden is not None
    facts = [
        (
            "Began",
            f"{text.clock_seconds(incident.started_at)} UTC",
            f"{incident.started_at.day} {incident.started_at:%b %Y}",
        ),
        ("Lasting" if going_on else "Lasted", lasted_words(incident, now, hidden), ""),
        ("Detected", f"{text.clock_seconds(incident.detected_at)} UTC", ""),
        *([("Model", incident.model, "")] if incident.model else []),
    ]
    return html.Header(
        [
            html.Div(
                [
                    html.Div(
                        [
                            badge(word, tone, icon_name),
                            html.Code(incident.id),
                            html.Span(
                                [
                                    html.Span(className=f"dot dot-{'critical' if going_on else 'good'}"),
                                    state_words("Ongoing", hidden) if going_on else "Resolved",
                                ],
                                className="state",
                            ),
                        ],
                        className="incident-marks",
                    ),
                    html.H1(text.incident_title(incident)),
                    html.Dl(
                        [
                            html.Div(
                                [
                                    html.Dt(label),
                                    html.Dd([value, html.Span(f" {detail}", className="note") if detail else None]),
                                ]
                            )
                            for label, value, detail in facts
                        ],
                        className="incident-facts",
                    ),
                ]
            ),
            html.Div(
                [
                    _postmortem(incident),
                    html.A(
                        [icon("file-text"), "Report"],
                        href=f"/api/v1{incident_path(incident.id)}/report",
                        className="button",
                        title="This incident as Markdown",
                    ),
                    html.A(
                        [icon("braces"), "JSON"],
                        href=f"/api/v1{incident_path(incident.id)}",
                        className="button",
                        title="This incident from the API",
                    ),
                ],
                className="actions",
            ),
        ],
        className="incident-head",
    )


def _postmortem(incident: Incident) -> Component:
    """The two ways to the post-mortem that is begun: into the clipboard, and as a file."""
    address = f"/api/v1{incident_path(incident.id)}/postmortem?format=md"
    copy = html.Button(
        [icon("copy"), "Copy as post-mortem"],
        className="button",
        title="All that is known and was noted of it, as Markdown, with headings for the rest",
        **{"data-copy": address},
    )
    save = html.A(
        icon("download"),
        href=address,
        download=f"postmortem-{incident.id}.md",
        className="button square",
        title="Download the post-mortem as Markdown",
        **{"aria-label": "Download the post-mortem as Markdown"},
    )
    return html.Div([copy, save], className="button-pair")


def _percentile_fact(incident: Incident) -> list[Component]:
    """The peak of p99 beside the usual one; of failures none: where all fail there is no time."""
    if incident.indicator is Indicator.ERRORS:
        return []
    usual = f"usually {text.duration_ms(incident.baseline_ms_p99)}"
    return [fact(text.percentile_title(incident.indicator), text.duration_ms(incident.peak_ms_p99), usual)]


def impact(incident: Incident) -> list[Component]:
    """How many it hit and what it cost; what is not known has no number."""
    facts = [
        fact(
            "Failed requests" if incident.indicator is Indicator.ERRORS else "Slow or failed requests",
            text.count(incident.slow_requests_count),
            f"{text.percent(incident.slow_requests_ratio, 2)} of all",
        ),
        *_percentile_fact(incident),
        fact(
            "Error budget spent",
            text.percent(incident.budget_spent_ratio, 2),
            "" if incident.budget_spent_ratio is not None else "no objective",
        ),
        fact(
            "Tenants affected",
            text.count(incident.tenants_affected_count),
            "" if incident.tenants_affected_count is not None else "requests name no tenant",
        ),
    ]
    if len(incident.services_affected) > 1:
        names = ", ".join(incident.services_affected)
        facts.append(fact("Services affected", text.count(len(incident.services_affected)), names))
    if incident.cost_usd is not None:
        facts.append(fact("GPU time of slow requests", text.usd(incident.cost_usd)))
    return facts


def why_note(incident: Incident, now: datetime, hidden: Gap | None = None) -> str:
    """Which time the causes speak of; of what is `hidden` they say nothing."""
    ended_at = incident.ended_at or (hidden.since if hidden is not None else None)
    end = "now" if ended_at is None else text.since(ended_at, now)
    return f"{text.since(incident.started_at, now)} to {end} UTC, against the time before"


# -- Reading -------------------------------------------------------------------------------------------------------


async def _find(context: PageContext, path: str | None) -> Incident | None:
    """The incident of a path; None when there is none."""
    incident_id = incident_id_of(path)
    return await asyncio.to_thread(read_incident, context.store, incident_id) if incident_id else None


async def _read(context: PageContext, path: str | None) -> Incident | None:
    """The same, for what is drawn of the time around it.

    Raises:
        PreventUpdate: when a refresh asks for one of which none of that changes any more.
    """
    incident = await _find(context, path)
    if incident and _is_settled(incident, context.now()):
        raise PreventUpdate
    return incident


def _is_settled(incident: Incident, now: datetime) -> bool:
    """Is it asked for by a refresh, and over for so long that only what is seen of it now may change."""
    refreshing = list(ctx.triggered_prop_ids.values()) == ["tick"]
    return refreshing and incident.ended_at is not None and now - incident.ended_at > _SETTLED_AFTER


def read_percentiles(store: Store, incident: Incident, window: Window, step_s: int) -> pl.DataFrame:
    """Columns time, p50_ms, p99_ms of the time that spiked, null where nothing was measured."""
    value = VALUES[incident.indicator]
    if incident.indicator is Indicator.TPOT:  # the rollup has no time per token
        requests = read_request_series(store, window, step_s, incident.service)
        of_model = requests.filter(pl.col("model").eq_missing(incident.model))
    else:
        of_model = read_latency(store, window, incident.service, step_s, models=[incident.model])
    return of_model.select("time", p50_ms=f"{value}_p50", p99_ms=f"{value}_p99")


def _names(context: PageContext, incident: Incident) -> dict[str, str]:
    """What people call the GPUs that were there while it lasted, by their UUIDs."""
    return read_gpu_names(context.store, _lasted(incident, context.now()))


def _lasted(incident: Incident, now: datetime) -> Window:
    end = incident.ended_at or now
    return Window(incident.started_at, max(end, incident.started_at + timedelta(seconds=1)))


def _latency(context: PageContext, incident: Incident, explained: Window | None) -> figures.Figure:
    window, step_s = pinned_window(incident, context.now())
    return figures.incident_latency(
        read_percentiles(context.store, incident, window, step_s),
        incident,
        window=window,
        threshold_ms=context.threshold_ms(incident.service, incident.indicator),
        explained=explained,
    )


def _failures(context: PageContext, incident: Incident, explained: Window | None) -> figures.Figure:
    window, step_s = pinned_window(incident, context.now())
    counts = read_latency(context.store, window, incident.service, step_s, models=[incident.model])
    return figures.incident_failures(counts, incident, window=window, explained=explained)


def _where(context: PageContext, incident: Incident) -> Component:
    store, now = context.store, context.now()
    window = _lasted(incident, now)
    gpus = read_gpus(store, window)
    activity = read_activity(store, window, gpus, step_s=max(60, int(window.seconds // 60)))
    affected = affected_names(incident.cause.entity, gpus, read_topology(store))
    hidden = None if incident.ended_at else hiding(context.read_unseen(now), (SAMPLES,))
    tiles = gpu_tiles(mean_activity(activity, described(gpus)), affected)
    return html.Div([tiles, None if hidden is None else html.P(sentence(f"{hidden.as_of}."), className="calm")])


def _requests(context: PageContext, incident: Incident) -> list[Component]:
    threshold_ms = context.threshold_ms(incident.service, incident.indicator)
    return show_slow_requests(context.store, incident, threshold_ms, context.now(), context.settings.trace_link)
