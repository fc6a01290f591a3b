"""The hardware as it is now: what each GPU and each port of a fleet tells, what ails it, and which come first.

States are those of `gpu_states` and `port_states`, and the faults that `device_faults` remembers beyond what is looked
at here; this module brings them together with levels, names and the cables.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics import gpu_states, port_states
from analytics.device_faults import GPU_METRICS, DeviceFault, State, gpu_name
from analytics.device_states import Finding
from analytics.gpu_states import Gpu, GpuSamples, GpuState, cleaned, gpu_findings
from analytics.neighbourhood import gpu_index
from analytics.port_states import (
    DISCARDS,
    DOWNED,
    INTEGRITY_ERRORS,
    OVERRUNS,
    RECEIVE_ERRORS,
    RECOVERIES,
    SYMBOL_ERRORS,
    Port,
    PortSamples,
    PortState,
    port_findings,
    port_loads,
)
from analytics.samples import Matrix, growth
from analytics.signals import SignalMatrix
from domain.entity import Entity, EntityKind
from domain.incident import Incident
from domain.topology import Topology

ERRORS = (SYMBOL_ERRORS, RECOVERIES, DOWNED, RECEIVE_ERRORS, DISCARDS, INTEGRITY_ERRORS, OVERRUNS)
"""The counters of a port that count something that should not be."""

_MIB_USED, _MIB_FREE = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"
_PROFILED, _SAMPLED = "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_GPU_UTIL"
LEVEL_METRICS = (
    *GPU_METRICS,
    _MIB_USED,
    _MIB_FREE,
    "DCGM_FI_DEV_FB_RESERVED",
    "DCGM_FI_DEV_MEMORY_TEMP",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
)
"""What the state and the levels of a GPU are told from, by DCGM field name."""

_LOAD_STEPS = 3  # how full a port is, is the mean of so many
# A link within its bit error rate counts some symbol errors; so many are worth a look before they are a fault.
_STRAY, _STRAY_PER_HOUR = (SYMBOL_ERRORS, RECEIVE_ERRORS), 120
# A fault that passes by itself and was heard of last so long ago may be over: nobody has looked since.
_FAULT_KEPT = timedelta(minutes=15)


class Grade(StrEnum):
    """How much a trouble matters, most first."""

    FAULT = "fault"
    """Somebody is to mend something."""
    STRAIN = "strain"
    """The device works, and something makes it work badly."""
    DOUBT = "doubt"
    """What is told of it cannot be relied on, or it tells nothing."""


class Role(StrEnum):
    """What a device is to an incident that is going on."""

    CAUSE = "cause of an incident"
    """It is the likeliest cause."""


_GRADES: Mapping[State, Grade] = {
    **dict.fromkeys((*gpu_states.FAULTS, *port_states.FAULTS), Grade.FAULT),
    **dict.fromkeys((GpuState.FROZEN_SENSOR, GpuState.BLIND_SENSOR, GpuState.NO_DATA, PortState.NO_DATA), Grade.DOUBT),
    **dict.fromkeys((GpuState.APPLICATION_ERROR, PortState.CONGESTED, PortState.SATURATED), Grade.STRAIN),
}
"""The states that are troubles; the others are usual, or say something of a counter alone."""
_ORDER = tuple(Grade)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be with a device.

    `since` and `incident` (the page that names it) are of faults that are remembered and of incidents; None where that
    is not known.
    """

    state: State | Role
    grade: Grade
    reason: str
    since: datetime | None = None
    incident: str | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """What runs on a GPU, as far as it is known: `model` is the one that is served."""

    replica: str | None = None
    service: str | None = None
    model: str | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class GpuLevels:
    """The newest levels of a GPU; None for what it does not tell. Ratios are 0-1."""

    utilization_ratio: float | None = None
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    temperature_celsius: float | None = None
    memory_temperature_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    tensor_ratio: float | None = None

    @property
    def memory_used_ratio(self) -> float | None:
        """The share of the memory that is in use."""
        used, total = self.memory_used_mib, self.memory_total_mib
        return None if used is None or not total else used / total

    @property
    def power_ratio(self) -> float | None:
        """The share of the power limit that is drawn."""
        watts, limit = self.power_watts, self.power_limit_watts
        return None if watts is None or not limit else watts / limit


@dataclass(frozen=True, slots=True)
class GpuNow:
    """One GPU, or an instance of one (MIG). `index` is its number on its node; `silent_since` None while it tells."""

    gpu: Gpu
    index: int | None
    workload: Workload
    levels: GpuLevels
    troubles: tuple[Trouble, ...] = ()
    silent_since: datetime | None = None

    @property
    def name(self) -> str:
        """As metrics name it."""
        return gpu_name(self.gpu)

    @property
    def is_silent(self) -> bool:
        """Does it tell nothing."""
        return self.silent_since is not None

    @property
    def grade(self) -> Grade | None:
        """Of its worst trouble; None where all is well."""
        return self.troubles[0].grade if self.troubles else None


@dataclass(frozen=True, slots=True)
class PortNow:
    """One port. `far_end` is the port at the other end of its cable, `errors` what it counted in a window.

    `is_used` is false of a port that is down and that no cable is known of; `is_device_silent` true where no port of
    its device tells anything. `has_many_errors` says that it counted more than a good link does now and then.
    """

    port: Port
    far_end: Entity | None
    rate_bytes_per_s: float | None
    sent_bytes_per_s: float | None
    received_bytes_per_s: float | None
    utilization_ratio: float | None
    wait_ratio: float | None
    errors: Mapping[str, float]
    troubles: tuple[Trouble, ...] = ()
    silent_since: datetime | None = None
    is_used: bool = True
    is_device_silent: bool = False
    has_many_errors: bool = False

    @property
    def name(self) -> str:
        """As causes and the topology name it: `gpu-07-03/mlx5_2/1`."""
        return f"{self.port.device}/{self.port.name}"

    @property
    def grade(self) -> Grade | None:
        """Of its worst trouble; None where all is well."""
        return self.troubles[0].grade if self.troubles else None

    @property
    def says_something(self) -> bool:
        """Is there anything that deserves to be read at first sight."""
        is_told_by_device = self.is_device_silent and self.grade is Grade.DOUBT
        return self.is_used and not is_told_by_device and bool(self.troubles or self.has_many_errors)


@dataclass(frozen=True, slots=True)
class GpuTotals:
    """The GPUs of a fleet in a few numbers; boards with instances (MIG) count once. None where nothing tells it.

    `silent_nodes` are those of which no GPU tells anything, and since when; `states` counts the others in trouble, each
    by its worst.
    """

    gpus: int
    nodes: int
    silent_nodes: Mapping[str, datetime]
    states: Mapping[State | Role, int]
    utilization_ratio: float | None
    memory_used_mib: float | None
    memory_total_mib: float | None
    power_watts: float | None
    power_limit_watts: float | None

    @property
    def in_trouble(self) -> int:
        """How many have a trouble, without those of which only their node is silent."""
        return sum(self.states.values())


# -- GPUs -------------------------------------------------------------------------------------------------------------


def gpus_now(
    samples: GpuSamples,
    series: pl.DataFrame,
    workloads: pl.DataFrame,
    last_seen: Mapping[tuple[str, str], datetime],
    faults: Sequence[DeviceFault],
    at: datetime,
) -> tuple[GpuNow, ...]:
    """Each GPU, by node, index and name.

    Args:
        samples: of `LEVEL_METRICS` over the last minutes, of whole nodes.
        series: which these are of (schema `storage.readers.SERIES`), labels: model, index on the node, pool.
        workloads: which service and model each replica serves (`storage.fleet.WORKLOADS`).
        last_seen: by node and name, when those that told nothing in the samples did so last.
        faults: those that are remembered.
        at: when it is.
    """
    known = _Known.of(series, workloads)
    levels = _gpu_levels(samples)
    remembered = _remembered(faults, at)
    tells = {gpu.uuid for gpu in samples.devices if (gpu.node, gpu_name(gpu)) not in last_seen}
    found = []
    for row, told in enumerate(gpu_findings(samples)):
        gpu, name = told.device, gpu_name(told.device)
        silent_since = last_seen.get((gpu.node, name))
        if silent_since is not None and gpu.uuid in tells:
            continue  # it went to another node, or was taken apart into other instances
        troubles = _troubles(told.findings, remembered.get(Entity(EntityKind.GPU, gpu.uuid), ()))
        index, workload = known.indices.get((gpu.node, name)), known.workloads.get((gpu.node, name), Workload())
        found.append(GpuNow(gpu, index, workload, levels[row], troubles, silent_since))
    return tuple(sorted(found, key=lambda one: (one.gpu.node, one.index is None, one.index or 0, one.name)))


def gpu_totals(gpus: Iterable[GpuNow]) -> GpuTotals:
    """The numbers of these GPUs; what an instance and its board both tell counts once."""
    known = tuple(gpus)
    boards: dict[tuple[str, str], list[GpuLevels]] = {}
    for one in known:
        boards.setdefault((one.gpu.node, one.gpu.uuid), []).append(one.levels)
    worst: dict[tuple[str, str], Trouble] = {}
    for one, trouble in worst_gpus(known):
        worst.setdefault((one.gpu.node, one.gpu.uuid), trouble)
    instances = [levels for board in boards.values() for levels in board]
    return GpuTotals(
        gpus=len(boards),
        nodes=len({node for node, _ in boards}),
        silent_nodes=silent_nodes(known),
        states=Counter(trouble.state for trouble in worst.values()),
        utilization_ratio=_mean(levels.utilization_ratio for levels in instances),
        memory_used_mib=_sum(levels.memory_used_mib for levels in instances if levels.memory_total_mib),
        memory_total_mib=_sum(levels.memory_total_mib for levels in instances if levels.memory_used_mib is not None),
        power_watts=_sum(_most(levels.power_watts for levels in board) for board in boards.values()),
        power_limit_watts=_sum(_most(levels.power_limit_watts for levels in board) for board in boards.values()),
    )


def silent_nodes(gpus: Iterable[GpuNow]) -> dict[str, datetime]:
    """The nodes of which no GPU tells anything, by name, and when the last of each was heard of."""
    since: dict[str, list[datetime | None]] = {}
    for one in gpus:
        since.setdefault(one.gpu.node, []).append(one.silent_since)
    told = ((node, [moment for moment in moments if moment]) for node, moments in sorted(since.items()))
    return {node: max(moments) for node, moments in told if len(moments) == len(since[node])}


def worst_gpus(gpus: Iterable[GpuNow]) -> list[tuple[GpuNow, Trouble]]:
    """Those in trouble, each with its worst, the worst first, of these the one that began first.

    Without those of which only their whole node is silent.
    """
    known = tuple(gpus)
    silent = silent_nodes(known)
    told = [
        (one, one.troubles[0])
        for one in known
        if one.troubles and (one.grade is Grade.FAULT or one.gpu.node not in silent)
    ]
    return sorted(told, key=lambda pair: (_rank(pair[1]), _moment(pair[1].since), pair[0].gpu.node, pair[0].name))


def worst_nodes(gpus: Iterable[GpuNow]) -> list[str]:
    """The nodes, the one with the most faults first, then the silent, then by other troubles and by name."""
    counts: dict[str, list[int]] = {}
    for one in gpus:
        count = counts.setdefault(one.gpu.node, [0] * len(_ORDER))
        if one.grade is not None:
            count[_ORDER.index(one.grade)] -= 1
    return sorted(counts, key=lambda node: (counts[node][0], counts[node][-1], counts[node], node))


@dataclass(frozen=True, slots=True)
class _Known:
    """What labels tell of each GPU, by node and name: its number on the node, and what runs on it."""

    indices: Mapping[tuple[str, str], int]
    workloads: Mapping[tuple[str, str], Workload]

    @classmethod
    def of(cls, series: pl.DataFrame, workloads: pl.DataFrame) -> "_Known":
        """From the newest of each label."""
        labels = pl.col("labels")
        told = series.filter(pl.col("gpu").is_not_null()).select(
            pl.col("node").fill_null(""),
            "gpu",
            "replica",
            "service",
            "model",
            index=gpu_index(labels.list.get(1, null_on_oob=True)),
            pool=labels.list.get(2, null_on_oob=True).replace("", None),
        )
        one_each = told.group_by("node", "gpu").agg(pl.all().drop_nulls().last())
        served = workloads.rename({"service": "served_service", "model": "served_model"})
        rows = one_each.join(served, on="replica", how="left").with_columns(
            pl.coalesce("service", "served_service").alias("service"),
            pl.coalesce("served_model", "model").alias("model"),
        )
        return cls(
            {(node, gpu): index for node, gpu, index in rows.select("node", "gpu", "index").drop_nulls().iter_rows()},
            {
                (row["node"], row["gpu"]): Workload(row["replica"], row["service"], row["model"], row["pool"])
                for row in rows.iter_rows(named=True)
            },
        )


def _gpu_levels(samples: GpuSamples) -> list[GpuLevels]:
    newest = {metric: _newest(cleaned(metric, values)) for metric, values in samples.values.items()}
    nothing = np.full(len(samples.devices), np.nan)

    def of(*metrics: str) -> NDArray[np.float64]:
        found = nothing
        for metric in metrics:
            found = np.where(np.isfinite(found), found, newest.get(metric, nothing))
        return found

    used, free = of(_MIB_USED), of(_MIB_FREE)
    columns = {
        "utilization_ratio": np.where(np.isfinite(of(_PROFILED)), of(_PROFILED), of(_SAMPLED) / 100),
        "memory_used_mib": used,
        "memory_total_mib": used + free + np.nan_to_num(of("DCGM_FI_DEV_FB_RESERVED")),
        "temperature_celsius": of("DCGM_FI_DEV_GPU_TEMP"),
        "memory_temperature_celsius": of("DCGM_FI_DEV_MEMORY_TEMP"),
        "power_watts": of("DCGM_FI_DEV_POWER_USAGE"),
        "power_limit_watts": of("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT"),
        "tensor_ratio": of("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"),
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [
        GpuLevels(**{name: value if math.isfinite(value) else None for name, value in zip(columns, row, strict=True)})
        for row in rows
    ]


def _newest(values: Matrix) -> NDArray[np.float64]:
    """The last value of each row that is known: (devices,)."""
    known = np.isfinite(values)
    last = values.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    return np.where(known.any(axis=1), np.take_along_axis(values, last[:, None], axis=1)[:, 0], np.nan)


# -- Ports ------------------------------------------------------------------------------------------------------------


def ports_now(
    samples: PortSamples,
    errors: Mapping[Port, Mapping[str, float]],
    errors_s: float,
    last_seen: Mapping[tuple[str, str], datetime],
    topology: Topology,
    faults: Sequence[DeviceFault],
    at: datetime,
) -> tuple[PortNow, ...]:
    """Each port, the worst first.

    Args:
        samples: of the last minutes, of whole devices.
        errors: what each counted in a longer window, by the names of `ERRORS`; one without any need not be there.
        errors_s: seconds of that window.
        last_seen: by device and name, when those that told nothing in the samples did so last.
        topology: what leads where.
        faults: those that are remembered.
        at: when it is.
    """
    loads = port_loads(samples)
    ends = far_ends(topology)
    remembered = _remembered(faults, at)
    was_up = (samples.values.get(port_states.STATE, np.full(samples.shape, np.nan)) == 4).any(axis=1)
    sent, received = _lately(loads.sent_bytes_per_s), _lately(loads.received_bytes_per_s)
    utilization, waits = _lately(loads.utilization_ratio), _lately(loads.wait_ratio)
    rates = _optional(_newest(loads.rate_bytes_per_s))
    telling = {port.device for port in samples.devices if (port.device, port.name) not in last_seen}
    found = []
    for row, told in enumerate(port_findings(samples)):
        port = told.device
        entity = Entity(EntityKind.PORT, f"{port.device}/{port.name}")
        known = remembered.get(entity, ())
        is_down = any(one.state is PortState.DOWN for one in told.findings)
        found.append(
            PortNow(
                port,
                far_end=ends.get(entity),
                rate_bytes_per_s=rates[row],
                sent_bytes_per_s=sent[row],
                received_bytes_per_s=received[row],
                utilization_ratio=utilization[row],
                wait_ratio=waits[row],
                errors=errors.get(port, {}),
                troubles=_troubles(told.findings, known),
                silent_since=last_seen.get((port.device, port.name)),
                is_used=not is_down or bool(was_up[row]) or entity in ends or bool(known),
                is_device_silent=port.device not in telling,
                has_many_errors=_are_many(errors.get(port, {}), errors_s),
            )
        )
    return tuple(sorted(found, key=_port_order))


def errors_of(samples: PortSamples) -> dict[Port, dict[str, float]]:
    """What the counters of `ERRORS` grew by over the samples, of those ports and counters that did."""
    sums = {name: np.nansum(growth(samples.values[name]), axis=1) for name in ERRORS if name in samples.values}
    return {
        port: counted
        for row, port in enumerate(samples.devices)
        if (counted := {name: float(total[row]) for name, total in sums.items() if total[row] > 0})
    }


def waits_as_ratio(signals: Sequence[SignalMatrix]) -> list[SignalMatrix]:
    """The signals of one port, the transmit wait as a share of the time where the rate of the port is known."""
    rate = next((one.values for one in signals if one.signal.name == "port_rate"), None)
    return [
        one
        if rate is None or one.signal.name != "transmit_wait"
        else replace(
            one,
            signal=replace(one.signal, title="Time waiting to transmit", unit="ratio"),
            values=port_states.waiting_ratio(one.values, rate),
        )
        for one in signals
    ]


def _are_many(errors: Mapping[str, float], seconds: float) -> bool:
    """Are they more than what a good link counts: a symbol error now and then, and what that did to a packet."""
    stray = sum(errors.get(name, 0.0) for name in _STRAY)
    return any(errors.get(name) for name in ERRORS if name not in _STRAY) or stray * 3600 / seconds > _STRAY_PER_HOUR


def far_ends(topology: Topology) -> dict[Entity, Entity]:
    """Of each end of each cable that is known the other one."""
    found: dict[Entity, Entity] = {}
    for node in topology.nodes:
        found |= topology.ends_of_cables(node)
    for switch in topology.switches:
        found |= topology.ends_of_uplinks(switch)
    return found


def _port_order(one: PortNow) -> tuple[object, ...]:
    """Troubles first, then errors, then waiting and load, as far as they differ to the eye."""
    rank = _rank(one.troubles[0]) if one.troubles and one.is_used else (len(_ORDER), 0)
    load = (-round(one.wait_ratio or 0.0, 2), -round(one.utilization_ratio or 0.0, 1))
    return (not one.is_used, rank, not one.has_many_errors, -sum(one.errors.values()), *load, one.port)


def _lately(values: Matrix) -> list[float | None]:
    """The mean of the last steps of each row."""
    recent = values[:, -_LOAD_STEPS:]
    known = np.isfinite(recent).sum(axis=1)
    means = np.nansum(recent, axis=1) / np.where(known == 0, np.nan, known)
    return _optional(means)


def _optional(values: NDArray[np.float64]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


# -- Troubles ---------------------------------------------------------------------------------------------------------


def _remembered(faults: Sequence[DeviceFault], at: datetime) -> dict[Entity, tuple[DeviceFault, ...]]:
    found: dict[Entity, tuple[DeviceFault, ...]] = {}
    for fault in faults:
        if fault.rule.is_lasting or at - fault.seen_at < _FAULT_KEPT:
            found[fault.device] = (*found.get(fault.device, ()), fault)
    return found


def _troubles(
    findings: Sequence[Finding[GpuState] | Finding[PortState]], faults: Sequence[DeviceFault]
) -> tuple[Trouble, ...]:
    """What is found now and what is remembered, each state once, the worst first."""
    known = {fault.state: fault for fault in faults}
    now = {one.state: one.reason for one in findings if one.state in _GRADES}
    told = [
        Trouble(
            state,
            _GRADES[state],
            now.get(state) or known[state].reason,
            known[state].since if state in known else None,
            known[state].incident if state in known else None,
        )
        for state in {**now, **known}
    ]
    return tuple(sorted(told, key=_rank))


def gpus_with_causes(gpus: Iterable[GpuNow], incidents: Iterable[Incident]) -> tuple[GpuNow, ...]:
    """The GPUs, those that are the likeliest cause of an incident with that among their troubles."""
    causes = _causes(incidents)
    return tuple(
        replace(one, troubles=_with_cause(one.troubles, causes.get(Entity(EntityKind.GPU, one.name)))) for one in gpus
    )


def ports_with_causes(ports: Iterable[PortNow], incidents: Iterable[Incident]) -> tuple[PortNow, ...]:
    """The ports likewise, the worst first."""
    causes = _causes(incidents)
    told = [
        replace(one, troubles=_with_cause(one.troubles, causes.get(Entity(EntityKind.PORT, one.name)))) for one in ports
    ]
    return tuple(sorted(told, key=_port_order))


def _causes(incidents: Iterable[Incident]) -> dict[Entity, Incident]:
    """The likeliest cause of each incident; of several incidents with the same, the first that is given."""
    found: dict[Entity, Incident] = {}
    for incident in incidents:
        found.setdefault(incident.cause.entity, incident)
    return found


def _with_cause(troubles: tuple[Trouble, ...], incident: Incident | None) -> tuple[Trouble, ...]:
    if incident is None or any(one.incident == incident.id for one in troubles):
        return troubles
    cause = Trouble(Role.CAUSE, Grade.STRAIN, incident.cause.summary, incident.started_at, incident.id)
    return tuple(sorted((*troubles, cause), key=_rank))


def _rank(trouble: Trouble) -> tuple[int, int]:
    return _ORDER.index(trouble.grade), list(type(trouble.state)).index(trouble.state)


def _moment(since: datetime | None) -> float:
    return math.inf if since is None else since.timestamp()


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
