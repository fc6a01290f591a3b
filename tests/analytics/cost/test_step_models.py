import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.cost.step_models import StepModel, fit_step_model, step_model_for
from simulator.batching import Batching, play
from simulator.physics import LLAMA_8B_BF16_TP1, LLAMA_70B_BF16_TP4, LLAMA_70B_FP8_TP4, ServedModel

H100 = "NVIDIA H100 80GB HBM3"
CONSTANTS = ("d0", "d1", "d2", "p0", "p1", "p2")


@pytest.mark.parametrize(
    "name",
    [
        "llama-3.1-70b",
        "meta-llama/Llama-3.1-70B-Instruct",
        "meta-llama/Meta-Llama-3.1-70B",
        "meta-llama/Llama-3.3-70B-Instruct",
        "nvidia/Llama-3.1-Nemotron-70B-Instruct-HF",
        "NousResearch/Hermes-3-Llama-3.1-70B",
        "llama3.1:70b",
        "llama-v3p1-70b-instruct",
        "/models/llama_3.1_70b/snapshots/abc",
        "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
    ],
)
def test_names_in_the_wild_are_of_the_family(name: str) -> None:
    assert step_model_for(name, H100, 4) == step_model_for("llama-3.1-70b", H100, 4)
    assert step_model_for(name, H100, 4, weights="fp8") != step_model_for("llama-3.1-8b", H100, 4)


@pytest.mark.parametrize(
    "name",
    [
        "llama-2-70b",
        "meta-llama/Llama-3.2-3B-Instruct",
        "llama-3.1-8bit",
        "mistral-7b",
        "Qwen/Qwen3-235B-A22B",
        "deepseek-ai/DeepSeek-V3.2",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4",
        "Qwen/Qwen3-32B-GPTQ-Int4",
        "",
    ],
)
def test_a_model_that_is_not_known_has_none(name: str) -> None:
    assert step_model_for(name, H100, 4) is None


def test_gpus_are_known_by_their_dcgm_names() -> None:
    found = [
        step_model_for("llama-3.1-8b", gpu, 1)
        for gpu in ("NVIDIA A100-SXM4-80GB", H100, "NVIDIA H200", "NVIDIA B200", "NVIDIA L40S")
    ]
    assert all(found)
    assert len({model.d0 for model in found if model}) == 5
    for other in ("NVIDIA GB200", "NVIDIA A10", "NVIDIA L40", "Tesla T4", ""):
        assert step_model_for("llama-3.1-8b", other, 1) is None


def test_the_format_is_read_off_the_name_unless_it_is_given() -> None:
    bf16, fp8 = (step_model_for("llama-3.1-70b", H100, 4, weights) for weights in ("bf16", "fp8"))
    assert bf16 != fp8
    assert step_model_for("Llama-3.1-70B-Instruct", H100, 4) == bf16
    assert step_model_for("RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8-dynamic", H100, 4) == fp8
    assert step_model_for("llama-3.1-70b-quantized.w8a8", H100, 4) == fp8
    # What alone is known: a 405B on eight GPUs is fp8, a mixture of experts has its own format.
    assert step_model_for("llama-3.1-405b", H100, 8) == step_model_for("llama-3.1-405b", H100, 8, "fp8")
    assert step_model_for("openai/gpt-oss-120b", H100, 2) is not None
    # An A100 computes fp8 weights as bf16.
    assert step_model_for("llama-3.1-8b-fp8", "NVIDIA A100-SXM4-80GB", 1) is not None


def test_of_tensor_parallel_sizes_the_nearest_is_taken() -> None:
    two, four, eight = (step_model_for("llama-3.1-70b", H100, gpus) for gpus in (2, 4, 8))
    assert len({two, four, eight}) == 3
    assert step_model_for("llama-3.1-70b", H100, 1) == two
    assert step_model_for("llama-3.1-70b", H100, 3) == four
    assert step_model_for("llama-3.1-70b", H100, 16) == eight


@pytest.mark.parametrize("served", [LLAMA_70B_FP8_TP4, LLAMA_70B_BF16_TP4, LLAMA_8B_BF16_TP1], ids=lambda one: one.name)
def test_the_simulated_cloud_runs_on_the_same_constants(served: ServedModel) -> None:
    weights = "fp8" if served.bytes_per_weight == 1 else "bf16"
    model = step_model_for(served.name, H100, served.tensor_parallel, weights)
    assert model is not None
    for name in CONSTANTS:
        assert getattr(model, name) == pytest.approx(getattr(served.steps, name), rel=0.01)
    assert model.decode_error_ratio is not None
    assert 0 < model.decode_error_ratio < 0.05
    assert "aiconfigurator-core 0.12.0" in model.source


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="on 0 GPUs; expected 1 or more"):
        step_model_for("llama-3.1-70b", H100, 0)
    with pytest.raises(ValueError, match="'int3'; valid are bf16, fp8"):
        step_model_for("llama-3.1-70b", H100, 4, "int3")


def test_prompts_cost_the_same_whole_and_in_chunks() -> None:
    model = StepModel(1.0, 1.0, 1.0, 5.0, 0.5, 0.001)
    whole = model.prompt_ms(np.array([700.0]), np.array([300.0]))
    parts = model.prompt_ms(np.array([200.0, 500.0]), np.array([300.0, 500.0]))
    assert parts.sum() == pytest.approx(whole.item())
    tokens = model.tokens_ms(np.array([4.0]), np.array([100.0]))
    assert tokens.item() == pytest.approx(sum(1.0 + context for context in (101, 102, 103, 104)))


def played_requests(served: ServedModel, count: int, requests_per_s: float) -> pl.DataFrame:
    randomness = np.random.default_rng(5)
    seconds = np.cumsum(randomness.exponential(1 / requests_per_s, count))
    arrivals = pl.DataFrame(
        {
            "time": [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=second) for second in seconds.tolist()],
            "input_tokens": np.exp(randomness.uniform(math.log(50), math.log(20_000), count)).astype(np.int64),
            "cached_tokens": np.zeros(count, dtype=np.int64),
            "output_tokens": randomness.integers(1, 400, count),
            "replica": ["one"] * count,
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )
    return play(arrivals, served.steps, Batching(served.kv_capacity_tokens, 64, noise_ratio=0.03)).requests


@pytest.mark.parametrize("served", [LLAMA_70B_FP8_TP4, LLAMA_8B_BF16_TP1], ids=lambda one: one.name)
def test_the_constants_of_an_unknown_engine_are_found_in_its_requests(served: ServedModel) -> None:
    model = fit_step_model(played_requests(served, 1500, 1.5))
    # Only ratios matter. d1 is small beside the others, and all the more uncertain.
    for name, tolerance in {"d0": 0.03, "d1": 0.5, "d2": 0.1, "p0": 0.25, "p1": 0.1, "p2": 0.3}.items():
        assert getattr(model, name) == pytest.approx(getattr(served.steps, name), rel=tolerance)
    assert model.fitted_requests > 1400
    assert model.decode_error_ratio is not None
    assert model.prefill_error_ratio is not None
    assert 0 < model.decode_error_ratio < 0.03
    assert 0 < model.prefill_error_ratio < 0.06


def test_of_a_sample_of_the_requests_the_fit_is_told_how_many_ran_beside_them() -> None:
    requests = played_requests(LLAMA_70B_FP8_TP4, 1500, 1.5)
    whole = fit_step_model(requests)
    sample = requests[::3]
    alone = fit_step_model(sample)
    told = fit_step_model(sample, np.full(sample.height, requests["decode_ms"].sum() / span_ms(requests)))
    truth = LLAMA_70B_FP8_TP4.steps
    off = [abs(math.log(model.p1 / truth.p1)) for model in (whole, told, alone)]
    assert off[0] < off[2]
    assert abs(math.log(told.d2 / truth.d2)) < abs(math.log(alone.d2 / truth.d2))


def span_ms(requests: pl.DataFrame) -> float:
    return (requests["time"][-1] - requests["time"][0]).total_seconds() * 1000


def test_broken_requests_do_not_move_the_fit() -> None:
    requests = played_requests(LLAMA_70B_FP8_TP4, 1500, 1.5)
    wild = requests.with_columns(
        pl.when(pl.int_range(pl.len()) % 25 == 0)
        .then(pl.col("prefill_ms") * 20)
        .otherwise("prefill_ms")
        .alias("prefill_ms")
    )
    assert fit_step_model(wild).p1 == pytest.approx(fit_step_model(requests).p1, rel=0.1)


def test_too_few_requests_fit_nothing() -> None:
    requests = played_requests(LLAMA_8B_BF16_TP1, 40, 5.0)
    with pytest.raises(ValueError, match="0 of 40 requests tell their tokens"):
        fit_step_model(requests.with_columns(pl.lit(None, pl.Float64).alias("decode_ms")))
