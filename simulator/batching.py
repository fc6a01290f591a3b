"""One serving replica, played step by step as vLLM's scheduler does: the truth that cost attribution is held against.

Continuous batching, first come first served. Each step gives every decoding sequence one token, and what is left of
the step's tokens to prompts (chunked prefill), at first to the one that is under way, then to those that wait, as
long as sequences and KV blocks are free. Where KV blocks run out, the newest sequence is preempted: it loses its
blocks, waits at the head of the line, and computes its prompt and what it had made again, but for what it still finds
in the cache (automatic prefix caching): freed blocks are taken in the order that they were freed in, of one sequence
the last of it first.

A step lasts `d0 + Σ(d1 + d2·context)` over what decodes, plus `p0 + Σ(p1·n + p2·n·(2·position + n))` over the chunks
of prompts in it. Not modelled: prefix blocks that sequences share (each holds its own), speculative tokens, time
between steps.

The step log never goes over the wire: an observer has the requests' spans and the scrapes only.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from simulator.physics import StepModel

BLOCK_TOKENS = 16  # vLLM's default on CUDA
SCRAPE_STEP_MS = 15_000.0
_BULK_STEPS_MAX = 256  # steps that are played at once while nothing but decoding goes on

_TIME = pl.Datetime("us", "UTC")
STEP_LOG: dict[str, pl.DataType] = {
    "step": pl.UInt32(),
    "time": _TIME,
    "duration_ms": pl.Float64(),
    "request": pl.UInt32(),
    "is_prefill": pl.Boolean(),
    "tokens": pl.UInt32(),
    "context_tokens": pl.UInt32(),
}
"""One row a step and request in it: `request` is the row of the requests, `tokens` the chunk of a prompt (1 where it
decodes), `context_tokens` what was in the KV cache before the chunk, or what the decoded token attends to (itself
included). `time` is the step's start, `duration_ms` the whole step's, the same in all its rows."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How a replica is set up, in vLLM's words.

    Attributes:
        kv_capacity_tokens: size of the KV cache, as vLLM logs it at start; used in whole blocks of 16.
        max_sequences: `--max-num-seqs`.
        step_tokens: `--max-num-batched-tokens`: at most so many tokens a step, decodes included.
        prefix_caching: `--enable-prefix-caching`: a preempted sequence finds what is left of its blocks.
        noise_ratio: standard deviation of the logarithm of a step's length.
        seed: of that noise.
    """

    kv_capacity_tokens: int
    max_sequences: int = 256
    step_tokens: int = 8192
    prefix_caching: bool = True
    noise_ratio: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what would let the replica stand still."""
        if not 0 < self.max_sequences < self.step_tokens:
            raise ValueError(
                f"max_sequences is {self.max_sequences}, step_tokens {self.step_tokens}; expected 1 or more sequences,"
                " and more tokens a step than sequences"
            )


@dataclass(frozen=True, slots=True)
class Played:
    """What happened.

    Attributes:
        requests: the arrivals, as spans would tell them: queue_ms, prefill_ms, decode_ms, ttft_ms, latency_ms; and
            `preemptions`, which no span tells.
        step_log: schema `STEP_LOG`: the truth.
        scrapes: what /metrics would show every 15 s: time, num_requests_running, num_requests_waiting,
            kv_cache_usage_ratio, prompt_tokens_total, generation_tokens_total,
            num_preemptions_total.
    """

    requests: pl.DataFrame
    step_log: pl.DataFrame
    scrapes: pl.DataFrame


def play(arrivals: pl.DataFrame, steps: StepModel, batching: Batching) -> Played:
    """Serve all arrivals on one replica, until the last has ended.

    Args:
        arrivals: time (Datetime, UTC, ascending), input_tokens, cached_tokens (of a prefix found in the KV cache),
            output_tokens; other columns, as tenant, are handed through.
        steps: how long a step takes.
        batching: how the replica is set up.

    Raises:
        ValueError: for arrivals that are out of order, or a request that no empty cache could hold.
    """
    replica = _Replica(arrivals, steps, batching)
    replica.run()
    return Played(replica.requests(), replica.log.frame(replica.started_at), replica.scrapes())


class _Log:
    """Steps and who was in them, piece by piece."""

    def __init__(self) -> None:
        self.start_ms: list[NDArray[np.float64]] = []
        self.duration_ms: list[NDArray[np.float64]] = []
        self._rows: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        self.steps = 0

    def add(
        self,
        start_ms: NDArray[np.float64],
        duration_ms: NDArray[np.float64],
        ids: NDArray[np.int64],
        contexts: NDArray[np.int64],
        chunks: list[tuple[int, int, int]],
    ) -> None:
        """Steps in which these requests decode, contexts (steps, requests); chunks: (request, position, tokens)."""
        numbers = np.arange(self.steps, self.steps + len(duration_ms))
        if ids.size:
            size = contexts.size
            self._rows.append(
                (np.repeat(numbers, ids.size), np.tile(ids, numbers.size), np.zeros(size, np.int64), contexts.ravel())
            )
        if chunks:
            columns = np.array(chunks, dtype=np.int64).T
            self._rows.append((np.repeat(numbers, len(chunks)), columns[0], columns[2], columns[1]))
        self.start_ms.append(start_ms)
        self.duration_ms.append(duration_ms)
        self.steps += numbers.size

    def frame(self, started_at: datetime) -> pl.DataFrame:
        """Schema `STEP_LOG`, by step."""
        if not self._rows:
            return pl.DataFrame(schema=STEP_LOG)
        step, request, chunk, context = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        return pl.DataFrame(
            {
                "step": step,
                "time": _moments(started_at, np.concatenate(self.start_ms)).gather(step),
                "duration_ms": np.concatenate(self.duration_ms)[step],
                "request": request,
                "is_prefill": chunk > 0,
                "tokens": np.maximum(chunk, 1),
                "context_tokens": context,
            },
        ).cast(STEP_LOG)  # type: ignore[arg-type]  # polars asks for a mapping of selectors, which names are


def _moments(started_at: datetime, after_ms: NDArray[np.float64]) -> pl.Series:
    return pl.Series("time", (after_ms * 1000).round().astype(np.int64)).cast(pl.Duration("us")) + started_at


def _blocks(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    return -(-tokens // BLOCK_TOKENS)


class _Replica:
    """The state of the scheduler; milliseconds count from the first arrival."""

    def __init__(self, arrivals: pl.DataFrame, steps: StepModel, batching: Batching) -> None:
        if arrivals.is_empty() or not arrivals["time"].is_sorted():
            raise ValueError(f"expected arrivals in order of time; got {arrivals.height}, first {arrivals['time'][:3]}")
        self._arrivals, self._steps, self._set = arrivals, steps, batching
        self.started_at: datetime = arrivals["time"][0]
        self._arrived_ms = (arrivals["time"] - self.started_at).dt.total_microseconds().to_numpy() / 1000
        self._prompt, self._cached, self._output = (
            arrivals[name].cast(pl.Int64).to_numpy() for name in ("input_tokens", "cached_tokens", "output_tokens")
        )
        self._capacity = batching.kv_capacity_tokens // BLOCK_TOKENS
        self._check()
        self._randomness = np.random.default_rng(batching.seed)
        count = arrivals.height
        self._scheduled_ms, self._first_ms, self._ended_ms = (np.full(count, np.nan) for _ in range(3))
        self._made, self._preemptions = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._now = 0.0
        self._next = 0
        self._waiting: deque[int] = deque()
        # What decodes, in order of admission: request, tokens in the KV cache, tokens to make.
        self._ids, self._kept, self._left = (np.zeros(0, np.int64) for _ in range(3))
        self._partial: tuple[int, int] | None = None  # a prompt under way, and how much of it is in the cache
        # Of those preempted: tokens in whole blocks, and how many blocks may be taken before the first of them is lost.
        self._kept_behind: dict[int, tuple[int, int]] = {}
        self._used = self._taken = self._preempted = self._finished = self._prompt_total = self._made_total = 0
        self.log = _Log()
        # After each step: running, finished, blocks used, prompt tokens, generated tokens and preemptions in all.
        self._states: list[NDArray[np.int64]] = []

    def _check(self) -> None:
        whole = _blocks(self._prompt + self._output)
        wrong = (
            (whole > self._capacity) | (self._output < 1) | (self._cached < 0) | (self._cached >= self._prompt)
        ).nonzero()[0]
        if wrong.size:
            first = int(wrong[0])
            raise ValueError(
                f"arrival {first} asks for {self._output[first]} tokens from {self._prompt[first]}, of which"
                f" {self._cached[first]} are cached; expected 1 or more, a prompt longer than what is cached, and both"
                f" within the {self._capacity * BLOCK_TOKENS} tokens of the KV cache"
            )

    def run(self) -> None:
        """Until all have ended."""
        while self._next < len(self._arrived_ms) or self._ids.size or self._partial or self._waiting:
            if not (self._ids.size or self._partial or self._waiting):
                self._now = max(self._now, float(self._arrived_ms[self._next]))
            self._take_arrivals()
            undisturbed = self._make_room()
            chunks = self._chunks(admits=undisturbed)
            self._play(chunks, self._steps_at_once() if undisturbed and not chunks and not self._partial else 1)

    def _take_arrivals(self) -> None:
        end = int(np.searchsorted(self._arrived_ms, self._now, side="right"))
        self._waiting.extend(range(self._next, end))
        self._next = max(self._next, end)

    def _make_room(self) -> bool:
        """Give each decoding sequence its next block, if need be those of the newest; False if one was preempted."""
        undisturbed = True
        while True:
            needed = int((self._kept % BLOCK_TOKENS == 0).sum())
            if self._used + needed <= self._capacity:
                return undisturbed
            undisturbed = False
            if self._partial:
                self._preempt(*self._partial)
                self._partial = None
            else:
                self._preempt(int(self._ids[-1]), int(self._kept[-1]))
                self._ids, self._kept, self._left = self._ids[:-1], self._kept[:-1], self._left[:-1]

    def _preempt(self, number: int, kept: int) -> None:
        self._kept_behind[number] = (kept // BLOCK_TOKENS, self._taken + self._capacity - self._used)
        self._used -= -(-kept // BLOCK_TOKENS)
        self._preemptions[number] += 1
        self._preempted += 1
        self._waiting.appendleft(number)

    def _chunks(self, *, admits: bool) -> list[tuple[int, int, int]]:
        """The chunks of prompts in the next step: (request, position, tokens); takes their blocks."""
        budget = self._set.step_tokens - self._ids.size
        used = self._used + int((self._kept % BLOCK_TOKENS == 0).sum())
        chunks: list[tuple[int, int, int]] = []
        if self._partial:
            number, position = self._partial
            tokens = min(self._target(number) - position, budget)
            more = -(-(position + tokens) // BLOCK_TOKENS) - -(-position // BLOCK_TOKENS)
            self._partial = None
            if used + more > self._capacity:
                self._preempt(number, position)
                return []
            chunks.append((number, position, tokens))
            self._used, used, budget = self._used + more, used + more, budget - tokens
            self._taken += more
        while admits and self._waiting and budget > 0 and self._ids.size + len(chunks) < self._set.max_sequences:
            number = self._waiting[0]
            position = self._found(number)
            tokens = min(self._target(number) - position, budget)
            more = -(-(position + tokens) // BLOCK_TOKENS)
            if used + more > self._capacity:
                break
            self._waiting.popleft()
            self._kept_behind.pop(number, None)
            self._taken -= position // BLOCK_TOKENS
            if np.isnan(self._scheduled_ms[number]):
                self._scheduled_ms[number] = self._now
            chunks.append((number, position, tokens))
            self._used, used, budget = self._used + more, used + more, budget - tokens
            self._taken += more
        return chunks

    def _found(self, number: int) -> int:
        """Tokens of a waiting sequence in the cache: its prefix, or what is left from before it was preempted."""
        blocks, until = self._kept_behind.get(number, (0, 0)) if self._set.prefix_caching else (0, 0)
        left = (blocks - max(0, self._taken - until)) * BLOCK_TOKENS
        return min(max(int(self._cached[number]), left), self._target(number) - 1)

    def _target(self, number: int) -> int:
        """Tokens that must be in the cache before the next is made: after a preemption, more than the prompt."""
        return int(self._prompt[number] + self._made[number])

    def _steps_at_once(self) -> int:
        """How many steps nothing but decoding can happen: none ends before, and no cache is full."""
        by_blocks = (self._capacity - self._used) // self._ids.size * BLOCK_TOKENS
        return max(1, min(int(self._left.min()), by_blocks, _BULK_STEPS_MAX))

    def _play(self, chunks: list[tuple[int, int, int]], count: int) -> None:
        later = np.arange(1, count + 1)
        contexts = self._kept[None, :] + later[:, None]
        durations = np.zeros(count)
        model = self._steps
        if self._ids.size:
            durations += model.d0 + model.d1 * self._ids.size + model.d2 * contexts.sum(axis=1)
        if chunks:
            durations += model.p0 + sum(
                tokens * (model.p1 + model.p2 * (2 * position + tokens)) for _, position, tokens in chunks
            )
        if self._set.noise_ratio:
            durations *= np.exp(self._set.noise_ratio * self._randomness.standard_normal(count))
        ends = self._now + np.cumsum(durations)
        if count > 1 and not self._waiting and self._next < len(self._arrived_ms):
            # Who arrives is admitted at the next step: until then only.
            count = min(count, int(np.searchsorted(ends, self._arrived_ms[self._next])) + 1)
            contexts, durations, ends = contexts[:count], durations[:count], ends[:count]
        self.log.add(ends - durations, durations, self._ids, contexts, chunks)
        self._end(chunks, contexts, ends)

    def _end(self, chunks: list[tuple[int, int, int]], contexts: NDArray[np.int64], ends: NDArray[np.float64]) -> None:
        """What the steps have brought about by their ends."""
        count, running = len(ends), self._ids.size
        self._now = float(ends[-1])
        others = self._used - int(_blocks(self._kept).sum())
        used = others + _blocks(contexts).sum(axis=1)
        self._taken += int(used[-1]) - self._used
        self._made[self._ids] += count
        made = self._made_total + running * np.arange(1, count + 1)
        self._kept, self._left = self._kept + count, self._left - count
        done = self._left == 0
        if done.any():
            self._ended_ms[self._ids[done]] = self._now
            used[-1] -= _blocks(self._kept[done]).sum()
            self._finished += int(done.sum())
            self._ids, self._kept, self._left = self._ids[~done], self._kept[~done], self._left[~done]
        for number, position, tokens in chunks:
            if position + tokens < self._target(number):
                self._partial = (number, position + tokens)
                continue
            if self._made[number] == 0:
                self._first_ms[number] = self._now
                self._prompt_total += int(self._prompt[number])
            kept = self._target(number)
            self._made[number] += 1
            made[-1] += 1
            left = int(self._output[number] - self._made[number])
            if left:
                self._ids, self._kept, self._left = (
                    np.append(column, value)
                    for column, value in ((self._ids, number), (self._kept, kept), (self._left, left))
                )
            else:
                self._ended_ms[number] = self._now
                used[-1] -= -(-kept // BLOCK_TOKENS)
                self._finished += 1
        self._used, self._made_total = int(used[-1]), int(made[-1])
        state = np.empty((count, 6), dtype=np.int64)
        state[:, 0], state[:, 1], state[:, 2], state[:, 4] = running, self._finished, used, made
        state[:, 3], state[:, 5] = self._prompt_total, self._preempted
        if count > 1:  # only the last of them can have ended a request
            state[:-1, 1] -= int(done.sum())
        state[-1, 0] = self._ids.size + (self._partial is not None)
        self._states.append(state)

    def requests(self) -> pl.DataFrame:
        """As spans would tell them."""
        return self._arrivals.with_columns(
            pl.Series("queue_ms", self._scheduled_ms - self._arrived_ms),
            pl.Series("prefill_ms", self._first_ms - self._scheduled_ms),
            pl.Series("decode_ms", self._ended_ms - self._first_ms),
            pl.Series("ttft_ms", self._first_ms - self._arrived_ms),
            pl.Series("latency_ms", self._ended_ms - self._arrived_ms),
            pl.Series("preemptions", self._preemptions),
        )

    def scrapes(self) -> pl.DataFrame:
        """As the engine publishes them: by the end of the last step before."""
        states = np.concatenate([np.zeros((1, 6), dtype=np.int64), *self._states])
        durations = np.concatenate(self.log.duration_ms)
        ends = np.concatenate(self.log.start_ms) + durations
        moments = np.arange(0.0, self._now + SCRAPE_STEP_MS, SCRAPE_STEP_MS)
        seen = states[np.searchsorted(ends, moments, side="right")]
        arrived = np.searchsorted(self._arrived_ms, moments, side="right")
        return pl.DataFrame(
            {
                "time": _moments(self.started_at, moments),
                "num_requests_running": seen[:, 0],
                "num_requests_waiting": arrived - seen[:, 0] - seen[:, 1],
                "kv_cache_usage_ratio": seen[:, 2] / self._capacity,
                "prompt_tokens_total": seen[:, 3],
                "generation_tokens_total": seen[:, 4],
                "num_preemptions_total": seen[:, 5],
            }
        )
