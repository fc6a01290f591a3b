"""The picture of all GPUs: one row a node, one cell a GPU, coloured by a number, with a mark on those in trouble."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from dash import html
from dash.development.base_component import Component

from analytics.hardware import GpuLevels, GpuNow, Grade, silent_nodes, worst_nodes
from dashboards import text
from dashboards.components import page_link
from dashboards.fleet_words import gpu_title, levels, since_words, state_title, workload
from dashboards.state import PageState, device_path, link
from domain.entity import EntityKind

_ROOMY_NODES_MOST = 24  # so few are drawn with the number in each cell
_COOL_CELSIUS, _HOT_CELSIUS = 30.0, 95.0
_BOARD_WATTS = 1_000.0  # stands for the limit of a GPU that does not tell it
_BY_NAME = "name"
_UNBROKEN = "\N{NO-BREAK SPACE}"
_FIRST_MEASURE = "utilisation"


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that cells are coloured by.

    Attributes:
        title: what it is called.
        share: where a GPU stands on the scale (0-1); None for one that does not tell it.
        short: the number as it stands in a cell.
        unit: of that number.
        ends: what both ends of the scale are.
        is_work: is the low end idle, which costs money, rather than calm.
    """

    title: str
    share: Callable[[GpuLevels], float | None]
    short: Callable[[GpuLevels], str]
    unit: str
    ends: tuple[str, str]
    is_work: bool = False


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _per_cent(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio * 100:.0f}"


def _warmth(told: GpuLevels) -> float | None:
    celsius = told.temperature_celsius
    return None if celsius is None else (celsius - _COOL_CELSIUS) / (_HOT_CELSIUS - _COOL_CELSIUS)


def _draw(told: GpuLevels) -> float | None:
    if told.power_watts is None or told.power_ratio is not None:
        return told.power_ratio
    return told.power_watts / _BOARD_WATTS


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "utilisation": Measure(
            "Utilisation",
            lambda told: told.utilization_ratio,
            lambda told: _per_cent(told.utilization_ratio),
            "%",
            ("idle", "100 %"),
            is_work=True,
        ),
        "tensor": Measure(
            "Tensor cores",
            lambda told: told.tensor_ratio,
            lambda told: _per_cent(told.tensor_ratio),
            "%",
            ("idle", "100 %"),
            is_work=True,
        ),
        "memory": Measure(
            "Memory used",
            lambda told: told.memory_used_ratio,
            lambda told: _per_cent(told.memory_used_ratio),
            "%",
            ("0 %", "100 %"),
        ),
        "temperature": Measure(
            "Temperature",
            _warmth,
            lambda told: _whole(told.temperature_celsius),
            "°C",
            (f"{_COOL_CELSIUS:.0f} °C", f"{_HOT_CELSIUS:.0f} °C"),
        ),
        "power": Measure("Power", _draw, lambda told: _whole(told.power_watts), "W", ("0 W", "the limit")),
    }
)


def measure_of(state: PageState) -> str:
    """The measure that the address asks for; utilisation where it asks for none that there is."""
    return next((key for key in MEASURES if key == state.by), _FIRST_MEASURE)


def choices(state: PageState) -> list[Component]:
    """What to colour by, and in which order."""
    chosen, by_name = measure_of(state), state.sort == _BY_NAME
    measures = [_choice(one.title, replace(state, by=key), is_chosen=key == chosen) for key, one in MEASURES.items()]
    orders = [
        _choice("Worst first", replace(state, sort=None), is_chosen=not by_name),
        _choice("By name", replace(state, sort=_BY_NAME), is_chosen=by_name),
    ]
    return [
        html.Nav(measures, className="segments", **{"aria-label": "Coloured by"}),
        html.Nav(orders, className="segments", **{"aria-label": "Order of the nodes"}),
    ]


def _choice(title: str, state: PageState, *, is_chosen: bool) -> Component:
    return page_link(title, link("/fleet", state), "range", **({"aria-current": "true"} if is_chosen else {}))


def legend(measure: Measure, gpus: Sequence[GpuNow]) -> Component:
    """The scale in words, and what the marks mean that are there."""
    grades = {one.grade for one in gpus if not one.is_silent}
    meanings = {Grade.FAULT: "fault", Grade.STRAIN: "strained", Grade.DOUBT: "in doubt"}
    marks = [
        html.Span([html.Span(className=f"legend-mark mark-{grade}"), words])
        for grade, words in meanings.items()
        if grade in grades
    ]
    silent = html.Span([html.Span(className="legend-mark mark-silent"), "silent"])
    return html.Div(
        [
            html.Span(
                [
                    measure.ends[0],
                    html.Span(className=f"scale-bar {_scale(measure)}"),
                    measure.ends[1],
                ]
            ),
            *marks,
            silent if any(one.is_silent for one in gpus) else None,
        ],
        className="fleet-legend",
    )


def fleet_map(gpus: Sequence[GpuNow], state: PageState, now: datetime) -> Component:
    """All GPUs, by node.

    Args:
        gpus: by node and index.
        state: of the address: coloured by what, in which order.
        now: when it is.
    """
    rows: dict[str, list[GpuNow]] = {}
    for one in gpus:
        rows.setdefault(one.gpu.node, []).append(one)
    order = sorted(rows) if state.sort == _BY_NAME else worst_nodes(gpus)
    measure, silent = MEASURES[measure_of(state)], silent_nodes(gpus)
    is_roomy = len(rows) <= _ROOMY_NODES_MOST
    drawn = [_row(node, rows[node], measure, state, now, silent.get(node), is_roomy=is_roomy) for node in order]
    troubled = sum(bool(one.troubles) for one in gpus)
    label = f"{len(gpus)} GPUs on {len(rows)} nodes by {measure.title.lower()}; {troubled} in trouble or silent"
    classes = f"fleet-map {'roomy' if is_roomy else 'dense'} {_scale(measure)}"
    return html.Div(drawn, className=classes, role="group", **{"aria-label": label})


def _scale(measure: Measure) -> str:
    return "scale-work" if measure.is_work else "scale-more"


def _row(
    node: str,
    gpus: Sequence[GpuNow],
    measure: Measure,
    state: PageState,
    now: datetime,
    silent_since: datetime | None,
    *,
    is_roomy: bool,
) -> Component:
    cells = [_cell(one, measure, state, now, is_roomy=is_roomy) for one in gpus]
    name = node or "unknown node"
    words = f"silent since {text.since(silent_since, now)}" if silent_since is not None else ""
    label = page_link(
        html.Code(name, className="clip"),
        link("/fleet", replace(state, node=node or None)),
        "fleet-node",
        title=f"{name}: {words or 'its GPUs and ports only'}",
    )
    note = html.Span(words or _row_words(gpus), className="fleet-row-note") if is_roomy else None
    return html.Div([label, html.Div(cells, className="cells"), note], className="fleet-row")


def _row_words(gpus: Sequence[GpuNow]) -> list[Component | str]:
    """The worst of a node, then what runs there."""
    told = [one for one in gpus if one.troubles]
    replicas = ", ".join(dict.fromkeys(one.workload.replica for one in gpus if one.workload.replica))
    if not told:
        return [replicas]
    first = min(told, key=lambda one: list(Grade).index(one.troubles[0].grade))
    more = f" and {len(told) - 1} more" if len(told) > 1 else ""
    worst = html.Strong(f"{gpu_title(first)}: {first.troubles[0].state.value}{more}", className=f"row-{first.grade}")
    return [worst, f"; {replicas}" if replicas else ""]


def _cell(one: GpuNow, measure: Measure, state: PageState, now: datetime, *, is_roomy: bool) -> Component:
    share = None if one.is_silent else measure.share(one.levels)
    classes = ["cell"]
    if share is None:
        classes.append("cell-unknown")
    else:
        share = min(max(share, 0.0), 1.0)
        classes.append("cell-low" if share < 0.5 else "cell-mid" if share < 0.75 else "cell-high")
    if one.grade is not None and not _is_plainly_silent(one):
        classes += ["cell-marked", f"mark-{one.grade}"]
    children = measure.short(one.levels) if is_roomy and not one.is_silent else ""
    return page_link(
        children,
        link(device_path(EntityKind.GPU, one.gpu.node, one.name), PageState(range_name=state.range_name)),
        " ".join(classes),
        **({} if share is None else {"style": {"--level": f"{share:.0%}"}}),
        **{"aria-label": _told(one, now)},
    )


def _is_plainly_silent(one: GpuNow) -> bool:
    return one.is_silent and one.grade is Grade.DOUBT


def _told(one: GpuNow, now: datetime) -> str:
    """What a GPU is, how it is and what runs there, by lines."""
    lines = [f"{one.gpu.node} {gpu_title(one)}".strip()]
    for trouble in one.troubles:
        if trouble.grade is Grade.DOUBT and one.silent_since is not None:
            lines.append(f"Silent since {text.since(one.silent_since, now)}")
        else:
            lines.append(f"{state_title(trouble)} {since_words(trouble, now)}".rstrip())
    if not one.is_silent:
        lines.append(" · ".join(told.replace(" ", _UNBROKEN) for told in levels(one)) or "no numbers")
    lines.append(workload(one) or "serves no replica that is known")
    return "\n".join(lines)
