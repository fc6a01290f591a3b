"""Faults of GPUs and links that somebody is to mend: states that have held long enough, and are not over yet.

`gpu_states` and `port_states` say what holds at a moment. A ticket takes more: a fault is told when it has held for a
while (so that one odd scrape wakes nobody), and is over when it has been away for a while (so that a link that flaps
is one ticket). What only a reset mends stays told until one was seen. What is not known changes nothing.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.device_states import DeviceFindings, DeviceT, Held, StateT, highest_so_far
from analytics.gpu_states import Gpu, GpuSamples, GpuState, cleaned, gpu_findings, gpu_states
from analytics.neighbourhood import gpu_indices
from analytics.port_states import (
    DISCARDS,
    NODE_EXPORTER,
    PACKETS_RECEIVED,
    PACKETS_SENT,
    RATE,
    RECEIVED,
    SENT,
    SWITCH_PORTS,
    WAIT,
    WIDTH,
    Port,
    PortSamples,
    PortState,
    port_findings,
    port_states,
)
from analytics.samples import Matrix, before
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind, GpuPlace, entity_text
from domain.gpu_events import XIDS, XidClass, xid
from domain.incident import Incident, Severity, Status
from domain.topology import Topology
from domain.window import Window, from_rfc3339, rfc3339

State: TypeAlias = GpuState | PortState
SamplesT = TypeVar("SamplesT", GpuSamples, PortSamples)

_XID = "DCGM_FI_DEV_XID_ERRORS"
_ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
_REMAP_PENDING = "DCGM_FI_DEV_ROW_REMAP_PENDING"
_BUSY: Mapping[str, float] = {"DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.3, "DCGM_FI_DEV_GPU_UTIL": 30.0}
_KEPT_SHARE = 0.95  # what is below this share of what it was is less

GPU_METRICS: tuple[str, ...] = (
    _XID,
    _ENERGY,
    _REMAP_PENDING,
    *_BUSY,
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS",
    "DCGM_FI_DEV_THERMAL_VIOLATION",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
    "DCGM_FI_DEV_POWER_MGMT_LIMIT",
    "DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
    "DCGM_FI_DEV_ROW_REMAP_FAILURE",
    "DCGM_FI_DEV_RETIRED_DBE",
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_PCIE_LINK_GEN",
    "DCGM_FI_DEV_PCIE_MAX_LINK_GEN",
    "DCGM_FI_DEV_PCIE_LINK_WIDTH",
    "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH",
)
"""What faults of GPUs are told from."""

_NO_FAULT = (SENT, RECEIVED, PACKETS_SENT, PACKETS_RECEIVED, WAIT, DISCARDS)
PORT_NAMES: Mapping[str, str] = {metric: name for metric, (name, _) in {**NODE_EXPORTER, **SWITCH_PORTS}.items()}
"""What each metric of a port is called by `analytics.port_states`; each is in the unit that it has there."""
PORT_METRICS: tuple[str, ...] = tuple(metric for metric, name in PORT_NAMES.items() if name not in _NO_FAULT)
"""What faults of links are told from, of hosts and of switches. How full a link is, is no fault of its own."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a state is a fault to tell.

    Attributes:
        name: as a label of an alert has it.
        cause: the kind of cause that it is to requests, where next steps are known of.
        for_s: seconds that it must hold, in a row.
        is_lasting: does only a reset or a repair mend it, so that it is not over when its sign passes.
    """

    name: str
    cause: CauseKind
    for_s: int
    is_lasting: bool = False


RULES: Mapping[State, Rule] = {
    GpuState.OFF_THE_BUS: Rule("off_the_bus", CauseKind.GPU_FAULT, 60, is_lasting=True),
    GpuState.MEMORY_FAULT: Rule("memory_fault", CauseKind.GPU_FAULT, 0, is_lasting=True),
    GpuState.FIRMWARE_FAULT: Rule("firmware_fault", CauseKind.GPU_FAULT, 0, is_lasting=True),
    GpuState.NVLINK_FAULT: Rule("nvlink_fault", CauseKind.NVLINK_FAULT, 60),
    GpuState.HARDWARE_SLOWDOWN: Rule("hardware_slowdown", CauseKind.GPU_THERMAL_THROTTLE, 300),
    GpuState.THERMAL_THROTTLE: Rule("thermal_throttle", CauseKind.GPU_THERMAL_THROTTLE, 600),
    GpuState.POWER_HELD_DOWN: Rule("power_held_down", CauseKind.GPU_POWER_THROTTLE, 600),
    GpuState.PCIE_DEGRADED: Rule("pcie_degraded", CauseKind.PCIE_DEGRADED, 300),
    PortState.DOWN: Rule("link_down", CauseKind.NETWORK_LINK_FAULT, 60),
    PortState.FLAPPING: Rule("link_flapping", CauseKind.NETWORK_LINK_FAULT, 60),
    PortState.BAD_LINK: Rule("link_errors", CauseKind.NETWORK_LINK_FAULT, 120),
    PortState.REDUCED: Rule("link_reduced", CauseKind.NETWORK_LINK_FAULT, 120),
}
"""The states that are told, with the patience for each; judgement, in one place."""

_AWAY_S = 600  # a fault that has been away for so long is over
_REMEMBERED = timedelta(days=7)  # a lasting one of which nothing is heard any more


@dataclass(frozen=True, slots=True)
class DeviceFault:
    """A fault of one GPU or one port that is to be told.

    Attributes:
        device: a GPU (the whole board, where it has MIG instances) or a port.
        state: which.
        node: where it is scraped: a node, or a switch for its ports.
        since: when it began, as far as that was seen.
        seen_at: until when the device was heard of.
        reason: why in words, as it was told last.
        replicas: which run on the GPU, or on the node of the port.
        services: whose replicas these are.
        incident: the incident that named the device when it was told of first. It stays, for a label of an alert must.
        usual: what a link had before it became less, by the name of what was measured.
        index: the number of a GPU in its node; None of a port, and where it is not known.
    """

    device: Entity
    state: State
    node: str
    since: datetime
    seen_at: datetime
    reason: str
    replicas: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    incident: str | None = None
    usual: Mapping[str, float] = field(default_factory=dict)
    index: int | None = None

    @property
    def whose(self) -> str:
        """What people call the device: `GPU 2 of gpu-07-03 (chat-5)`, `gpu-07-03/mlx5_2/1`."""
        sole = self.replicas[0] if len(self.replicas) == 1 else None
        place = GpuPlace(self.node or None, self.index, sole) if self.device.kind is EntityKind.GPU else None
        return entity_text(self.device, place)

    @property
    def rule(self) -> Rule:
        """How it is told."""
        return RULES[self.state]

    @property
    def key(self) -> tuple[Entity, State]:
        """What tells it from others."""
        return self.device, self.state


# -- From frames to matrices ------------------------------------------------------------------------------------------


def gpu_samples(
    series: pl.DataFrame,
    samples: pl.DataFrame,
    window: Window,
    step_s: int,
    metrics: Sequence[str] = GPU_METRICS,
) -> GpuSamples | None:
    """The samples of GPUs as matrices; None without any.

    Args:
        series: of the metrics in lower case, in the schema of `storage.readers.SERIES`, first label: the GPU's model.
        samples: their last values by step (`storage.readers.SAMPLE_ROWS`).
        window: whole steps.
        step_s: seconds a step.
        metrics: which, by DCGM field name.
    """
    names = {metric.lower(): metric for metric in metrics}
    known = series.filter(pl.col("gpu").is_not_null() & pl.col("metric").is_in(list(names)))
    if known.is_empty():
        return None
    models = known.select("gpu", model=pl.col("labels").list.first()).filter(pl.col("model") != "").unique("gpu")
    model_of = dict(models.iter_rows())
    # The same GPU may be told of by two series of a metric, after its pod was changed: they are one row.
    gpus = tuple(
        sorted(
            {
                Gpu(name.partition("/")[0], node or "", name.partition("/")[2], model_of.get(name) or "")
                for name, node in known.select("gpu", "node").unique().iter_rows()
            }
        )
    )
    rows = pl.DataFrame({"node": [gpu.node for gpu in gpus], "gpu": [gpu_name(gpu) for gpu in gpus]})
    named = known.select("series_id", "gpu", pl.col("metric").replace_strict(names), pl.col("node").fill_null("")).join(
        rows.with_row_index("row"), on=["node", "gpu"]
    )
    return GpuSamples(gpus, _matrices(named, samples, len(gpus), window, step_s), step_s)


def port_samples(
    series: pl.DataFrame,
    samples: pl.DataFrame,
    window: Window,
    step_s: int,
    metrics: Collection[str] = PORT_METRICS,
) -> PortSamples | None:
    """The samples of ports as matrices, as `gpu_samples` makes them; None without any."""
    known = series.filter(pl.all_horizontal(pl.col("node", "port").is_not_null()) & pl.col("metric").is_in(metrics))
    if known.is_empty():
        return None
    ports = tuple(sorted(Port(node, port) for node, port in known.select("node", "port").unique().iter_rows()))
    rows = pl.DataFrame({"node": [port.device for port in ports], "port": [port.name for port in ports]})
    named = known.select("series_id", "node", "port", pl.col("metric").replace_strict(dict(PORT_NAMES))).join(
        rows.with_row_index("row"), on=["node", "port"]
    )
    return PortSamples(ports, _matrices(named, samples, len(ports), window, step_s), step_s)


def _matrices(named: pl.DataFrame, samples: pl.DataFrame, rows: int, window: Window, step_s: int) -> dict[str, Matrix]:
    steps = round(window.seconds / step_s)
    start_s = int(window.start.timestamp())
    placed = samples.join(named, on="series_id").with_columns(step=(pl.col("time").dt.epoch("s") - start_s) // step_s)
    placed = placed.filter(pl.col("step").is_between(0, steps - 1)).sort("time")
    found = {metric: np.full((rows, steps), np.nan) for metric in named["metric"].unique(maintain_order=True)}
    for (metric,), part in placed.group_by("metric", maintain_order=True):
        found[str(metric)][part["row"].to_numpy(), part["step"].to_numpy()] = part["value"].to_numpy()
    return found


def gpu_name(gpu: Gpu) -> str:
    """As metrics name it: the UUID, with the instance behind it where there is one."""
    return f"{gpu.uuid}/{gpu.instance}" if gpu.instance else gpu.uuid


@dataclass(frozen=True, slots=True)
class DeviceStretch:
    """What GPUs and ports told over whole steps of a window; None where none told anything."""

    window: Window
    gpus: GpuSamples | None
    ports: PortSamples | None

    def part(self, window: Window) -> "DeviceStretch":
        """The same of a window within it, on its steps: without the devices that told nothing then."""
        return DeviceStretch(window, self._part(self.gpus, window), self._part(self.ports, window))

    def _part(self, samples: SamplesT | None, window: Window) -> SamplesT | None:
        if samples is None:
            return None
        first, last = (
            round((moment - self.window.start).total_seconds()) // samples.step_s
            for moment in (window.start, window.end)
        )
        values = {name: matrix[:, first:last] for name, matrix in samples.values.items()}
        told: NDArray[np.bool_] = np.logical_or.reduce([np.isfinite(matrix).any(axis=1) for matrix in values.values()])
        if not told.any():
            return None
        devices = tuple(samples.devices[row] for row in np.flatnonzero(told))
        return replace(samples, devices=devices, values={name: matrix[told] for name, matrix in values.items()})


# -- From states to faults --------------------------------------------------------------------------------------------


def faults_at(
    told: DeviceStretch, cabled: Collection[Entity], known: Sequence[DeviceFault], now: datetime
) -> list[DeviceFault]:
    """The faults of GPUs and ports that are to be told at the end of a stretch.

    Args:
        told: of the last half hour or so.
        cabled: ports that are known to lead somewhere.
        known: what was told at the look before.
        now: when it is looked.
    """
    found = gpu_faults(told.gpus, told.window, known) if told.gpus is not None else []
    found += port_faults(told.ports, told.window, cabled, known) if told.ports is not None else []
    return found + silent_faults(known, heard_of(told.gpus, told.ports), now)


@dataclass(frozen=True, slots=True)
class _Course:
    """What one state of one device did: at which steps it held, at which that is unknown, and when it was reset."""

    held: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    reset: NDArray[np.bool_]


def gpu_faults(samples: GpuSamples, window: Window, known: Sequence[DeviceFault] = ()) -> list[DeviceFault]:
    """The faults of these GPUs that are to be told at the end of a window.

    Args:
        samples: of the last half hour or so; a step a minute is enough.
        window: when.
        known: what was told at the look before.
    """
    matrix, told = gpu_states(samples), {one.key: one for one in known}
    values = {name: cleaned(name, matrix) for name, matrix in samples.values.items()}
    reports: Held = np.logical_or.reduce([np.isfinite(one) for one in values.values()])
    reset, busy, pending = _reset(samples, values, reports), _busy(samples, values), _remap_pending(samples, values)
    xid_state = _xid_states(values)
    boards: dict[str, list[int]] = {}
    for row, gpu in enumerate(samples.devices):
        boards.setdefault(gpu.uuid, []).append(row)  # instances (MIG) share the board's faults, and its resets
    found = []
    findings = _Findings(lambda: gpu_findings(samples))
    for state in (one for one in RULES if isinstance(one, GpuState)):
        held = matrix.holds(state) | xid_state.get(state, False)
        if state is GpuState.MEMORY_FAULT:
            held = held | pending
        unknown = ~(reports & busy) & ~held if state is GpuState.PCIE_DEGRADED else ~reports & ~held
        for uuid, rows in boards.items():
            device = Entity(EntityKind.GPU, uuid)
            before_it = told.get((device, state))
            below = np.logical_or.reduce([_below(values, row, before_it) for row in rows])
            course = _Course(_any(held, rows) | below, ~_any(~unknown, rows), _any(reset, rows))
            since = _since(course, RULES[state], window, samples.step_s, before_it)
            if since is None:
                continue
            told_why = [(row, *findings.of(row, state, _GPU_USUAL)) for row in rows]
            row, reason, usual = next((one for one in told_why if one[1]), told_why[0])
            if not reason and state is GpuState.MEMORY_FAULT and pending[rows].any():
                reason = "a memory row remap is pending until a reset"
            last_errors = [one for one in rows if xid_state.get(state, held)[one].any()] if state in xid_state else []
            if not reason and last_errors:
                reason = f"{_xid_words(values, last_errors[0])}; it is still its last error"
            seen_at = _seen_at(_any(reports, rows), window, samples.step_s)
            node = samples.devices[row].node
            found.append(_fault(before_it, device, state, node, since, seen_at, reason, usual))
    return found


def _any(held: Held, rows: Sequence[int]) -> Held:
    """Does it hold in any of these rows, by step."""
    found: Held = np.logical_or.reduce(held[list(rows)])
    return found


def port_faults(
    samples: PortSamples, window: Window, cabled: Collection[Entity] = (), known: Sequence[DeviceFault] = ()
) -> list[DeviceFault]:
    """The faults of these ports that are to be told at the end of a window, as `gpu_faults`.

    A port that was never up is one that nobody uses, unless a cable of it is known.

    Args:
        samples: of the last half hour or so.
        window: when.
        cabled: ports that are known to lead somewhere.
        known: what was told at the look before.
    """
    matrix, told = port_states(samples), {one.key: one for one in known}
    reports: Held = np.logical_or.reduce([np.isfinite(one) for one in samples.values.values()])
    never: Held = np.zeros(samples.shape, dtype=np.bool_)
    was_up = np.logical_or.accumulate(reports & ~matrix.holds(PortState.DOWN), axis=1)
    less = _less_than_it_was(samples, matrix.holds(PortState.DOWN))
    findings = _Findings(lambda: port_findings(samples))
    found = []
    for state in (one for one in RULES if isinstance(one, PortState)):
        held = matrix.holds(state)
        for row, port in enumerate(samples.devices):
            device = Entity(EntityKind.PORT, f"{port.device}/{port.name}")
            before_it = told.get((device, state))
            own = held[row]
            if state is PortState.DOWN and before_it is None and device not in cabled:
                own = own & was_up[row]
            if state is PortState.REDUCED:
                own = (own & less[row]) | _below(samples.values, row, before_it)
            course = _Course(own, ~reports[row] & ~own, never[row])
            since = _since(course, RULES[state], window, samples.step_s, before_it)
            if since is not None:
                reason, usual = findings.of(row, state, _PORT_USUAL)
                found.append(
                    _fault(
                        before_it, device, state, port.device, since, _seen_at(reports[row], window, samples.step_s),
                        reason, usual,
                    )
                )  # fmt: skip
    return found


def silent_faults(known: Sequence[DeviceFault], heard_of: Collection[Entity], now: datetime) -> list[DeviceFault]:
    """Those known faults whose device says nothing at all any more, and that silence does not mend."""
    return [
        one for one in known
        if one.device not in heard_of and one.rule.is_lasting and now - one.seen_at < _REMEMBERED
    ]  # fmt: skip


def heard_of(gpus: GpuSamples | None, ports: PortSamples | None) -> set[Entity]:
    """The devices that these samples are of."""
    found = {Entity(EntityKind.GPU, gpu.uuid) for gpu in (gpus.devices if gpus is not None else ())}
    return found | {Entity(EntityKind.PORT, f"{one.device}/{one.name}") for one in (ports.devices if ports else ())}


def _since(course: _Course, rule: Rule, window: Window, step_s: int, before_it: DeviceFault | None) -> datetime | None:
    """When the fault that is to be told at the end of a window began; None when there is none."""
    if before_it is not None and before_it.seen_at < window.start:
        before_it = None  # it was away, and is back
    since = before_it.since if before_it is not None else None
    if since is None and not course.held.any():
        return None
    began, away_steps = None, 0
    for step in np.flatnonzero(~course.unknown):
        if course.held[step]:
            began, away_steps = step if began is None else began, 0
            if since is None and (step - began) * step_s >= rule.for_s:
                since = window.start + timedelta(seconds=int(began) * step_s)
            continue
        began, away_steps = None, away_steps + 1
        if course.reset[step] or (away_steps * step_s >= _AWAY_S and not rule.is_lasting):
            since = None
    return since


def _fault(
    before_it: DeviceFault | None,
    device: Entity,
    state: State,
    node: str,
    since: datetime,
    seen_at: datetime,
    reason: str,
    usual: Mapping[str, float],
) -> DeviceFault:
    if before_it is None or before_it.since != since:
        return DeviceFault(device, state, node, since, seen_at, reason or state.value, usual=usual)
    return replace(before_it, seen_at=seen_at, reason=reason or before_it.reason)


def _seen_at(reports: NDArray[np.bool_], window: Window, step_s: int) -> datetime:
    steps = np.flatnonzero(reports)
    return window.start + timedelta(seconds=(int(steps[-1]) + 1) * step_s) if steps.size else window.start


class _Findings(Generic[DeviceT, StateT]):
    """Reasons of states at the last step; worked out only when somebody asks, for most of the time all is well."""

    def __init__(self, work_out: Callable[[], tuple[DeviceFindings[DeviceT, StateT], ...]]) -> None:
        self._work_out = work_out
        self._found: tuple[DeviceFindings[DeviceT, StateT], ...] | None = None

    def of(self, row: int, state: State, usual: Mapping[str, str]) -> tuple[str, dict[str, float]]:
        """Why, and what was usual; nothing where the state does not hold at the last step."""
        if self._found is None:
            self._found = self._work_out()
        for one in self._found[row].findings:
            if one.state == state:
                numbers = {usual[name]: number for name, number in one.numbers.items() if name in usual}
                return one.reason, numbers
        return "", {}


_GPU_USUAL = {"pcie_generation_usual": "DCGM_FI_DEV_PCIE_LINK_GEN", "pcie_width_usual": "DCGM_FI_DEV_PCIE_LINK_WIDTH"}
_PORT_USUAL = {f"{name}_usual": name for name in (RATE, WIDTH)}


def _below(values: Mapping[str, Matrix], row: int, before_it: DeviceFault | None) -> NDArray[np.bool_]:
    """Where the device still has less than it had before the fault that is known."""
    steps = next(iter(values.values())).shape[1]
    found = np.zeros(steps, dtype=np.bool_)
    for name, usual in (before_it.usual if before_it is not None else {}).items():
        if name in values:
            found |= values[name][row] < _KEPT_SHARE * usual
    return found


def _less_than_it_was(samples: PortSamples, down: Held) -> Held:
    """Has a port that is up a lesser rate or width than itself before: its peers may be of another kind."""
    found: Held = np.zeros(samples.shape, dtype=np.bool_)
    for name in (RATE, WIDTH):
        if name in samples.values:
            while_up = np.where(down, np.nan, samples.values[name])
            found |= while_up < _KEPT_SHARE * highest_so_far(while_up)
    return found


def _reset(samples: GpuSamples, values: Mapping[str, Matrix], reports: Held) -> Held:
    """Where a GPU started anew: its energy is counted from 0 again or told again, or its last XID is gone."""
    found: Held = np.zeros(samples.shape, dtype=np.bool_)
    if _ENERGY in values:
        energy = values[_ENERGY]
        without = np.logical_or.accumulate(reports & np.isnan(energy), axis=1)
        found |= (energy < before(energy)) | (np.isfinite(energy) & without & np.isnan(before(energy)))
    if _XID in values:
        found |= (values[_XID] == 0) & (before(values[_XID]) > 0)
    return found


def _busy(samples: GpuSamples, values: Mapping[str, Matrix]) -> Held:
    found: Held = np.zeros(samples.shape, dtype=np.bool_)
    for name, least in _BUSY.items():
        if name in values:
            found |= values[name] >= least
    return found


def _remap_pending(samples: GpuSamples, values: Mapping[str, Matrix]) -> Held:
    found: Held = values[_REMAP_PENDING] > 0 if _REMAP_PENDING in values else np.zeros(samples.shape, dtype=np.bool_)
    return found


_XID_STATES: Mapping[GpuState, XidClass] = {
    GpuState.OFF_THE_BUS: XidClass.GONE,
    GpuState.MEMORY_FAULT: XidClass.MEMORY,
    GpuState.FIRMWARE_FAULT: XidClass.FIRMWARE,
    GpuState.NVLINK_FAULT: XidClass.NVLINK,
}


def _xid_states(values: Mapping[str, Matrix]) -> dict[GpuState, Held]:
    """Where the last XID is of the hardware, whenever it came: DCGM keeps it until the GPU is reset."""
    if _XID not in values:
        return {}
    return {
        state: np.isin(values[_XID], [code for code, its in XIDS.items() if its.kind is kind])
        for state, kind in _XID_STATES.items()
    }


def _xid_words(values: Mapping[str, Matrix], row: int) -> str:
    codes = values[_XID][row]
    code = int(codes[np.isfinite(codes)][-1])
    return f"XID {code}: {xid(code).text}"


# -- What runs on it, and which incident names it ---------------------------------------------------------------------


def with_riders(
    faults: Sequence[DeviceFault],
    replicas_of: Mapping[str, Collection[str]],
    services_of: Mapping[str, str],
    index_of: Mapping[str, int],
    topology: Topology,
) -> list[DeviceFault]:
    """The faults with what runs on their devices, and where GPUs are; what was known and is not any more stays.

    Args:
        faults: of GPUs and ports.
        replicas_of: by the UUID of a GPU, and by node.
        services_of: by replica.
        index_of: the number of a GPU in its node, by UUID.
        topology: which node a switch port leads to.
    """  # fmt: skip
    behind: dict[str, set[str]] = {}
    for node in topology.nodes:
        for _, peer in topology.cables_of(node):
            behind.setdefault(f"{peer.switch}/{peer.port}", set()).add(node)
    found = []
    for fault in faults:
        names = {fault.device.name} if fault.device.kind is EntityKind.GPU else {fault.node}
        names |= behind.get(fault.device.name, set())
        replicas = sorted({one for name in names for one in replicas_of.get(name, ())}) or fault.replicas
        services = sorted({services_of[one] for one in replicas if one in services_of}) or fault.services
        index = index_of.get(fault.device.name, fault.index)
        found.append(replace(fault, replicas=tuple(replicas), services=tuple(services), index=index))
    return found


def named_by(
    faults: Sequence[DeviceFault], incidents: Sequence[Incident], topology: Topology, known: Sequence[DeviceFault]
) -> list[DeviceFault]:
    """The faults with the page that names their device.

    Only where a device is told of for the first time: the label of an alert must stay, so one that is known keeps what
    it was told with, for this fault and all that join it.
    """
    told = {fault.device: fault.incident for fault in known}
    naming: dict[Entity, str] = {}
    for incident in incidents:
        if incident.status is Status.OPEN and incident.severity is Severity.PAGE:
            for cause in incident.explanation.causes:
                for entity in (cause.entity, *(step.entity for step in cause.chain)):
                    naming.setdefault(_board(entity), incident.id)
    found = []
    for fault in faults:
        places = [fault.device, Entity(EntityKind.NODE, fault.node), Entity(EntityKind.SWITCH, fault.node)]
        places += _other_ends(fault.device, topology)
        named = next((naming[one] for one in places if one in naming), None)
        found.append(replace(fault, incident=told.get(fault.device, named)))
    return found


def _board(entity: Entity) -> Entity:
    return Entity(entity.kind, entity.name.partition("/")[0]) if entity.kind is EntityKind.GPU else entity


def _other_ends(device: Entity, topology: Topology) -> list[Entity]:
    """The ports at the other ends of the cable of a port."""
    nodes = topology.nodes if device.kind is EntityKind.PORT else ()
    return [ends[device] for node in nodes if device in (ends := topology.ends_of_cables(node))]


def replicas_by_place(series: pl.DataFrame) -> dict[str, set[str]]:
    """The replicas on each GPU (by UUID) and on each node, as the labels of metrics tell them."""
    found: dict[str, set[str]] = {}
    for gpu, node, replica in series.select("gpu", "node", "replica").drop_nulls("replica").unique().iter_rows():
        for place in ((gpu or "").partition("/")[0], node):
            if place:
                found.setdefault(place, set()).add(replica)
    return found


def index_by_gpu(series: pl.DataFrame) -> dict[str, int]:
    """The number of each GPU (by UUID) in its node, as `gpu_indices` has it."""
    return {_board(gpu).name: index for gpu, index in gpu_indices(series).items()}


# -- As documents, to be remembered -----------------------------------------------------------------------------------


def fault_document(fault: DeviceFault) -> dict[str, Any]:
    """A fault as JSON has it."""
    return {
        "device": {"kind": fault.device.kind.value, "name": fault.device.name},
        "state": fault.rule.name,
        "node": fault.node,
        "since": rfc3339(fault.since),
        "seen_at": rfc3339(fault.seen_at),
        "reason": fault.reason,
        "replicas": list(fault.replicas),
        "services": list(fault.services),
        "incident": fault.incident,
        "usual": dict(fault.usual),
        "index": fault.index,
    }


def fault_of(document: Mapping[str, Any]) -> DeviceFault:
    """The fault of such a document."""
    states = {rule.name: state for state, rule in RULES.items()}
    device = document["device"]
    return DeviceFault(
        device=Entity(EntityKind(device["kind"]), device["name"]),
        state=states[document["state"]],
        node=document["node"],
        since=from_rfc3339(document["since"]),
        seen_at=from_rfc3339(document["seen_at"]),
        reason=document["reason"],
        replicas=tuple(document["replicas"]),
        services=tuple(document["services"]),
        incident=document["incident"],
        usual=dict(document["usual"]),
        index=document.get("index"),  # of one that was remembered before GPUs had their number, unknown
    )
