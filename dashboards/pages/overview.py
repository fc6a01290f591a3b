"""The overview: is something burning, since when, how bad, why, and where to go next."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.jobs.explaining import explain_window
from analytics.jobs.objectives import slo_statuses
from dashboards import figures, text
from dashboards.cache import AnswerCache
from dashboards.callbacks import callback
from dashboards.components import (
    chart,
    empty_state,
    fact,
    figure_of,
    icon,
    page_link,
    panel,
    since_known,
    spark,
    state_badge,
)
from dashboards.context import PageContext
from dashboards.explanation import explained_window
from dashboards.freshness import REQUESTS, SAMPLES, Gap, as_known, hiding, hiding_objective
from dashboards.going_on import read_going_on
from dashboards.gpus import column_s, described, read_activity, read_gpu_names, read_gpus
from dashboards.state import OVERVIEW_RANGE, PageState, incident_path, parse_state
from dashboards.traffic import SETTLES_AFTER, KeptLevels, Traffic, traffic_of
from dashboards.verdict import Verdict, days_seen, line_tone, look_of, pace, status_of, verdict, worst_first
from domain.incident import Incident, Indicator
from domain.slo import SloStatus
from domain.window import Window
from storage.incidents import read_incidents, read_open_incidents
from storage.readers import read_freshness, read_heatmap, read_latency, read_services
from storage.store import Store

_EARLIER_KEPT_S = 600.0


def layout() -> Component:
    """Where things are; all of it is filled by callbacks."""
    return html.Div(
        [
            html.Header(
                [html.H1("Reliability overview"), html.Span(id="overview-now", className="note")], className="page-head"
            ),
            html.Div(id="overview-verdict", className="verdict-place"),
            html.Div(id="overview-objectives", className="cards"),
            html.Div(id="overview-traffic", className="strip"),
            html.Div(id="overview-explained"),
            html.Div(
                [
                    panel(
                        "Error budget left",
                        chart("budgets", 300),
                        note=html.Span(id="overview-budgets-note"),
                    ),
                    panel(
                        html.Span("Time to first token", id="overview-latency-title"),
                        chart("latency", 300, selectable=True),
                        note=html.Span(id="overview-latency-note"),
                        aside="Drag across a spike to explain it",
                    ),
                ],
                className="columns",
            ),
            panel("GPU activity", chart("gpus", 260), note=html.Span(id="overview-gpus-note")),
        ],
        className="overview",
    )


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of this page."""
    settings = context.settings
    earlier: KeptLevels = AnswerCache(_EARLIER_KEPT_S)

    @callback(
        app,
        Output("overview-now", "children"),
        Output("overview-verdict", "children"),
        Output("overview-objectives", "children"),
        Output("overview-budgets-note", "children"),
        Output(figure_of("budgets"), "data"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_objectives(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        now, state = context.now(), parse_state(search)
        statuses, (newest, unseen, going_on, names) = await asyncio.gather(
            asyncio.to_thread(_statuses, context, now, state.service),
            asyncio.to_thread(_seen, context, now, state.service),
        )
        if not statuses and not any(newest.values()):
            return (
                f"{text.day_and_clock(now)} UTC",
                no_data_yet(settings.otlp_http_url),
                [],
                "",
                figures.empty("No data yet"),
            )
        return (
            f"{text.day_and_clock(now)} UTC",
            verdict_banner(
                verdict(statuses, going_on, newest, now, context.knowledge, unseen, names),
                notifies_nobody=context.notifies_nobody,
            ),
            [
                objective_card(status, going_on, hiding_objective(unseen, status.objective))
                for status in worst_first(statuses, going_on)
            ],
            budgets_note(statuses, now),
            figures.budget_burn_down(statuses, {s.objective.name: line_tone(s, going_on) for s in statuses}, now),
        )

    @callback(app, Output("overview-traffic", "children"), Input("url", "search"), Input("tick", "n_intervals"))
    async def show_traffic(search: str | None, _ticks: int | None) -> list[Component]:
        state = parse_state(search)
        return traffic_strip(*await asyncio.to_thread(_traffic, context, context.now(), state, earlier))

    @callback(
        app,
        Output("overview-latency-title", "children"),
        Output("overview-latency-note", "children"),
        Output(figure_of("latency"), "data"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_latency(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        return await asyncio.to_thread(_latency, context, parse_state(search))

    @callback(
        app,
        Output("overview-gpus-note", "children"),
        Output(figure_of("gpus"), "data"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_gpus(search: str | None, _ticks: int | None) -> tuple[str, figures.Figure]:
        return await asyncio.to_thread(_gpus, context, parse_state(search))

    @callback(app, Output("overview-explained", "children"), Input("url", "search"))
    async def show_explained(search: str | None) -> Component | None:
        state = parse_state(search)
        return await asyncio.to_thread(_explained, context, state) if state.explain else None


# -- Pieces, from what was read ------------------------------------------------------------------------------------


def no_data_yet(otlp_http_url: str) -> Component:
    """What a fresh installation shows: how to send something."""
    return empty_state(
        "inbox",
        "No data yet",
        [
            html.P("Tailsight shows requests as soon as their first spans arrive. Point any OpenTelemetry SDK here:"),
            html.Pre(
                f"export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\nexport OTEL_EXPORTER_OTLP_ENDPOINT={otlp_http_url}"
            ),
            html.P("Or watch a simulated cloud break and be explained:"),
            html.Pre("tailsight demo"),
        ],
    )


def verdict_banner(found: Verdict, *, notifies_nobody: bool = False) -> Component:
    """The verdict with the next click; of an incident that is told to nobody it says so."""
    icons = {"critical": "flame", "warning": "triangle-alert", "good": "circle-check", "unknown": "circle-dashed"}
    return html.Section(
        [
            html.Span(icon(icons[found.tone]), className="verdict-icon"),
            html.Div(
                [
                    html.H2(found.headline),
                    html.P([html.Strong(words) if strong else words for words, strong in found.details]),
                    html.P(
                        [icon("bell-off"), "This reaches nobody: ", page_link("no receiver is configured", "/alerts")],
                        className="told-nobody",
                    )
                    if notifies_nobody and found.incident_id
                    else None,
                ],
                className="verdict-words",
            ),
            page_link(["Open incident", icon("arrow-right")], incident_path(found.incident_id), "button primary")
            if found.incident_id
            else None,
        ],
        className=f"verdict tone-{found.tone}",
        role="status",
    )


def objective_card(status: SloStatus, going_on: Sequence[Incident], hidden: Gap | None = None) -> Component:
    """One objective: how much budget is left, how it got there, how fast it goes; `hidden` where that is not seen."""
    objective = status.objective
    word, badge_tone, icon_name = look_of(status, going_on)
    icon_tone, known_icon = as_known(badge_tone, icon_name, hidden)
    tone = line_tone(status, going_on)
    burning = next((incident for incident in going_on if status_of(incident, [status])), None)
    burning_at = pace(status, going_on)
    burn = "burn —" if burning_at is None else f"burn {burning_at.words}"
    body = [
        html.Div(
            [
                icon(known_icon, f"tone-{icon_tone}"),
                html.H3(objective.service, className="clip"),
                state_badge(word, badge_tone, None, hidden),
            ],
            className="card-head",
        ),
        html.Div(
            " · ".join(filter(None, (text.objective_title(objective), days_seen(status)))), className="card-objective"
        ),
        html.Div(
            [
                html.Span(text.percent_floor(status.budget_left_ratio), className="card-budget"),
                html.Span("budget left"),
            ]
        ),
        spark(since_known(status.budget_left_history), tone, low=0.0, high=1.0),
        html.Div(
            [
                html.Span(
                    [
                        html.Span(text.percent_of_target(status.sli_ratio, objective.target_ratio)),
                        f" of {text.percent(objective.target_ratio, 6)}",
                    ]
                ),
                html.Span(
                    burn,
                    className="card-burn",
                    title="Errors of that time over the errors that spend the budget exactly in the window",
                ),
            ],
            className="card-foot",
        ),
    ]
    classes = f"card tone-{tone}" if hidden is None else f"card greyed tone-{tone}"
    if burning is not None:
        return page_link(body, incident_path(burning.id), classes)
    return html.Article(body, className=classes)


def budgets_note(statuses: Sequence[SloStatus], now: datetime) -> str:
    """`30-day window; the axis begins at 95 %, the lines at 23 Nov`."""
    days = sorted({status.objective.window_days for status in statuses})
    if not days:
        return ""
    view = figures.budget_view(statuses, now)
    return f"{' and '.join(str(number) for number in days)}-day window{f'; {view.words}' if view.words else ''}"


def traffic_strip(traffic: Traffic | None, hidden: Gap | None = None) -> list[Component]:
    """Requests, errors, latency and tokens: now, against the same time of an earlier day, and their course.

    Args:
        traffic: None where there is none.
        hidden: the gap since which none is seen; the traffic is that of before.
    """
    if traffic is None:
        return []
    as_of = "" if hidden is None else f" {hidden.as_of.partition(',')[0]}"
    basis = f"Over the {text.lasting(traffic.step_s)} to {text.clock_seconds(traffic.end)} UTC; " + (
        "no earlier day is stored to tell a change against"
        if traffic.against is None
        else f"changes are against {traffic.against}"
    )
    facts = [
        fact(
            f"{measure.title}{as_of}",
            measure.value,
            [measure.unit, " ", html.Span(measure.change, className=f"tone-{measure.tone}")],
            extra=spark(measure.values, measure.tone, low=0.0),
            title=basis if hidden is None else f"{basis}. {hidden.meaning}",
            class_name="" if hidden is None else "greyed",
        )
        for measure in traffic.measures
    ]
    return [*facts, html.P(basis, className="strip-note")]


# -- Reading -------------------------------------------------------------------------------------------------------


def _statuses(context: PageContext, now: datetime, service: str | None) -> list[SloStatus]:
    objectives = [objective for objective in context.objectives() if service in (None, objective.service)]
    return list(slo_statuses(context.store, objectives, now, context.counts))


def _seen(
    context: PageContext, now: datetime, service: str | None
) -> tuple[dict[str, datetime | None], list[Gap], list[Incident], dict[str, str]]:
    """The newest data of each kind, what is not seen, the incidents that go on by what was seen last, names of GPUs."""
    newest = read_freshness(context.store, now)
    unseen = context.unseen(newest, now, service)
    going_on = read_going_on(context, unseen, now, service)
    since = min((one.started_at for one in going_on), default=None)
    names = {} if since is None or since >= now else read_gpu_names(context.store, Window(since, now))
    return newest, unseen, going_on, names


def _traffic(
    context: PageContext, now: datetime, state: PageState, earlier: KeptLevels
) -> tuple[Traffic | None, Gap | None]:
    """The newest traffic that is seen, and since when none is."""
    store = context.store
    hidden = hiding(context.read_unseen(now, state.service), (REQUESTS,), state.service)
    until = now if hidden is None else hidden.since + SETTLES_AFTER
    services = _services(store, until, state)
    names = list(services["service"].unique(maintain_order=True))
    if not names:
        return None, hidden
    shown, indicator = _focus(store, until, state, services)
    focus = shown or names[0]
    return traffic_of(
        store, until, state.range(OVERVIEW_RANGE), names, focus=focus, indicator=indicator, kept=earlier
    ), hidden


def _latency(context: PageContext, state: PageState) -> tuple[str, str, figures.Figure]:
    store, now = context.store, context.now()
    window, step_s = state.window(now, OVERVIEW_RANGE), state.range(OVERVIEW_RANGE).step_s
    service, indicator = _focus(store, now, state, _services(store, now, state))
    title = text.INDICATORS_IN_FULL[indicator]
    if service is None:
        return title, "", figures.empty("No requests in this time")
    column = "ttft_ms_p99" if indicator is Indicator.TTFT else "latency_ms_p99"
    return (
        title,
        service,
        figures.latency_heatmap(
            read_heatmap(store, window, service, indicator, step_s),
            read_latency(store, window, service, step_s).select("time", p99_ms=column),
            window=window,
            step_s=step_s,
            indicator=indicator,
            threshold_ms=context.threshold_ms(service, indicator),
            incidents=read_incidents(store, window, service=service),
            knowledge=context.knowledge,
            explained=state.explain,
        ),
    )


def _gpus(context: PageContext, state: PageState) -> tuple[str, figures.Figure]:
    store, now = context.store, context.now()
    window = state.window(now, OVERVIEW_RANGE)
    series = read_gpus(store, window)
    gpus = described(series)
    step_s = column_s(state.range(OVERVIEW_RANGE).seconds, gpus.height)
    activity = read_activity(store, window, series, step_s)
    incidents = read_incidents(store, window, service=state.service)
    hidden = hiding(context.read_unseen(now), (SAMPLES,))
    replicas = gpus["replica"]
    free = "; grey serves no replica" if 0 < replicas.null_count() < replicas.len() else ""
    note = f"{'' if hidden is None else f'{hidden.as_of}; '}by node; warm is idle, a gap is no sample{free}"
    return note, figures.gpu_activity(activity, gpus, window=window, step_s=step_s, incidents=incidents)


def _explained(context: PageContext, state: PageState) -> Component | None:
    store, now, window = context.store, context.now(), state.explain
    service, indicator = _focus(store, now, state, _services(store, now, state))
    if window is None or service is None:
        return None
    found = explain_window(store, service, window, indicator, context.analysis)
    names = read_gpu_names(store, window)
    return explained_window(window, found, indicator, context.knowledge, "/", state, service, names)


def _services(store: Store, now: datetime, state: PageState) -> pl.DataFrame:
    services = read_services(store, state.window(now, OVERVIEW_RANGE))
    return services if state.service is None else services.filter(pl.col("service") == state.service)


def _focus(store: Store, now: datetime, state: PageState, services: pl.DataFrame) -> tuple[str | None, Indicator]:
    """The service whose latency is shown, and which: that of the newest open incident, else the busiest.

    The indicator is TTFT where that is measured.
    """
    if services.is_empty():
        return None, Indicator.TTFT
    totals = (
        services.group_by("service")
        .agg(pl.col("requests", "requests_with_ttft").sum())
        .sort("requests", descending=True)
    )
    trouble = [i.service for i in read_open_incidents(store, now, state.service) if i.service in set(totals["service"])]
    service = trouble[0] if trouble else str(totals["service"][0])
    with_ttft = totals.filter(pl.col("service") == service)["requests_with_ttft"][0]
    return service, Indicator.TTFT if with_ttft else Indicator.LATENCY
