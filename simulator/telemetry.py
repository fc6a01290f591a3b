"""What the machines would measure of themselves: replicas, GPUs and ports at scrape ticks.

Everything is an exact integral of what the engine did between two ticks (busy seconds, bytes moved, tokens),
turned into the readings of an H100, of an NDR port and of vLLM, with a little seeded sensor noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from simulator.cloud import Cloud, Port, Replica
from simulator.faults import (
    LINK_DOWNS_PER_S,
    LINK_RECOVERIES_PER_S,
    NEIGHBOUR_TRAFFIC_RATIO,
    RECEIVE_ERRORS_PER_S,
    SYMBOL_ERRORS_PER_S,
    Fault,
    decode_factor,
    faults_of,
    leak_faults,
    leaked_kv_ratio,
)
from simulator.physics import (
    FRAMEBUFFER_MIB,
    FRAMEBUFFER_RESERVED_MIB,
    GPU_MEMORY_UTILIZATION_RATIO,
    IDLE_POWER_WATTS,
    PORT_BYTES_PER_SECOND,
    steady_gpu_temperature_celsius,
)
from simulator.workload import traffic_factor

Floats = NDArray[np.float64]

PREFILL_CHUNK_TOKENS = 2048  # vLLM's default --max-num-batched-tokens with chunked prefill
PREFILL_POWER_WATTS = 665.0  # compute-bound, just under the H100's 700 W limit
THERMAL_LAG_S = 40.0
SM_CLOCK_BUSY_MHZ = 1980.0  # H100 SXM boost clock, which a process that holds the GPU keeps
SM_CLOCK_IDLE_MHZ = 345.0
MEMORY_CLOCK_MHZ = 2619.0
UNALLOCATED_FRAMEBUFFER_MIB = 4.0
FRAMEBUFFER_LEFT_MIB = 60.0  # what a background job leaves free before it runs into allocation failures
CONTENDED_DRAM_ACTIVE_RATIO = 0.93
BACKGROUND_TRAFFIC_RATIO = 0.06  # of a port's rate: replication and tiering of the KV store
PACKET_BYTES = 4096.0  # InfiniBand's usual path MTU
WAIT_TICKS_PER_S = 6.25e9  # PortXmitWait at 400 Gb/s: one tick per 8 bytes that could have gone
QUIET_WAIT_RATIO = 2e-4
SATURATED_WAIT_RATIO = 0.35
LINK_FAULT_GOODPUT_RATIO = 0.15  # of what a port would carry, once retransmissions have taken the rest


@dataclass(frozen=True, slots=True)
class ReplicaReadings:
    """Per tick and replica, arrays of shape (ticks, replicas)."""

    running: Floats
    waiting_capacity: Floats
    waiting_deferred: Floats
    kv_cache_usage_ratio: Floats
    preemptions_total: Floats
    prompt_tokens_total: Floats
    generation_tokens_total: Floats
    finished_total: Floats
    aborted_total: Floats


@dataclass(frozen=True, slots=True)
class GpuReadings:
    """Per tick and GPU, arrays of shape (ticks, GPUs); ratios are means over the step before the tick."""

    sm_clock_mhz: Floats
    temperature_celsius: Floats
    power_watts: Floats
    energy_millijoules_total: Floats
    busy_ratio: Floats
    tensor_active_ratio: Floats
    dram_active_ratio: Floats
    framebuffer_used_mib: Floats
    pcie_sent_bytes_per_s: Floats
    pcie_received_bytes_per_s: Floats
    nvlink_megabytes_total: Floats


@dataclass(frozen=True, slots=True)
class PortReadings:
    """Per tick and port, arrays of shape (ticks, ports)."""

    sent_bytes_total: Floats
    received_bytes_total: Floats
    transmit_wait_total: Floats
    symbol_errors_total: Floats
    link_recoveries_total: Floats
    link_downs_total: Floats
    receive_errors_total: Floats


@dataclass(frozen=True, slots=True)
class Readings:
    """What all sensors show at `ticks_s` (seconds since the epoch, ascending)."""

    ticks_s: Floats
    replicas: ReplicaReadings
    gpus: GpuReadings
    ports: PortReadings


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


class Sensors:
    """Counters and temperatures, which remember; `observe` moves them from tick to tick."""

    def __init__(self, cloud: Cloud, seed: int, started_at_s: float) -> None:
        self._cloud = cloud
        self._seed = seed
        self.last_tick_s = started_at_s
        randomness = np.random.default_rng((seed, 0x5E45))
        replicas, gpus, ports = len(cloud.replicas), len(cloud.gpus), len(cloud.ports)
        # Every counter has a past: days for the engines, weeks for the machines.
        age_s = randomness.uniform(2, 9, replicas) * 86_400
        rates = np.array(
            [r.service.workload.requests_per_s / len(cloud.replicas_of(r.service.name)) for r in cloud.replicas]
        )
        finished = np.floor(age_s * rates)
        self._replica_totals = {
            "preemptions_total": np.zeros(replicas),
            "prompt_tokens_total": np.floor(finished * [r.service.workload.prompt.mean for r in cloud.replicas]),
            "generation_tokens_total": np.floor(finished * [r.service.workload.output.mean for r in cloud.replicas]),
            "finished_total": finished,
            "aborted_total": np.floor(finished * 2e-4),
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
        }
        self._temperature_celsius = np.full(gpus, 40.0)

    def observe(self, requests: NDArray[np.void], faults: Sequence[Fault], ticks_s: Floats) -> Readings:
        """Read all sensors at `ticks_s`, which follow the last tick.

        `requests` (shape (n,) of `engine.REQUEST`) must hold every request that was in the cloud at any time
        since the last tick.
        """
        moments_s = np.concatenate([[self.last_tick_s], ticks_s])
        steps_s = np.diff(moments_s)
        noise = np.array([self._noise(tick_s) for tick_s in ticks_s.tolist()]).reshape(
            len(ticks_s), 3, len(self._cloud.gpus)
        )
        work = [
            _work_of(replica, requests[requests["replica"] == replica.ordinal], faults, moments_s)
            for replica in self._cloud.replicas
        ]
        readings = Readings(
            ticks_s,
            self._read_replicas(work),
            self._read_gpus(work, faults, ticks_s, steps_s, noise),
            self._read_ports(work, faults, ticks_s, steps_s, noise[:, 2, : len(self._cloud.ports)]),
        )
        if ticks_s.size:
            self.last_tick_s = float(ticks_s[-1])
        return readings

    def _noise(self, tick_s: float) -> Floats:
        # A stream per tick, so that the same tick reads the same however time was cut.
        randomness = np.random.default_rng((self._seed, 0x0153, int(tick_s * 1000)))
        return randomness.standard_normal(3 * len(self._cloud.gpus))

    def _read_replicas(self, work: list[_Work]) -> ReplicaReadings:
        columns = {name: np.stack([w.readings[name] for w in work], axis=1) for name in work[0].readings}
        _accumulate(columns, self._replica_totals)
        return ReplicaReadings(**columns)

    def _read_gpus(
        self, work: list[_Work], faults: Sequence[Fault], ticks_s: Floats, steps_s: Floats, noise: Floats
    ) -> GpuReadings:
        shape = (ticks_s.size, len(self._cloud.gpus))
        columns = {name: np.zeros(shape) for name in GpuReadings.__dataclass_fields__}
        columns["power_watts"][:] = IDLE_POWER_WATTS
        columns["sm_clock_mhz"][:] = SM_CLOCK_IDLE_MHZ
        columns["framebuffer_used_mib"][:] = UNALLOCATED_FRAMEBUFFER_MIB
        for replica, done in zip(self._cloud.replicas, work, strict=True):
            group = [gpu.ordinal for gpu in replica.gpus]
            for name, column in _gpu_columns(replica, done, steps_s).items():
                columns[name][:, group] = column[:, None]
        # Each GPU of a group differs a little from its peers.
        allocated = columns["framebuffer_used_mib"] > UNALLOCATED_FRAMEBUFFER_MIB
        columns["framebuffer_used_mib"] += np.where(allocated, 4 * (np.arange(shape[1]) % 5), 0)
        for gpu in self._cloud.gpus:
            for fault in faults_of(faults, CauseKind.GPU_MEMORY_CONTENTION, Entity(EntityKind.GPU, gpu.uuid)):
                _contend(columns, gpu.ordinal, fault.level(ticks_s))
        scale = np.where(allocated, 1.0, 0.2)
        for name in ("tensor_active_ratio", "dram_active_ratio"):
            columns[name] = np.clip(columns[name] * (1 + 0.02 * noise[:, 0]), 0.0, 1.0)
        columns["power_watts"] = np.maximum(columns["power_watts"] + 4.0 * scale * noise[:, 1], 40.0)
        columns["temperature_celsius"] = self._temperatures(columns["power_watts"], steps_s)
        columns["energy_millijoules_total"] = columns["power_watts"] * steps_s[:, None] * 1000
        _accumulate(columns, self._gpu_totals)
        return GpuReadings(**columns)

    def _temperatures(self, power_watts: Floats, steps_s: Floats) -> Floats:
        settled = steady_gpu_temperature_celsius(power_watts)
        keep = np.exp(-steps_s / THERMAL_LAG_S)
        temperatures = np.empty_like(settled)
        for tick, kept in enumerate(keep.tolist()):
            self._temperature_celsius = settled[tick] + kept * (self._temperature_celsius - settled[tick])
            temperatures[tick] = self._temperature_celsius
        return temperatures

    def _read_ports(
        self, work: list[_Work], faults: Sequence[Fault], ticks_s: Floats, steps_s: Floats, noise: Floats
    ) -> PortReadings:
        columns = {name: np.zeros((ticks_s.size, len(self._cloud.ports))) for name in self._port_totals}
        background = BACKGROUND_TRAFFIC_RATIO * PORT_BYTES_PER_SECOND * traffic_factor(ticks_s) * steps_s
        for port in self._cloud.ports:
            served = [work[replica.ordinal] for replica in self._cloud.replicas if replica.port == port]
            usual = background * np.maximum(1 + 0.06 * noise[:, port.ordinal], 0.5)
            # What is pulled already took as long as the port's faults make it; the rest is squeezed below.
            moved = {
                "sent_bytes_total": usual + sum(w.pushed_bytes for w in served),
                "received_bytes_total": usual,
            }
            increments = _port_increments(port, moved, faults, ticks_s, steps_s)
            increments["received_bytes_total"] += sum(w.pulled_bytes for w in served)
            for name, column in increments.items():
                columns[name][:, port.ordinal] = column
        _accumulate(columns, self._port_totals)
        return PortReadings(**columns)


def _accumulate(columns: dict[str, Floats], totals: dict[str, Floats]) -> None:
    """Turn the increments per step in `columns` into running totals, and leave the last in `totals`."""
    for name, total in totals.items():
        running = total + np.cumsum(columns[name], axis=0)
        if len(running):
            totals[name] = running[-1]
        columns[name] = running


def _work_of(replica: Replica, requests: NDArray[np.void], faults: Sequence[Fault], moments_s: Floats) -> _Work:
    """What a replica did between consecutive `moments_s` (shape (ticks + 1,))."""
    served = requests[np.isfinite(requests["admitted_at"])]
    served = served[np.argsort(served["admitted_at"])]
    admitted, prefilled, released = served["admitted_at"], served["prefilled_at"], served["released_at"]
    prompt, output = served["prompt_tokens"], served["output_tokens"]
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
    waits = (at >= requests["arrived_at"]) & (at < gone_at)
    deferred = waits & (at < requests["ready_at"])
    failed = requests[requests["failed"]]
    kv_used = (runs * (prompt + generated)).sum(axis=1) / model.kv_capacity_tokens
    leaked = leaked_kv_ratio(leak_faults(faults, replica), moments_s)

    pull_progress = _elapsed(requests["transfer_started_at"], requests["ready_at"], moments_s) / np.maximum(
        requests["ready_at"] - requests["transfer_started_at"], 1e-9
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
            "generation_tokens_total": generated_per_step,
            "finished_total": per_step((at >= released).sum(axis=1).astype(float)),
            "aborted_total": per_step((at >= failed["ended_at"]).sum(axis=1).astype(float)),
        },
        busy_s=per_step(_covered(admitted, released, moments_s)),
        prefill_s=per_step(prefill.sum(axis=1)),
        prefill_work_s=per_step(prefill @ (1 / served["prefill_factor"])),
        sequence_s=per_step(sequence.sum(axis=1)),
        sequence_work_s=per_step(sequence @ (1 / decode_factor(served["prefill_factor"]))),
        pulled_bytes=per_step(pull_progress @ requests["pulled_bytes"]),
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
        "tensor_active_ratio": model.prefill_tensor_active_ratio * work.prefill_work_s / steps_s
        + work.sequence_work_s / steps_s * tokens_ms / model.steps.d0,
        "dram_active_ratio": (model.decode_dram_active_ratio * decode + weights_per_chunk * prefill) * slowed,
        "framebuffer_used_mib": np.full_like(busy, round(FRAMEBUFFER_MIB * GPU_MEMORY_UTILIZATION_RATIO)),
        "pcie_sent_bytes_per_s": work.pushed_bytes / gpus / steps_s + 1.2e6,
        "pcie_received_bytes_per_s": work.pulled_bytes / gpus / steps_s + 1.8e6,
        "nvlink_megabytes_total": megabytes,
    }


def _contend(columns: dict[str, Floats], gpu: int, level: Floats) -> None:
    """A background job on one GPU: it takes memory and memory bandwidth and keeps the GPU busy."""

    def towards(name: str, value: float) -> None:
        columns[name][:, gpu] += level * np.maximum(value - columns[name][:, gpu], 0.0)

    towards("framebuffer_used_mib", FRAMEBUFFER_MIB - FRAMEBUFFER_RESERVED_MIB - FRAMEBUFFER_LEFT_MIB)
    towards("dram_active_ratio", CONTENDED_DRAM_ACTIVE_RATIO)
    towards("busy_ratio", 1.0)
    towards("power_watts", 480.0)
    towards("sm_clock_mhz", SM_CLOCK_BUSY_MHZ)


def _port_increments(
    port: Port, moved: dict[str, Floats], faults: Sequence[Fault], ticks_s: Floats, steps_s: Floats
) -> dict[str, Floats]:
    """What each counter of a port grows by in each step, by field of `PortReadings`."""
    middles_s = ticks_s - steps_s / 2
    room = PORT_BYTES_PER_SECOND * steps_s
    wait = QUIET_WAIT_RATIO * (0.5 + moved["sent_bytes_total"] / room)
    errors = np.zeros_like(ticks_s)
    entity = Entity(EntityKind.PORT, port.name)
    for fault in faults_of(faults, CauseKind.NETWORK_SATURATION, entity):
        level = fault.level(middles_s)
        moved = {name: size + level * NEIGHBOUR_TRAFFIC_RATIO * room for name, size in moved.items()}
        wait = wait + SATURATED_WAIT_RATIO * level
    for fault in faults_of(faults, CauseKind.NETWORK_LINK_FAULT, entity):
        level = fault.level(middles_s)
        moved = {name: size * (1 - level * (1 - LINK_FAULT_GOODPUT_RATIO)) for name, size in moved.items()}
        errors = errors + level * steps_s
    return {
        **{name: np.minimum(size, 0.98 * room) for name, size in moved.items()},
        "transmit_wait_total": wait * WAIT_TICKS_PER_S * steps_s,
        "symbol_errors_total": SYMBOL_ERRORS_PER_S * errors,
        "link_recoveries_total": LINK_RECOVERIES_PER_S * errors,
        "link_downs_total": LINK_DOWNS_PER_S * errors,
        "receive_errors_total": RECEIVE_ERRORS_PER_S * errors,
    }
