"""Which request used how much of an engine's time: Shapley shares of its steps, in closed form.

A step costs `d0` as soon as anything decodes, `p0` as soon as any prompt is computed, and for each request what it adds:
`d1 + d2·context` for a token, `p1·n + p2·n·(2·position + n)` for a chunk of a prompt. The Shapley value of such a game
is each one's own addition and an equal part of what is common. So a request's share of a step is `d0/B + d1 + d2·context`
for a token and `p0/P + p1·n + p2·n·(2·position + n)` for a chunk, B and P being how many decode and how many are computed
in it: symmetric, nothing for who was not there, and all shares add up to the step.

`shares_from_steps` has the log of steps and is exact. `estimated_shares` has what spans and gauges tell. Of it all but
the two equal parts is known from the tokens alone; 1/B and 1/P are means over the request's own steps, read off the
overlap of all requests' stages, a gauge, or both.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.cost.step_models import StepModel

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_RATE_ROUNDS = 3


def shares_from_steps(step_log: pl.DataFrame, model: StepModel) -> pl.DataFrame:
    """Exact shares of a log of steps.

    Args:
        step_log: one row a step and request in it: step, duration_ms (of the whole step), request, is_prefill, tokens
            (of the chunk), context_tokens (cached before the chunk; of a token, what it attends to, itself included).
        model: how a step's length splits; each step's shares are then scaled to its own length.

    Returns:
        request, engine_ms, by request; the sum is the length of all steps.
    """
    step = step_log["step"].rank("dense").to_numpy().astype(np.intp) - 1
    request, is_prefill = step_log["request"].to_numpy(), step_log["is_prefill"].to_numpy()
    tokens, context = (step_log[name].cast(pl.Float64).to_numpy() for name in ("tokens", "context_tokens"))
    decoding = np.bincount(step, ~is_prefill)[step]
    computed = np.bincount(step, is_prefill)[step]
    shares = np.where(
        is_prefill,
        model.p0 / np.maximum(computed, 1) + model.prompt_ms(tokens, context),
        model.d0 / np.maximum(decoding, 1) + model.d1 + model.d2 * context,
    )
    shares *= step_log["duration_ms"].to_numpy() / np.bincount(step, shares)[step]
    found, places = np.unique(request, return_inverse=True)
    return pl.DataFrame({"request": found, "engine_ms": np.bincount(places, shares)})


def estimated_shares(
    requests: pl.DataFrame, running: pl.DataFrame | None, model: StepModel, *, overlaps: bool = True
) -> pl.Series:
    """Shares from what spans and gauges tell, in the model's milliseconds: weights, to be scaled to what was busy.

    How many decode beside a request is read off the overlap of the decode stages of all records. With a gauge too, its
    samples give the level and the records what moves between them: so it holds where records are a sample of all
    requests (each sequence seen tells of itself; the others are in the gauge), and where preempted sequences wait.

    What is not told:
    - no cached_tokens: none were cached;
    - no stage times: the latency after the queue is split as the model would alone;
    - no output_tokens: as many as the decode stage had time for at the replica's usual pace, else the usual number;
    - no input_tokens: the replica's usual number;
    - an error without stage times and output never reached the engine: 0.
    Cancelled requests and errors with part of their output count by what they made.

    Args:
        requests: time (start, Datetime), replica, queue_ms, prefill_ms, decode_ms, input_tokens, cached_tokens,
            output_tokens, and if known latency_ms and is_error.
        running: replica, time, value: samples of the gauge of running sequences; None where there are none.
        model: the step model of the replicas, all of one kind.
        overlaps: False reads the gauge alone, where records are so few that they say nothing of each other.

    Returns:
        engine_ms, one a request in the frame's order.

    Raises:
        ValueError: for neither a gauge nor overlaps.
    """
    if running is None and not overlaps:
        raise ValueError("expected a gauge of running sequences, or overlaps of records; got neither")
    told = _Stages.of(requests, model)
    shares = np.zeros(requests.height)
    if requests.is_empty():
        return pl.Series("engine_ms", shares)
    gauges = dict(_gauges(running, requests["time"].min())) if running is not None else {}
    nothing = (np.zeros(0), np.zeros(0))
    order = requests.select("replica", pl.int_range(pl.len()).alias("row")).group_by("replica").agg("row")
    for replica, rows in order.iter_rows():
        mine = np.asarray(rows)
        shares[mine] = _replica_shares(told.at(mine), gauges.get(replica, nothing), model, overlaps=overlaps)
    return pl.Series("engine_ms", shares)


@dataclass(frozen=True, slots=True)
class _Stages:
    """Requests with all that the formula needs: (requests,); moments in ms from the first of the frame."""

    begun_ms: Floats  # their prompts, to be computed
    first_ms: Floats
    ended_ms: Floats
    prompt_tokens: Floats
    cached_tokens: Floats
    steps: Floats  # in which they decoded: the first token is of the prefill

    def at(self, rows: Places) -> "_Stages":
        """Some of them."""
        return _Stages(*(getattr(self, name)[rows] for name in self.__slots__))

    @staticmethod
    def of(requests: pl.DataFrame, model: StepModel) -> "_Stages":
        """What is not told, completed as `estimated_shares` says."""
        absent = [pl.lit(None, pl.Float64).alias(n) for n in ("latency_ms",) if n not in requests.columns]
        absent += [pl.lit(value=False).alias(n) for n in ("is_error",) if n not in requests.columns]
        given = requests.with_columns(*absent)
        numbers = (
            "queue_ms",
            "prefill_ms",
            "decode_ms",
            "latency_ms",
            "input_tokens",
            "cached_tokens",
            "output_tokens",
        )
        frame = given.select(
            "replica",
            (pl.col("time") - pl.col("time").min()).dt.total_microseconds().cast(pl.Float64).alias("time_ms") / 1000,
            *(pl.col(name).cast(pl.Float64) for name in numbers),
            pl.col("is_error").fill_null(value=False),
        )
        timeless = pl.all_horizontal(pl.col("prefill_ms", "decode_ms").is_null())
        refused = pl.col("is_error") & timeless & (pl.col("output_tokens").fill_null(0) == 0)
        steps = (pl.col("output_tokens") - 1).clip(0)
        pace = (steps / pl.col("decode_ms")).filter((pl.col("decode_ms") > 0) & (steps > 0)).median().over("replica")

        def usual(name: str) -> pl.Expr:
            return pl.coalesce(pl.col(name).median().over("replica"), pl.col(name).median(), pl.lit(0.0))

        prompt = pl.when(refused).then(0.0).otherwise(pl.col("input_tokens").fill_null(usual("input_tokens")))
        made = pl.coalesce(steps, pl.col("decode_ms") * pace, (usual("output_tokens") - 1).clip(0))
        frame = frame.with_columns(
            prompt.alias("prompt"),
            pl.min_horizontal(pl.col("cached_tokens").fill_null(0.0), (prompt - 1).clip(0)).alias("cached"),
            pl.when(refused).then(0.0).otherwise(made).alias("steps"),
            pl.col("queue_ms").fill_null(0.0),
        )
        prompts, cached, made_steps = (frame[name].to_numpy() for name in ("prompt", "cached", "steps"))
        alone = pl.DataFrame(
            {
                "prefill": np.where(prompts > 0, model.p0, 0.0) + model.prompt_ms(prompts - cached, cached),
                "decode": made_steps * model.d0 + model.tokens_ms(made_steps, prompts),
            }
        )
        frame = frame.hstack(alone)
        rest = (pl.col("latency_ms") - pl.col("queue_ms")).clip(0)
        whole = pl.col("prefill") + pl.col("decode")
        part = pl.when(whole > 0).then(pl.col("prefill") / whole).otherwise(0.0)
        prefill = pl.coalesce("prefill_ms", (rest - pl.col("decode_ms")).clip(0), rest * part, "prefill")
        frame = frame.with_columns(prefill.alias("prefill_ms"))
        decode = pl.coalesce("decode_ms", (rest - pl.col("prefill_ms")).clip(0), "decode")
        begun = frame["time_ms"].to_numpy() + frame["queue_ms"].to_numpy()
        first = begun + frame["prefill_ms"].to_numpy()
        return _Stages(begun, first, first + frame.select(decode).to_series().to_numpy(), prompts, cached, made_steps)


def _gauges(running: pl.DataFrame, origin: object) -> Iterator[tuple[str, tuple[Floats, Floats]]]:
    """By replica: moments in ms from the origin, and values."""
    since = (pl.col("time") - pl.lit(origin)).dt.total_microseconds() / 1000
    samples = running.drop_nulls("value").sort("time").select("replica", since.alias("ms"), pl.col("value").cast(float))
    for (replica,), group in samples.group_by("replica"):
        yield str(replica), (group["ms"].to_numpy(), group["value"].to_numpy())


class _Cells:
    """Time, cut wherever a stage begins or ends, so that within a cell the same requests run."""

    def __init__(self, told: _Stages) -> None:
        self._edges = np.unique(np.concatenate([told.begun_ms, told.first_ms, told.ended_ms]))
        self.begun, self.first, self.ended = (
            np.searchsorted(self._edges, moments) for moments in (told.begun_ms, told.first_ms, told.ended_ms)
        )
        self.lengths_ms = np.diff(self._edges)
        self.middles_ms = self._edges[:-1] + self.lengths_ms / 2

    def counted(self, begins: Places, ends: Places, weights: Floats) -> Floats:
        """The sum of weights of what lasts over each cell."""
        size = len(self._edges)
        changes = np.bincount(begins, weights, size) - np.bincount(ends, weights, size)
        return np.cumsum(changes)[:-1]

    @staticmethod
    def summed(values: Floats, begins: Places, ends: Places) -> Floats:
        """The sum of a cell's values over each stretch."""
        until = np.concatenate([[0.0], np.cumsum(values)])
        return until[ends] - until[begins]


def _replica_shares(told: _Stages, gauge: tuple[Floats, Floats], model: StepModel, *, overlaps: bool) -> Floats:
    cells = _Cells(told)
    decodes = (told.steps > 0) & (cells.ended > cells.first)
    prefills = cells.first > cells.begun
    decoding = np.round(cells.counted(cells.first, cells.ended, decodes.astype(float)))
    computed = np.round(cells.counted(cells.begun, cells.first, prefills.astype(float)))
    beside, computed_beside = _with_gauge(cells, decoding, computed, gauge, overlaps=overlaps)
    rate = _step_rate(told, cells, decodes, decoding, computed, beside, model)

    done = rate * cells.lengths_ms
    made = cells.summed(done, cells.first, cells.ended)
    common = np.divide(
        cells.summed(done / np.maximum(beside, 1.0), cells.first, cells.ended), made, np.ones_like(made), where=made > 0
    )
    occasions = cells.summed(done, cells.begun, cells.first)
    common_p = np.divide(
        cells.summed(done / np.maximum(computed_beside, 1.0), cells.begun, cells.first),
        occasions,
        np.ones_like(made),
        where=occasions > 0,
    )
    new = told.prompt_tokens - told.cached_tokens
    return (
        model.d0 * told.steps * common
        + model.tokens_ms(told.steps, told.prompt_tokens)
        + np.where(new > 0, model.p0 * common_p, 0.0)
        + model.prompt_ms(new, told.cached_tokens)
    )


def _with_gauge(
    cells: _Cells, decoding: Floats, computed: Floats, gauge: tuple[Floats, Floats], *, overlaps: bool
) -> tuple[Floats, Floats]:
    """How many decode, and how many prompts are computed, in each cell."""
    moments, values = gauge
    if not len(moments):
        return decoding, computed
    lengths = cells.lengths_ms
    all_ms = float((lengths * (decoding + computed)).sum())
    part = float((lengths * decoding).sum()) / all_ms if all_ms > 0 else 1.0
    level = np.interp(cells.middles_ms, moments, values)
    if not overlaps:
        return level * part, np.maximum(level * (1 - part), 1.0)
    places = np.searchsorted(cells.middles_ms - lengths / 2, moments, side="right") - 1
    inside = (places >= 0) & (places < len(lengths))
    seen = np.where(inside, (decoding + computed)[np.clip(places, 0, len(lengths) - 1)], 0.0)
    unseen = level - np.interp(cells.middles_ms, moments, seen)
    return decoding + part * unseen, computed + (1 - part) * unseen


def _step_rate(
    told: _Stages,
    cells: _Cells,
    decodes: NDArray[np.bool_],
    decoding: Floats,
    computed: Floats,
    beside: Floats,
    model: StepModel,
) -> Floats:
    """Steps a millisecond in each cell.

    At first by the model; then, round by round, so that each request has as many steps in its stages as it had.
    """
    rate = 1.0 / (model.d0 + (model.d1 + model.d2 * 1000) * np.maximum(beside, 1.0))
    stage_ms = told.first_ms - told.begun_ms
    prefills = stage_ms > 0
    per_ms = np.divide(1.0, stage_ms, np.zeros_like(stage_ms), where=prefills)
    chunked = cells.counted(cells.begun, cells.first, per_ms)
    rate = np.where(computed > 0, chunked / np.maximum(computed, 1.0), rate)
    for _ in range(_RATE_ROUNDS):
        made = cells.summed(rate * cells.lengths_ms, cells.first, cells.ended)
        factor = np.divide(told.steps, made, np.ones_like(made), where=made > 0)
        mean = cells.counted(cells.first, cells.ended, np.where(decodes, factor, 0.0)) / np.maximum(decoding, 1.0)
        rate = np.where(decoding > 0, rate * np.maximum(mean, 1e-6), rate)
    return rate
