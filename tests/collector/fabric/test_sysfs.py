"""The reader of sysfs against what node_exporter told of the same tree, and against all that a file can hold."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.errors import ReadingError
from collector.fabric.sysfs import COUNTERS, EthernetPort, ethernet_ports, read_adapters
from tests.collector.fabric.samples import IB, Values, needs_samples, value_of, values_of

_FILES = {metric: f"{folder}/{file}" for folder, files in COUNTERS.items() for file, metric in files.items()}
_IN_BYTES = {"port_rcv_data", "port_xmit_data", "port_rcv_data_64", "port_xmit_data_64"}


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def port_folder(sysfs: Path, device: str = "mlx5_0", port: str = "1", *, link_layer: str = "InfiniBand") -> Path:
    """A port as the kernel shows it, without counters."""
    folder = sysfs / "class" / "infiniband" / device / "ports" / port
    for file, text in {
        "state": "4: ACTIVE",
        "phys_state": "5: LinkUp",
        "rate": "400 Gb/sec (4X NDR)",
        "link_layer": link_layer,
    }.items():
        write(folder / file, text)
    return folder


def told_by_node_exporter(file: str) -> Values:
    families = text_string_to_metric_families((IB / file).read_text())
    return {
        (sample.name, frozenset((name, text) for name, text in sample.labels.items() if text)): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("node_infiniband_")
    }


def rebuild(sysfs: Path, told: Values) -> None:
    """The tree that node_exporter must have seen to tell this."""
    for (name, labelled), value in told.items():
        labels = dict(labelled)
        device = sysfs / "class" / "infiniband" / labels["device"]
        metric = name.removeprefix("node_infiniband_")
        if metric == "info":
            (device / "ports").mkdir(parents=True, exist_ok=True)
            for file, label in {"board_id": "board_id", "fw_ver": "firmware_version", "hca_type": "hca_type"}.items():
                if label in labels:
                    write(device / file, labels[label])
            continue
        port = device / "ports" / labels["port"]
        match metric:
            case "state_id":
                write(port / "state", f"{value:.0f}: STATE")
            case "physical_state_id":
                write(port / "phys_state", f"{value:.0f}: State")
            case "rate_bytes_per_second":
                write(port / "rate", f"{value / 125e6:g} Gb/sec (4X)")
            case "lifespan_seconds":
                write(port / "hw_counters" / "lifespan", "12")
            case _:
                file = _FILES[metric]
                words = 4 if file.rpartition("/")[2] in _IN_BYTES else 1
                write(port / file, f"{value / words:.0f}")


@needs_samples
@pytest.mark.parametrize(
    ("file", "series"),
    [("node_exporter-1.11.1-mlx5-ndr-tree.prom", 495), ("node_exporter-1.5.0-infiniband-fixture.prom", 51)],
)
def test_it_tells_what_node_exporter_told_of_the_same_tree(tmp_path: Path, file: str, series: int) -> None:
    told = told_by_node_exporter(file)
    rebuild(tmp_path, told)
    reading = read_adapters(tmp_path)
    found = values_of(reading)
    assert len(told) == series
    assert found.keys() == told.keys()
    # node_exporter divides milliseconds to whole seconds; that much is known to differ.
    differing = {name for (name, labels), value in told.items() if found[name, labels] != value}
    assert differing <= {"node_infiniband_lifespan_seconds"}
    assert not reading.dropped


@needs_samples
def test_types_are_those_of_node_exporter(tmp_path: Path) -> None:
    file = "node_exporter-1.11.1-mlx5-ndr-tree.prom"
    rebuild(tmp_path, told_by_node_exporter(file))
    lines = (IB / file).read_text().splitlines()
    types = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE node_infiniband_"))
    assert {family.name: family.kind for family in read_adapters(tmp_path).families.values()} == types


@pytest.mark.parametrize(
    ("file", "metric", "value"),
    [
        ("counters/port_xmit_data", "port_data_transmitted_bytes_total", 40.0),
        ("counters/port_rcv_data", "port_data_received_bytes_total", 40.0),
        ("counters_ext/port_rcv_data_64", "legacy_data_received_bytes_total", 40.0),
        ("counters/port_xmit_wait", "port_transmit_wait_total", 10.0),
        ("counters/VL15_dropped", "vl15_dropped_total", 10.0),
        ("counters/port_xmit_discards", "port_discards_transmitted_total", 10.0),
        ("hw_counters/np_ecn_marked_roce_packets", "np_ecn_marked_roce_packets_received_total", 10.0),
        ("hw_counters/np_cnp_sent", "np_cnp_packets_sent_total", 10.0),
        ("hw_counters/rp_cnp_handled", "rp_cnp_packets_handled_total", 10.0),
        ("hw_counters/out_of_sequence", "out_of_sequence_packets_received_total", 10.0),
        ("hw_counters/packet_seq_err", "packet_sequence_errors_total", 10.0),
        ("hw_counters/rnr_nak_retry_err", "rnr_nak_retry_packets_received_total", 10.0),
        ("hw_counters/roce_slow_restart", "roce_slow_restart_used_total", 10.0),
        ("hw_counters/roce_slow_restart_trans", "roce_slow_restart_total", 10.0),
        ("hw_counters/roce_adp_retrans_to", "roce_adp_retransmits_timeout_total", 10.0),
        ("hw_counters/lifespan", "lifespan_seconds", 0.01),
    ],
)
def test_a_file_of_the_kernel_becomes_the_metric_of_its_meaning(
    tmp_path: Path, file: str, metric: str, value: float
) -> None:
    write(port_folder(tmp_path, link_layer="Ethernet") / file, "10")
    assert value_of(read_adapters(tmp_path), f"node_infiniband_{metric}", device="mlx5_0", port="1") == value


def test_a_counter_at_its_end_is_told_as_it_is(tmp_path: Path) -> None:
    write(port_folder(tmp_path) / "counters" / "port_xmit_wait", "4294967295")
    assert value_of(read_adapters(tmp_path), "node_infiniband_port_transmit_wait_total") == 4294967295.0


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("counters/symbol_error", "N/A (no PMA)", "not_available"),
        ("counters/symbol_error", "garbage", "not_a_number"),
        ("counters/symbol_error", "", "not_a_number"),
        ("counters/symbol_error", "1_0", "not_a_number"),
        ("counters/symbol_error", "1e3", "not_a_number"),
        ("counters/symbol_error", "-5", "out_of_range"),
        ("counters/symbol_error", str(2**64), "out_of_range"),
        ("counters/symbol_error", "9" * 4000, "out_of_range"),
        ("counters/port_xmit_data", str(2**62), "out_of_range"),
        ("hw_counters/lifespan", "9" * 4000, "not_a_number"),
        ("rate", "Unknown", "not_a_number"),
        ("rate", "", "not_a_number"),
        ("state", "ACTIVE", "not_a_number"),
    ],
)
def test_a_file_that_holds_no_value_costs_its_own_series_only(
    tmp_path: Path, file: str, text: str, reason: str
) -> None:
    folder = port_folder(tmp_path)
    write(folder / "counters" / "link_downed", "3")
    before = values_of(read_adapters(tmp_path))
    write(folder / file, text)
    reading = read_adapters(tmp_path)
    assert reading.dropped == {reason: 1}
    lost = before.keys() - values_of(reading).keys()
    assert {name for name, _ in lost} <= {"node_infiniband_rate_bytes_per_second", "node_infiniband_state_id"}
    assert value_of(reading, "node_infiniband_link_downed_total") == 3.0


def test_a_file_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    folder = port_folder(tmp_path)
    (folder / "counters" / "symbol_error").mkdir(parents=True)  # reading it fails, as for a counter a driver lacks
    (folder / "rate").unlink()
    reading = read_adapters(tmp_path)
    assert reading.dropped == {"unreadable": 2}
    assert value_of(reading, "node_infiniband_state_id") == 4.0


@pytest.mark.parametrize("exists", [True, False])
def test_a_machine_without_adapters_is_told(tmp_path: Path, *, exists: bool) -> None:
    if exists:
        (tmp_path / "class" / "infiniband").mkdir(parents=True)
    with pytest.raises(ReadingError, match="driver") as told:
        read_adapters(tmp_path)
    assert told.value.reason == "no_devices"


def test_the_interface_of_an_ethernet_port_is_that_of_its_first_address(tmp_path: Path) -> None:
    folder = port_folder(tmp_path, "mlx5_2", link_layer="Ethernet")
    port_folder(tmp_path, "mlx5_3")
    write(folder / "gid_attrs" / "ndevs" / "0", "ens1f0np0")
    write(tmp_path / "class" / "net" / "ens1f0np0" / "device" / "vendor", "0x15b3")
    # A switch-mode adapter shows its representors beside it, with the same dev_port.
    for interface in ("ens1f0np0", "enp1s0f0npf0vf0"):
        write(tmp_path / "class" / "infiniband" / "mlx5_2" / "device" / "net" / interface / "dev_port", "0")
    assert ethernet_ports(tmp_path) == [EthernetPort("mlx5_2", "1", "ens1f0np0")]


def test_the_interface_of_a_bond_is_the_hardware_under_it(tmp_path: Path) -> None:
    folder = port_folder(tmp_path, "mlx5_bond_0", link_layer="Ethernet")
    write(folder / "gid_attrs" / "ndevs" / "0", "bond0")
    write(tmp_path / "class" / "infiniband" / "mlx5_bond_0" / "device" / "net" / "ens2f0np0" / "dev_port", "0")
    assert ethernet_ports(tmp_path) == [EthernetPort("mlx5_bond_0", "1", "ens2f0np0")]


def test_ports_of_one_adapter_have_their_own_interfaces(tmp_path: Path) -> None:
    for port, interface in (("1", "ens3"), ("2", "ens3d1")):
        port_folder(tmp_path, "mlx4_0", port, link_layer="Ethernet")
        net = tmp_path / "class" / "infiniband" / "mlx4_0" / "device" / "net"
        write(net / interface / "dev_port", str(int(port) - 1))
    assert ethernet_ports(tmp_path) == [EthernetPort("mlx4_0", "1", "ens3"), EthernetPort("mlx4_0", "2", "ens3d1")]
