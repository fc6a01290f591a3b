"""Signals: metrics and request records made into comparable series, and how far each moved.

Everything is a matrix of entities by time steps; NaN is "no sample", which is never taken for zero.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.knowledge import Knowledge, Signal
from domain.entity import Entity, EntityKind
from domain.window import Window

_MAD_TO_SIGMA = 1.4826  # for a normal distribution
_CLAMPED_32_BIT = 4294967295.0  # InfiniBand counters stop at all ones (IBTA, PortCounters)
_MOVED_SIGMAS = 4.0
_PEERS_MIN = 4  # fewer cannot tell a common move from an own one
_ONSET_SEARCH_S = 600

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """Equal steps over a window: step i covers [start + i*step_s, start + (i+1)*step_s)."""

    window: Window
    step_s: int

    @property
    def start_s(self) -> int:
        """Unix time of the first step, a multiple of `step_s` as the store cuts it."""
        return int(self.window.start.timestamp()) // self.step_s * self.step_s

    @property
    def steps(self) -> int:
        """How many steps cover the window."""
        return -(-(int(np.ceil(self.window.end.timestamp())) - self.start_s) // self.step_s)

    def index(self, times: pl.Series) -> NDArray[np.int64]:
        """The step of each time."""
        seconds = times.dt.epoch("s").to_numpy().astype(np.int64)
        return (seconds - self.start_s) // self.step_s

    def step_at(self, moment: datetime) -> int:
        """The step that holds this moment, or the nearest one; `steps` for the end of the grid."""
        return min(max(int((moment.timestamp() - self.start_s) // self.step_s), 0), self.steps)

    def time(self, step: int) -> datetime:
        """When this step begins."""
        return datetime.fromtimestamp(self.start_s + step * self.step_s, UTC)


@dataclass(frozen=True, slots=True)
class SignalMatrix:
    """One signal of several entities; `values` is (entities, steps)."""

    signal: Signal
    entities: tuple[Entity, ...]
    values: Matrix


@dataclass(frozen=True, slots=True)
class Shift:
    """How one signal of one entity stood before and during a spike.

    `sigmas` counts robust standard deviations in the direction that harms, against its own past; `own_sigmas` what is
    left of them beyond what its peers moved at the same time. `onset` is when it left its usual range, None when it
    did not move or the time cannot be told.
    """

    signal: Signal
    entity: Entity
    before: float
    during: float
    sigmas: float
    own_sigmas: float
    onset: datetime | None

    def moved(self, *, with_peers: bool = False) -> bool:
        """Did it move further than its own past explains, and (unless `with_peers`) further than its peers did."""
        return (self.sigmas if with_peers else self.own_sigmas) >= _MOVED_SIGMAS

    def score(self, *, with_peers: bool = False) -> float:
        """The same on a scale of 0 to 1: a half at the least shift that counts."""
        return 1.0 - math.exp2(-max(0.0, self.sigmas if with_peers else self.own_sigmas) / _MOVED_SIGMAS)


def metric_signals(series: pl.DataFrame, samples: pl.DataFrame, grid: Grid, knowledge: Knowledge) -> list[SignalMatrix]:
    """Signals from sampled metrics.

    Args:
        series: a frame of `read_series`: which entity each series belongs to.
        samples: a frame of `read_samples` of these series by the grid's step.
        grid: the steps.
        knowledge: what the metrics mean.
    """
    rows = {series_id: row for row, series_id in enumerate(series["series_id"])}
    last = _dense(samples, "last", rows, grid)
    mean = _dense(samples, "mean", rows, grid)
    metrics = series["metric"].to_numpy()
    matrices = []
    for signal in knowledge.signals.values():
        carried = np.flatnonzero(np.isin(metrics, signal.metrics))
        if not len(carried):
            continue
        owners = [_entity_of(signal.entity, series.row(int(row), named=True)) for row in carried]
        values = mean[carried] if signal.transform == "level" else counter_rates(last[carried], grid.step_s)
        if signal.transform == "utilisation":
            capacity = np.flatnonzero(metrics == (signal.capacity or "").lower())
            limits = {_entity_of(signal.entity, series.row(int(row), named=True)): mean[row] for row in capacity}
            values = np.array(
                [_over(value, limits.get(owner)) for value, owner in zip(values, owners, strict=True)]
            ).reshape(len(carried), grid.steps)
        if signal.bounds is not None:
            low, high = signal.bounds
            values = np.where((values >= low) & (values <= high), values, np.nan)
        matrices.append(_by_entity(signal, owners, values))
    return [matrix for matrix in matrices if matrix.entities]


def request_signals(
    service: str, requests: pl.DataFrame, grid: Grid, knowledge: Knowledge, one_in: int = 1
) -> list[SignalMatrix]:
    """Signals from the request records of one service, by start of the request.

    Args:
        service: the service they belong to.
        requests: a frame of `read_requests`, with the columns of `analytics.scope.stage_split`.
        grid: the steps.
        knowledge: titles, units and floors of the signals.
        one_in: how many requests each row stands for.
    """
    stepped = requests.with_columns(pl.Series("step", grid.index(requests["time"])))
    of_service = stepped.with_columns(pl.lit(service).alias("owner")).group_by("owner", "step")
    by_replica = stepped.filter(pl.col("replica").is_not_null()).group_by(pl.col("replica").alias("owner"), "step")
    generated = pl.col("output_tokens").cast(pl.Float64)
    prompt = pl.col("input_tokens").cast(pl.Float64)
    frames = {
        "request_rate": of_service.agg((pl.len() * one_in / grid.step_s).alias("value")),
        "input_tokens": of_service.agg(pl.col("input_tokens").mean().alias("value")),
        "output_tokens": of_service.agg(pl.col("output_tokens").mean().alias("value")),
        "queue_time": by_replica.agg(pl.col("queue_ms").mean().alias("value")),
        "transfer_time": by_replica.agg(pl.col("transfer_ms").mean().alias("value")),
        "prefill_time": by_replica.agg((pl.col("prefill_ms").sum() / prompt.sum()).alias("value")),
        "decode_time": by_replica.agg((pl.col("decode_ms").sum() / generated.sum()).alias("value")),
    }
    matrices = []
    for name, frame in frames.items():
        signal = knowledge.signals[name]
        owners = sorted(frame["owner"].unique().to_list())
        values = np.full((len(owners), grid.steps), np.nan)
        rows = {owner: row for row, owner in enumerate(owners)}
        inside = frame.filter(pl.col("step").is_between(0, grid.steps - 1))
        values[[rows[owner] for owner in inside["owner"]], inside["step"].to_numpy()] = (
            inside["value"].fill_null(np.nan).to_numpy()
        )
        if name == "request_rate":  # between the first and the last request, a step without any is a rate of zero
            seen: NDArray[np.intp] = np.flatnonzero(np.isfinite(values).any(axis=0))
            if len(seen):
                values[:, seen[0] : seen[-1]] = np.nan_to_num(values[:, seen[0] : seen[-1]])
        if owners:
            matrices.append(SignalMatrix(signal, tuple(Entity(signal.entity, owner) for owner in owners), values))
    return matrices


def counter_rates(counters: Matrix, step_s: int) -> Matrix:
    """Growth per second of counters sampled once a step.

    A counter that falls was reset (or cleared by another tool): what it shows since is a lower bound of the growth.
    A counter stuck at its 32-bit maximum is saturated: its growth is unknown, not zero. Growth over a gap of missed
    samples is spread over the gap and told at its end.

    Args:
        counters: (series, steps), NaN where there was no sample.
        step_s: seconds a step.

    Returns:
        (series, steps) per second; NaN where unknown.
    """
    series, steps = counters.shape
    known = np.isfinite(counters)
    positions = np.where(known, np.arange(steps), -1)
    latest = np.maximum.accumulate(positions, axis=1)
    previous = np.concatenate([np.full((series, 1), -1), latest[:, :-1]], axis=1)
    before = np.take_along_axis(counters, np.maximum(previous, 0), axis=1)
    growth = np.where(counters >= before, counters - before, counters)
    stuck = (counters == _CLAMPED_32_BIT) & (before == _CLAMPED_32_BIT)
    usable = known & (previous >= 0) & ~stuck
    elapsed = (np.arange(steps) - previous) * step_s
    return np.where(usable, growth / elapsed, np.nan)


def shifts(
    matrix: SignalMatrix, grid: Grid, spike: Window, reference: Window, excluded: Sequence[Window] = ()
) -> list[Shift]:
    """How each entity of the matrix stood during the spike against its own past and its peers.

    Args:
        matrix: the signal.
        grid: its steps.
        spike: the window of the spike.
        reference: usual time before it.
        excluded: what of it was not usual: earlier spikes.

    Returns:
        One shift an entity that has samples in both; without a past nothing can be said to have moved.
    """
    first, end = grid.step_at(spike.start), max(grid.step_at(spike.end), grid.step_at(spike.start) + 1)
    is_usual = np.zeros(grid.steps, dtype=bool)
    is_usual[grid.step_at(reference.start) : max(grid.step_at(reference.end), 1)] = True
    for window in excluded:
        is_usual[grid.step_at(window.start) : grid.step_at(window.end)] = False
    usual = matrix.values[:, is_usual]
    if not usual.size:
        return []
    during = matrix.values[:, first:end]
    signal = matrix.signal
    sign = 1.0 if signal.worse == "up" else -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without a sample give NaN, which is what we mean
        before = np.nanmedian(usual, axis=1)
        spread = np.nan_to_num(_MAD_TO_SIGMA * np.nanmedian(np.abs(usual - before[:, None]), axis=1))
        if signal.transform == "level":  # the worse part of the window, against the same part of usual time
            quantile = 0.7 if sign > 0 else 0.3
            level, usual_level = np.nanquantile(during, quantile, axis=1), np.nanquantile(usual, quantile, axis=1)
        else:  # events: a median of their rate is blind to the rare ones
            level, usual_level = np.nanmean(during, axis=1), np.nanmean(usual, axis=1)
            before = usual_level
    least = np.maximum(signal.floor, signal.relative_floor * np.abs(np.nan_to_num(before)))
    if signal.transform == "count":  # the mean of many steps is steadier than one step, but never than chance
        steps_count = np.maximum(np.isfinite(during).sum(axis=1), 1)
        chance = np.sqrt(np.nan_to_num(before) / (steps_count * grid.step_s))
        scale = np.maximum(least, np.maximum(chance, spread / np.sqrt(steps_count)))
    else:
        scale = np.maximum(least, spread)
    moved = sign * (level - usual_level)
    alone = moved
    if signal.entity is not EntityKind.SERVICE and np.isfinite(moved).sum() >= _PEERS_MIN:
        alone = np.minimum(moved, moved - np.nanmedian(moved))
    sigmas, own_sigmas = np.nan_to_num(moved / scale), np.nan_to_num(alone / scale)
    found = []
    for row, entity in enumerate(matrix.entities):
        if not (np.isfinite(level[row]) and np.isfinite(usual_level[row])):
            continue
        onset = None
        if sigmas[row] >= _MOVED_SIGMAS:
            change = float(level[row] - usual_level[row])
            threshold = min(max(3 * spread[row], 0.1 * abs(change)), 0.7 * abs(change))
            onset = _onset(sign * (matrix.values[row] - usual_level[row]) > threshold, grid, first, end)
        found.append(
            Shift(
                signal=signal,
                entity=entity,
                before=float(before[row]),
                during=float(level[row]),
                sigmas=float(sigmas[row]),
                own_sigmas=float(own_sigmas[row]),
                onset=onset,
            )
        )
    return found


def _onset(outside: NDArray[np.bool_], grid: Grid, first: int, end: int) -> datetime | None:
    """When a signal left its usual range for good, looking back a little before the spike."""
    earliest = max(0, first - math.ceil(_ONSET_SEARCH_S / grid.step_s))
    for step in range(earliest, end):
        following = outside[step : min(step + 4, end)]
        if outside[step] and following.sum() * 2 >= len(following):
            return grid.time(step)
    return None


def _dense(samples: pl.DataFrame, column: str, rows: dict[int, int], grid: Grid) -> Matrix:
    dense = np.full((len(rows), grid.steps), np.nan)
    if samples.is_empty():
        return dense
    # Sorted by series: look each series up once, not each sample.
    ids = samples["series_id"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    lengths = np.diff(np.append(starts, len(ids)))
    row_of = np.repeat([rows[int(series_id)] for series_id in ids[starts]], lengths)
    steps = grid.index(samples["time"])
    inside = (steps >= 0) & (steps < grid.steps)
    dense[row_of[inside], steps[inside]] = samples[column].to_numpy()[inside]
    return dense


def _entity_of(kind: EntityKind, row: dict[str, str | None]) -> Entity | None:
    """Whom a series belongs to; None when its labels do not say."""
    if kind is EntityKind.PORT:
        return Entity(kind, f"{row['node']}/{row['port']}") if row["node"] and row["port"] else None
    name = {
        EntityKind.GPU: row["gpu"],
        EntityKind.REPLICA: row["replica"] or row["instance"],
        EntityKind.NODE: row["node"],
    }[kind]
    return Entity(kind, name) if name else None


def _over(rate: Matrix, capacity: Matrix | None) -> Matrix:
    if capacity is None:
        return np.full_like(rate, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        limit = np.nanmax(capacity)
    return rate / limit if np.isfinite(limit) and limit > 0 else np.full_like(rate, np.nan)


def _by_entity(signal: Signal, owners: Sequence[Entity | None], values: Matrix) -> SignalMatrix:
    """One row an entity: rates of several series add up, of levels the worst counts."""
    rows: dict[Entity, list[int]] = {}
    for row, owner in enumerate(owners):
        if owner is not None:
            rows.setdefault(owner, []).append(row)
    entities = tuple(sorted(rows))
    merged = np.full((len(entities), values.shape[1]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for index, entity in enumerate(entities):
            own = values[rows[entity]]
            if len(own) == 1:
                merged[index] = own[0]
            elif signal.transform == "rate":
                merged[index] = np.where(np.isfinite(own).any(axis=0), np.nansum(own, axis=0), np.nan)
            else:
                merged[index] = np.nanmax(own, axis=0) if signal.worse == "up" else np.nanmin(own, axis=0)
    return SignalMatrix(signal, entities, merged)
