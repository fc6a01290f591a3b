"""The adapters of this machine, read from `/sys/class/infiniband`.

Names, units and labels are those of node_exporter's InfiniBand collector (1.12), so that it does not matter who reads:
https://github.com/prometheus/node_exporter/blob/master/collector/infiniband_linux.go. Two things differ on purpose. A
file that cannot be read costs one series here, and there the whole machine's. And `lifespan_seconds` keeps its fraction
(the driver says 12 ms, which there becomes 0 s).

The files: https://www.kernel.org/doc/Documentation/ABI/stable/sysfs-class-infiniband
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from collector.errors import ReadingError
from collector.fabric.reading import Reading

_FILE_BYTES_MAX = 4096  # no attribute of sysfs is longer than a page
_COUNTER_MAX = 2**64 - 1
_BYTES_PER_WORD = 4  # data is counted in words of four bytes (IBTA, PortCounters), whatever the width of the link
_WORDS = frozenset({"port_rcv_data", "port_xmit_data", "port_rcv_data_64", "port_xmit_data_64"})

COUNTERS: Mapping[str, Mapping[str, str]] = {
    "counters": {
        "VL15_dropped": "vl15_dropped_total",
        "excessive_buffer_overrun_errors": "excessive_buffer_overrun_errors_total",
        "link_downed": "link_downed_total",
        "link_error_recovery": "link_error_recovery_total",
        "local_link_integrity_errors": "local_link_integrity_errors_total",
        "multicast_rcv_packets": "multicast_packets_received_total",
        "multicast_xmit_packets": "multicast_packets_transmitted_total",
        "port_rcv_constraint_errors": "port_constraint_errors_received_total",
        "port_rcv_data": "port_data_received_bytes_total",
        "port_rcv_discards": "port_discards_received_total",
        "port_rcv_errors": "port_errors_received_total",
        "port_rcv_packets": "port_packets_received_total",
        "port_rcv_remote_physical_errors": "port_receive_remote_physical_errors_total",
        "port_rcv_switch_relay_errors": "port_receive_switch_relay_errors_total",
        "port_xmit_constraint_errors": "port_constraint_errors_transmitted_total",
        "port_xmit_data": "port_data_transmitted_bytes_total",
        "port_xmit_discards": "port_discards_transmitted_total",
        "port_xmit_packets": "port_packets_transmitted_total",
        "port_xmit_wait": "port_transmit_wait_total",
        "symbol_error": "symbol_error_total",
        "unicast_rcv_packets": "unicast_packets_received_total",
        "unicast_xmit_packets": "unicast_packets_transmitted_total",
    },
    "counters_ext": {  # of kernels before 4.5
        "port_multicast_rcv_packets": "legacy_multicast_packets_received_total",
        "port_multicast_xmit_packets": "legacy_multicast_packets_transmitted_total",
        "port_rcv_data_64": "legacy_data_received_bytes_total",
        "port_rcv_packets_64": "legacy_packets_received_total",
        "port_unicast_rcv_packets": "legacy_unicast_packets_received_total",
        "port_unicast_xmit_packets": "legacy_unicast_packets_transmitted_total",
        "port_xmit_data_64": "legacy_data_transmitted_bytes_total",
        "port_xmit_packets_64": "legacy_packets_transmitted_total",
    },
    "hw_counters": {
        "duplicate_request": "duplicate_requests_packets_total",
        "implied_nak_seq_err": "implied_nak_seq_errors_total",
        "local_ack_timeout_err": "local_ack_timeout_errors_total",
        "np_cnp_sent": "np_cnp_packets_sent_total",
        "np_ecn_marked_roce_packets": "np_ecn_marked_roce_packets_received_total",
        "out_of_buffer": "out_of_buffer_drops_total",
        "out_of_sequence": "out_of_sequence_packets_received_total",
        "packet_seq_err": "packet_sequence_errors_total",
        "req_cqe_error": "req_cqes_errors_total",
        "req_cqe_flush_error": "req_cqes_flush_errors_total",
        "req_remote_access_errors": "req_remote_access_errors_total",
        "req_remote_invalid_request": "req_remote_invalid_request_errors_total",
        "resp_cqe_error": "resp_cqes_errors_total",
        "resp_cqe_flush_error": "resp_cqes_flush_errors_total",
        "resp_local_length_error": "resp_local_length_errors_total",
        "resp_remote_access_errors": "resp_remote_access_errors_total",
        "rnr_nak_retry_err": "rnr_nak_retry_packets_received_total",
        "roce_adp_retrans": "roce_adp_retransmits_total",
        "roce_adp_retrans_to": "roce_adp_retransmits_timeout_total",
        "roce_slow_restart": "roce_slow_restart_used_total",
        "roce_slow_restart_cnps": "roce_slow_restart_cnps_total",
        "roce_slow_restart_trans": "roce_slow_restart_total",
        "rp_cnp_handled": "rp_cnp_packets_handled_total",
        "rp_cnp_ignored": "rp_cnp_ignored_packets_received_total",
        "rx_atomic_requests": "rx_atomic_requests_total",
        "rx_dct_connect": "rx_dct_connect_requests_total",
        "rx_icrc_encapsulated": "rx_icrc_encapsulated_errors_total",
        "rx_read_requests": "rx_read_requests_total",
        "rx_write_requests": "rx_write_requests_total",
    },
}
"""The files of each folder of a port, and the metric that each becomes (without `node_infiniband_`)."""

_INTEGER = re.compile(r"-?[0-9]+")
_STATE = re.compile(r"(\d+): ")  # `4: ACTIVE`
_RATE = re.compile(r"(\d+(?:\.\d+)?) Gb/sec")  # `200 Gb/sec (4X HDR)`
_BYTES_PER_S_OF_GBPS = 125_000_000
_INFO = {"board_id": "board_id", "fw_ver": "firmware_version", "hca_type": "hca_type"}


@dataclass(frozen=True, slots=True)
class EthernetPort:
    """A port that speaks RDMA over Ethernet, and the network interface that counts its frames and pauses."""

    device: str
    port: str
    interface: str


def read_adapters(sysfs: Path) -> Reading:
    """Every port of every RDMA adapter: counters, state and rate.

    Left out and counted: files that cannot be read (`unreadable`), that say the hardware has no such counter
    (`not_available`), and that hold something else than this counter can be (`not_a_number`, `out_of_range`).

    Args:
        sysfs: where sysfs is mounted, usually `/sys`.

    Raises:
        ReadingError: `no_devices`, when there is none.
    """
    reading = Reading()
    for device in _devices(sysfs):
        info = {label: _text(device / file) or "" for file, label in _INFO.items()}
        reading.add("node_infiniband_info", "gauge", "The adapter; always 1", {"device": device.name} | info, 1.0)
        for port in _ports(device):
            _read_port(reading, port, {"device": device.name, "port": port.name})
    return reading


def ethernet_ports(sysfs: Path) -> list[EthernetPort]:
    """The ports of RDMA adapters whose link is Ethernet (RoCE), each with its network interface.

    Raises:
        ReadingError: `no_devices`, when there is no RDMA adapter.
    """
    return [
        EthernetPort(device.name, port.name, interface)
        for device in _devices(sysfs)
        for port in _ports(device)
        if _text(port / "link_layer") == "Ethernet"
        for interface in _interfaces(sysfs, device, port)
    ]


def _devices(sysfs: Path) -> list[Path]:
    folder = sysfs / "class" / "infiniband"
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise ReadingError(
            "no_devices",
            f"{folder} cannot be listed ({error.strerror}): this machine has no RDMA adapter, its driver is not "
            "loaded, or sysfs is mounted elsewhere (collector.fabric.sysfs)",
        ) from None
    if not found:
        raise ReadingError("no_devices", f"{folder} is empty: no driver of an RDMA adapter is loaded")
    return found


def _ports(device: Path) -> list[Path]:
    return sorted(_entries(device / "ports"), key=lambda port: (len(port.name), port.name))


def _read_port(reading: Reading, port: Path, labels: Mapping[str, str]) -> None:
    for name, metric, of_state in (
        ("state", "state_id", _state_id),
        ("phys_state", "physical_state_id", _state_id),
        ("rate", "rate_bytes_per_second", _rate),
    ):
        _read_value(reading, port / name, f"node_infiniband_{metric}", "gauge", labels, of_state)
    for folder, metrics in COUNTERS.items():
        for file in _entries(port / folder):
            if file.name in metrics:
                of_text = _bytes if file.name in _WORDS else _count
                _read_value(reading, file, f"node_infiniband_{metrics[file.name]}", "counter", labels, of_text)
    lifespan = port / "hw_counters" / "lifespan"
    if lifespan.exists():
        _read_value(reading, lifespan, "node_infiniband_lifespan_seconds", "gauge", labels, _seconds)


def _read_value(
    reading: Reading,
    file: Path,
    metric: str,
    kind: str,
    labels: Mapping[str, str],
    of_text: Callable[[str], float],
) -> None:
    text = _text(file)
    if text is None:
        reading.dropped["unreadable"] += 1
        return
    if text.startswith("N/A"):  # `N/A (no PMA)`: this port counts no such thing
        reading.dropped["not_available"] += 1
        return
    try:
        value = of_text(text)
    except (ValueError, OverflowError):
        reading.dropped["not_a_number"] += 1
        return
    if not 0 <= value <= _COUNTER_MAX:
        reading.dropped["out_of_range"] += 1
        return
    reading.add(metric, kind, f"/sys/class/infiniband: {file.name}", labels, float(value))


def _count(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(text)
    return int(text)


def _bytes(text: str) -> int:
    return _count(text) * _BYTES_PER_WORD


def _seconds(text: str) -> float:
    return _count(text) / 1000


def _state_id(text: str) -> int:
    return int(_first_group(_STATE, text))


def _rate(text: str) -> float:
    return float(_first_group(_RATE, text)) * _BYTES_PER_S_OF_GBPS


def _first_group(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    if found is None:
        raise ValueError(text)
    return found[1]


def _interfaces(sysfs: Path, device: Path, port: Path) -> Iterator[str]:
    """The interface that the port's first address belongs to; of a bond, and of a port without address, the hardware's.

    A switch-mode adapter shows its virtual functions beside the physical interface, so the address comes first.
    """
    addressed = _text(port / "gid_attrs" / "ndevs" / "0")
    if addressed and (sysfs / "class" / "net" / addressed / "device").exists():
        yield addressed
        return
    for interface in sorted(_entries(device / "device" / "net")):
        if _text(interface / "dev_port") in (None, str(int(port.name) - 1)):
            yield interface.name


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str | None:
    """What the file holds, in one read as drivers want it; None when it cannot be read."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(handle, _FILE_BYTES_MAX).decode(errors="replace").strip()
    except OSError:  # counters that a driver does not have answer EINVAL or EOPNOTSUPP
        return None
    finally:
        os.close(handle)
