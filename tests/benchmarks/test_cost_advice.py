"""What-ifs beside measurements: an engine on its curve is predicted exactly, and one that is not is seen."""

from dataclasses import replace

import pytest

from analytics.cost.whatif import Curve, TokenMix, first_token_ms, output_token_ms
from benchmarks.cost_advice import Point, left_out_needs, measured_rate, needs_of, pairs_of, rate_change, token_change

MIX = TokenMix(1000, 100)
H100 = Curve("llama-3.1-8b", "h100", 1, "bf16", 10, 0.1, 0, 0, 0.02, 0, 0.03, 0.04)
B200 = replace(H100, gpu="b200", d0=5, d1=0.05, p1=0.01)
BANDS = {True: (0.89, 1.13), False: (0.77, 1.29)}


def points(curve: Curve, slower: float = 1.0) -> list[Point]:
    """An engine on its curve, or slower in everything."""
    return [
        Point(
            curve,
            MIX,
            users,
            slower * first_token_ms(curve, MIX, users),
            slower * output_token_ms(curve, MIX, users),
        )
        for users in (4, 8, 16, 32, 64, 128)
    ]


def test_an_engine_on_its_curve_is_predicted_exactly() -> None:
    pairs = pairs_of([*points(H100), *points(B200)])
    assert len(pairs) == 12
    assert [change(*pair) for pair in pairs for change in (token_change, rate_change)] == pytest.approx([1.0] * 24)


def test_one_that_is_slower_than_its_curve_is_seen() -> None:
    pairs = pairs_of([*points(H100), *points(B200, 1.2)])
    assert {round(token_change(*pair), 6) for pair in pairs} == {1.2, round(1 / 1.2, 6)}
    assert {round(rate_change(*pair), 6) for pair in pairs} == {1.2, round(1 / 1.2, 6)}


def test_gpus_needed_are_compared_at_an_objective_inside_the_measurements() -> None:
    course = points(H100)  # 9.8 + 0.3·B ms: 14.6 at 16, 19.4 at 32
    assert measured_rate(course, 9.0) is None
    assert measured_rate(course, 60.0) is None
    assert measured_rate(course, 17.0) == pytest.approx(
        (course[2].requests_per_second + course[3].requests_per_second) / 2
    )
    needs = needs_of([*course, *points(B200)], BANDS)
    assert len(needs) == 4  # both ways at 15 and 20 ms: the H100 takes 11 ms and more, the B200 up to 24.1
    for need in needs:
        assert not need.is_same_gpu
        assert need.low <= need.measured <= need.high
        assert need.measured == pytest.approx(need.predicted, rel=0.1)


def test_a_model_is_judged_by_the_bands_of_the_others() -> None:
    other = {"model": "qwen3-32b"}
    others = [*points(replace(H100, **other)), *points(replace(B200, **other), 2.0)]
    others += [*points(replace(H100, **other, tensor_parallel=2))]
    mine = [*points(H100), *points(B200), *points(replace(H100, tensor_parallel=2))]
    wide = [need for need in left_out_needs([*mine, *others]) if need.model == "llama-3.1-8b" and not need.is_same_gpu]
    narrow = [need for need in needs_of(mine, BANDS) if not need.is_same_gpu]
    assert max(need.high / need.low for need in wide) > max(need.high / need.low for need in narrow)
