"""Statistics of Ethernet NICs. The text is written by hand in the form of mlx5's, for want of a recorded one."""

import re

import pytest
from pydantic import ValidationError

from collector.fabric.ethtool import metric_of, read_statistics
from collector.fabric.sysfs import EthernetPort
from collector.settings import NicSettings
from tests.collector.fabric.samples import value_of, values_of

PORT = EthernetPort("mlx5_2", "1", "ens1f0np0")
WANTED = re.compile(NicSettings().statistics)
MLX5 = """NIC statistics:
     rx_packets: 5012345
     rx0_packets: 17
     tx_global_pause_duration: 0
     rx_discards_phy: 12
     rx_prio3_pause: 991
     rx_prio3_pause_duration: 4455
     rx_prio3_pause_transition: 40
     tx_prio3_pause: 7
     rx_prio3_discards: 3
     rx_prio3_bytes: 18446744073709551615
     rx_ecn_mark: 88
     [0]: rx_pause: 1
"""


@pytest.mark.parametrize(
    ("statistic", "metric"),
    [
        # As node_exporter's own tests have them.
        ("rx_bytes", "node_ethtool_received_bytes_total"),
        ("tx_packets", "node_ethtool_transmitted_packets_total"),
        ("rx_missed", "node_ethtool_received_missed"),
        ("tx_aborted", "node_ethtool_transmitted_aborted"),
        ("port.rx_dropped", "node_ethtool_port_received_dropped"),
        ("rx_prio3_pause_duration", "node_ethtool_received_prio3_pause_duration"),
        ("tx_prio0_pause", "node_ethtool_transmitted_prio0_pause"),
        ("[0]: rx_bytes", "node_ethtool_0_received_bytes"),
        ("rx", "node_ethtool_received"),
        ("prefix_rx", "node_ethtool_prefix_received"),
        ("ptx_rxq", "node_ethtool_ptx_rxq"),
        ("Tx__Pause", "node_ethtool_transmitted__pause"),
    ],
)
def test_a_statistic_is_named_as_node_exporter_names_it(statistic: str, metric: str) -> None:
    assert metric_of(statistic) == metric


def test_pauses_and_discards_are_kept_with_the_rdma_port_that_they_hold_back() -> None:
    reading = read_statistics(MLX5, PORT, WANTED)
    labels = {"device": "ens1f0np0", "rdma_device": "mlx5_2", "rdma_port": "1"}
    assert value_of(reading, "node_ethtool_received_prio3_pause", **labels) == 991.0
    assert value_of(reading, "node_ethtool_received_prio3_pause_duration", **labels) == 4455.0
    assert value_of(reading, "node_ethtool_transmitted_prio3_pause", **labels) == 7.0
    assert value_of(reading, "node_ethtool_received_discards_phy", **labels) == 12.0
    assert value_of(reading, "node_ethtool_received_prio3_discards", **labels) == 3.0
    assert value_of(reading, "node_ethtool_received_ecn_mark", **labels) == 88.0
    assert value_of(reading, "node_ethtool_received_prio3_bytes", **labels) == 2.0**64
    assert value_of(reading, "node_ethtool_received_packets_total") is None, "not asked for"
    assert not reading.dropped


def test_names_that_become_one_are_left_out_and_counted() -> None:
    reading = read_statistics("NIC statistics:\n  rx.pause: 1\n  rx_pause: 2\n  tx_pause: 3\n", PORT, WANTED)
    assert list(values_of(reading).values()) == [3.0]
    assert reading.dropped == {"duplicate": 2}


def test_a_pattern_that_is_no_regular_expression_is_told() -> None:
    with pytest.raises(ValidationError, match=r"'\(pause' is no regular expression: missing \)"):
        NicSettings(statistics="(pause")


def test_a_line_that_is_no_statistic_is_counted() -> None:
    reading = read_statistics("NIC statistics:\n  rx_pause: many\n  what\n\n  tx_pause: -3\n", PORT, WANTED)
    assert reading.samples_count == 0
    assert reading.dropped == {"unreadable": 3}
