"""What each fault does to requests: one table of levers of the engine model, and when processes go and come.

Physics first: a fault moves a lever here, the engine plays on, and the telemetry follows from what happened.
What the machines show of the fault itself (a temperature, an error counter) is in `signs`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from simulator.cloud import Cloud, Replica, Service
from simulator.faults import (
    HEATED_SHARE,
    RECOVERY_S,
    ROLLOUT_STEP_S,
    SCALED_DOWN_S,
    Fault,
    Harmless,
    hit_replicas,
    leaked_kv_ratio,
)

Floats = NDArray[np.float64]

DETECTION_S = (
    30.0  # until a dead replica gets no more requests: three readiness probes, 10 s apart (Kubernetes' default)
)
CRASHED_RATIO = 0.7  # of the time from one death to the next that an engine is away
DRAIN_GRACE_S = 30.0  # how long a drained process has to finish (Kubernetes' default)
WATCHDOG_S = 45.0  # how long a hung engine is left hanging before it is killed
CONTENTION_DECODE_SHARE = 0.2
CLOCK_DECODE_SHARE = 0.35
LOADING_S = 75.0  # from process start to ready, with warm caches of weights and compiled graphs [cost_workloads 4.5]
COLD_END_RATIO = 0.4  # of the slowness of a cold engine that is left when the fault ends
SURGE_OF_SCALE_UP = 1.25  # the rise of traffic that a scale-up answers


class Lever(StrEnum):
    """What a fault can move in the engine model."""

    PREFILL = "prefill"  # factor on prefill times
    DECODE = "decode"  # factor on decode steps
    TRANSFER = "transfer"  # share of the rate of KV transfers that is left
    LEAK = "leak"  # share of the KV blocks that is lost
    STALL = "stall"  # mean seconds held before the first token, within what the engine calls prefill
    OUTSIDE = "outside"  # mean seconds in the server's process before the engine, and again half of it after
    UPSTREAM = "upstream"  # mean seconds that a call of an upstream service takes longer
    ERROR = "error"  # share of requests that fail
    BIAS = "bias"  # share of a service's requests that the router sends here, whatever the load
    CACHED = "cached"  # share of the cached prefix that is still found
    PROMPTS = "prompts"  # factor on prompt tokens
    OUTPUTS = "outputs"  # factor on output tokens


FACTORS = frozenset({Lever.PREFILL, Lever.DECODE, Lever.TRANSFER, Lever.CACHED})


def _ramp(fault: Fault, moment_s: Floats) -> Floats:
    return fault.level(moment_s)


def _late(fault: Fault, moment_s: Floats) -> Floats:
    """Heat first, then the clock."""
    return fault.level(moment_s, after=HEATED_SHARE)


def _warming(fault: Fault, moment_s: Floats) -> Floats:
    start_s, end_s = fault.started_at.timestamp(), fault.ended_at.timestamp()
    done = np.clip((moment_s - start_s) / (end_s - start_s), 0.0, 1.0)
    return fault.level(moment_s) * (1.0 - (1.0 - COLD_END_RATIO) * done)


@dataclass(frozen=True, slots=True)
class Effect:
    """A lever, how far strength moves it, and along which curve."""

    lever: Lever
    amount: Callable[[float], float] = lambda strength: strength
    curve: Callable[[Fault, Floats], Floats] = _ramp


def _shared(share: float) -> Callable[[float], float]:
    """Slower by only that share of what prefill is slower."""
    return lambda strength: 1.0 + share * (strength - 1.0)


def _exactly(amount: float) -> Callable[[float], float]:
    return lambda _: amount


# A neighbour's kernels hold the SMs for whole time slices, which costs a long prefill kernel more than the short,
# memory-bound ones of a decode step: those lose mostly HBM bandwidth.
_HBM_SHARED = (Effect(Lever.PREFILL), Effect(Lever.DECODE, _shared(CONTENTION_DECODE_SHARE)))
# Decode waits for HBM, whose clock does not drop: it loses little when the SMs are clocked down.
_CLOCKED_DOWN = (Effect(Lever.PREFILL), Effect(Lever.DECODE, _shared(CLOCK_DECODE_SHARE)))
_HEATED = tuple(Effect(effect.lever, effect.amount, _late) for effect in _CLOCKED_DOWN)
_ALL_STEPS = (Effect(Lever.PREFILL), Effect(Lever.DECODE))
_RETRIED = (Effect(Lever.PREFILL), Effect(Lever.DECODE, _shared(0.6)))
_FEWER_BYTES = (Effect(Lever.TRANSFER),)
_COLD = (
    Effect(Lever.PREFILL, curve=_warming),
    Effect(Lever.DECODE, _shared(0.3), _warming),
    Effect(Lever.CACHED, _exactly(0.0)),
)
_FAILING = Effect(Lever.ERROR, lambda strength: 0.1 * strength)

EFFECTS: Mapping[tuple[CauseKind | Harmless, str], tuple[Effect, ...]] = {
    (CauseKind.GPU_MEMORY_PRESSURE, ""): (Effect(Lever.LEAK, _exactly(1.0), leaked_kv_ratio),),
    (CauseKind.GPU_MEMORY_CONTENTION, ""): _HBM_SHARED,
    (CauseKind.GPU_COMPUTE_CONTENTION, ""): _ALL_STEPS,
    (CauseKind.GPU_THERMAL_THROTTLE, ""): _HEATED,
    (CauseKind.GPU_POWER_THROTTLE, ""): _CLOCKED_DOWN,
    (CauseKind.GPU_FAULT, "row_remap"): _RETRIED,
    (CauseKind.GPU_FAULT, "high_sbe_rate"): _RETRIED,
    # What goes to the GPU goes over the slow bus: its prefill inputs too, though they are small.
    (CauseKind.PCIE_DEGRADED, ""): (Effect(Lever.TRANSFER), Effect(Lever.PREFILL, _exactly(1.3))),
    (CauseKind.NVLINK_FAULT, ""): (Effect(Lever.PREFILL), Effect(Lever.DECODE, _shared(0.7))),
    (CauseKind.NETWORK_SATURATION, ""): _FEWER_BYTES,
    (CauseKind.NETWORK_CONGESTION, ""): _FEWER_BYTES,
    (CauseKind.NETWORK_LINK_FAULT, ""): _FEWER_BYTES,
    (CauseKind.STRAGGLER, "replica"): _ALL_STEPS,
    (CauseKind.STRAGGLER, "imbalance"): (Effect(Lever.BIAS),),
    (CauseKind.PROMPT_MIX_SHIFT, "prompts"): (Effect(Lever.PROMPTS),),
    (CauseKind.PROMPT_MIX_SHIFT, "outputs"): (Effect(Lever.OUTPUTS),),
    (CauseKind.PROMPT_MIX_SHIFT, "tenant"): (Effect(Lever.PROMPTS),),
    (CauseKind.COLD_START, ""): _COLD,
    (CauseKind.BAD_RELEASE, "slow"): _ALL_STEPS,
    (CauseKind.BAD_RELEASE, "failing"): (_FAILING,),
    (CauseKind.BAD_RELEASE, "both"): (*_ALL_STEPS, _FAILING),
    (CauseKind.HOST_CONTENTION, ""): (Effect(Lever.OUTSIDE),),
    (CauseKind.UPSTREAM_DEPENDENCY, ""): (Effect(Lever.UPSTREAM),),
    (CauseKind.UNKNOWN, ""): (Effect(Lever.STALL),),
}
"""Kind and variant (else "" for all of a kind) → its levers. What is not here acts by arrivals or outages alone."""


def effects_of(fault: Fault) -> tuple[Effect, ...]:
    """The levers that a fault moves."""
    return EFFECTS.get((fault.kind, fault.variant), EFFECTS.get((fault.kind, ""), ()))


class Influence:
    """One lever of one fault, made quick to ask."""

    __slots__ = ("_curve", "_end_s", "_fault", "_start_s", "amount")

    def __init__(self, fault: Fault, effect: Effect) -> None:
        self.amount = effect.amount(fault.strength)
        self._fault = fault
        self._curve = effect.curve
        self._start_s = fault.started_at.timestamp()
        self._end_s = fault.ended_at.timestamp() + RECOVERY_S

    def acts_between(self, start_s: float, end_s: float) -> bool:
        """Whether it can move anything in that stretch of time."""
        return end_s >= self._start_s and start_s < self._end_s

    def levels(self, moments_s: Floats) -> Floats:
        """How far it is developed, 0-1."""
        return self._curve(self._fault, moments_s)

    def level_at(self, moment_s: float) -> float:
        """`levels` of one moment; free of cost before and after the fault."""
        if not self._start_s <= moment_s < self._end_s:
            return 0.0
        return float(self._curve(self._fault, np.array([moment_s]))[0])


Influences = tuple[Influence, ...]


def factor_at(influences: Influences, moment_s: float) -> float:
    """The product of all factors at that moment (1 when all is well)."""
    factor = 1.0
    for influence in influences:
        factor *= 1.0 + (influence.amount - 1.0) * influence.level_at(moment_s)
    return factor


def factors(influences: Influences, moments_s: Floats) -> Floats:
    """`factor_at` of many moments."""
    product = np.ones_like(moments_s)
    for influence in influences:
        product = product * (1.0 + (influence.amount - 1.0) * influence.levels(moments_s))
    return product


def seconds_at(influences: Influences, moment_s: float, luck: float) -> float:
    """How long a request is held at that moment; `luck` is uniform in 0-1."""
    return sum(influence.amount * (0.5 + luck) * influence.level_at(moment_s) for influence in influences)


def seconds_of(influences: Influences, moments_s: Floats, luck: Floats) -> Floats:
    """`seconds_at` of many moments."""
    seconds = np.zeros_like(moments_s)
    for influence in influences:
        seconds = seconds + influence.amount * (0.5 + luck) * influence.levels(moments_s)
    return seconds


def lost_ratio(influences: Influences, moments_s: Floats) -> Floats:
    """Share that is lost to all of these together, 0-1."""
    left = np.ones_like(moments_s)
    for influence in influences:
        left = left * (1.0 - influence.amount * influence.levels(moments_s))
    return 1.0 - left


def influences_on(cloud: Cloud, faults: Sequence[Fault], replica: Replica) -> dict[Lever, Influences]:
    """What acts on one replica, by lever."""
    found: dict[Lever, list[Influence]] = {}
    for fault in faults:
        hit = hit_replicas(cloud, fault)
        if replica not in hit:
            continue
        acting = fault
        if fault.kind in RELEASES:  # it acts where it has been rolled out
            begins = _rolled_out_at(fault, hit.index(replica))
            # Rolled back, it is gone at once.
            ends = max(fault.ended_at - timedelta(seconds=RECOVERY_S), begins + timedelta(seconds=0.5))
            acting = replace(fault, started_at=begins, ended_at=ends)
        for effect in effects_of(fault):
            found.setdefault(effect.lever, []).append(Influence(acting, effect))
    return {lever: tuple(influences) for lever, influences in found.items()}


def influences_of(faults: Sequence[Fault], lever: Lever, entity: Entity) -> Influences:
    """What acts on an entity by itself, such as an upstream service."""
    return tuple(
        Influence(fault, effect)
        for fault in faults
        if fault.entity == entity
        for effect in effects_of(fault)
        if effect.lever is lever
    )


def mix_shifts(cloud: Cloud, faults: Sequence[Fault], service: Service) -> list[tuple[Influence, Lever, int | None]]:
    """What makes requests of a service longer: the influence, its lever, and of which tenant (None: of all)."""
    shifts: list[tuple[Influence, Lever, int | None]] = []
    for fault in faults:
        if not any(replica.service == service for replica in hit_replicas(cloud, fault)):
            continue
        tenant = cloud.tenants.index(fault.entity.name) if fault.entity.kind is EntityKind.TENANT else None
        shifts += [
            (Influence(fault, effect), effect.lever, tenant)
            for effect in effects_of(fault)
            if effect.lever in {Lever.PROMPTS, Lever.OUTPUTS}
        ]
    return shifts


class Manner(StrEnum):
    """How a process goes."""

    CRASH = "crash"  # at once, with all requests in it; the router finds out after a while
    HANG = "hang"  # it stands still with all requests in it, until a watchdog kills it
    DRAIN = "drain"  # no new requests; those in it end well


@dataclass(frozen=True, slots=True)
class Outage:
    """A replica that does not serve from `start_s` to `end_s`.

    What is in it at `start_s` makes no progress from then on and is lost at `killed_s`. Its successor's process
    starts at `loads_s`, when there is one that loads.
    """

    start_s: float
    end_s: float
    manner: Manner
    killed_s: float
    loads_s: float

    @property
    def avoided_s(self) -> float:
        """From when on the router sends nothing there any more."""
        return self.start_s if self.manner is Manner.DRAIN else self.killed_s + DETECTION_S


@dataclass(frozen=True, slots=True)
class Release:
    """From `at_s` on a replica runs the version so many releases `ahead`, in a new process (0: back to the old)."""

    at_s: float
    ahead: int


@dataclass(frozen=True, slots=True)
class Life:
    """When one replica was away, and which version it ran, in order of time."""

    outages: tuple[Outage, ...]
    releases: tuple[Release, ...]

    def is_away(self, moments_s: Floats) -> NDArray[np.bool_]:
        """Whether it has no process that serves, at each moment."""
        away = np.zeros(len(moments_s), bool)
        for outage in self.outages:
            gone_s = outage.killed_s + (DRAIN_GRACE_S if outage.manner is Manner.DRAIN else 0.0)
            away |= (moments_s >= gone_s) & (moments_s < outage.end_s)
        return away

    def is_loading(self, moments_s: Floats) -> NDArray[np.bool_]:
        """Whether it loads weights, at each moment."""
        loading = np.zeros(len(moments_s), bool)
        for outage in self.outages:
            loading |= (moments_s >= outage.loads_s) & (moments_s < outage.end_s)
        return loading

    def restarts_s(self) -> list[tuple[float, float]]:
        """When a new process served first, and when it had been started."""
        ends = [(outage.end_s, outage.loads_s) for outage in self.outages]
        return sorted([*ends, *((release.at_s, release.at_s - LOADING_S) for release in self.releases)])

    def ahead_at(self, moment_s: float) -> int:
        """The version it runs, as so many releases ahead."""
        ahead = 0
        for release in self.releases:
            if release.at_s <= moment_s:
                ahead = release.ahead
        return ahead


def _crash_loop(fault: Fault, _: int) -> list[Outage]:
    """Dead at once; its successor dies too when it touches the bad memory, every `strength` seconds."""
    start_s, end_s = fault.started_at.timestamp(), fault.ended_at.timestamp()
    outages = []
    while start_s < end_s:
        back_s = min(start_s + CRASHED_RATIO * fault.strength, end_s)
        outages.append(Outage(start_s, back_s, Manner.CRASH, start_s, start_s))
        start_s += fault.strength
    return outages


def _gone(fault: Fault, _: int) -> list[Outage]:
    start_s, end_s = fault.started_at.timestamp(), fault.ended_at.timestamp()
    return [Outage(start_s, end_s, Manner.CRASH, start_s, max(start_s, end_s - LOADING_S))]


def _hang(fault: Fault, _: int) -> list[Outage]:
    start_s, end_s = fault.started_at.timestamp(), fault.ended_at.timestamp()
    killed_s = min(start_s + WATCHDOG_S, end_s)
    return [Outage(start_s, end_s, Manner.HANG, killed_s, max(killed_s, end_s - LOADING_S))]


def _drained(fault: Fault, _: int) -> list[Outage]:
    start_s, end_s = fault.started_at.timestamp(), fault.ended_at.timestamp()
    return [Outage(start_s, end_s, Manner.DRAIN, start_s, max(start_s, end_s - LOADING_S))]


def _evicted(fault: Fault, number: int) -> list[Outage]:
    """One after the other, with what is in it."""
    start_s, end_s = fault.started_at.timestamp() + 2.0 * number, fault.ended_at.timestamp()
    start_s = min(start_s, end_s - 1.0)
    return [Outage(start_s, end_s, Manner.CRASH, start_s, max(start_s, end_s - LOADING_S))]


def _scaled_up(fault: Fault, _: int) -> list[Outage]:
    start_s = fault.started_at.timestamp()
    return [Outage(start_s - SCALED_DOWN_S, start_s, Manner.DRAIN, start_s - SCALED_DOWN_S, start_s - LOADING_S)]


def _restarted(fault: Fault, _: int) -> list[Outage]:
    """Down while it loads, which is a quarter of the fault at most."""
    start_s = fault.started_at.timestamp()
    away_s = min(LOADING_S, 0.25 * (fault.ended_at.timestamp() - start_s))
    return [Outage(start_s, start_s + away_s, Manner.DRAIN, start_s, start_s)]


OUTAGES: Mapping[tuple[CauseKind | Harmless, str], Callable[[Fault, int], list[Outage]]] = {
    (CauseKind.GPU_FAULT, "off_bus"): _gone,
    (CauseKind.GPU_FAULT, "contained_ecc"): _crash_loop,
    (CauseKind.GPU_FAULT, "uncontained_ecc"): _crash_loop,
    (CauseKind.GPU_FAULT, "double_bit"): _crash_loop,
    (CauseKind.GPU_FAULT, "gsp_timeout"): _hang,
    (CauseKind.COLD_START, "scale_up"): _scaled_up,
    (CauseKind.COLD_START, "restart"): _restarted,
    (CauseKind.CAPACITY_LOSS, "drained"): _drained,
    (CauseKind.CAPACITY_LOSS, "evicted"): _evicted,
}
"""Kind and variant → when the number-th replica that it hits does not serve."""

RELEASES: Mapping[CauseKind | Harmless, int] = {CauseKind.BAD_RELEASE: 1, Harmless.DEPLOY: 2}
"""Kind → how many releases ahead the version is that it rolls out. A bad one is rolled back at its end."""


def life_of(cloud: Cloud, faults: Sequence[Fault], replica: Replica) -> Life:
    """When a replica was away, and which version it ran."""
    outages: list[Outage] = []
    releases: list[Release] = []
    for fault in faults:
        hit = hit_replicas(cloud, fault)
        if replica not in hit:
            continue
        number = hit.index(replica)
        away = OUTAGES.get((fault.kind, fault.variant))
        if away is not None:
            outages += away(fault, number)
        ahead = RELEASES.get(fault.kind)
        if ahead is not None:
            releases.append(Release(_rolled_out_at(fault, number).timestamp(), ahead))
            if not fault.is_harmless:
                releases.append(Release(fault.ended_at.timestamp(), 0))
    return Life(
        tuple(sorted(outages, key=lambda outage: outage.start_s)),
        tuple(sorted(releases, key=lambda release: release.at_s)),
    )


def _rolled_out_at(fault: Fault, number: int) -> datetime:
    """When the number-th replica of a rollout has the new version."""
    last = fault.ended_at - timedelta(seconds=1)
    return max(fault.started_at, min(fault.started_at + timedelta(seconds=ROLLOUT_STEP_S * number), last))
