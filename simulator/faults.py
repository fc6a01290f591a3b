"""What goes wrong: each kind of fault, what it does to the cloud, and the truth about it.

A planner chooses target and strength by seed, always strong enough that the p99 of the time to first token
of the target clearly spikes. The truth never goes over the wire to the product.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from domain.window import Window, rfc3339
from simulator.cloud import Cloud, Port, Replica, Service
from simulator.physics import Reals
from simulator.workload import traffic_factor

RECOVERY_S = 5.0  # how fast an effect goes once its fault has ended
LEAK_SWEEP_S = 20.0  # the engine's sweep frees some leaked blocks this often, and they leak again
LEAK_FLOOR_RATIO = 0.05  # what is left just before a sweep, over what is left just after one
NEIGHBOUR_TRAFFIC_RATIO = 0.97  # of a saturated port's rate, both directions
CONTENTION_DECODE_SHARE = 0.2
SYMBOL_ERRORS_PER_S = 40.0
LINK_RECOVERIES_PER_S = 0.2
LINK_DOWNS_PER_S = 1 / 90
RECEIVE_ERRORS_PER_S = 12.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from `started_at` to `ended_at`; its effect ramps up within `ramp_s` seconds.

    `strength` means, by kind:
    gpu_memory_pressure: share of the KV blocks lost just after a sweep; gpu_memory_contention: factor on
    prefill times; network_saturation and network_link_fault: share of the port's rate left for KV transfers;
    traffic_surge: factor on the arrival rate; unknown: mean stall before the first token, in seconds.
    """

    kind: CauseKind
    entity: Entity
    started_at: datetime
    ended_at: datetime
    strength: float
    ramp_s: float

    def __post_init__(self) -> None:
        Window(self.started_at, self.ended_at)  # raises ValueError when there is no such stretch of time

    def truth(self) -> dict[str, Any]:
        """What really happened, for whoever checks the product's verdict."""
        return {
            "kind": self.kind.value,
            "entity": {"kind": self.entity.kind.value, "name": self.entity.name},
            "started_at": rfc3339(self.started_at),
            "ended_at": rfc3339(self.ended_at),
        }

    def level(self, moment_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far the effect is developed, 0-1, at moments in seconds since the epoch."""
        rise = (moment_s - self.started_at.timestamp()) / self.ramp_s
        fall = 1.0 - (moment_s - self.ended_at.timestamp()) / RECOVERY_S
        return np.clip(np.minimum(rise, fall), 0.0, 1.0)

    def level_at(self, moment_s: float) -> float:
        """`level` of one moment, without the cost of an array."""
        rise = (moment_s - self.started_at.timestamp()) / self.ramp_s
        fall = 1.0 - (moment_s - self.ended_at.timestamp()) / RECOVERY_S
        return max(0.0, min(rise, fall, 1.0))


def faults_of(faults: Sequence[Fault], kind: CauseKind, entity: Entity) -> tuple[Fault, ...]:
    """Those of that kind on that entity."""
    return tuple(fault for fault in faults if fault.kind == kind and fault.entity == entity)


def contention_faults(faults: Sequence[Fault], replica: Replica) -> tuple[Fault, ...]:
    """What slows the steps of a replica: a neighbour on any GPU of its tensor-parallel group."""
    return tuple(
        fault
        for gpu in replica.gpus
        for fault in faults_of(faults, CauseKind.GPU_MEMORY_CONTENTION, Entity(EntityKind.GPU, gpu.uuid))
    )


def prefill_factor(faults: Sequence[Fault], moment_s: float) -> float:
    """By how much prefills are slower at that moment (1 when all is well)."""
    factor = 1.0
    for fault in faults:
        factor *= 1.0 + (fault.strength - 1.0) * fault.level_at(moment_s)
    return factor


def decode_factor(prefill_factor: Reals) -> Reals:
    """By how much decode steps are slower when prefills are slower by `prefill_factor`.

    A neighbour's kernels hold the SMs for whole time slices, which costs a long prefill kernel more than the
    short, memory-bound ones of a decode step: those lose mostly HBM bandwidth, about 2.6 times at a prefill
    factor of 9.
    """
    return 1.0 + CONTENTION_DECODE_SHARE * (prefill_factor - 1.0)


def leak_faults(faults: Sequence[Fault], replica: Replica) -> tuple[Fault, ...]:
    """What leaks KV blocks on a replica."""
    return faults_of(faults, CauseKind.GPU_MEMORY_PRESSURE, Entity(EntityKind.REPLICA, replica.pod))


def leaked_kv_ratio(faults: Sequence[Fault], moment_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the KV blocks lost to leaks, 0-1: a saw-tooth, since a sweep now and then frees a few."""
    left = np.ones_like(moment_s)
    for fault in faults:
        phase = (moment_s - fault.started_at.timestamp()) / LEAK_SWEEP_S % 1.0
        left_at_full = (1.0 - fault.strength) * (1.0 - (1.0 - LEAK_FLOOR_RATIO) * phase)
        left = left * (1.0 - fault.level(moment_s) * (1.0 - left_at_full))
    ratio: NDArray[np.float64] = 1.0 - left
    return ratio


def transfer_faults(faults: Sequence[Fault], port: Port) -> tuple[Fault, ...]:
    """What takes bandwidth from the KV transfers of a port."""
    entity = Entity(EntityKind.PORT, port.name)
    return faults_of(faults, CauseKind.NETWORK_SATURATION, entity) + faults_of(
        faults, CauseKind.NETWORK_LINK_FAULT, entity
    )


def bandwidth_left_ratio(faults: Sequence[Fault], moment_s: float) -> float:
    """Share of the port's rate that is left for KV transfers (1 when all is well)."""
    left = 1.0
    for fault in faults:
        left *= 1.0 - (1.0 - fault.strength) * fault.level_at(moment_s)
    return left


def stall_faults(faults: Sequence[Fault], service: Service) -> tuple[Fault, ...]:
    """What holds requests of a service inside its own process."""
    return faults_of(faults, CauseKind.UNKNOWN, Entity(EntityKind.SERVICE, service.name))


def stall_seconds(faults: Sequence[Fault], moment_s: float, luck: float) -> float:
    """How long a request prefilled at that moment is held; `luck` is uniform in 0-1."""
    return sum(fault.strength * (0.5 + luck) * fault.level_at(moment_s) for fault in faults)


Planner = Callable[[Cloud, random.Random, datetime], tuple[Entity, float, float]]


def _memory_pressure(cloud: Cloud, randomness: random.Random, _: datetime) -> tuple[Entity, float, float]:
    replica = randomness.choice(cloud.replicas)
    # Just after a sweep the longest prompt barely fits, so nothing is stuck for good.
    left_tokens = randomness.uniform(1.05, 1.2) * replica.service.workload.prompt.tokens[-1]
    strength = 1.0 - left_tokens / replica.service.model.kv_capacity_tokens
    return Entity(EntityKind.REPLICA, replica.pod), strength, randomness.uniform(50, 70)


def _memory_contention(cloud: Cloud, randomness: random.Random, _: datetime) -> tuple[Entity, float, float]:
    replica = randomness.choice(cloud.replicas)
    gpu = randomness.choice(replica.gpus)
    return Entity(EntityKind.GPU, gpu.uuid), randomness.uniform(8.0, 10.0), randomness.uniform(30, 60)


def _saturation(cloud: Cloud, randomness: random.Random, _: datetime) -> tuple[Entity, float, float]:
    entity = Entity(EntityKind.PORT, _port_that_matters(cloud, randomness).name)
    return entity, randomness.uniform(0.005, 0.008), randomness.uniform(10, 20)


def _link_fault(cloud: Cloud, randomness: random.Random, _: datetime) -> tuple[Entity, float, float]:
    entity = Entity(EntityKind.PORT, _port_that_matters(cloud, randomness).name)
    return entity, randomness.uniform(0.005, 0.009), randomness.uniform(10, 20)


def _surge(cloud: Cloud, randomness: random.Random, started_at: datetime) -> tuple[Entity, float, float]:
    service = randomness.choice(cloud.services)
    factor_now = traffic_factor(np.array([started_at.timestamp()]))
    usual_per_s = service.workload.requests_per_s * float(factor_now[0])
    overload = randomness.uniform(1.15, 1.3) * capacity_requests_per_s(cloud, service) / usual_per_s
    # By day three to five times the usual overloads the replicas; at night it takes more.
    return Entity(EntityKind.SERVICE, service.name), max(3.0, overload), randomness.uniform(10, 20)


def _stall(cloud: Cloud, randomness: random.Random, _: datetime) -> tuple[Entity, float, float]:
    service = randomness.choice(cloud.services)
    longest_s = service.model.steps.prefill_ms(float(service.workload.prompt.tokens[-2]), 0.0) / 1000
    return (
        Entity(EntityKind.SERVICE, service.name),
        longest_s * randomness.uniform(5, 7),
        randomness.uniform(10, 20),
    )


PLANNERS: dict[CauseKind, Planner] = {
    CauseKind.GPU_MEMORY_PRESSURE: _memory_pressure,
    CauseKind.GPU_MEMORY_CONTENTION: _memory_contention,
    CauseKind.NETWORK_SATURATION: _saturation,
    CauseKind.NETWORK_LINK_FAULT: _link_fault,
    CauseKind.TRAFFIC_SURGE: _surge,
    CauseKind.UNKNOWN: _stall,
}


def plan_fault(kind: CauseKind, cloud: Cloud, seed: int, started_at: datetime, duration_s: float) -> Fault:
    """A fault of that kind; target, strength and ramp follow from the seed.

    Raises:
        ValueError: when the simulator cannot (yet) play that kind, or the duration is not positive.
    """
    planner = PLANNERS.get(kind)
    if planner is None:
        playable = ", ".join(sorted(PLANNERS))
        raise ValueError(f"the simulator cannot play the fault {kind}; it can play {playable}")
    randomness = random.Random(f"fault-{kind}-{seed}")
    entity, strength, ramp_s = planner(cloud, randomness, started_at)
    return Fault(CauseKind(kind), entity, started_at, started_at + timedelta(seconds=duration_s), strength, ramp_s)


def capacity_requests_per_s(cloud: Cloud, service: Service) -> float:
    """Requests per second that all replicas of a service can finish, all sequences busy."""
    prompt, output = service.workload.prompt.mean, service.workload.output.mean
    steps, sequences = service.model.steps, service.max_sequences
    seconds = (
        steps.prefill_ms(prompt, 0.0) + output * steps.time_per_output_token_ms(sequences, prompt, output)
    ) / 1000
    return len(cloud.replicas_of(service.name)) * sequences / seconds


def _port_that_matters(cloud: Cloud, randomness: random.Random) -> Port:
    """A port of the service that moves the most KV: elsewhere a slow port hurts nobody."""

    def moved_tokens(service: Service) -> float:
        return service.workload.reuse_probability * service.workload.prompt.mean * service.model.kv_bytes_per_token

    heaviest = max(cloud.services, key=moved_tokens)
    return randomness.choice(cloud.replicas_of(heaviest.name)).port
