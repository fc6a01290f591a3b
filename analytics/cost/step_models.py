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
import yaml
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]

_FIT_REQUESTS_MIN = 30
_FIT_ROUNDS = 10
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
class _Fit:
    family: str
    gpu: str
    gpus: int
    weights: str
    model: StepModel


def step_model_for(model_name: str, gpu_model: str, gpus: int, weights: str | None = None) -> StepModel | None:
    """The known constants of a served model.

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
    return min(found, key=lambda fit: (abs(math.log(fit.gpus / gpus)), fit.gpus)).model


@cache
def _table() -> tuple[dict[str, re.Pattern[str]], tuple[_Fit, ...]]:
    document: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "step_models.yaml").read_text())
    patterns = {
        family: re.compile(rf"(?<![a-z0-9])(meta-)?({pattern})(?![a-z0-9])")
        for family, pattern in document["families"].items()
    }
    fits = []
    for row in document["fits"]:
        told = f"{row['family']} on {row['gpus']} {row['gpu']}, {row['weights']}: {document['source']}"
        decode_error, _, prefill_error, _ = row["error"]
        model = StepModel(*row["decode"], *row["prefill"], told, decode_error, prefill_error)
        fits.append(_Fit(row["family"], row["gpu"], row["gpus"], row["weights"], model))
    return patterns, tuple(fits)
