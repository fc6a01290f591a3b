"""Which request used how much of an engine's time: Shapley shares of its steps, in closed form.

A step costs `d0` as soon as anything decodes, `p0` as soon as any prompt is computed, and for each request what it
adds: `d1 + d2·context` for a token, `p1·n + p2·n·(2·position + n)` for a chunk of a prompt. The Shapley value of such a
game is each one's own addition and an equal part of what is common: `d0/B + d1 + d2·context` for a token,
`p0/P + p1·n + p2·n·(2·position + n)` for a chunk, B and P being how many decode and how many prompts are computed in
the step. It is symmetric, gives nothing to who was not there, and adds up to the step.

`shares_from_steps` has the log of steps and is exact. `estimated_shares` has what spans and gauges tell: of it all, but
the two equal parts are known from the tokens alone; 1/B and 1/P are means over the request's own steps, read off the
overlap of all requests' stages. What no span tells is what a preempted sequence computes again; with vLLM's prefix
caching (the default) that is little.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from analytics.cost.overlap import Cells, Floats, Places, mean, total
from analytics.cost.step_models import StepModel

_RATE_ROUNDS = 6
_WHOLE_RATIO = 0.9  # of what a gauge counts, seen in the records: they are whole, and sharper than any gauge
_USUAL_CONTEXT_TOKENS = 1000  # of a decoding sequence, where the first guess of a step's length needs one


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


def estimated_shares(requests: pl.DataFrame, running: pl.DataFrame | None, model: StepModel) -> pl.Series:
    """Shares from what spans and gauges tell, in the model's milliseconds: weights, to be scaled to what was busy.

    How many decode beside a request is read off the overlap of the decode stages of all records. Where these show less
    than the gauge counts, because they are a sample of all requests, the gauge tells of the others: its samples give
    how many they are, and the records what moves between them.

    What is not told:
    - no cached_tokens: none were cached;
    - no stage times: the latency after the queue is split as the model would alone;
    - no output_tokens: as many as the decode stage had time for at the replica's usual pace, else the usual number;
    - no input_tokens: the replica's usual number;
    - an error without stage times and output never reached the engine: 0.
    Cancelled requests and errors with part of their output count by what they made.

    Args:
        requests: those of some time and, so that all who ran beside them are there, from before and after it. A row
            each: time (start, Datetime), replica (those without one are taken to be of one), queue_ms, prefill_ms,
            decode_ms, input_tokens, cached_tokens, output_tokens, and if known latency_ms and is_error.
        running: replica, time, value: samples of the gauge of running sequences; None where there are none.
        model: the step model of the replicas, all of one kind.

    Returns:
        engine_ms, one a request in the frame's order.
    """
    shares = np.zeros(requests.height)
    if requests.is_empty():
        return pl.Series("engine_ms", shares)
    told = _Stages.of(requests, model)
    gauges = dict(_gauges(running, requests["time"].min())) if running is not None else {}
    nothing = (np.zeros(0), np.zeros(0))
    order = requests.select("replica", pl.int_range(pl.len()).alias("row")).group_by("replica").agg("row")
    for replica, rows in order.iter_rows():
        mine = np.asarray(rows)
        shares[mine] = _replica_shares(told.at(mine), gauges.get(replica, nothing), model)
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
        if "latency_ms" not in requests.columns:
            requests = requests.with_columns(pl.lit(None, pl.Float64).alias("latency_ms"))
        if "is_error" not in requests.columns:
            requests = requests.with_columns(pl.lit(value=False).alias("is_error"))
        frame = _with_stages(_with_tokens(requests), model)
        since = (frame["time"] - frame["time"].min()).dt.total_microseconds().to_numpy() / 1000
        begun = since + frame["queue_ms"].to_numpy()
        first = begun + frame["prefill_ms"].to_numpy()
        tokens = (frame[name].to_numpy() for name in ("input_tokens", "cached_tokens", "steps"))
        return _Stages(begun, first, first + frame["decode_ms"].to_numpy(), *tokens)


def _with_tokens(requests: pl.DataFrame) -> pl.DataFrame:
    """Numbers of input and cached tokens and of decode steps, all known; numbers are Float64 and not negative."""
    numbers = ("queue_ms", "prefill_ms", "decode_ms", "latency_ms", "input_tokens", "cached_tokens", "output_tokens")
    frame = requests.with_columns(pl.col(name).cast(pl.Float64).clip(0) for name in numbers)
    timeless = pl.col("prefill_ms").is_null() & pl.col("decode_ms").is_null()
    outside = pl.col("is_error").fill_null(value=False) & timeless & (pl.col("output_tokens").fill_null(0) == 0)
    steps = (pl.col("output_tokens") - 1).clip(0)
    pace = (steps / pl.col("decode_ms")).filter((pl.col("decode_ms") > 0) & (steps > 0)).median().over("replica")

    def usual(name: str) -> pl.Expr:
        return pl.coalesce(pl.col(name).median().over("replica"), pl.col(name).median(), pl.lit(0.0))

    prompt = pl.when(outside).then(0.0).otherwise(pl.coalesce("input_tokens", usual("input_tokens")))
    made = pl.coalesce(steps, pl.col("decode_ms") * pace, (usual("output_tokens") - 1).clip(0))
    return frame.with_columns(
        prompt.alias("input_tokens"),
        pl.min_horizontal(pl.col("cached_tokens").fill_null(0.0), (prompt - 1).clip(0)).alias("cached_tokens"),
        pl.when(outside).then(0.0).otherwise(made).alias("steps"),
    )


def _with_stages(frame: pl.DataFrame, model: StepModel) -> pl.DataFrame:
    """Lengths of all stages known, where need be by what the model takes for the request alone."""
    prompts, cached, steps = (frame[name].to_numpy() for name in ("input_tokens", "cached_tokens", "steps"))
    prefill_ms = np.where(prompts > 0, model.p0, 0.0) + model.prompt_ms(prompts - cached, cached)
    decode_ms = steps * model.d0 + model.tokens_ms(steps, prompts)
    whole_ms = prefill_ms + decode_ms
    frame = frame.with_columns(
        pl.col("queue_ms").fill_null(0.0),
        pl.Series("alone_ms", prefill_ms),
        pl.Series("alone_decode_ms", decode_ms),
        pl.Series("part", np.divide(prefill_ms, whole_ms, out=np.zeros_like(whole_ms), where=whole_ms > 0)),
    )
    rest = (pl.col("latency_ms") - pl.col("queue_ms")).clip(0)
    prefill = pl.coalesce("prefill_ms", (rest - pl.col("decode_ms")).clip(0), rest * pl.col("part"), "alone_ms")
    frame = frame.with_columns(prefill.alias("prefill_ms"))
    decode = pl.coalesce("decode_ms", (rest - pl.col("prefill_ms")).clip(0), "alone_decode_ms")
    return frame.with_columns(decode.alias("decode_ms"))


def _gauges(running: pl.DataFrame, origin: object) -> Iterator[tuple[str, tuple[Floats, Floats]]]:
    """By replica: moments in ms from the origin, and values."""
    since = (pl.col("time") - pl.lit(origin)).dt.total_microseconds() / 1000
    samples = running.drop_nulls("value").sort("time").select("replica", since.alias("ms"), pl.col("value").cast(float))
    for (replica,), group in samples.group_by("replica"):
        yield str(replica), (group["ms"].to_numpy(), group["value"].to_numpy())


def _replica_shares(told: _Stages, gauge: tuple[Floats, Floats], model: StepModel) -> Floats:
    cells = Cells(told.begun_ms, told.first_ms, told.ended_ms)
    decoding = np.round(cells.decoding((told.steps > 0).astype(float)))
    computed = np.round(cells.prefilling(np.ones_like(told.steps)))
    unseen, unseen_computed = _unseen(cells, decoding, computed, gauge)
    done = _step_rate(told, cells, decoding, computed, unseen, model) * cells.lengths_ms
    common = mean(_one_over(decoding, unseen), done, cells.first, cells.ended)
    common_p = mean(_one_over(computed, unseen_computed), done, cells.begun, cells.first)
    new = told.prompt_tokens - told.cached_tokens
    return (
        model.d0 * told.steps * common
        + model.tokens_ms(told.steps, told.prompt_tokens)
        + np.where(new > 0, model.p0 * common_p, 0.0)
        + model.prompt_ms(new, told.cached_tokens)
    )


def _one_over(seen: Floats, unseen: Floats) -> Floats:
    """The mean of one over how many run, of whom some are seen and the others come and go: (cells,).

    Those are taken to be Poisson with that mean; of E[1/(n + N)] the Taylor series to the second order (at n = 1 within
    4 % of the exact (1 - e^-mean)/mean).
    """
    number = np.maximum(seen, 1.0) + unseen
    return (1.0 + unseen / number**2) / number


def _unseen(cells: Cells, decoding: Floats, computed: Floats, gauge: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """How many decode, and how many prompts are computed, in each cell that no record tells of: means."""
    within = (gauge[0] >= cells.edges_ms[0]) & (gauge[0] < cells.edges_ms[-1])
    moments, values = gauge[0][within], gauge[1][within]
    seen = cells.at(moments, decoding + computed)
    if seen.sum() >= _WHOLE_RATIO * values.sum():
        return np.zeros_like(decoding), np.zeros_like(decoding)
    seen_ms = float((cells.lengths_ms * (decoding + computed)).sum())
    part = float((cells.lengths_ms * decoding).sum()) / seen_ms if seen_ms > 0 else 1.0
    level = np.maximum(np.interp(cells.middles_ms, moments, values - seen), 0.0)
    return part * level, (1 - part) * level


def _step_rate(
    told: _Stages, cells: Cells, decoding: Floats, computed: Floats, unseen: Floats, model: StepModel
) -> Floats:
    """Steps a millisecond in each cell.

    At first by the model, and where a prompt is computed one step each; then, round by round, so that each request has
    as many steps in its decode stage as it had.
    """
    stage_ms = told.first_ms - told.begun_ms
    per_ms = np.divide(1.0, stage_ms, out=np.zeros_like(stage_ms), where=stage_ms > 0)
    alone = 1.0 / (model.d0 + (model.d1 + model.d2 * _USUAL_CONTEXT_TOKENS) * np.maximum(decoding + unseen, 1.0))
    rate = np.where(computed > 0, cells.prefilling(per_ms) / np.maximum(computed, 1.0), alone)
    decodes = (told.steps > 0).astype(float)
    for _ in range(_RATE_ROUNDS):
        made = total(rate * cells.lengths_ms, cells.first, cells.ended)
        factors = np.divide(told.steps, made, out=np.ones_like(made), where=made > 0)
        rate = np.where(
            decoding > 0, rate * np.maximum(cells.decoding(decodes * factors) / np.maximum(decoding, 1.0), 1e-6), rate
        )
    return rate
