"""The ports of switches (and of adapters, seen from the fabric), by `perfquery` and `ibqueryerrors`.

Metrics are named as those of https://github.com/treydock/infiniband_exporter where it has them, so its dashboards fit.

Counters stop at all ones and are cleared by whoever writes them (the subnet manager, `perfquery -r`): values stay as
the port gave them.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.fabric.reading import Reading
from collector.fabric.topology import ADAPTER, Link, host_and_device

_BYTES_PER_WORD = 4  # of PortXmitData and PortRcvData (IBTA, PortCounters)
_WORDS = frozenset({"PortXmitData", "PortRcvData"})
_ALL_PORTS = 255  # the sum over the others, on switches that can add up

METRICS: Mapping[str, str] = {
    "PortXmitData": "port_transmit_data_bytes_total",
    "PortRcvData": "port_receive_data_bytes_total",
    "PortXmitPkts": "port_transmit_packets_total",
    "PortRcvPkts": "port_receive_packets_total",
    "PortUnicastXmitPkts": "port_unicast_transmit_packets_total",
    "PortUnicastRcvPkts": "port_unicast_receive_packets_total",
    "PortMulticastXmitPkts": "port_multicast_transmit_packets_total",
    "PortMulticastRcvPkts": "port_multicast_receive_packets_total",
    "SymbolErrorCounter": "port_symbol_error_total",
    "LinkErrorRecoveryCounter": "port_link_error_recovery_total",
    "LinkDownedCounter": "port_link_downed_total",
    "PortRcvErrors": "port_receive_errors_total",
    "PortRcvRemotePhysicalErrors": "port_receive_remote_physical_errors_total",
    "PortRcvSwitchRelayErrors": "port_receive_switch_relay_errors_total",
    "PortXmitDiscards": "port_transmit_discards_total",
    "PortXmitConstraintErrors": "port_transmit_constraint_errors_total",
    "PortRcvConstraintErrors": "port_receive_constraint_errors_total",
    "LocalLinkIntegrityErrors": "port_local_link_integrity_errors_total",
    "ExcessiveBufferOverrunErrors": "port_excessive_buffer_overrun_errors_total",
    "VL15Dropped": "port_vl15_dropped_total",
    "PortXmitWait": "port_transmit_wait_total",
    "QP1Dropped": "port_qp1_dropped_total",
}
"""The counters of every port, and the metric that each becomes (without `infiniband_switch_`)."""

DETAILS: Mapping[str, str] = {
    "PortInactiveDiscards": "port_inactive_discards_total",
    "PortNeighborMTUDiscards": "port_neighbor_mtu_discards_total",
    "PortSwLifetimeLimitDiscards": "port_switch_lifetime_limit_discards_total",
    "PortSwHOQLifetimeLimitDiscards": "port_switch_hoq_lifetime_limit_discards_total",
    "PortLocalPhysicalErrors": "port_local_physical_errors_total",
    "PortMalformedPktErrors": "port_malformed_packet_errors_total",
    "PortBufferOverrunErrors": "port_buffer_overrun_errors_total",
    "PortDLIDMappingErrors": "port_dli_mapping_errors_total",  # its name as infiniband_exporter spells it
    "PortVLMappingErrors": "port_vl_mapping_errors_total",
    "PortLoopingErrors": "port_looping_errors_total",
}
"""What discards (`perfquery -D`) and receive errors (`perfquery -E`) were of."""

_EVERY_METRIC = {**METRICS, **DETAILS}
# The basic set has them too, but in 32 bits: at 400 Gb/s those are full in a third of a second.
_IN_EXTENDED_SET = frozenset({"PortXmitData", "PortRcvData", "PortXmitPkts", "PortRcvPkts"})


@dataclass(slots=True)
class PortCounters:
    """Counters by name of each port by number, as the tool names them and counts them (data in words).

    What was left out is in `dropped`, by reason.
    """

    ports: dict[int, dict[str, int]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)

    def lacks(self, counter: str) -> bool:
        """Is there a port without this counter."""
        return any(counter not in counters for counters in self.ports.values())

    def completed(self, basic: "PortCounters") -> "PortCounters":
        """These of the extended set, and what only the basic set or the details have.

        Left out and counted: the 32 bits of data and packets of a port without the extended set (`too_narrow`).
        """
        merged = {port: dict(counters) for port, counters in self.ports.items()}
        dropped = self.dropped + basic.dropped
        for port, counters in basic.ports.items():
            own = merged.setdefault(port, {})
            for name, value in counters.items():
                if name in own:
                    continue
                if name in _IN_EXTENDED_SET:
                    dropped["too_narrow"] += 1
                else:
                    own[name] = value
        return PortCounters(merged, dropped)


_FIELD = re.compile(r"(?P<name>\w+):\.*(?P<value>-?\w*)")
_NO_COUNTERS = frozenset({"PortSelect", "CounterSelect", "CounterSelect2"})


def parse_perfquery(text: str) -> PortCounters:
    """Read what any form of `perfquery` printed, for one port or several.

    The sum over all ports is left out. Counters that we do not know are too: their meaning is not known.
    """
    found = PortCounters()
    port: int | None = None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        field_ = _FIELD.fullmatch(line.strip())
        if field_ is None:
            found.dropped["unreadable"] += 1
            continue
        name, value = field_["name"], field_["value"]
        if name == "PortSelect":
            port = int(value) if value.isdecimal() else None
            continue
        if name in _NO_COUNTERS or name not in _EVERY_METRIC or port == _ALL_PORTS:
            continue
        if port is None or not value.isdecimal():
            found.dropped["unreadable"] += 1
            continue
        found.ports.setdefault(port, {})[name] = int(value)
    return found


@dataclass(frozen=True, slots=True)
class ErrorPort:
    """A port that ibqueryerrors found worth telling: of whom, and its counters (data in words)."""

    name: str
    guid: str
    port: int
    counters: Mapping[str, int]


_OWNER = re.compile(r'(?:Errors|Data Counters) for (?:0x[0-9a-f]+ )?"(?P<name>.*)"')
_PORT = re.compile(r"GUID 0x(?P<guid>[0-9a-f]+) port (?P<port>\d+|ALL):(?P<counters>.*)")
_COUNTER = re.compile(r"\[(?P<name>\w+) == (?P<value>\d+)[^\]]*\]")


def parse_ibqueryerrors(text: str) -> list[ErrorPort]:
    """Read what `ibqueryerrors` printed, with data counters or without.

    Its `port ALL` lines are left out: they sum the others up. So is what `--details` adds: the program (44.0) prints
    it with the names of another table, such as local physical errors as `PortInactiveDiscards`; `perfquery -D` and
    `-E` name it rightly.
    """
    found = []
    owner = ""
    for line in text.splitlines():
        if begun := _OWNER.fullmatch(line.strip()):
            owner = begun["name"].strip()
        elif (told := _PORT.match(line.strip())) and told["port"] != "ALL":
            counters = {
                counter["name"]: int(counter["value"])
                for counter in _COUNTER.finditer(told["counters"])
                if counter["name"] in METRICS
            }
            if counters:
                found.append(ErrorPort(owner, f"0x{int(told['guid'], 16):016x}", int(told["port"]), counters))
    return found


def switch_reading(switch: str, guid: str, counters: PortCounters, time_unix_ns: int) -> Reading:
    """The counters of one switch as metrics with the labels `switch`, `guid` and `port`.

    What is at the other end of the cable is told by `infiniband_switch_uplink_info` (`wiring_reading`), and not by a
    label of every series: a link that goes down would end its series just when they matter.
    """
    reading = Reading(dropped=counters.dropped.copy())
    for port, values in sorted(counters.ports.items()):
        labels = {"switch": switch, "guid": guid, "port": str(port)}
        _add_counters(reading, "infiniband_switch", values, labels, time_unix_ns)
    return reading


def adapter_reading(ports: list[ErrorPort], links: Mapping[str, Link], time_unix_ns: int) -> Reading:
    """The counters of adapters as metrics with the labels `node`, `device`, `port` and `guid`.

    Args:
        ports: of a fabric, those with errors.
        links: what is known of adapters by the GUID of their port.
        time_unix_ns: when they were read.
    """
    reading = Reading()
    for found in ports:
        link = links.get(found.guid)
        owner = host_and_device(link.near) if link is not None else None
        if link is None or owner is None or link.near.kind != ADAPTER:
            continue
        node, device = owner
        labels = {"node": node, "device": device, "port": str(found.port), "guid": found.guid}
        _add_counters(reading, "infiniband_hca", found.counters, labels, time_unix_ns)
    return reading


def wiring_reading(switch: str, links: list[Link]) -> Reading:
    """What one switch is, the rates of its ports and where they lead, as infiniband_exporter tells it."""
    reading = Reading()
    for link in links:
        labels = {"switch": switch, "guid": link.near.guid, "port": str(link.near.port)}
        rate = link.rate_bytes_per_second
        if rate is not None:
            reading.add(
                "infiniband_switch_port_rate_bytes_per_second", "gauge", "Data rate that was negotiated", labels, rate
            )
        if link.far is not None:
            uplink = {
                "uplink": link.far.name,
                "uplink_guid": link.far.guid,
                "uplink_type": link.far.kind,
                "uplink_port": str(link.far.port),
                "uplink_lid": str(link.far.lid),
            }
            reading.add("infiniband_switch_uplink_info", "gauge", "The other end; always 1", labels | uplink, 1.0)
    if links:
        near = links[0].near
        info = {"switch": switch, "guid": near.guid, "lid": str(near.lid)}
        reading.add("infiniband_switch_info", "gauge", "The switch; always 1", info, 1.0)
    return reading


def _add_counters(
    reading: Reading, prefix: str, counters: Mapping[str, int], labels: Mapping[str, str], time_unix_ns: int
) -> None:
    for name, value in counters.items():
        scale = _BYTES_PER_WORD if name in _WORDS else 1
        metric = f"{prefix}_{_EVERY_METRIC[name]}"
        reading.add(metric, "counter", f"{name} of the port", labels, float(value * scale), time_unix_ns)
