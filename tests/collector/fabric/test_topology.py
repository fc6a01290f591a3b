"""The wiring as four tools print it, and the topology that it makes."""

import pytest

from collector.fabric.topology import ADAPTER, SWITCH, End, Fabric, Link, parse_fabric, to_topology
from domain.topology import Node, Switch, SwitchPort
from tests.collector.fabric.samples import FIXTURES, IB, needs_samples


def recorded(name: str) -> Fabric:
    return parse_fabric((IB / name).read_text())


def cabled(fabric: Fabric) -> list[Link]:
    return sorted((link for link in fabric.links if link.far), key=lambda link: (link.near.guid, link.near.port))


@needs_samples
@pytest.mark.parametrize(
    ("name", "ports"),
    [
        ("ibnetdiscover.txt", 32),  # this form tells of cabled ports only
        ("ibnetdiscover-ports.txt", 56),
        ("iblinkinfo.txt", 56),
        ("iblinkinfo-line.txt", 56),
        ("iblinkinfo-after-relink.txt", 56),
    ],
)
def test_every_form_tells_the_same_of_one_fabric(name: str, ports: int) -> None:
    fabric = recorded(name)
    assert fabric.unreadable == 0
    assert len(fabric.links) == ports
    assert cabled(fabric) == cabled(recorded("ibnetdiscover.txt"))


@needs_samples
def test_a_link_tells_both_of_its_ends_and_its_rate() -> None:
    assert cabled(recorded("ibnetdiscover-ports.txt"))[0] == Link(
        End(ADAPTER, "0x0000000000100001", 1, 1, "gpu-node-00"),
        End(SWITCH, "0x0000000000200002", 4, 1, "leaf-0"),
        4,
        "EDR",
    )
    assert {link.rate_bytes_per_second for link in cabled(recorded("iblinkinfo.txt"))} == {12.5e9}


@needs_samples
def test_the_topology_names_nodes_leaves_and_uplinks() -> None:
    topology = to_topology(recorded("ibnetdiscover.txt"))
    assert topology.nodes["gpu-node-03"] == Node("gpu-node-03", ports={"0x0000000000100007/1": SwitchPort("leaf-1", 2)})
    assert topology.switches["leaf-1"] == Switch(
        "leaf-1", "leaf", {3: SwitchPort("spine-0", 2), 4: SwitchPort("spine-1", 2)}
    )
    assert topology.switches["spine-0"] == Switch("spine-0", "spine")
    assert (len(topology.nodes), len(topology.switches)) == (8, 6)


@needs_samples
def test_a_link_that_is_down_is_no_uplink() -> None:
    unlinked = to_topology(recorded("iblinkinfo-unlinked.txt"))
    assert unlinked.switches["leaf-1"].uplinks == {4: SwitchPort("spine-1", 2)}
    assert to_topology(recorded("iblinkinfo-after-relink.txt")) == to_topology(recorded("ibnetdiscover.txt"))


@needs_samples
def test_a_real_fabric_is_read_as_infiniband_exporter_reads_it() -> None:
    fabric = parse_fabric((FIXTURES / "ibnetdiscover" / "test.out").read_text())
    assert fabric.unreadable == 0
    assert {
        (link.near.name, link.near.port, link.far.name, link.far.port, link.rate_bytes_per_second)
        for link in fabric.links
        if link.far and link.near.kind == SWITCH
    } == {
        ("ib-i1l1s01", 1, "ib-i1l2s01", 1, 12.5e9),
        ("ib-i1l1s01", 10, "o0001 HCA-1", 1, 12.5e9),
        ("ib-i1l1s01", 11, "o0002 HCA-1", 1, 12.5e9),
        ("ib-i4l1s01", 35, "p0001 HCA-1", 1, 12.5e9),
    }
    topology = to_topology(fabric)
    assert topology.nodes["o0001"].ports == {"HCA-1/1": SwitchPort("ib-i1l1s01", 10)}
    assert topology.switches["ib-i1l1s01"] == Switch("ib-i1l1s01", "leaf", {1: SwitchPort("ib-i1l2s01", 1)})


@needs_samples
def test_names_with_spaces_aggregation_nodes_and_lone_ports_are_read() -> None:
    fabric = parse_fabric((FIXTURES / "ibnetdiscover" / "test2.out").read_text())
    assert fabric.unreadable == 0
    assert set(fabric.switch_names.values()) == {
        "5FB0405-leaf-IB01",
        "5FB0406-spine-IB01",
        "5FB0406-spine-IB02",
        "5FB0406-spine-IB03",
        "Infiniscale-IV Mellanox Technologies",
    }
    topology = to_topology(fabric)
    assert topology.nodes == {"worker20": Node("worker20", ports={"mlx5_3/1": SwitchPort("5FB0405-leaf-IB01", 79)})}


@needs_samples
def test_a_name_without_quotes_is_read_too() -> None:
    (link,) = parse_fabric((FIXTURES / "ibnetdiscover" / "test3.out").read_text()).links
    assert link == Link(End(SWITCH, "0x0002c9020040f161", 479, 22, "Infiniscale-IV Mellanox Technologies"))


def port_line(name: str, peer: str, kinds: str = "CA SW", guids: str = "1 2", rate: str = "4x NDR") -> str:
    kind, far_kind = kinds.split()
    guid, far_guid = guids.split()
    return f"{kind}     1  1 0x{guid:0>16} {rate} - {far_kind}     2 33 0x{far_guid:0>16} ( '{name}' - '{peer}' )"


def test_a_managed_switch_is_called_by_its_name_alone() -> None:
    topology = to_topology(parse_fabric(port_line("gpu-07-03 mlx5_2", "MF0;leaf-07a:MQM9700/U1")))
    assert topology.nodes["gpu-07-03"].ports == {"mlx5_2/1": SwitchPort("leaf-07a", 33)}


def test_the_parts_of_a_modular_switch_keep_their_whole_names() -> None:
    text = "\n".join(
        port_line("gpu-07-03 mlx5_2", f"MF0;director:CS8500/L0{number}/U1", guids=f"{number} 2{number}")
        for number in (1, 2)
    )
    assert set(to_topology(parse_fabric(text)).switches) == {"MF0;director:CS8500/L01/U1", "MF0;director:CS8500/L02/U1"}


def test_switches_that_share_a_name_are_called_by_their_guids() -> None:
    text = "\n".join(
        port_line(f"gpu-07-0{number} mlx5_0", "Quantum Mellanox Technologies", guids=f"{number} 2{number}")
        for number in (1, 2)
    )
    assert set(to_topology(parse_fabric(text)).switches) == {"0x0000000000000021", "0x0000000000000022"}


@pytest.mark.parametrize("name", ["MT4129 ConnectX7   Mellanox Technologies", "Mellanox Technologies", ""])
def test_an_adapter_that_names_no_host_is_left_out(name: str) -> None:
    assert to_topology(parse_fabric(port_line(name, "leaf-1"))).nodes == {}


@pytest.mark.parametrize(
    ("rate", "bytes_per_second"),
    [("4x NDR", 50e9), ("2x NDR", 25e9), ("4x HDR", 25e9), ("4x QDR", 4e9), ("1x SDR", 0.25e9), ("4x ???", None)],
)
def test_a_rate_is_what_data_fits_through(rate: str, bytes_per_second: float | None) -> None:
    (link,) = parse_fabric(port_line("gpu-07-03 mlx5_2", "leaf-1", rate=rate)).links
    assert link.rate_bytes_per_second == bytes_per_second


def test_lines_that_cannot_be_read_are_counted_and_cost_nothing_else() -> None:
    text = f"ibwarn: [77] something\n{port_line('gpu-07-03 mlx5_2', 'leaf-1')}\nCA 1\n"
    fabric = parse_fabric(text)
    assert (len(fabric.links), fabric.unreadable) == (1, 2)
    assert parse_fabric("") == Fabric(())


def test_further_tiers_are_core_and_only_point_away_from_the_nodes() -> None:
    text = "\n".join(
        (
            port_line("gpu-07-03 mlx5_2", "leaf", guids="1 a"),
            port_line("leaf", "spine", kinds="SW SW", guids="a b"),
            port_line("spine", "leaf", kinds="SW SW", guids="b a")
            .replace(" 1  1 ", " 1  9 ")
            .replace(" 2 33 ", " 2  1 "),
            port_line("spine", "core", kinds="SW SW", guids="b c"),
        )
    )
    switches = to_topology(parse_fabric(text)).switches
    assert {name: switch.tier for name, switch in switches.items()} == {
        "leaf": "leaf",
        "spine": "spine",
        "core": "core",
    }
    assert switches["leaf"].uplinks == {1: SwitchPort("spine", 33)}
    assert switches["spine"].uplinks == {1: SwitchPort("core", 33)}
