from typing import Any

import pytest
import yaml

from domain.entity import Entity, EntityKind
from domain.topology import (
    Node,
    Switch,
    SwitchPort,
    Topology,
    TopologyError,
    merged,
    topology_from_document,
    topology_to_document,
)

DOCUMENT = """
nodes:
  gpu-07-03: {rack: r07, gpus: [GPU-1f], ports: {mlx5_0/1: {switch: leaf-07a, switch_port: 3}, mlx5_1/1: null}}
switches: {leaf-07a: {tier: leaf, uplinks: {33: {switch: spine-1, switch_port: 7}}}}
"""


def test_a_topology_survives_being_written_and_read() -> None:
    topology = topology_from_document(yaml.safe_load(DOCUMENT))
    assert topology_from_document(topology_to_document(topology)) == topology
    assert topology.nodes["gpu-07-03"].gpus == ("GPU-1f",)
    assert topology.switches["leaf-07a"].uplinks[33].switch == "spine-1"


def test_the_ports_of_a_node_are_its_own_and_those_at_the_other_end_of_its_cables() -> None:
    topology = topology_from_document(yaml.safe_load(DOCUMENT))
    names = ("gpu-07-03/mlx5_0/1", "gpu-07-03/mlx5_1/1", "leaf-07a/3")
    assert topology.ports_of("gpu-07-03") == tuple(Entity(EntityKind.PORT, name) for name in names)


def test_what_was_told_goes_before_what_was_discovered_and_is_completed_by_it() -> None:
    told = topology_from_document(yaml.safe_load(DOCUMENT))
    discovered = Topology(
        {
            "gpu-07-03": Node(
                "gpu-07-03",
                ports={
                    "mlx5_0/1": SwitchPort("elsewhere", 1),
                    "mlx5_1/1": SwitchPort("leaf-07b", 3),
                    "mlx5_2/1": None,
                },
            ),
            "gpu-07-04": Node("gpu-07-04", ports={"mlx5_0/1": SwitchPort("leaf-07a", 4)}),
        },
        {
            "leaf-07a": Switch("leaf-07a", "core", {33: SwitchPort("elsewhere", 1), 34: SwitchPort("spine-2", 7)}),
            "spine-2": Switch("spine-2", "spine"),
        },
    )
    both = merged(told, discovered)
    assert both.nodes["gpu-07-03"] == Node(
        "gpu-07-03",
        "r07",
        ("GPU-1f",),
        {"mlx5_0/1": SwitchPort("leaf-07a", 3), "mlx5_1/1": SwitchPort("leaf-07b", 3), "mlx5_2/1": None},
    )
    assert both.nodes["gpu-07-04"] == discovered.nodes["gpu-07-04"]
    assert both.switches == {
        "leaf-07a": Switch("leaf-07a", "leaf", {33: SwitchPort("spine-1", 7), 34: SwitchPort("spine-2", 7)}),
        "spine-2": Switch("spine-2", "spine"),
    }
    assert merged(told, Topology()) == told
    assert merged(Topology(), discovered) == discovered


def test_a_node_discovered_by_its_short_name_is_the_one_told_with_a_domain() -> None:
    ports = {"mlx5_0/1": SwitchPort("leaf-07a", 3)}
    discovered = Topology({"gpu-07-03": Node("gpu-07-03", ports=ports)})
    told = Topology({"gpu-07-03.example.net": Node("gpu-07-03.example.net", rack="r07")})
    assert merged(told, discovered).nodes == {
        "gpu-07-03.example.net": Node("gpu-07-03.example.net", rack="r07", ports=ports)
    }
    two = Topology({name: Node(name) for name in ("gpu-07-03.a.net", "gpu-07-03.b.net")})
    assert merged(two, discovered).nodes["gpu-07-03"].ports == ports, "which of the two it is cannot be told"


def test_a_node_that_nobody_wired_has_no_ports() -> None:
    assert Topology().ports_of("gpu-99") == ()


@pytest.mark.parametrize("document", [None, {}, {"nodes": None}, {"nodes": {}, "switches": {}}])
def test_an_empty_topology_is_valid(document: Any) -> None:
    assert topology_from_document(document) == Topology()


def test_a_port_number_may_be_text_because_the_keys_of_json_are() -> None:
    uplinks = {"33": {"switch": "spine-1", "switch_port": "7"}}
    topology = topology_from_document({"switches": {"leaf-1": {"uplinks": uplinks}}})
    assert topology.switches["leaf-1"].uplinks[33].port == 7


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], r"topology is \[\]; expected a mapping"),
        ({"node": {}}, "topology has unknown keys node; valid are nodes, switches"),
        ({"nodes": {"a": {"gpu": []}}}, "nodes.a has unknown keys gpu; valid are gpus, ports, rack"),
        ({"nodes": {"a": {"gpus": "GPU-1"}}}, "nodes.a.gpus is 'GPU-1'; expected a list of GPU UUIDs"),
        ({"nodes": {"a": {"ports": {"mlx5_0/1": 3}}}}, "nodes.a.ports.mlx5_0/1 is 3; expected a mapping"),
        (
            {"nodes": {"a": {"ports": {"mlx5_0/1": {"switch": "leaf"}}}}},
            "nodes.a.ports.mlx5_0/1 is .*expected {switch: NAME, switch_port: NUMBER}",
        ),
        (
            {"nodes": {"a": {"ports": {"p": {"switch": "leaf", "switch_port": True}}}}},
            "nodes.a.ports.p.switch_port is True; expected a port number",
        ),
        ({"switches": {"s": {"uplinks": {"up": {}}}}}, "switches.s.uplinks is 'up'; expected a port number"),
    ],
)
def test_a_fault_in_a_topology_is_told_with_its_place_and_what_is_valid(document: Any, told: str) -> None:
    with pytest.raises(TopologyError, match=told):
        topology_from_document(document)
