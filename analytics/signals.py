"""Signals: metrics and request records made into comparable series, and how far each moved.

Everything is a matrix of entities by time steps; NaN is "no sample", which is never taken for zero.
"""

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.knowledge import Knowledge, Signal
from analytics.robust import SIGMA_OF_MAD
from analytics.samples import Matrix, counter_rates
from domain.entity import Entity, EntityKind
from domain.window import Window

_MOVED_SIGMAS = 4.0
_PEERS_MIN = 4  # fewer cannot tell a common move from an own one
_ONSET_SEARCH_S = 600
_FIRST_S = 300  # the first minutes of a spike are told by themselves: blame the onset, not the peak
_STEPS_ALIKE = 4  # so many steps in a row tend to say the same
_LOOK_BACK_S = 60  # what happened once may have happened just before


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
    """How one signal of one entity stood before and during a spike; of levels the same quantile of both.

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


def concerning(series: pl.DataFrame, entities: Collection[Entity]) -> pl.DataFrame:
    """The series (a frame of `read_series`) that can say something of these entities, whatever the signal."""
    names = {kind: {entity.name for entity in entities if entity.kind is kind} for kind in EntityKind}
    port = pl.col("node") + "/" + pl.col("port")
    return series.filter(
        pl.any_horizontal(
            name.is_in(names[kind]).fill_null(value=False)
            for kind, name in (
                (EntityKind.GPU, pl.col("gpu")),
                (EntityKind.PORT, port),
                (EntityKind.REPLICA, pl.coalesce("replica", "instance")),
                (EntityKind.NODE, pl.col("node")),
            )
        )
    )


def metric_signals(
    series: pl.DataFrame, counters: pl.DataFrame, levels: pl.DataFrame, grid: Grid, knowledge: Knowledge
) -> list[SignalMatrix]:
    """Signals from sampled metrics.

    Args:
        series: a frame of `read_series`, with the labels `knowledge.labels`: which entity each series belongs to.
        counters: a frame of `read_samples` with the last values of those of `Knowledge.counters`, by the grid's step.
        levels: the same with the means of those of `Knowledge.levels`.
        grid: the steps.
        knowledge: what the metrics mean.
    """
    metrics = series["metric"].to_numpy()
    is_counter, is_level = (
        np.isin(metrics, sorted(names)) if len(metrics) else np.zeros(0, dtype=bool)
        for names in (knowledge.counters, knowledge.levels)
    )
    table = _Table(
        rows_of={name: np.flatnonzero(metrics == name) for name in dict.fromkeys(metrics)},
        owners=_owners(series),
        nodes=series["node"].to_list(),
        labels=dict(zip(knowledge.labels, zip(*series["labels"].to_list(), strict=True), strict=False)),
        last=_Samples.of(series, is_counter, counters, grid),
        mean=_Samples.of(series, is_level, levels, grid),
    )
    matrices = [_matrix(signal, table, grid) for signal in knowledge.signals.values() if signal.metrics]
    return [matrix for matrix in matrices if matrix is not None and matrix.entities]


@dataclass(frozen=True, slots=True)
class _Samples:
    """Values of some of all series; `places` has the row in `values` of each series, -1 for none."""

    places: NDArray[np.intp]
    values: Matrix

    @staticmethod
    def of(series: pl.DataFrame, chosen: NDArray[np.bool_], samples: pl.DataFrame, grid: Grid) -> "_Samples":
        """Those of the chosen series, from a frame of `read_samples`."""
        places = np.where(chosen, np.cumsum(chosen) - 1, -1)
        ids = series["series_id"].filter(pl.Series(chosen))
        return _Samples(places, _dense(samples.filter(pl.col("series_id").is_in(ids.implode())), ids.to_numpy(), grid))

    def rows(self, series: NDArray[np.intp]) -> Matrix:
        """The values of these series."""
        return self.values[self.places[series]]


@dataclass(frozen=True, slots=True)
class _Table:
    """All series with what is known of each, by position."""

    rows_of: Mapping[str, NDArray[np.intp]]
    owners: Mapping[EntityKind, Sequence[Entity | None]]
    nodes: Sequence[str | None]
    labels: Mapping[str, Sequence[str]]
    last: _Samples
    mean: _Samples

    def carrying(self, metrics: Sequence[str], signal: Signal) -> NDArray[np.intp]:
        """The series of these metrics with the labels that the signal asks for."""
        found = [self.rows_of[name] for name in metrics if name in self.rows_of]
        rows = np.concatenate(found) if found else np.zeros(0, dtype=np.intp)
        for label, valid in signal.labels:
            rows = rows[[self.labels[label][row] in valid for row in rows]]
        return rows


def _matrix(signal: Signal, table: _Table, grid: Grid) -> SignalMatrix | None:
    rows = table.carrying(signal.metrics, signal)
    if not len(rows):
        return None
    owned = table.owners[signal.entity]
    owners = [owned[row] for row in rows]
    if signal.transform == "presence":
        return _presence(signal, owners, [table.nodes[row] for row in rows], table.mean.rows(rows))
    values = (table.last if signal.is_counter else table.mean).rows(rows)
    if signal.transform in ("rate", "utilisation"):
        values = counter_rates(values, grid.step_s, signal.fullest)
    elif signal.transform == "codes":
        values = np.where(np.isnan(values), np.nan, np.isin(values, sorted(signal.codes)))
    elif signal.transform == "bits":
        whole = np.where(np.isfinite(values) & (values >= 0) & (values < 2**53), values, 0).astype(np.int64)
        values = np.where(np.isnan(values), np.nan, (whole & signal.bits) != 0)
    if signal.transform == "utilisation":
        limits = {owned[row]: row for row in table.carrying(signal.capacity, signal)}
        values = values / _greatest(table.mean, [limits.get(owner) for owner in owners])
    if signal.bounds is not None:
        low, high = signal.bounds
        values = np.where((values >= low) & (values <= high), values, np.nan)
    return _by_entity(signal, owners, values)


def _presence(
    signal: Signal, owners: Sequence[Entity | None], nodes: Sequence[str | None], values: Matrix
) -> SignalMatrix:
    """How many of its metrics each entity reported; unknown where nothing else of its node reported either.

    A scrape that failed says nothing of one device; a device that is missing from a scrape that came is missing.
    """
    by_entity = _by_entity(signal, owners, np.isfinite(values).astype(float))
    node_of = {owner: node for owner, node in zip(owners, nodes, strict=True) if owner is not None}
    counts = by_entity.values
    for node in dict.fromkeys(node_of.values()):
        rows = [row for row, entity in enumerate(by_entity.entities) if node_of[entity] == node]
        seen = counts[rows] > 0
        counts[rows] = np.where(seen | (seen.sum(axis=0) > 0), counts[rows], np.nan)
    return SignalMatrix(signal, by_entity.entities, counts)


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
    inside = stepped.filter(pl.col("step").is_between(0, grid.steps - 1))
    generated = pl.col("output_tokens").cast(pl.Float64)
    prompt = pl.col("input_tokens").cast(pl.Float64)
    failed = pl.col("is_error").cast(pl.Float64)
    of_service = inside.group_by(pl.lit(service).alias("owner"), "step").agg(
        (pl.len() * one_in / grid.step_s).alias("request_rate"),
        pl.col("input_tokens").mean(),
        pl.col("output_tokens").mean(),
    )
    by_replica = (
        inside.filter(pl.col("replica").is_not_null())
        .group_by(pl.col("replica").alias("owner"), "step")
        .agg(
            (pl.len() * one_in / grid.step_s).alias("replica_rate"),
            failed.mean().alias("replica_errors"),
            pl.col("queue_ms").mean().alias("queue_time"),
            pl.col("transfer_ms").mean().alias("transfer_time"),
            (_sum("prefill_ms") / prompt.sum()).alias("prefill_time"),
            pl.coalesce(_sum("decode_ms") / generated.sum(), pl.col("tpot_ms").mean()).alias("decode_time"),
        )
    )
    matrices = []
    columns = [(frame, name) for frame in (of_service, by_replica) for name in frame.columns[2:]]
    for stepwise, name in columns:
        signal = knowledge.signals[name]
        owners = stepwise["owner"].unique().sort()
        values = np.full((len(owners), grid.steps), np.nan)
        values[owners.search_sorted(stepwise["owner"]).to_numpy(), stepwise["step"].to_numpy()] = (
            stepwise[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        )
        if signal.transform == "count":  # between the first and the last request, a step without any is a rate of zero
            seen: NDArray[np.intp] = np.flatnonzero(np.isfinite(values).any(axis=0))
            if len(seen):
                values[:, seen[0] : seen[-1]] = np.nan_to_num(values[:, seen[0] : seen[-1]])
        if len(owners):
            matrices.append(SignalMatrix(signal, tuple(Entity(signal.entity, owner) for owner in owners), values))
    return matrices


def _sum(column: str) -> pl.Expr:
    """The sum of what is known; null where nothing is."""
    return pl.when(pl.col(column).count() > 0).then(pl.col(column).sum())


def row_quantiles(values: Matrix, *quantiles: float) -> list[NDArray[np.float64]]:
    """`np.nanquantile(values, quantile, axis=1)` of each quantile, from sorting once instead of going row by row.

    NaN for a row of NaN alone; linear between the two nearest values, as numpy has it.
    """
    ordered = np.sort(values, axis=1)  # NaN goes to the end
    last = np.isfinite(values).sum(axis=1) - 1
    found = []
    for quantile in quantiles:
        place = np.maximum(last, 0) * quantile
        below = np.floor(place).astype(np.intp)
        above = np.minimum(below + 1, np.maximum(last, 0))
        lower, upper = (np.take_along_axis(ordered, at[:, None], axis=1)[:, 0] for at in (below, above))
        found.append(lower + (upper - lower) * (place - below))
    return found


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
    signal = matrix.signal
    sign = 1.0 if signal.worse == "up" else -1.0
    is_event = signal.transform in ("rate", "count")
    parts = _parts(matrix, grid, first, end)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without a sample give NaN, which is what we mean
        (before,) = row_quantiles(usual, 0.5)
        (middle,) = row_quantiles(np.abs(usual - before[:, None]), 0.5)
        spread = np.nan_to_num(SIGMA_OF_MAD * middle)
        if is_event:  # a median of their rate is blind to the rare ones
            levels = np.stack([np.nanmean(part, axis=1) for part in parts])[:, None]
            usual_levels = np.nanmean(usual, axis=1)[None]
            before = usual_levels[0]
        else:  # a part of the window, against the same part of usual time
            quantiles = _quantiles(signal)
            levels = np.stack([row_quantiles(part, *quantiles) for part in parts])
            usual_levels = np.stack(row_quantiles(usual, *quantiles))
        level, usual_level = _furthest(sign * levels, sign * usual_levels)
        level, usual_level = sign * level, sign * usual_level
    least = np.maximum(signal.floor, signal.relative_floor * np.abs(np.nan_to_num(before)))
    steps_count = np.maximum(np.isfinite(parts[-1]).sum(axis=1), 1)
    if signal.transform == "count":  # the mean of many steps is steadier than one step, but never than chance
        chance = np.sqrt(np.nan_to_num(before) / (steps_count * grid.step_s))
        scale = np.maximum(least, np.maximum(chance, spread / np.sqrt(steps_count)))
    else:  # the level of a window is steadier than one step, as far as its steps are independent of each other
        scale = np.maximum(least, spread / np.sqrt(np.maximum(steps_count / _STEPS_ALIKE, 1.0)))
    moved = sign * (level - usual_level)
    alone = moved
    common = signal.peers == "ignore" or signal.entity is EntityKind.SERVICE
    if not common and np.isfinite(moved).sum() >= _PEERS_MIN:
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
                before=float(usual_level[row]),
                during=float(level[row]),
                sigmas=float(sigmas[row]),
                own_sigmas=float(own_sigmas[row]),
                onset=onset,
            )
        )
    return found


def _quantiles(signal: Signal) -> tuple[float, ...]:
    """Which part of a window tells that a level moved: its worse part.

    Of what is bounded above, the better part too: a GPU that was busy now and then cannot get busier than it was then,
    but it may never rest any more.
    """
    if signal.worse == "down":
        return (0.3,)
    return (0.7,) if signal.bounds is None else (0.7, 0.3)


def _furthest(levels: Matrix, usual_levels: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each entity the level that rose furthest, and the usual one beside it, each (entities,).

    Args:
        levels: (parts, quantiles, entities).
        usual_levels: (quantiles, entities).
    """
    worst = np.fmax.reduce(levels)
    best = np.nan_to_num(worst - usual_levels, nan=-np.inf).argmax(axis=0)[None]
    return np.take_along_axis(worst, best, axis=0)[0], np.take_along_axis(usual_levels, best, axis=0)[0]


def _parts(matrix: SignalMatrix, grid: Grid, first: int, end: int) -> list[Matrix]:
    """The values of a spike, and those of its first minutes alone; of what grows by events, the minute before too."""
    begin = first if matrix.signal.transform != "rate" else max(0, first - _LOOK_BACK_S // grid.step_s)
    opening = first + max(1, _FIRST_S // grid.step_s)
    whole = matrix.values[:, begin:end]
    return [whole, matrix.values[:, begin:opening]] if opening < end else [whole]


def _onset(outside: NDArray[np.bool_], grid: Grid, first: int, end: int) -> datetime | None:
    """When a signal left its usual range for good, looking back a little before the spike."""
    earliest = max(0, first - math.ceil(_ONSET_SEARCH_S / grid.step_s))
    for step in range(earliest, end):
        following = outside[step : min(step + 4, end)]
        if outside[step] and following.sum() * 2 >= len(following):
            return grid.time(step)
    return None


def _dense(samples: pl.DataFrame, series_ids: NDArray[np.uint64], grid: Grid) -> Matrix:
    """A frame of `read_samples` as (series, steps): a row for each id, all NaN for one without a sample."""
    if samples.is_empty():
        return np.full((len(series_ids), grid.steps), np.nan)
    values = samples["values"].explode().to_numpy().reshape(samples.height, -1)
    block_s = values.shape[1] * grid.step_s
    starts = samples["time"].dt.epoch("s").to_numpy()
    first_s = min(int(starts.min()), grid.start_s // block_s * block_s)
    blocks = max(int(starts.max()) - first_s, grid.window.end.timestamp() - first_s) // block_s + 1
    order = np.argsort(series_ids)
    rows = order[np.searchsorted(series_ids, samples["series_id"].to_numpy(), sorter=order)]
    dense = np.full((len(series_ids), int(blocks), values.shape[1]), np.nan)
    dense[rows, (starts - first_s) // block_s] = values
    first = (grid.start_s - first_s) // grid.step_s
    return dense.reshape(len(series_ids), -1)[:, first : first + grid.steps]


def _owners(series: pl.DataFrame) -> dict[EntityKind, list[Entity | None]]:
    """Whom each series belongs to, by kind of entity; None when its labels do not say."""
    names = {
        EntityKind.PORT: pl.col("node") + "/" + pl.col("port"),
        EntityKind.GPU: pl.col("gpu"),
        EntityKind.REPLICA: pl.coalesce("replica", "instance"),
        EntityKind.NODE: pl.col("node"),
    }
    known: dict[tuple[EntityKind, str], Entity] = {}
    found: dict[EntityKind, list[Entity | None]] = {}
    for kind, name in names.items():
        found[kind] = [
            known.setdefault((kind, value), Entity(kind, value)) if value else None
            for value in series.select(name.alias("name"))["name"].to_list()
        ]
    return found


def _greatest(levels: _Samples, rows: Sequence[int | None]) -> Matrix:
    """The greatest value of each of these series as a column; NaN for none, and for what one cannot divide by."""
    greatest = np.full((len(rows), 1), np.nan)
    for place, row in enumerate(rows):
        if row is not None:
            greatest[place] = np.fmax.reduce(levels.values[levels.places[row]])
    return np.where(greatest > 0, greatest, np.nan)


def _by_entity(signal: Signal, owners: Sequence[Entity | None], values: Matrix) -> SignalMatrix:
    """One row an entity: of its several series the sum, the mean or the worst, as the signal says."""
    merge = signal.merge or ("sum" if signal.transform in ("rate", "presence") else "worst")
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
            elif merge == "sum":
                merged[index] = np.where(np.isfinite(own).any(axis=0), np.nansum(own, axis=0), np.nan)
            elif merge == "mean":
                merged[index] = np.nanmean(own, axis=0)
            else:
                merged[index] = np.nanmax(own, axis=0) if signal.worse == "up" else np.nanmin(own, axis=0)
    return SignalMatrix(signal, entities, merged)
