"""One incident: how bad, why, what moved with it, where, whom it hit, and the traces to open."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics import jobs
from analytics.scope import contrast, stage_split
from dashboards import figures, text
from dashboards.components import badge, chart, empty_state, fact, figure_of, icon, page_link, panel
from dashboards.context import PageContext
from dashboards.explanation import explained_window, why
from dashboards.severity import SEVERITIES
from dashboards.state import PageState, incident_id_of, incident_path, parse_state
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Status
from domain.window import Window
from storage.readers import read_incident, read_latency, read_requests, read_samples, read_series
from storage.store import Store

_GPU_ACTIVITY = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
_BEFORE_S_MIN, _BEFORE_S_MAX = 1_800, 21_600
_AFTER_S = 600
_STEPS_MAX = 240
_ROLLUP_STEP_S = 15
_REQUESTS_S_MAX = 1_800
_REQUESTS_MAX = 200_000
_DIMENSIONS = ("replica", "node", "tenant", "version", "input_tokens")
_VALUES_MAX = 4
_TRACES_MAX = 8
_STAGES = (("queue_ms", "queue"), ("prefill_ms", "prefill"), ("transfer_ms", "transfer"), ("decode_ms", "decode"))
_DIMENSION_TITLES = {"input_tokens": "Prompt tokens"}


def layout() -> Component:
    """Where things are; all of it is filled by callbacks."""
    return html.Div(
        [
            html.Div(id="incident-head"),
            html.Div(id="incident-impact", className="strip"),
            html.Div(id="incident-explained"),
            html.Div(
                [
                    html.Div(
                        [
                            panel(
                                html.Span("p99", id="incident-latency-title"),
                                chart("incident-latency", 250, selectable=True),
                                note="with p50 and the usual level",
                                aside="Drag to explain another window",
                            ),
                            panel("What moved with it", chart("incident-evidence", 360), note="same time axis"),
                        ],
                        className="stack",
                    ),
                    html.Div(
                        [
                            panel(
                                "Why",
                                html.Div(id="incident-why"),
                                note=html.Span(id="incident-why-note"),
                                class_name="why",
                            ),
                            panel(
                                "Where",
                                html.Div(id="incident-where"),
                                note="GPU activity during the spike",
                                class_name="where",
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

    @app.callback(
        Output("incident-head", "children"),
        Output("incident-impact", "children"),
        Output("incident-why-note", "children"),
        Output("incident-why", "children"),
        Input("url", "pathname"),
        Input("tick", "n_intervals"),
    )
    async def show_incident(path: str | None, _ticks: int | None) -> tuple[Any, ...]:
        incident = await _read(store, path)
        if incident is None:
            return no_such_incident(path), [], "", []
        now = context.now()
        return head(incident, now), impact(incident), why_note(incident, now), why(incident.explanation)

    @app.callback(
        Output("incident-latency-title", "children"),
        Output(figure_of("incident-latency"), "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_latency(path: str | None, search: str | None, _ticks: int | None) -> tuple[str, figures.Figure]:
        incident = await _read(store, path)
        if incident is None:
            return "p99", figures.empty("")
        return (
            f"{text.INDICATORS[incident.indicator]} p99",
            await asyncio.to_thread(_latency, context, incident, parse_state(search).explain),
        )

    @app.callback(
        Output(figure_of("incident-evidence"), "data"), Input("url", "pathname"), Input("tick", "n_intervals")
    )
    async def show_evidence(path: str | None, _ticks: int | None) -> figures.Figure:
        incident = await _read(store, path)
        if incident is None:
            return figures.empty("")
        window, step_s = pinned_window(incident, context.now())
        series = await asyncio.to_thread(jobs.evidence_series, store, incident, window, step_s)
        return figures.evidence_multiples(series, incident, window=window)

    @app.callback(Output("incident-where", "children"), Input("url", "pathname"), Input("tick", "n_intervals"))
    async def show_where(path: str | None, _ticks: int | None) -> Component | None:
        incident = await _read(store, path)
        return await asyncio.to_thread(_where, context, incident) if incident else None

    @app.callback(Output("incident-requests", "children"), Input("url", "pathname"), Input("tick", "n_intervals"))
    async def show_requests(path: str | None, _ticks: int | None) -> list[Component]:
        incident = await _read(store, path)
        return await asyncio.to_thread(_requests, context, incident) if incident else []

    @app.callback(Output("incident-explained", "children"), Input("url", "pathname"), Input("url", "search"))
    async def show_explained(path: str | None, search: str | None) -> Component | None:
        state, incident = parse_state(search), await _read(store, path)
        if incident is None or state.explain is None:
            return None
        found = await asyncio.to_thread(jobs.explain_window, store, incident.service, state.explain, incident.indicator)
        what = f"{incident.service}, {text.INDICATORS[incident.indicator]}"
        return explained_window(state.explain, found, incident_path(incident.id), state, what)


# -- Pieces, from what was read ------------------------------------------------------------------------------------


def pinned_window(incident: Incident, now: datetime) -> tuple[Window, int]:
    """The time around an incident that its page shows, and the step (s, a multiple of 15) for at most 240 columns.

    As long before as it lasted, half an hour at least, and ten minutes after its end, but not beyond now.
    """
    end = min(now, (incident.ended_at or now) + timedelta(seconds=_AFTER_S))
    end = max(end, incident.started_at + timedelta(seconds=60))
    lasted_s = (end - incident.started_at).total_seconds()
    before_s = min(max(lasted_s, _BEFORE_S_MIN), _BEFORE_S_MAX)
    step_s = _ROLLUP_STEP_S * max(1, -(-int(before_s + lasted_s) // (_ROLLUP_STEP_S * _STEPS_MAX)))
    start_s = (incident.started_at.timestamp() - before_s) // step_s * step_s
    return Window(datetime.fromtimestamp(start_s, incident.started_at.tzinfo), end), step_s


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


def head(incident: Incident, now: datetime) -> Component:
    """What it is, since when, and what to do with it."""
    word, tone, icon_name = SEVERITIES[incident.severity]
    going_on = incident.status is Status.OPEN
    facts = [
        (
            "Began",
            f"{text.clock_seconds(incident.started_at)} UTC",
            f"{incident.started_at.day} {incident.started_at:%b %Y}",
        ),
        ("Lasting" if going_on else "Lasted", text.lasting(text.incident_lasted(incident, now).total_seconds()), ""),
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
                                    "Ongoing" if going_on else "Resolved",
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


def impact(incident: Incident) -> list[Component]:
    """How many it hit and what it cost; what is not known has no number."""
    facts = [
        fact(
            "Slow or failed requests",
            text.count(incident.slow_requests_count),
            f"{text.percent(incident.slow_requests_ratio, 2)} of all",
        ),
        fact(
            f"{text.INDICATORS[incident.indicator]} p99",
            text.duration_ms(incident.peak_ms_p99),
            f"usually {text.duration_ms(incident.baseline_ms_p99)}",
        ),
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
    if incident.cost_usd is not None:
        facts.append(fact("GPU time wasted", f"${incident.cost_usd:,.0f}"))
    return facts


def why_note(incident: Incident, now: datetime) -> str:
    """Which time the causes speak of."""
    end = "now" if incident.ended_at is None else text.since(incident.ended_at, now)
    return f"{text.since(incident.started_at, now)} to {end} UTC, against the time before"


def gpu_tiles(activity: pl.DataFrame, affected: frozenset[str]) -> Component:
    """One row a node, one tile a GPU, as dark as it was busy; what the cause sits on has a frame.

    Args:
        activity: columns node, gpu, ratio (0-1, null where there was no sample).
        affected: names of GPUs and nodes.
    """
    if activity.is_empty():
        return html.P("No GPU metrics in this time.", className="calm")
    rows = []
    for (node,), gpus in activity.sort("node", "gpu", nulls_last=True).group_by(["node"], maintain_order=True):
        name = str(node or "unknown node")
        tiles = [
            html.Span(
                className=f"tile {'tile-affected' if gpu in affected else ''} {'tile-unknown' if ratio is None else ''}".strip(),
                style={} if ratio is None else {"--busy": f"{ratio * 100:.0f}%"},
                title=f"{name} GPU {index}: " + ("no sample" if ratio is None else f"{text.percent(ratio, 2)} busy"),
            )
            for index, (gpu, ratio) in enumerate(gpus.select("gpu", "ratio").iter_rows())
        ]
        rows.append(
            html.Div(
                [html.Code(name, className="clip", title=name), html.Span(tiles, className="tiles")],
                className="node node-affected" if name in affected else "node",
            )
        )
    label = f"{activity.height} GPUs on {len(rows)} nodes; affected: {', '.join(sorted(affected)) or 'none known'}"
    return html.Div(rows, className="nodes", role="img", **{"aria-label": label})


def affected_names(cause_entity: Entity, series: pl.DataFrame) -> frozenset[str]:
    """The GPUs and nodes that an entity is, sits on or belongs to, as the series' labels tell."""
    column = {EntityKind.GPU: "gpu", EntityKind.REPLICA: "replica", EntityKind.SERVICE: None}.get(
        cause_entity.kind, "node"
    )
    if column is None:
        return frozenset()
    name = cause_entity.name.split("/", 1)[0] if column == "node" else cause_entity.name
    hit = series.filter(pl.col(column) == name)
    names = {name, *hit["gpu"].drop_nulls()}
    return frozenset(names if column == "node" else names | set())


def in_common(table: pl.DataFrame, note: str) -> Component:
    """What slow requests share and the others do not.

    Args:
        table: of `analytics.scope.contrast`; a dimension that no request names is left out.
        note: what counts as slow.
    """
    groups = []
    for (dimension,), told in table.group_by(["dimension"], maintain_order=True):
        if told["value"].to_list() == ["not known"]:
            continue
        lines = [
            _pair(value, slow, rest)
            for value, slow, rest in told.head(_VALUES_MAX).select("value", "slow_ratio", "rest_ratio").iter_rows()
        ]
        others = told.slice(_VALUES_MAX)
        if others.height:
            lines.append(
                _pair(f"{others.height} more", float(others["slow_ratio"].sum()), float(others["rest_ratio"].sum()))
            )
        groups.append(
            html.Div(
                [html.H3(_DIMENSION_TITLES.get(dimension, dimension.capitalize())), html.Dl(lines)],
                className="contrast",
            )
        )
    legend = [
        html.Span(className="swatch swatch-accent"),
        "slow",
        html.Span(className="swatch swatch-rest"),
        "the rest",
    ]
    return panel("What slow requests have in common", html.Div(groups, className="contrasts"), note=note, aside=legend)


def traces_table(slowest: pl.DataFrame, indicator: Indicator, exemplars: Sequence[str]) -> Component:
    """The slowest requests with where their time went.

    Args:
        slowest: columns trace_id, latency_ms, ttft_ms, queue_ms, prefill_ms, transfer_ms, decode_ms, node, replica, tenant, input_tokens.
        indicator: which time counts.
        exemplars: trace ids that the incident itself names.
    """
    column = "ttft_ms" if indicator is Indicator.TTFT else "latency_ms"
    stages = [
        stage
        for stage in _STAGES
        if stage[0] in slowest.columns and (indicator is not Indicator.TTFT or stage[0] != "decode_ms")
    ]
    longest = slowest[column].max() if slowest.height else None
    heads = ("Trace", text.INDICATORS[indicator], "Where the time went", "Replica", "Tenant", "Prompt tokens")
    rows = [
        html.Tr(
            [
                html.Td(
                    [html.Code(row["trace_id"]), badge("example", "calm") if row["trace_id"] in exemplars else None]
                ),
                html.Td(text.duration_ms(row[column]), className="number"),
                html.Td(_split_bar(row, stages, longest)),
                html.Td(html.Code(row["replica"] or text.UNKNOWN)),
                html.Td(row["tenant"] or text.UNKNOWN),
                html.Td(text.count(row["input_tokens"]), className="number"),
            ]
        )
        for row in slowest.iter_rows(named=True)
    ]
    legend = [part for _, name in stages for part in (html.Span(className=f"swatch stage-{name}"), name)]
    return panel(
        "Slowest traces",
        html.Div(
            html.Table(
                [
                    html.Thead(
                        html.Tr(
                            [
                                html.Th(name, scope="col", className="number" if index in (1, 5) else "")
                                for index, name in enumerate(heads)
                            ]
                        )
                    ),
                    html.Tbody(rows),
                ]
            ),
            className="table",
        ),
        note="of the incident",
        aside=legend,
    )


def _pair(name: str, slow_ratio: float, rest_ratio: float) -> Component:
    standing_out = slow_ratio - rest_ratio > 0.2
    return html.Div(
        [
            html.Dt(name, className="clip", title=name),
            html.Dd(
                [
                    html.Span(className="bar-slow", style={"width": f"{slow_ratio:.1%}"}),
                    html.Span(className="bar-rest", style={"width": f"{rest_ratio:.1%}"}),
                ],
                className="bars",
            ),
            html.Dd(
                text.percent(slow_ratio, 2),
                className="share",
                title=f"{text.percent(slow_ratio, 2)} of slow requests, {text.percent(rest_ratio, 2)} of the rest",
            ),
        ],
        className="pair standing-out" if standing_out else "pair",
    )


def _split_bar(row: dict[str, Any], stages: Sequence[tuple[str, str]], longest: Any) -> Component:
    known = [(name, row[column]) for column, name in stages if row[column] is not None and row[column] > 0]
    if not known or not longest:
        return html.Span("not told", className="note")
    return html.Div(
        [
            html.Span(
                className=f"stage-{name}",
                style={"width": f"{value / longest:.1%}"},
                title=f"{name} {text.duration_ms(value)}",
            )
            for name, value in known
        ],
        className="split",
        role="img",
        **{"aria-label": ", ".join(f"{name} {text.duration_ms(value)}" for name, value in known)},
    )


# -- Reading -------------------------------------------------------------------------------------------------------


async def _read(store: Store, path: str | None) -> Incident | None:
    incident_id = incident_id_of(path)
    return await asyncio.to_thread(read_incident, store, incident_id) if incident_id else None


def _threshold_ms(context: PageContext, incident: Incident) -> float | None:
    matching = (o for o in context.objectives() if (o.service, o.indicator) == (incident.service, incident.indicator))
    return next((objective.threshold_ms for objective in matching), None)


def _latency(context: PageContext, incident: Incident, explained: Window | None) -> figures.Figure:
    window, step_s = pinned_window(incident, context.now())
    prefix = "ttft_ms" if incident.indicator is Indicator.TTFT else "latency_ms"
    frame = read_latency(context.store, window, incident.service, step_s, by=("model",))
    percentiles = frame.filter(pl.col("model").eq_missing(incident.model)).select(
        "time", p50_ms=f"{prefix}_p50", p99_ms=f"{prefix}_p99"
    )
    return figures.incident_latency(
        percentiles, incident, window=window, threshold_ms=_threshold_ms(context, incident), explained=explained
    )


def _where(context: PageContext, incident: Incident) -> Component:
    store, now = context.store, context.now()
    window = Window(incident.started_at, max(incident.ended_at or now, incident.started_at + timedelta(seconds=60)))
    series = read_series(store, window, [_GPU_ACTIVITY])
    samples = read_samples(store, window, series, max(60, int(window.seconds)))
    means = samples.group_by("series_id").agg(pl.col("mean").mean().alias("ratio"))
    activity = series.join(means, on="series_id", how="left").select("node", "gpu", "ratio")
    return gpu_tiles(activity, affected_names(incident.cause.entity, series))


def _requests(context: PageContext, incident: Incident) -> list[Component]:
    now = context.now()
    end = min(incident.ended_at or now, incident.started_at + timedelta(seconds=_REQUESTS_S_MAX))
    window = Window(incident.started_at, max(end, incident.started_at + timedelta(seconds=60)))
    requests = read_requests(context.store, window, incident.service, _REQUESTS_MAX)
    if incident.model is not None:
        requests = requests.filter(pl.col("model") == incident.model)
    if requests.is_empty():
        return []
    column = "ttft_ms" if incident.indicator is Indicator.TTFT else "latency_ms"
    threshold_ms = _threshold_ms(context, incident)
    slow_over_ms = incident.baseline_ms_p99 if threshold_ms is None else threshold_ms
    meaning = "the usual p99" if threshold_ms is None else "the objective"
    shared = contrast(requests, slow_over_ms, incident.indicator, _DIMENSIONS)
    slowest = stage_split(requests).sort(column, descending=True, nulls_last=True).head(_TRACES_MAX)
    return [
        in_common(shared, f"slow is over {meaning}, {text.duration_ms(slow_over_ms)}"),
        traces_table(slowest, incident.indicator, incident.exemplar_trace_ids),
    ]
