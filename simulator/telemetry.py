"""What the machines would measure of themselves: replicas, GPUs and ports at scrape ticks.

Everything is an exact integral of what the engine did between two ticks (busy seconds, bytes moved, tokens),
turned into the readings of an H100, of an NDR port and of vLLM, with a little seeded sensor noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.cloud import FIRST_UPLINK, SPINES, Cloud, Replica
from simulator.effects import Influences, Lever, Life, influences_on, life_of, lost_ratio
from simulator.engine import INTERNAL
from simulator.faults import Fault
from simulator.physics import (
    FRAMEBUFFER_MIB,
    GPU_MEMORY_UTILIZATION_RATIO,
    IDLE_POWER_WATTS,
    PORT_BYTES_PER_SECOND,
    steady_gpu_temperature_celsius,
)
from simulator.signs import (
    GPU_IDLE,
    HOST_MEMORY_BYTES,
    POWER_LIMIT_WATTS,
    SM_CLOCK_BUSY_MHZ,
    SOFTWARE_POWER_CAP,
    WAIT_TICKS_PER_S,
    Act,
    Place,
    ordinals_of,
    show,
    signs_of,
)
from simulator.workload import traffic_factor

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

PREFILL_CHUNK_TOKENS = 2048  # vLLM's default --max-num-batched-tokens with chunked prefill
PREFILL_POWER_WATTS = 665.0  # compute-bound, just under the H100's 700 W limit
THERMAL_LAG_S = 40.0
LOAD_LAG_S = 60.0  # of the load average of one minute
SM_CLOCK_IDLE_MHZ = 345.0
MEMORY_CLOCK_MHZ = 2619.0
UNALLOCATED_FRAMEBUFFER_MIB = 4.0
BACKGROUND_TRAFFIC_RATIO = 0.06  # of a port's rate: replication and tiering of the KV store
PREFILL_SM_ACTIVE_RATIO, DECODE_SM_ACTIVE_RATIO = 0.95, 0.75
PACKET_BYTES = 4096.0  # InfiniBand's usual path MTU
QUIET_WAIT_RATIO = 2e-4
BEYOND_THE_LEAF_RATIO = 0.5  # of a node's traffic that goes over the uplinks
PCIE_GENERATION, PCIE_LANES = 5.0, 16.0
HOST_CPUS = 4  # of the node's many, so many are told apart
ENGINE_CPU_RATIO = 0.06  # of a node's CPU time, for each replica that is busy
LOADING_DISK_RATIO = 0.85  # of the time that the disk is busy while weights are read


@dataclass(frozen=True, slots=True)
class ReplicaReadings:
    """Per tick and replica, arrays of shape (ticks, replicas); nothing can be read where it is not `present`."""

    running: Floats
    waiting_capacity: Floats
    waiting_deferred: Floats
    kv_cache_usage_ratio: Floats
    preemptions_total: Floats
    prompt_tokens_total: Floats
    cached_tokens_total: Floats
    generation_tokens_total: Floats
    finished_total: Floats
    aborted_total: Floats
    failed_total: Floats
    process_started_s: Floats
    present: Flags


@dataclass(frozen=True, slots=True)
class GpuReadings:
    """Per tick and GPU, arrays of shape (ticks, GPUs); ratios are means over the step before the tick.

    `xid` is the last one, 0 before the first. Nothing can be read of a GPU where it is not `present`.
    """

    sm_clock_mhz: Floats
    temperature_celsius: Floats
    power_watts: Floats
    enforced_power_limit_watts: Floats
    energy_millijoules_total: Floats
    busy_ratio: Floats
    sm_active_ratio: Floats
    tensor_active_ratio: Floats
    dram_active_ratio: Floats
    framebuffer_used_mib: Floats
    pcie_sent_bytes_per_s: Floats
    pcie_received_bytes_per_s: Floats
    pcie_link_generation: Floats
    pcie_link_width: Floats
    pcie_replays_total: Floats
    nvlink_megabytes_total: Floats
    nvlink_sent_bytes_per_s: Floats
    nvlink_received_bytes_per_s: Floats
    nvlink_crc_flit_errors_total: Floats
    nvlink_replay_errors_total: Floats
    nvlink_recovery_errors_total: Floats
    clock_event_reasons: Floats
    power_violation_ns_total: Floats
    thermal_violation_ns_total: Floats
    ecc_single_bit_total: Floats
    ecc_double_bit_total: Floats
    uncorrectable_remapped_rows_total: Floats
    correctable_remapped_rows_total: Floats
    xid: Floats
    present: Flags


@dataclass(frozen=True, slots=True)
class PortReadings:
    """Per tick and port (of a NIC, or of a leaf), arrays of shape (ticks, ports)."""

    sent_bytes_total: Floats
    received_bytes_total: Floats
    transmit_wait_total: Floats
    symbol_errors_total: Floats
    link_recoveries_total: Floats
    link_downs_total: Floats
    receive_errors_total: Floats
    discards_total: Floats
    rate_bytes_per_s: Floats
    state: Floats
    physical_state: Floats


@dataclass(frozen=True, slots=True)
class HostReadings:
    """Per tick and node, arrays of shape (ticks, nodes); CPU seconds are those of one CPU."""

    user_s_total: Floats
    system_s_total: Floats
    iowait_s_total: Floats
    idle_s_total: Floats
    load_1m: Floats
    cpu_waiting_s_total: Floats
    io_waiting_s_total: Floats
    available_bytes: Floats
    disk_io_s_total: Floats


@dataclass(frozen=True, slots=True)
class Readings:
    """What all sensors show at `ticks_s` (seconds since the epoch, ascending).

    `xids` has, by GPU, every XID that it can come to show, so that its series are known beforehand.
    """

    ticks_s: Floats
    replicas: ReplicaReadings
    gpus: GpuReadings
    ports: PortReadings
    fabric: PortReadings
    hosts: HostReadings
    xids: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Work:
    """What one replica did in each step, arrays of shape (ticks,); seconds are within the step."""

    readings: dict[str, Floats]
    busy_s: Floats
    prefill_s: Floats
    prefill_work_s: Floats
    sequence_s: Floats
    sequence_work_s: Floats
    pulled_bytes: Floats
    pushed_bytes: Floats
    tokens: Floats


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the faults mean for each replica and GPU; worked out once for the same faults."""

    leaks: tuple[Influences, ...]
    lives: tuple[Life, ...]
    absences: tuple[tuple[int, float, float], ...]  # GPU, from, until
    xids: Mapping[int, tuple[int, ...]]


_PORT_COUNTERS = (
    "sent_bytes_total",
    "received_bytes_total",
    "transmit_wait_total",
    "symbol_errors_total",
    "link_recoveries_total",
    "link_downs_total",
    "receive_errors_total",
    "discards_total",
)


class Sensors:
    """Counters and temperatures, which remember; `observe` moves them from tick to tick."""

    def __init__(self, cloud: Cloud, seed: int, started_at_s: float) -> None:
        self._cloud = cloud
        self._seed = seed
        self.last_tick_s = started_at_s
        self._scene_of: tuple[Sequence[Fault], _Scene] | None = None
        randomness = np.random.default_rng((seed, 0x5E45))
        replicas, gpus, ports = len(cloud.replicas), len(cloud.gpus), len(cloud.ports)
        # Every counter has a past: days for the engines, weeks for the machines.
        age_s = randomness.uniform(2, 9, replicas) * 86_400
        self._process_started_s = np.floor(started_at_s - age_s)
        rates = np.array(
            [r.service.workload.requests_per_s / len(cloud.replicas_of(r.service.name)) for r in cloud.replicas]
        )
        finished = np.floor(age_s * rates)
        prompt_tokens = np.floor(finished * [r.service.workload.prompt.mean for r in cloud.replicas])
        self._replica_totals = {
            "preemptions_total": np.zeros(replicas),
            "prompt_tokens_total": prompt_tokens,
            "cached_tokens_total": np.floor(0.35 * prompt_tokens),
            "generation_tokens_total": np.floor(finished * [r.service.workload.output.mean for r in cloud.replicas]),
            "finished_total": finished,
            "aborted_total": np.floor(finished * 2e-4),
            "failed_total": np.zeros(replicas),
        }
        self._gpu_totals = {
            "energy_millijoules_total": randomness.uniform(4e11, 7e11, gpus),
            "nvlink_megabytes_total": randomness.uniform(5e5, 9e5, gpus),
        }
        self._port_totals = {
            "sent_bytes_total": randomness.uniform(3e15, 5e15, ports),
            "received_bytes_total": randomness.uniform(3e15, 5e15, ports),
            "transmit_wait_total": randomness.uniform(1e12, 2e12, ports),
            "symbol_errors_total": np.floor(randomness.uniform(0, 3, ports)),
            "link_recoveries_total": np.zeros(ports),
            "link_downs_total": np.ones(ports),  # the cable was plugged in once
            "receive_errors_total": np.zeros(ports),
            "discards_total": np.zeros(ports),
        }
        self._gpu_totals |= {
            name: np.zeros(gpus)
            for name in (
                "pcie_replays_total",
                "nvlink_crc_flit_errors_total",
                "nvlink_replay_errors_total",
                "nvlink_recovery_errors_total",
                "power_violation_ns_total",
                "thermal_violation_ns_total",
                "ecc_double_bit_total",
                "uncorrectable_remapped_rows_total",
                "correctable_remapped_rows_total",
            )
        }
        later = np.random.default_rng((seed, 0x5E46))
        self._gpu_totals["ecc_single_bit_total"] = np.floor(later.uniform(0, 4, gpus))
        fabric = len(cloud.fabric_ports)
        self._fabric_totals = {
            **{name: later.uniform(3e15, 9e15, fabric) for name in ("sent_bytes_total", "received_bytes_total")},
            "transmit_wait_total": later.uniform(1e12, 2e12, fabric),
            **{name: np.zeros(fabric) for name in _PORT_COUNTERS[3:]},
        }
        nodes = len(cloud.nodes)
        self._host_totals = {
            name: later.uniform(low, high, nodes)
            for name, low, high in (
                ("user_s_total", 3e5, 6e5),
                ("system_s_total", 5e4, 9e4),
                ("iowait_s_total", 1e3, 3e3),
                ("idle_s_total", 2e6, 3e6),
                ("cpu_waiting_s_total", 2e3, 5e3),
                ("io_waiting_s_total", 5e2, 2e3),
                ("disk_io_s_total", 2e4, 6e4),
            )
        }
        self._temperature_celsius = np.full(gpus, 40.0)
        self._load_1m = np.full(nodes, 8.0)

    def observe(self, requests: NDArray[np.void], faults: Sequence[Fault], ticks_s: Floats) -> Readings:
        """Read all sensors at `ticks_s`, which follow the last tick.

        `requests` (shape (n,) of `engine.REQUEST`) must hold every request that was in the cloud at any time
        since the last tick.
        """
        scene = self._scene(faults)
        moments_s = np.concatenate([[self.last_tick_s], ticks_s])
        steps_s = np.diff(moments_s)
        noise = self._noise(ticks_s, 0x0153, 3, len(self._cloud.gpus))
        others = len(self._cloud.fabric_ports) + 3 * len(self._cloud.nodes)
        other_noise = self._noise(ticks_s, 0x0154, 1, others)[:, 0]
        work = [
            _work_of(replica, requests[requests["replica"] == replica.ordinal], leaks, moments_s)
            for replica, leaks in zip(self._cloud.replicas, scene.leaks, strict=True)
        ]
        loading = np.stack([life.is_loading(ticks_s) for life in scene.lives], axis=1)
        away = np.stack([life.is_away(ticks_s) for life in scene.lives], axis=1)
        ports = self._read_ports(work, faults, ticks_s, steps_s, noise[:, 2, : len(self._cloud.ports)])
        readings = Readings(
            ticks_s,
            self._read_replicas(work, scene, moments_s, away),
            self._read_gpus(work, faults, scene, ticks_s, steps_s, noise, away, loading),
            PortReadings(**_accumulated(ports, self._port_totals)),
            self._read_fabric(ports, faults, ticks_s, steps_s, other_noise),
            self._read_hosts(work, faults, ticks_s, steps_s, other_noise, loading),
            scene.xids,
        )
        if ticks_s.size:
            self.last_tick_s = float(ticks_s[-1])
        return readings

    def _scene(self, faults: Sequence[Fault]) -> _Scene:
        if self._scene_of is None or self._scene_of[0] is not faults:
            cloud = self._cloud
            xids: dict[int, tuple[int, ...]] = {}
            absences = []
            for fault in faults:
                shown = [sign for sign in signs_of(fault) if sign.reading == "xid" and sign.act is Act.KEEP]
                for gpu in ordinals_of(cloud, fault, Place.GPU) if shown else ():
                    codes = {*xids.get(gpu, ()), *(int(sign.size(fault)) for sign in shown)}
                    xids[gpu] = tuple(sorted(codes))
                if fault.variant == "off_bus":
                    (gone,) = ordinals_of(cloud, fault, Place.GPU)
                    absences.append((gone, fault.started_at.timestamp(), fault.ended_at.timestamp()))
            scene = _Scene(
                tuple(influences_on(cloud, faults, replica).get(Lever.LEAK, ()) for replica in cloud.replicas),
                tuple(life_of(cloud, faults, replica) for replica in cloud.replicas),
                tuple(absences),
                xids,
            )
            self._scene_of = (faults, scene)
        return self._scene_of[1]

    def _noise(self, ticks_s: Floats, salt: int, rows: int, columns: int) -> Floats:
        """Normal numbers of shape (ticks, rows, columns)."""
        # A stream per tick, so that the same tick reads the same however time was cut.
        streams = [np.random.default_rng((self._seed, salt, int(tick_s * 1000))) for tick_s in ticks_s.tolist()]
        drawn = np.array([stream.standard_normal(rows * columns) for stream in streams])
        noise: Floats = self._cloud.noise_ratio * drawn.reshape(len(ticks_s), rows, columns)
        return noise

    def _read_replicas(self, work: list[_Work], scene: _Scene, moments_s: Floats, away: Flags) -> ReplicaReadings:
        columns = {name: np.stack([w.readings[name] for w in work], axis=1) for name in work[0].readings}
        started_s = np.broadcast_to(self._process_started_s, away.shape).copy()
        begun: list[tuple[int, int]] = []
        for replica, life in enumerate(scene.lives):
            for served_s, process_s in life.restarts_s():
                since = int(np.searchsorted(moments_s[1:], served_s))
                if since < len(started_s) and served_s > moments_s[0]:
                    begun.append((since, replica))
                    started_s[since:, replica] = np.floor(process_s)
        if len(started_s):
            self._process_started_s = started_s[-1].copy()
        return ReplicaReadings(
            **_accumulated(columns, self._replica_totals, begun), process_started_s=started_s, present=~away
        )

    def _read_gpus(
        self,
        work: list[_Work],
        faults: Sequence[Fault],
        scene: _Scene,
        ticks_s: Floats,
        steps_s: Floats,
        noise: Floats,
        away: Flags,
        loading: Flags,
    ) -> GpuReadings:
        shape = (ticks_s.size, len(self._cloud.gpus))
        columns = {name: np.zeros(shape) for name in GpuReadings.__dataclass_fields__ if name != "present"}
        for name, usual in _IDLE_GPU.items():
            columns[name][:] = usual
        for replica, done in zip(self._cloud.replicas, work, strict=True):
            group = [gpu.ordinal for gpu in replica.gpus]
            shown = _gpu_columns(replica, done, steps_s)
            _unload(shown, replica, away[:, replica.ordinal], loading[:, replica.ordinal])
            for name, column in shown.items():
                columns[name][:, group] = column[:, None]
        # Each GPU of a group differs a little from its peers.
        allocated = columns["framebuffer_used_mib"] > UNALLOCATED_FRAMEBUFFER_MIB
        columns["framebuffer_used_mib"] += np.where(allocated, 4 * (np.arange(shape[1]) % 5), 0)
        columns["clock_event_reasons"] += np.where(columns["busy_ratio"] < 0.01, GPU_IDLE, 0)
        columns["clock_event_reasons"] += np.where(
            columns["power_watts"] > 0.93 * POWER_LIMIT_WATTS, SOFTWARE_POWER_CAP, 0
        )
        show(
            self._cloud,
            faults,
            columns,
            (Place.GPU, Place.GROUP),
            ticks_s,
            steps_s,
            skip=("temperature_celsius",),
        )
        scale = np.where(allocated, 1.0, 0.2)
        for name in ("tensor_active_ratio", "dram_active_ratio", "sm_active_ratio"):
            columns[name] = np.clip(columns[name] * (1 + 0.02 * noise[:, 0]), 0.0, 1.0)
        columns["power_watts"] = np.maximum(columns["power_watts"] + 4.0 * scale * noise[:, 1], 40.0)
        settled = {"temperature_celsius": steady_gpu_temperature_celsius(columns["power_watts"])}
        show(self._cloud, faults, settled, (Place.GPU,), ticks_s, steps_s)
        columns["temperature_celsius"], self._temperature_celsius = _lagged(
            settled["temperature_celsius"], self._temperature_celsius, steps_s, THERMAL_LAG_S
        )
        columns["energy_millijoules_total"] = columns["power_watts"] * steps_s[:, None] * 1000
        present = np.ones(shape, bool)
        for gpu, start_s, end_s in scene.absences:
            present[(ticks_s >= start_s) & (ticks_s < end_s), gpu] = False
        return GpuReadings(**_accumulated(columns, self._gpu_totals), present=present)

    def _read_ports(
        self, work: list[_Work], faults: Sequence[Fault], ticks_s: Floats, steps_s: Floats, noise: Floats
    ) -> dict[str, Floats]:
        """What NIC ports count in each step, and their gauges."""
        shape = (ticks_s.size, len(self._cloud.ports))
        columns = _still_ports(shape)
        background = BACKGROUND_TRAFFIC_RATIO * PORT_BYTES_PER_SECOND * traffic_factor(ticks_s) * steps_s
        for port in self._cloud.ports:
            served = [work[replica.ordinal] for replica in self._cloud.replicas if replica.port == port]
            usual = background * np.maximum(1 + 0.06 * noise[:, port.ordinal], 0.5)
            columns["sent_bytes_total"][:, port.ordinal] = usual + sum(w.pushed_bytes for w in served)
            columns["received_bytes_total"][:, port.ordinal] = usual
        wait = 0.5 + columns["sent_bytes_total"] / (PORT_BYTES_PER_SECOND * steps_s[:, None])
        columns["transmit_wait_total"] = QUIET_WAIT_RATIO * wait * WAIT_TICKS_PER_S * steps_s[:, None]
        show(self._cloud, faults, columns, (Place.PORT,), ticks_s, steps_s)
        room = 0.98 * columns["rate_bytes_per_s"] * steps_s[:, None]
        for name in ("sent_bytes_total", "received_bytes_total"):
            columns[name] = np.minimum(columns[name], room)
        # What is pulled already took as long as the port's faults make it.
        for replica, done in zip(self._cloud.replicas, work, strict=True):
            columns["received_bytes_total"][:, replica.port.ordinal] += done.pulled_bytes
        return columns

    def _read_fabric(
        self,
        ports: dict[str, Floats],
        faults: Sequence[Fault],
        ticks_s: Floats,
        steps_s: Floats,
        noise: Floats,
    ) -> PortReadings:
        """Ports of the leaves: what a node sends its leaf receives, and the uplinks carry a share of all of it."""
        shape = (ticks_s.size, len(self._cloud.fabric_ports))
        columns = _still_ports(shape)
        for port in self._cloud.fabric_ports:
            sources = (
                [below.ordinal for below in self._cloud.below(port.switch)]
                if port.node_port is None
                else [port.node_port]
            )
            share = BEYOND_THE_LEAF_RATIO / len(SPINES) if port.number >= FIRST_UPLINK else 1.0
            scatter = 1.0 + (0.03 * noise[:, port.ordinal] if port.node_port is None else 0.0)
            # Up to the spine goes what nodes send; down to a node goes what it receives.
            ways = ("received_bytes_total", "sent_bytes_total")
            for mine, theirs in zip(ways, ways if port.node_port is None else reversed(ways), strict=True):
                columns[mine][:, port.ordinal] = share * scatter * ports[theirs][:, sources].sum(axis=1)
        room = PORT_BYTES_PER_SECOND * steps_s[:, None]
        busy = 0.5 + columns["sent_bytes_total"] / room
        columns["transmit_wait_total"] = QUIET_WAIT_RATIO * busy * WAIT_TICKS_PER_S * steps_s[:, None]
        show(self._cloud, faults, columns, (Place.FABRIC,), ticks_s, steps_s)
        for name in ("sent_bytes_total", "received_bytes_total"):
            columns[name] = np.minimum(columns[name], 0.98 * room)
        return PortReadings(**_accumulated(columns, self._fabric_totals))

    def _read_hosts(
        self,
        work: list[_Work],
        faults: Sequence[Fault],
        ticks_s: Floats,
        steps_s: Floats,
        noise: Floats,
        loading: Flags,
    ) -> HostReadings:
        nodes = self._cloud.nodes
        shape = (ticks_s.size, len(nodes))
        noise = noise[:, len(self._cloud.fabric_ports) :].reshape(ticks_s.size, 3, len(nodes))
        user, disk = np.zeros(shape), np.zeros(shape)
        for replica, done in zip(self._cloud.replicas, work, strict=True):
            node = nodes.index(replica.node)
            user[:, node] += ENGINE_CPU_RATIO * (0.5 + 0.5 * done.busy_s / steps_s)
            disk[:, node] = np.maximum(disk[:, node], LOADING_DISK_RATIO * loading[:, replica.ordinal])
        step = steps_s[:, None]
        columns = {
            "user_ratio": np.clip(0.05 + user, 0.0, 0.9) * (1 + 0.05 * noise[:, 0]),
            "system_ratio": np.clip(0.02 + 0.004 * noise[:, 1], 0.005, 0.1),
            "iowait_ratio": 0.002 + 0.1 * disk,
            "running_processes": 6.0 + 40.0 * user + 1.5 * noise[:, 2],
            "cpu_waiting_s_total": np.maximum(0.004 + 0.001 * noise[:, 0], 0.0) * step,
            "io_waiting_s_total": (0.001 + 0.05 * disk) * step,
            "available_bytes": HOST_MEMORY_BYTES * (0.82 + 0.002 * noise[:, 1]),
            "disk_io_s_total": (0.01 + disk) * step,
        }
        show(self._cloud, faults, columns, (Place.HOST,), ticks_s, steps_s)
        user = np.clip(columns["user_ratio"], 0.0, 1.0)
        system = np.clip(columns["system_ratio"], 0.0, 1.0 - user)
        iowait = np.clip(columns["iowait_ratio"], 0.0, 1.0 - user - system)
        load, self._load_1m = _lagged(np.maximum(columns["running_processes"], 0.0), self._load_1m, steps_s, LOAD_LAG_S)
        counted = {
            "user_s_total": user * step,
            "system_s_total": system * step,
            "iowait_s_total": iowait * step,
            "idle_s_total": (1.0 - user - system - iowait) * step,
            **{name: columns[name] for name in ("cpu_waiting_s_total", "io_waiting_s_total", "disk_io_s_total")},
        }
        counted["disk_io_s_total"] = np.minimum(counted["disk_io_s_total"], step)
        return HostReadings(
            **_accumulated(counted, self._host_totals), load_1m=load, available_bytes=columns["available_bytes"]
        )


_IDLE_GPU = {
    "power_watts": IDLE_POWER_WATTS,
    "sm_clock_mhz": SM_CLOCK_IDLE_MHZ,
    "framebuffer_used_mib": UNALLOCATED_FRAMEBUFFER_MIB,
    "enforced_power_limit_watts": POWER_LIMIT_WATTS,
    "pcie_link_generation": PCIE_GENERATION,
    "pcie_link_width": PCIE_LANES,
}


def _still_ports(shape: tuple[int, int]) -> dict[str, Floats]:
    """Ports that count nothing and are up, readings of that shape."""
    return {
        **{name: np.zeros(shape) for name in _PORT_COUNTERS},
        "rate_bytes_per_s": np.full(shape, PORT_BYTES_PER_SECOND),
        "state": np.full(shape, 4.0),
        "physical_state": np.full(shape, 5.0),
    }


def _lagged(settled: Floats, last: Floats, steps_s: Floats, lag_s: float) -> tuple[Floats, Floats]:
    """What follows `settled` with a lag, from `last` on: shape (ticks, n), and its own last row."""
    followed = np.empty_like(settled)
    for tick, kept in enumerate(np.exp(-steps_s / lag_s).tolist()):
        last = settled[tick] + kept * (last - settled[tick])
        followed[tick] = last
    return followed, last


def _unload(shown: dict[str, Floats], replica: Replica, away: Flags, loading: Flags) -> None:
    """What its GPUs show while a replica has no process, or one that only reads its weights."""
    if not away.any():
        return
    model = replica.service.model
    weights_mib = model.parameters * model.bytes_per_weight / model.tensor_parallel / 1024**2
    idle = {**_IDLE_GPU, "pcie_sent_bytes_per_s": 0.0, "pcie_received_bytes_per_s": 0.0}
    for name, value in idle.items():
        if name in shown:
            shown[name] = np.where(away, value, shown[name])
    both = away & loading
    shown["framebuffer_used_mib"] = np.where(both, weights_mib, shown["framebuffer_used_mib"])
    shown["pcie_received_bytes_per_s"] = np.where(both, 1.2e9, shown["pcie_received_bytes_per_s"])
    shown["sm_clock_mhz"] = np.where(both, SM_CLOCK_BUSY_MHZ, shown["sm_clock_mhz"])


def _accumulated(
    columns: dict[str, Floats], totals: dict[str, Floats], begun: Sequence[tuple[int, int]] = ()
) -> dict[str, Floats]:
    """The increments per step in `columns` as running totals, of which the last is left in `totals`.

    `begun` has ticks at which a thing (by ordinal) begins to count anew.
    """
    running_totals = {}
    for name, total in totals.items():
        running = total + np.cumsum(columns[name], axis=0)
        for tick, ordinal in begun:
            running[tick:, ordinal] -= running[tick - 1, ordinal] if tick else total[ordinal]
        if len(running):
            totals[name] = running[-1]
        running_totals[name] = running
    return columns | running_totals


def _work_of(replica: Replica, requests: NDArray[np.void], leaks: Influences, moments_s: Floats) -> _Work:
    """What a replica did between consecutive `moments_s` (shape (ticks + 1,))."""
    served = requests[np.isfinite(requests["admitted_at"])]
    served = served[np.argsort(served["admitted_at"])]
    admitted, prefilled, released = served["admitted_at"], served["prefilled_at"], served["released_at"]
    prompt, output = served["prompt_tokens"], served["output_tokens"] * served["done_ratio"]
    model = replica.service.model

    at = moments_s[:, None]
    progress = _elapsed(prefilled, released, moments_s) / np.maximum(released - prefilled, 1e-9)
    generated = progress * output
    has_run = at >= admitted
    runs = has_run & (at < released)
    first_token_out = at >= prefilled
    prefill = _elapsed(admitted, prefilled, moments_s)
    sequence = _elapsed(admitted, released, moments_s)

    gone_at = np.minimum(requests["admitted_at"], requests["ended_at"])
    waits = (at >= requests["entered_at"]) & (at < gone_at)
    deferred = waits & (at < requests["ready_at"])
    failed = requests[requests["failed"]]
    broken = failed["error"] == INTERNAL
    ended = served["released_at"][~served["failed"]]
    pulling = requests[np.isfinite(requests["ready_at"])]
    kv_used = (runs * (prompt + generated)).sum(axis=1) / model.kv_capacity_tokens
    leaked = lost_ratio(leaks, moments_s)

    pull_progress = _elapsed(pulling["transfer_started_at"], pulling["ready_at"], moments_s) / np.maximum(
        pulling["ready_at"] - pulling["transfer_started_at"], 1e-9
    )
    pushed = (prompt - served["cached_tokens"]) * float(model.kv_bytes_per_token)

    def per_step(cumulative: Floats) -> Floats:
        return np.diff(cumulative)

    generated_per_step = per_step(generated.sum(axis=1))
    prompt_per_step = per_step(first_token_out @ prompt.astype(float))
    return _Work(
        readings={
            "running": runs.sum(axis=1)[1:].astype(float),
            "waiting_capacity": (waits & ~deferred).sum(axis=1)[1:].astype(float),
            "waiting_deferred": deferred.sum(axis=1)[1:].astype(float),
            "kv_cache_usage_ratio": np.minimum(kv_used + leaked, 1.0)[1:],
            "preemptions_total": per_step(first_token_out @ served["preemptions"].astype(float)),
            "prompt_tokens_total": prompt_per_step,
            "cached_tokens_total": per_step(first_token_out @ served["cached_tokens"].astype(float)),
            "generation_tokens_total": generated_per_step,
            "finished_total": per_step((at >= ended).sum(axis=1).astype(float)),
            "aborted_total": per_step((at >= failed["ended_at"][~broken]).sum(axis=1).astype(float)),
            "failed_total": per_step((at >= failed["ended_at"][broken]).sum(axis=1).astype(float)),
        },
        busy_s=per_step(_covered(admitted, released, moments_s)),
        prefill_s=per_step(prefill.sum(axis=1)),
        prefill_work_s=per_step(prefill @ (1 / served["prefill_factor"])),
        sequence_s=per_step(sequence.sum(axis=1)),
        sequence_work_s=per_step(sequence @ (1 / served["decode_factor"])),
        pulled_bytes=per_step(pull_progress @ pulling["pulled_bytes"]),
        pushed_bytes=per_step(progress @ pushed),
        tokens=prompt_per_step + generated_per_step,
    )


def _elapsed(starts: Floats, ends: Floats, moments_s: Floats) -> Floats:
    """Seconds of each interval that lie before each moment, shape (moments, intervals)."""
    before: Floats = np.clip(moments_s[:, None] - starts, 0.0, ends - starts)
    return before


def _covered(starts: Floats, ends: Floats, moments_s: Floats) -> Floats:
    """Seconds before each moment that at least one interval covers; `starts` ascend."""
    if not starts.size:
        return np.zeros_like(moments_s)
    reach = np.maximum.accumulate(ends)
    before = np.concatenate([[-np.inf], reach[:-1]])
    seconds: Floats = _elapsed(np.maximum(starts, before), np.maximum(ends, before), moments_s).sum(axis=1)
    return seconds


def _gpu_columns(replica: Replica, work: _Work, steps_s: Floats) -> dict[str, Floats]:
    """What each GPU of a healthy tensor-parallel group shows, by field of `GpuReadings`."""
    model = replica.service.model
    prefill = np.clip(work.prefill_s / steps_s, 0.0, 1.0)
    busy = np.clip(work.busy_s / steps_s, 0.0, 1.0)
    decode = np.maximum(busy - prefill, 0.0)
    batch = work.sequence_s / np.maximum(work.busy_s, 1e-9)
    tokens_ms = 1000 * 2 * model.parameters / model.tensor_parallel / model.dense_flops_per_second
    weights_per_chunk = model.decode_dram_active_ratio * model.steps.d0 / (PREFILL_CHUNK_TOKENS * model.steps.p1)
    slowed = work.sequence_work_s / np.maximum(work.sequence_s, 1e-9)  # 1 when nothing slows the steps
    gpus = len(replica.gpus)
    megabytes = work.tokens * model.all_reduce_bytes_per_token() / 1e6
    return {
        "sm_clock_mhz": np.full_like(busy, SM_CLOCK_BUSY_MHZ),
        "power_watts": IDLE_POWER_WATTS
        + (PREFILL_POWER_WATTS - IDLE_POWER_WATTS) * prefill
        + (model.decode_power_watts(batch) - IDLE_POWER_WATTS) * decode,
        "busy_ratio": busy,
        "sm_active_ratio": PREFILL_SM_ACTIVE_RATIO * prefill + DECODE_SM_ACTIVE_RATIO * decode,
        "tensor_active_ratio": model.prefill_tensor_active_ratio * work.prefill_work_s / steps_s
        + work.sequence_work_s / steps_s * tokens_ms / model.steps.d0,
        "dram_active_ratio": (model.decode_dram_active_ratio * decode + weights_per_chunk * prefill) * slowed,
        "framebuffer_used_mib": np.full_like(busy, round(FRAMEBUFFER_MIB * GPU_MEMORY_UTILIZATION_RATIO)),
        "pcie_sent_bytes_per_s": work.pushed_bytes / gpus / steps_s + 1.2e6,
        "pcie_received_bytes_per_s": work.pulled_bytes / gpus / steps_s + 1.8e6,
        "nvlink_megabytes_total": megabytes,
        "nvlink_sent_bytes_per_s": 1e6 * megabytes / steps_s,
        "nvlink_received_bytes_per_s": 1e6 * megabytes / steps_s,
    }
