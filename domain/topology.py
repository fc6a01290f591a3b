"""The wiring: which GPUs and ports a node has, which switch a port leads to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from domain.entity import Entity, EntityKind


@dataclass(frozen=True, slots=True)
class Node:
    """A machine. `ports` maps `device/port` to the switch port it is cabled to, when that is known."""

    name: str
    rack: str | None = None
    gpus: tuple[str, ...] = ()
    ports: Mapping[str, "SwitchPort | None"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """One port of one switch."""

    switch: str
    port: int

    @property
    def entity(self) -> Entity:
        """The port as a thing that carries signals: `leaf-1/7`."""
        return Entity(EntityKind.PORT, f"{self.switch}/{self.port}")


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch; `tier` is leaf, spine, …; `uplinks` maps own ports to the ports they lead to."""

    name: str
    tier: str | None = None
    uplinks: Mapping[int, SwitchPort] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topology:
    """All nodes and switches known. An empty topology is valid: what is not known is left out."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    switches: Mapping[str, Switch] = field(default_factory=dict)

    def ports_of(self, node: str) -> tuple[Entity, ...]:
        """The node's own ports and, at the other end of their cables, the switch ports."""
        known = self.nodes.get(node)
        if known is None:
            return ()
        near = [Entity(EntityKind.PORT, f"{node}/{name}") for name in known.ports]
        far = [peer.entity for peer in known.ports.values() if peer]
        return tuple(near + far)

    def cables_of(self, node: str) -> tuple[tuple[Entity, SwitchPort], ...]:
        """The node's ports with the switch port at the other end of their cable, as far as it is known."""
        known = self.nodes.get(node)
        ports = known.ports.items() if known else ()
        return tuple((Entity(EntityKind.PORT, f"{node}/{name}"), peer) for name, peer in ports if peer)

    def ends_of_cables(self, node: str) -> dict[Entity, Entity]:
        """The cables of a node, as far as they are known: of each end the other one."""
        return _both_ways((near, peer.entity) for near, peer in self.cables_of(node))

    def ends_of_uplinks(self, switch: str) -> dict[Entity, Entity]:
        """The cables by which a switch goes on up: of each end the other one."""
        known = self.switches.get(switch)
        uplinks = known.uplinks.items() if known else ()
        return _both_ways((SwitchPort(switch, port).entity, peer.entity) for port, peer in uplinks)

    def way_up(self, node: str) -> dict[Entity, tuple[Entity, ...]]:
        """The switches above a node, tier by tier, each with both ends of the cables by which it goes on up."""
        known = self.nodes.get(node)
        above = {peer.switch for peer in known.ports.values() if peer} if known else set()
        found: dict[Entity, tuple[Entity, ...]] = {}
        while above:
            higher: set[str] = set()
            for name in sorted(above):
                ends: list[Entity] = []
                for port, peer in (self.switches[name].uplinks if name in self.switches else {}).items():
                    ends += [SwitchPort(name, port).entity, peer.entity]
                    higher.add(peer.switch)
                found[Entity(EntityKind.SWITCH, name)] = tuple(ends)
            above = {name for name in higher if Entity(EntityKind.SWITCH, name) not in found}
        return found

    def ports_of_switch(self, switch: str) -> tuple[Entity, ...]:
        """The ports of a switch that a cable is known of."""
        own = {
            peer.port for node in self.nodes.values() for peer in node.ports.values() if peer and peer.switch == switch
        }
        for name, other in self.switches.items():
            own |= set(other.uplinks) if name == switch else set()
            own |= {peer.port for peer in other.uplinks.values() if peer.switch == switch}
        return tuple(Entity(EntityKind.PORT, f"{switch}/{port}") for port in sorted(own))


def _both_ways(cables: Iterable[tuple[Entity, Entity]]) -> dict[Entity, Entity]:
    return {end: other for one, two in cables for end, other in ((one, two), (two, one))}


def merged(told: Topology, discovered: Topology) -> Topology:
    """What people told of the wiring, completed by what was discovered; where both speak, what was told counts.

    A node that was discovered by its short host name is the node told with a domain, when only one told name fits:
    adapters know `gpu-07-03`, a cluster may say `gpu-07-03.example.net`.
    """
    full_names: dict[str, list[str]] = {}
    for name in told.nodes:
        full_names.setdefault(name.partition(".")[0], []).append(name)
    found: dict[str, Node] = {}
    for node in discovered.nodes.values():
        candidates = full_names.get(node.name, [])
        name = node.name if node.name in told.nodes or len(candidates) != 1 else candidates[0]
        found[name] = replace(node, name=name)
    nodes = {
        name: _merged_node(told.nodes.get(name, Node(name)), found.get(name, Node(name)))
        for name in sorted(told.nodes.keys() | found.keys())
    }
    switches = {
        name: _merged_switch(told.switches.get(name, Switch(name)), discovered.switches.get(name, Switch(name)))
        for name in sorted(told.switches.keys() | discovered.switches.keys())
    }
    return Topology(nodes, switches)


def _merged_node(told: Node, found: Node) -> Node:
    known_peers = {name: peer for name, peer in told.ports.items() if peer is not None}
    ports = {**told.ports, **found.ports, **known_peers}
    return Node(told.name, told.rack or found.rack, told.gpus or found.gpus, dict(sorted(ports.items())))


def _merged_switch(told: Switch, found: Switch) -> Switch:
    return Switch(told.name, told.tier or found.tier, dict(sorted({**found.uplinks, **told.uplinks}.items())))


class TopologyError(ValueError):
    """A topology document that cannot be read; the message names the path of the fault."""


def topology_from_document(document: Any) -> Topology:
    """Read the document `{nodes: {…}, switches: {…}}`.

    Raises:
        TopologyError: naming the place, what was found there and what is valid.
    """
    root = _mapping(document, "topology")
    _known_keys(root, {"nodes", "switches"}, "topology")
    nodes = {str(name): _node(str(name), value) for name, value in _mapping(root.get("nodes"), "nodes").items()}
    switches = {
        str(name): _switch(str(name), value) for name, value in _mapping(root.get("switches"), "switches").items()
    }
    return Topology(nodes, switches)


def topology_to_document(topology: Topology) -> dict[str, Any]:
    """The inverse of `topology_from_document`."""
    return {
        "nodes": {
            node.name: {
                "rack": node.rack,
                "gpus": list(node.gpus),
                "ports": {name: _port_document(peer) if peer else None for name, peer in node.ports.items()},
            }
            for node in topology.nodes.values()
        },
        "switches": {
            switch.name: {
                "tier": switch.tier,
                "uplinks": {port: _port_document(peer) for port, peer in switch.uplinks.items()},
            }
            for switch in topology.switches.values()
        },
    }


def _port_document(peer: SwitchPort) -> dict[str, Any]:
    return {"switch": peer.switch, "switch_port": peer.port}


def _node(name: str, value: Any) -> Node:
    path = f"nodes.{name}"
    fields = _mapping(value, path)
    _known_keys(fields, {"rack", "gpus", "ports"}, path)
    gpus = fields.get("gpus") or []
    if not isinstance(gpus, list):
        raise TopologyError(f"{path}.gpus is {gpus!r}; expected a list of GPU UUIDs")
    rack = fields.get("rack")
    ports = {
        str(port): None if peer is None else _switch_port(peer, f"{path}.ports.{port}")
        for port, peer in _mapping(fields.get("ports"), f"{path}.ports").items()
    }
    return Node(name, None if rack is None else str(rack), tuple(str(gpu) for gpu in gpus), ports)


def _switch(name: str, value: Any) -> Switch:
    path = f"switches.{name}"
    fields = _mapping(value, path)
    _known_keys(fields, {"tier", "uplinks"}, path)
    tier = fields.get("tier")
    uplinks = {
        _integer(port, f"{path}.uplinks"): _switch_port(peer, f"{path}.uplinks.{port}")
        for port, peer in _mapping(fields.get("uplinks"), f"{path}.uplinks").items()
    }
    return Switch(name, None if tier is None else str(tier), uplinks)


def _switch_port(value: Any, path: str) -> SwitchPort:
    fields = _mapping(value, path)
    _known_keys(fields, {"switch", "switch_port"}, path)
    if "switch" not in fields or "switch_port" not in fields:
        raise TopologyError(f"{path} is {value!r}; expected {{switch: NAME, switch_port: NUMBER}}")
    return SwitchPort(str(fields["switch"]), _integer(fields["switch_port"], f"{path}.switch_port"))


def _mapping(value: Any, path: str) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TopologyError(f"{path} is {value!r}; expected a mapping")
    return value


def _integer(value: Any, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit():  # JSON's keys are text
        return int(value)
    raise TopologyError(f"{path} is {value!r}; expected a port number")


def _known_keys(fields: Mapping[Any, Any], known: set[str], path: str) -> None:
    unknown = sorted(str(key) for key in fields if key not in known)
    if unknown:
        raise TopologyError(f"{path} has unknown keys {', '.join(unknown)}; valid are {', '.join(sorted(known))}")
