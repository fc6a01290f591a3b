"""A simulated InfiniBand fabric with a congested and a bad link, read by the real programs, up to the store's rows.

Wants ibsim, opensm and infiniband-diags (`make ibsim`). They talk over abstract Unix sockets of their own name.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from analytics.knowledge import shipped_knowledge
from collector.service import Collector
from collector.settings import CollectorSettings
from domain.entity import Entity, EntityKind
from domain.topology import Node, SwitchPort, Topology
from domain.window import Window
from storage.readers import read_series
from storage.store import Store
from storage.topology import read_topology, write_topology

PROGRAMS = ("ibsim", "ibsim-run", "opensm", "ibnetdiscover", "perfquery", "ibqueryerrors")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MISSING = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING) and not os.environ.get("TAILSIGHT_REQUIRE_IBSIM"),
        reason=f"no {', '.join(MISSING)} on PATH: `make ibsim` installs what this test needs",
    ),
]

LEAVES, SPINES, NODES_PER_LEAF = 2, 2, 2
CONGESTED = 'leaf-1"[3]'
BAD = 'leaf-0"[1]'
Rows = list[dict[str, Any]]


def topology_file() -> str:
    """A fat tree as ibsim reads it: ports 1 and 2 of each leaf lead to nodes, 3 and 4 to the spines."""
    blocks = []
    for spine in range(SPINES):
        cables = [
            f'[{leaf + 1}] "leaf-{leaf}"[{NODES_PER_LEAF + spine + 1}] # "" lid 0 4xEDR' for leaf in range(LEAVES)
        ]
        blocks.append("\n".join((f'Switch 8 "spine-{spine}"', *cables)))
    for leaf in range(LEAVES):
        down = [f'[{n + 1}] "gpu-0{leaf}-0{n} mlx5_0"[1] # "" lid 0 4xEDR' for n in range(NODES_PER_LEAF)]
        up = [f'[{NODES_PER_LEAF + s + 1}] "spine-{s}"[{leaf + 1}] # "" lid 0 4xEDR' for s in range(SPINES)]
        blocks.append("\n".join((f'Switch 8 "leaf-{leaf}"', *down, *up)))
        blocks.extend(
            f'Hca 1 "gpu-0{leaf}-0{n} mlx5_0"\n[1] "leaf-{leaf}"[{n + 1}] # lid 0 lmc 0 "" lid 0 4xEDR'
            for n in range(NODES_PER_LEAF)
        )
    return "\n\n".join(blocks) + "\n"


class Fabric:
    """A running simulator with a subnet manager; `folder` holds all that they write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = os.environ | {
            "PATH": PATH,
            "IBSIM_SOCKNAME": f"tailsight-test-{os.getpid()}",
            "SIM_HOST": "gpu-00-00 mlx5_0",
            "OSM_TMP_DIR": str(folder),
            "OSM_CACHE_DIR": str(folder),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        (folder / "fabric.net").write_text(topology_file())
        os.mkfifo(folder / "control")
        self._control = os.open(folder / "control", os.O_RDWR)  # both ends, so that neither waits for the other
        self.printed = folder / "ibsim.out"

    def start(self) -> None:
        """Start both, and wait until every port can be asked."""
        with self.printed.open("wb") as printed:
            self._start(["ibsim", "-s", "fabric.net"], self._control, printed)
        wait_for(lambda: "simulator ready" in self.printed.read_text(), "ibsim")
        with (self.folder / "opensm.out").open("wb") as printed:
            self._start(["ibsim-run", "opensm", "-f", str(self.folder / "opensm.log")], subprocess.DEVNULL, printed)
        wait_for(self._is_up, "opensm")

    def tell(self, *commands: str) -> None:
        """Give the simulator commands, and wait until it has done them all."""
        before = self.printed.read_text().count("\nsim>")
        os.write(self._control, "".join(f"{command}\n" for command in commands).encode())
        wait_for(lambda: self.printed.read_text().count("sim>") >= before + len(commands), "ibsim's answer")

    def program(self, name: str) -> str:
        """A program of infiniband-diags that looks at this fabric."""
        wrapper = self.folder / name
        variables = " ".join(f"{key}='{self._environment[key]}'" for key in ("PATH", "IBSIM_SOCKNAME", "SIM_HOST"))
        wrapper.write_text(f'#!/bin/sh\ncd "{self.folder}" && exec env {variables} ibsim-run {name} "$@"\n')
        wrapper.chmod(0o755)
        return str(wrapper)

    def stop(self) -> None:
        """End what was started, last first."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:  # opensm waits for a fabric that is gone
                process.kill()
                process.wait()
        os.close(self._control)

    def _start(self, command: list[str], stdin: int, printed: Any) -> None:
        self._processes.append(
            subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdin=stdin, stdout=printed, stderr=subprocess.STDOUT
            )
        )

    def _is_up(self) -> bool:
        """Does every port have a local id, and a way to it (opensm's own log says so only when its buffer is full)."""
        ask = [self.program("ibqueryerrors"), "--counters"]
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=False)
        nodes = LEAVES * (NODES_PER_LEAF + 1) + SPINES
        return answer.stdout.count("Data Counters for") == nodes and not answer.stderr


def wait_for(holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline_s, f"{what} did not come"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    assert not MISSING, f"TAILSIGHT_REQUIRE_IBSIM is set, but PATH has no {', '.join(MISSING)}: run `make ibsim`"
    running = Fabric(tmp_path_factory.mktemp("ibsim"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def collector(fabric: Fabric, clean_store: Store, tmp_path: Path, registry: CollectorRegistry) -> Iterator[Collector]:
    switches = {
        "enabled": True,
        "details": True,
        "adapters": True,
        "interval_s": 0.1,
        "wiring_interval_s": 0.05,
        **{name: fabric.program(name) for name in ("ibnetdiscover", "perfquery", "ibqueryerrors")},
    }
    settings = CollectorSettings.model_validate({"fabric": {"node": "gpu-00-00", "switches": switches}})
    running = Collector(settings, clean_store, tmp_path / "collector", registry)
    running.start()
    yield running
    running.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def read(collector: Collector, registry: CollectorRegistry) -> None:
    """Let the collector read the fabric once, all of it, and load what came."""

    def count(result: str) -> float:
        labels = {"job": "infiniband-switches", "result": result}
        return registry.get_sample_value("tailsight_collector_scrapes_total", labels) or 0.0

    async def reading() -> None:
        task = asyncio.create_task(collector.read_fabric_forever())
        before = count("ok")
        while count("ok") == before and not task.done():  # noqa: ASYNC110  # a counter wakes nobody
            await asyncio.sleep(0.02)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(reading(), 40))
    assert collector.flush(30)


def rows(store: Store, statement: str) -> Rows:
    engine = store.engine
    assert engine is not None
    return [json.loads(line) for line in engine.read(statement, "JSONEachRow").body.splitlines()]


def latest(store: Store, node: str, port: str) -> dict[str, float]:
    """The newest value of each metric of one port, without what all of them are called."""
    found = rows(
        store,
        "SELECT metric, argMax(value, time) AS value FROM tailsight_samples AS samples "
        "JOIN (SELECT DISTINCT metric, series_id, node, port FROM tailsight_series) AS series "
        "USING (metric, series_id) "
        f"WHERE node = '{node}' AND port = '{port}' GROUP BY metric",
    )
    return {re.sub("^infiniband_(switch|hca)_", "", row["metric"]): row["value"] for row in found}


def test_a_congested_and_a_bad_link_become_rows_of_their_ports(
    fabric: Fabric, collector: Collector, registry: CollectorRegistry, clean_store: Store
) -> None:
    began = datetime.now(UTC)
    read(collector, registry)
    assert latest(clean_store, "leaf-1", "3")["port_transmit_wait_total"] == 0
    fabric.tell(
        f'PerformanceSet "{CONGESTED} PortCounters.PortXmitWait=3456789012',
        f'PerformanceSet "{CONGESTED} PortCountersExtended.PortXmitData=123456789012345',
        f'PerformanceSet "{CONGESTED} PortCounters.PortXmitDiscards=37',
        f'PerformanceSet "{CONGESTED} PortXmitDiscardDetails.PortSwHOQLifetimeLimitDiscards=37',
        f'PerformanceSet "{BAD} PortCounters.SymbolErrorCounter=99999',
        f'PerformanceSet "{BAD} PortCounters.LinkErrorRecoveryCounter=12',
        f'PerformanceSet "{BAD} PortCounters.LinkDownedCounter=3',
        f'PerformanceSet "{BAD} PortCounters.PortRcvErrors=4211',
        f'PerformanceSet "{BAD} PortRcvErrorDetails.PortLocalPhysicalErrors=4200',
        'PerformanceSet "gpu-01-01 mlx5_0"[1] PortCounters.PortRcvErrors=9',
    )
    time.sleep(1.1)  # samples are kept by the second: of two readings in one, neither is the later
    read(collector, registry)

    congested = latest(clean_store, "leaf-1", "3")
    assert congested["port_transmit_wait_total"] == 3456789012
    assert congested["port_transmit_data_bytes_total"] >= 4 * 123456789012345
    assert congested["port_transmit_discards_total"] == 37
    assert congested["port_switch_hoq_lifetime_limit_discards_total"] == 37
    assert congested["port_symbol_error_total"] == 0
    assert congested["port_rate_bytes_per_second"] == 12.5e9
    bad = latest(clean_store, "leaf-0", "1")
    assert bad["port_symbol_error_total"] == 65535, "the field is full, and stays as it is"
    assert bad["port_link_error_recovery_total"] == 12
    assert bad["port_link_downed_total"] == 3
    assert bad["port_receive_errors_total"] == 4211
    assert bad["port_local_physical_errors_total"] == 4200, "not under the name that ibqueryerrors gives it"
    assert "port_inactive_discards_total" not in bad
    assert bad["port_transmit_wait_total"] == 0
    assert latest(clean_store, "gpu-01-01", "mlx5_0/1")["port_receive_errors_total"] == 9

    window = Window(began - timedelta(minutes=1), datetime.now(UTC) + timedelta(minutes=1))
    series = read_series(clean_store, window, ["infiniband_switch_port_transmit_wait_total"])
    cabled = LEAVES * (NODES_PER_LEAF + SPINES) + SPINES * LEAVES
    assert series.select("node", "port").n_unique() == series.height == cabled
    assert "infiniband_switch_port_transmit_wait_total" in shipped_knowledge().signals["transmit_wait"].metrics


def test_the_wiring_becomes_the_topology_and_a_link_that_goes_down_keeps_its_series(
    fabric: Fabric, collector: Collector, registry: CollectorRegistry, clean_store: Store
) -> None:
    mine = Node("gpu-01-00", rack="r7", gpus=("GPU-1",), ports={"mlx5_0/1": SwitchPort("mine", 9)})
    told = Topology({mine.name: mine})
    write_topology(clean_store, told, datetime.now(UTC))
    read(collector, registry)
    topology = read_topology(clean_store)
    assert topology.nodes.keys() == {"gpu-00-00", "gpu-00-01", "gpu-01-00", "gpu-01-01"}
    assert topology.nodes["gpu-00-01"].ports == {"mlx5_0/1": SwitchPort("leaf-0", 2)}
    assert topology.nodes["gpu-01-00"] == mine, "what was told goes before what was discovered"
    assert topology.switches["leaf-1"].tier == "leaf"
    assert topology.switches["leaf-1"].uplinks == {3: SwitchPort("spine-0", 2), 4: SwitchPort("spine-1", 2)}
    assert Entity(EntityKind.PORT, "leaf-0/2") in topology.ports_of("gpu-00-01")

    fabric.tell('Unlink "leaf-1"[4]')
    read(collector, registry)
    assert read_topology(clean_store).switches["leaf-1"].uplinks == {3: SwitchPort("spine-0", 2)}
    counted = rows(
        clean_store,
        "SELECT count() AS samples, uniqExact(series_id) AS series FROM tailsight_samples "
        "WHERE metric = 'infiniband_switch_port_link_downed_total' AND series_id IN "
        "(SELECT series_id FROM tailsight_series WHERE node = 'leaf-1' AND port = '4')",
    )
    assert int(counted[0]["series"]) == 1
    assert int(counted[0]["samples"]) >= 2, "asked before and after the cable was pulled"

    fabric.tell('ReLink "leaf-1"[4]')
    read(collector, registry)
    assert read_topology(clean_store) == topology
