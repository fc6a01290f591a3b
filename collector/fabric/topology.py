"""What is cabled to what: the output of `ibnetdiscover` and `iblinkinfo`, and the topology that it makes.

Four forms are read: `ibnetdiscover` as it is and with `--ports`, `iblinkinfo` as it is and with `-l`.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from domain.topology import Node, Switch, SwitchPort, Topology

SWITCH = "SW"
ADAPTER = "CA"

# Data rate of a lane in Gb/s, after the line code: 8 of 10 bits up to QDR, 64 of 66 up to EDR, none of it lost in the
# name from HDR on (IBTA). iblinkinfo names a speed by the signal's rate instead.
_LANE_GBPS: Mapping[str, float] = {
    "SDR": 2.0,
    "DDR": 4.0,
    "QDR": 8.0,
    "FDR10": 10.0,
    "FDR": 14.0625 * 64 / 66,
    "EDR": 25.0,
    "HDR": 50.0,
    "NDR": 100.0,
    "XDR": 200.0,
}
_SPEED_BY_SIGNAL: Mapping[str, str] = {
    "2.5": "SDR",
    "5.0": "DDR",
    "10.0": "QDR",
    "14.0625": "FDR",
    "25.78125": "EDR",
    "53.125": "HDR",
    "106.25": "NDR",
    "212.5": "XDR",
}
_BYTES_PER_S_OF_GBPS = 125_000_000


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable.

    Attributes:
        kind: `SW`, `CA` (adapter), `RT` (router), or empty when the tool does not say.
        guid: of the switch; of an adapter, of its port. As `0x` and 16 digits.
        lid: the local id, 0 when it is not known.
        port: its number.
        name: the node description, trimmed.
    """

    kind: str
    guid: str
    lid: int
    port: int
    name: str


@dataclass(frozen=True, slots=True)
class Link:
    """A port, and what is at the other end of its cable, if anything is.

    `lanes` and `speed` (EDR, …) are what the link was trained to; None when it is down or the tool does not know.
    """

    near: End
    far: End | None = None
    lanes: int | None = None
    speed: str | None = None

    @property
    def rate_bytes_per_second(self) -> float | None:
        """How much data fits through in each direction; None when the link is down or its speed is not known."""
        lane_gbps = _LANE_GBPS.get(self.speed or "")
        if self.far is None or self.lanes is None or lane_gbps is None:
            return None
        return self.lanes * lane_gbps * _BYTES_PER_S_OF_GBPS


@dataclass(frozen=True)
class Fabric:
    """Every port that the tool saw, and how many of its lines could not be read."""

    links: tuple[Link, ...]
    unreadable: int = 0

    @cached_property
    def switch_names(self) -> Mapping[str, str]:
        """The name of each switch by GUID.

        Of `MF0;leaf-7:MQM9700/U1`, as managed switches describe themselves, it is `leaf-7`. A name that several
        switches share names none of them; then it is their GUID.
        """
        ends = (end for link in self.links for end in (link.near, link.far) if end is not None and end.kind == SWITCH)
        found = {end.guid: _switch_name(end) for end in ends}
        shared = Counter(found.values())
        return {guid: name if shared[name] == 1 else guid for guid, name in found.items()}

    @cached_property
    def links_by_switch(self) -> Mapping[str, list[Link]]:
        """The ports of each switch by its GUID, by number."""
        found: dict[str, list[Link]] = defaultdict(list)
        for link in sorted(self.links, key=lambda link: link.near.port):
            if link.near.kind == SWITCH:
                found[link.near.guid].append(link)
        return found


def parse_fabric(text: str) -> Fabric:
    """Read the output of `ibnetdiscover` or `iblinkinfo` in any of the four forms. An empty text is an empty fabric."""
    if "==(" in text:
        return _parse_iblinkinfo(text)
    if re.search(r"^(Switch|Ca|Rt)\t", text, re.MULTILINE):
        return _parse_ibnetdiscover(text)
    return _parse_ibnetdiscover_ports(text)


def to_topology(fabric: Fabric) -> Topology:
    """Nodes with their ports, switches with their tier and uplinks.

    A node is what an adapter's description names: `gpu-07-03 mlx5_2`, as rdma-ndd writes it, is device `mlx5_2` of
    `gpu-07-03`. Without a device the port's GUID stands for it. A description that names no host (the maker's own, an
    aggregation node) is left out. A switch with a node is a leaf, one beside a leaf a spine, all further ones are core;
    uplinks lead away from the nodes.
    """
    tiers = _tiers(fabric)
    nodes: dict[str, dict[str, SwitchPort | None]] = defaultdict(dict)
    switches: dict[str, dict[int, SwitchPort]] = {guid: {} for guid in fabric.switch_names}
    for link in fabric.links:
        near, far = link.near, link.far
        peer = SwitchPort(fabric.switch_names[far.guid], far.port) if far and far.kind == SWITCH else None
        if near.kind == ADAPTER and (adapter := host_and_device(near)) is not None:
            host, device = adapter
            nodes[host][f"{device}/{near.port}"] = peer
        elif near.kind == SWITCH and far is not None and peer is not None and near.guid != far.guid:
            own, other = tiers.get(near.guid), tiers.get(far.guid)
            if own is None or other is None or own <= other:
                switches[near.guid][near.port] = peer
    return Topology(
        {host: Node(host, ports=dict(sorted(ports.items()))) for host, ports in sorted(nodes.items())},
        {
            name: Switch(name, _tier_name(tiers.get(guid)), dict(sorted(switches[guid].items())))
            for guid, name in sorted(fabric.switch_names.items(), key=lambda item: item[1])
        },
    )


def host_and_device(end: End) -> tuple[str, str] | None:
    """Whose port this is, by the node description; None when it names no host."""
    words = end.name.split()
    if len(words) == 1:
        return words[0], end.guid
    if len(words) == 2 and any(letter.isdigit() for letter in words[1]):
        return words[0], words[1]
    return None


def _switch_name(end: End) -> str:
    managed = re.fullmatch(r"MF\d+;([^:]+):[^/]*/U1", end.name)
    return managed[1] if managed else end.name or end.guid


def _tiers(fabric: Fabric) -> dict[str, int]:
    """How many cables each switch is from the nearest node, less one."""
    neighbours: dict[str, set[str]] = defaultdict(set)
    tiers: dict[str, int] = {}
    for link in fabric.links:
        if link.far is None:
            continue
        for one, other in ((link.near, link.far), (link.far, link.near)):
            if one.kind == SWITCH and other.kind == SWITCH:
                neighbours[one.guid].add(other.guid)
            elif one.kind == SWITCH and other.kind == ADAPTER and host_and_device(other) is not None:
                tiers[one.guid] = 0
    waiting = deque(sorted(tiers))
    while waiting:
        guid = waiting.popleft()
        for neighbour in sorted(neighbours[guid] - tiers.keys()):
            tiers[neighbour] = tiers[guid] + 1
            waiting.append(neighbour)
    return tiers


def _tier_name(tier: int | None) -> str | None:
    return None if tier is None else ("leaf", "spine", "core")[min(tier, 2)]


# -- ibnetdiscover --ports: one line a port ----------------------------------------------------------------------------

# CA    14  1 0x000000000010000f 4x EDR - SW     9  2 0x0000000000200005 ( 'gpu-node-07' - 'leaf-3' )
# SW     9  8 0x0000000000200005 4x SDR                                    'leaf-3'
_PORT_LINE = re.compile(
    r"(?P<kind>\w\w)\s+(?P<lid>\d+)\s+(?P<port>\d+)\s+0x(?P<guid>[0-9a-f]+)\s+(?P<lanes>\d+)x\s+(?P<speed>\S+)\s+"
    r"(?:-\s+(?P<far_kind>\w\w)\s+(?P<far_lid>\d+)\s+(?P<far_port>\d+)\s+0x(?P<far_guid>[0-9a-f]+)\s+"
    r"\(\s*'(?P<name>.*)' - '(?P<far_name>.*)'\s*\)|(?P<alone>[^(]*))"
)


def _parse_ibnetdiscover_ports(text: str) -> Fabric:
    links = []
    unreadable = 0
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = _PORT_LINE.fullmatch(line.strip())
        if found is None:
            unreadable += 1
            continue
        alone = found["alone"] is not None
        name = found["alone"].strip().strip("'") if alone else found["name"]
        near = _end(found["kind"], found["guid"], found["lid"], found["port"], name)
        if alone:
            links.append(Link(near))
            continue
        far = _end(found["far_kind"], found["far_guid"], found["far_lid"], found["far_port"], found["far_name"])
        links.append(Link(near, far, int(found["lanes"]), found["speed"] if found["speed"] in _LANE_GBPS else None))
    return Fabric(tuple(links), unreadable)


# -- ibnetdiscover: a block a device -----------------------------------------------------------------------------------

# Switch	8 "S-0000000000200005"		# "leaf-3" base port 0 lid 9 lmc 0
# [1]	"H-000000000010000c"[1](10000d) 		# "gpu-node-06" lid 13 4xEDR
# Ca	1 "H-000000000010000e"		# "gpu-node-07"
# [1](10000f) 	"S-0000000000200005"[2]		# lid 14 lmc 0 "leaf-3" lid 9 4xEDR
_BLOCK = re.compile(
    r'(?P<kind>Switch|Ca|Rt)\s+\d+\s+"\w-(?P<guid>[0-9a-f]+)"\s*#\s*"(?P<name>.*)"(?:.* lid (?P<lid>\d+) .*)?'
)
_CABLE = re.compile(
    r"\[(?P<port>\d+)\](?:\[ext \d+\])?(?:\((?P<guid>[0-9a-f]+)\))?\s+"
    r'"(?P<far_kind>\w)-(?P<far_node>[0-9a-f]+)"\[(?P<far_port>\d+)\](?:\[ext \d+\])?'
    r"(?:\((?P<far_guid>[0-9a-f]+)\))?\s*#\s*"
    r'(?:lid (?P<lid>\d+) lmc \d+ )?"(?P<far_name>.*)" lid (?P<far_lid>\d+) (?P<lanes>\d+)x(?P<speed>\S+).*'
)
_KIND_OF_BLOCK = {"Switch": SWITCH, "Ca": ADAPTER, "Rt": "RT"}
_KIND_OF_LETTER = {"S": SWITCH, "H": ADAPTER, "R": "RT"}
_ABOUT_NEXT_BLOCK = re.compile(r"(vendid|devid|sysimgguid|switchguid|caguid|rtguid)=")


def _parse_ibnetdiscover(text: str) -> Fabric:
    links = []
    unreadable = 0
    block: re.Match[str] | None = None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#") or _ABOUT_NEXT_BLOCK.match(line):
            continue
        begun = _BLOCK.fullmatch(line.strip())
        if begun is not None:
            block = begun
            continue
        found = _CABLE.fullmatch(line.strip())
        if found is None or block is None:
            unreadable += 1
            continue
        near = _end(
            _KIND_OF_BLOCK[block["kind"]],
            found["guid"] or block["guid"],
            found["lid"] or block["lid"] or "0",
            found["port"],
            block["name"],
        )
        far = _end(
            _KIND_OF_LETTER.get(found["far_kind"], ""),
            found["far_guid"] or found["far_node"],
            found["far_lid"],
            found["far_port"],
            found["far_name"],
        )
        links.append(Link(near, far, int(found["lanes"]), found["speed"] if found["speed"] in _LANE_GBPS else None))
    return Fabric(tuple(links), unreadable)


# -- iblinkinfo, grouped by device or with a line a port ---------------------------------------------------------------

# Switch: 0x0000000000200003 leaf-1:
#            6    1[  ] ==( 4X      25.78125 Gbps Active/  LinkUp)==>       8    1[  ] "gpu-node-02" (Could be …)
# CA: gpu-node-03:
#       0x0000000000100007     10    1[  ] ==( 4X …)==>       6    2[  ] "leaf-1" ( )
# 0x0000000000200005 "      leaf-3"      9    5[  ] ==(                Down/ Polling)==>             [  ] "" ( )
_GROUP = re.compile(r"(?:Switch: 0x(?P<guid>[0-9a-f]+) (?P<switch>.*)|CA: (?P<adapter>.*)|RT: (?P<router>.*)):")
_LINK_LINE = re.compile(
    r'(?:0x(?P<guid>[0-9a-f]+)\s+)?(?:"(?P<name>.*?)"\s+)?(?P<lid>\d+)\s+(?P<port>\d+)\[[ \d]*\]\s*==\('
    r"\s*(?:(?P<lanes>\d+)X\s+(?P<speed>\S+)(?: Gbps)?.*?)?\s*(?P<state>\w+)/\s*(?P<physical>\w+)\s*\)==>\s*"
    r"(?:0x(?P<far_guid>[0-9a-f]+)\s+)?(?:(?P<far_lid>\d+)\s+(?P<far_port>\d+))?\[[ \d]*\]\s*"
    r'"(?P<far_name>.*)"\s*\(.*\)'
)


def _parse_iblinkinfo(text: str) -> Fabric:
    lines: list[tuple[End, re.Match[str]]] = []
    unreadable = 0
    group: re.Match[str] | None = None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        begun = _GROUP.fullmatch(line.strip())
        if begun is not None:
            group = begun
            continue
        found = _LINK_LINE.fullmatch(line.strip())
        guid = found and (found["guid"] or (group and group["guid"]))
        if found is None or guid is None:
            unreadable += 1
            continue
        lines.append(
            (_end(_kind_of(group), guid, found["lid"], found["port"], found["name"] or _name_of(group)), found)
        )
    nears = _with_kinds([near for near, _ in lines])
    by_lid_and_port = {(near.lid, near.port): near for near in nears}
    by_lid = {near.lid: near for near in nears}
    links = []
    for near, (_, found) in zip(nears, lines, strict=True):
        if found["far_lid"] is None:
            links.append(Link(near))
            continue
        lid, port = int(found["far_lid"]), int(found["far_port"])
        other = by_lid_and_port.get((lid, port)) or by_lid.get(lid)  # the grouped form tells no GUID of the far end
        guid = found["far_guid"] or (other.guid.removeprefix("0x") if other else "0")
        far = _end(other.kind if other else "", guid, found["far_lid"], found["far_port"], found["far_name"])
        links.append(Link(near, far, int(found["lanes"] or 0) or None, _SPEED_BY_SIGNAL.get(found["speed"] or "")))
    return Fabric(tuple(links), unreadable)


def _kind_of(group: re.Match[str] | None) -> str:
    if group is None:
        return ""
    return SWITCH if group["guid"] else ADAPTER if group["adapter"] is not None else "RT"


def _name_of(group: re.Match[str] | None) -> str:
    return "" if group is None else group["switch"] or group["adapter"] or group["router"] or ""


def _with_kinds(ends: list[End]) -> list[End]:
    """With `-l` no line says what it is of. A switch has one GUID for all of its ports, an adapter one for each."""
    ports: dict[str, set[int]] = defaultdict(set)
    for end in ends:
        ports[end.guid].add(end.port)
    return [
        end if end.kind else End(SWITCH if len(ports[end.guid]) > 1 else ADAPTER, end.guid, end.lid, end.port, end.name)
        for end in ends
    ]


def _end(kind: str, guid: str, lid: str, port: str, name: str) -> End:
    return End(kind, f"0x{int(guid, 16):016x}", int(lid), int(port), name.strip())
