"""What perfquery and ibqueryerrors print, and the metrics that it makes."""

import re
from pathlib import Path

import pytest

from collector.fabric.switches import (
    DETAILS,
    METRICS,
    PortCounters,
    adapter_reading,
    parse_ibqueryerrors,
    parse_perfquery,
    switch_reading,
    wiring_reading,
)
from collector.fabric.topology import parse_fabric
from tests.collector.fabric.samples import FIXTURES, IB, needs_samples, value_of, values_of

SAMPLES = sorted([*IB.glob("perfquery*.txt"), *FIXTURES.glob("perfquery*/*.out")]) if IB.is_dir() else []


@needs_samples
@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.name)
def test_every_recorded_counter_is_read(file: Path) -> None:
    text = file.read_text()
    expected = {
        (int(port), name): int(value)
        for port, block in re.findall(r"PortSelect:\.+(\d+)\n((?:[^P#].*\n|P(?!ortSelect).*\n)*)", text)
        for name, value in re.findall(r"^(\w+):\.*(\d+)$", block, re.MULTILINE)
        if name in METRICS or name in DETAILS
    }
    found = parse_perfquery(text)
    assert {(port, name): value for port, own in found.ports.items() for name, value in own.items()} == expected
    assert not found.dropped
    assert bool(expected) == ("Xmit" in text or "PortLocal" in text) or "FlowCtl" in text


@needs_samples
def test_a_real_switch_is_told_as_infiniband_exporter_tells_it() -> None:
    counters = parse_perfquery((FIXTURES / "perfquery" / "0x7cfe9003009ce5b0.out").read_text())
    reading = switch_reading("ib-i1l1s01", "0x7cfe9003009ce5b0", counters, 5)
    labels = {"switch": "ib-i1l1s01", "guid": "0x7cfe9003009ce5b0"}
    # As that exporter's own test has them.
    for metric, one, two in (
        ("port_transmit_packets_total", 101733204203.0, 122978948297.0),
        ("port_transmit_wait_total", 22730501.0, 36510964.0),
        ("port_unicast_receive_packets_total", 26677661727.0, 93660802641.0),
        ("port_transmit_data_bytes_total", 4 * 36298026860928.0, 4 * 26006570014026.0),
        ("port_vl15_dropped_total", 0.0, 0.0),
    ):
        assert value_of(reading, f"infiniband_switch_{metric}", port="1", **labels) == one
        assert value_of(reading, f"infiniband_switch_{metric}", port="2", **labels) == two
    assert reading.samples_count == 2 * len(METRICS)
    assert {sample.time_unix_ns for family in reading.families.values() for sample in family.samples} == {5}
    assert {family.kind for family in reading.families.values()} == {"counter"}


@needs_samples
def test_the_extended_set_goes_before_the_basic_one() -> None:
    extended = parse_perfquery((IB / "perfquery-x-loop-leaf1-congested.txt").read_text())
    basic = parse_perfquery((IB / "perfquery-loop-leaf1-congested.txt").read_text())
    assert extended.lacks("PortXmitWait")
    whole = extended.completed(basic)
    assert not whole.lacks("PortXmitWait")
    assert whole.ports[3]["PortXmitData"] == 14654785759553, "not the 32 bits of the basic set"
    assert whole.ports[3]["PortXmitWait"] == 4294967295, "its end is told as it is"
    assert whole.ports[3]["PortXmitDiscards"] == 10


@needs_samples
def test_without_the_extended_set_the_basic_one_tells_all_but_data_and_packets() -> None:
    basic = parse_perfquery((IB / "perfquery-leaf1-p3.txt").read_text())
    whole = PortCounters().completed(basic)
    narrow = {"PortXmitData", "PortRcvData", "PortXmitPkts", "PortRcvPkts"}
    assert whole.ports[3].keys() == basic.ports[3].keys() - narrow
    assert whole.dropped == {"too_narrow": 4}


def test_the_sum_over_all_ports_is_left_out() -> None:
    text = "PortSelect:......................{}\nPortXmitWait:....................5\n"
    assert parse_perfquery(text.format(255) + text.format(1)).ports == {1: {"PortXmitWait": 5}}


def test_lines_that_are_no_counters_are_counted() -> None:
    text = (
        "ibwarn: [13] mad_rpc: failed\nPortXmitWait:....5\nPortSelect:.....1\nPortXmitWait:.....N\nNewCounter:....7\n"
    )
    found = parse_perfquery(text)
    assert (found.ports, found.dropped) == ({}, {"unreadable": 3})


@needs_samples
def test_ports_with_errors_are_read_without_their_sum() -> None:
    found = {
        (port.name, port.guid, port.port): port.counters
        for port in parse_ibqueryerrors((IB / "ibqueryerrors.txt").read_text())
    }
    assert found == {
        ("gpu-node-04", "0x0000000000100009", 1): {"PortRcvErrors": 9},
        ("leaf-2", "0x0000000000200004", 1): {
            "SymbolErrorCounter": 65535,
            "LinkErrorRecoveryCounter": 12,
            "LinkDownedCounter": 3,
            "PortRcvErrors": 4211,
            "LocalLinkIntegrityErrors": 15,
        },
        ("leaf-1", "0x0000000000200003", 3): {
            "LinkDownedCounter": 255,
            "PortXmitDiscards": 37,
            "PortXmitWait": 3456789012,
        },
    }


@needs_samples
def test_details_under_names_of_another_table_are_not_taken() -> None:
    text = (IB / "ibqueryerrors-data-details.txt").read_text()
    assert "PortInactiveDiscards == 4200" in text, "they are local physical errors"
    (bad,) = [port for port in parse_ibqueryerrors(text) if port.name == "leaf-2"]
    assert not bad.counters.keys() & DETAILS.keys()
    assert bad.counters["PortXmitData"] == 4536


@needs_samples
@pytest.mark.parametrize("name", ["ibqueryerrors-badlink.txt", "ibqueryerrors-data-details.txt", "ibqueryerrors.txt"])
def test_every_port_that_has_errors_is_read_once(name: str) -> None:
    text = (IB / name).read_text()
    told = re.findall(r"GUID 0x(\w+) port (\d+):", text)
    assert [(port.guid, port.port) for port in parse_ibqueryerrors(text)] == [
        (f"0x{int(guid, 16):016x}", int(port)) for guid, port in told
    ]
    assert told


@needs_samples
def test_errors_of_an_adapter_belong_to_its_node() -> None:
    fabric = parse_fabric((IB / "ibnetdiscover.txt").read_text())
    links = {link.near.guid: link for link in fabric.links}
    reading = adapter_reading(parse_ibqueryerrors((IB / "ibqueryerrors-data-details.txt").read_text()), links, 5)
    assert value_of(reading, "infiniband_hca_port_receive_errors_total", node="gpu-node-04", port="1") == 9.0
    assert value_of(reading, "infiniband_hca_port_transmit_data_bytes_total", node="gpu-node-04") == 4 * 4392.0
    assert {dict(labels)["node"] for _, labels in values_of(reading)} == {"gpu-node-04"}, "switches are told elsewhere"


@needs_samples
def test_where_a_switch_leads_is_told_as_infiniband_exporter_tells_it() -> None:
    fabric = parse_fabric((FIXTURES / "ibnetdiscover" / "test.out").read_text())
    reading = wiring_reading("ib-i4l1s01", fabric.links_by_switch["0x506b4b03005c2740"])
    labels = {"switch": "ib-i4l1s01", "guid": "0x506b4b03005c2740", "port": "35"}
    uplink = {
        "uplink": "p0001 HCA-1",
        "uplink_guid": "0x506b4b0300cc02a6",
        "uplink_type": "CA",
        "uplink_port": "1",
        "uplink_lid": "1432",
    }
    assert values_of(reading) == {
        ("infiniband_switch_uplink_info", frozenset((labels | uplink).items())): 1.0,
        ("infiniband_switch_port_rate_bytes_per_second", frozenset(labels.items())): 12.5e9,
        (
            "infiniband_switch_info",
            frozenset({"switch": "ib-i4l1s01", "guid": "0x506b4b03005c2740", "lid": "2052"}.items()),
        ): 1.0,
    }
