"""The state of each GPU, from its DCGM telemetry alone: what ails it, what only seems to, and what is not known of it.

A GPU is named by (UUID, MIG instance). Metrics bear DCGM's field names (dcgm-exporter's `default-counters.csv`).

Rules and where they come from:

- clock event reasons: NVML's bits, as `domain.gpu_events` names them. 0x4 alone is usual under full load;
- XIDs: NVIDIA's catalogue, by `domain.gpu_events.XIDS`. The metric is the *last* XID: only a change is an error now;
- off the bus: a GPU loses two metrics or more from one scrape to the next while its node still reports. Found on the
  recorded A100 nodes of GWDG (DOI 10.5281/zenodo.19052367), where a lost GPU keeps telling 10 to 12 of 19 metrics;
- blind sensor: PROF_* 0 at GPU_UTIL 99 (NVIDIA/dcgm-exporter#662); frozen sensor: values served after the host
  engine has died (NVIDIA/gpu-monitoring-tools#188);
- blank values: dcgm_structs.h.

Thresholds are judgement, and stand in one place, below.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from analytics.device_states import (
    DeviceFindings,
    DeviceSamples,
    Evidence,
    Held,
    StateMatrix,
    Told,
    findings_at,
    highest_so_far,
    peers_have,
    stack,
    within,
)
from analytics.samples import Matrix, before, counter_rates, growth
from domain.gpu_events import XIDS, XidClass, clock_reasons, xid

_BUSY_RATIO = 0.3
_IDLE_RATIO = 0.05
_SURELY_BUSY_RATIO = 0.5
# No GPU draws this much for nothing; where its limit is known, this share of it says more.
_BUSY_POWER_WATTS = 250.0
_BUSY_POWER_RATIO = 0.4
_LOWERED_LIMIT_RATIO = 0.95
_PEERS_MIN = 2
_METRICS_LOST_MIN = 2
# Across a longer hole in the scrapes what a node tells may have changed for any reason: it may have booted.
_COMPARED_GAP_STEPS = 2
_FROZEN_INTERVALS = 3
# The exporter collects every 30 s, so a faster scrape sees every value more than once.
_FROZEN_LEAST_S = 90
_EVENT_HOLDS_S = 300
_NVLINK_ERRORS_PER_S = 0.1
# The counter is in ns or in us, by version; read as ns this share is surely reached by what is worth telling.
_THERMAL_VIOLATION_SHARE = 1e-4

_ACTIVITY = (
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_PROF_SM_ACTIVE",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    "DCGM_FI_PROF_DRAM_ACTIVE",
)
_REASONS = ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS")
_POWER_LIMITS = ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT")
_ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
_NVLINK_ERRORS = (
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
)
_NVLINK_RECOVERIES = "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL"
_MEMORY_COUNTERS: Mapping[str, str] = {
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "double-bit errors of memory",
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": "double-bit errors of memory",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": "rows of memory replaced after an error that could not be mended",
    "DCGM_FI_DEV_RETIRED_DBE": "pages of memory retired after a double-bit error",
}

_BLANK_32_BIT = 2.0**31 - 16
# Of a 64-bit blank a double keeps only the size; 2^62 and more is nothing that a GPU has counted.
_NOTHING_IS_THIS_LARGE = 2.0**62
_BLANK_DOUBLES = (2.0**47, 2.0**47 + 1, 2.0**47 + 2, 2.0**47 + 3)
_RANGES: Mapping[str, tuple[float, float]] = {
    "DCGM_FI_DEV_GPU_UTIL": (0, 100),
    "DCGM_FI_DEV_MEM_COPY_UTIL": (0, 100),
    "DCGM_FI_DEV_GPU_TEMP": (1, 150),
    "DCGM_FI_DEV_MEMORY_TEMP": (1, 150),  # 0 where there is no such sensor
    "DCGM_FI_DEV_POWER_USAGE": (0, 5000),
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": (1, 5000),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": (1, 5000),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF": (1, 5000),
    "DCGM_FI_DEV_PCIE_LINK_GEN": (1, 16),
    "DCGM_FI_DEV_PCIE_MAX_LINK_GEN": (1, 16),
    "DCGM_FI_DEV_PCIE_LINK_WIDTH": (1, 32),
    "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH": (1, 32),
    "DCGM_FI_DEV_XID_ERRORS": (0, 9999),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": (0, 1),
}
_WIDE = frozenset({_ENERGY, "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL"})
_WIDE_ENDINGS = ("_VIOLATION", "_BYTES", "_COUNT_TOTAL")
_BYTES_PROFILED = ("_BYTES",)


class GpuState(StrEnum):
    """What a GPU is in, worst first."""

    OFF_THE_BUS = "off the bus"
    MEMORY_FAULT = "memory fault"
    FIRMWARE_FAULT = "firmware fault"
    NVLINK_FAULT = "NVLink fault"
    HARDWARE_SLOWDOWN = "hardware slowdown"
    THERMAL_THROTTLE = "thermal throttle"
    POWER_HELD_DOWN = "power held down"
    """By a limit that was lowered, or by the brake of the power supply."""
    PCIE_DEGRADED = "PCIe degraded"
    FROZEN_SENSOR = "frozen sensor"
    BLIND_SENSOR = "blind sensor"
    APPLICATION_ERROR = "application error"
    NO_DATA = "no data"
    POWER_CAPPED = "power capped"
    """At its usual power limit: what full load looks like, no fault."""
    PAST_ERROR = "past error"
    """The last XID is of a time before all that we see, or one that says nothing of where the fault lies."""
    IDLE = "idle"
    OK = "ok"


FAULTS = frozenset(list(GpuState)[: list(GpuState).index(GpuState.FROZEN_SENSOR)])
"""The hardware, or what feeds and cools it, holds work back."""
DOUBTS = frozenset({GpuState.FROZEN_SENSOR, GpuState.BLIND_SENSOR, GpuState.NO_DATA})
"""What the telemetry says of the GPU cannot be relied on."""


@dataclass(frozen=True, slots=True, order=True)
class Gpu:
    """A GPU or an instance of one (MIG): `instance` is its GPU_I_ID, and empty for a whole GPU.

    `node` is where it is scraped. GPUs of one `model` are peers.
    """

    uuid: str
    node: str
    instance: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class GpuSamples(DeviceSamples[Gpu]):
    """What GPUs told over time, by DCGM field name; levels are in DCGM's units."""


GpuFindings: TypeAlias = DeviceFindings[Gpu, GpuState]
"""A GPU and the states it is in at one moment, worst first."""


def gpu_states(samples: GpuSamples) -> StateMatrix[GpuState]:
    """Which states hold for each GPU at each step.

    Args:
        samples: of one fleet or of any part of it that holds whole nodes.

    Returns:
        States worst first, with (states, gpus, steps).
    """
    return _states(_Evidence(samples))


def gpu_findings(samples: GpuSamples, step: int = -1) -> tuple[GpuFindings, ...]:
    """The states of each GPU at one step, the last unless told otherwise, with the reason and its numbers.

    Raises:
        IndexError: when there is no such step.
    """
    evidence = _Evidence(samples)

    def tell(state: GpuState, row: int, place: int) -> Told:
        return _REASONS_IN_WORDS[state](evidence, row, place)

    return findings_at(samples.devices, _states(evidence), step, tell)


def cleaned(metric: str, values: Matrix) -> Matrix:
    """The values that can be true; DCGM's blanks and impossible numbers become NaN.

    Args:
        metric: DCGM field name.
        values: in DCGM's unit, any shape.
    """
    least, greatest = _RANGES.get(metric, (0.0, _greatest(metric)))
    return np.where((values >= least) & (values <= greatest) & ~np.isin(values, _BLANK_DOUBLES), values, np.nan)


def _greatest(metric: str) -> float:
    if metric.startswith("DCGM_FI_PROF_") and not metric.endswith(_BYTES_PROFILED):
        return 1.0
    if metric in _WIDE or metric.endswith(_WIDE_ENDINGS):
        return math.nextafter(_NOTHING_IS_THIS_LARGE, 0)
    return math.nextafter(_BLANK_32_BIT, 0)


class _Evidence(Evidence[Gpu]):
    """What the states rest on: all of it (gpus, steps)."""

    def __init__(self, samples: GpuSamples) -> None:
        super().__init__(samples, {metric: cleaned(metric, matrix) for metric, matrix in samples.values.items()})
        self.uuids = [gpu.uuid for gpu in self.devices]
        self.nodes = [gpu.node for gpu in self.devices]
        self.peer_groups = [(gpu.node, gpu.model) for gpu in self.devices]
        self.holds_steps = _EVENT_HOLDS_S // self.step_s

        self.power_watts = self.of("DCGM_FI_DEV_POWER_USAGE")
        self.limit_watts = self.of(*_POWER_LIMITS)
        self.reasons = self.of(*_REASONS)
        self.bits = np.where(np.isfinite(self.reasons), self.reasons, 0).astype(np.int64)
        self.util_ratio = self.of("DCGM_FI_DEV_GPU_UTIL") / 100
        self.profiled_ratio = np.full(self.shape, np.nan)
        for metric in _ACTIVITY:
            self.profiled_ratio = np.fmax(self.profiled_ratio, self.of(metric))
        self.activity_ratio = np.fmax(self.util_ratio, self.profiled_ratio)
        self.busy: Held = self.activity_ratio >= _BUSY_RATIO

        self.xid = self.of("DCGM_FI_DEV_XID_ERRORS")
        self.xid_before = before(self.xid)
        self.xid_changed: Held = np.isfinite(self.xid_before) & np.isfinite(self.xid) & (self.xid != self.xid_before)
        self.metrics_lost, self.came_back = _lost_and_back(self)

    def growth(self, metric: str) -> Matrix:
        """What a counter grew by since its last sample; NaN where unknown, and what it shows when it began anew."""
        return self.once(f"growth {metric}", lambda: growth(self.of(metric)))

    def rate(self, metric: str) -> Matrix:
        """Growth per second."""
        return self.once(f"rate {metric}", lambda: counter_rates(self.of(metric), self.step_s, math.inf))

    def xid_since_reset(self, kind: XidClass) -> Held:
        """Has an XID of this kind come, and the GPU not started anew since.

        When the driver did, the last XID is 0 again and energy is counted from 0; when the GPU was off the bus, its
        metrics are all back.
        """
        return self.once(f"since reset {kind}", lambda: self.since_reset(self.xid_came(kind)))

    def xid_came(self, kind: XidClass) -> Held:
        """Has an XID of this kind come at this step."""
        return self.xid_changed & np.isin(self.xid, [code for code, its in XIDS.items() if its.kind is kind])

    def since_reset(self, events: Held) -> Held:
        """Has there been such an event, and the GPU not started anew since."""
        energy = self.of(_ENERGY)  # counted from the start of the driver
        reset = self.came_back | (self.xid_changed & (self.xid == 0)) | (energy < before(energy))
        found: Held = (_latest(events) >= 0) & (_latest(events) >= _latest(reset))
        return found

    def xid_of(self, kind: XidClass, row: int, step: int) -> int:
        """The last XID of this kind that came up to a step; there must be one."""
        return int(self.xid[row, np.flatnonzero(self.xid_came(kind)[row, : step + 1])[-1]])


def _latest(events: Held) -> Matrix:
    """The step of the latest event up to each step, -1 before the first."""
    steps = np.arange(events.shape[1], dtype=np.float64)
    return np.maximum.accumulate(np.where(events, steps, -1.0), axis=1)


def _states(evidence: _Evidence) -> StateMatrix[GpuState]:
    reports = evidence.reports
    off = _off_the_bus(evidence)
    found: dict[GpuState, Held] = {
        GpuState.OFF_THE_BUS: off,
        GpuState.MEMORY_FAULT: reports & _memory_fault(evidence),
        GpuState.FIRMWARE_FAULT: reports & evidence.xid_since_reset(XidClass.FIRMWARE),
        GpuState.NVLINK_FAULT: reports & _nvlink_fault(evidence),
        GpuState.HARDWARE_SLOWDOWN: (evidence.bits & 0x8) != 0,
        GpuState.THERMAL_THROTTLE: _thermal_throttle(evidence),
        GpuState.PCIE_DEGRADED: evidence.busy & (_below(evidence, *_PCIE_GEN) | _below(evidence, *_PCIE_WIDTH)),
        GpuState.FROZEN_SENSOR: _frozen(evidence),
        GpuState.BLIND_SENSOR: _blind(evidence),
        GpuState.APPLICATION_ERROR: reports & within(evidence.xid_came(XidClass.APPLICATION), evidence.holds_steps),
        GpuState.NO_DATA: ~reports & ~off,
        GpuState.PAST_ERROR: (evidence.xid > 0) & ((_latest(evidence.xid_changed) < 0) | _unclassed(evidence)),
    }
    found[GpuState.POWER_HELD_DOWN] = _held_down(evidence)
    found[GpuState.POWER_CAPPED] = ((evidence.bits & 0x4) != 0) & ~found[GpuState.POWER_HELD_DOWN]
    # Of a sensor that cannot be trusted nobody is called idle.
    doubted = found[GpuState.BLIND_SENSOR] | found[GpuState.FROZEN_SENSOR]
    found[GpuState.IDLE] = reports & (evidence.activity_ratio <= _IDLE_RATIO) & ~doubted & ~off
    found[GpuState.OK] = ~np.logical_or.reduce(list(found.values()))
    return stack(list(GpuState), found)


def _off_the_bus(evidence: _Evidence) -> Held:
    """A GPU lost metrics, or all of its series, while its node still reports; or an XID said so."""
    said = evidence.reports & evidence.xid_since_reset(XidClass.GONE)
    return said | (evidence.metrics_lost >= _METRICS_LOST_MIN)


def _lost_and_back(evidence: _Evidence) -> tuple[Matrix, Held]:
    """How many metrics each GPU lost with the bus and has not told since, and where the last of many came back."""
    metrics_lost, came_back = np.zeros(evidence.shape), np.zeros(evidence.shape, dtype=np.bool_)
    # Profiling metrics stop for other reasons: a debugger has the counters, or profiling is paused.
    device_metrics = [metric for metric in evidence.values if not metric.startswith("DCGM_FI_PROF_")]
    if not device_metrics:
        return metrics_lost, came_back
    present = np.stack([np.isfinite(evidence.values[metric]) for metric in device_metrics])
    for node in dict.fromkeys(evidence.nodes):
        rows = [row for row, its_node in enumerate(evidence.nodes) if its_node == node]
        answered = np.flatnonzero(evidence.reports[rows].any(axis=0))
        there = present[:, rows][:, :, answered]
        lost = _lost_with_the_bus(evidence, rows, answered, there)
        missing = np.zeros(there.shape[:2], dtype=np.bool_)
        for place, step in enumerate(answered):
            was_off = missing.sum(axis=0) >= _METRICS_LOST_MIN
            missing = (missing & ~there[:, :, place]) | lost[:, :, place]
            metrics_lost[rows, step] = missing.sum(axis=0)
            came_back[rows, step] = was_off & ~missing.any(axis=0)
    return metrics_lost, came_back


def _lost_with_the_bus(
    evidence: _Evidence, rows: list[int], answered: NDArray[np.intp], there: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which metrics the GPUs of a node lost from one scrape to the next, where that means the bus.

    Args:
        evidence: of all GPUs.
        rows: the GPUs of the node.
        answered: the steps at which any of them told anything.
        there: who told what of it: (metrics, rows, answered).

    Returns:
        (metrics, rows, answered).
    """
    lost = np.zeros(there.shape, dtype=np.bool_)
    lost[:, :, 1:] = there[:, :, :-1] & ~there[:, :, 1:]
    lost[:, :, 1:] &= (np.diff(answered) <= _COMPARED_GAP_STEPS)[None, None, :]
    found: NDArray[np.bool_] = lost & _means_the_bus(evidence, rows, answered, there, lost)[None, :, :]
    return found


def _means_the_bus(
    evidence: _Evidence, rows: list[int], answered: NDArray[np.intp], there: NDArray[np.bool_], lost: NDArray[np.bool_]
) -> Held:
    """Where the metrics that the GPUs of a node lost are enough of them, and lost by themselves: (rows, answered).

    All GPUs at once and without an XID: the exporter was told to tell less. An instance (MIG) whose GPU goes on under
    other instances was taken apart by somebody.
    """
    many: Held = np.asarray(lost.sum(axis=0) >= _METRICS_LOST_MIN)
    alive: Held = np.asarray(there.any(axis=0))
    said = evidence.xid_came(XidClass.GONE)[rows][:, answered]
    uuids = np.array([evidence.uuids[row] for row in rows])
    for at in np.flatnonzero(many.any(axis=0)):
        told = set(uuids[alive[:, at]])
        unhurt = told - set(uuids[many[:, at]])
        for place in np.flatnonzero(many[:, at] & ~said[:, at]):
            taken_apart = not alive[place, at] and uuids[place] in told
            many[place, at] = bool(unhurt - {uuids[place]}) and not taken_apart
    return many


def _unclassed(evidence: _Evidence) -> Held:
    """Is the last XID one that no other state rests on: not described here, or the driver's advice."""
    told = [code for code, described in XIDS.items() if described.kind is not XidClass.ADVICE]
    return ~np.isin(evidence.xid, told)


def _memory_fault(evidence: _Evidence) -> Held:
    found = evidence.xid_since_reset(XidClass.MEMORY) | (evidence.of("DCGM_FI_DEV_ROW_REMAP_FAILURE") > 0)
    for metric in _MEMORY_COUNTERS:
        found |= evidence.since_reset(evidence.growth(metric) > 0)
    return found


def _nvlink_fault(evidence: _Evidence) -> Held:
    errors = evidence.growth(_NVLINK_RECOVERIES) > 0
    for metric in _NVLINK_ERRORS:
        errors |= evidence.rate(metric) >= _NVLINK_ERRORS_PER_S
    return evidence.xid_since_reset(XidClass.NVLINK) | within(errors, evidence.holds_steps)


def _thermal_throttle(evidence: _Evidence) -> Held:
    said = (evidence.bits & 0x60) != 0
    violated = evidence.rate("DCGM_FI_DEV_THERMAL_VIOLATION") / 1e9 >= _THERMAL_VIOLATION_SHARE
    found: Held = said | violated
    return found


def _usual_limit_watts(evidence: _Evidence) -> Matrix:
    """The greatest of: its default limit, its own limit until now, and that of its peers."""

    def work_out() -> Matrix:
        peers = peers_have(evidence.limit_watts, evidence.peer_groups, evidence.uuids, _PEERS_MIN)
        usual = np.fmax(highest_so_far(evidence.limit_watts), peers)
        return np.fmax(usual, evidence.of("DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF"))

    return evidence.once("usual limit", work_out)


def _held_down(evidence: _Evidence) -> Held:
    lowered = evidence.limit_watts < _LOWERED_LIMIT_RATIO * _usual_limit_watts(evidence)
    at_limit = ((evidence.bits & 0x4) != 0) | (evidence.power_watts >= _LOWERED_LIMIT_RATIO * evidence.limit_watts)
    found: Held = ((evidence.bits & 0x80) != 0) | (lowered & at_limit)
    return found


_PCIE_GEN = ("DCGM_FI_DEV_PCIE_LINK_GEN", "DCGM_FI_DEV_PCIE_MAX_LINK_GEN")
_PCIE_WIDTH = ("DCGM_FI_DEV_PCIE_LINK_WIDTH", "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH")


def _best_link(evidence: _Evidence, metric: str, own_maximum: str) -> Matrix:
    """What a PCIe link should have: its maximum, its own past, or what its busy peers have."""

    def work_out() -> Matrix:
        link = evidence.of(metric)
        working = np.where(evidence.busy, link, np.nan)  # an idle GPU lowers the generation to save power
        peers = peers_have(working, evidence.peer_groups, evidence.uuids, _PEERS_MIN)
        return np.fmax(np.fmax(evidence.of(own_maximum), highest_so_far(link)), peers)

    return evidence.once(f"best {metric}", work_out)


def _below(evidence: _Evidence, metric: str, own_maximum: str) -> Held:
    return evidence.of(metric) < _best_link(evidence, metric, own_maximum)


def _blind(evidence: _Evidence) -> Held:
    """PROF_* is 0 in every instance of a GPU that is busy; twice in a row where there are two samples."""
    profiled, util = evidence.profiled_ratio, evidence.util_ratio
    if not _has_several_rows(evidence.uuids):
        board_profiled, board_util = profiled, util
    else:
        board_profiled = _greatest_of_board(profiled, evidence.uuids)
        board_util = _greatest_of_board(util, evidence.uuids)
    limit = evidence.limit_watts
    draws = evidence.power_watts >= np.where(np.isfinite(limit), _BUSY_POWER_RATIO * limit, _BUSY_POWER_WATTS)
    works = (board_util >= _SURELY_BUSY_RATIO) | draws
    seen = np.where(np.isfinite(profiled), ((board_profiled == 0) & works).astype(np.float64), np.nan)
    earlier = before(seen)
    found: Held = (seen == 1) & ((earlier == 1) | np.isnan(earlier))
    return found


def _has_several_rows(uuids: Sequence[str]) -> bool:
    return len(set(uuids)) < len(uuids)


def _greatest_of_board(values: Matrix, uuids: Sequence[str]) -> Matrix:
    found = np.empty_like(values)
    for uuid in dict.fromkeys(uuids):
        rows = [row for row, its_uuid in enumerate(uuids) if its_uuid == uuid]
        found[rows] = np.fmax.reduce(values[rows])
    return found


def _unchanged(values: Matrix, intervals: int) -> Held:
    """Is this sample, and are the `intervals` samples before it, the same to the bit."""
    same = np.isfinite(values) & (values == before(values))
    run = np.zeros(values.shape)
    length = np.zeros(values.shape[0])
    known = np.isfinite(values)
    for step in range(values.shape[1]):
        length = np.where(known[:, step], np.where(same[:, step], length + 1, 0), length)
        run[:, step] = length
    found: Held = known & (run >= intervals)
    return found


def _frozen_intervals(evidence: _Evidence) -> int:
    return max(_FROZEN_INTERVALS, math.ceil(_FROZEN_LEAST_S / evidence.step_s))


def _frozen(evidence: _Evidence) -> Held:
    """Energy that stands still, which no GPU with power does; without energy, power that does while a peer's moves."""
    intervals = _frozen_intervals(evidence)
    energy, power = evidence.of(_ENERGY), evidence.power_watts
    stands = _unchanged(energy, intervals) & (power > 0)
    still = _unchanged(power, intervals)
    moves = np.isfinite(power) & np.isfinite(before(power)) & ~_unchanged(power, 1)
    without_energy = still & np.isnan(energy)
    if not without_energy.any():
        return stands
    for row in np.flatnonzero(without_energy.any(axis=1)):
        peers = [
            peer
            for peer, gpu in enumerate(evidence.devices)
            if gpu.node == evidence.devices[row].node and gpu.uuid != evidence.devices[row].uuid
        ]
        stands[row] |= without_energy[row] & within(moves[peers], intervals - 1).any(axis=0)
    return stands


def _xid_told(evidence: _Evidence, kind: XidClass, row: int, step: int) -> Told:
    """The last XID of a kind that came: for the states that hold only after one."""
    code = evidence.xid_of(kind, row, step)
    return f"XID {code}: {xid(code).text}", {"xid": float(code)}


def _tell_off_the_bus(evidence: _Evidence, row: int, step: int) -> Told:
    lost = evidence.metrics_lost[row, step]
    if evidence.xid_since_reset(XidClass.GONE)[row, step]:
        text, numbers = _xid_told(evidence, XidClass.GONE, row, step)
        return text, {**numbers, "metrics_lost": lost}
    if not evidence.reports[row, step]:
        return "all its series vanished while other GPUs of the node still report", {"metrics_lost": lost}
    text = f"{lost:.0f} metrics of this GPU stopped at once while other GPUs of the node still report them"
    return text, {"metrics_lost": lost}


def _tell_memory_fault(evidence: _Evidence, row: int, step: int) -> Told:
    reasons: list[str] = []
    numbers: dict[str, float] = {}
    if evidence.xid_since_reset(XidClass.MEMORY)[row, step]:
        text, told = _xid_told(evidence, XidClass.MEMORY, row, step)
        reasons.append(text)
        numbers |= told
    if evidence.of("DCGM_FI_DEV_ROW_REMAP_FAILURE")[row, step] > 0:
        reasons.append("a memory row could not be remapped")
        numbers["row_remap_failure"] = 1.0
    for metric, text in _MEMORY_COUNTERS.items():
        grown = float(np.nansum(np.fmax(evidence.growth(metric)[row, : step + 1], 0)))
        if grown > 0:
            reasons.append(f"{grown:.0f} new {text}")
            numbers[metric] = grown
    return "; ".join(reasons), numbers


def _tell_nvlink_fault(evidence: _Evidence, row: int, step: int) -> Told:
    if evidence.xid_since_reset(XidClass.NVLINK)[row, step]:
        return _xid_told(evidence, XidClass.NVLINK, row, step)
    since = slice(max(0, step - evidence.holds_steps), step + 1)
    numbers = {
        metric: float(np.nansum(evidence.growth(metric)[row, since]))
        for metric in (*_NVLINK_ERRORS, _NVLINK_RECOVERIES)
    }
    return f"{sum(numbers.values()):.0f} NVLink errors and recoveries in the last {_EVENT_HOLDS_S} s", numbers


def _tell_clocks(evidence: _Evidence, row: int, step: int) -> Told:
    bits = int(evidence.bits[row, step])
    texts = [reason.text for reason in clock_reasons(bits) if reason.name != "clocks_setting"]
    numbers = {
        "clock_event_reasons": float(bits),
        "gpu_temperature_celsius": evidence.of("DCGM_FI_DEV_GPU_TEMP")[row, step],
        "memory_temperature_celsius": evidence.of("DCGM_FI_DEV_MEMORY_TEMP")[row, step],
        "power_watts": evidence.power_watts[row, step],
        "power_limit_watts": evidence.limit_watts[row, step],
        "sm_clock_mhz": evidence.of("DCGM_FI_DEV_SM_CLOCK")[row, step],
    }
    if not bits & 0x60 and (rate := evidence.rate("DCGM_FI_DEV_THERMAL_VIOLATION")[row, step]) > 0:
        texts.append("it has been thermally throttled since the last sample (the thermal violation counter grew)")
        numbers["thermal_violation_per_s"] = rate
    return "; ".join(texts), numbers


def _tell_held_down(evidence: _Evidence, row: int, step: int) -> Told:
    text, numbers = _tell_clocks(evidence, row, step)
    usual = _usual_limit_watts(evidence)[row, step]
    limit = evidence.limit_watts[row, step]
    if limit < _LOWERED_LIMIT_RATIO * usual:
        text = f"it is at its power limit of {limit:.0f} W, which is lower than the usual {usual:.0f} W"
    return text, {**numbers, "power_limit_usual_watts": usual}


def _tell_power_capped(evidence: _Evidence, row: int, step: int) -> Told:
    _, numbers = _tell_clocks(evidence, row, step)
    return "the power limit holds the clocks down, as is usual under full load: no fault", numbers


def _tell_pcie(evidence: _Evidence, row: int, step: int) -> Told:
    generation, width = (evidence.of(names[0])[row, step] for names in (_PCIE_GEN, _PCIE_WIDTH))
    best = [_best_link(evidence, *names)[row, step] for names in (_PCIE_GEN, _PCIE_WIDTH)]
    texts = [
        f"{name} {now:.0f} instead of {usual:.0f}"
        for name, now, usual in (("generation", generation, best[0]), ("width", width, best[1]))
        if now < usual
    ]
    numbers = {
        "pcie_generation": generation,
        "pcie_width": width,
        "pcie_generation_usual": best[0],
        "pcie_width_usual": best[1],
    }
    return f"its PCIe link has {' and '.join(texts)} while it is busy", numbers


def _tell_frozen(evidence: _Evidence, row: int, step: int) -> Told:
    energy = evidence.of(_ENERGY)[row, step]
    numbers = {"energy_mj": energy, "power_watts": evidence.power_watts[row, step]}
    intervals = _frozen_intervals(evidence)
    what = "the energy it has used" if math.isfinite(energy) else "its power"
    return f"{what} has stayed the same to the last digit for {intervals} scrapes or more", numbers


def _tell_blind(evidence: _Evidence, row: int, step: int) -> Told:
    util, power = evidence.util_ratio[row, step], evidence.power_watts[row, step]
    signs = []
    if util >= _SURELY_BUSY_RATIO:
        signs.append(f"it is {100 * util:.0f} % used")
    if math.isfinite(power):
        signs.append(f"it draws {power:.0f} W")
    numbers = {"profiled_activity_ratio": 0.0, "gpu_utilization_ratio": util, "power_watts": power}
    return f"its profiling metrics read 0 while {' and '.join(signs)}: they are blind, not idle", numbers


def _tell_application_error(evidence: _Evidence, row: int, step: int) -> Told:
    text, numbers = _xid_told(evidence, XidClass.APPLICATION, row, step)
    return f"{text}; no hardware fault", numbers


def _tell_firmware(evidence: _Evidence, row: int, step: int) -> Told:
    return _xid_told(evidence, XidClass.FIRMWARE, row, step)


def _tell_no_data(evidence: _Evidence, row: int, step: int) -> Told:
    mates = [peer for peer, node in enumerate(evidence.nodes) if node == evidence.nodes[row]]
    if evidence.reports[mates, step].any():
        return "it reports nothing while other GPUs of its node do", {}
    return "nothing of its node was scraped", {}


def _tell_past_error(evidence: _Evidence, row: int, step: int) -> Told:
    code = int(evidence.xid[row, step])
    since = (
        "is its last error"
        if evidence.xid_changed[row, : step + 1].any()
        else "was its last error, before the data begins"
    )
    return f"XID {code} {since}: {xid(code).text}", {"xid": float(code)}


def _tell_activity(evidence: _Evidence, row: int, step: int) -> Told:
    activity = evidence.activity_ratio[row, step]
    numbers = {"activity_ratio": activity, "power_watts": evidence.power_watts[row, step]}
    if not math.isfinite(activity):
        return "no fault in what it reports; it does not report how busy it is", numbers
    return f"it is {100 * activity:.0f} % active", numbers


_REASONS_IN_WORDS: Mapping[GpuState, Callable[[_Evidence, int, int], Told]] = {
    GpuState.OFF_THE_BUS: _tell_off_the_bus,
    GpuState.MEMORY_FAULT: _tell_memory_fault,
    GpuState.FIRMWARE_FAULT: _tell_firmware,
    GpuState.NVLINK_FAULT: _tell_nvlink_fault,
    GpuState.HARDWARE_SLOWDOWN: _tell_clocks,
    GpuState.THERMAL_THROTTLE: _tell_clocks,
    GpuState.POWER_HELD_DOWN: _tell_held_down,
    GpuState.PCIE_DEGRADED: _tell_pcie,
    GpuState.FROZEN_SENSOR: _tell_frozen,
    GpuState.BLIND_SENSOR: _tell_blind,
    GpuState.APPLICATION_ERROR: _tell_application_error,
    GpuState.NO_DATA: _tell_no_data,
    GpuState.POWER_CAPPED: _tell_power_capped,
    GpuState.PAST_ERROR: _tell_past_error,
    GpuState.IDLE: _tell_activity,
    GpuState.OK: _tell_activity,
}
