"""What another weight format, GPU type or tensor-parallel size would cost at the same latency objective.

The time of an engine's steps follows from a curve of each configuration, fitted to measured tables; the largest batch
that meets the objective gives requests a second, those give replicas, and these dollars. Today's configuration is
measured: the ratio of its measured to its modelled times scales every other configuration.

How far this is from what was measured: `make bench-cost_advice`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analytics.cost.advice import HOURS_PER_MONTH, Advice, AdviceGap, AdviceKind, confidence
from domain.money import usd_range_text, usd_text
from domain.quantity import range_text

GIBIBYTE = 1024**3
SEQUENCES_MAX = 256  # vLLM's usual `max_num_seqs`, and half of the batch that the curves were fitted up to
MEMORY_USED_RATIO = 0.9  # vLLM's `gpu_memory_utilization`
RUNTIME_BYTES = 3.9 * GIBIBYTE  # 3.5 GiB runtime and 0.4 GiB NCCL a GPU (aiconfigurator-core 0.12.0)
WAITING_EXPONENT = 0.42
"""Time to first token = bare prefill × sequences^0.42: fitted to vLLM points of InferenceX, whose users ask in step.

Requests that arrive on their own wait less; the ratio of today's measured time takes that up.
"""

SAME_GPU_BAND = (0.89, 1.13)
OTHER_GPU_BAND = (0.77, 1.29)
"""Measured over predicted change of time per output token from one configuration to another, p10 and p90.

Of 650 and 1,836 pairs of vLLM points of InferenceX (`make bench-cost_advice`, as are the next four).
"""
TENSOR_PARALLEL_HELD = 0.95
"""How often the range of GPUs needed at an objective held the measured one, with bands from other models: of 66 (dense)
and 25 (mixture of experts) comparisons 95 and 96 %."""
OTHER_GPU_HELD = 0.95
"""The same for another GPU type: 96 % of 132 comparisons of dense models."""
WEIGHTS_HELD = 0.68
"""There are no points of two weight formats on one engine. From bf16 on vLLM to fp8 on TensorRT-LLM 68 % of 37 changes
of time were in the range, and the others better than it."""
UNCHECKED_HELD = 0.45
"""For a mixture of experts on another GPU type: 45 % of 88 comparisons, the worst that was measured; so also taken for
GPU types without any point."""
MEASURED_GPUS = frozenset({"h100", "h200", "b200"})
"""GPU types that the curves were checked on."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What a model takes of memory.

    `kv_bytes_per_token` is for a KV cache in 16 bits, as vLLM keeps it unless told otherwise; `native_bytes` are the
    bytes a weight in the format that it was published in. The step time of a mixture of experts is no straight line.
    """

    parameters: float
    kv_bytes_per_token: int
    native_bytes: float = 2.0
    is_mixture: bool = False


MODEL_SIZES: Mapping[str, ModelSize] = {
    "llama-3.1-8b": ModelSize(8.03e9, 131_072),
    "llama-3.1-70b": ModelSize(70.6e9, 327_680),
    "llama-3.1-405b": ModelSize(405.9e9, 516_096),
    "qwen3-32b": ModelSize(32.8e9, 262_144),
    "gpt-oss-120b": ModelSize(116.8e9, 73_728, native_bytes=0.56, is_mixture=True),
    "deepseek-v3": ModelSize(671e9, 70_272, native_bytes=1.0, is_mixture=True),
}
"""From the models' own config.json: layers × KV heads × head size × 2 × 2 bytes; parameters from their cards."""
GPU_GIBIBYTES: Mapping[str, int] = {"a100": 80, "h100": 80, "h200": 141, "b200": 180, "l40s": 45}
"""Memory of a GPU (aiconfigurator-core 0.12.0)."""
_BYTES_PER_WEIGHT: Mapping[str, float] = {"bf16": 2.0, "fp8": 1.0, "int4": 0.56}  # 4 bits with scales


@dataclass(frozen=True, slots=True)
class Curve:
    """`decode step = d0 + B·(d1 + d2·context)`, `prefill = p0 + p1·n + p2·n²`, in milliseconds, of a configuration.

    The errors are the 95th percentiles of the fit's relative error.
    """

    model: str
    gpu: str
    tensor_parallel: int
    weights: str
    d0: float
    d1: float
    d2: float
    p0: float
    p1: float
    p2: float
    decode_error_p95: float
    prefill_error_p95: float

    def __str__(self) -> str:
        return f"{self.gpu.upper()} ×{self.tensor_parallel} {self.weights}"


@dataclass(frozen=True, slots=True)
class TokenMix:
    """Mean tokens of a request; `cached_tokens` of the input come from the prefix cache."""

    input_tokens: float
    output_tokens: float
    cached_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class LatencyObjective:
    """What must hold: milliseconds to the first token, and a further output token; None is not promised."""

    first_token_ms: float | None
    output_token_ms: float | None


@dataclass(frozen=True, slots=True)
class Today:
    """How a model is served now, and what was measured of it.

    Attributes:
        model: as the curves name it.
        gpu: as the curves name it.
        tensor_parallel: GPUs a replica.
        weights: bf16, fp8, int4 or native.
        replicas: how many there are.
        sequences: running on a replica while the times were measured.
        first_token_ms: measured, at the percentile of the objective; None where unknown.
        output_token_ms: likewise.
        peak_requests_per_second: of the model, at its busiest (p99 over the minutes of a week, say).
        hours_seen: how long that was watched.
        coverage_ratio: the share of its GPU hours with telemetry.
    """

    model: str
    gpu: str
    tensor_parallel: int
    weights: str
    replicas: int
    sequences: float
    first_token_ms: float | None
    output_token_ms: float | None
    peak_requests_per_second: float
    hours_seen: float
    coverage_ratio: float


@dataclass(frozen=True, slots=True)
class Slowness:
    """Measured over modelled time: of the first token, and of each further one."""

    first_token: float = 1.0
    output_token: float = 1.0

    def times(self, factor: float) -> "Slowness":
        """Both, so many times slower."""
        return Slowness(self.first_token * factor, self.output_token * factor)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a replica does within the objective; `limit` says what stands in the way of more."""

    sequences: int
    requests_per_second: float
    limit: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration at the peak and the objective: expected, and the range that the curves' errors leave."""

    curve: Curve
    capacity: Capacity
    gpus: int
    gpus_range: tuple[int, int]
    usd_per_month: float
    usd_per_month_range: tuple[float, float]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Today's configuration as needed, and the others, cheapest first.

    `paid_usd_per_month` is for the replicas there are; `slowness` the ratio measured over modelled that scales all.
    """

    today: Today
    need: Choice
    paid_usd_per_month: float
    slowness: Slowness
    choices: tuple[Choice, ...]
    gaps: tuple[AdviceGap, ...]


def curves_of(fits: Iterable[Mapping[str, Any]]) -> list[Curve]:
    """Curves from fits as `step_models.yaml` lists them.

    Args:
        fits: each with family, gpu, gpus, weights, decode (d0, d1, d2), prefill (p0, p1, p2) and error (median and p95
            of decode, then of prefill).
    """
    found = []
    for fit in fits:
        (d0, d1, d2), (p0, p1, p2), (_, decode_p95, _, prefill_p95) = fit["decode"], fit["prefill"], fit["error"]
        constants = (d0, d1, d2, p0, p1, p2, decode_p95, prefill_p95)
        found.append(Curve(fit["family"], fit["gpu"], fit["gpus"], fit["weights"], *constants))
    return found


def prefill_ms(curve: Curve, mix: TokenMix) -> float:
    """Milliseconds to prefill what of a request is not cached; attention reads the cached part too."""
    new = mix.input_tokens - mix.cached_tokens
    return curve.p0 + new * (curve.p1 + curve.p2 * (2 * mix.cached_tokens + new))


def output_token_ms(curve: Curve, mix: TokenMix, sequences: float) -> float:
    """Milliseconds a further output token at a steady number of sequences.

    `decode step(B, input + output/2) + (B-1)·prefill/output`: while a sequence decodes, each of its B-1 neighbours is
    replaced once. Above the KV space this does not hold.
    """
    context_tokens = mix.input_tokens + mix.output_tokens / 2
    step_ms = curve.d0 + sequences * (curve.d1 + curve.d2 * context_tokens)
    return step_ms + (sequences - 1) * prefill_ms(curve, mix) / mix.output_tokens


def first_token_ms(curve: Curve, mix: TokenMix, sequences: float) -> float:
    """Milliseconds to the first token at a steady number of sequences: prefill and its waiting."""
    return prefill_ms(curve, mix) * math.pow(sequences, WAITING_EXPONENT)


def request_ms(curve: Curve, mix: TokenMix, sequences: float, slowness: Slowness) -> float:
    """Milliseconds of a whole request."""
    first_ms = slowness.first_token * first_token_ms(curve, mix, sequences)
    return first_ms + mix.output_tokens * slowness.output_token * output_token_ms(curve, mix, sequences)


def slowdown(curve: Curve, mix: TokenMix, slowness: Slowness, now_sequences: float, then_sequences: float) -> float:
    """How many times longer a request takes on a fuller replica; 1 where the other is not fuller."""
    before, after = (max(1.0, count) for count in (now_sequences, then_sequences))
    if after <= before:
        return 1.0
    return request_ms(curve, mix, after, slowness) / request_ms(curve, mix, before, slowness)


def kv_tokens(curve: Curve) -> int:
    """Tokens of KV cache that fit beside the weights of a replica; 0 where the weights do not fit.

    Raises:
        ValueError: for a model, GPU or weight format of unknown size.
    """
    size, gibibytes = MODEL_SIZES.get(curve.model), GPU_GIBIBYTES.get(curve.gpu)
    if size is None or gibibytes is None:
        raise ValueError(
            f"no memory figures of {curve.model} on {curve.gpu}; known models are {', '.join(MODEL_SIZES)}, "
            f"GPUs {', '.join(GPU_GIBIBYTES)}"
        )
    per_weight = size.native_bytes if curve.weights == "native" else _BYTES_PER_WEIGHT.get(curve.weights)
    if per_weight is None:
        raise ValueError(f"unknown weight format {curve.weights}; known are native, {', '.join(_BYTES_PER_WEIGHT)}")
    free = curve.tensor_parallel * (gibibytes * GIBIBYTE * MEMORY_USED_RATIO - RUNTIME_BYTES)
    return max(0, int((free - size.parameters * per_weight) // size.kv_bytes_per_token))


def capacity(
    curve: Curve, mix: TokenMix, objective: LatencyObjective, slowness: Slowness, tokens: int | None = None
) -> Capacity:
    """The most sequences of a replica that keep the objective and fit into its KV cache.

    Both times grow with the sequences, so the largest number that keeps them is found by halving.

    Args:
        curve: the configuration.
        mix: tokens of a request.
        objective: at least one time.
        slowness: measured over modelled.
        tokens: of KV cache, of `kv_tokens` by default.
    """
    fits = math.floor((kv_tokens(curve) if tokens is None else tokens) / (mix.input_tokens + mix.output_tokens))
    most, limit = min((fits, "KV space"), (SEQUENCES_MAX, "sequences at once"))
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        missed = _missed(curve, mix, objective, slowness, middle)
        if missed is None:
            least = middle
        else:
            most, limit = middle - 1, missed
    if most == 0:
        return Capacity(0, 0.0, limit)
    return Capacity(most, 1000 * most / request_ms(curve, mix, most, slowness), limit)


def _missed(curve: Curve, mix: TokenMix, objective: LatencyObjective, slowness: Slowness, sequences: int) -> str | None:
    token, first = objective.output_token_ms, objective.first_token_ms
    if token is not None and slowness.output_token * output_token_ms(curve, mix, sequences) > token:
        return "time per output token"
    if first is not None and slowness.first_token * first_token_ms(curve, mix, sequences) > first:
        return "time to first token"
    return None


def what_if(
    today: Today,
    curves: Sequence[Curve],
    mix: TokenMix,
    objective: LatencyObjective,
    prices: Mapping[str, float],
    headroom_ratio: float = 0.2,
    replicas_min: int = 1,
) -> WhatIf | AdviceGap:
    """What each configuration with a curve needs and costs at today's peak, mix and objective.

    Args:
        today: how the model is served, and what was measured.
        curves: of any models; those of today's model count.
        mix: tokens of a request, as observed.
        objective: at least one time.
        prices: US dollars a GPU-hour, by GPU as the curves name it.
        headroom_ratio: capacity kept above the peak.
        replicas_min: never fewer.

    Returns:
        The comparison, or what is missing for one.

    Raises:
        ValueError: for an empty objective, or a figure that is not positive.
    """
    _check(today, mix, objective, headroom_ratio, replicas_min, prices)
    mine = [curve for curve in curves if curve.model == today.model and _is_sized(curve)]
    now = next((curve for curve in mine if _key(curve) == (today.gpu, today.tensor_parallel, today.weights)), None)
    gap = _gap(today, now, objective, prices)
    if gap is not None or now is None:
        return gap or _no_curve(today)
    sequences = max(1.0, today.sequences)
    slowness = Slowness(
        _ratio(today.first_token_ms, first_token_ms(now, mix, sequences)),
        _ratio(today.output_token_ms, output_token_ms(now, mix, sequences)),
    )
    wanted = today.peak_requests_per_second * (1 + headroom_ratio)

    def chosen(curve: Curve) -> Choice | None:
        found = [
            (spot, _gpus(curve, spot, wanted, replicas_min))
            for spot in (capacity(curve, mix, objective, slowness.times(factor)) for factor in time_factors(now, curve))
        ]
        if any(spot.sequences == 0 for spot, _ in found):
            return None
        (_, fewest), (expected, gpus), (_, most) = found
        month = prices[curve.gpu] * HOURS_PER_MONTH
        return Choice(curve, expected, gpus, (fewest, most), gpus * month, (fewest * month, most * month))

    need = chosen(now)
    if need is None:
        return AdviceGap(
            AdviceKind.GPU_TYPE,
            today.model,
            f"no batch of {now} keeps the objective, as measured: there is nothing to compare at the same objective",
            "Check the objective against the measured times, or the token mix.",
        )
    priced = [curve for curve in mine if _key(curve) != _key(now) and curve.gpu in prices]
    choices = [choice for choice in map(chosen, priced) if choice is not None]
    unpriced = sorted({curve.gpu for curve in mine} - set(prices))
    return WhatIf(
        today,
        need,
        today.replicas * today.tensor_parallel * prices[today.gpu] * HOURS_PER_MONTH,
        slowness,
        tuple(sorted(choices, key=lambda one: (one.usd_per_month, one.usd_per_month_range[1], str(one.curve)))),
        tuple(_no_price(today.model, gpu) for gpu in unpriced),
    )


def advise(found: WhatIf) -> list[Advice | AdviceGap]:
    """The best change on the same GPUs, and the best to another type where that saves more; and the gaps.

    Only changes whose whole range is a saving are listed. The saving is against what today's configuration needs or
    what is paid, the lesser: what is paid beyond the need is `consolidation`'s to find.
    """
    base = min(found.need.usd_per_month, found.paid_usd_per_month)
    saving = [one for one in found.choices if one.usd_per_month_range[1] < base]
    same = next((one for one in saving if one.curve.gpu == found.today.gpu), None)
    other = next((one for one in saving if one.curve.gpu != found.today.gpu), None)
    if same is not None and other is not None and other.usd_per_month >= same.usd_per_month:
        other = None
    return [*(_advice(found, choice, base) for choice in (same, other) if choice is not None), *found.gaps]


def _advice(found: WhatIf, choice: Choice, base: float) -> Advice:
    today, need, curve = found.today, found.need, choice.curve
    is_same_gpu, formats_differ = curve.gpu == today.gpu, curve.weights != today.weights
    kind = AdviceKind.GPU_TYPE
    if is_same_gpu:
        kind = AdviceKind.WEIGHT_FORMAT if formats_differ else AdviceKind.TENSOR_PARALLEL
    low, high = choice.usd_per_month_range
    ratio = found.slowness
    beyond = found.paid_usd_per_month - base
    fewest, most = choice.gpus_range
    gpus = f"{range_text(str(fewest), str(most))} {'GPU' if most == 1 else 'GPUs'}"
    worth = usd_range_text(low, high)
    within = gpus if worth == usd_text(choice.usd_per_month) else f"{worth}; {gpus}"
    do = "GPU does" if choice.gpus == 1 else "GPUs do"
    checked = "" if {curve.gpu, today.gpu} <= MEASURED_GPUS else " Its GPU type is not among those that were checked."
    return Advice(
        kind,
        today.model,
        f"Serve {today.model} on {curve} in place of {need.curve}: {choice.gpus} {do} what {need.gpus} do now, "
        "at the same objective.",
        (base - high, base - low),
        confidence(_held(today, curve), today.hours_seen, today.coverage_ratio),
        (
            (
                f"A replica of {need.curve} does {need.capacity.requests_per_second:.2f} requests/s within the "
                f"objective ({need.capacity.sequences} at once, bound by {need.capacity.limit}); of {curve} "
                f"{choice.capacity.requests_per_second:.2f} ({choice.capacity.sequences}, by {choice.capacity.limit})."
            ),
            (
                f"{usd_text(base)} a month against {usd_text(choice.usd_per_month)} ({within}) at "
                f"{today.peak_requests_per_second:.2f} requests/s and headroom."
            ),
            (
                f"Measured over modelled today: {ratio.output_token:.2f} for a further token, "
                f"{ratio.first_token:.2f} for the first."
            ),
            *((f"{usd_text(beyond)} a month is paid beyond today's need and not counted here.",) if beyond > 0 else ()),
        ),
        (
            "The other configuration is as much slower than its curve as today's is; the range holds how far that was "
            "off where it could be measured." + checked,
            f"Today's times were measured at {today.sequences:.0f} requests at once; at others they follow the curve.",
            "The token mix and the peak stay as they were observed.",
            "The KV cache stays in 16 bits.",
        ),
        (
            f"Start one replica of {curve} beside the others and send it a share of the traffic.",
            "Compare time to first token and per output token at the same number of running sequences.",
            *(("Run your own evaluation of the answers with the new weights.",) if formats_differ else ()),
            "Move the rest, then remove the old replicas.",
        ),
        (
            "Longer prompts or answers than observed.",
            "A peak above the one seen.",
            *(("Answers that are worse with these weights.",) if formats_differ else ()),
            *(() if is_same_gpu else ("No such GPUs to be had at this price.",)),
        ),
    )


def _ratio(measured: float | None, modelled: float) -> float:
    return 1.0 if measured is None else measured / modelled


def _held(today: Today, curve: Curve) -> float:
    """How often a range like this one held where it could be checked; of several changes the least sure counts."""
    held = [TENSOR_PARALLEL_HELD]
    if curve.weights != today.weights:
        held.append(WEIGHTS_HELD)
    if curve.gpu != today.gpu:
        is_checked = {curve.gpu, today.gpu} <= MEASURED_GPUS and not MODEL_SIZES[curve.model].is_mixture
        held.append(OTHER_GPU_HELD if is_checked else UNCHECKED_HELD)
    return min(held)


def time_factors(now: Curve, other: Curve, band: tuple[float, float] | None = None) -> tuple[float, float, float]:
    """How many times slower than scaled: at best, as expected, at worst; today's own time is measured.

    The error of the other's fit and the band (`SAME_GPU_BAND` or `OTHER_GPU_BAND`) are added as independent ones.
    """
    if other == now:
        return 1.0, 1.0, 1.0
    low, high = band or (SAME_GPU_BAND if other.gpu == now.gpu else OTHER_GPU_BAND)
    fit = max(other.decode_error_p95, other.prefill_error_p95)  # which of the two counts depends on the mix
    return max(0.1, 1 - math.hypot(1 - low, fit)), 1.0, 1 + math.hypot(high - 1, fit)


def _gpus(curve: Curve, found: Capacity, requests_per_second: float, replicas_min: int) -> int:
    if found.sequences == 0:
        return 0
    needed = math.ceil(requests_per_second / found.requests_per_second - 1e-9)
    return curve.tensor_parallel * max(replicas_min, needed)


def _is_sized(curve: Curve) -> bool:
    formats = {"native", *_BYTES_PER_WEIGHT}
    return curve.model in MODEL_SIZES and curve.gpu in GPU_GIBIBYTES and curve.weights in formats


def _key(curve: Curve) -> tuple[str, int, str]:
    return curve.gpu, curve.tensor_parallel, curve.weights


def _no_curve(today: Today) -> AdviceGap:
    return AdviceGap(
        AdviceKind.GPU_TYPE,
        today.model,
        f"no curve and memory figures of it on {today.gpu} ×{today.tensor_parallel} {today.weights}",
        "Give the model's name as the curves have it, or a curve of your own.",
    )


def _no_price(model: str, gpu: str) -> AdviceGap:
    return AdviceGap(
        AdviceKind.GPU_TYPE, model, f"no price of {gpu}, so it was not compared", "Add one to the price book."
    )


def _gap(today: Today, now: Curve | None, objective: LatencyObjective, prices: Mapping[str, float]) -> AdviceGap | None:
    if now is None:
        return _no_curve(today)
    if today.gpu not in prices:
        return _no_price(today.model, today.gpu)
    unmeasured = [
        name
        for name, promised, measured in (
            ("time to first token", objective.first_token_ms, today.first_token_ms),
            ("time per output token", objective.output_token_ms, today.output_token_ms),
        )
        if promised is not None and measured is None
    ]
    if not unmeasured:
        return None
    return AdviceGap(
        AdviceKind.GPU_TYPE,
        today.model,
        f"no measured {' and '.join(unmeasured)}, so the curves cannot be set to what is seen",
        "Send spans or engine metrics that carry it.",
    )


def _check(
    today: Today,
    mix: TokenMix,
    objective: LatencyObjective,
    headroom_ratio: float,
    replicas_min: int,
    prices: Mapping[str, float],
) -> None:
    if objective.first_token_ms is None and objective.output_token_ms is None:
        raise ValueError("the objective promises nothing; expected a time to first token, per output token, or both")
    positive: Iterable[tuple[str, float | None]] = (
        ("first_token_ms of the objective", objective.first_token_ms),
        ("output_token_ms of the objective", objective.output_token_ms),
        ("measured first_token_ms", today.first_token_ms),
        ("measured output_token_ms", today.output_token_ms),
        ("output_tokens", mix.output_tokens),
        ("input_tokens less cached_tokens", mix.input_tokens - mix.cached_tokens),
        ("peak_requests_per_second", today.peak_requests_per_second),
        ("replicas", today.replicas),
        ("replicas_min", replicas_min),
        *((f"price of {gpu}", price) for gpu, price in prices.items()),
    )
    for name, value in positive:
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0; got {value}")
    if not (mix.cached_tokens >= 0 and 0 <= headroom_ratio < math.inf and 0 <= today.sequences < math.inf):
        raise ValueError(
            f"cached_tokens, headroom_ratio and sequences must not be negative; got {mix.cached_tokens}, "
            f"{headroom_ratio}, {today.sequences}"
        )
