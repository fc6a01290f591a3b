"""Requests through a service: routed, KV pulled, admitted, prefilled, decoded — event by event.

Two events a request: its arrival (route it, start pulling its cached KV blocks over the replica's port) and
its readiness (the blocks are there: when do a sequence slot, KV blocks and the prefill come free?). Because
admission is first come, first served among the ready, the whole life of a request follows at its readiness
from what was decided before it, so no event is ever taken back.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from simulator.cloud import Port, Replica, Service
from simulator.faults import (
    Fault,
    bandwidth_left_ratio,
    contention_faults,
    decode_factor,
    leak_faults,
    leaked_kv_ratio,
    prefill_factor,
    stall_faults,
    stall_seconds,
    transfer_faults,
)
from simulator.physics import PORT_BYTES_PER_SECOND
from simulator.workload import ARRIVAL

WAIT_LIMIT_S = 60.0  # a request that was not admitted by then is given up
TRANSFER_STEP_S = 0.25  # how finely a slowed transfer is followed
# A conversation stays with its replica unless another has so many requests fewer: prefix affinity before balance,
# as cache-aware routers have it.
LOAD_TOLERANCE = 3
LEAK_STEP_S = 0.5  # how often an admission that waits for leaked blocks is tried again
PREFILL_MEMORY = 0.9  # weight of the past in a replica's mean prefill time
MAX_PREEMPTIONS = 3  # then vLLM's own priority keeps the oldest sequence running

# One request on its way and when it is done; seconds since the epoch, infinite while not known.
# `ready_at`: KV pulled; `admitted_at`: scheduled; `prefilled_at`: first token computed; `released_at`: leaves
# the engine; `ended_at`: the answer is out. A failed request is never admitted.
REQUEST = np.dtype(
    [
        *[(name, ARRIVAL[name]) for name in ARRIVAL.names or ()],
        ("number", "i8"),
        ("replica", "i8"),
        ("transfer_started_at", "f8"),
        ("ready_at", "f8"),
        ("pulled_bytes", "f8"),
        ("admitted_at", "f8"),
        ("prefilled_at", "f8"),
        ("released_at", "f8"),
        ("ended_at", "f8"),
        ("stall_s", "f8"),
        ("prefill_factor", "f8"),
        ("preemptions", "i8"),
        ("failed", "?"),
    ]
)
_ROUTED = ("replica", "transfer_started_at", "ready_at", "pulled_bytes")
_DECIDED = (
    "admitted_at",
    "prefilled_at",
    "released_at",
    "ended_at",
    "stall_s",
    "prefill_factor",
    "preemptions",
    "failed",
)


class _ReplicaState:
    """One engine as the scheduler sees it."""

    __slots__ = (
        "active",
        "admission_free_at",
        "busy_until",
        "capacity_tokens",
        "leaks",
        "neighbours",
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
        self.neighbours: tuple[Fault, ...] = ()
        self.leaks: tuple[Fault, ...] = ()

    def load(self, now_s: float) -> int:
        """Requests sent here and not answered yet."""
        busy = self.busy_until
        while busy and busy[0] <= now_s:
            heappop(busy)
        return len(busy) + self.undecided

    def free_tokens(self, moment_s: float) -> float:
        """KV tokens neither leaked nor used by what is `active`."""
        return self._sound_tokens(moment_s) - self.used_tokens

    def overflows(self, moment_s: float, tokens: int) -> bool:
        """Whether a sequence of that many tokens no longer fits beside those that still run by then."""
        beside = sum(others for released_at, others in self.active if released_at > moment_s)
        return beside + tokens > self._sound_tokens(moment_s)

    def _sound_tokens(self, moment_s: float) -> float:
        if not self.leaks:
            return float(self.capacity_tokens)
        return self.capacity_tokens * (1.0 - float(leaked_kv_ratio(self.leaks, np.array([moment_s]))[0]))


class _PortState:
    """One port: transfers go one after another at what bandwidth is left."""

    __slots__ = ("faults", "free_at")

    def __init__(self) -> None:
        self.free_at = 0.0
        self.faults: tuple[Fault, ...] = ()

    def transfer(self, now_s: float, size_bytes: float) -> tuple[float, float, float]:
        """When a transfer asked for now starts and ends, and how many bytes it moves.

        One that has not ended after `WAIT_LIMIT_S` is given up, with the request it is for.
        """
        if not size_bytes:
            return now_s, now_s, 0.0
        deadline = now_s + WAIT_LIMIT_S
        started_at = max(now_s, self.free_at)
        if started_at >= deadline:
            return deadline, deadline, 0.0
        if self.faults:
            ended_at, moved_bytes = self._slowed(started_at, size_bytes, deadline)
        else:
            ended_at, moved_bytes = started_at + size_bytes / PORT_BYTES_PER_SECOND, size_bytes
        self.free_at = ended_at
        return started_at, ended_at, moved_bytes

    def _slowed(self, started_at: float, size_bytes: float, deadline: float) -> tuple[float, float]:
        moment, left_bytes = started_at, size_bytes
        while moment < deadline:
            speed = PORT_BYTES_PER_SECOND * bandwidth_left_ratio(self.faults, moment)
            step_s = min(TRANSFER_STEP_S, deadline - moment)
            if left_bytes <= speed * step_s:
                return moment + left_bytes / speed, size_bytes
            left_bytes -= speed * step_s
            moment += step_s
        return deadline, size_bytes - left_bytes


class ServiceEngine:
    """All replicas of one service and the router before them.

    `run` must be called with stretches of time that follow each other; how they are cut changes nothing.
    """

    def __init__(self, service: Service, replicas: Sequence[Replica]) -> None:
        self._service = service
        self._replicas = tuple(replicas)
        self._ports: dict[Port, _PortState] = {replica.port: _PortState() for replica in replicas}
        self._states = [_ReplicaState(replica, self._ports[replica.port]) for replica in replicas]
        self._stalls: tuple[Fault, ...] = ()
        self._ready: list[tuple[float, int, _ReplicaState, tuple[float, int, int, float, float]]] = []
        self._numbered = 0
        self._open = np.zeros(0, REQUEST)
        self.arrived_total = 0

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """What goes wrong from now on."""
        for replica, state in zip(self._replicas, self._states, strict=True):
            state.neighbours = contention_faults(faults, replica)
            state.leaks = leak_faults(faults, replica)
        for port, port_state in self._ports.items():
            port_state.faults = transfer_faults(faults, port)
        self._stalls = stall_faults(faults, self._service)

    def run(self, arrivals: NDArray[np.void], until_s: float, keep_since_s: float) -> NDArray[np.void]:
        """Play all arrivals of the next stretch, which ends at `until_s`.

        Returns all requests known that had not ended by `keep_since_s`, shape (n,) of `REQUEST` in order of
        arrival. Those that ended before are forgotten: whoever needs them has had them.
        """
        kept = self._open[self._open["ended_at"] > keep_since_s]
        table = np.concatenate([kept, self._admit_to_table(arrivals)])
        first = self._numbered - len(arrivals)
        routed: list[tuple[int, float, float, float]] = []
        decided: list[tuple[float | int | bool, ...]] = []
        model = self._service.model
        cached_tokens = arrivals["cached_tokens"].astype(float)
        prefill_s = model.steps.prefill_ms(arrivals["prompt_tokens"] - cached_tokens, cached_tokens) / 1000
        columns = (
            arrivals["arrived_at"],
            arrivals["first_choice"],
            arrivals["second_choice"],
            cached_tokens * model.kv_bytes_per_token,
            arrivals["prompt_tokens"],
            arrivals["output_tokens"],
            prefill_s,
            arrivals["luck"],
        )
        states, ready = self._states, self._ready
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for number, (now, one, other, pull_bytes, prompt, output, prefill, luck) in enumerate(rows, start=first):
            while ready and ready[0][0] <= now:
                decided.append(self._decide(*heappop(ready)))
            state = states[one]
            rival = states[other]
            if rival.load(now) + LOAD_TOLERANCE < state.load(now):
                state = rival
            started_at, ready_at, pulled_bytes = state.port.transfer(now, pull_bytes)
            state.undecided += 1
            routed.append((state.ordinal, started_at, ready_at, pulled_bytes))
            heappush(ready, (ready_at, number, state, (now, prompt, output, prefill, luck)))
        while ready and ready[0][0] <= until_s:
            decided.append(self._decide(*heappop(ready)))
        self._fill(table, routed, decided)
        self._open = table
        return table

    def _admit_to_table(self, arrivals: NDArray[np.void]) -> NDArray[np.void]:
        rows = np.zeros(len(arrivals), REQUEST)
        for name in ARRIVAL.names or ():
            rows[name] = arrivals[name]
        rows["number"] = np.arange(self._numbered, self._numbered + len(arrivals))
        for name in ("admitted_at", "prefilled_at", "released_at", "ended_at"):
            rows[name] = np.inf
        rows["prefill_factor"] = 1.0
        self._numbered += len(arrivals)
        self.arrived_total += len(arrivals)
        return rows

    @staticmethod
    def _fill(
        table: NDArray[np.void],
        routed: list[tuple[int, float, float, float]],
        decided: list[tuple[float | int | bool, ...]],
    ) -> None:
        if routed:
            new = table[-len(routed) :]
            for name, column in zip(_ROUTED, zip(*routed, strict=True), strict=True):
                new[name] = column
        if decided:
            numbers, *columns = zip(*decided, strict=True)
            rows = np.searchsorted(table["number"], numbers)
            for name, column in zip(_DECIDED, columns, strict=True):
                table[name][rows] = column

    def _decide(
        self,
        ready_at: float,
        number: int,
        state: _ReplicaState,
        request: tuple[float, int, int, float, float],
    ) -> tuple[float | int | bool, ...]:
        arrived_at, prompt, output, prefill_s, luck = request
        state.undecided -= 1
        deadline = arrived_at + WAIT_LIMIT_S
        admitted_at = self._admission(state, max(ready_at, state.admission_free_at), prompt, deadline)
        if admitted_at >= deadline:
            # It stood at the head of the queue until it was given up.
            state.admission_free_at = max(state.admission_free_at, deadline)
            heappush(state.busy_until, deadline)
            return number, np.inf, np.inf, np.inf, deadline, 0.0, 1.0, 0, True
        factor = prefill_factor(state.neighbours, admitted_at) if state.neighbours else 1.0
        prefill_s *= factor
        prefilled_at = admitted_at + prefill_s
        state.admission_free_at = prefilled_at

        active = state.active
        sequences = len(active) + 1
        tokens = prompt + output
        state.used_tokens += tokens
        steps = self._service.model.steps
        step_s = steps.decode_step_ms(sequences, state.used_tokens) * decode_factor(factor) / 1000
        # While it decodes, each neighbour is replaced about once, and that prefill takes its turn.
        decode_s = (output - 1) * step_s + (sequences - 1) * state.prefill_mean_s
        state.prefill_mean_s = PREFILL_MEMORY * state.prefill_mean_s + (1 - PREFILL_MEMORY) * prefill_s
        released_at = prefilled_at + decode_s
        preemptions = 0
        if state.leaks or state.used_tokens > state.capacity_tokens:
            preemptions, released_at = self._preempt(state, tokens, prefilled_at, released_at, prefill_s)
        heappush(active, (released_at, tokens))

        stall_s = stall_seconds(self._stalls, admitted_at, luck) if self._stalls else 0.0
        ended_at = released_at + stall_s
        heappush(state.busy_until, ended_at)
        return number, admitted_at, prefilled_at, released_at, ended_at, stall_s, factor, preemptions, False

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
            moment = min(next_release, moment + LEAK_STEP_S) if slot_free and state.leaks else next_release
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
