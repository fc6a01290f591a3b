"""One fault played in one cloud: what its users felt, and on what the sensors showed it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from domain.cause import CauseKind
from simulator.cloud import Cloud, build_cloud
from simulator.faults import Fault, hit_replicas, plan_fault
from simulator.run import Simulation, Slice
from simulator.spans import RequestColumns

Floats = NDArray[np.float64]
Labels = Mapping[str, str]

QUIET_S = 1807.0  # so that a fault does not begin at a scrape
FAULT_S = 300.0
STEP_S = 15.0
START = datetime.fromisoformat("2026-11-20T12:00:00+00:00")
FAULT_AT = START + timedelta(seconds=QUIET_S)
PORT_BYTES_PER_S = 5e10
WAIT_TICKS_PER_S = 6.25e9


@dataclass(frozen=True)
class Felt:
    """What users of one service felt, before and during: p99 of seconds, and the share of errors."""

    first_token_s: tuple[float, float]
    latency_s: tuple[float, float]
    error_ratio: tuple[float, float]

    @property
    def growth(self) -> float:
        """By how much the worse of both p99s rose."""
        return max(after / before for before, after in (self.first_token_s, self.latency_s))


@dataclass(frozen=True)
class Scene:
    """A quiet half hour and then the fault, for five minutes."""

    cloud: Cloud
    fault: Fault
    felt: Mapping[str, Felt]
    shown: Mapping[str, frozenset[str]]  # signal → on what it shows during the fault, and did not before

    @property
    def services(self) -> set[str]:
        return {replica.service.name for replica in hit_replicas(self.cloud, self.fault)}


def play(cloud: Cloud, seed: int, fault: Fault | None) -> tuple[Slice, Slice, NDArray[np.void]]:
    """The quiet half hour, the five minutes, and all requests."""
    simulation = Simulation(seed, START, [fault] if fault else (), cloud=cloud)
    quiet = simulation.advance(FAULT_AT, scrape_step_s=STEP_S)
    faulty = simulation.advance(FAULT_AT + timedelta(seconds=FAULT_S), scrape_step_s=STEP_S)
    # Those that came in the fault may end after it.
    later = simulation.advance(FAULT_AT + timedelta(seconds=FAULT_S + 120), scrape_step_s=STEP_S)
    return quiet, faulty, np.concatenate([quiet.requests, faulty.requests, later.requests])


@cache
def scene(kind: CauseKind, seed: int) -> Scene:
    cloud = build_cloud(seed)
    fault = plan_fault(kind, cloud, seed, FAULT_AT, FAULT_S)
    quiet, faulty, everyone = play(cloud, seed, fault)
    felt = {service.name: felt_by(cloud, service.name, everyone) for service in cloud.services}
    before, during = signals_in(quiet), signals_in(faulty)
    return Scene(cloud, fault, felt, {signal: during[signal] - before[signal] for signal in during})


def felt_by(cloud: Cloud, service: str, everyone: NDArray[np.void]) -> Felt:
    mine = np.isin(everyone["replica"], [replica.ordinal for replica in cloud.replicas_of(service)])
    after = everyone["arrived_at"] >= FAULT_AT.timestamp()
    during = after & (everyone["arrived_at"] < FAULT_AT.timestamp() + FAULT_S)
    chosen = [RequestColumns(everyone[mine & which]) for which in (~after, during)]

    def p99(values: Floats) -> float:
        return float(np.nanquantile(values, 0.99))

    first_token, latency = ([p99(getattr(c, name)) for c in chosen] for name in ("first_token_s", "end_to_end_s"))
    errors = [float(c.failed.mean()) for c in chosen]
    return Felt((first_token[0], first_token[1]), (latency[0], latency[1]), (errors[0], errors[1]))


def table(happened: Slice, family: str, name: Callable[[Labels], str]) -> dict[str, Floats]:
    """The series of a family by the name that their labels (the target's too) give them, values at the ticks."""
    found: dict[str, Floats] = {}
    for scrape in happened.scrapes:
        position = 0
        for candidate in scrape.target.families:
            for labels in candidate.labels:
                if candidate.name == family:
                    found[name({**scrape.target.labels, **labels})] = scrape.values[:, position]
                position += 1
    assert found, family
    return found


def _gpu(labels: Labels) -> str:
    return labels["UUID"]


def _port(labels: Labels) -> str:
    return f"{labels['node']}/{labels['device']}/{labels['port']}"


def _switch_port(labels: Labels) -> str:
    return f"{labels['switch']}/{labels['port']}"


def _node(labels: Labels) -> str:
    return labels["node"]


def _pod(labels: Labels) -> str:
    return labels["pod"]


def per_s(values: Floats) -> float:
    """Mean growth per second over the second half of the ticks (ramps are over by then)."""
    half = values[len(values) // 2 :]
    return float((half[-1] - half[0]) / (STEP_S * (len(half) - 1)))


def _late(values: Floats) -> Floats:
    return values[len(values) // 2 :]


# Signal → (family, how its series are named, whether values say that it shows).
SIGNALS: Mapping[str, tuple[str, Callable[[Labels], str], Callable[[Floats], bool]]] = {
    "gpu gone": ("DCGM_FI_DEV_GPU_TEMP", _gpu, lambda v: bool(np.isnan(_late(v)).all())),
    "gpu hot": ("DCGM_FI_DEV_GPU_TEMP", _gpu, lambda v: bool(_late(v).max() > 82)),
    "clock low": ("DCGM_FI_DEV_SM_CLOCK", _gpu, lambda v: bool((_late(v) > 0).all() and 200 < _late(v).max() < 1000)),
    "throttle bits": (
        "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
        _gpu,
        lambda v: bool((np.nan_to_num(_late(v)).astype(int) & 0xE8).any()),
    ),
    "thermal violation": ("DCGM_FI_DEV_THERMAL_VIOLATION", _gpu, lambda v: per_s(v) > 1e8),
    "power violation": ("DCGM_FI_DEV_POWER_VIOLATION", _gpu, lambda v: per_s(v) > 1e8),
    "power limit": ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", _gpu, lambda v: bool(_late(v).max() < 650)),
    "bit errors corrected": ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", _gpu, lambda v: per_s(v) > 1),
    "bit errors": ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", _gpu, lambda v: bool(v[-1] > 0)),
    "rows remapped": ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", _gpu, lambda v: bool(v[-1] > 0)),
    "nvlink errors": ("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", _gpu, lambda v: per_s(v) > 5),
    "nvlink recoveries": ("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", _gpu, lambda v: bool(v[-1] > v[0])),
    "pcie generation": ("DCGM_FI_DEV_PCIE_LINK_GEN", _gpu, lambda v: bool(_late(v).max() < 5)),
    "pcie width": ("DCGM_FI_DEV_PCIE_LINK_WIDTH", _gpu, lambda v: bool(_late(v).max() < 16)),
    "pcie replays": ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", _gpu, lambda v: per_s(v) > 1),
    "memory taken": ("DCGM_FI_DEV_FB_FREE", _gpu, lambda v: bool(_late(v).max() < 300)),
    "memory freed": ("DCGM_FI_DEV_FB_USED", _gpu, lambda v: bool((v < 60_000).any())),
    "SMs taken": ("DCGM_FI_PROF_SM_ACTIVE", _gpu, lambda v: bool(_late(v).mean() > 0.9)),
    "symbol errors": ("node_infiniband_symbol_error_total", _port, lambda v: per_s(v) > 0.1),
    "link downs": ("node_infiniband_link_downed_total", _port, lambda v: bool(v[-1] > 1)),  # once it was plugged in
    "link down": ("node_infiniband_state_id", _port, lambda v: bool((v < 4).any())),
    "link slow": ("node_infiniband_rate_bytes_per_second", _port, lambda v: bool(_late(v).max() < 1e9)),
    "port full": (
        "node_infiniband_port_data_transmitted_bytes_total",
        _port,
        lambda v: per_s(v) > 0.9 * PORT_BYTES_PER_S,
    ),
    "port waits": (
        "node_infiniband_port_transmit_wait_total",
        _port,
        lambda v: per_s(v) > 0.1 * WAIT_TICKS_PER_S,
    ),
    "port discards": ("node_infiniband_port_discards_transmitted_total", _port, lambda v: per_s(v) > 0.1),
    "switch port full": (
        "infiniband_switch_port_transmit_data_bytes_total",
        _switch_port,
        lambda v: per_s(v) > 0.9 * PORT_BYTES_PER_S,
    ),
    "switch port waits": (
        "infiniband_switch_port_transmit_wait_total",
        _switch_port,
        lambda v: per_s(v) > 0.1 * WAIT_TICKS_PER_S,
    ),
    "cpu pressure": ("node_pressure_cpu_waiting_seconds_total", _node, lambda v: per_s(v) > 0.2),
    "io pressure": ("node_pressure_io_waiting_seconds_total", _node, lambda v: per_s(v) > 0.2),
    "host memory low": ("node_memory_MemAvailable_bytes", _node, lambda v: bool(_late(v).max() < 5e10)),
    "load": ("node_load1", _node, lambda v: bool(_late(v).mean() > 50)),
    "replica gone": ("vllm:num_requests_running", _pod, lambda v: bool(np.isnan(v).any())),
    "cache full": ("vllm:kv_cache_usage_perc", _pod, lambda v: bool((v > 0.85).any())),
    "preemptions": ("vllm:num_preemptions_total", _pod, lambda v: bool((np.diff(v) > 0.5).any())),
}


def signals_in(happened: Slice) -> dict[str, frozenset[str]]:
    """On what each signal shows; with XIDs and new processes, which are not told from one series alone."""
    found = {
        signal: frozenset(name for name, values in table(happened, family, named).items() if shows(values))
        for signal, (family, named, shows) in SIGNALS.items()
    }
    xids = table(happened, "DCGM_FI_DEV_XID_ERRORS", lambda labels: f"{labels['UUID']} {labels['err_code']}")
    found["xid"] = frozenset(name.split()[0] for name, values in xids.items() if (values > 0).any())
    started = table(happened, "process_start_time_seconds", _pod)
    begun_at = happened.ticks_s[0] - 120
    found["new process"] = frozenset(pod for pod, values in started.items() if (values > begun_at).any())
    return found
