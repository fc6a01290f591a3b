"""What real sources get wrong about a healthy truth: one set of options, each by seed.

All of these have been seen at real sites; a product that believes every number is fooled by each.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.cloud import Cloud
from simulator.samples import DCGM_JOB, ENGINE_JOB, NODE_JOB, SWITCH_JOB, Family, Scrapes, Target

Floats = NDArray[np.float64]

CLAMPED_AT = 4294967295.0  # PortXmitWait of 32 bits, at its end
CLEARED_EVERY_S = 1500.0  # another tool clears counters so often
FROZEN_FOR_S = 600.0  # an exporter whose host engine restarted serves old values for so long
FROZEN_EVERY_S = 7200.0
RESTART_EVERY_S = 3600.0  # an exporter restarts
RESTART_FOR_S = 40.0
MISSED_SCRAPES_RATIO = 0.02
SKEW_S = 3.0


@dataclass(frozen=True, slots=True)
class Quirks:
    """Which quirks a site has; none by default. Which nodes have them follows from `seed`."""

    seed: int = 0
    clamped_wait: bool = False  # 32-bit port_xmit_wait, stuck at its maximum
    cleared_counters: bool = False  # the subnet manager zeroes fabric counters now and then
    lower_case_hostname: bool = False  # dcgm-exporter since 2026-05 says `hostname`
    exported_pod: bool = False  # the scraper does not honour labels: exported_pod, and pod is the exporter's
    blind_profiling: bool = False  # DCGM_FI_PROF_* at 0 on a busy node
    frozen_sensors: bool = False  # an exporter repeats old values
    exporter_restarts: bool = False
    missed_scrapes: bool = False
    clock_skew: bool = False  # nodes' clocks are some seconds off, so spans and scrapes disagree

    @classmethod
    def drawn(cls, seed: int) -> "Quirks":
        """About a third of all quirks, by seed."""
        randomness = random.Random(f"quirks-{seed}")
        names = [name for name in cls.__dataclass_fields__ if name != "seed"]
        return cls(seed, **{name: randomness.random() < 0.35 for name in names})

    def skews_s(self, cloud: Cloud) -> Floats:
        """By how much the clock of each replica's node is ahead, shape (replicas,)."""
        if not self.clock_skew:
            return np.zeros(len(cloud.replicas))
        return np.array([SKEW_S * (2.0 * self.draw("skew", replica.node) - 1.0) for replica in cloud.replicas])

    def draw(self, quirk: str, name: str) -> float:
        """Uniform in 0-1, always the same for a quirk and a name."""
        return random.Random(f"{quirk}-{self.seed}-{name}").random()


class Sight:
    """What a scraper gets to see of what targets show; it remembers what counters and frozen sensors showed before."""

    def __init__(self, quirks: Quirks) -> None:
        self.quirks = quirks
        self.held: dict[str, Floats] = {}
        self._targets: dict[str, tuple[Target, Target]] = {}

    def seen(self, scrapes: tuple[Scrapes, ...], ticks_s: Floats) -> tuple[Scrapes, ...]:
        """The same scrapes, as quirks let them through; `ticks_s` follow those before."""
        return tuple(self._seen(scrape, ticks_s) for scrape in scrapes)

    def _seen(self, scrape: Scrapes, ticks_s: Floats) -> Scrapes:
        target, values = scrape.target, scrape.values
        for has_quirk, change, jobs in self._changes():
            if has_quirk and target.job in jobs:
                values = change(self, target, values, ticks_s)
        return Scrapes(self._relabelled(target), values)

    def _changes(self) -> "tuple[tuple[bool, _Change, frozenset[str]], ...]":
        quirks, fabric = self.quirks, frozenset({NODE_JOB, SWITCH_JOB})
        return (
            (quirks.blind_profiling, _blind, frozenset({DCGM_JOB})),
            (quirks.frozen_sensors, _frozen, frozenset({DCGM_JOB})),
            (quirks.cleared_counters, _cleared, fabric),
            (quirks.clamped_wait, _clamped, fabric),
            (quirks.exporter_restarts, _restarting, frozenset({DCGM_JOB, NODE_JOB})),
            (quirks.missed_scrapes, _missed, frozenset({DCGM_JOB, NODE_JOB, SWITCH_JOB, ENGINE_JOB})),
        )

    def _relabelled(self, target: Target) -> Target:
        if target.job != DCGM_JOB or not (self.quirks.lower_case_hostname or self.quirks.exported_pod):
            return target
        known = self._targets.get(target.name)
        if known is None or known[0] is not target:
            families = tuple(
                replace(one, labels=tuple(self._labels(target, labels) for labels in one.labels))
                for one in target.families
            )
            known = self._targets[target.name] = (target, replace(target, families=families))
        return known[1]

    def _labels(self, target: Target, labels: Mapping[str, str]) -> Mapping[str, str]:
        names = {"Hostname": "hostname"} if self.quirks.lower_case_hostname else {}
        if not self.quirks.exported_pod:
            return {names.get(name, name): value for name, value in labels.items()}
        exported = {name: f"exported_{name}" for name in ("container", "namespace", "pod")}
        own = {"namespace": "gpu-operator", "pod": f"dcgm-exporter-{target.name.rpartition('/')[2]}"}
        return {(names | exported).get(name, name): value for name, value in labels.items()} | own


_Change = Callable[[Sight, Target, Floats, Floats], Floats]


def _columns(target: Target, chosen: Callable[[Family], bool]) -> list[int]:
    """Which columns of a scrape are series of the families chosen."""
    columns: list[int] = []
    first = 0
    for family in target.families:
        if chosen(family):
            columns += range(first, first + len(family.labels))
        first += len(family.labels)
    return columns


def _blind(sight: Sight, target: Target, values: Floats, _: Floats) -> Floats:
    """On one node in two the profiling fields read 0, however busy it is."""
    if sight.quirks.draw("blind", target.name) < 0.5:
        return values
    seen = values.copy()
    columns = _columns(target, lambda family: family.name.startswith("DCGM_FI_PROF_"))
    seen[:, columns] = np.where(np.isnan(seen[:, columns]), np.nan, 0.0)
    return seen


def _frozen(sight: Sight, target: Target, values: Floats, ticks_s: Floats) -> Floats:
    """For ten minutes in two hours an exporter repeats what it showed when that began."""
    offset_s = FROZEN_EVERY_S * sight.quirks.draw("frozen", target.name)
    is_frozen = (ticks_s + offset_s) % FROZEN_EVERY_S < FROZEN_FOR_S
    seen = values.copy()
    for tick in range(len(ticks_s)):
        held = sight.held.get(target.name)
        if is_frozen[tick] and held is not None and held.size == seen.shape[1]:
            seen[tick] = held
        else:
            sight.held[target.name] = seen[tick]
    return seen


def _cleared(sight: Sight, target: Target, values: Floats, ticks_s: Floats) -> Floats:
    """Fabric counters begin anew at each clearing: what they were just before it is taken off."""
    counters = _columns(target, lambda family: family.kind == "counter" and "infiniband" in family.name)
    offset_s = CLEARED_EVERY_S * sight.quirks.draw("cleared", target.name)
    turns = (ticks_s + offset_s) // CLEARED_EVERY_S
    seen = values.copy()
    for tick in range(len(ticks_s)):
        key = f"{target.name}/cleared"
        turn, last, base = f"{key}/turn", f"{key}/last", f"{key}/base"
        held = sight.held
        if turn in held and held[turn][0] != turns[tick]:
            held[base] = held[last]
        held[turn], held[last] = turns[[tick]], values[tick, counters]
        seen[tick, counters] -= held.get(base, np.zeros(len(counters)))
    return seen


def _clamped(_: Sight, target: Target, values: Floats, __: Floats) -> Floats:
    """A wait counter of 32 bits stays at its end."""
    seen = values.copy()
    columns = _columns(target, lambda family: family.name.endswith("transmit_wait_total"))
    seen[:, columns] = np.minimum(seen[:, columns], CLAMPED_AT)
    return seen


def _restarting(sight: Sight, target: Target, values: Floats, ticks_s: Floats) -> Floats:
    """Once an hour an exporter is away for some seconds."""
    offset_s = RESTART_EVERY_S * sight.quirks.draw("restart", target.name)
    away = (ticks_s + offset_s) % RESTART_EVERY_S < RESTART_FOR_S
    return np.where(away[:, None], np.nan, values)


def _missed(sight: Sight, target: Target, values: Floats, ticks_s: Floats) -> Floats:
    """Now and then a scrape does not get through."""
    missed = [sight.quirks.draw("missed", f"{target.name}-{tick_s:.3f}") < MISSED_SCRAPES_RATIO for tick_s in ticks_s]
    return np.where(np.array(missed, bool)[:, None], np.nan, values)
