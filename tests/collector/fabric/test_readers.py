"""The readers at work: programs that print recorded text, and what comes into the log."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.fabric.readers import FabricReaders
from collector.intake import Intake
from collector.settings import AcceptedTimes, FabricSettings, WalSettings
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog, read_segment, segments_in
from domain.topology import SwitchPort, Topology
from storage.errors import StoreError
from tests.collector.fabric.samples import IB, needs_samples
from tests.collector.fabric.test_programs import script
from tests.collector.fabric.test_sysfs import port_folder, write

Counted = Callable[..., float]
Series = dict[tuple[str, str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def wal(tmp_path: Path, telemetry: Telemetry) -> Iterator[WriteAheadLog]:
    log = WriteAheadLog(tmp_path / "wal", WalSettings(segment_age_s=3600), telemetry)
    yield log
    log.close()


@pytest.fixture
def logged(tmp_path: Path, wal: WriteAheadLog) -> Callable[[], Series]:
    """What is in the log: the last value of each series, by job, name and labels."""

    def read() -> Series:
        found: Series = {}
        for segment in segments_in(tmp_path / "wal"):
            for frame in read_segment(segment).frames:
                for resource in ExportMetricsServiceRequest.FromString(frame.payload).resource_metrics:
                    own = {one.key: one.value.string_value for one in resource.resource.attributes}
                    assert own["host.name"] == own["service.instance.id"] == "gpu-07-03"
                    for metric in resource.scope_metrics[0].metrics:
                        for point in [*metric.gauge.data_points, *metric.sum.data_points]:
                            labels = frozenset((one.key, one.value.string_value) for one in point.attributes)
                            found[own["service.name"], metric.name, labels] = point.as_double
        return found

    return read


@pytest.fixture
def readers(wal: WriteAheadLog, telemetry: Telemetry) -> Callable[..., FabricReaders]:
    """Readers with these settings, that tell `keep` the topology."""

    def make(keep: Callable[[Topology], None] = lambda _: None, **settings: Any) -> FabricReaders:
        fabric = FabricSettings.model_validate({"node": "gpu-07-03"} | settings)
        return FabricReaders(Intake(wal, AcceptedTimes(), telemetry), fabric, keep, telemetry)

    return make


def read_once(readers: FabricReaders, times: int = 1) -> str:
    (reader,) = readers.readers

    async def read() -> str:
        return [await readers.read(reader) for _ in range(times)][-1]

    return asyncio.run(read())


def test_by_default_nothing_is_read(readers: Callable[..., FabricReaders]) -> None:
    assert readers().readers == ()
    assert not FabricSettings().reads
    asyncio.run(asyncio.wait_for(readers().run(), 30))


def test_adapters_come_into_the_log_with_up_and_what_was_left_out_is_counted(
    tmp_path: Path, readers: Callable[..., FabricReaders], logged: Callable[[], Series], counted: Counted
) -> None:
    write(port_folder(tmp_path / "sys") / "counters" / "port_xmit_data", "10")
    write(port_folder(tmp_path / "sys") / "counters" / "symbol_error", "N/A (no PMA)")
    assert read_once(readers(sysfs=tmp_path / "sys", adapters={"enabled": True})) == "ok"
    found = logged()
    port = frozenset({"device": "mlx5_0", "port": "1"}.items())
    assert found["infiniband", "node_infiniband_port_data_transmitted_bytes_total", port] == 40.0
    assert found["infiniband", "node_infiniband_rate_bytes_per_second", port] == 50e9
    assert found["infiniband", "up", frozenset()] == 1.0
    assert found["infiniband", "scrape_samples_scraped", frozenset()] == 5.0
    assert ("infiniband", "scrape_duration_seconds", frozenset()) in found
    assert counted("scrapes_total", job="infiniband", result="ok") == 1
    assert counted("dropped_samples_total", job="infiniband", reason="not_available") == 1


def ended(tmp_path: Path) -> list[str]:
    """The metrics in the log that have ended."""
    return sorted(
        metric.name
        for segment in segments_in(tmp_path / "wal")
        for frame in read_segment(segment).frames
        for resource in ExportMetricsServiceRequest.FromString(frame.payload).resource_metrics
        for metric in resource.scope_metrics[0].metrics
        for point in [*metric.gauge.data_points, *metric.sum.data_points]
        if point.flags
    )


def test_a_series_of_the_fabric_that_is_gone_ends_once(tmp_path: Path, readers: Callable[..., FabricReaders]) -> None:
    counter = port_folder(tmp_path / "sys") / "counters" / "port_xmit_data"
    write(counter, "10")
    reading = readers(sysfs=tmp_path / "sys", adapters={"enabled": True})
    assert read_once(reading, 2) == "ok"
    assert not ended(tmp_path)
    counter.unlink()
    assert read_once(reading, 2) == "ok"
    assert ended(tmp_path) == ["node_infiniband_port_data_transmitted_bytes_total"]


def test_a_reader_that_finds_nothing_is_down_and_says_so_once(
    tmp_path: Path,
    readers: Callable[..., FabricReaders],
    logged: Callable[[], Series],
    counted: Counted,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = readers(sysfs=tmp_path / "sys", adapters={"enabled": True})
    assert read_once(failing, 3) == "no_devices"
    assert logged()["infiniband", "up", frozenset()] == 0.0
    assert counted("scrapes_total", job="infiniband", result="no_devices") == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "this machine has no RDMA adapter" in caplog.text
    caplog.set_level(logging.INFO)
    port_folder(tmp_path / "sys")
    assert read_once(failing) == "ok"
    assert "reads all again" in caplog.text


def test_pauses_of_each_interface_are_read_and_one_that_fails_costs_its_own(
    tmp_path: Path,
    readers: Callable[..., FabricReaders],
    logged: Callable[[], Series],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for device, interface in (("mlx5_0", "ens1"), ("mlx5_1", "ens2")):
        port_folder(tmp_path / "sys", device, link_layer="Ethernet")
        write(tmp_path / "sys" / "class" / "infiniband" / device / "device" / "net" / interface / "dev_port", "0")
    ethtool = script(
        tmp_path, '[ "$1 $2" = "-S ens1" ] && echo "     rx_prio3_pause: 9" && exit; echo "no stats" >&2; exit 94'
    )
    assert read_once(readers(sysfs=tmp_path / "sys", nics={"enabled": True, "ethtool": ethtool}), 2) == "partial"
    labels = frozenset({"device": "ens1", "rdma_device": "mlx5_0", "rdma_port": "1"}.items())
    assert logged()["ethtool", "node_ethtool_received_prio3_pause", labels] == 9.0
    assert logged()["ethtool", "up", frozenset()] == 1.0
    assert len(caplog.records) == 1
    assert "-S ens2` ended with status 94: no stats" in caplog.text


def test_without_an_ethernet_port_there_is_nothing_to_ask(
    tmp_path: Path, readers: Callable[..., FabricReaders]
) -> None:
    port_folder(tmp_path / "sys")
    assert read_once(readers(sysfs=tmp_path / "sys", nics={"enabled": True})) == "no_ethernet_ports"


def fabric_programs(folder: Path) -> dict[str, str]:
    """Programs that print what real ones printed: leaf-1 (lid 6) answers, another switch is out of reach."""
    return {
        "ibnetdiscover": script(folder, f"cat {IB}/ibnetdiscover-ports.txt", "ibnetdiscover"),
        "perfquery": script(
            folder,
            'case "$*" in\n'
            f'"-x -l 6 1,2,3,4") cat {IB}/perfquery-x-loop-leaf1-congested.txt;;\n'
            f'"-l 6 1,2,3,4") cat {IB}/perfquery-loop-leaf1-congested.txt;;\n'
            f'"-D 6 3") cat {IB}/perfquery-xmtdisc-leaf1-p3.txt;;\n'
            '*) echo "perfquery: iberror: failed: classportinfo query" >&2; exit 255;;\nesac',
            "perfquery",
        ),
        "ibqueryerrors": script(folder, f"cat {IB}/ibqueryerrors-data-details.txt", "ibqueryerrors"),
    }


@needs_samples
def test_a_fabric_comes_into_the_log_and_its_topology_is_kept(
    tmp_path: Path,
    readers: Callable[..., FabricReaders],
    logged: Callable[[], Series],
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept: list[Topology] = []
    switches = {"enabled": True, "details": True, "adapters": True, **fabric_programs(tmp_path)}
    assert read_once(readers(kept.append, switches=switches), 2) == "partial"
    (topology,) = kept  # told once, for it did not change
    assert topology.switches["leaf-1"].uplinks[3] == SwitchPort("spine-0", 2)
    found = logged()
    leaf = {"switch": "leaf-1", "guid": "0x0000000000200003"}
    port = frozenset((leaf | {"port": "3"}).items())
    for metric, value in (
        ("port_transmit_wait_total", 4294967295.0),
        ("port_transmit_data_bytes_total", 4 * 14654785759553.0),
        ("port_transmit_discards_total", 10.0),
        ("port_switch_hoq_lifetime_limit_discards_total", 37.0),
        ("port_rate_bytes_per_second", 12.5e9),
    ):
        assert found["infiniband-switches", f"infiniband_switch_{metric}", port] == value
    collected = frozenset((leaf | {"collector": "switch"}).items())
    assert found["infiniband-switches", "infiniband_switch_collect_error", collected] == 0.0
    errors = [value for (_, name, _), value in found.items() if name == "infiniband_switch_collect_error"]
    assert sorted(errors) == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert {dict(labels)["node"] for _, name, labels in found if name.startswith("infiniband_hca_")} == {"gpu-node-04"}
    assert "classportinfo query (and 4 more)" in caplog.text
    assert len(caplog.records) == 1


@needs_samples
def test_a_missing_perfquery_is_told_once_and_the_wiring_still_comes(
    tmp_path: Path,
    readers: Callable[..., FabricReaders],
    counted: Counted,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept: list[Topology] = []
    switches = {"enabled": True, **fabric_programs(tmp_path), "perfquery": str(tmp_path / "nowhere" / "perfquery")}
    assert read_once(readers(kept.append, switches=switches), 2) == "partial"
    assert len(kept) == 1
    assert [record.getMessage().count("install the package infiniband-diags") for record in caplog.records] == [1]
    assert counted("scrapes_total", job="infiniband-switches", result="partial") == 2


@needs_samples
def test_a_port_that_tells_nothing_is_told(
    tmp_path: Path, readers: Callable[..., FabricReaders], caplog: pytest.LogCaptureFixture
) -> None:
    programs = fabric_programs(tmp_path)
    # As perfquery does at a port that does not answer: the ports before it, then an error.
    programs["perfquery"] = script(
        tmp_path, f"cat {IB}/perfquery-x-leaf1-p3.txt; echo 'iberror: failed: perfquery' >&2; exit 255", "perfquery"
    )
    assert read_once(readers(switches={"enabled": True, **programs})) == "partial"
    assert "told nothing of ports 1, 2, 4 (and 5 more)" in caplog.text


SWITCHES = "".join(
    f"""SW {9 + number} 2 0x000000000020000{number} 4x EDR - CA {40 + number} 1 0x000000000010000{number} """
    f"""( 'leaf-{number}' - 'gpu-{number} mlx5_0' )\n"""
    for number in range(4)
)


def of_switches(found: Series, metric: str) -> list[float]:
    return sorted(value for (_, name, _), value in found.items() if name == f"infiniband_switch_{metric}")


def switches_of(folder: Path, perfquery: str, **more: Any) -> dict[str, Any]:
    """Four switches of one port each, and a perfquery that does this."""
    (folder / "wiring").write_text(SWITCHES)
    program = script(folder, perfquery, "perfquery")
    return {"enabled": True, "wiring_file": folder / "wiring", "perfquery": program, **more}


PORT = """echo "PortSelect:......................2"; echo "PortXmitDiscards:................7"; """


def test_a_detail_that_cannot_be_read_costs_itself_only(
    tmp_path: Path,
    readers: Callable[..., FabricReaders],
    logged: Callable[[], Series],
    caplog: pytest.LogCaptureFixture,
) -> None:
    perfquery = f'case "$*" in -D*) echo "mad_rpc failed" >&2; exit 1;; *) {PORT} echo "PortXmitWait:....7";; esac'
    assert read_once(readers(switches=switches_of(tmp_path, perfquery, details=True))) == "partial"
    assert of_switches(logged(), "port_transmit_discards_total") == [7.0] * 4
    assert of_switches(logged(), "collect_error") == [1.0] * 4
    assert "mad_rpc failed (and 3 more)" in caplog.text


def test_a_basic_set_that_cannot_be_read_costs_itself_only(
    tmp_path: Path, readers: Callable[..., FabricReaders], logged: Callable[[], Series]
) -> None:
    perfquery = f'case "$*" in -x*) {PORT};; *) echo "mad_rpc failed" >&2; exit 1;; esac'
    assert read_once(readers(switches=switches_of(tmp_path, perfquery.replace("; ;;", ";;")))) == "partial"
    assert of_switches(logged(), "port_transmit_discards_total") == [7.0] * 4


def test_the_time_that_a_switch_takes_is_its_own_and_not_that_of_those_before_it(
    tmp_path: Path, readers: Callable[..., FabricReaders], logged: Callable[[], Series]
) -> None:
    perfquery = f'sleep 0.2; {PORT} echo "PortXmitWait:....7"'
    assert read_once(readers(switches=switches_of(tmp_path, perfquery, concurrency=1))) == "ok"
    found = logged()
    durations_s = of_switches(found, "collect_duration_seconds")
    whole_s = found["infiniband-switches", "scrape_duration_seconds", frozenset()]
    assert sum(durations_s) <= whole_s, "one after the other"


def test_series_of_a_switch_that_answers_no_more_end_although_they_tell_their_times(
    tmp_path: Path, readers: Callable[..., FabricReaders]
) -> None:
    perfquery = f'[ -e {tmp_path}/away ] && exit 1; {PORT} echo "PortXmitWait:....7"'
    reading = readers(switches=switches_of(tmp_path, perfquery))
    assert read_once(reading) == "ok"
    (tmp_path / "away").touch()
    assert read_once(reading) == "partial"
    assert ended(tmp_path).count("infiniband_switch_port_transmit_discards_total") == 4


@needs_samples
def test_the_wiring_may_come_from_a_file_without_asking_the_fabric(
    tmp_path: Path, readers: Callable[..., FabricReaders]
) -> None:
    kept: list[Topology] = []
    file = tmp_path / "saved.txt"
    file.write_text((IB / "iblinkinfo-line.txt").read_text())
    settings = {"enabled": True, "wiring_file": file, "counters": False, "wiring_interval_s": 1e-9}
    reading = readers(kept.append, switches=settings)
    assert read_once(reading) == "ok"
    file.write_text((IB / "iblinkinfo-unlinked.txt").read_text())
    assert read_once(reading) == "ok"
    assert [len(topology.switches["leaf-1"].uplinks) for topology in kept] == [2, 1]
    file.unlink()
    assert read_once(reading) == "partial", "what was known goes on"


@pytest.mark.parametrize(("text", "result"), [(None, "no_wiring_file"), ("ibpanic: no umad port", "no_links")])
def test_a_wiring_that_cannot_be_had_is_told(
    tmp_path: Path, readers: Callable[..., FabricReaders], text: str | None, result: str
) -> None:
    file = tmp_path / "saved.txt"
    if text is not None:
        file.write_text(text)
    assert read_once(readers(switches={"enabled": True, "wiring_file": file})) == result


@needs_samples
def test_a_topology_that_the_store_does_not_take_is_offered_again(
    tmp_path: Path, readers: Callable[..., FabricReaders]
) -> None:
    offered: list[Topology] = []

    def keep(topology: Topology) -> None:
        offered.append(topology)
        if len(offered) == 1:
            raise StoreError("the store is away")

    settings = {"enabled": True, "wiring_file": IB / "ibnetdiscover.txt", "counters": False}
    reading = readers(keep, switches=settings)
    assert [read_once(reading) for _ in range(3)] == ["partial", "ok", "ok"]
    assert len(offered) == 2
