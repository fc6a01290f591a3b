"""What each scrape target exposes: families, series and values, built once and rendered as text or as OTLP.

Names, labels, order and HELP texts are those of dcgm-exporter 4.8 (its default counters), of node_exporter
1.11 (CPU, disk, InfiniBand on mlx5 NDR, load, memory and pressure), of infiniband_exporter for the leaves' ports
(as our own reader of switches names them) and of vLLM 0.32.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client.utils import floatToGoString

from simulator.cloud import DRIVER_VERSION, GPU_MODEL_NAME, Cloud, Gpu, Replica
from simulator.physics import FRAMEBUFFER_MIB, FRAMEBUFFER_RESERVED_MIB
from simulator.signs import HOST_MEMORY_BYTES, XID_MESSAGES
from simulator.telemetry import (
    HOST_CPUS,
    MEMORY_CLOCK_MHZ,
    PACKET_BYTES,
    GpuReadings,
    HostReadings,
    PortReadings,
    Readings,
    ReplicaReadings,
)

Floats = NDArray[np.float64]
Source = TypeVar("Source")

DCGM_JOB = "dcgm-exporter"
NODE_JOB = "node-exporter"
ENGINE_JOB = "vllm"
SWITCH_JOB = "infiniband-switches"
XID_FAMILY = "DCGM_FI_DEV_XID_ERRORS"
SCRAPE_S_PER_SAMPLE = 2.5e-5  # what a scrape takes beside its first few milliseconds


def integer(value: float) -> str:
    """As dcgm-exporter prints integer fields."""
    return f"{value:.0f}"


def six_decimals(value: float) -> str:
    """As dcgm-exporter prints float fields."""
    return f"{value:f}"


def go_float(value: float) -> str:
    """As Go's `strconv.FormatFloat(value, 'g', -1, 64)` prints, which node_exporter uses.

    Shortest digits, in the exponent form below 1e-4 and from a million (1e+06) on.
    """
    if value == 0:
        return "0"
    scientific = np.format_float_scientific(value, trim="-", exp_digits=2)
    if -4 <= int(scientific.partition("e")[2]) < 6:
        return np.format_float_positional(value, trim="-")
    return scientific


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family: `labels` of its series in order, and how its numbers are printed."""

    name: str
    kind: str  # "gauge" or "counter", as the TYPE line says
    help_text: str
    write: Callable[[float], str]
    labels: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One scrape target: what it is, where it listens by default, and the families it exposes.

    `labels` are what a Kubernetes scrape attaches; `instance` is `host:port`.
    """

    job: str
    name: str
    instance: str
    labels: Mapping[str, str]
    families: tuple[Family, ...]

    @property
    def series_count(self) -> int:
        """Number of values in one scrape."""
        return sum(len(family.labels) for family in self.families)


@dataclass(frozen=True, slots=True)
class Scrapes:
    """What one target showed at each tick: `values` has shape (ticks, series), in order of the families.

    A series that was not there is NaN; where all are, nobody answered.
    """

    target: Target
    values: Floats

    @property
    def up(self) -> NDArray[np.bool_]:
        """Whether the target answered, at each tick."""
        return np.asarray(~np.isnan(self.values).all(axis=1))

    def own(self) -> "Scrapes":
        """What the scraper itself records of each scrape."""
        counts = (~np.isnan(self.values)).sum(axis=1).astype(float)
        # A dead target refuses the connection at once.
        duration_s = np.where(self.up, 0.004 + SCRAPE_S_PER_SAMPLE * counts, 0.001)
        target = Target(
            self.target.job, f"{self.target.name}/scrape", self.target.instance, self.target.labels, _OWN_FAMILIES
        )
        return Scrapes(target, np.stack([self.up.astype(float), duration_s, counts], axis=1))


@dataclass(frozen=True, slots=True)
class _Row(Generic[Source]):
    """A family of a target's page and where its values come from: shape (ticks, entities) of `Source`."""

    name: str
    kind: str
    help_text: str
    read: Callable[[Source], Floats]
    write: Callable[[float], str] = integer


def _constant_gpu(value: float) -> Callable[[GpuReadings], Floats]:
    return lambda gpus: np.full_like(gpus.power_watts, value)


def _constant_port(value: float) -> Callable[[PortReadings], Floats]:
    return lambda ports: np.full_like(ports.sent_bytes_total, value)


def _framebuffer_used(gpus: GpuReadings) -> Floats:
    return np.rint(gpus.framebuffer_used_mib)


_PCIE_HELP = (
    "The rate of data {} over the PCIe bus - including both protocol headers and data payloads - in bytes per second."
)


def _plain(value: float) -> str:
    return f"{value:g}"


# As Prometheus (and our scraper) records them; nobody says what they mean.
_OWN_FAMILIES = tuple(
    Family(name, "gauge", "", _plain, ({},)) for name in ("up", "scrape_duration_seconds", "scrape_samples_scraped")
)

_DCGM_ROWS: tuple[_Row[GpuReadings], ...] = (
    _Row("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).", lambda g: g.sm_clock_mhz),
    _Row("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", _constant_gpu(MEMORY_CLOCK_MHZ)),
    # HBM runs some degrees above the die.
    _Row("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C).", lambda g: g.temperature_celsius + 8),
    _Row("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C).", lambda g: g.temperature_celsius),
    _Row("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W).", lambda g: g.power_watts, six_decimals),
    _Row(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Total energy consumption since boot (in mJ).",
        lambda g: g.energy_millijoules_total,
    ),
    _Row("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", lambda g: g.pcie_replays_total),
    _Row("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", lambda g: np.rint(100 * g.busy_ratio)),
    _Row(
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "gauge",
        "Memory utilization (in %).",
        lambda g: np.rint(100 * g.dram_active_ratio),
    ),
    _Row("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (in %).", _constant_gpu(0)),
    _Row("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (in %).", _constant_gpu(0)),
    _Row(XID_FAMILY, "gauge", "Value of the last XID error encountered.", lambda g: g.xid),
    _Row(
        "DCGM_FI_DEV_POWER_VIOLATION",
        "counter",
        "Throttling duration due to power constraints (in ns).",
        lambda g: g.power_violation_ns_total,
    ),
    _Row(
        "DCGM_FI_DEV_THERMAL_VIOLATION",
        "counter",
        "Throttling duration due to thermal constraints (in ns).",
        lambda g: g.thermal_violation_ns_total,
    ),
    _Row(
        "DCGM_FI_DEV_FB_FREE",
        "gauge",
        "Framebuffer memory free (in MiB).",
        lambda g: FRAMEBUFFER_MIB - FRAMEBUFFER_RESERVED_MIB - _framebuffer_used(g),
    ),
    _Row("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", _framebuffer_used),
    _Row(
        "DCGM_FI_DEV_FB_RESERVED",
        "gauge",
        "Framebuffer memory reserved (in MiB).",
        _constant_gpu(FRAMEBUFFER_RESERVED_MIB),
    ),
    _Row(
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "counter",
        "Total number of single-bit volatile ECC errors.",
        lambda g: g.ecc_single_bit_total,
    ),
    _Row(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "counter",
        "Total number of double-bit volatile ECC errors.",
        lambda g: g.ecc_double_bit_total,
    ),
    _Row(
        "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        "counter",
        "Total number of NVLink flow-control CRC errors.",
        lambda g: g.nvlink_crc_flit_errors_total,
    ),
    _Row(
        "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
        "counter",
        "Total number of NVLink retries.",
        lambda g: g.nvlink_replay_errors_total,
    ),
    _Row(
        "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        "counter",
        "Total number of NVLink recovery errors.",
        lambda g: g.nvlink_recovery_errors_total,
    ),
    _Row(
        "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        "counter",
        "Total number of NVLink bandwidth counters for all lanes.",
        lambda g: g.nvlink_megabytes_total,
    ),
    _Row("DCGM_FI_DEV_VGPU_LICENSE_STATUS", "gauge", "vGPU License status", _constant_gpu(0)),
    _Row(
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        "counter",
        "Number of remapped rows for uncorrectable errors",
        lambda g: g.uncorrectable_remapped_rows_total,
    ),
    _Row(
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
        "counter",
        "Number of remapped rows for correctable errors",
        lambda g: g.correctable_remapped_rows_total,
    ),
    _Row("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed", _constant_gpu(0)),
    _Row(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "gauge",
        "Ratio of time the graphics engine is active.",
        lambda g: g.busy_ratio,
        six_decimals,
    ),
    _Row(
        "DCGM_FI_PROF_SM_ACTIVE",
        "gauge",
        "The ratio of cycles an SM has at least 1 warp assigned.",
        lambda g: g.sm_active_ratio,
        six_decimals,
    ),
    _Row(
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "gauge",
        "Ratio of cycles the tensor (HMMA) pipe is active.",
        lambda g: g.tensor_active_ratio,
        six_decimals,
    ),
    _Row(
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "gauge",
        "Ratio of cycles the device memory interface is active sending or receiving data.",
        lambda g: g.dram_active_ratio,
        six_decimals,
    ),
    _Row(
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "gauge",
        _PCIE_HELP.format("transmitted"),
        lambda g: g.pcie_sent_bytes_per_s,
    ),
    _Row(
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        "gauge",
        _PCIE_HELP.format("received"),
        lambda g: g.pcie_received_bytes_per_s,
    ),
    _Row(
        "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
        "gauge",
        "Current clock event reasons (bitmask).",
        lambda g: g.clock_event_reasons,
    ),
    _Row("DCGM_FI_DEV_PCIE_LINK_GEN", "gauge", "PCIe current link generation.", lambda g: g.pcie_link_generation),
    _Row("DCGM_FI_DEV_PCIE_LINK_WIDTH", "gauge", "PCIe current link width.", lambda g: g.pcie_link_width),
    _Row("DCGM_FI_PROF_NVLINK_TX_BYTES", "gauge", "NVLink tx.", lambda g: g.nvlink_sent_bytes_per_s),
    _Row("DCGM_FI_PROF_NVLINK_RX_BYTES", "gauge", "NVLink rx.", lambda g: g.nvlink_received_bytes_per_s),
    _Row(
        "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
        "gauge",
        "Enforced power limit (in W).",
        lambda g: g.enforced_power_limit_watts,
        six_decimals,
    ),
)

_PORT_ROWS: tuple[_Row[PortReadings], ...] = (
    _Row(
        "link_downed_total",
        "counter",
        "Number of times the link failed to recover from an error state and went down",
        lambda p: p.link_downs_total,
    ),
    _Row(
        "link_error_recovery_total",
        "counter",
        "Number of times the link successfully recovered from an error state",
        lambda p: p.link_recoveries_total,
    ),
    _Row(
        "physical_state_id",
        "gauge",
        "Physical state of the InfiniBand port (0: no change, 1: sleep, 2: polling, 3: disable, 4: shift,"
        " 5: link up, 6: link error recover, 7: phytest)",
        lambda p: p.physical_state,
    ),
    _Row(
        "port_constraint_errors_received_total",
        "counter",
        "Number of packets received on the switch physical port that are discarded",
        _constant_port(0),
    ),
    _Row(
        "port_constraint_errors_transmitted_total",
        "counter",
        "Number of packets not transmitted from the switch physical port",
        _constant_port(0),
    ),
    _Row(
        "port_data_received_bytes_total",
        "counter",
        "Number of data octets received on all links",
        lambda p: p.received_bytes_total,
    ),
    _Row(
        "port_data_transmitted_bytes_total",
        "counter",
        "Number of data octets transmitted on all links",
        lambda p: p.sent_bytes_total,
    ),
    _Row(
        "port_discards_transmitted_total",
        "counter",
        "Number of outbound packets discarded by the port because the port is down or congested",
        lambda p: p.discards_total,
    ),
    _Row(
        "port_errors_received_total",
        "counter",
        "Number of packets containing an error that were received on this port",
        lambda p: p.receive_errors_total,
    ),
    _Row(
        "port_packets_received_total",
        "counter",
        "Number of packets received on all VLs by this port (including errors)",
        lambda p: p.received_bytes_total / PACKET_BYTES,
    ),
    _Row(
        "port_packets_transmitted_total",
        "counter",
        "Number of packets transmitted on all VLs from this port (including errors)",
        lambda p: p.sent_bytes_total / PACKET_BYTES,
    ),
    _Row(
        "port_transmit_wait_total",
        "counter",
        "Number of ticks during which the port had data to transmit but no data was sent during the entire tick",
        lambda p: p.transmit_wait_total,
    ),
    _Row(
        "rate_bytes_per_second",
        "gauge",
        "Maximum signal transfer rate",
        lambda p: p.rate_bytes_per_s,
    ),
    _Row(
        "state_id",
        "gauge",
        "State of the InfiniBand port (0: no change, 1: down, 2: init, 3: armed, 4: active, 5: act defer)",
        lambda p: p.state,
    ),
    _Row(
        "symbol_error_total",
        "counter",
        "Number of minor link errors detected on one or more physical lanes.",
        lambda p: p.symbol_errors_total,
    ),
)

# What our reader of switches (collector/fabric/switches.py) reads of each port, and names so.
_SWITCH_ROWS: tuple[_Row[PortReadings], ...] = (
    _Row("port_transmit_data_bytes_total", "counter", "PortXmitData of the port", lambda p: p.sent_bytes_total),
    _Row("port_receive_data_bytes_total", "counter", "PortRcvData of the port", lambda p: p.received_bytes_total),
    _Row("port_symbol_error_total", "counter", "SymbolErrorCounter of the port", lambda p: p.symbol_errors_total),
    _Row(
        "port_link_error_recovery_total",
        "counter",
        "LinkErrorRecoveryCounter of the port",
        lambda p: p.link_recoveries_total,
    ),
    _Row("port_link_downed_total", "counter", "LinkDownedCounter of the port", lambda p: p.link_downs_total),
    _Row("port_receive_errors_total", "counter", "PortRcvErrors of the port", lambda p: p.receive_errors_total),
    _Row("port_transmit_discards_total", "counter", "PortXmitDiscards of the port", lambda p: p.discards_total),
    _Row("port_transmit_wait_total", "counter", "PortXmitWait of the port", lambda p: p.transmit_wait_total),
    _Row("port_rate_bytes_per_second", "gauge", "Data rate that was negotiated", lambda p: p.rate_bytes_per_s),
)


def _of_hosts(read: Callable[[HostReadings], Floats]) -> Callable[[HostReadings], Floats]:
    return read


_CPU_MODES: tuple[tuple[str, Callable[[HostReadings], Floats]], ...] = (
    ("idle", lambda h: h.idle_s_total),
    ("iowait", lambda h: h.iowait_s_total),
    ("irq", lambda h: np.zeros_like(h.idle_s_total)),
    ("nice", lambda h: np.zeros_like(h.idle_s_total)),
    ("softirq", lambda h: 0.02 * h.system_s_total),
    ("steal", lambda h: np.zeros_like(h.idle_s_total)),
    ("system", lambda h: h.system_s_total),
    ("user", lambda h: h.user_s_total),
)
# Families of the node beside its ports: name, kind, help and its value.
_DISK_ROW = (
    "node_disk_io_time_seconds_total",
    "counter",
    "Total seconds spent doing I/Os.",
    _of_hosts(lambda h: h.disk_io_s_total),
)
_HOST_ROWS = (
    ("node_load1", "gauge", "1m load average.", _of_hosts(lambda h: np.round(h.load_1m, 2))),
    (
        "node_memory_MemAvailable_bytes",
        "gauge",
        "Memory information field MemAvailable_bytes.",
        _of_hosts(lambda h: np.floor(h.available_bytes / 1024) * 1024),
    ),
    (
        "node_memory_MemTotal_bytes",
        "gauge",
        "Memory information field MemTotal_bytes.",
        _of_hosts(lambda h: np.full_like(h.available_bytes, HOST_MEMORY_BYTES)),
    ),
    (
        "node_pressure_cpu_waiting_seconds_total",
        "counter",
        "Total time in seconds that processes have waited for CPU time",
        _of_hosts(lambda h: np.round(h.cpu_waiting_s_total, 6)),
    ),
    (
        "node_pressure_io_waiting_seconds_total",
        "counter",
        "Total time in seconds that processes have waited due to IO congestion",
        _of_hosts(lambda h: np.round(h.io_waiting_s_total, 6)),
    ),
)

_NO_LABELS: Mapping[str, str] = {}
# vLLM's families: name, kind, help, and per series its own labels and values of shape (ticks, replicas).
_ENGINE_ROWS: tuple[
    tuple[str, str, str, tuple[tuple[Mapping[str, str], Callable[[ReplicaReadings], Floats]], ...]], ...
] = (
    (
        "num_requests_running",
        "gauge",
        "Number of requests in model execution batches.",
        ((_NO_LABELS, lambda r: r.running),),
    ),
    (
        "num_requests_waiting",
        "gauge",
        "Number of requests waiting to be processed.",
        ((_NO_LABELS, lambda r: r.waiting_capacity + r.waiting_deferred),),
    ),
    (
        "num_requests_waiting_by_reason",
        "gauge",
        (
            "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling"
            " capacity;"
            " 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status)."
            " Sum of all reasons equals vllm:num_requests_waiting."
        ),
        (
            ({"reason": "capacity"}, lambda r: r.waiting_capacity),
            ({"reason": "deferred"}, lambda r: r.waiting_deferred),
        ),
    ),
    (
        "kv_cache_usage_perc",
        "gauge",
        "KV-cache usage. 1 means 100 percent usage.",
        ((_NO_LABELS, lambda r: r.kv_cache_usage_ratio),),
    ),
    (
        "prefix_cache_queries_total",
        "counter",
        "Prefix cache queries, in terms of number of queried tokens.",
        ((_NO_LABELS, lambda r: r.prompt_tokens_total),),
    ),
    (
        "prefix_cache_hits_total",
        "counter",
        "Prefix cache hits, in terms of number of cached tokens.",
        ((_NO_LABELS, lambda r: r.cached_tokens_total),),
    ),
    (
        "num_preemptions_total",
        "counter",
        "Cumulative number of preemption from the engine.",
        ((_NO_LABELS, lambda r: r.preemptions_total),),
    ),
    (
        "prompt_tokens_total",
        "counter",
        "Number of prefill tokens processed.",
        ((_NO_LABELS, lambda r: r.prompt_tokens_total),),
    ),
    (
        "generation_tokens_total",
        "counter",
        "Number of generation tokens processed.",
        ((_NO_LABELS, lambda r: r.generation_tokens_total),),
    ),
    (
        "request_success_total",
        "counter",
        "Count of successfully processed requests.",
        (
            ({"finished_reason": "stop"}, lambda r: r.finished_total),
            ({"finished_reason": "length"}, lambda r: np.zeros_like(r.finished_total)),
            ({"finished_reason": "abort"}, lambda r: r.aborted_total),
            ({"finished_reason": "error"}, lambda r: r.failed_total),
            ({"finished_reason": "repetition"}, lambda r: np.zeros_like(r.finished_total)),
        ),
    ),
)


class Pages:
    """What every target of a cloud shows; targets are made once and kept."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._targets: dict[str, Target] = {}
        self._xids: Mapping[int, tuple[int, ...]] = {}

    def scrapes(self, readings: Readings) -> tuple[Scrapes, ...]:
        """What every target shows at the ticks of `readings`: first the nodes, then the switches, then the engines."""
        if readings.xids != self._xids:
            self._targets.clear()
            self._xids = readings.xids
        cloud = self._cloud
        return (
            *(self._dcgm(node, readings) for node in cloud.nodes),
            *(self._node(number, node, readings) for number, node in enumerate(cloud.nodes)),
            *(self._switch(leaf, readings) for leaf in cloud.leaves),
            *(self._engine(replica, readings) for replica in cloud.replicas),
        )

    def _target(self, name: str, make: Callable[[], Target]) -> Target:
        if name not in self._targets:
            self._targets[name] = make()
        return self._targets[name]

    def _dcgm(self, node: str, readings: Readings) -> Scrapes:
        """The dcgm-exporter of one node: the families of its default-counters.csv in that order, then more fields."""
        gpus = self._cloud.gpus_of(node)
        chosen = [gpu.ordinal for gpu in gpus]
        # One series for each XID that a GPU may come to show: the label says which, so another XID is another series.
        errors = [(gpu.ordinal, code) for gpu in gpus for code in (0, *readings.xids.get(gpu.ordinal, ()))]
        present = readings.gpus.present
        values = []
        for row in _DCGM_ROWS:
            if row.name == XID_FAMILY:
                shown = row.read(readings.gpus)
                columns = [
                    np.where((shown[:, gpu] == code) & present[:, gpu], float(code), np.nan) for gpu, code in errors
                ]
                values.append(np.stack(columns, axis=1))
                continue
            column = row.read(readings.gpus)[:, chosen]
            rounded = _whole(column) if row.write is integer else np.round(column, 6)
            values.append(np.where(present[:, chosen], rounded, np.nan))
        name = f"{DCGM_JOB}/{node}"
        target = self._target(name, lambda: _dcgm_target(self._cloud, node, errors))
        return Scrapes(target, np.concatenate(values, axis=1))

    def _node(self, number: int, node: str, readings: Readings) -> Scrapes:
        """The node_exporter of one node: the families in order of their names."""
        ports = self._cloud.ports_of(node)
        chosen = [port.ordinal for port in ports]
        hosts = readings.hosts
        ticks = readings.ticks_s.size
        modes = [np.round(read(hosts)[:, [number]], 2) for _, read in _CPU_MODES]
        values = [
            *(mode for _ in range(HOST_CPUS) for mode in modes),
            np.round(hosts.disk_io_s_total[:, [number]], 3),
            np.ones((ticks, len(ports))),
            *(_whole(row.read(readings.ports)[:, chosen]) for row in _PORT_ROWS),
            *(read(hosts)[:, [number]] for _, _, _, read in _HOST_ROWS),
            np.ones((ticks, len(_COLLECTORS))),
        ]
        target = self._target(f"{NODE_JOB}/{node}", lambda: _node_target(self._cloud, node))
        return Scrapes(target, np.concatenate(values, axis=1))

    def _switch(self, leaf: str, readings: Readings) -> Scrapes:
        """What our reader of switches reads of one leaf."""
        chosen = [port.ordinal for port in self._cloud.fabric_ports if port.switch == leaf]
        values = [_whole(row.read(readings.fabric)[:, chosen]) for row in _SWITCH_ROWS]
        target = self._target(f"{SWITCH_JOB}/{leaf}", lambda: _switch_target(self._cloud, leaf))
        return Scrapes(target, np.concatenate(values, axis=1))

    def _engine(self, replica: Replica, readings: Readings) -> Scrapes:
        """The /metrics page of one vLLM replica: load, KV cache, preemptions, tokens and outcomes."""
        replicas = readings.replicas
        values = [
            replicas.process_started_s[:, replica.ordinal],
            *(
                _as_counted(kind, read(replicas)[:, replica.ordinal])
                for _, kind, _, series in _ENGINE_ROWS
                for _, read in series
            ),
        ]
        table = np.where(replicas.present[:, [replica.ordinal]], np.stack(values, axis=1), np.nan)
        return Scrapes(self._target(f"{ENGINE_JOB}/{replica.pod}", lambda: _engine_target(replica)), table)


def _as_counted(kind: str, values: Floats) -> Floats:
    """Counters of an engine count whole things."""
    return _whole(values) if kind == "counter" else values


def _dcgm_target(cloud: Cloud, node: str, errors: list[tuple[int, int]]) -> Target:
    plain = tuple(_gpu_identity(gpu) | _workload_of(cloud, gpu) for gpu in cloud.gpus_of(node))
    # The exporter sorts a metric's own attributes and the pod's together, by name.
    with_error = tuple(
        _gpu_identity(cloud.gpus[gpu])
        | dict(
            sorted(
                (_workload_of(cloud, cloud.gpus[gpu]) | {"err_code": str(code), "err_msg": XID_MESSAGES[code]}).items()
            )
        )
        for gpu, code in errors
    )
    families = tuple(
        Family(row.name, row.kind, row.help_text, row.write, with_error if row.name == XID_FAMILY else plain)
        for row in _DCGM_ROWS
    )
    return Target(DCGM_JOB, f"{DCGM_JOB}/{node}", f"{node}:9400", {"node": node}, families)


_COLLECTORS = ("cpu", "diskstats", "infiniband", "loadavg", "meminfo", "pressure")


def _node_target(cloud: Cloud, node: str) -> Target:
    ports = cloud.ports_of(node)
    labels = tuple({"device": port.device, "port": port.number} for port in ports)
    adapter = {"board_id": "MT_0000000838", "firmware_version": "28.39.3004", "hca_type": "MT4129"}
    cpus = tuple({"cpu": str(cpu), "mode": mode} for cpu in range(HOST_CPUS) for mode, _ in _CPU_MODES)
    families = (
        Family("node_cpu_seconds_total", "counter", "Seconds the CPUs spent in each mode.", go_float, cpus),
        Family(*_DISK_ROW[:3], go_float, ({"device": "nvme0n1"},)),
        Family(
            "node_infiniband_info",
            "gauge",
            "Non-numeric data from /sys/class/infiniband/<device>, value is always 1.",
            go_float,
            tuple(dict(sorted((adapter | {"device": port.device}).items())) for port in ports),
        ),
        *(Family(f"node_infiniband_{r.name}", r.kind, r.help_text, go_float, labels) for r in _PORT_ROWS),
        *(Family(name, kind, help_text, go_float, ({},)) for name, kind, help_text, _ in _HOST_ROWS),
        Family(
            "node_scrape_collector_success",
            "gauge",
            "node_exporter: Whether a collector succeeded.",
            go_float,
            tuple({"collector": collector} for collector in _COLLECTORS),
        ),
    )
    return Target(NODE_JOB, f"{NODE_JOB}/{node}", f"{node}:9100", {"node": node}, families)


def _switch_target(cloud: Cloud, leaf: str) -> Target:
    guid = f"0x{0xB8CEF603_00000000 + cloud.leaves.index(leaf):016x}"
    ports = [port for port in cloud.fabric_ports if port.switch == leaf]
    labels = tuple({"switch": leaf, "guid": guid, "port": str(port.number)} for port in ports)
    families = tuple(
        Family(f"infiniband_switch_{row.name}", row.kind, row.help_text, go_float, labels) for row in _SWITCH_ROWS
    )
    instance = f"fabric-01:{9315 + cloud.leaves.index(leaf)}"
    return Target(SWITCH_JOB, f"{SWITCH_JOB}/{leaf}", instance, {}, families)


def _engine_target(replica: Replica) -> Target:
    engine = {"engine": "0", "model_name": replica.service.model.name}
    families = (
        Family(
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            floatToGoString,
            ({},),
        ),
        *(
            Family(
                f"vllm:{name}",
                kind,
                help_text,
                floatToGoString,
                tuple(dict(sorted((engine | dict(own)).items())) for own, _ in series),
            )
            for name, kind, help_text, series in _ENGINE_ROWS
        ),
    )
    labels = {
        "node": replica.node,
        "pod": replica.pod,
        "namespace": replica.service.namespace,
        "service": replica.service.name,
    }
    return Target(ENGINE_JOB, f"{ENGINE_JOB}/{replica.pod}", f"{replica.pod}:8000", labels, families)


def _whole(values: Floats) -> Floats:
    """Complete units; what is an integer but for the rounding of a sum stays that integer."""
    return np.floor(values + 1e-3)


def _gpu_identity(gpu: Gpu) -> dict[str, str]:
    return {
        "gpu": str(gpu.index),
        "UUID": gpu.uuid,
        "pci_bus_id": gpu.pci_bus_id,
        "device": f"nvidia{gpu.index}",
        "modelName": GPU_MODEL_NAME,
        "Hostname": gpu.node,
        "DCGM_FI_DRIVER_VERSION": DRIVER_VERSION,
    }


def _workload_of(cloud: Cloud, gpu: Gpu) -> dict[str, str]:
    """The pod's labels; a GPU that nobody has been given has none."""
    replica = cloud.replica_by_gpu.get(gpu.ordinal)
    if replica is None:
        return {}
    return {"container": "vllm", "namespace": replica.service.namespace, "pod": replica.pod}
