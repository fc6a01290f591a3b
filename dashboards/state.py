"""The address is the state: what a page shows is read from its path and query, and links write it.

`/?range=1h&service=chat&explain=2026-11-23T02:41:00Z~2026-11-23T03:07:00Z`
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, unquote, urlencode

from domain.entity import Entity, EntityKind, GpuPlace
from domain.window import Window, from_rfc3339, rfc3339


@dataclass(frozen=True, slots=True)
class Range:
    """A length of time to look back, and the step at which it makes about a hundred columns."""

    seconds: int
    step_s: int


RANGES = MappingProxyType(
    {
        "15m": Range(900, 15),
        "1h": Range(3_600, 30),
        "3h": Range(10_800, 120),
        "6h": Range(21_600, 240),
        "24h": Range(86_400, 900),
        "7d": Range(604_800, 7_200),
    }
)
"""Steps are multiples of 15 s, the resolution of the rollup."""

COST_RANGES = MappingProxyType({name: RANGES[name] for name in ("6h", "24h", "7d")} | {"30d": Range(2_592_000, 86_400)})
"""Of the pages of cost: whole hours make them, so the short ones say too little."""

OVERVIEW_RANGE = "6h"
FLEET_RANGES = MappingProxyType({name: RANGES[name] for name in ("15m", "1h", "3h", "6h", "24h")})
"""Of the hardware as it is now: what ports counted over a week says little of tonight."""

INCIDENTS_RANGE = "7d"
DATA_RANGE = "24h"
COST_RANGE = "7d"
FLEET_RANGE = "1h"
SLO_RANGES = COST_RANGES
SLO_RANGE = "24h"


_DEVICE_FOLDERS = MappingProxyType({EntityKind.GPU: "gpus", EntityKind.PORT: "ports"})


@dataclass(frozen=True, slots=True)
class PageState:
    """What the query says; None where it says nothing, or nothing valid.

    `by`, `model` and `sort` are of the breakdown of cost: by what, of which model only, in the order of which column.
    The fleet has `by` (coloured by what), `sort`, `node` (of which node or switch only) and `show` (`all` ports).
    """

    range_name: str | None = None
    service: str | None = None
    explain: Window | None = None
    by: str | None = None
    model: str | None = None
    sort: str | None = None
    node: str | None = None
    show: str | None = None

    def range(self, default: str) -> Range:
        """The range asked for, or the page's own."""
        return RANGES.get(self.range_name or default, RANGES[default])

    def window(self, now: datetime, default: str) -> Window:
        """The range up to now, from the start of a step: so columns keep their place between refreshes."""
        chosen = self.range(default)
        end = now.replace(microsecond=0)
        start = end.timestamp() - chosen.seconds
        return Window(end - timedelta(seconds=end.timestamp() - (start - start % chosen.step_s)), end)


def parse_state(search: str | None) -> PageState:
    """The state in a query such as `?range=1h`. What is not valid counts as not said: a link never breaks a page."""
    fields = dict(parse_qsl((search or "").removeprefix("?")))
    range_name = fields.get("range")
    return PageState(
        range_name=range_name if range_name in RANGES or range_name in COST_RANGES else None,
        service=fields.get("service") or None,
        explain=_parse_window(fields.get("explain")),
        by=fields.get("by") or None,
        model=fields.get("model") or None,
        sort=fields.get("sort") or None,
        node=fields.get("node") or None,
        show=fields.get("show") or None,
    )


def link(path: str, state: PageState) -> str:
    """The address of a page in that state."""
    fields = {
        "range": state.range_name,
        "service": state.service,
        "explain": f"{rfc3339(state.explain.start)}~{rfc3339(state.explain.end)}" if state.explain else None,
        "by": state.by,
        "model": state.model,
        "sort": state.sort,
        "node": state.node,
        "show": state.show,
    }
    query = urlencode({name: value for name, value in fields.items() if value}, safe=":~")
    return f"{path}?{query}" if query else path


def incident_path(incident_id: str) -> str:
    """The path of an incident's page."""
    return f"/incidents/{quote(incident_id, safe='')}"


def incident_id_of(path: str | None) -> str | None:
    """The incident that a path names; None when it is another page's."""
    head, _, name = (path or "").rstrip("/").rpartition("/")
    return unquote(name) if head == "/incidents" and name else None


def slo_path(name: str) -> str:
    """The path of an objective's page."""
    return f"/slos/{quote(name, safe='')}"


def slo_name_of(path: str | None) -> str | None:
    """The objective that a path names; None when it is another page's. A name may hold slashes."""
    head, _, name = (path or "").partition("/slos/")
    return unquote(name) if not head and name else None


def elsewhere(state: PageState) -> PageState:
    """What of a state goes along to another page: not what belongs to one chart or table of this one."""
    return replace(state, explain=None, by=None, model=None, sort=None, node=None, show=None)


def device_path(kind: EntityKind, node: str, name: str) -> str:
    """The path of the page of a GPU or a port.

    Args:
        kind: which of them.
        node: the node or switch that it belongs to.
        name: the UUID, or the port without its node: `mlx5_2/1`.
    """
    return f"/fleet/{_DEVICE_FOLDERS[kind]}/{quote(node, safe='')}/{quote(name)}"


def port_path(port: Entity) -> str:
    """The path of the page of a port: `gpu-07-03/mlx5_2/1` is one of gpu-07-03."""
    device, _, name = port.name.partition("/")
    return device_path(EntityKind.PORT, device, name)


def hardware_address(entity: Entity, place: GpuPlace | None) -> str | None:
    """Where a GPU, a port, a node or a switch is shown; None for what is none of these, or is not known where.

    Args:
        entity: any thing.
        place: of a GPU.
    """
    match entity.kind:
        case EntityKind.GPU if place is not None and place.node is not None:
            return device_path(EntityKind.GPU, place.node, entity.name)
        case EntityKind.PORT if "/" in entity.name:
            return port_path(entity)
        case EntityKind.NODE | EntityKind.SWITCH:
            return link("/fleet", PageState(node=entity.name))
    return None


def device_of(path: str | None) -> tuple[Entity, str] | None:
    """The GPU or port that a path names, and its node; None when it is another page's. A name may hold slashes."""
    match (path or "").split("/", 4):
        case ["", "fleet", folder, node, name] if node and name and folder in _DEVICE_FOLDERS.values():
            node, name = unquote(node), unquote(name)
            if folder == _DEVICE_FOLDERS[EntityKind.GPU]:
                return Entity(EntityKind.GPU, name), node
            return Entity(EntityKind.PORT, f"{node}/{name}"), node
    return None


def _parse_window(text: str | None) -> Window | None:
    start, _, end = (text or "").partition("~")
    try:
        return Window(from_rfc3339(start), from_rfc3339(end))
    except ValueError:
        return None
