from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.cost.advice import Advice, AdviceGap, AdviceKind
from analytics.cost.whatif import (
    Capacity,
    Curve,
    LatencyObjective,
    Slowness,
    Today,
    TokenMix,
    WhatIf,
    advise,
    capacity,
    curves_of,
    first_token_ms,
    kv_tokens,
    output_token_ms,
    prefill_ms,
    slowdown,
    time_factors,
    what_if,
)
from simulator.physics import StepModel

FITS = Path(__file__).parents[4] / "shared" / "data" / "workloads" / "sim_latency_grid" / "fits.parquet"

MODEL = "llama-3.1-8b"
MIX = TokenMix(input_tokens=1000, output_tokens=100)
# prefill 20 ms; a further token 10 + 0.1·B + (B-1)·20/100 = 9.8 + 0.3·B ms
BF16 = Curve(MODEL, "h100", 1, "bf16", 10, 0.1, 0, 0, 0.02, 0, 0.03, 0.04)
FP8 = replace(BF16, weights="fp8", d0=5, d1=0.05, p1=0.01)  # everything in half the time: 4.9 + 0.15·B
B200 = replace(FP8, gpu="b200")
OBJECTIVE = LatencyObjective(None, 24.8)
TODAY = Today(
    MODEL, "h100", 1, "bf16", replicas=6, sequences=50, first_token_ms=None, output_token_ms=24.8,
    peak_requests_per_second=40, hours_seen=168, coverage_ratio=1.0,
)  # fmt: skip
PRICES = {"h100": 4.0, "b200": 7.0}


def compared(**changed: object) -> WhatIf:
    found = what_if(replace(TODAY, **changed), [BF16, FP8, B200], MIX, OBJECTIVE, PRICES)
    assert isinstance(found, WhatIf)
    return found


def test_times_follow_the_curve():
    assert prefill_ms(BF16, MIX) == 20
    assert prefill_ms(replace(BF16, p0=3, p2=1e-6), TokenMix(1000, 100, 600)) == pytest.approx(3 + 400 * 0.02 + 0.64)
    assert output_token_ms(BF16, MIX, 50) == pytest.approx(24.8)
    assert first_token_ms(BF16, MIX, 50) == pytest.approx(20 * 50**0.42)


def test_curves_are_read_as_the_table_of_step_models_lists_them():
    fit = {
        "family": "qwen3-32b",
        "gpu": "h100",
        "gpus": 2,
        "weights": "fp8",
        "decode": [9.779, 0.026837, 2.3096e-05],
        "prefill": [8.5549, 0.037101, 7.2932e-07],
        "error": [0.012, 0.061, 0.024, 0.055],
    }
    (one,) = curves_of([fit])
    assert str(one) == "H100 ×2 fp8"
    assert (one.d0, one.d2, one.p0, one.p2) == (9.779, 2.3096e-05, 8.5549, 7.2932e-07)
    assert (one.decode_error_p95, one.prefill_error_p95) == (0.061, 0.055)


def test_the_time_per_output_token_is_the_simulators():
    steps = StepModel(p0=9.2, p1=0.0464, p2=4.02e-7, d0=10.88, d1=0.0393, d2=1.51e-5)
    curve = Curve(MODEL, "h100", 4, "fp8", 10.88, 0.0393, 1.51e-5, 9.2, 0.0464, 4.02e-7, 0, 0)
    for sequences in (1, 7, 64):
        mine = output_token_ms(curve, TokenMix(1024, 512), sequences)
        assert mine == pytest.approx(steps.time_per_output_token_ms(sequences, 1024, 512))


def test_the_largest_batch_within_the_objective_gives_the_capacity():
    found = capacity(BF16, MIX, OBJECTIVE, Slowness())
    assert (found.sequences, found.limit) == (50, "time per output token")
    assert found.requests_per_second == pytest.approx(50 / (0.020 * 50**0.42 + 2.48))  # 19.35 by Little's law
    assert capacity(BF16, MIX, LatencyObjective(None, 24.79), Slowness()).sequences == 49


def test_what_stands_in_the_way_is_named():
    assert capacity(BF16, MIX, OBJECTIVE, Slowness(), tokens=5499).limit == "KV space"
    assert capacity(BF16, MIX, OBJECTIVE, Slowness(), tokens=5500).sequences == 5
    assert capacity(BF16, MIX, LatencyObjective(40, None), Slowness()).limit == "time to first token"  # 2^(1/0.42)
    assert capacity(BF16, MIX, LatencyObjective(40, None), Slowness()).sequences == 5
    assert capacity(BF16, MIX, LatencyObjective(None, 1e9), Slowness()).limit == "sequences at once"
    assert capacity(BF16, MIX, LatencyObjective(None, 10), Slowness()) == Capacity(0, 0.0, "time per output token")


def test_weights_that_do_not_fit_leave_no_kv_space():
    # 72 GiB of 80 less 3.9 for the runtime, less 8.03e9 weights of 2 bytes, at 131,072 bytes a token
    assert kv_tokens(BF16) == int((68.1 * 2**30 - 16.06e9) // 131_072) == 435_347
    assert kv_tokens(replace(BF16, model="llama-3.1-405b", tensor_parallel=8)) == 0
    assert kv_tokens(replace(BF16, model="gpt-oss-120b", weights="native")) > 0
    with pytest.raises(ValueError, match="no memory figures of gpt-9 on h100; known models are llama-3"):
        kv_tokens(replace(BF16, model="gpt-9"))
    with pytest.raises(ValueError, match="unknown weight format fp3; known are native, bf16"):
        kv_tokens(replace(BF16, weights="fp3"))


def test_today_needs_what_its_measured_times_say():
    # 40 requests/s and a fifth of headroom: 48, at 19.35 a replica: 3 replicas, of 6 paid at 4 $ for 730 h
    found = compared()
    assert (found.slowness.output_token, found.need.gpus, found.need.usd_per_month) == (1.0, 3, 8760.0)
    assert found.paid_usd_per_month == 17520.0
    # measured half as fast again: 1.5 × (9.8 + 0.3·B) <= 24.8 at B = 22, 22 / (0.020·22^0.42 + 2.46) = 8.71/s: 6
    slow = compared(output_token_ms=37.2)
    assert slow.slowness.output_token == pytest.approx(1.5)
    assert (slow.need.capacity.sequences, slow.need.gpus) == (22, 6)


def test_other_configurations_are_scaled_by_todays_ratio_and_carry_a_range():
    (fp8, b200) = compared(output_token_ms=37.2).choices
    # 1.5 × (4.9 + 0.15·B) <= 24.8 at B = 77: 77 / (0.010·77^0.42 + 2.4675) = 30.46/s: 2 replicas for 48
    assert (str(fp8.curve), fp8.capacity.sequences, fp8.gpus) == ("H100 ×1 fp8", 77, 2)
    low, middle, high = time_factors(BF16, FP8)
    assert (low, middle, high) == pytest.approx((1 - 0.1170, 1, 1 + 0.1360), abs=1e-4)  # 0.11 and 0.13 beside 0.04
    assert fp8.gpus_range == (2, 2)
    # slower by 1 + √(0.29² + 0.04²) = 1.293: 57 at once do 22.8/s, so 3 GPUs at worst
    assert (b200.gpus, b200.gpus_range) == (2, (2, 3))
    assert b200.usd_per_month_range == pytest.approx((2 * 7 * 730, 3 * 7 * 730))


def test_the_saving_is_against_the_need_or_what_is_paid_whichever_is_less():
    (one,) = advise(compared(output_token_ms=37.2))
    assert isinstance(one, Advice)
    assert one.kind is AdviceKind.WEIGHT_FORMAT
    assert one.saves_usd_per_month == pytest.approx((4 * 4 * 730, 4 * 4 * 730))  # 6 GPUs needed, 2 then
    assert one.title == (
        "Serve llama-3.1-8b on H100 ×1 fp8 in place of H100 ×1 bf16: 2 GPUs do what 6 do now, at the same objective."
    )
    assert one.confidence == pytest.approx(0.68 * 0.875)
    assert "Measured over modelled today: 1.50 for a further token, 1.00 for the first." in one.why
    assert "Today's times were measured at 50 requests at once; at others they follow the curve." in one.assumptions
    assert "$8,760 a month is paid beyond" not in " ".join(one.why)  # six are paid and six are needed
    (spare,) = advise(compared(output_token_ms=37.2, replicas=9))
    assert isinstance(spare, Advice)
    assert spare.saves_usd_per_month == one.saves_usd_per_month
    assert "$8,760 a month is paid beyond today's need and not counted here." in spare.why
    (fewer,) = advise(compared(output_token_ms=37.2, replicas=3))
    assert isinstance(fewer, Advice)
    assert fewer.saves_usd_per_month == pytest.approx((4 * 730, 4 * 730))


def test_another_gpu_type_is_advised_where_it_saves_more_and_its_whole_range_is_a_saving():
    cheap = {"h100": 4.0, "b200": 2.0}
    found = what_if(replace(TODAY, output_token_ms=37.2), [BF16, FP8, B200], MIX, OBJECTIVE, cheap)
    assert isinstance(found, WhatIf)
    same, other = advise(found)
    assert isinstance(same, Advice)
    assert isinstance(other, Advice)
    assert (same.kind, other.kind) == (AdviceKind.WEIGHT_FORMAT, AdviceKind.GPU_TYPE)
    assert other.saves_usd_per_month == pytest.approx((24 * 730 - 6 * 730, 24 * 730 - 4 * 730))
    assert "No such GPUs to be had at this price." in other.breaks_if
    risky = what_if(TODAY, [BF16, B200], MIX, OBJECTIVE, {"h100": 4.0, "b200": 7.0})
    assert isinstance(risky, WhatIf)
    assert risky.choices[0].usd_per_month_range[1] >= risky.need.usd_per_month
    assert advise(risky) == []


def test_gpu_types_and_mixtures_of_experts_that_were_not_checked_are_less_sure():
    today = replace(TODAY, output_token_ms=37.2)
    prices = {"h100": 4.0, "l40s": 0.5, "h200": 0.5}
    for gpu, sure in (("l40s", 0.45), ("h200", 0.95)):
        found = what_if(today, [BF16, replace(FP8, gpu=gpu, weights="bf16")], MIX, OBJECTIVE, prices)
        assert isinstance(found, WhatIf)
        (one,) = advise(found)
        assert isinstance(one, Advice)
        assert one.confidence == pytest.approx(sure * 0.875)


def test_what_is_missing_is_said_in_place_of_advice():
    def gap(today: Today = TODAY, curves: tuple[Curve, ...] = (BF16, FP8), prices: dict[str, float] = PRICES) -> str:
        found = what_if(today, curves, MIX, OBJECTIVE, prices)
        assert isinstance(found, AdviceGap)
        return found.missing

    assert gap(replace(TODAY, tensor_parallel=2)) == "no curve and memory figures of it on h100 ×2 bf16"
    assert gap(prices={"b200": 7.0}) == "no price of h100, so it was not compared"
    assert gap(replace(TODAY, output_token_ms=None)).startswith("no measured time per output token")
    assert gap(replace(TODAY, output_token_ms=100.0)).startswith("no batch of H100 ×1 bf16 keeps the objective")
    found = what_if(TODAY, [BF16, B200], MIX, OBJECTIVE, {"h100": 4.0})
    assert isinstance(found, WhatIf)
    assert [one.missing for one in advise(found) if isinstance(one, AdviceGap)] == [
        "no price of b200, so it was not compared"
    ]


def test_input_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="the objective promises nothing"):
        what_if(TODAY, [BF16], MIX, LatencyObjective(None, None), PRICES)
    for today, mix, told in (
        (replace(TODAY, replicas=0), MIX, "replicas must be above 0; got 0"),
        (replace(TODAY, peak_requests_per_second=float("nan")), MIX, "peak_requests_per_second must be above 0"),
        (TODAY, TokenMix(1000, 0), "output_tokens must be above 0; got 0"),
        (TODAY, TokenMix(1000, 10, 1000), "input_tokens less cached_tokens must be above 0"),
        (TODAY, TokenMix(1000, 10, -5), "must not be negative; got -5"),
    ):
        with pytest.raises(ValueError, match=told):
            what_if(today, [BF16], mix, OBJECTIVE, PRICES)
    with pytest.raises(ValueError, match="price of h100 must be above 0; got 0"):
        what_if(TODAY, [BF16], MIX, OBJECTIVE, {"h100": 0})


def test_requests_take_longer_on_a_fuller_replica():
    before, after = (20 * n**0.42 + 100 * (9.8 + 0.3 * n) for n in (10, 50))
    assert slowdown(BF16, MIX, Slowness(), 10, 50) == pytest.approx(after / before)
    assert slowdown(BF16, MIX, Slowness(), 50, 10) == 1.0


times = st.floats(0.5, 20.0)
curves = st.builds(
    replace, st.just(BF16), d0=times, d1=st.floats(0, 0.5), d2=st.floats(0, 1e-4), p0=times, p1=st.floats(0.001, 0.1),
    p2=st.floats(0, 1e-6),
)  # fmt: skip


@settings(deadline=None)
@given(curves, st.floats(1, 200), st.floats(1, 3), st.floats(20, 5000))
def test_capacity_grows_with_the_objective_and_falls_with_slowness(curve, token_ms, looser, first_ms):
    base = capacity(curve, MIX, LatencyObjective(first_ms, token_ms), Slowness())
    more = capacity(curve, MIX, LatencyObjective(first_ms * looser, token_ms * looser), Slowness())
    less = capacity(curve, MIX, LatencyObjective(first_ms, token_ms), Slowness(looser, looser))
    assert less.sequences <= base.sequences <= more.sequences
    assert less.requests_per_second <= base.requests_per_second * (1 + 1e-9)
    assert base.requests_per_second <= more.requests_per_second * (1 + 1e-9)
    if base.sequences > 0:
        assert output_token_ms(curve, MIX, base.sequences) <= token_ms
        assert first_token_ms(curve, MIX, base.sequences) <= first_ms
    if base.limit == "time per output token":
        assert output_token_ms(curve, MIX, base.sequences + 1) > token_ms


@settings(deadline=None)
@given(curves, curves, st.floats(0.1, 50), st.floats(0.1, 50), st.floats(1, 5), st.floats(12, 100))
def test_no_negative_saving_is_listed_and_a_dearer_choice_saves_no_more(now, other, mine, theirs, dearer, token_ms):
    now, other = replace(now, d0=5.0), replace(other, gpu="b200")
    today = replace(TODAY, output_token_ms=output_token_ms(now, MIX, 50))

    def saves(price: float) -> tuple[float, float]:
        prices = {"h100": mine, "b200": price}
        found = what_if(today, [now, other], MIX, LatencyObjective(None, token_ms), prices)
        if isinstance(found, AdviceGap):
            return 0.0, 0.0
        for choice in found.choices:
            assert choice.gpus_range[0] <= choice.gpus <= choice.gpus_range[1]
        listed = [one.saves_usd_per_month for one in advise(found) if isinstance(one, Advice)]
        assert all(0 <= low <= high for low, high in listed)
        return listed[0] if listed else (0.0, 0.0)

    for cheap, dear in zip(saves(theirs), saves(theirs * dearer), strict=True):
        assert dear <= cheap + 1e-6


@pytest.mark.skipif(not FITS.exists(), reason="the fitted curves are not beside the repository")
def test_the_fitted_curves_give_a_plain_answer():
    names = ("d0_ms", "d1_ms_per_seq", "d2_ms_per_seq_ctx_token", "p0_ms", "p1_ms_per_token", "p2_ms_per_token2")
    every = []
    for row in pl.read_parquet(FITS).iter_rows(named=True):
        family = row["model"].split("/")[1].lower().removeprefix("meta-")
        errors = row["decode_mape_p95"], row["prefill_mape_p95"]
        gpu = row["gpu"].removesuffix("_sxm")
        every.append(Curve(family, gpu, row["tp"], row["quant"], *(row[name] for name in names), *errors))
    assert all(capacity(one, MIX, LatencyObjective(None, 1e6), Slowness()).sequences >= 0 for one in every)
    assert len(every) == 77
    today = Today("llama-3.1-70b", "h100", 4, "bf16", 10, 12, 620, 24.0, 12.0, 168, 1.0)
    prices = {"a100": 2.7, "h100": 3.85, "h200": 4.5, "b200": 7.15}
    found = what_if(today, every, TokenMix(2000, 250), LatencyObjective(1000, 40), prices)
    assert isinstance(found, WhatIf)
    assert found.slowness.output_token == pytest.approx(1.09, abs=0.005)
    assert (found.need.capacity.sequences, found.need.gpus) == (35, 20)
    fp8 = next(one for one in found.choices if str(one.curve) == "H100 ×4 fp8")
    assert (fp8.capacity.sequences, fp8.gpus, fp8.gpus_range) == (53, 12, (12, 16))
    assert not any(one.curve.gpu == "a100" and one.usd_per_month < found.need.usd_per_month for one in found.choices)
