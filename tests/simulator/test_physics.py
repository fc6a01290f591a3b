import statistics

import numpy as np
import pytest

from simulator.physics import (
    LLAMA_8B_BF16_TP1,
    LLAMA_70B_FP8_TP4,
    PORT_BYTES_PER_SECOND,
    kv_transfer_seconds,
    steady_gpu_temperature_celsius,
)

# Measured by InferenceX on 2025-10-29 and packaged in aiconfigurator-core 0.12.0 (Apache-2.0): Llama-3.1-70B
# fp8 under vLLM on four H100 SXM. Prompt tokens, output tokens, concurrency, ms per output token.
MEASURED = (
    (1024, 1024, 4, 11.78),
    (1024, 1024, 8, 12.11),
    (1024, 1024, 16, 13.19),
    (1024, 1024, 32, 16.49),
    (1024, 1024, 64, 19.51),
    (8192, 1024, 4, 13.27),
    (8192, 1024, 8, 15.77),
    (8192, 1024, 16, 21.06),
    (8192, 1024, 32, 32.82),
    (8192, 1024, 64, 53.49),
)


@pytest.mark.parametrize(("prompt", "output", "concurrency", "measured_ms"), MEASURED)
def test_time_per_output_token_is_near_every_measured_point(
    prompt: int, output: int, concurrency: int, measured_ms: float
) -> None:
    model_ms = LLAMA_70B_FP8_TP4.steps.time_per_output_token_ms(concurrency, prompt, output)
    assert measured_ms / model_ms == pytest.approx(1.0, abs=0.15)


def test_time_per_output_token_has_the_median_error_that_is_published_for_the_model() -> None:
    ratios = [
        measured_ms / LLAMA_70B_FP8_TP4.steps.time_per_output_token_ms(concurrency, prompt, output)
        for prompt, output, concurrency, measured_ms in MEASURED
    ]
    assert statistics.median(ratios) == pytest.approx(1.05, abs=0.05)


def test_a_prefill_in_two_chunks_costs_the_whole_plus_one_start() -> None:
    steps = LLAMA_70B_FP8_TP4.steps
    halves = steps.prefill_ms(4000.0, 0.0) + steps.prefill_ms(4000.0, 4000.0)
    assert halves == pytest.approx(steps.prefill_ms(8000.0, 0.0) + steps.p0)


def test_prefill_takes_arrays() -> None:
    steps = LLAMA_8B_BF16_TP1.steps
    both = steps.prefill_ms(np.array([100.0, 2000.0]), np.array([0.0, 512.0]))
    assert both.tolist() == [steps.prefill_ms(100.0, 0.0), steps.prefill_ms(2000.0, 512.0)]


def test_the_kv_cache_is_what_the_weights_and_the_reserve_leave() -> None:
    # 4 GPUs × (72 - 3.9) GiB - 70.6 GB of weights = 221.9 GB; 327,680 bytes a token.
    assert LLAMA_70B_FP8_TP4.kv_capacity_tokens == pytest.approx(677_000, rel=0.01)
    assert LLAMA_8B_BF16_TP1.kv_capacity_tokens == pytest.approx(435_000, rel=0.01)


def test_handing_over_8k_tokens_of_a_70b_takes_54_ms_on_a_free_port() -> None:
    assert kv_transfer_seconds(8192, 327_680, PORT_BYTES_PER_SECOND) == pytest.approx(0.054, abs=0.001)


def test_power_at_the_measured_batch_sizes_is_the_measured_power() -> None:
    watts = LLAMA_70B_FP8_TP4.decode_power_watts(np.array([1.0, 8.0, 64.0, 512.0, 900.0]))
    assert watts.tolist() == [441.0, 441.0, 500.0, 623.0, 623.0]


def test_shares_of_a_gpu_are_shares() -> None:
    for model in (LLAMA_70B_FP8_TP4, LLAMA_8B_BF16_TP1):
        assert 0.3 < model.prefill_tensor_active_ratio < 0.9
        assert 0.4 < model.decode_dram_active_ratio < 0.8


def test_a_busy_gpu_is_hotter_than_an_idle_one() -> None:
    idle, busy = steady_gpu_temperature_celsius(np.array([66.0, 600.0]))
    assert idle == pytest.approx(36.4, abs=0.1)
    assert 70 < busy < 75
