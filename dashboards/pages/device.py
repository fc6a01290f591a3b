"""One GPU or one port: how it is, why, how it went, and which incidents were at that time."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.hardware import GpuNow, PortNow, Trouble
from analytics.jobs.hardware import device_course, read_gpus_now, read_ports_now
from analytics.knowledge import Knowledge
from analytics.signals import Grid
from dashboards import figures, text
from dashboards.callbacks import callback
from dashboards.components import badge, chart, empty_state, fact, figure_of, icon, page_link, panel
from dashboards.context import PageContext
from dashboards.device_figures import device_multiples
from dashboards.fleet_parts import port_badge
from dashboards.fleet_words import (
    TONES,
    error_words,
    gigabits,
    gpu_title,
    of_memory,
    since_words,
    state_title,
    throughput_bytes_per_s,
    watts,
)
from dashboards.freshness import SAMPLES, hiding
from dashboards.icons import ENTITY_ICONS
from dashboards.severity import SEVERITIES
from dashboards.state import FLEET_RANGE, PageState, device_of, incident_path, link, parse_state, port_path
from domain.entity import Entity, EntityKind
from domain.incident import Incident
from domain.wording import sentence
from storage.incidents import read_incidents

_INCIDENTS_MOST = 8


def layout() -> Component:
    """Where things are; all of it is filled by callbacks."""
    return html.Div(
        [
            html.Div(id="device-head"),
            html.Div(id="device-facts", className="strip"),
            html.Div(id="device-troubles"),
            panel("Signals", chart("device", 480), note=html.Span(id="device-note")),
            html.Div(id="device-incidents"),
        ],
        className="device",
    )


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of this page."""

    @callback(
        app,
        Output("device-head", "children"),
        Output("device-facts", "children"),
        Output("device-troubles", "children"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_device(path: str | None, search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        named = device_of(path)
        if named is None:
            return None, [], None
        return await asyncio.to_thread(_device, context, *named, parse_state(search))

    @callback(
        app,
        Output("device-note", "children"),
        Output(figure_of("device"), "data"),
        Output("device-incidents", "children"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_course(path: str | None, search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        named = device_of(path)
        if named is None:
            return "", figures.empty(""), None
        return await asyncio.to_thread(_course, context, *named, parse_state(search))


# -- Pieces, from what was read ------------------------------------------------------------------------------------


def no_such_device(entity: Entity, state: PageState) -> Component:
    """For a link to what was not heard of within a day."""
    title = f"No such {text.entity_title(entity.kind)} was heard of within a day"
    return empty_state(
        "circle-question-mark",
        title,
        [html.Code(entity.name), page_link("See the fleet", link("/fleet", _elsewhere(state)), "button")],
    )


def gpu_head(one: GpuNow, state: PageState) -> Component:
    """What a GPU is, and where."""
    runs = one.workload
    facts = [
        ("Node", page_link(one.gpu.node, link("/fleet", PageState(state.range_name, node=one.gpu.node)))),
        ("UUID", html.Code(one.name)),
        ("Model", one.gpu.model),
        ("Replica", runs.replica),
        ("Serves", " of ".join(filter(None, (runs.model, runs.service)))),
        ("Pool", runs.pool),
    ]
    return _head(EntityKind.GPU, f"{one.gpu.node} {gpu_title(one)}", _badges(one.troubles), facts, state)


def port_head(one: PortNow, state: PageState) -> Component:
    """What a port is, and where it leads."""
    far = one.far_end
    facts = [
        ("Device", page_link(one.port.device, link("/fleet", PageState(state.range_name, node=one.port.device)))),
        (
            "Other end",
            page_link(html.Code(far.name), link(port_path(far), _elsewhere(state)), "device-link")
            if far is not None
            else "not known",
        ),
        ("Rate", gigabits(one.rate_bytes_per_s)),
    ]
    return _head(EntityKind.PORT, one.name, [port_badge(one)], facts, state)


def _head(
    kind: EntityKind,
    title: str,
    badges: Sequence[Component],
    facts: Sequence[tuple[str, str | Component | None]],
    state: PageState,
) -> Component:
    kind_words = sentence(text.entity_title(kind))
    marks = [icon(ENTITY_ICONS[kind]), html.Span(kind_words, className="note"), *badges]
    return html.Header(
        [
            html.Div(
                [
                    html.Div(marks, className="incident-marks"),
                    html.H1(title),
                    html.Dl(
                        [html.Div([html.Dt(label), html.Dd(value)]) for label, value in facts if value],
                        className="incident-facts",
                    ),
                ]
            ),
            html.Div(page_link("All of the fleet", link("/fleet", _elsewhere(state)), "button"), className="actions"),
        ],
        className="incident-head",
    )


def _badges(troubles: Sequence[Trouble]) -> list[Component]:
    if not troubles:
        return [badge("OK", "good", "circle-check")]
    return [badge(state_title(one), *TONES[one.grade]) for one in troubles]


def gpu_numbers(one: GpuNow) -> list[Component]:
    """The newest numbers of a GPU."""
    if one.is_silent:
        return []
    told = one.levels
    used = text.UNKNOWN if told.memory_used_ratio is None else text.percent_whole(told.memory_used_ratio)
    hot = "" if told.memory_temperature_celsius is None else f"memory {told.memory_temperature_celsius:.0f} °C"
    return [
        fact("Utilisation", text.percent(told.utilization_ratio, 2)),
        fact("Tensor cores", text.percent(told.tensor_ratio, 2)),
        fact("Memory used", used, of_memory(told.memory_used_mib, told.memory_total_mib)),
        fact(
            "Temperature",
            text.UNKNOWN if told.temperature_celsius is None else f"{told.temperature_celsius:.0f} °C",
            hot,
        ),
        fact("Power", watts(told.power_watts), told.power_limit_watts and f"of {watts(told.power_limit_watts)}"),
    ]


def port_numbers(one: PortNow, lasting: str) -> list[Component]:
    """The newest numbers of a port, and its errors."""
    return [
        fact("Throughput", gigabits(throughput_bytes_per_s(one)), f"of {gigabits(one.rate_bytes_per_s)}"),
        fact("Share of the rate", text.percent(one.utilization_ratio, 2)),
        fact("Waits to transmit", text.percent(one.wait_ratio, 2), "of the time"),
        fact(f"Errors in {lasting}", text.count(round(sum(one.errors.values()))), error_words(one.errors)),
    ]


def why(troubles: Sequence[Trouble], silent_since: datetime | None, now: datetime) -> Component | None:
    """What ails it, the worst first; None where nothing does."""
    if not troubles:
        return None
    items = []
    for one in troubles:
        tone, icon_name = TONES[one.grade]
        since = since_words(one, now) or (f"since {text.since(silent_since, now)}" if silent_since else "")
        items.append(
            html.Li(
                [
                    icon(icon_name, f"tone-{tone}"),
                    html.Span([html.Strong(state_title(one)), f" {since}: ".replace("  ", " "), one.reason]),
                    page_link("Open incident", incident_path(one.incident), "device-link") if one.incident else None,
                ]
            )
        )
    return panel("What ails it", html.Ul(items, className="ails"))


def incident_list(incidents: Sequence[tuple[Incident, str]], knowledge: Knowledge) -> Component | None:
    """The incidents of that time, each with how it names the device; None where there are none."""
    if not incidents:
        return None
    rows = []
    for one, named in incidents:
        word, tone, icon_name = SEVERITIES[one.severity]
        rows.append(
            html.Li(
                [
                    badge(word, tone, icon_name),
                    page_link(text.incident_title(one), incident_path(one.id), "device-link"),
                    html.Span(
                        f"{text.clock(one.started_at)} to {text.clock(one.ended_at) if one.ended_at else 'now'} UTC, "
                        f"{text.likely_cause(one, knowledge)}",
                        className="note",
                    ),
                    badge(named, "critical", None) if named else None,
                ]
            )
        )
    return panel("Incidents in this time", html.Ul(rows, className="device-incidents"), note="shaded in the chart")


def naming_words(incident: Incident, device: str, node: str) -> str:
    """`names it`, `names its node`: what a cause of an incident, or a step of what it brought about, is; else empty."""
    causes = incident.explanation.causes
    named = {entity.name for cause in causes for entity in (cause.entity, *(step.entity for step in cause.chain))}
    if device in named:
        return "names it"
    return "names its node" if node in {name.partition("/")[0] for name in named} else ""


# -- Reading -------------------------------------------------------------------------------------------------------


def _seen_until(context: PageContext) -> datetime:
    """Now, or until when samples were seen."""
    now = context.now()
    hidden = hiding(context.read_unseen(now), (SAMPLES,))
    return now if hidden is None else hidden.since


def _device(context: PageContext, entity: Entity, node: str, state: PageState) -> tuple[Any, ...]:
    at = _seen_until(context)
    if entity.kind is EntityKind.GPU:
        gpu = next((one for one in read_gpus_now(context.store, at, node) if one.name == entity.name), None)
        if gpu is None:
            return no_such_device(entity, state), [], None
        return gpu_head(gpu, state), gpu_numbers(gpu), why(gpu.troubles, gpu.silent_since, at)
    window = state.window(at, FLEET_RANGE)
    found = read_ports_now(context.store, at, window, node)
    port = next((one for one in found if one.name == entity.name), None)
    if port is None:
        return no_such_device(entity, state), [], None
    numbers = port_numbers(port, text.lasting(state.range(FLEET_RANGE).seconds))
    return port_head(port, state), numbers, why(port.troubles, port.silent_since, at)


def _course(context: PageContext, entity: Entity, node: str, state: PageState) -> tuple[Any, ...]:
    at = _seen_until(context)
    window, step_s = state.window(at, FLEET_RANGE), max(state.range(FLEET_RANGE).step_s, 30)
    signals = device_course(context.store, entity, node, window, step_s, context.knowledge)
    grid = Grid(window, step_s)
    incidents = [(one, naming_words(one, entity.name, node)) for one in read_incidents(context.store, window)]
    shown = sorted(incidents, key=lambda pair: not pair[1])[:_INCIDENTS_MOST]
    return (
        text.window_words(window),
        device_multiples(
            signals,
            [grid.time(step) for step in range(grid.steps)],
            entity.kind,
            window=window,
            incidents=[one for one, _ in shown],
        ),
        incident_list(shown, context.knowledge),
    )


def _elsewhere(state: PageState) -> PageState:
    return PageState(range_name=state.range_name)
