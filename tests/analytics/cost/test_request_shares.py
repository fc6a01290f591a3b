from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from analytics.cost.request_shares import estimated_shares, shares_from_steps
from analytics.cost.step_models import StepModel
from simulator.batching import Batching, Played, play
from simulator.physics import LLAMA_70B_FP8_TP4

START = datetime(2026, 3, 1, tzinfo=UTC)
MODEL = StepModel(d0=10.0, d1=0.1, d2=1e-4, p0=8.0, p1=0.05, p2=1e-6)
TRUE = LLAMA_70B_FP8_TP4.steps
KNOWN = StepModel(TRUE.d0, TRUE.d1, TRUE.d2, TRUE.p0, TRUE.p1, TRUE.p2)
REQUEST = {
    "replica": "one",
    "queue_ms": 0.0,
    "prefill_ms": 100.0,
    "decode_ms": 1000.0,
    "latency_ms": 1100.0,
    "input_tokens": 500,
    "cached_tokens": 0,
    "output_tokens": 51,
    "is_error": False,
}
SCHEMA: dict[str, Any] = {
    "time": pl.Datetime("us", "UTC"),
    "replica": pl.String,
    "queue_ms": pl.Float64,
    "prefill_ms": pl.Float64,
    "decode_ms": pl.Float64,
    "latency_ms": pl.Float64,
    "input_tokens": pl.UInt32,
    "cached_tokens": pl.UInt32,
    "output_tokens": pl.UInt32,
    "is_error": pl.Boolean,
}


def requests(*rows: dict[str, Any]) -> pl.DataFrame:
    """Each as `REQUEST`, but for what is said; `at_ms` is when it starts."""
    whole = [{**REQUEST, "time": START + timedelta(milliseconds=row.get("at_ms", 0)), **row} for row in rows]
    return pl.DataFrame([{name: row[name] for name in SCHEMA} for row in whole], schema=SCHEMA)


def own_ms(prompt: int, cached: int, output: int) -> float:
    """What it adds to its steps."""
    return (
        sum(MODEL.d1 + MODEL.d2 * (prompt + made) for made in range(1, output))
        + MODEL.p1 * (prompt - cached)
        + MODEL.p2 * (prompt**2 - cached**2)
    )


def test_a_step_is_split_into_equal_parts_of_what_is_common_and_each_ones_own() -> None:
    log = pl.DataFrame(
        {
            "step": [4, 4, 4, 9],
            "duration_ms": [100.0, 100.0, 100.0, 7.0],
            "request": [3, 1, 2, 1],
            "is_prefill": [False, False, True, False],
            "tokens": [1, 1, 200, 1],
            "context_tokens": [1000, 3000, 50, 3001],
        }
    )
    shares = shares_from_steps(log, MODEL)
    parts = {3: 10 / 2 + 0.1 + 0.1, 1: 10 / 2 + 0.1 + 0.3, 2: 8 + 200 * (0.05 + 1e-6 * (100 + 200))}
    scale = 100 / sum(parts.values())
    assert shares["request"].to_list() == [1, 2, 3]
    assert shares["engine_ms"].to_list() == pytest.approx([parts[1] * scale + 7.0, parts[2] * scale, parts[3] * scale])


def test_a_log_without_steps_has_no_shares() -> None:
    empty = {"step": [], "duration_ms": [], "request": [], "is_prefill": [], "tokens": [], "context_tokens": []}
    types = {"is_prefill": pl.Boolean, "duration_ms": pl.Float64}
    log = pl.DataFrame(empty, schema={name: types.get(name, pl.UInt32) for name in empty})
    assert shares_from_steps(log, MODEL).is_empty()


def played(count: int, requests_per_s: float, **set_up: Any) -> Played:
    randomness = np.random.default_rng(3)
    seconds = np.cumsum(randomness.exponential(1 / requests_per_s, count))
    prompts = np.exp(randomness.normal(7.0, 1.0, count)).clip(10, 20_000).astype(np.int64)
    arrivals = pl.DataFrame(
        {
            "time": [START + timedelta(seconds=second) for second in seconds.tolist()],
            "input_tokens": prompts,
            "cached_tokens": np.where(randomness.random(count) < 0.3, prompts // 2, 0),
            "output_tokens": randomness.geometric(1 / 200, count),
            "replica": ["one"] * count,
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )
    return play(arrivals, TRUE, Batching(**({"kv_capacity_tokens": 600_000, "noise_ratio": 0.03} | set_up)))


def truth_of(one: Played) -> NDArray[np.float64]:
    return shares_from_steps(one.step_log, KNOWN)["engine_ms"].to_numpy()


def errors(estimate: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(estimate / estimate.sum() * truth.sum() - truth) / truth


def test_exact_shares_add_up_to_the_length_of_all_steps() -> None:
    one = played(300, 5.0, kv_capacity_tokens=40_000)
    assert one.requests["preemptions"].sum() > 0
    assert truth_of(one).sum() == pytest.approx(one.step_log.unique("step")["duration_ms"].sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("requests_per_s", "set_up"),
    [
        (0.2, {}),
        (2.0, {}),
        (6.0, {}),
        (6.0, {"step_tokens": 2048}),
        (20.0, {"max_sequences": 16}),
        (20.0, {"kv_capacity_tokens": 40_000}),
    ],
    ids=["light", "usual", "heavy", "chunked", "queued", "preempting"],
)
def test_estimates_are_near_the_truth_of_the_step_log(requests_per_s: float, set_up: dict[str, Any]) -> None:
    one = played(1000, requests_per_s, **set_up)
    found = errors(estimated_shares(one.requests, None, KNOWN).to_numpy(), truth_of(one))
    assert np.median(found) < 0.05
    assert np.quantile(found, 0.95) < 0.15
    by_duration = errors(one.requests["latency_ms"].to_numpy(), truth_of(one))
    assert np.median(by_duration) > 5 * np.median(found)


def test_a_gauge_tells_of_those_whose_records_are_not_there() -> None:
    one = played(2000, 8.0, max_sequences=24)
    running = one.scrapes.select(pl.lit("one").alias("replica"), "time", pl.col("num_requests_running").alias("value"))
    truth, seen = truth_of(one)[::10], one.requests[::10]
    with_gauge = errors(estimated_shares(seen, running, KNOWN).to_numpy(), truth)
    without = errors(estimated_shares(seen, None, KNOWN).to_numpy(), truth)
    assert np.median(with_gauge) < 0.1 < np.median(without)
    # Where all records are there, they are sharper than the gauge, and it changes nothing.
    assert estimated_shares(one.requests, running, KNOWN).equals(estimated_shares(one.requests, None, KNOWN))


def test_what_a_gauge_told_at_other_times_changes_nothing() -> None:
    frame = requests({}, {"at_ms": 200})
    running = pl.DataFrame(
        {"replica": ["one"] * 3, "time": [START + timedelta(hours=hour) for hour in (-1, 1, 2)], "value": [40.0] * 3},
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )
    assert estimated_shares(frame, running, MODEL).equals(estimated_shares(frame, None, MODEL))


def test_one_alone_has_all_that_is_common() -> None:
    frame = requests({"cached_tokens": 200})
    assert estimated_shares(frame, None, MODEL).to_list() == pytest.approx([10 * 50 + 8 + own_ms(500, 200, 51)])


def test_those_who_decode_together_share_what_is_common() -> None:
    frame = requests({}, {"input_tokens": 900, "output_tokens": 51})
    shares = estimated_shares(frame, None, MODEL).to_list()
    assert shares == pytest.approx([10 * 50 / 2 + 4 + own_ms(500, 0, 51), 10 * 50 / 2 + 4 + own_ms(900, 0, 51)])


def test_the_share_of_what_is_common_is_a_mean_over_the_own_steps() -> None:
    # The other decodes in the second half of the first one's stage, at a slightly slower pace.
    frame = requests(
        {"prefill_ms": 0.0},
        {"at_ms": 500, "prefill_ms": 0.0},
    )
    shares = estimated_shares(frame, None, MODEL).to_list()
    assert shares == pytest.approx([10 * (25 + 25 / 2) + 8 + own_ms(500, 0, 51)] * 2, rel=0.005)


def test_replicas_do_not_share() -> None:
    apart = estimated_shares(requests({}, {"replica": "two"}, {"replica": None}), None, MODEL)
    alone = estimated_shares(requests({}), None, MODEL).item()
    assert apart.to_list() == pytest.approx([alone] * 3)


def test_stages_of_clocks_that_disagree_are_taken_as_none() -> None:
    frame = requests({"prefill_ms": -5.0}, {"queue_ms": -3.0, "at_ms": 9000})
    alone = estimated_shares(requests({}), None, MODEL).item()
    assert estimated_shares(frame, None, MODEL).to_list() == pytest.approx([alone, alone])


def test_the_order_of_records_changes_nothing() -> None:
    frame = played(300, 5.0).requests
    shuffled = frame.with_row_index("row").sample(fraction=1.0, shuffle=True, seed=1)
    found = shuffled.with_columns(estimated_shares(shuffled, None, KNOWN)).sort("row")["engine_ms"]
    assert found.to_list() == pytest.approx(estimated_shares(frame, None, KNOWN).to_list())


def test_unknown_cached_tokens_are_none() -> None:
    told, untold = (estimated_shares(requests({"cached_tokens": cached}), None, MODEL).item() for cached in (0, None))
    assert told == untold


def test_partial_output_counts_as_far_as_it_was_made() -> None:
    cut = requests({"output_tokens": 21, "decode_ms": 400.0, "is_error": True})
    assert estimated_shares(cut, None, MODEL).to_list() == pytest.approx([10 * 20 + 8 + own_ms(500, 0, 21)])
    unmade = requests({"output_tokens": 0, "decode_ms": 0.0})
    assert estimated_shares(unmade, None, MODEL).to_list() == pytest.approx([8 + 500 * (0.05 + 500e-6)])


def test_an_error_that_never_reached_the_engine_used_nothing() -> None:
    nothing = {"prefill_ms": None, "decode_ms": None, "latency_ms": 3.0, "is_error": True}
    frame = requests({}, nothing | {"output_tokens": None}, nothing | {"output_tokens": 0, "input_tokens": None})
    alone = estimated_shares(frame[:1], None, MODEL).item()
    assert estimated_shares(frame, None, MODEL).to_list() == pytest.approx([alone, 0.0, 0.0])


def test_output_that_is_not_told_is_what_the_stage_had_time_for() -> None:
    # The other decodes 50 tokens in a second, so this one 25 in half a second.
    frame = requests({}, {"at_ms": 5000, "decode_ms": 500.0, "output_tokens": None})
    assert estimated_shares(frame, None, MODEL)[1] == pytest.approx(10 * 25 + 8 + own_ms(500, 0, 26))


def test_input_that_is_not_told_is_the_usual() -> None:
    frame = requests({"input_tokens": 300}, {"at_ms": 5000, "input_tokens": None})
    assert estimated_shares(frame, None, MODEL)[1] == pytest.approx(10 * 50 + 8 + own_ms(300, 0, 51))


def test_without_stages_the_latency_is_split_as_the_model_would() -> None:
    one = played(1000, 2.0)
    untold = one.requests.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("prefill_ms", "decode_ms"))
    found = errors(estimated_shares(untold, None, KNOWN).to_numpy(), truth_of(one))
    assert np.median(found) < 0.05
    assert np.quantile(found, 0.95) < 0.15


def test_nothing_at_all_is_told_of_no_requests_and_of_requests_without_numbers() -> None:
    assert estimated_shares(requests(), None, MODEL).to_list() == []
    numbers = dict.fromkeys([name for name, value in REQUEST.items() if isinstance(value, int | float)])
    frame = requests(numbers, numbers | {"at_ms": 10})
    assert estimated_shares(frame, None, MODEL).to_list() == [0.0, 0.0]
