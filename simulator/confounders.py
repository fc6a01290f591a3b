"""What happens beside a fault and has nothing to do with it: rises, batches, deploys and alarms that hurt nobody.

A product that blames whatever else moved in the same minute is wrong on each of these.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from simulator.cloud import Cloud, Service
from simulator.faults import Fault, Harmless, Plan, hit_replicas, occurrence

LIKELY = 0.5  # of each sort of confounder


def plan_confounders(cloud: Cloud, seed: int, faults: Sequence[Fault], middle: datetime) -> tuple[Fault, ...]:
    """What else happens around that moment; which, where and how much follow from the seed.

    `faults` are what really goes wrong then (none: a clean day). Nothing here touches what they hurt, but for a
    mild rise of all traffic and a deploy that changes nothing.
    """
    randomness = random.Random(f"confounders-{seed}")
    hurt = {replica.service.name for fault in faults for replica in hit_replicas(cloud, fault)}
    happenings: list[Fault] = []
    for plan in (_busy, _batch, _deploy, _alarm):
        if randomness.random() < LIKELY:
            happenings += plan(cloud, randomness, faults, hurt, middle)
    return tuple(happenings)


def _busy(cloud: Cloud, randomness: random.Random, _: Sequence[Fault], __: set[str], middle: datetime) -> list[Fault]:
    """Everything is asked for a little more."""
    started_at = middle - timedelta(seconds=randomness.uniform(0, 400))
    factor = randomness.uniform(1.1, 1.3)
    return [
        occurrence(
            Harmless.BUSY_HOUR,
            Plan(Entity(EntityKind.SERVICE, service.name), factor, ramp_s=120.0),
            started_at,
            1200,
        )
        for service in cloud.services
    ]


def _batch(
    cloud: Cloud, randomness: random.Random, _: Sequence[Fault], hurt: set[str], middle: datetime
) -> list[Fault]:
    """A nightly batch, on GPUs that nobody serves from and on a port that nobody hurt uses."""
    started_at = middle - timedelta(seconds=randomness.uniform(0, 300))
    idle = [gpu for gpu in cloud.gpus if gpu.ordinal not in cloud.replica_by_gpu]
    used = {replica.port for replica in cloud.replicas if replica.service.name in hurt}
    plans = [Plan(Entity(EntityKind.GPU, gpu.uuid), 1.0, 20.0, "gpu") for gpu in idle]
    plans += [Plan(Entity(EntityKind.PORT, port.name), 1.0, 20.0, "port") for port in cloud.ports if port not in used][
        :1
    ]
    return [occurrence(Harmless.NIGHTLY_BATCH, plan, started_at, 1500) for plan in plans]


def _deploy(
    cloud: Cloud, randomness: random.Random, faults: Sequence[Fault], hurt: set[str], middle: datetime
) -> list[Fault]:
    """A release that changes nothing, in the same minute: of a service that is hurt, when it is not the cause."""
    is_release = any(fault.kind is CauseKind.BAD_RELEASE for fault in faults)
    candidates: list[Service] = [service for service in cloud.services if not (is_release and service.name in hurt)]
    if not candidates:
        return []
    service = randomness.choice([one for one in candidates if one.name in hurt] or candidates)
    pods = tuple(replica.pod for replica in cloud.replicas_of(service.name))
    plan = Plan(Entity(EntityKind.VERSION, service.released(2)), 1.0, 1.0, pods=pods)
    return [occurrence(Harmless.DEPLOY, plan, middle + timedelta(seconds=randomness.uniform(-40, 20)), 900)]


def _alarm(
    cloud: Cloud, randomness: random.Random, _: Sequence[Fault], hurt: set[str], middle: datetime
) -> list[Fault]:
    """Something looks bad on a node that does not serve who is hurt; nothing when there is no such node."""
    serving = {replica.node for replica in cloud.replicas if replica.service.name in hurt}
    elsewhere = [node for node in cloud.nodes if node not in serving]
    if not elsewhere:
        return []
    node = randomness.choice(elsewhere)
    variant = randomness.choice(("symbol_errors", "xid_13", "hot_gpu"))
    entity = Entity(EntityKind.GPU, randomness.choice(cloud.gpus_of(node)).uuid)
    if variant == "symbol_errors":
        entity = Entity(EntityKind.PORT, randomness.choice(cloud.ports_of(node)).name)
    plan = Plan(entity, 1.0, 30.0, variant)
    return [occurrence(Harmless.ALARM_ELSEWHERE, plan, middle + timedelta(seconds=randomness.uniform(-60, 60)), 600)]
