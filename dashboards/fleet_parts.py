"""The parts of the fleet's page besides the picture: its head line, what is in trouble, ports, and what is missing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from dash import html
from dash.development.base_component import Component

from analytics.hardware import GpuNow, GpuTotals, Grade, PortNow, Trouble
from dashboards import text
from dashboards.components import badge, cell_of, empty_state, fact, icon, page_link, panel
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
    workload,
)
from dashboards.state import PageState, device_path, incident_path, link
from domain.entity import EntityKind

_TROUBLES_MOST, _PORTS_MOST = 12, 400
_STATES_NAMED = 2
_TROUBLE_HEADS = ("State", "GPU", "Why", "Runs")
_PORT_HEADS = ("State", "Port", "Other end", "Rate", "Throughput", "Waits", "Errors", "Why")
_WIDE = ("State", "Why", "Runs", "GPU", "Port", "Errors")

_SCRAPE = """collector:
  scrape:
    targets:
      - {job: dcgm-exporter, source: dcgm, url: "http://gpu-07-03:9400/metrics", labels: {node: gpu-07-03}}
      - {job: node-exporter, source: node, url: "http://gpu-07-03:9100/metrics", labels: {node: gpu-07-03}}"""


def no_hardware() -> Component:
    """What the page says where no GPU and no port was heard of within a day: what to configure."""
    return empty_state(
        "server",
        "No hardware metrics yet",
        [
            html.P(
                "GPUs are told by dcgm-exporter, ports by node_exporter (its infiniband collector) and by switches. "
                "Name them in the configuration, or send their metrics over OTLP:"
            ),
            html.Pre(_SCRAPE),
            html.P(["docs/sources says of each source how it is set up. ", page_link("What comes in now", "/data")]),
        ],
    )


def gpu_facts(totals: GpuTotals, hidden_words: str) -> list[Component]:
    """The GPUs in one line: how many, in trouble, how busy, memory, power."""
    if not totals.gpus:
        return [fact("GPUs", "none", "no DCGM metrics", title="dcgm-exporter tells of them")]
    silent = len(totals.silent_nodes)
    nodes = f"on {totals.nodes} node{'' if totals.nodes == 1 else 's'}"
    named = [f"{count} {state.value}" for state, count in totals.states.items()]
    troubles = ", ".join([*named[:_STATES_NAMED], *["…"] * (len(named) > _STATES_NAMED)])
    memory_ratio = (
        None if totals.memory_used_mib is None or not totals.memory_total_mib
        else totals.memory_used_mib / totals.memory_total_mib
    )  # fmt: skip
    as_of = f" {hidden_words}" if hidden_words else ""
    grey = "greyed" if hidden_words else ""
    return [
        fact(
            "GPUs",
            text.count(totals.gpus),
            [nodes, html.Span(f"{silent} silent", className="tone-warning") if silent else None],
            title=", ".join(totals.silent_nodes),
            class_name=grey,
        ),
        fact(
            f"GPUs in trouble{as_of}",
            text.count(totals.in_trouble),
            troubles,
            title=", ".join(named),
            class_name="toned tone-critical" if totals.in_trouble else grey,
        ),
        fact(f"Utilisation{as_of}", _percent(totals.utilization_ratio), "mean", class_name=grey),
        fact(
            f"GPU memory used{as_of}",
            _percent(memory_ratio),
            of_memory(totals.memory_used_mib, totals.memory_total_mib),
            class_name=grey,
        ),
        fact(
            f"Power{as_of}",
            watts(totals.power_watts),
            f"of {watts(totals.power_limit_watts)}" if totals.power_limit_watts else None,
            title="drawn by GPUs, of the sum of their limits",
            class_name=grey,
        ),
    ]


def port_facts(ports: Sequence[PortNow], hidden_words: str) -> list[Component]:
    """The ports in one number: how many are in trouble."""
    used = [one for one in ports if one.is_used]
    if not used:
        return []
    told = [one for one in used if one.troubles and one.says_something]
    faults = sum(one.grade is Grade.FAULT for one in told)
    tone = "critical" if faults else "warning" if told else ""
    as_of = f" {hidden_words}" if hidden_words else ""
    return [
        fact(
            f"Ports in trouble{as_of}",
            text.count(len(told)),
            f"of {text.count(len(used))}" + (f", {faults} at fault" if faults else ""),
            class_name=f"toned tone-{tone}" if tone else "greyed" if hidden_words else "",
        )
    ]


def _percent(ratio: float | None) -> str:
    return text.UNKNOWN if ratio is None else text.percent_whole(ratio)


# -- GPUs in trouble --------------------------------------------------------------------------------------------------


def troubles(
    found: Sequence[tuple[GpuNow, Trouble]], totals: GpuTotals, state: PageState, now: datetime
) -> Component | None:
    """The GPUs in trouble and the silent nodes, the worst first, with why; None where there are none."""
    rows = [_gpu_row(one, trouble, state, now) for one, trouble in found[:_TROUBLES_MOST]]
    rows += [_silent_row(node, since, state, now) for node, since in [*totals.silent_nodes.items()][:_TROUBLES_MOST]]
    if not rows:
        return None
    more = len(found) - _TROUBLES_MOST
    return panel(
        "In trouble",
        _table(_TROUBLE_HEADS, rows),
        note="the worst first" + (f"; {more} more GPUs in the picture below" if more > 0 else ""),
    )


def _gpu_row(one: GpuNow, trouble: Trouble, state: PageState, now: datetime) -> tuple[str | Component, ...]:
    tone, icon_name = TONES[trouble.grade]
    others = [state_title(other) for other in one.troubles[1:]]
    place = f"{one.gpu.node} {gpu_title(one)}"
    href = link(device_path(EntityKind.GPU, one.gpu.node, one.name), PageState(range_name=state.range_name))
    return (
        badge(state_title(trouble), tone, icon_name),
        html.Div(
            [page_link(place, href, "device-link unbroken"), html.Div(since_words(trouble, now), className="note")]
        ),
        html.Div(
            [
                trouble.reason,
                html.Span(f"; also {', '.join(others).lower()}", className="note") if others else None,
                page_link(" Open incident", incident_path(trouble.incident), "device-link")
                if trouble.incident
                else None,
            ]
        ),
        workload(one) or html.Span("nothing that is known", className="note"),
    )


def _silent_row(node: str, since: datetime, state: PageState, now: datetime) -> tuple[str | Component, ...]:
    lasts = text.lasting((now - since).total_seconds())
    return (
        badge("Silent node", "warning", "server-off"),
        page_link(node, link("/fleet", replace(state, node=node)), "device-link"),
        f"no GPU of it has told anything since {text.since(since, now)}, {lasts} ago",
        "",
    )


# -- Ports ------------------------------------------------------------------------------------------------------------


def ports_table(ports: Sequence[PortNow], state: PageState, lasting: str, now: datetime) -> Component:
    """The ports, the worst first: those that say something, or all where the address says so.

    Args:
        ports: the worst first.
        state: of the address.
        lasting: how long errors were counted, in words.
        now: when it is.
    """
    if not ports:
        return html.P(
            "No port has told anything within a day: node_exporter's infiniband collector and switches tell of them.",
            className="calm",
        )
    is_all = state.show == "all" or state.node is not None
    shown = [one for one in ports if is_all or one.says_something]
    rows = [_port_row(one, state, now) for one in shown[:_PORTS_MOST]]
    calm = html.P(f"No port is in trouble, and none counted many errors within {lasting}.", className="calm")
    hidden = len(ports) - len(shown)
    foot = f"Show all {text.count(len(ports))} ports" if hidden else ""
    if state.show == "all":
        foot = "Show only those that say something"
    cut = len(shown) - _PORTS_MOST
    return html.Div(
        [
            _table(_PORT_HEADS, rows, "ports") if rows else calm,
            html.P(f"and {cut} more: choose a node above", className="calm") if cut > 0 else None,
            html.P(
                page_link(foot, link("/fleet", replace(state, show=None if state.show else "all")), "button small"),
                className="ports-foot",
            )
            if foot
            else None,
        ]
    )


def _port_row(one: PortNow, state: PageState, now: datetime) -> tuple[str | Component, ...]:
    carried = throughput_bytes_per_s(one)
    href = link(device_path(EntityKind.PORT, one.port.device, one.port.name), PageState(range_name=state.range_name))
    return (
        port_badge(one),
        page_link([html.Code(one.port.device), " ", html.Code(one.port.name)], href, "device-link"),
        html.Code(one.far_end.name) if one.far_end is not None else html.Span("not known", className="note"),
        html.Span(gigabits(one.rate_bytes_per_s), className="unbroken"),
        _share(gigabits(carried), one.utilization_ratio),
        _share("", one.wait_ratio) if one.wait_ratio is not None else text.UNKNOWN,
        error_words(one.errors) or html.Span("none", className="note"),
        html.Span(port_reason(one, now), className="port-why"),
    )


def port_badge(one: PortNow) -> Component:
    """The state of a port in a word."""
    if not one.is_used:
        return badge("Not in use", "unknown", None)
    if not one.troubles:
        return badge("Errors", "warning", "triangle-alert") if one.has_many_errors else badge("OK", "calm", None)
    tone, icon_name = TONES[one.troubles[0].grade]
    return badge(state_title(one.troubles[0]), tone, icon_name)


def port_reason(one: PortNow, now: datetime) -> str:
    """Why it is in that state, and since when."""
    if not one.troubles or not one.is_used:
        return ""
    worst = one.troubles[0]
    if one.silent_since is not None and worst.grade is Grade.DOUBT:
        return f"{worst.reason}, since {text.since(one.silent_since, now)}"
    return " ".join(filter(None, (worst.reason, since_words(worst, now))))


def _share(words: str, ratio: float | None) -> Component:
    """A number with its share of what can be, as a bar and as per cent."""
    if ratio is None:
        return html.Span(words or text.UNKNOWN)
    told = f"{words} · {text.percent_whole(ratio)}" if words else text.percent_whole(ratio)
    return html.Div(
        [
            html.Span(told, className="number"),
            html.Span(html.Span(style={"width": f"{min(ratio, 1):.1%}"}), className="gauge", **{"aria-hidden": "true"}),
        ],
        className="share-cell",
    )


def node_filter(state: PageState) -> Component | None:
    """The node or switch that the page is narrowed to, with the way back."""
    if state.node is None:
        return None
    return html.Span(
        [
            html.Span(["only ", html.Strong(state.node)], className="clip"),
            page_link(
                icon("x"), link("/fleet", replace(state, node=None)), "plain-link", **{"aria-label": "All nodes"}
            ),
        ],
        className="filter",
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | Component]], name: str = "troubles") -> Component:
    head = html.Tr([html.Th(one, scope="col") for one in heads])
    body = [
        html.Tr([cell_of(one, cell, is_wide=one in _WIDE) for one, cell in zip(heads, row, strict=True)])
        for row in rows
    ]
    return html.Div(html.Table([html.Thead(head), html.Tbody(body)]), className=f"table listing {name}")
