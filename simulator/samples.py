"""What each scrape target exposes: families, series and values, built once and rendered as text or as OTLP.

Names, labels, order and HELP texts are those of dcgm-exporter 4.8 (its default counters), of node_exporter
1.11 (InfiniBand collector, mlx5 NDR) and of vLLM 0.32.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client.utils import floatToGoString

from simulator.cloud import DRIVER_VERSION, GPU_MODEL_NAME, Cloud, Gpu, Replica
from simulator.physics import FRAMEBUFFER_MIB, FRAMEBUFFER_RESERVED_MIB, PORT_BYTES_PER_SECOND
from simulator.telemetry import (
    MEMORY_CLOCK_MHZ,
    PACKET_BYTES,
    GpuReadings,
    PortReadings,
    Readings,
    ReplicaReadings,
)

Floats = NDArray[np.float64]
Source = TypeVar("Source")

DCGM_JOB = "dcgm-exporter"
NODE_JOB = "node-exporter"
ENGINE_JOB = "vllm"


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
    """What one target showed at each tick: `values` has shape (ticks, series), in order of the families."""

    target: Target
    values: Floats


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
    _Row("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", _constant_gpu(0)),
    _Row("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", lambda g: np.rint(100 * g.busy_ratio)),
    _Row(
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "gauge",
        "Memory utilization (in %).",
        lambda g: np.rint(100 * g.dram_active_ratio),
    ),
    _Row("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (in %).", _constant_gpu(0)),
    _Row("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (in %).", _constant_gpu(0)),
    _Row("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered.", _constant_gpu(0)),
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
        _constant_gpu(0),
    ),
    _Row(
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
        "counter",
        "Number of remapped rows for correctable errors",
        _constant_gpu(0),
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
        _constant_port(5),
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
        _constant_port(0),
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
        _constant_port(PORT_BYTES_PER_SECOND),
    ),
    _Row(
        "state_id",
        "gauge",
        "State of the InfiniBand port (0: no change, 1: down, 2: init, 3: armed, 4: active, 5: act defer)",
        _constant_port(4),
    ),
    _Row(
        "symbol_error_total",
        "counter",
        "Number of minor link errors detected on one or more physical lanes.",
        lambda p: p.symbol_errors_total,
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
        ((_NO_LABELS, lambda r: _whole(r.generation_tokens_total)),),
    ),
    (
        "request_success_total",
        "counter",
        "Count of successfully processed requests.",
        (
            ({"finished_reason": "stop"}, lambda r: r.finished_total),
            ({"finished_reason": "length"}, lambda r: np.zeros_like(r.finished_total)),
            ({"finished_reason": "abort"}, lambda r: r.aborted_total),
            ({"finished_reason": "error"}, lambda r: np.zeros_like(r.finished_total)),
            ({"finished_reason": "repetition"}, lambda r: np.zeros_like(r.finished_total)),
        ),
    ),
)


def all_scrapes(cloud: Cloud, readings: Readings) -> tuple[Scrapes, ...]:
    """What every target shows at the ticks of `readings`: first the nodes, then the engines."""
    return (
        *(dcgm_scrapes(cloud, node, readings) for node in cloud.nodes),
        *(node_scrapes(cloud, node, readings) for node in cloud.nodes),
        *(engine_scrapes(replica, readings) for replica in cloud.replicas),
    )


def dcgm_scrapes(cloud: Cloud, node: str, readings: Readings) -> Scrapes:
    """The dcgm-exporter of one node: the families of its default-counters.csv, in that order."""
    chosen = [gpu.ordinal for gpu in cloud.gpus_of(node)]
    plain = tuple(_gpu_identity(gpu) | _workload_of(cloud, gpu) for gpu in cloud.gpus_of(node))
    # The exporter sorts a metric's own attributes and the pod's together, by name.
    no_error = {"err_code": "0", "err_msg": "No Error"}
    with_error = tuple(
        _gpu_identity(gpu) | dict(sorted((_workload_of(cloud, gpu) | no_error).items())) for gpu in cloud.gpus_of(node)
    )
    families, values = [], []
    for row in _DCGM_ROWS:
        labels = with_error if row.name == "DCGM_FI_DEV_XID_ERRORS" else plain
        families.append(Family(row.name, row.kind, row.help_text, row.write, labels))
        column = row.read(readings.gpus)[:, chosen]
        values.append(_whole(column) if row.write is integer else np.round(column, 6))
    target = Target(DCGM_JOB, f"{DCGM_JOB}/{node}", f"{node}:9400", {"node": node}, tuple(families))
    return Scrapes(target, np.concatenate(values, axis=1))


def node_scrapes(cloud: Cloud, node: str, readings: Readings) -> Scrapes:
    """The node_exporter of one node: the InfiniBand collector's main families, in order of their names."""
    ports = cloud.ports_of(node)
    chosen = [port.ordinal for port in ports]
    ticks = readings.ticks_s.size
    labels = tuple({"device": port.device, "port": port.number} for port in ports)
    adapter = {"board_id": "MT_0000000838", "firmware_version": "28.39.3004", "hca_type": "MT4129"}
    info = Family(
        "node_infiniband_info",
        "gauge",
        "Non-numeric data from /sys/class/infiniband/<device>, value is always 1.",
        go_float,
        tuple(dict(sorted((adapter | {"device": port.device}).items())) for port in ports),
    )
    success = Family(
        "node_scrape_collector_success",
        "gauge",
        "node_exporter: Whether a collector succeeded.",
        go_float,
        ({"collector": "infiniband"},),
    )
    families = (
        info,
        *(Family(f"node_infiniband_{r.name}", r.kind, r.help_text, go_float, labels) for r in _PORT_ROWS),
        success,
    )
    values = [
        np.ones((ticks, len(ports))),
        *(_whole(row.read(readings.ports)[:, chosen]) for row in _PORT_ROWS),
        np.ones((ticks, 1)),
    ]
    target = Target(NODE_JOB, f"{NODE_JOB}/{node}", f"{node}:9100", {"node": node}, families)
    return Scrapes(target, np.concatenate(values, axis=1))


def engine_scrapes(replica: Replica, readings: Readings) -> Scrapes:
    """The /metrics page of one vLLM replica: load, KV cache, preemptions, tokens and outcomes."""
    engine = {"engine": "0", "model_name": replica.service.model.name}
    families = tuple(
        Family(
            f"vllm:{name}",
            kind,
            help_text,
            floatToGoString,
            tuple(dict(sorted((engine | dict(own)).items())) for own, _ in series),
        )
        for name, kind, help_text, series in _ENGINE_ROWS
    )
    values = [read(readings.replicas)[:, replica.ordinal] for _, _, _, series in _ENGINE_ROWS for _, read in series]
    labels = {
        "node": replica.node,
        "pod": replica.pod,
        "namespace": replica.service.namespace,
        "service": replica.service.name,
    }
    target = Target(ENGINE_JOB, f"{ENGINE_JOB}/{replica.pod}", f"{replica.pod}:8000", labels, families)
    return Scrapes(target, np.stack(values, axis=1))


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
