"""Requests through a service: routed, KV pulled, admitted, prefilled, decoded — event by event.

Three events a request: its arrival (route it), its entry into the engine (after the services that it calls, and what
the server does itself: start pulling its cached KV blocks over the replica's port) and its readiness (the blocks are
there: when do a sequence slot, KV blocks and the prefill come free?). Because admission is first come, first served
among the ready, and because it is known when a replica will be lost, the whole life of a request follows at its
readiness from what was decided before it, so no event is ever taken back.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.cloud import Cloud, Port, Replica, Service
from simulator.effects import (
    Influences,
    Lever,
    Life,
    Manner,
    Outage,
    factor_at,
    factors,
    influences_on,
    life_of,
    lost_ratio,
    seconds_at,
)
from simulator.faults import Fault
from simulator.physics import PORT_BYTES_PER_SECOND
from simulator.workload import ARRIVAL, BLOCK_TOKENS, chance_of

WAIT_LIMIT_S = 60.0  # a request that was not admitted by then is given up
TRANSFER_STEP_S = 0.25  # how finely a slowed transfer is followed
# A conversation stays with its replica unless another has so many requests fewer: prefix affinity before balance,
# as cache-aware routers have it.
LOAD_TOLERANCE = 3
LEAK_STEP_S = 0.5  # how often an admission that waits for leaked blocks is tried again
PREFILL_MEMORY = 0.9  # weight of the past in a replica's mean prefill time
MAX_PREEMPTIONS = 3  # then vLLM's own priority keeps the oldest sequence running
REFUSED_S = 0.02  # until a connection to a dead replica is refused
AFTER_ENGINE_SHARE = 0.5  # of what a busy host adds before the engine, it adds so much after it (detokenise, send)

TIMEOUT, ENGINE_DEAD, UNAVAILABLE, INTERNAL = 1, 2, 3, 4
"""Why a request failed (`error` of `REQUEST`; 0: it did not)."""

# One request on its way and when it is done; seconds since the epoch, infinite while not known.
# `entered_at`: the engine has it; `ready_at`: KV pulled; `admitted_at`: scheduled; `prefilled_at`: first token
# computed; `released_at`: leaves the engine; `ended_at`: the answer is out. `version` counts releases ahead of the
# usual one. Of a failed request `done_ratio` of the output was computed, or nothing at all: then it was never admitted.
REQUEST = np.dtype(
    [
        *[(name, ARRIVAL[name]) for name in ARRIVAL.names or ()],
        ("number", "i8"),
        ("replica", "i8"),
        ("version", "i8"),
        ("entered_at", "f8"),
        ("transfer_started_at", "f8"),
        ("ready_at", "f8"),
        ("pulled_bytes", "f8"),
        ("admitted_at", "f8"),
        ("prefilled_at", "f8"),
        ("released_at", "f8"),
        ("ended_at", "f8"),
        ("stall_s", "f8"),
        ("prefill_factor", "f8"),
        ("decode_factor", "f8"),
        ("preemptions", "i8"),
        ("done_ratio", "f8"),
        ("error", "i8"),
        ("failed", "?"),
    ]
)


class _Routed(NamedTuple):
    number: int
    replica: int
    version: int
    entered_at: float
    cached_tokens: int


class _Entered(NamedTuple):
    number: int
    transfer_started_at: float
    ready_at: float
    pulled_bytes: float


class _Decided(NamedTuple):
    number: int
    admitted_at: float
    prefilled_at: float
    released_at: float
    ended_at: float
    stall_s: float = 0.0
    prefill_factor: float = 1.0
    decode_factor: float = 1.0
    preemptions: int = 0
    done_ratio: float = 1.0
    error: int = 0
    failed: bool = False


_Outcome = _Routed | _Entered | _Decided


class _Ask(NamedTuple):
    """One request on its way to its fate."""

    arrived_at: float
    entered_at: float
    pull_bytes: float
    prompt: int
    output: int
    prefill_s: float
    luck: float
    chance: float


class _ReplicaState:
    """One engine as the scheduler sees it."""

    __slots__ = (
        "active",
        "admission_free_at",
        "busy_until",
        "capacity_tokens",
        "is_sound",
        "levers",
        "life",
        "ordinal",
        "port",
        "prefill_mean_s",
        "undecided",
        "used_tokens",
    )

    def __init__(self, replica: Replica, port: "_PortState") -> None:
        self.ordinal = replica.ordinal
        self.port = port
        self.capacity_tokens = replica.service.model.kv_capacity_tokens
        self.active: list[tuple[float, int]] = []  # (released_at, tokens) of admitted requests, a heap
        self.used_tokens = 0  # the tokens of `active`
        self.busy_until: list[float] = []  # ended_at of requests whose fate is decided, a heap
        self.undecided = 0
        self.admission_free_at = 0.0
        self.prefill_mean_s = 0.0
        self.levers: dict[Lever, Influences] = {}
        self.life = Life((), ())
        self.is_sound = True  # nothing ever goes wrong here: most of what follows need not be asked

    def set_faults(self, levers: dict[Lever, Influences], life: Life) -> None:
        """What moves its levers, and when it is away, from now on."""
        self.levers, self.life = levers, life
        self.is_sound = not levers and not life.outages and not life.releases

    def load(self, now_s: float) -> int:
        """Requests sent here and not answered yet."""
        busy = self.busy_until
        while busy and busy[0] <= now_s:
            heappop(busy)
        return len(busy) + self.undecided

    def moved(self, lever: Lever) -> Influences:
        """What moves that lever here."""
        return self.levers.get(lever, ())

    def is_avoided(self, now_s: float) -> bool:
        """Whether the router knows that nothing can be served here."""
        return any(outage.avoided_s <= now_s < outage.end_s for outage in self.life.outages)

    def outage_at(self, now_s: float) -> Outage | None:
        """The outage that it is in."""
        if self.is_sound:
            return None
        return next((outage for outage in self.life.outages if outage.start_s <= now_s < outage.end_s), None)

    def loss_after(self, moment_s: float) -> Outage | None:
        """The next outage after a moment that takes with it what is in the engine."""
        return next(
            (outage for outage in self.life.outages if outage.start_s > moment_s and outage.manner is not Manner.DRAIN),
            None,
        )

    def free_tokens(self, moment_s: float) -> float:
        """KV tokens neither leaked nor used by what is `active`."""
        return self._sound_tokens(moment_s) - self.used_tokens

    def overflows(self, moment_s: float, tokens: int) -> bool:
        """Whether a sequence of that many tokens no longer fits beside those that still run by then."""
        beside = sum(others for released_at, others in self.active if released_at > moment_s)
        return beside + tokens > self._sound_tokens(moment_s)

    def leaks_between(self, start_s: float, end_s: float) -> bool:
        """Whether blocks are leaked in that stretch of time."""
        return not self.is_sound and any(leak.acts_between(start_s, end_s) for leak in self.moved(Lever.LEAK))

    def _sound_tokens(self, moment_s: float) -> float:
        leaks = self.moved(Lever.LEAK)
        if not leaks:
            return float(self.capacity_tokens)
        return self.capacity_tokens * (1.0 - float(lost_ratio(leaks, np.array([moment_s]))[0]))


class _PortState:
    """One port: transfers go one after another at what bandwidth is left."""

    __slots__ = ("free_at",)

    def __init__(self) -> None:
        self.free_at = 0.0

    def transfer(self, now_s: float, size_bytes: float, slowed: Influences) -> tuple[float, float, float]:
        """When a transfer asked for now starts and ends, and how many bytes it moves.

        One that has not ended after `WAIT_LIMIT_S` is given up, with the request it is for.
        """
        if not size_bytes:
            return now_s, now_s, 0.0
        deadline = now_s + WAIT_LIMIT_S
        started_at = max(now_s, self.free_at)
        if started_at >= deadline:
            return deadline, deadline, 0.0
        if any(influence.acts_between(started_at, deadline) for influence in slowed):
            ended_at, moved_bytes = _slowed(started_at, size_bytes, deadline, slowed)
        else:
            ended_at, moved_bytes = started_at + size_bytes / PORT_BYTES_PER_SECOND, size_bytes
        self.free_at = ended_at
        return started_at, ended_at, moved_bytes


def _slowed(started_at: float, size_bytes: float, deadline: float, slowed: Influences) -> tuple[float, float]:
    """When a transfer ends that is given another rate each step, and how many bytes it has moved by then."""
    moments = np.arange(started_at, deadline, TRANSFER_STEP_S)
    speeds = PORT_BYTES_PER_SECOND * factors(slowed, moments)
    lengths_s = np.minimum(TRANSFER_STEP_S, deadline - moments)
    moved_bytes = np.cumsum(speeds * lengths_s)
    step = int(np.searchsorted(moved_bytes, size_bytes))
    if step == len(moments):
        return deadline, float(moved_bytes[-1])
    left_bytes = size_bytes - (float(moved_bytes[step - 1]) if step else 0.0)
    return float(moments[step]) + left_bytes / float(speeds[step]), size_bytes


class ServiceEngine:
    """All replicas of one service and the router before them.

    `run` must be called with stretches of time that follow each other; how they are cut changes nothing.
    """

    def __init__(self, service: Service, replicas: Sequence[Replica]) -> None:
        self._service = service
        self._replicas = tuple(replicas)
        ports: dict[Port, _PortState] = {replica.port: _PortState() for replica in replicas}
        self._states = [_ReplicaState(replica, ports[replica.port]) for replica in replicas]
        self._biased: list[_ReplicaState] = []
        # What is to come: (when, number, whether it is an entry, where, what).
        self._events: list[tuple[float, int, bool, _ReplicaState, _Ask]] = []
        self._numbered = 0
        self._open = np.zeros(0, REQUEST)
        self.arrived_total = 0

    def set_faults(self, cloud: Cloud, faults: Sequence[Fault]) -> None:
        """What goes wrong from now on."""
        for replica, state in zip(self._replicas, self._states, strict=True):
            state.set_faults(influences_on(cloud, faults, replica), life_of(cloud, faults, replica))
        self._biased = [state for state in self._states if state.moved(Lever.BIAS)]

    def run(self, arrivals: NDArray[np.void], until_s: float, keep_since_s: float) -> NDArray[np.void]:
        """Play all arrivals of the next stretch, which ends at `until_s`.

        Returns all requests known that had not ended by `keep_since_s`, shape (n,) of `REQUEST` in order of
        arrival. Those that ended before are forgotten: whoever needs them has had them.
        """
        kept = self._open[self._open["ended_at"] > keep_since_s]
        table = np.concatenate([kept, self._admit_to_table(arrivals)])
        first = self._numbered - len(arrivals)
        outcomes: list[_Outcome] = []
        columns = (
            arrivals["arrived_at"],
            arrivals["first_choice"],
            arrivals["second_choice"],
            arrivals["upstream_s"].sum(axis=1),
            arrivals["prompt_tokens"],
            arrivals["cached_tokens"],
            arrivals["output_tokens"],
            arrivals["luck"],
            chance_of(arrivals["span_id"]),
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for number, (now, one, other, upstream_s, prompt, cached, output, luck, chance) in enumerate(rows, start=first):
            self._play(now, outcomes)
            state = self._route(now, one, other, chance)
            cached_tokens, entered_at, version = cached, now + upstream_s, 0
            if not state.is_sound:
                cached_tokens = self._found(state, now, cached)
                entered_at += seconds_at(state.moved(Lever.OUTSIDE), now, luck)
                version = state.life.ahead_at(now)
            outcomes.append(_Routed(number, state.ordinal, version, entered_at, cached_tokens))
            outage = state.outage_at(now)
            if outage is not None and outage.manner is not Manner.DRAIN:
                self._refuse(number, state, now, outage, outcomes)
                continue
            model = self._service.model
            prefill_s = model.steps.prefill_ms(float(prompt - cached_tokens), float(cached_tokens)) / 1000
            pull_bytes = float(cached_tokens) * model.kv_bytes_per_token
            ask = _Ask(now, entered_at, pull_bytes, prompt, output, prefill_s, luck, chance)
            state.undecided += 1
            if entered_at > now:
                self._expect(entered_at, number, state, ask, enters=True)
            else:
                outcomes.append(self._enter(now, number, state, ask))
        self._play(until_s, outcomes)
        self._fill(table, outcomes)
        self._open = table
        return table

    def _admit_to_table(self, arrivals: NDArray[np.void]) -> NDArray[np.void]:
        rows = np.zeros(len(arrivals), REQUEST)
        for name in ARRIVAL.names or ():
            rows[name] = arrivals[name]
        rows["number"] = np.arange(self._numbered, self._numbered + len(arrivals))
        for name in ("transfer_started_at", "ready_at", *_Decided._fields[1:5]):
            rows[name] = np.inf
        for name in ("prefill_factor", "decode_factor", "done_ratio"):
            rows[name] = 1.0
        self._numbered += len(arrivals)
        self.arrived_total += len(arrivals)
        return rows

    @staticmethod
    def _fill(table: NDArray[np.void], outcomes: list[_Outcome]) -> None:
        for kind in (_Routed, _Entered, _Decided):
            chosen = [outcome for outcome in outcomes if type(outcome) is kind]
            if chosen:
                numbers, *columns = zip(*chosen, strict=True)
                rows = np.searchsorted(table["number"], numbers)
                for name, column in zip(kind._fields[1:], columns, strict=True):
                    table[name][rows] = column

    def _route(self, now: float, one: int, other: int, chance: float) -> _ReplicaState:
        for state in self._biased:
            if chance < state.moved(Lever.BIAS)[0].amount * state.moved(Lever.BIAS)[0].level_at(now):
                return state
        state, rival = self._states[one], self._states[other]
        if not (state.is_sound and rival.is_sound) and (state.is_avoided(now) or rival.is_avoided(now)):
            serving = [candidate for candidate in self._states if not candidate.is_avoided(now)]
            if not serving:
                return state
            # Whoever had chosen an absent replica is spread over the others.
            state, rival = (serving[choice % len(serving)] for choice in (one, other))
        return rival if rival.load(now) + LOAD_TOLERANCE < state.load(now) else state

    @staticmethod
    def _found(state: _ReplicaState, now: float, cached: int) -> int:
        """How many cached tokens there are still, in whole blocks."""
        found = state.moved(Lever.CACHED)
        return int(cached * factor_at(found, now)) // BLOCK_TOKENS * BLOCK_TOKENS if found else cached

    @staticmethod
    def _refuse(number: int, state: _ReplicaState, now: float, outage: Outage, outcomes: list[_Outcome]) -> None:
        """Nothing is served there: the connection is refused, or nobody answers until the watchdog strikes."""
        hangs = now < outage.killed_s
        ended_at = min(outage.killed_s, now + WAIT_LIMIT_S) if hangs else now + REFUSED_S
        heappush(state.busy_until, ended_at)
        error = ENGINE_DEAD if hangs else UNAVAILABLE
        never = np.inf
        outcomes.append(_Decided(number, never, never, never, ended_at, done_ratio=0.0, error=error, failed=True))

    def _expect(self, moment: float, number: int, state: _ReplicaState, ask: _Ask, *, enters: bool) -> None:
        """Let the next thing happen to a request, at the latest when its replica is lost."""
        loss = None if state.is_sound else state.loss_after(ask.arrived_at)
        if loss is not None and loss.start_s < moment:
            moment, enters = loss.start_s, False
        heappush(self._events, (moment, number, enters, state, ask))

    def _play(self, until_s: float, outcomes: list[_Outcome]) -> None:
        events = self._events
        while events and events[0][0] <= until_s:
            moment, number, enters, state, ask = heappop(events)
            step = self._enter if enters else self._decide
            outcomes.append(step(moment, number, state, ask))

    def _enter(self, now: float, number: int, state: _ReplicaState, ask: _Ask) -> _Entered:
        times = state.port.transfer(now, ask.pull_bytes, state.moved(Lever.TRANSFER))
        self._expect(times[1], number, state, ask, enters=False)
        return _Entered(number, *times)

    def _decide(self, ready_at: float, number: int, state: _ReplicaState, ask: _Ask) -> _Decided:
        state.undecided -= 1
        deadline = ask.arrived_at + WAIT_LIMIT_S
        loss = None if state.is_sound else state.loss_after(ask.arrived_at)
        lost_at = loss.start_s if loss is not None else np.inf
        latest = min(deadline, lost_at)
        admitted_at = self._admission(state, max(ready_at, state.admission_free_at), ask.prompt, latest)
        if admitted_at >= latest:
            # It stood at the head of the queue until it was given up, or lost with the engine.
            gone_at, error = (loss.killed_s, ENGINE_DEAD) if loss and lost_at < deadline else (deadline, TIMEOUT)
            state.admission_free_at = max(state.admission_free_at, latest)
            heappush(state.busy_until, gone_at)
            never = np.inf
            return _Decided(number, never, never, never, gone_at, done_ratio=0.0, error=error, failed=True)
        prefill_factor = 1.0 if state.is_sound else factor_at(state.moved(Lever.PREFILL), admitted_at)
        prefill_s = ask.prefill_s * prefill_factor
        prefilled_at = admitted_at + prefill_s
        state.admission_free_at = min(prefilled_at, lost_at)

        sequences = len(state.active) + 1
        tokens = ask.prompt + ask.output
        state.used_tokens += tokens
        decode_factor = 1.0 if state.is_sound else factor_at(state.moved(Lever.DECODE), prefilled_at)
        steps = self._service.model.steps
        step_s = steps.decode_step_ms(sequences, state.used_tokens) * decode_factor / 1000
        # While it decodes, each neighbour is replaced about once, and that prefill takes its turn.
        decode_s = (ask.output - 1) * step_s + (sequences - 1) * state.prefill_mean_s
        state.prefill_mean_s = PREFILL_MEMORY * state.prefill_mean_s + (1 - PREFILL_MEMORY) * prefill_s
        released_at = prefilled_at + decode_s
        preemptions = 0
        if state.leaks_between(prefilled_at, released_at) or state.used_tokens > state.capacity_tokens:
            preemptions, released_at = self._preempt(state, tokens, prefilled_at, released_at, prefill_s)
        if state.is_sound:
            heappush(state.active, (released_at, tokens))
            heappush(state.busy_until, released_at)
            return _Decided(number, admitted_at, prefilled_at, released_at, released_at, preemptions=preemptions)
        stall_s = seconds_at(state.moved(Lever.STALL), admitted_at, ask.luck)
        after_s = AFTER_ENGINE_SHARE * seconds_at(state.moved(Lever.OUTSIDE), released_at, ask.luck)
        fate = _Decided(
            number,
            admitted_at,
            prefilled_at,
            released_at,
            released_at + stall_s + after_s,
            stall_s,
            prefill_factor,
            decode_factor,
            preemptions,
        )
        failing = state.moved(Lever.ERROR)
        if failing and ask.chance < float(lost_ratio(failing, np.array([ask.arrived_at]))[0]):
            fate = _cut_short(fate, prefilled_at, prefilled_at, INTERNAL)
        if loss is not None and fate.ended_at > lost_at:
            fate = _cut_short(fate, lost_at, loss.killed_s, ENGINE_DEAD)
        heappush(state.active, (fate.released_at, tokens))
        heappush(state.busy_until, fate.ended_at)
        return fate

    def _admission(self, state: _ReplicaState, moment: float, prompt: int, deadline: float) -> float:
        """When a sequence slot and the KV blocks of the prompt are free; `deadline` or later if not in time."""
        active = state.active
        while moment < deadline:
            while active and active[0][0] <= moment:
                state.used_tokens -= heappop(active)[1]
            slot_free = len(active) < self._service.max_sequences
            if slot_free and state.free_tokens(moment) >= prompt:
                return moment
            next_release = active[0][0] if active else np.inf
            # Leaked blocks come back by themselves, so look again before the next release.
            leaks = slot_free and state.leaks_between(moment, moment + LEAK_STEP_S)
            moment = min(next_release, moment + LEAK_STEP_S) if leaks else next_release
        return moment

    @staticmethod
    def _preempt(
        state: _ReplicaState, tokens: int, prefilled_at: float, released_at: float, prefill_s: float
    ) -> tuple[int, float]:
        """How often the newest sequence loses its KV blocks, and when it is done after all.

        Each time it waits for blocks to come free and computes its prompt again.
        """
        preemptions = 0
        moment = prefilled_at
        while moment < released_at and preemptions < MAX_PREEMPTIONS:
            if state.overflows(moment, tokens):
                preemptions += 1
                resumed_at = moment + LEAK_STEP_S
                while state.overflows(resumed_at, tokens) and resumed_at < moment + WAIT_LIMIT_S:
                    resumed_at += LEAK_STEP_S
                released_at += resumed_at - moment + prefill_s
                moment = resumed_at + prefill_s
            moment += LEAK_STEP_S
        return preemptions, released_at


def _cut_short(fate: _Decided, stopped_at: float, ended_at: float, error: int) -> _Decided:
    """What becomes of a request that makes no progress after `stopped_at` and fails at `ended_at`."""
    prefilled_at = min(fate.prefilled_at, stopped_at)
    decode_s = fate.released_at - fate.prefilled_at
    done_ratio = (stopped_at - prefilled_at) / decode_s if decode_s > 0 else 0.0
    return fate._replace(
        prefilled_at=prefilled_at,
        released_at=min(fate.released_at, stopped_at),
        ended_at=ended_at,
        stall_s=0.0,
        done_ratio=min(done_ratio, 1.0),
        error=error,
        failed=True,
    )
