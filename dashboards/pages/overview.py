"""The overview: is something burning, since when, how bad, why, and where to go next."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.jobs.explaining import explain_window
from analytics.jobs.objectives import slo_statuses
from dashboards import figures, text
from dashboards.callbacks import callback
from dashboards.components import chart, empty_state, fact, figure_of, icon, page_link, panel, spark, state_badge
from dashboards.context import PageContext
from dashboards.explanation import explained_window
from dashboards.freshness import REQUESTS, SAMPLES, Gap, as_known, hiding, hiding_end, hiding_objective
from dashboards.gpus import at_cadence, read_activity, read_gpus
from dashboards.state import OVERVIEW_RANGE, PageState, incident_path, parse_state
from dashboards.traffic import SETTLES_AFTER, Traffic, traffic_of
from dashboards.verdict import Verdict, line_tone, look_of, status_of, verdict, worst_first
from domain.incident import Incident, Indicator, Status
from domain.slo import SloStatus
from domain.window import Window
from storage.readers import (
    read_freshness,
    read_heatmap,
    read_incidents,
    read_latency,
    read_services,
)
from storage.store import Store


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
        statuses, (newest, unseen, going_on) = await asyncio.gather(
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
            verdict_banner(verdict(statuses, going_on, newest, now, context.knowledge, unseen)),
            [
                objective_card(status, going_on, hiding_objective(unseen, status.objective))
                for status in worst_first(statuses)
            ],
            budgets_note(statuses),
            figures.budget_burn_down(statuses, {s.objective.name: line_tone(s, going_on) for s in statuses}, now),
        )

    @callback(app, Output("overview-traffic", "children"), Input("url", "search"), Input("tick", "n_intervals"))
    async def show_traffic(search: str | None, _ticks: int | None) -> list[Component]:
        state = parse_state(search)
        return traffic_strip(*await asyncio.to_thread(_traffic, context, context.now(), state))

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


def verdict_banner(found: Verdict) -> Component:
    """The verdict with the next click."""
    icons = {"critical": "flame", "warning": "triangle-alert", "good": "circle-check", "unknown": "circle-dashed"}
    return html.Section(
        [
            html.Span(icon(icons[found.tone]), className="verdict-icon"),
            html.Div(
                [
                    html.H2(found.headline),
                    html.P([html.Strong(words) if strong else words for words, strong in found.details]),
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
    burn = "burn —" if status.burn_rate is None else f"burn {text.significant(status.burn_rate, 2)}×"
    body = [
        html.Div(
            [
                icon(known_icon, f"tone-{icon_tone}"),
                html.H3(objective.service, className="clip"),
                state_badge(word, badge_tone, None, hidden),
            ],
            className="card-head",
        ),
        html.Div(text.objective_title(objective), className="card-objective"),
        html.Div(
            [html.Span(text.percent_floor(status.budget_left_ratio), className="card-budget"), html.Span("budget left")]
        ),
        spark(status.budget_left_history, tone, low=0.0, high=1.0),
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
                    title="Errors of the last hour over the errors that spend the budget exactly in the window",
                ),
            ],
            className="card-foot",
        ),
    ]
    classes = f"card tone-{tone}" if hidden is None else f"card greyed tone-{tone}"
    if burning is not None:
        return page_link(body, incident_path(burning.id), classes)
    return html.Article(body, className=classes)


def budgets_note(statuses: Sequence[SloStatus]) -> str:
    """`30-day window, all objectives`."""
    days = sorted({status.objective.window_days for status in statuses})
    return f"{' and '.join(str(number) for number in days)}-day window" if days else ""


def traffic_strip(traffic: Traffic | None, hidden: Gap | None = None) -> list[Component]:
    """Requests, errors, latency and tokens: now, against their usual level in the range, and their course.

    Args:
        traffic: None where there is none.
        hidden: the gap since which none is seen; the traffic is that of before.
    """
    if traffic is None:
        return []
    as_of = "" if hidden is None else f" {hidden.as_of.partition(',')[0]}"
    basis = (
        f"Over the {text.lasting(traffic.step_s)} to {text.clock_seconds(traffic.end)} UTC; "
        "the change is against the median of the range"
    )
    return [
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


# -- Reading -------------------------------------------------------------------------------------------------------


def _statuses(context: PageContext, now: datetime, service: str | None) -> list[SloStatus]:
    objectives = [objective for objective in context.objectives() if service in (None, objective.service)]
    return list(slo_statuses(context.store, objectives, now, context.counts))


def _going_on(store: Store, now: datetime, service: str | None) -> list[Incident]:
    return read_incidents(store, Window(now - timedelta(days=7), now), service=service, status=Status.OPEN)


def _seen(
    context: PageContext, now: datetime, service: str | None
) -> tuple[dict[str, datetime | None], list[Gap], list[Incident]]:
    """The newest data of each kind, what is not seen, and the incidents that go on by what was seen last."""
    newest = read_freshness(context.store, now)
    unseen = context.unseen(newest, now, service)
    return newest, unseen, [*_going_on(context.store, now, service), *_hidden_ends(context, unseen, now, service)]


def _hidden_ends(context: PageContext, unseen: Sequence[Gap], now: datetime, service: str | None) -> list[Incident]:
    """The incidents that count as over only because nothing came in any more."""
    silent = [gap.since for gap in unseen if gap.of == REQUESTS]
    if not silent:
        return []
    calm = context.analysis.spikes.calm
    lately = read_incidents(context.store, Window(min(silent) - calm, now), service=service, status=Status.RESOLVED)
    return [one for one in lately if hiding_end(unseen, one, calm) is not None]


def _traffic(context: PageContext, now: datetime, state: PageState) -> tuple[Traffic | None, Gap | None]:
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
    return traffic_of(store, until, state.range(OVERVIEW_RANGE), names, focus=focus, indicator=indicator), hidden


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
    window, step_s = state.window(now, OVERVIEW_RANGE), state.range(OVERVIEW_RANGE).step_s
    activity, shown_step_s = at_cadence(read_activity(store, window, read_gpus(store, window), step_s), step_s)
    incidents = read_incidents(store, window, service=state.service)
    hidden = hiding(context.read_unseen(now), (SAMPLES,))
    note = f"{'' if hidden is None else f'{hidden.as_of}; '}by node; warm is idle, a gap is no sample"
    return note, figures.gpu_activity(activity, window=window, step_s=shown_step_s, incidents=incidents)


def _explained(context: PageContext, state: PageState) -> Component | None:
    store, now, window = context.store, context.now(), state.explain
    service, indicator = _focus(store, now, state, _services(store, now, state))
    if window is None or service is None:
        return None
    found = explain_window(store, service, window, indicator, context.analysis)
    return explained_window(window, found, indicator, context.knowledge, "/", state, service)


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
    trouble = [i.service for i in _going_on(store, now, state.service) if i.service in set(totals["service"])]
    service = trouble[0] if trouble else str(totals["service"][0])
    with_ttft = totals.filter(pl.col("service") == service)["requests_with_ttft"][0]
    return service, Indicator.TTFT if with_ttft else Indicator.LATENCY
