"""How long an inference engine's step takes: known constants by model and GPU, or a fit to the requests themselves.

`decode step = d0 + d1·sequences + d2·(sum of their context)`, `prefill = p0 + p1·n + p2·n·(2·position + n)`. For shares
of a bill only the ratios of the six constants matter: an engine that is twice as slow in all gives the same shares.
"""

import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy
import yaml

from analytics.cost.overlap import Cells, Floats, mean, total

_FIT_REQUESTS_MIN = 30
_FIT_REQUESTS_MAX = 20_000
_FIT_ROUNDS = 10
_ONE_CHUNK_TOKENS = 2048  # what the usual engine computes in one step: the least of vLLM's defaults
_GPUS = ("h100", "h200", "a100", "b200", "l40s")
_EIGHT_BIT = re.compile(r"(?<![a-z0-9])(fp8|int8|w8a8|8bit)(?![a-z0-9])")
_FOUR_BIT = re.compile(r"(?<![a-z0-9])(awq|gptq|int4|w4a16|w4a8|nvfp4|mxfp4|fp4|4bit|gguf|q4.*)(?![a-z0-9])")


@dataclass(frozen=True, slots=True)
class StepModel:
    """The six constants, in milliseconds, and how far they can be relied on.

    Attributes:
        source: where they are from, in words.
        decode_error_ratio: median relative error of what they say of decoding; None where it is not known.
        prefill_error_ratio: the same of prefill.
        fitted_requests: on how many requests they were fitted; 0 where they are from the table.
    """

    d0: float
    d1: float
    d2: float
    p0: float
    p1: float
    p2: float
    source: str = ""
    decode_error_ratio: float | None = None
    prefill_error_ratio: float | None = None
    fitted_requests: int = 0

    def prompt_ms(self, new_tokens: Floats, cached_tokens: Floats) -> Floats:
        """What prompts add to the steps that they are computed in, without `p0`: attention reads what is cached too."""
        return new_tokens * (self.p1 + self.p2 * (2.0 * cached_tokens + new_tokens))

    def tokens_ms(self, steps: Floats, prompt_tokens: Floats) -> Floats:
        """What sequences add to the steps that they decode in, without `d0`: contexts grow from the prompt's by one."""
        return steps * (self.d1 + self.d2 * (prompt_tokens + (steps + 1.0) / 2.0))


@dataclass(frozen=True, slots=True)
class Fit:
    """A row of the table: a model family on a tensor-parallel group of GPUs, weights in a format, and its constants."""

    family: str
    gpu: str
    gpus: int
    weights: str
    model: StepModel


def step_model_for(model_name: str, gpu_model: str, gpus: int, weights: str | None = None) -> StepModel | None:
    """The known constants of a served model; arguments and errors as of `fit_for`."""
    found = fit_for(model_name, gpu_model, gpus, weights)
    return None if found is None else found.model


def fit_for(model_name: str, gpu_model: str, gpus: int, weights: str | None = None) -> Fit | None:
    """The row of the table that a served model has.

    Args:
        model_name: as it is served, e.g. `meta-llama/Llama-3.1-70B-Instruct` or `llama-3.1-70b`.
        gpu_model: as DCGM names it, e.g. `NVIDIA H100 80GB HBM3`.
        gpus: the size of the tensor-parallel group; of the known ones the nearest (by ratio) is taken.
        weights: `bf16` or `fp8`; None reads it off the name, where nothing is said of it bf16, or what alone is known.

    Returns:
        None where the model, the GPU, or the format of the weights (4 bits) is not in the table.

    Raises:
        ValueError: for less than one GPU, or a format that means nothing here.
    """
    if gpus < 1:
        raise ValueError(f"{model_name} is said to run on {gpus} GPUs; expected 1 or more")
    if weights not in {None, "bf16", "fp8"}:
        raise ValueError(f"weights of {model_name} are said to be {weights!r}; valid are bf16, fp8, or None")
    families, fits = _table()
    name = re.sub(r"[_:\s]", "-", model_name.lower())
    family = next((known for known, pattern in families.items() if pattern.search(name)), None)
    gpu = next((known for known in _GPUS if re.search(rf"(?<![a-z0-9]){known}(?![a-z0-9])", gpu_model.lower())), None)
    found = [fit for fit in fits if fit.family == family and fit.gpu == gpu]
    if not found or (weights is None and _FOUR_BIT.search(name) and "gpt-oss" not in name):
        return None
    wanted = weights or ("fp8" if _EIGHT_BIT.search(name) else "bf16")
    found = [fit for fit in found if fit.weights == wanted] or [fit for fit in found if fit.weights != "bf16"] or found
    return min(found, key=lambda fit: (abs(math.log(fit.gpus / gpus)), fit.gpus))


def fits_table() -> list[dict[str, Any]]:
    """The rows of the table as `step_models.yaml` has them."""
    rows: list[dict[str, Any]] = _document()["fits"]
    return rows


def _model(
    constants: list[float], source: str, decode_error: float, prefill_error: float | None, fitted: int = 0
) -> StepModel:
    d0, d1, d2, p0, p1, p2 = constants
    return StepModel(d0, d1, d2, p0, p1, p2, source, decode_error, prefill_error, fitted)


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "step_models.yaml").read_text())
    return document


@cache
def _table() -> tuple[dict[str, re.Pattern[str]], tuple[Fit, ...]]:
    document = _document()
    patterns = {
        family: re.compile(rf"(?<![a-z0-9])(meta-)?({pattern})(?![a-z0-9])")
        for family, pattern in document["families"].items()
    }
    fits = []
    for row in document["fits"]:
        told = f"{row['family']} on {row['gpus']} {row['gpu']}, {row['weights']}: {document['source']}"
        model = _model([*row["decode"], *row["prefill"]], told, row["error"][0], row["error"][2])
        fits.append(Fit(row["family"], row["gpu"], row["gpus"], row["weights"], model))
    return patterns, tuple(fits)


def fit_step_model(requests: pl.DataFrame, batch: Floats | None = None) -> StepModel:
    """The constants of an engine that is in no table, from its requests.

    Six unknowns, not negative, in two kinds of equations, by least absolute relative error (iteratively reweighted):
    - of a decode stage: `decode_ms = d0·steps + d1·Σ B + d2·Σ context` over its steps, and the prompts that were
      computed meanwhile, `p0·their number + p1·Σ n + p2·Σ n·(2·cached + n)`;
    - of a prefill stage in which no other prompt is computed: `p0 + p1·n + p2·n·(2·cached + n)`, and a step of what
      decodes beside it. Of prompts up to 2,048 tokens, if there are enough: longer ones may take several steps.

    Args:
        requests: of one kind of replica: time, replica, queue_ms, prefill_ms, decode_ms, input_tokens, cached_tokens
            (null: none), output_tokens. Those with nulls in the others, or a single token, are left out.
        batch: how many sequences decoded on the mean while each request did, the frame's order: from a gauge, where
            the records are a sample of all requests; None takes it from the overlap of the records.

    Returns:
        The model, with the number of requests and the median relative errors of both kinds of equations.

    Raises:
        ValueError: for less than 30 usable requests.
    """
    names = ("queue_ms", "prefill_ms", "decode_ms", "input_tokens", "output_tokens")
    numbered = requests.with_columns(
        (pl.col("time") - pl.col("time").min()).dt.total_microseconds().alias("time_ms") / 1000,
        pl.Series("batch", batch if batch is not None else np.full(requests.height, np.nan)),
        pl.col("cached_tokens").fill_null(0),
        pl.col("queue_ms").fill_null(0),
    )
    usable = numbered.drop_nulls(["replica", *names]).filter(
        (pl.col("output_tokens") > 1) & (pl.col("decode_ms") > 0) & (pl.col("prefill_ms") >= 0)
    )
    if usable.height < _FIT_REQUESTS_MIN:
        raise ValueError(
            f"{usable.height} of {requests.height} requests tell their tokens and stage times and decode more than one"
            f" token; a step model takes {_FIT_REQUESTS_MIN} or more"
        )
    parts = [_equations(group) for _, group in usable.group_by("replica", maintain_order=True)]
    decodes, prefills = (np.concatenate([part[kind] for part in parts]) for kind in (0, 1))
    short = prefills[prefills[:, 4] <= _ONE_CHUNK_TOKENS]
    prefills = short if len(short) >= _FIT_REQUESTS_MIN else prefills
    decodes, prefills = _thinned(decodes), _thinned(prefills)
    constants, errors = _least_deviations(np.concatenate([decodes, prefills]))
    decode_error = float(np.median(errors[: len(decodes)]))
    prefill_error = float(np.median(errors[len(decodes) :])) if len(prefills) else None
    return _model(constants, f"fitted to {usable.height} requests", decode_error, prefill_error, usable.height)


def _equations(requests: pl.DataFrame) -> tuple[Floats, Floats]:
    """Decode stages and lone prefill stages of one replica: (stages, 7), six coefficients and the milliseconds."""
    columns = ("time_ms", "queue_ms", "prefill_ms", "decode_ms", "input_tokens", "cached_tokens", "output_tokens")
    time, queue, prefill, decode, prompt, cached, output = (
        requests[name].cast(pl.Float64).to_numpy() for name in columns
    )
    batch = requests["batch"].to_numpy()
    begun, first = time + queue, time + queue + prefill
    cells = Cells(begun, first, first + decode)
    new, steps = prompt - cached, output - 1
    attention = new * (2 * cached + new)
    decoding = np.round(cells.decoding(np.ones_like(steps)))
    contexts = cells.decoding(prompt + output / 2)

    beside = mean(decoding, cells.lengths_ms, cells.first, cells.ended)
    scale = np.where(np.isnan(batch), 1.0, batch / np.maximum(beside, 1.0))  # of what the records show of all
    # A prompt's work at the edge where its first token is there; of another's decode stage, from its own edge on.
    edge, size = cells.first, len(cells.lengths_ms) + 1
    inside = (cells.first + 1, cells.ended + 1)
    works = [np.bincount(edge, work, size).astype(np.float64) for work in (np.ones_like(steps), new, attention)]
    works[0] = np.minimum(works[0], 1.0)  # prompts that are there at once were computed in one step
    meanwhile = [scale * total(work, *inside) for work in works]
    context = scale * mean(contexts, cells.lengths_ms, cells.first, cells.ended)
    decodes = np.column_stack([steps, steps * scale * beside, steps * context, *meanwhile, decode])

    lengths = cells.lengths_ms
    stage = (cells.begun, cells.first)
    computed = mean(np.round(cells.prefilling(np.ones_like(steps))), lengths, *stage)
    busy, many, held = (mean(values, lengths, *stage) for values in (np.minimum(decoding, 1.0), decoding, contexts))
    alone = (computed <= 1.0) & (prefill > 0) & (new > 0)
    prefills = np.column_stack([busy, scale * many, scale * held, np.ones_like(steps), new, attention, prefill])
    return decodes, prefills[alone]


def _thinned(equations: Floats) -> Floats:
    return equations[:: max(1, len(equations) // _FIT_REQUESTS_MAX)]


def _least_deviations(equations: Floats) -> tuple[list[float], Floats]:
    """Constants that are not negative, of least absolute relative error, and that error of each equation."""
    relative = equations[:, :-1] / equations[:, -1:]
    scales = np.maximum(np.abs(relative).max(axis=0), 1e-300)
    weights, solved = np.ones(len(relative)), np.zeros(relative.shape[1])
    for _ in range(_FIT_ROUNDS):
        roots = np.sqrt(weights)
        solved, _ = scipy.optimize.nnls(relative / scales * roots[:, None], roots)
        weights = 1.0 / np.maximum(np.abs(relative / scales @ solved - 1.0), 1e-3)
    return (solved / scales).tolist(), np.abs(relative / scales @ solved - 1.0)
