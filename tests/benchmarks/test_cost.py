from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analytics.cost.request_shares import shares_from_steps
from benchmarks.cost import CASES, GOALS, arrivals, by_duration, by_opencost, errors, estimates
from simulator.batching import play

DATA = Path(__file__).parents[3] / "shared" / "data" / "workloads"
recorded = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded workloads in {DATA}")


def test_an_error_is_of_shares_of_the_same_whole() -> None:
    truth = np.array([1.0, 2.0, 5.0])
    assert errors(3 * truth, truth).tolist() == pytest.approx([0.0, 0.0, 0.0])
    assert errors(np.array([2.0, 1.0, 1.0]), truth).tolist() == pytest.approx([3.0, 0.0, 0.6])


def test_the_ways_of_others_split_by_time_and_by_tokens() -> None:
    requests = pl.DataFrame(
        {
            "latency_ms": [500.0, 1500.0],
            "prefill_ms": [100.0, 300.0],
            "decode_ms": [400.0, 1200.0],
            "input_tokens": [1000, 3000],
            "cached_tokens": [0, 2000],
            "output_tokens": [10, 30],
        }
    )
    assert by_duration(requests).tolist() == [500.0, 1500.0]
    assert by_opencost(requests).tolist() == pytest.approx([400 / 2 + 1600 / 4, 400 / 2 + 1600 * 3 / 4])


@recorded
def test_cached_prefixes_are_whole_blocks_and_less_than_the_prompt() -> None:
    found = arrivals(DATA, "long", 1.0, seed=0)
    assert found.height == 12_031
    assert (found["cached_tokens"] < found["input_tokens"]).all()
    assert (found["cached_tokens"] % 512 == 0).all()
    assert 0.3 < found["cached_tokens"].sum() / found["input_tokens"].sum() < 0.45  # published: 37 % of blocks


@recorded
@pytest.mark.parametrize("trace", ["conv", "code", "long"])
def test_the_estimate_of_a_few_recorded_requests_is_within_the_goals(trace: str) -> None:
    case = next(one for one in CASES if one.trace == trace)
    played = play(arrivals(DATA, trace, 0.05, seed=1), case.model.steps, case.batching(1))
    truth = shares_from_steps(played.step_log, case.true())["engine_ms"].to_numpy()
    weights, everyone = estimates(played, case, seed=1)["per_request"]
    found = errors(weights, truth[everyone])
    assert np.median(found) <= GOALS[0]
    assert np.quantile(found, 0.95) <= GOALS[1]
