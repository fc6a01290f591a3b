"""The fleet: all GPUs and all ports as they are now, what is in trouble, and the way to each of them."""

import asyncio
from datetime import datetime
from typing import Any

from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.hardware import GpuNow, PortNow, gpu_totals, worst_gpus
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import panel
from dashboards.context import PageContext
from dashboards.fleet_map import MEASURES, choices, fleet_map, legend, measure_of
from dashboards.fleet_parts import gpu_facts, no_hardware, node_filter, port_facts, ports_table, troubles
from dashboards.freshness import Gap
from dashboards.hardware_reading import HardwareReader, fleet_window
from dashboards.state import PageState, parse_state


def layout() -> Component:
    """Where things are; all of it is filled by callbacks."""
    return html.Div(
        [
            html.Header([html.H1("Fleet"), html.Span(id="fleet-now", className="note")], className="page-head"),
            html.Div(id="fleet-empty", className="fleet-empty"),
            html.Div(
                [html.Div(id="fleet-gpu-facts", className="facts"), html.Div(id="fleet-port-facts", className="facts")],
                className="strip",
            ),
            html.Div(id="fleet-troubles"),
            panel(
                "GPUs",
                [html.Div(id="fleet-choices", className="fleet-choices"), html.Div(id="fleet-map")],
                note=html.Span(id="fleet-map-note"),
            ),
            panel("Fabric", html.Div(id="fleet-ports"), note=html.Span(id="fleet-ports-note")),
        ],
        className="fleet",
    )


def register(app: Dash, context: PageContext, reader: HardwareReader) -> None:
    """The callbacks of this page."""

    @callback(
        app,
        Output("fleet-now", "children"),
        Output("fleet-gpu-facts", "children"),
        Output("fleet-troubles", "children"),
        Output("fleet-map-note", "children"),
        Output("fleet-choices", "children"),
        Output("fleet-map", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_gpus(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        return await asyncio.to_thread(_gpus, context, reader, parse_state(search))

    @callback(
        app,
        Output("fleet-port-facts", "children"),
        Output("fleet-ports-note", "children"),
        Output("fleet-ports", "children"),
        Output("fleet-empty", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_ports(search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        return await asyncio.to_thread(_ports, context, reader, parse_state(search))


def _gpus(context: PageContext, reader: HardwareReader, state: PageState) -> tuple[Any, ...]:
    hidden, now = reader.hidden(), context.now()
    at = now if hidden is None else hidden.since
    gpus = reader.gpus(hidden)
    shown = [one for one in gpus if state.node in (None, one.gpu.node)]
    totals = gpu_totals(shown)
    return (
        _now_words(now, hidden),
        gpu_facts(totals, _as_of(hidden)),
        troubles(worst_gpus(shown), totals, state, at),
        gpus_note(shown, state),
        [*choices(state), node_filter(state), legend(MEASURES[measure_of(state)], shown)] if gpus else [],
        fleet_map(shown, state, at) if shown else html.P(nothing_words(state, gpus), className="calm"),
    )


def gpus_note(gpus: list[GpuNow], state: PageState) -> str:
    """What a cell is, and its number."""
    if not gpus:
        return ""
    measure = MEASURES[measure_of(state)]
    return f"one row a node, one cell a GPU; {measure.title.lower()} in {measure.unit}, the newest value"


def nothing_words(state: PageState, gpus: tuple[GpuNow, ...]) -> str:
    """Why there is no picture."""
    if gpus:
        return f"{state.node} has no GPU that was heard of within a day."
    return "No GPU has told anything within a day: dcgm-exporter tells of them (docs/sources/dcgm.md)."


def _ports(context: PageContext, reader: HardwareReader, state: PageState) -> tuple[Any, ...]:
    hidden, now = reader.hidden(), context.now()
    at = now if hidden is None else hidden.since
    ports = reader.ports(state, hidden)
    shown = [one for one in ports if state.node is None or _concerns(one, state.node)]
    lasting = text.lasting(fleet_window(state, at).seconds)
    empty = no_hardware() if not ports and not reader.gpus(hidden) else None
    return (
        port_facts(shown, _as_of(hidden)),
        f"the worst first; throughput and waiting are of the last minutes, errors of the last {lasting}",
        ports_table(shown, state, lasting, at),
        empty,
    )


def _concerns(one: PortNow, node: str) -> bool:
    """Is it a port of the node, or one that leads to it."""
    return one.port.device == node or (one.far_end is not None and one.far_end.name.partition("/")[0] == node)


def _now_words(now: datetime, hidden: Gap | None) -> str:
    told = f"{text.day_and_clock(now)} UTC"
    return told if hidden is None else f"{told}; all of it {hidden.as_of}"


def _as_of(hidden: Gap | None) -> str:
    return "" if hidden is None else hidden.as_of.partition(",")[0]
