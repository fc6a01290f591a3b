"""Turnover: which replicas of a service serve when, which came and which went.

A replica serves while it starts requests. Whether a silence means that it does not is told by what the others serve
meanwhile: if by its usual share eight requests were to be expected, none comes by chance once in three thousand
(Poisson). Where that is too little to tell, an engine that no longer reports has gone; it has too when a router that
does not know it yet sends requests there, which all fail.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import polars as pl
import scipy
from numpy.typing import NDArray

from analytics.knowledge import Knowledge
from analytics.signals import Grid, Shift, SignalMatrix
from domain.entity import Entity, EntityKind
from domain.window import Window

_EXPECTED_IN_A_GAP = 8
_GAP_MIN_S = 45
_MISSED_SCRAPES = 3
_START_SEARCH_S = 900  # what started longer before the spike is not its cause
_BEFORE_IT_WENT_S = 60  # so long do requests run that fail with their replica
_FAILURES_MIN = 2
_FAILURES_CHANCE_MAX = 1e-4
_CERTAIN = 20.0  # sigmas of what was counted and not measured


@dataclass(frozen=True, slots=True)
class Turnover:
    """Who served in each step of a grid: (replicas, steps).

    `serving` tells who was sent requests, `alive` who was or whose engine reported all the same: one that is there and
    gets no work is not lost capacity, but slow, hung or passed over. `asked` counts requests, `failed` those that
    failed.
    """

    replicas: tuple[str, ...]
    serving: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    asked: NDArray[np.int64]
    failed: NDArray[np.int64]

    def lost(self, grid: Grid, spike: Window) -> frozenset[str]:
        """Those that served in usual time and do not for a quarter of the spike or more."""
        first, end = grid.step_at(spike.start), max(grid.step_at(spike.end), grid.step_at(spike.start) + 1)
        before = self.serving[:, :first].mean(axis=1) > 0.5 if first else np.zeros(len(self.replicas), dtype=bool)
        gone = self.serving[:, first:end].mean(axis=1) <= 0.75
        return frozenset(
            name for name, was, is_gone in zip(self.replicas, before, gone, strict=True) if was and is_gone
        )

    def signals(self, service: str, knowledge: Knowledge) -> list[SignalMatrix]:
        """The number of replicas that are there to serve, as a signal of the service."""
        if not self.replicas:
            return []
        counts = self.alive.sum(axis=0, keepdims=True).astype(float)
        counts[:, : int(np.argmax(counts[0] > 0))] = np.nan  # before the first request nothing is known
        return [
            SignalMatrix(knowledge.signals["serving_replicas"], (Entity(EntityKind.SERVICE, service),), counts),
        ]

    def starts(self, grid: Grid, spike: Window, knowledge: Knowledge) -> list[Shift]:
        """Which replicas began (or began again) to serve in the spike or in the quarter of an hour before it."""
        earliest = max(1, grid.step_at(spike.start) - _START_SEARCH_S // grid.step_s)
        end = grid.step_at(spike.end)
        signal = knowledge.signals["replica_start"]
        began: dict[str, int] = {}
        for name, serving in zip(self.replicas, self.serving, strict=True):
            begins = np.flatnonzero(serving[1:] & ~serving[:-1]) + 1
            begins = begins[(begins >= earliest) & (begins < end)]
            if not len(begins):
                continue
            # While a replica is away, the others carry its load: then that is when it began to be felt.
            away = begins[0] - 1
            while away > 0 and not serving[away - 1]:
                away -= 1
            began[name] = int(away) if serving[:away].any() else int(begins[0])
        found = []
        for name in self.replicas:
            entity = Entity(EntityKind.REPLICA, name)
            if name not in began:
                found.append(Shift(signal, entity, 0.0, 0.0, 0.0, 0.0, None))
                continue
            # Where the others have started too (a rollout) and are well, starting is not what is wrong with this one.
            others = (len(began) - 1) / max(len(self.replicas) - 1, 1)
            found.append(Shift(signal, entity, 0.0, 1.0, _CERTAIN, _CERTAIN * (1.0 - others), grid.time(began[name])))
        return found

    def crashes(self, service: str, grid: Grid, spike: Window, knowledge: Knowledge) -> list[Shift]:
        """Which replicas took requests with them when they went, in the spike or shortly before; and how many did.

        One that is drained lets its requests end. Where they fail it crashed, and if it starts again, that is what
        followed.
        """
        first = max(1, grid.step_at(spike.start) - _BEFORE_IT_WENT_S // grid.step_s)
        end = grid.step_at(spike.end)
        reach = max(1, _BEFORE_IT_WENT_S // grid.step_s)
        crash, crashed = knowledge.signals["replica_crash"], knowledge.signals["crashed_replicas"]
        found: list[Shift] = []
        onsets: list[datetime] = []
        for row, name in enumerate(self.replicas):
            entity, serving = Entity(EntityKind.REPLICA, name), self.serving[row]
            usual = (self.failed[row, :first].sum() + 0.5) / (self.asked[row, :first].sum() + 1)
            went = np.flatnonzero(serving[:-1] & ~serving[1:]) + 1
            near = [range(max(0, step - reach), step + 1) for step in went.tolist() if first <= step < end]
            failing = next((steps for steps in near if self._fails(row, steps, usual)), None)
            if failing is None:
                found.append(Shift(crash, entity, 0.0, 0.0, 0.0, 0.0, None))
                continue
            at = next(step for step in failing if self.failed[row, step])
            onsets.append(grid.time(at))
            found.append(Shift(crash, entity, 0.0, 1.0, _CERTAIN, _CERTAIN, onsets[-1]))
        sigmas = _CERTAIN if onsets else 0.0
        of_service = Entity(EntityKind.SERVICE, service)
        found.append(Shift(crashed, of_service, 0.0, len(onsets), sigmas, sigmas, min(onsets, default=None)))
        return found

    def _fails(self, row: int, steps: range, usual: float) -> bool:
        """Did more requests of a replica fail in these steps than by chance."""
        return _is_no_chance(int(self.failed[row, steps].sum()), int(self.asked[row, steps].sum()), usual)


def turnover(requests: pl.DataFrame, matrices: Sequence[SignalMatrix], grid: Grid) -> Turnover:
    """Who served when.

    Args:
        requests: a frame of `read_requests` over the grid.
        matrices: signals; those of engines show by their samples that an engine is there.
        grid: the steps.
    """
    counts = _counts(requests, grid)
    failures = _counts(requests.filter(pl.col("is_error")), grid)
    engines = _engines(matrices, counts.keys(), grid)
    names = tuple(sorted(counts))
    serving, alive = (np.zeros((len(names), grid.steps), dtype=bool) for _ in range(2))
    everyone = sum(counts.values(), np.zeros(grid.steps, dtype=np.int64))
    for row, name in enumerate(names):
        engine = engines.get(name, _UNHEARD)
        serving[row] = _serving(counts[name], everyone - counts[name], engine, grid.step_s)
        if name in failures:
            for missed in _missed_while_all_fails(counts[name], failures[name], engine):
                serving[row, missed] = False
        alive[row] = serving[row] | engine.there(grid.steps)
    nothing = np.zeros(grid.steps, dtype=np.int64)
    asked, failed = (
        np.array([of.get(name, nothing) for name in names]).reshape(len(names), grid.steps) for of in (counts, failures)
    )
    return Turnover(names, serving, alive, asked, failed)


def _counts(requests: pl.DataFrame, grid: Grid) -> dict[str, NDArray[np.int64]]:
    steps = requests.select("replica", pl.Series("step", grid.index(requests["time"])))
    counted = (
        steps.filter(pl.col("step").is_between(0, grid.steps - 1) & pl.col("replica").is_not_null())
        .group_by("replica", "step")
        .len()
    )
    found: dict[str, NDArray[np.int64]] = {}
    for (replica,), group in counted.group_by("replica"):
        found[str(replica)] = np.zeros(grid.steps, dtype=np.int64)
        found[str(replica)][group["step"].to_numpy()] = group["len"].to_numpy()
    return found


@dataclass(frozen=True, slots=True)
class _Engine:
    """When the engine of a replica reported.

    Attributes:
        reported: the steps with a sample, ascending: (samples,).
        spread_steps: the usual way from one to the next, at least 1.
    """

    reported: NDArray[np.intp]
    spread_steps: int

    @staticmethod
    def of(reported: NDArray[np.intp]) -> "_Engine":
        """One with samples in these steps."""
        return _Engine(reported, max(int(np.median(np.diff(reported))), 1) if len(reported) > 1 else 1)

    def there(self, steps: int) -> NDArray[np.bool_]:
        """In which steps it was there by its samples, a few missed scrapes notwithstanding: (steps,)."""
        there = np.zeros(steps, dtype=bool)
        patience = _MISSED_SCRAPES * self.spread_steps
        for first, following in pairwise([*self.reported, steps]):
            there[first : following if following - first <= patience else first + 1] = True
        return there

    def silence(self, first: int, end: int, missed: int = _MISSED_SCRAPES) -> slice:
        """The longest stretch of these steps without a sample; empty where so many scrapes were not missed in it."""
        begin, stop = np.searchsorted(self.reported, (first, end))
        if begin == 0:  # it had not reported before either: nothing can be missed
            return slice(first, first)
        heard = np.array([first - 1, *self.reported[begin:stop], end])
        longest = int(np.diff(heard).argmax())
        stretch = slice(int(heard[longest]) + 1, int(heard[longest + 1]))
        return stretch if stretch.stop - stretch.start >= missed * self.spread_steps else slice(first, first)


_UNHEARD = _Engine.of(np.zeros(0, dtype=np.intp))


def _engines(matrices: Sequence[SignalMatrix], replicas: Collection[str], grid: Grid) -> dict[str, _Engine]:
    """The engines of these replicas that have signals, by replica."""
    found: dict[str, NDArray[np.bool_]] = {}
    for matrix in matrices:
        if matrix.signal.layer != "engine":
            continue
        for entity, values in zip(matrix.entities, matrix.values, strict=True):
            if entity.name in replicas:
                seen = found.setdefault(entity.name, np.zeros(grid.steps, dtype=bool))
                seen |= np.isfinite(values)
    return {name: _Engine.of(np.flatnonzero(seen)) for name, seen in found.items()}


def _serving(own: NDArray[np.int64], others: NDArray[np.int64], engine: _Engine, step_s: int) -> NDArray[np.bool_]:
    """When one replica served, from its and the others' requests a step and when its engine reported."""
    seen = np.flatnonzero(own)
    there = slice(int(seen[0]), int(seen[-1]) + 1)
    beside = int(others[there].sum())
    per_other = own[there].sum() / beside if beside else 0.0  # its requests for each one of the others'
    served = np.concatenate([[0], np.cumsum(others)])
    serving = np.ones(len(own), dtype=bool)
    for first, end in _gaps(own):
        expected = per_other * (served[end] - served[first])
        silent = (end - first) * step_s >= _GAP_MIN_S and expected >= _EXPECTED_IN_A_GAP
        missed = engine.silence(first, end)
        if silent or missed.stop > missed.start:
            serving[first:end] = False
    return serving


def _missed_while_all_fails(asked: NDArray[np.int64], failed: NDArray[np.int64], engine: _Engine) -> Iterator[slice]:
    """The steps in which all requests of a replica fail and its engine is silent: then one missed scrape is enough."""
    for first, end in _gaps(asked - failed):
        here, before = slice(first, end), slice(0, first)
        usual = (failed[before].sum() + 0.5) / (asked[before].sum() + 1)
        if _is_no_chance(int(failed[here].sum()), int(asked[here].sum()), usual):
            yield engine.silence(first, end, missed=1)


def _is_no_chance(failed: int, asked: int, usual: float) -> bool:
    """Did more requests fail than by chance, by the share that usually fails (binomial, one-sided)."""
    return failed >= _FAILURES_MIN and bool(scipy.stats.binom.sf(failed - 1, asked, usual) < _FAILURES_CHANCE_MAX)


def _gaps(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The stretches of steps without a count: first step, and the one after the last."""
    some = np.flatnonzero(counts).tolist()
    return [
        (last + 1, following)
        for last, following in zip([-1, *some], [*some, len(counts)], strict=True)
        if following > last + 1
    ]
