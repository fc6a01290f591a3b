"""Requests of a site: when they come, where they go, and how long each stage takes.

Stage times are simple formulas with noise: waiting for one of an engine's slots (first come, first served), prefill
in proportion to the prompt, decode in proportion to the answer. A fault multiplies or adds where its physics says.
"""

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.causes.outside_site import Replica, Site

Floats = NDArray[np.float64]
WAIT_S_MAX = 30.0
"""Who waits longer for a slot is turned away."""
_PROMPT_TOKENS_MEDIAN = 600.0
_PREFILL_TOKENS_PER_S = 7000.0
_PREFILL_FLOOR_S = 0.03
_DECODE_S_A_TOKEN = 0.018


@dataclass(slots=True)
class Influence:
    """What a fault does to one replica; each array has a value a second of the site's time."""

    prefill_ratio: Floats
    decode_ratio: Floats
    tokenise_s: Floats
    """Time before the engine sees the request; it is in no stage."""
    slots_ratio: Floats
    weight: Floats
    """The replica's share of the traffic, 1 being a fair one; 0 when it gets none."""
    error_ratio: Floats
    stall_ratio: Floats
    """Share of the requests whose transfer is lost once and sent again after a time-out."""


@dataclass(slots=True)
class Traffic:
    """What a fault does to those who ask; arrays have a value a second."""

    rate_ratio: Floats
    prompt_ratio: dict[str, Floats] = field(default_factory=dict)
    output_ratio: dict[str, Floats] = field(default_factory=dict)
    tenant_ratio: dict[str, Floats] = field(default_factory=dict)
    hang_s: Floats | None = None
    hang_ratio: float = 0.0
    """Share of all requests that hang for `hang_s` where nobody looks."""
    callee_ratio: dict[str, Floats] = field(default_factory=dict)
    callee_error_ratio: dict[str, Floats] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """A site in time: `seconds` of it, with all that a fault may change."""

    site: Site
    random: np.random.Generator
    seconds: int
    influences: dict[str, Influence] = field(default_factory=dict)
    traffic: Traffic = field(init=False)
    crashes: dict[str, float] = field(default_factory=dict)
    """Replica to the second at which its process dies with all that it runs."""

    def __post_init__(self) -> None:
        self.traffic = Traffic(np.ones(self.seconds))
        for replica in self.site.replicas:
            self.add(replica)

    def add(self, replica: Replica) -> None:
        """Let the replica take part."""
        one = np.ones(self.seconds)
        nothing = np.zeros(self.seconds)
        if replica not in self.site.replicas:
            self.site.replicas.append(replica)
        self.influences[replica.name] = Influence(
            one.copy(), one.copy(), nothing.copy(), one.copy(), one.copy(), nothing.copy(), nothing.copy()
        )


@dataclass(frozen=True, slots=True)
class Requests:
    """Every request, by arrival; times in seconds of the site. Arrays have one value a request."""

    arrived_s: Floats
    called_s: dict[str, Floats]
    """Duration of the call of each callee; NaN where it was not called."""
    callee_failed: dict[str, NDArray[np.bool_]]
    engine_s: Floats
    """When the engine's server got it."""
    queued_s: Floats
    """When the server, having made tokens of it, gave it to the engine."""
    started_s: Floats
    """When it got a slot."""
    prefill_s: Floats
    decode_s: Floats
    first_token_s: Floats
    ended_s: Floats
    replica: NDArray[np.int64]
    tenant: NDArray[np.int64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    failed: NDArray[np.bool_]
    turned_away: NDArray[np.bool_]


def requests_per_s(site: Site) -> float:
    """Requests a second that keep `load_ratio` of the slots busy (Little's law)."""
    decode_s = site.make.output_tokens_median * np.exp(0.5**2 / 2) * _DECODE_S_A_TOKEN * (0.8 + 0.4 * site.load_ratio)
    prefill_s = _PREFILL_FLOOR_S + _PROMPT_TOKENS_MEDIAN * np.exp(0.7**2 / 2) / _PREFILL_TOKENS_PER_S
    return float(site.load_ratio * site.make.slots * len(site.replicas) / (decode_s + prefill_s))


def make_requests(world: World, rate_per_s: float) -> Requests:
    """Let the site serve for its whole time, at `rate_per_s` on a usual day."""
    site, random = world.site, world.random
    arrived_s = _arrivals(world, rate_per_s)
    count = len(arrived_s)
    at = np.minimum(arrived_s.astype(np.int64), world.seconds - 1)
    tenant = _tenants(world, at)
    prompt = random.lognormal(np.log(_PROMPT_TOKENS_MEDIAN), 0.7, count)
    output = random.lognormal(np.log(site.make.output_tokens_median), 0.5, count)
    for index, name in enumerate(site.tenants):
        mine = tenant == index
        if name in world.traffic.prompt_ratio:
            prompt[mine] *= world.traffic.prompt_ratio[name][at[mine]]
        if name in world.traffic.output_ratio:
            output[mine] *= world.traffic.output_ratio[name][at[mine]]
    prompt_tokens = np.clip(prompt, 8, 30_000).astype(np.int64)
    output_tokens = np.clip(output, 2, 4_000).astype(np.int64)
    called_s, callee_failed = _calls(world, at)
    before_s = sum((np.nan_to_num(duration_s) for duration_s in called_s.values()), np.zeros(count))
    lost = np.any([*callee_failed.values(), np.zeros(count, bool)], axis=0)
    noise_prefill, noise_decode = random.lognormal(0, 0.12, count), random.lognormal(0, 0.08, count)
    prefill_base_s = (_PREFILL_FLOOR_S + prompt_tokens / _PREFILL_TOKENS_PER_S) * noise_prefill
    decode_base_s = output_tokens * _DECODE_S_A_TOKEN * noise_decode
    if world.traffic.hang_s is not None:
        hangs = random.random(count) < world.traffic.hang_ratio
        before_s += np.where(hangs, world.traffic.hang_s[at] * random.lognormal(0, 0.3, count), 0)
    engine_s = arrived_s + before_s
    served = _serve(world, engine_s, lost, prefill_base_s, decode_base_s)
    return Requests(
        arrived_s=arrived_s,
        called_s=called_s,
        callee_failed=callee_failed,
        engine_s=engine_s,
        tenant=tenant,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        **served,
    )


def _arrivals(world: World, rate_per_s: float) -> Floats:
    seconds = np.arange(world.seconds)
    daily = 1 + 0.06 * np.sin(2 * np.pi * (seconds / 86400 + world.random.random()))
    # Load wanders by a few per cent in minutes at any real site.
    knots = np.arange(0, world.seconds + 120, 120)
    wander = np.interp(seconds, knots, world.random.normal(1, 0.04, len(knots)))
    counts = world.random.poisson(rate_per_s * daily * wander * world.traffic.rate_ratio)
    return np.sort(np.repeat(seconds, counts) + world.random.random(int(counts.sum())))


def _tenants(world: World, at: NDArray[np.int64]) -> NDArray[np.int64]:
    site = world.site
    weights = np.tile(site.tenant_weights, (world.seconds, 1))
    for index, name in enumerate(site.tenants):
        if name in world.traffic.tenant_ratio:
            weights[:, index] *= world.traffic.tenant_ratio[name]
    cumulated = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    return np.minimum((world.random.random(len(at))[:, None] > cumulated[at]).sum(axis=1), len(site.tenants) - 1)


def _calls(world: World, at: NDArray[np.int64]) -> tuple[dict[str, Floats], dict[str, NDArray[np.bool_]]]:
    usual_s = {"guardrail": 0.035, "rag-index": 0.05, "embedder": 0.04, "vector-db": 0.025}
    share = {"guardrail": 0.4, "rag-index": 0.5, "embedder": 1.0, "vector-db": 0.6}
    called_s, failed = {}, {}
    for name in world.site.callees:
        duration_s = usual_s[name] * world.random.lognormal(0, 0.25, len(at))
        if name in world.traffic.callee_ratio:
            duration_s *= world.traffic.callee_ratio[name][at]
        called = world.random.random(len(at)) < share[name]
        called_s[name] = np.where(called, duration_s, np.nan)
        ratio = world.traffic.callee_error_ratio.get(name)
        failed[name] = (
            called & (world.random.random(len(at)) < ratio[at]) if ratio is not None else np.zeros(len(at), bool)
        )
    return called_s, failed


def _serve(
    world: World, engine_s: Floats, lost: NDArray[np.bool_], prefill_base_s: Floats, decode_base_s: Floats
) -> dict[str, NDArray]:
    """Give each request a replica, a slot and its stage times, in the order in which they reach the engines."""
    replicas, slots_usual, random = world.site.replicas, world.site.make.slots, world.random
    influences = [world.influences[replica.name] for replica in replicas]
    until_s = [min(replica.ends_s, world.crashes.get(replica.name, np.inf)) for replica in replicas]
    count = len(engine_s)
    free: list[list[float]] = [[] for _ in replicas]  # when each slot in use is free again
    pending: list[list[float]] = [[] for _ in replicas]  # when each request, running or waiting, ends
    chosen = np.zeros(count, np.int64)
    started_s, prefill_s, decode_s = engine_s.copy(), np.zeros(count), np.zeros(count)
    queued_s = engine_s.copy()
    first_token_s, ended_s = engine_s.copy(), engine_s.copy()
    failed, away = lost.copy(), np.zeros(count, bool)
    dice = random.random((count, 5))
    for turn, request in enumerate(np.argsort(engine_s, kind="stable")):
        now = engine_s[request]
        at = min(int(now), world.seconds - 1)
        up = [i for i, r in enumerate(replicas) if r.begins_s <= now < r.ends_s and influences[i].weight[at] > 0]
        for ends in pending:
            _forget(ends, now)
        mine = _route(world.site.make.routing, up, influences, pending, at, turn, dice[request])
        chosen[request] = mine
        influence = influences[mine]
        if lost[request]:
            continue
        begin = now + influence.tokenise_s[at] * (0.5 + dice[request, 2])
        queued_s[request] = begin
        slots = max(1, round(slots_usual * influence.slots_ratio[at] + dice[request, 3] - 0.5))
        begin = _slot_free_s(free[mine], begin, slots)
        if begin - now > WAIT_S_MAX:
            failed[request] = away[request] = True
            ended_s[request] = first_token_s[request] = started_s[request] = now + 0.004
            queued_s[request] = now
            continue
        later = min(int(begin), world.seconds - 1)
        prefill_s[request] = prefill_base_s[request] * influence.prefill_ratio[later]
        if dice[request, 4] < influence.stall_ratio[later]:
            prefill_s[request] += 0.5 * 2 ** int(3 * dice[request, 3])  # the time-out doubles with each try
        occupied = sum(end > begin for end in free[mine]) / slots_usual
        decode_s[request] = decode_base_s[request] * influence.decode_ratio[later] * (0.8 + 0.4 * min(1.0, occupied))
        started_s[request] = begin
        first_token_s[request] = begin + prefill_s[request]
        end = first_token_s[request] + decode_s[request]
        if random.random() < influence.error_ratio[at]:
            failed[request] = True
            end = begin + (end - begin) * dice[request, 2]
        if begin < until_s[mine] < end and replicas[mine].name in world.crashes:
            failed[request] = True
            end = until_s[mine]
        ended_s[request] = end
        first_token_s[request] = min(first_token_s[request], end)
        heapq.heappush(free[mine], end)
        heapq.heappush(pending[mine], end)
    return {
        "replica": chosen,
        "queued_s": queued_s,
        "started_s": started_s,
        "prefill_s": prefill_s,
        "decode_s": decode_s,
        "first_token_s": first_token_s,
        "ended_s": ended_s,
        "failed": failed,
        "turned_away": away,
    }


def _forget(ends: list[float], now: float) -> None:
    while ends and ends[0] <= now:
        heapq.heappop(ends)


def _slot_free_s(ends: list[float], now: float, slots: int) -> float:
    """When one of the slots is free, of which those in use are free again at `ends` (a heap; the slot is taken)."""
    _forget(ends, now)
    while len(ends) >= slots:
        now = max(now, heapq.heappop(ends))
    return now


def _route(
    habit: str, up: list[int], influences: list[Influence], pending: list[list[float]], at: int, turn: int, dice: Floats
) -> int:
    weights = [influences[i].weight[at] for i in up]
    total = sum(weights)
    if habit == "round_robin" and total == len(up):
        return up[turn % len(up)]
    first = up[_pick(weights, dice[0] * total)]
    if habit != "least_of_two":
        return first
    second = up[_pick(weights, dice[1] * total)]
    return min(first, second, key=lambda i: len(pending[i]) / influences[i].weight[at])


def _pick(weights: list[float], target: float) -> int:
    for index, weight in enumerate(weights):
        target -= weight
        if target < 0:
            return index
    return len(weights) - 1
