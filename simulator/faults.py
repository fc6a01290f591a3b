"""What goes wrong: each kind of fault, where it strikes, how hard, and the truth about it.

A planner chooses target, variant, strength and ramp by seed, from clearly felt to drastic. What a fault does to
requests is one table in `effects`, what it does to sensors one in `signs`. The truth never goes over the wire to the
product.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from domain.window import Window, rfc3339
from simulator.cloud import FIRST_UPLINK, Cloud, Port, Replica, Service
from simulator.physics import PORT_BYTES_PER_SECOND
from simulator.workload import tenant_shares, traffic_factor

RECOVERY_S = 5.0  # how fast an effect goes once its fault has ended
LEAK_SWEEP_S = 20.0  # the engine's sweep frees some leaked blocks this often, and they leak again
LEAK_FLOOR_RATIO = 0.05  # what is left just before a sweep, over what is left just after one
SCALED_DOWN_S = 1500.0  # how long a replica that comes with a scale-up had been away before
HEATED_SHARE = 0.7  # of the ramp of an overheating GPU, until its clock is lowered
ROLLOUT_STEP_S = 15.0  # a rollout replaces one replica after the other
# PCI Express: bytes per second of one lane, one way, by generation (after line coding).
PCIE_LANE_BYTES_PER_SECOND = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9}


class Harmless(StrEnum):
    """What happens beside a fault, or on a clean day, and hurts nobody."""

    BUSY_HOUR = "busy_hour"
    NIGHTLY_BATCH = "nightly_batch"
    DEPLOY = "deploy"
    ALARM_ELSEWHERE = "alarm_elsewhere"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from `started_at` to `ended_at`; its effect ramps up within `ramp_s` seconds.

    What `strength` means depends on kind and variant; `effects.EFFECTS` reads it. `variant` tells the ways apart in
    which one kind goes wrong; `pods` names the replicas that it acts on where the entity does not. An effect with a
    `pulse_s` comes and goes with that period.
    """

    kind: CauseKind | Harmless
    entity: Entity
    started_at: datetime
    ended_at: datetime
    strength: float
    ramp_s: float
    variant: str = ""
    pods: tuple[str, ...] = ()
    pulse_s: float = 0.0

    def __post_init__(self) -> None:
        Window(self.started_at, self.ended_at)  # raises ValueError when there is no such stretch of time

    @property
    def is_harmless(self) -> bool:
        """Whether nobody is hurt by it, so that no verdict may name it."""
        return isinstance(self.kind, Harmless)

    def truth(self) -> dict[str, Any]:
        """What really happened, for whoever checks the product's verdict."""
        return {
            "kind": self.kind.value,
            "entity": {"kind": self.entity.kind.value, "name": self.entity.name},
            "started_at": rfc3339(self.started_at),
            "ended_at": rfc3339(self.ended_at),
        }

    def level(self, moment_s: NDArray[np.float64], after: float = 0.0) -> NDArray[np.float64]:
        """How far the effect is developed, 0-1, at moments in seconds since the epoch.

        One that begins only when the fault is half on its way has `after` 0.5.
        """
        start_s, end_s = self.started_at.timestamp(), self.ended_at.timestamp()
        rise = ((moment_s - start_s) / self.ramp_s - after) / (1.0 - after)
        fall = 1.0 - (moment_s - end_s) / RECOVERY_S
        level = np.clip(np.minimum(rise, fall), 0.0, 1.0)
        if self.pulse_s:
            level = level * ((moment_s - start_s) % self.pulse_s < self.pulse_s / 2)
        return level


def leaked_kv_ratio(fault: Fault, moment_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the KV blocks lost to a leak, 0-1: a saw-tooth, since a sweep now and then frees a few."""
    phase = (moment_s - fault.started_at.timestamp()) / LEAK_SWEEP_S % 1.0
    left_at_full = (1.0 - fault.strength) * (1.0 - (1.0 - LEAK_FLOOR_RATIO) * phase)
    return fault.level(moment_s) * (1.0 - left_at_full)


def hit_replicas(cloud: Cloud, fault: Fault) -> tuple[Replica, ...]:
    """The replicas that a fault touches: those it names, or those that its entity is, carries or serves."""
    if fault.pods:
        return tuple(replica for replica in cloud.replicas if replica.pod in fault.pods)
    name, kind = fault.entity.name, fault.entity.kind
    is_upstream = kind is EntityKind.SERVICE and name in [upstream.name for upstream in cloud.upstreams]
    if kind is EntityKind.TENANT or is_upstream:
        return cloud.replicas
    return tuple(replica for replica in cloud.replicas if name in _names_of(cloud, replica, kind))


def _names_of(cloud: Cloud, replica: Replica, kind: EntityKind) -> tuple[str, ...]:
    """What a replica is, is a part of, or depends on, of one kind of entity."""
    leaf = replica.port.peer.switch
    match kind:
        case EntityKind.SERVICE:
            return (replica.service.name,)
        case EntityKind.NODE:
            return (replica.node,)
        case EntityKind.GPU:
            return tuple(gpu.uuid for gpu in replica.gpus)
        case EntityKind.SWITCH:
            return (leaf,)
        case EntityKind.PORT:
            uplinks = [port.name for port in cloud.fabric_ports if port.switch == leaf and port.node_port is None]
            return (replica.port.name, *uplinks)
    return (replica.pod,)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a planner chose: see the fields of `Fault`."""

    entity: Entity
    strength: float
    ramp_s: float
    variant: str = ""
    pods: tuple[str, ...] = ()
    pulse_s: float = 0.0


Planner = Callable[[Cloud, random.Random, datetime], Plan]


def _on_replica(replica: Replica) -> Entity:
    return Entity(EntityKind.REPLICA, replica.pod)


def _some_gpu(cloud: Cloud, randomness: random.Random) -> Entity:
    return Entity(EntityKind.GPU, randomness.choice(randomness.choice(cloud.replicas).gpus).uuid)


def _gpu_or_node(cloud: Cloud, randomness: random.Random) -> tuple[Entity, str]:
    replica = randomness.choice(cloud.replicas)
    if randomness.random() < 0.3:
        return Entity(EntityKind.NODE, replica.node), "node"
    return Entity(EntityKind.GPU, randomness.choice(replica.gpus).uuid), "gpu"


def _memory_pressure(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    replica = randomness.choice(cloud.replicas)
    # Just after a sweep the longest prompt barely fits, so nothing is stuck for good.
    left_tokens = randomness.uniform(1.05, 1.5) * replica.service.workload.prompt.tokens[-1]
    strength = 1.0 - left_tokens / replica.service.model.kv_capacity_tokens
    return Plan(_on_replica(replica), strength, randomness.uniform(40, 90))


def _memory_contention(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    return Plan(_some_gpu(cloud, randomness), randomness.uniform(5.0, 11.0), randomness.uniform(30, 60))


def _compute_contention(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    return Plan(_some_gpu(cloud, randomness), randomness.uniform(3.0, 8.0), randomness.uniform(3, 15))


def _thermal(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    entity, variant = _gpu_or_node(cloud, randomness)
    # Clocks of 660 down to 270 MHz: a GPU in its hardware slowdown, as without any fan.
    return Plan(entity, randomness.uniform(3.0, 7.3), randomness.uniform(60, 110), variant)


def _power(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    entity, place = _gpu_or_node(cloud, randomness)
    manner = randomness.choice(("limit", "brake"))
    return Plan(entity, randomness.uniform(3.0, 6.5), randomness.uniform(2, 10), f"{place}_{manner}")


GPU_FAULT_VARIANTS = {
    "off_bus": 79,
    "contained_ecc": 94,
    "uncontained_ecc": 95,
    "double_bit": 48,
    "row_remap": 63,
    "high_sbe_rate": 92,
    "gsp_timeout": 119,
}
"""The ways in which a GPU fails, and the XID that the driver logs."""


def _gpu_fault(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    variant = randomness.choice(sorted(GPU_FAULT_VARIANTS))
    slows = variant in {"row_remap", "high_sbe_rate"}
    # Slower by so much; or, where it kills the engine, so many seconds from one death to the next.
    strength = randomness.uniform(3.0, 7.0) if slows else randomness.uniform(80, 140)
    return Plan(_some_gpu(cloud, randomness), strength, randomness.uniform(5, 30) if slows else 1.0, variant)


def _pcie(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    replica = randomness.choice(cloud.replicas_of(_heaviest(cloud).name))
    generation, lanes = randomness.choice(((1, 1), (1, 2), (2, 1)))
    gpu_bytes_per_s = PCIE_LANE_BYTES_PER_SECOND[generation] * lanes
    # Every rank waits for the slowest, so the group moves what its GPUs would if all were like this one.
    left = min(gpu_bytes_per_s * len(replica.gpus) / PORT_BYTES_PER_SECOND, 1.0)
    entity = Entity(EntityKind.GPU, randomness.choice(replica.gpus).uuid)
    return Plan(entity, left, randomness.uniform(1, 5), f"gen{generation}_x{lanes}")


def _nvlink(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    replica = randomness.choice([replica for replica in cloud.replicas if len(replica.gpus) > 1])
    variant = randomness.choice(("errors", "xid"))
    entity = Entity(EntityKind.GPU, randomness.choice(replica.gpus).uuid)
    return Plan(entity, randomness.uniform(3.0, 7.0), randomness.uniform(5, 60), variant)


def _saturation(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    port = _port_that_matters(cloud, randomness)
    strength = _log_uniform(randomness, 0.004, 0.015)
    return _on_port_or(cloud, randomness, port, strength, randomness.uniform(5, 30), "uplink")


def _congestion(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    port = _port_that_matters(cloud, randomness)
    strength = _log_uniform(randomness, 0.004, 0.015)
    return _on_port_or(cloud, randomness, port, strength, randomness.uniform(5, 30), "switch")


def _on_port_or(
    cloud: Cloud, randomness: random.Random, port: Port, strength: float, ramp_s: float, wider: str
) -> Plan:
    """On a NIC port; or, more rarely, on an uplink of its leaf, or on the whole leaf."""
    if randomness.random() < 0.7:
        return Plan(Entity(EntityKind.PORT, port.name), strength, ramp_s, "port")
    leaf = port.peer.switch
    if wider == "switch":
        return Plan(Entity(EntityKind.SWITCH, leaf), strength, ramp_s, wider)
    uplinks = [port for port in cloud.fabric_ports if port.switch == leaf and port.number >= FIRST_UPLINK]
    return Plan(Entity(EntityKind.PORT, randomness.choice(uplinks).name), strength, ramp_s, wider)


def _link_fault(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    entity = Entity(EntityKind.PORT, _port_that_matters(cloud, randomness).name)
    match randomness.choice(("errors", "rate_drop", "flap")):
        case "errors":
            return Plan(entity, _log_uniform(randomness, 0.004, 0.015), randomness.uniform(5, 30), "errors")
        case "rate_drop":
            # One lane at SDR or DDR (2.5 or 5 Gb/s before coding) of the 400 Gb/s of four at NDR.
            return Plan(entity, randomness.choice((0.00625, 0.0125)), randomness.uniform(1, 3), "rate_drop")
    pulse_s = randomness.uniform(16, 30)
    return Plan(entity, randomness.uniform(1e-4, 5e-4), randomness.uniform(1, 5), "flap", pulse_s=pulse_s)


def _surge(cloud: Cloud, randomness: random.Random, started_at: datetime) -> Plan:
    service = randomness.choice(cloud.services)
    overload = randomness.uniform(1.1, 1.6) * capacity_requests_per_s(cloud, service) / _usual(service, started_at)
    # By day three to five times the usual overloads the replicas; at night it takes more.
    return Plan(Entity(EntityKind.SERVICE, service.name), max(2.5, overload), randomness.uniform(5, 40))


def _prompt_mix(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    service = randomness.choice(cloud.services)
    pods = tuple(replica.pod for replica in cloud.replicas_of(service.name))
    match randomness.choice(("prompts", "outputs", "tenant")):
        case "prompts":
            entity = Entity(EntityKind.SERVICE, service.name)
            return Plan(entity, randomness.uniform(3.0, 5.0), randomness.uniform(5, 60), "prompts")
        case "outputs":
            entity = Entity(EntityKind.SERVICE, service.name)
            return Plan(entity, randomness.uniform(4.0, 8.0), randomness.uniform(5, 60), "outputs")
    # A large tenant, so that some of its requests are there within minutes.
    tenant = randomness.choices(range(4), tenant_shares(len(cloud.tenants))[:4].tolist())[0]
    entity = Entity(EntityKind.TENANT, cloud.tenants[tenant])
    return Plan(entity, randomness.uniform(5.0, 10.0), randomness.uniform(2, 20), "tenant", pods)


def _straggler(cloud: Cloud, randomness: random.Random, started_at: datetime) -> Plan:
    replica = randomness.choice(cloud.replicas)
    service = replica.service
    variant = randomness.choice(("replica", "replica", "imbalance"))  # the one is twice as common as the other
    if variant == "imbalance":
        wanted = randomness.uniform(1.2, 2.0) * service.replica_requests_per_s / _usual(service, started_at)
        fair = 1.0 / len(cloud.replicas_of(service.name))
        return Plan(
            _on_replica(replica), min(max((wanted - fair) / (1 - fair), 0.4), 1.0), randomness.uniform(2, 20), variant
        )
    return Plan(_on_replica(replica), randomness.uniform(3.0, 7.0), randomness.uniform(2, 20), variant)


def _cold_start(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    replica = randomness.choice(cloud.replicas)
    enough = len(cloud.replicas_of(replica.service.name)) > 3
    variant = randomness.choice(("scale_up", "restart")) if enough else "scale_up"
    return Plan(_on_replica(replica), randomness.uniform(5.0, 10.0), 1.0, variant)


def _capacity_loss(cloud: Cloud, randomness: random.Random, started_at: datetime) -> Plan:
    def load(service: Service) -> float:
        return _usual(service, started_at) / service.replica_requests_per_s

    service = max(
        (service for service in cloud.services if len(cloud.replicas_of(service.name)) > 1),
        key=lambda service: min(load(service), len(cloud.replicas_of(service.name))),
    )
    replicas = cloud.replicas_of(service.name)
    left = max(1, round(load(service) / randomness.uniform(0.8, 1.6)))
    lost = randomness.sample(replicas, max(1, len(replicas) - left))
    variant = randomness.choice(("drained", "evicted"))
    pods = tuple(sorted(replica.pod for replica in lost))
    return Plan(Entity(EntityKind.SERVICE, service.name), float(len(lost)), 1.0, variant, pods)


def _bad_release(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    service = randomness.choice(cloud.services)
    replicas = cloud.replicas_of(service.name)
    variant = randomness.choice(("slow", "failing", "both"))
    canaries = randomness.randint(1, max(1, len(replicas) // 2))
    chosen = replicas if randomness.random() < 0.4 else randomness.sample(replicas, canaries)
    pods = tuple(sorted(replica.pod for replica in chosen))
    strength = randomness.uniform(3.0, 6.0)
    return Plan(Entity(EntityKind.VERSION, service.released(1)), strength, 1.0, variant, pods)


def _host(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    replica = randomness.choice(cloud.replicas)
    longest_s = max(_longest_prefill_s(r.service) for r in cloud.replicas if r.node == replica.node)
    variant = randomness.choice(("cpu", "disk", "memory"))
    entity = Entity(EntityKind.NODE, replica.node)
    return Plan(entity, 0.1 + longest_s * randomness.uniform(1.5, 6), randomness.uniform(5, 40), variant)


def _upstream(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    upstream = randomness.choice(cloud.upstreams)
    longest_s = _longest_prefill_s(
        randomness.choice(cloud.services)
    )  # so that at times only the quicker service feels it
    entity = Entity(EntityKind.SERVICE, upstream.name)
    return Plan(entity, longest_s * randomness.uniform(1, 6), randomness.uniform(2, 30))


def _stall(cloud: Cloud, randomness: random.Random, _: datetime) -> Plan:
    service = randomness.choice(cloud.services)
    strength = _longest_prefill_s(service) * randomness.uniform(2, 8)
    return Plan(Entity(EntityKind.SERVICE, service.name), strength, randomness.uniform(5, 30))


PLANNERS: dict[CauseKind, Planner] = {
    CauseKind.GPU_MEMORY_PRESSURE: _memory_pressure,
    CauseKind.GPU_MEMORY_CONTENTION: _memory_contention,
    CauseKind.GPU_COMPUTE_CONTENTION: _compute_contention,
    CauseKind.GPU_THERMAL_THROTTLE: _thermal,
    CauseKind.GPU_POWER_THROTTLE: _power,
    CauseKind.GPU_FAULT: _gpu_fault,
    CauseKind.PCIE_DEGRADED: _pcie,
    CauseKind.NVLINK_FAULT: _nvlink,
    CauseKind.NETWORK_SATURATION: _saturation,
    CauseKind.NETWORK_CONGESTION: _congestion,
    CauseKind.NETWORK_LINK_FAULT: _link_fault,
    CauseKind.STRAGGLER: _straggler,
    CauseKind.TRAFFIC_SURGE: _surge,
    CauseKind.PROMPT_MIX_SHIFT: _prompt_mix,
    CauseKind.COLD_START: _cold_start,
    CauseKind.CAPACITY_LOSS: _capacity_loss,
    CauseKind.BAD_RELEASE: _bad_release,
    CauseKind.HOST_CONTENTION: _host,
    CauseKind.UPSTREAM_DEPENDENCY: _upstream,
    CauseKind.UNKNOWN: _stall,
}


def plan_fault(kind: CauseKind, cloud: Cloud, seed: int, started_at: datetime, duration_s: float) -> Fault:
    """A fault of that kind; target, variant, strength and ramp follow from the seed.

    Raises:
        ValueError: when there is no such kind, or the duration is not positive.
    """
    planner = PLANNERS.get(kind)
    if planner is None:
        playable = ", ".join(sorted(PLANNERS))
        raise ValueError(f"the simulator cannot play the fault {kind}; it can play {playable}")
    plan = planner(cloud, random.Random(f"fault-{kind}-{seed}"), started_at)
    return occurrence(CauseKind(kind), plan, started_at, duration_s)


def occurrence(kind: CauseKind | Harmless, plan: Plan, started_at: datetime, duration_s: float) -> Fault:
    """What was planned, at a time."""
    ended_at = started_at + timedelta(seconds=duration_s)
    return Fault(
        kind, plan.entity, started_at, ended_at, plan.strength, plan.ramp_s, plan.variant, plan.pods, plan.pulse_s
    )


def capacity_requests_per_s(cloud: Cloud, service: Service) -> float:
    """Requests per second that all replicas of a service can finish, all sequences busy."""
    return len(cloud.replicas_of(service.name)) * service.replica_requests_per_s


def _log_uniform(randomness: random.Random, low: float, high: float) -> float:
    return low * float((high / low) ** randomness.random())


def _usual(service: Service, moment: datetime) -> float:
    """Requests per second of a service at that time of the week."""
    return service.workload.requests_per_s * float(traffic_factor(np.array([moment.timestamp()]))[0])


def _longest_prefill_s(service: Service) -> float:
    return service.model.steps.prefill_ms(float(service.workload.prompt.tokens[-2]), 0.0) / 1000


def _heaviest(cloud: Cloud) -> Service:
    """The service that moves the most KV: elsewhere a slow port hurts nobody."""

    def moved_tokens(service: Service) -> float:
        return service.workload.reuse_probability * service.workload.prompt.mean * service.model.kv_bytes_per_token

    return max(cloud.services, key=moved_tokens)


def _port_that_matters(cloud: Cloud, randomness: random.Random) -> Port:
    return randomness.choice(cloud.replicas_of(_heaviest(cloud).name)).port
