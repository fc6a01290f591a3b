"""How far the what-ifs of cost advice are from what was measured: one configuration predicted from another.

    python -m benchmarks.cost_advice [--data FOLDER]

Compared with vLLM as InferenceX measured it (not part of the repository; `--data`, by default ../shared/data/workloads
beside it), on the curves fitted to aiconfigurator's operator tables:
- the time to first token against prefill × sequences^e: the exponent e that fits best;
- the change of time per output token, and of tokens a GPU-second, from one configuration of a model to another at the
  same tokens and concurrency: measured over predicted;
- the GPUs that one configuration needs against another at a promised time per output token, with the first one set to
  what was measured of it at the middle concurrency: how far off, and how often inside the stated range;
- bf16 against fp8, of which there are no points on one engine: vLLM against TensorRT-LLM, told apart from the rest.
"""

import argparse
import itertools
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from analytics.cost.whatif import (
    MODEL_SIZES,
    OTHER_GPU_BAND,
    SAME_GPU_BAND,
    WAITING_EXPONENT,
    Curve,
    LatencyObjective,
    Slowness,
    TokenMix,
    capacity,
    first_token_ms,
    kv_tokens,
    output_token_ms,
    prefill_ms,
    time_factors,
)

FAMILIES = {
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "Qwen/Qwen3-32B": "qwen3-32b",
    "openai/gpt-oss-120b": "gpt-oss-120b",
}
"""The measured models that have curves."""
OBJECTIVES_MS = (10.0, 15.0, 20.0, 30.0, 40.0)


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement, with the curve of its configuration."""

    curve: Curve
    mix: TokenMix
    concurrency: int
    first_token_ms: float
    output_token_ms: float

    @property
    def requests_per_second(self) -> float:
        """By Little's law, of a replica."""
        return 1000 * self.concurrency / (self.first_token_ms + self.mix.output_tokens * self.output_token_ms)


def curves_of(folder: Path) -> list[Curve]:
    """The fits."""
    fits = pl.read_parquet(folder / "sim_latency_grid" / "fits.parquet")
    names = ("d0_ms", "d1_ms_per_seq", "d2_ms_per_seq_ctx_token", "p0_ms", "p1_ms_per_token", "p2_ms_per_token2")
    found = []
    for row in fits.iter_rows(named=True):
        family = row["model"].split("/")[1].lower().removeprefix("meta-")
        errors = row["decode_mape_p95"], row["prefill_mape_p95"]
        constants = (row[name] for name in names)
        found.append(Curve(family, row["gpu"].removesuffix("_sxm"), row["tp"], row["quant"], *constants, *errors))
    return found


def points_of(folder: Path, curves: Iterable[Curve], backend: str) -> list[Point]:
    """The measurements of one engine that have a curve and fit into its KV cache."""
    by_key = {(one.model, one.gpu, one.tensor_parallel, one.weights): one for one in curves}
    samples = pl.read_parquet(folder / "inferencex_silicon" / "silicon_samples.parquet").filter(
        (pl.col("mode") == "agg") & (pl.col("backend") == backend) & pl.col("model_path").is_in(list(FAMILIES)),
        (pl.col("pp_size").fill_null(1) == 1) & pl.col("concurrency").is_not_null(),
    )
    found = []
    for row in samples.iter_rows(named=True):
        model = FAMILIES[row["model_path"]]
        weights = "native" if model == "gpt-oss-120b" else row["gemm_quant_mode"] or "bf16"
        curve = by_key.get((model, row["system"].removesuffix("_sxm"), row["tp_size"], weights))
        mix = TokenMix(row["isl"], row["osl"])
        if curve is None or row["concurrency"] * (row["isl"] + row["osl"]) > kv_tokens(curve):
            continue
        found.append(Point(curve, mix, row["concurrency"], row["silicon_ttft_ms"], row["silicon_tpot_ms"]))
    return found


def predicted_rate(point: Point) -> float:
    """Requests a second of a replica, as the curve has it."""
    whole_ms = first_token_ms(point.curve, point.mix, point.concurrency)
    whole_ms += point.mix.output_tokens * output_token_ms(point.curve, point.mix, point.concurrency)
    return 1000 * point.concurrency / whole_ms


def pairs_of(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """All ordered pairs of configurations of a model at the same tokens and concurrency."""
    groups = defaultdict(list)
    for point in points:
        groups[point.curve.model, point.mix, point.concurrency].append(point)
    return [
        pair for group in groups.values() for pair in itertools.permutations(group, 2) if pair[0].curve != pair[1].curve
    ]


def token_change(before: Point, after: Point) -> float:
    """Measured over predicted change of time per output token."""
    predicted = [output_token_ms(one.curve, one.mix, one.concurrency) for one in (before, after)]
    return after.output_token_ms / before.output_token_ms / (predicted[1] / predicted[0])


def rate_change(before: Point, after: Point) -> float:
    """Measured over predicted change of throughput a GPU."""
    measured = after.requests_per_second / before.requests_per_second
    return measured / (predicted_rate(after) / predicted_rate(before))


@dataclass(frozen=True, slots=True)
class Need:
    """GPUs of one configuration over GPUs of another for the same requests at the same objective."""

    model: str
    is_same_gpu: bool
    measured: float
    predicted: float
    low: float
    high: float


def measured_rate(course: Sequence[Point], objective_ms: float) -> float | None:
    """Requests a second where the time per output token reaches the objective; None outside what was measured."""
    for before, after in itertools.pairwise(course):
        if before.output_token_ms <= objective_ms < after.output_token_ms:
            part = (objective_ms - before.output_token_ms) / (after.output_token_ms - before.output_token_ms)
            return before.requests_per_second + part * (after.requests_per_second - before.requests_per_second)
    return None


def needs_of(points: Sequence[Point], bands: Mapping[bool, tuple[float, float]]) -> list[Need]:
    """Every comparison at an objective that both configurations cross inside the measured concurrency.

    `bands` are those of the change of time, by whether the GPU stays the same.
    """
    courses: dict[tuple[str, TokenMix], dict[Curve, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        courses[point.curve.model, point.mix][point.curve].append(point)
    found = []
    for (model, mix), by_curve in courses.items():
        for measured in by_curve.values():
            measured.sort(key=lambda one: one.concurrency)
        for (now, of_now), (other, of_other) in itertools.permutations(by_curve.items(), 2):
            middle = of_now[len(of_now) // 2]
            slowness = Slowness(
                middle.first_token_ms / first_token_ms(now, mix, middle.concurrency),
                middle.output_token_ms / output_token_ms(now, mix, middle.concurrency),
            )
            for objective_ms in OBJECTIVES_MS:
                rates = measured_rate(of_now, objective_ms), measured_rate(of_other, objective_ms)
                if rates[0] is None or rates[1] is None:
                    continue
                objective = LatencyObjective(None, objective_ms)
                mine = capacity(now, mix, objective, slowness).requests_per_second
                theirs = [
                    capacity(other, mix, objective, slowness.times(factor)).requests_per_second
                    for factor in time_factors(now, other, bands[now.gpu == other.gpu])
                ]
                if mine == 0 or 0 in theirs:
                    continue
                size = other.tensor_parallel / now.tensor_parallel
                low, predicted, high = (size * mine / rate for rate in theirs)
                found.append(Need(model, now.gpu == other.gpu, size * rates[0] / rates[1], predicted, low, high))
    return found


def deciles(values: Sequence[float]) -> list[float]:
    """p10, p50, p90."""
    return [round(float(value), 3) for value in np.quantile(values, (0.1, 0.5, 0.9))] if len(values) else []


def left_out_needs(points: Sequence[Point]) -> list[Need]:
    """The comparisons of each model with bands from the pairs of all others: what a model not seen before meets."""
    found = []
    for model in sorted({one.curve.model for one in points}):
        pairs = pairs_of([one for one in points if one.curve.model != model])
        bands = {}
        for is_same in (True, False):
            changes = [token_change(*pair) for pair in pairs if (pair[0].curve.gpu == pair[1].curve.gpu) is is_same]
            low, _, high = deciles(changes)
            bands[is_same] = (low, high)
        found += needs_of([one for one in points if one.curve.model == model], bands)
    return found


def waiting_exponent(points: Sequence[Point]) -> float:
    """The exponent with the least median error of log(time to first token)."""
    waits = [
        (math.log(one.first_token_ms / prefill_ms(one.curve, one.mix)), math.log(one.concurrency)) for one in points
    ]
    grid = np.arange(0.0, 1.0, 0.01)
    errors = [np.median([abs(wait - exponent * users) for wait, users in waits]) for exponent in grid]
    return float(grid[int(np.argmin(errors))])


def main() -> int:
    """Compare, print a table, and as the last line the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "workloads")
    options = parser.parse_args()
    if not (options.data / "inferencex_silicon").is_dir():
        sys.stderr.write(f"no measurements at {options.data}: give their folder with --data\n")
        return 2
    curves = curves_of(options.data)
    points = points_of(options.data, curves, "vllm")
    needs = needs_of(points, {True: SAME_GPU_BAND, False: OTHER_GPU_BAND})
    left_out = left_out_needs(points)
    table = Table("What", "Comparisons", "p10", "p50", "p90", "In stated range", title="What-ifs beside measurements")
    figures: dict[str, object] = {"points": len(points), "curves": len(curves)}

    def row(key: str, what: str, values: Sequence[float], held: float | None = None) -> None:
        told = deciles(values)
        table.add_row(
            what,
            str(len(values)),
            *(f"{one:.2f}" for one in told or [math.nan] * 3),
            "" if held is None else f"{held:.0%}",
        )
        figures[key] = {"n": len(values), "p10_p50_p90": told} | ({} if held is None else {"held": round(held, 3)})

    exponent = waiting_exponent(points)
    figures["waiting_exponent"] = exponent
    row(
        "first_token",
        f"Time to first token, measured / modelled (exponent {WAITING_EXPONENT}; best {exponent:.2f})",
        [one.first_token_ms / first_token_ms(one.curve, one.mix, one.concurrency) for one in points],
    )
    for gpu in sorted({one.curve.gpu for one in points}):
        row(
            f"output_token_{gpu}",
            f"Time per output token on {gpu}, measured / modelled",
            [
                one.output_token_ms / output_token_ms(one.curve, one.mix, one.concurrency)
                for one in points
                if one.curve.gpu == gpu
            ],
        )
    pairs = pairs_of(points)
    for is_same, name in ((True, "same"), (False, "other")):
        mine = [pair for pair in pairs if (pair[0].curve.gpu == pair[1].curve.gpu) is is_same]
        what = "another size, same GPU" if is_same else "another GPU"
        low, high = SAME_GPU_BAND if is_same else OTHER_GPU_BAND
        changes = [token_change(*pair) for pair in mine]
        row(
            f"token_change_{name}",
            f"Change of time per output token to {what}",
            changes,
            float(np.mean([low <= one <= high for one in changes])),
        )
        row(f"rate_change_{name}", f"Change of tokens a GPU-second to {what}", [rate_change(*pair) for pair in mine])
        for is_mixture, kind in ((False, "dense"), (True, "mixture of experts")):
            for key, all_needs, told in (("need", needs, ""), ("need_left_out", left_out, ", range from other models")):
                ours = [
                    one
                    for one in all_needs
                    if one.is_same_gpu is is_same and MODEL_SIZES[one.model].is_mixture is is_mixture
                ]
                held = float(np.mean([one.low <= one.measured <= one.high for one in ours]))
                errors = [one.measured / one.predicted for one in ours]
                label = f"{key}_{name}_{kind.split()[0]}"
                row(label, f"GPUs needed at an objective, {what} ({kind}{told})", errors, held)
    lean = points_of(options.data, curves, "trtllm")
    crossed = [
        pair
        for pair in pairs_of([*points, *lean])
        if pair[0].curve.gpu == pair[1].curve.gpu
        and (pair[0].curve.weights, pair[1].curve.weights) == ("bf16", "fp8")
        and pair[0].curve.tensor_parallel == pair[1].curve.tensor_parallel
    ]
    changes = [token_change(*pair) for pair in crossed]
    ranges = [time_factors(before.curve, after.curve) for before, after in crossed]
    held = float(np.mean([low <= one <= high for one, (low, _, high) in zip(changes, ranges, strict=True)]))
    what = "Change of time per output token, bf16 on vLLM to fp8 on TensorRT-LLM"
    row("token_change_fp8", what, changes, held)
    Console(width=150).print(table)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
