"""The laws of the simulated cloud: the length of a step, the size of a KV cache, the power a GPU draws.

Sources, named where each constant stands:
- [aiconfigurator] NVIDIA aiconfigurator-core 0.12.0, measured operator tables of vLLM and its system files
  (Apache-2.0); the step models are straight-line fits to them, median error 1-5 %.
- [mlenergy] ML.ENERGY leaderboard v3: watts per GPU while decoding.
- [acme] AcmeTrace, power of idle A100s (CC-BY-4.0).
- [model] the model's own `config.json`.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Reals = TypeVar("Reals", float, NDArray[np.float64])

GIBIBYTE = 1024**3
HBM_BYTES = 80 * GIBIBYTE  # H100 SXM [aiconfigurator]
HBM_BYTES_PER_SECOND = 3.35e12  # H100 SXM, peak [aiconfigurator]
RUNTIME_RESERVE_BYTES = int(3.9 * GIBIBYTE)  # 3.5 GiB runtime + 0.4 GiB NCCL per GPU [aiconfigurator]
GPU_MEMORY_UTILIZATION_RATIO = 0.9  # vLLM's default share of HBM that it allocates at start
PORT_BYTES_PER_SECOND = 5e10  # NDR, 400 Gb/s one way
IDLE_POWER_WATTS = 66.0  # [acme], idle A100: 61-66 W

# DCGM reports framebuffer in MiB; an H100 80GB has 81,559 of them, 577 reserved by the driver.
FRAMEBUFFER_MIB = 81_559
FRAMEBUFFER_RESERVED_MIB = 577


@dataclass(frozen=True, slots=True)
class StepModel:
    """`prefill(n) = p0 + p1·n + p2·n²`, `decode step = d0 + B·(d1 + d2·context)`, all in milliseconds.

    The coefficients are fits to the measured tables of [aiconfigurator] for one model, GPU type,
    tensor-parallel size and weight format under vLLM.
    """

    p0: float
    p1: float
    p2: float
    d0: float
    d1: float
    d2: float

    def prefill_ms(self, tokens: Reals, cached_tokens: Reals) -> Reals:
        """Milliseconds to prefill `tokens` new tokens behind `cached_tokens` already in the KV cache.

        Takes numbers, or arrays of equal shape. Attention reads what is cached, so a chunk
        costs `p1·n + p2·n·(2·cached + n)`, which telescopes to the whole prompt's cost.
        """
        return self.p0 + tokens * (self.p1 + self.p2 * (2.0 * cached_tokens + tokens))

    def decode_step_ms(self, sequences: float, context_tokens_sum: float) -> float:
        """Milliseconds of one decode step of a batch with that many tokens of context in all."""
        return self.d0 + self.d1 * sequences + self.d2 * context_tokens_sum

    def time_per_output_token_ms(self, sequences: float, prompt_tokens: float, output_tokens: float) -> float:
        """Milliseconds per output token under continuous batching at a steady concurrency.

        `decode step(B, prompt + output/2) + (B-1)·prefill(prompt)/output`: while a sequence decodes, each
        of its B-1 neighbours is replaced once, and its prefill takes the place of decode steps. Against
        314 measured vLLM points of [aiconfigurator] the median ratio measured/model is 1.09 for
        Llama-70B fp8 on H100.
        """
        context_tokens = prompt_tokens + output_tokens / 2
        step_ms = self.decode_step_ms(sequences, sequences * context_tokens)
        return step_ms + (sequences - 1) * self.prefill_ms(prompt_tokens, 0.0) / output_tokens


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model as it is deployed on H100 SXM GPUs.

    `kv_bytes_per_token` is for the whole tensor-parallel group; `power_watts` gives watts per GPU while
    decoding at the batch sizes of `power_batch`.
    """

    name: str
    steps: StepModel
    tensor_parallel: int
    parameters: float
    bytes_per_weight: int
    dense_flops_per_second: float
    kv_bytes_per_token: int
    layers: int
    hidden_size: int
    power_batch: tuple[int, ...]
    power_watts: tuple[float, ...]

    @property
    def kv_capacity_tokens(self) -> int:
        """Tokens of KV cache that fit beside the weights: what vLLM would log at start."""
        free_bytes = self.tensor_parallel * (HBM_BYTES * GPU_MEMORY_UTILIZATION_RATIO - RUNTIME_RESERVE_BYTES)
        return int((free_bytes - self.parameters * self.bytes_per_weight) // self.kv_bytes_per_token)

    @property
    def prefill_tensor_active_ratio(self) -> float:
        """Share of time the tensor cores work during prefill: 2 FLOP per weight and token, over `p1`."""
        ideal_ms = 1000 * 2 * self.parameters / self.tensor_parallel / self.dense_flops_per_second
        return ideal_ms / self.steps.p1

    @property
    def decode_dram_active_ratio(self) -> float:
        """Share of time HBM moves data during decode: each step streams the weights once."""
        weight_bytes = self.parameters * self.bytes_per_weight / self.tensor_parallel
        return 1000 * weight_bytes / HBM_BYTES_PER_SECOND / self.steps.d0

    def decode_power_watts(self, sequences: NDArray[np.float64]) -> NDArray[np.float64]:
        """Watts per GPU while a batch of that size decodes [mlenergy], log-linear between measured sizes."""
        return np.interp(np.log2(np.maximum(sequences, 1.0)), np.log2(self.power_batch), self.power_watts)

    def all_reduce_bytes_per_token(self) -> float:
        """NVLink bytes each GPU sends per token: two ring all-reduces of the hidden state (bf16) a layer."""
        ring = 2 * (self.tensor_parallel - 1) / self.tensor_parallel
        return 2 * self.layers * self.hidden_size * 2 * ring


# The KV cache is bf16 in both: vLLM's `--kv-cache-dtype auto` keeps the model's own type with fp8 weights.
LLAMA_70B_FP8_TP4 = ServedModel(
    name="llama-3.1-70b",
    steps=StepModel(p0=9.2, p1=0.0464, p2=4.02e-7, d0=10.88, d1=0.0393, d2=1.51e-5),
    tensor_parallel=4,
    parameters=70.6e9,
    bytes_per_weight=1,
    dense_flops_per_second=1.978e15,
    kv_bytes_per_token=327_680,  # 80 layers × 8 KV heads × 128 × 2 (K, V) × 2 bytes [model]
    layers=80,
    hidden_size=8192,
    power_batch=(8, 64, 256, 512),
    power_watts=(441.0, 500.0, 589.0, 623.0),
)
LLAMA_8B_BF16_TP1 = ServedModel(
    name="llama-3.1-8b",
    steps=StepModel(p0=3.5, p1=0.0190, p2=4.81e-7, d0=6.41, d1=0.0097, d2=4.23e-5),
    tensor_parallel=1,
    parameters=8.03e9,
    bytes_per_weight=2,
    dense_flops_per_second=9.89e14,
    kv_bytes_per_token=131_072,  # 32 layers × 8 KV heads × 128 × 2 (K, V) × 2 bytes [model]
    layers=32,
    hidden_size=4096,
    power_batch=(8, 64, 256, 512),
    power_watts=(486.0, 610.0, 691.0, 688.0),
)
LLAMA_70B_BF16_TP4 = replace(
    LLAMA_70B_FP8_TP4,
    steps=StepModel(p0=9.0, p1=0.0595, p2=6.02e-7, d0=15.18, d1=0.0316, d2=2.74e-5),
    bytes_per_weight=2,
    dense_flops_per_second=9.89e14,
)
LLAMA_70B_FP8_TP8 = replace(
    LLAMA_70B_FP8_TP4,
    steps=StepModel(p0=8.9, p1=0.0326, p2=1.63e-7, d0=8.16, d1=0.0319, d2=8.63e-6),
    tensor_parallel=8,
)
LLAMA_8B_FP8_TP1 = replace(
    LLAMA_8B_BF16_TP1,
    steps=StepModel(p0=3.0, p1=0.0143, p2=4.49e-7, d0=4.48, d1=0.0141, d2=2.26e-5),
    bytes_per_weight=1,
    dense_flops_per_second=1.978e15,
)
QWEN3_32B_FP8_TP2 = ServedModel(
    name="qwen3-32b",
    steps=StepModel(p0=8.6, p1=0.0371, p2=7.29e-7, d0=9.78, d1=0.0268, d2=2.31e-5),
    tensor_parallel=2,
    parameters=32.8e9,
    bytes_per_weight=1,
    dense_flops_per_second=1.978e15,
    kv_bytes_per_token=262_144,  # 64 layers × 8 KV heads × 128 × 2 (K, V) × 2 bytes [model]
    layers=64,
    hidden_size=5120,
    power_batch=(8, 64, 256, 512),
    power_watts=(441.0, 500.0, 589.0, 623.0),  # not measured: those of the 70B
)
LARGE_MODELS = (LLAMA_70B_FP8_TP4, LLAMA_70B_BF16_TP4, LLAMA_70B_FP8_TP8, QWEN3_32B_FP8_TP2)
SMALL_MODELS = (LLAMA_8B_BF16_TP1, LLAMA_8B_FP8_TP1)


def kv_transfer_seconds(tokens: float, kv_bytes_per_token: int, bytes_per_second: float) -> float:
    """Seconds to hand that many tokens of KV cache over a link of which `bytes_per_second` are free."""
    return tokens * kv_bytes_per_token / bytes_per_second


def steady_gpu_temperature_celsius(power_watts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Temperature at which an air-cooled H100 settles, in Celsius.

    A straight line through [acme]'s medians of power and temperature (97 W, 39 C; 408 W at p95, 65 C); beyond that,
    where there is no measurement, half as steep: fans speed up, and a sound GPU does not throttle at full power.
    """
    slope = (65.0 - 39.0) / (408.0 - 97.0)
    return 39.0 + slope * (np.minimum(power_watts, 408.0) - 97.0) + 0.5 * slope * np.maximum(power_watts - 408.0, 0.0)
