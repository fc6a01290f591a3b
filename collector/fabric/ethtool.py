"""The statistics of Ethernet NICs, as `ethtool -S` prints them.

Names are those of node_exporter's ethtool collector (1.12): `rx_prio3_pause` is `node_ethtool_received_prio3_pause`.
Like there the type is not known, which makes a gauge: drivers do not tell what falls and what only grows.
https://github.com/prometheus/node_exporter/blob/master/collector/ethtool_linux.go
"""

import re

from collector.fabric.reading import Reading
from collector.fabric.sysfs import EthernetPort

_FORBIDDEN = re.compile(r"_*[^0-9A-Za-z_]+_*")
_RECEIVED = re.compile(r"(^|_)rx(_|$)")
_TRANSMITTED = re.compile(r"(^|_)tx(_|$)")
# These few have a name of their own there.
_TOTALS = frozenset({"rx_bytes", "rx_dropped", "rx_errors", "rx_packets", "tx_bytes", "tx_errors", "tx_packets"})


def metric_of(statistic: str) -> str:
    """The metric that a statistic of a driver becomes."""
    name = _FORBIDDEN.sub("_", statistic)
    total = "_total" if name in _TOTALS else ""
    name = _RECEIVED.sub(r"\1received\2", name.lower().lstrip("_"))
    name = _TRANSMITTED.sub(r"\1transmitted\2", name)
    return f"node_ethtool_{name}{total}"


def read_statistics(text: str, port: EthernetPort, wanted: re.Pattern[str]) -> Reading:
    """The statistics of one interface.

    Left out and counted: lines that are no statistic (`unreadable`), and statistics whose names become the same metric
    (`duplicate`; which of them is meant cannot be told). Those that are not wanted are left out and not counted.

    Args:
        text: what `ethtool -S INTERFACE` printed.
        port: whose interface it is. The labels are `device` (the interface), as node_exporter has it, and
            `rdma_device` and `rdma_port`, which it does not have: the port that these pauses hold back.
        wanted: searched for in the statistic's name.
    """
    reading = Reading()
    labels = {"device": port.interface, "rdma_device": port.device, "rdma_port": port.port}
    named: dict[str, list[int]] = {}
    for line in text.splitlines():
        statistic, colon, value = line.strip().rpartition(":")
        if not value and colon:
            continue  # a heading: `NIC statistics:`
        if not colon or not value.strip().isdecimal():
            reading.dropped["unreadable"] += bool(line.strip())
        elif wanted.search(statistic):
            named.setdefault(metric_of(statistic), []).append(int(value))
    for metric, values in named.items():
        if len(values) == 1:
            reading.add(metric, "gauge", "Statistic of the network driver", labels, float(values[0]))
        else:
            reading.dropped["duplicate"] += len(values)
    return reading
