from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from simulator.batching import BLOCK_TOKENS, STEP_LOG, Batching, Played, play
from simulator.physics import LLAMA_70B_FP8_TP4

STEPS = LLAMA_70B_FP8_TP4.steps
START = datetime(2026, 3, 1, tzinfo=UTC)
ROOMY = Batching(kv_capacity_tokens=500_000, max_sequences=64)
TIGHT = Batching(kv_capacity_tokens=6_400, max_sequences=64, noise_ratio=0.03)


def arrivals(*rows: tuple[float, int, int, int]) -> pl.DataFrame:
    """Of (second, prompt, cached, output)."""
    seconds, prompts, cached, outputs = zip(*rows, strict=True)
    return pl.DataFrame(
        {
            "time": [START + timedelta(seconds=second) for second in seconds],
            "input_tokens": prompts,
            "cached_tokens": cached,
            "output_tokens": outputs,
            "tenant": ["acme"] * len(rows),
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )


def crowd(count: int, requests_per_s: float, seed: int = 0) -> pl.DataFrame:
    randomness = np.random.default_rng(seed)
    seconds = np.cumsum(randomness.exponential(1 / requests_per_s, count))
    prompts = randomness.integers(50, 3000, count)
    cached = np.where(randomness.random(count) < 0.3, prompts // 2, 0)
    outputs = randomness.integers(1, 300, count)
    return arrivals(*zip(seconds.tolist(), prompts.tolist(), cached.tolist(), outputs.tolist(), strict=True))


@pytest.fixture(
    scope="module", params=[ROOMY, replace(ROOMY, step_tokens=512), TIGHT], ids=["roomy", "chunks", "tight"]
)
def played(request: pytest.FixtureRequest) -> Played:
    return play(crowd(300, 20.0), STEPS, request.param)


def test_one_request_alone_takes_what_the_step_model_says() -> None:
    requests = play(arrivals((0.0, 1000, 200, 5)), STEPS, ROOMY).requests
    (row,) = requests.iter_rows(named=True)
    assert row["queue_ms"] == 0.0
    assert row["prefill_ms"] == pytest.approx(STEPS.prefill_ms(800.0, 200.0))
    assert row["decode_ms"] == pytest.approx(sum(STEPS.decode_step_ms(1, 1000 + made) for made in range(1, 5)))
    assert row["latency_ms"] == pytest.approx(row["ttft_ms"] + row["decode_ms"])
    assert row["tenant"] == "acme"


def test_a_prompt_longer_than_a_step_is_computed_in_chunks_that_cost_what_it_costs_whole() -> None:
    set_up = replace(ROOMY, step_tokens=512)
    log = play(arrivals((0.0, 2000, 0, 1)), STEPS, set_up).step_log
    assert log["tokens"].to_list() == [512, 512, 512, 464]
    assert log["context_tokens"].to_list() == [0, 512, 1024, 1536]
    assert log["duration_ms"].sum() == pytest.approx(STEPS.prefill_ms(2000.0, 0.0) + 3 * STEPS.p0)


def test_a_prompt_slows_down_those_who_decode_beside_it() -> None:
    alone = play(arrivals((0.0, 100, 0, 100)), STEPS, ROOMY).requests["decode_ms"][0]
    beside = play(arrivals((0.0, 100, 0, 100), (0.5, 4000, 0, 1)), STEPS, ROOMY).requests["decode_ms"][0]
    assert beside - alone == pytest.approx(STEPS.prefill_ms(4000.0, 0.0))


def test_every_token_is_in_the_log_once(played: Played) -> None:
    requests = played.requests.with_row_index("request")
    log = played.step_log
    assert dict(log.schema) == STEP_LOG
    made = log.filter(~pl.col("is_prefill")).group_by("request").len("made")
    found = requests.join(made, on="request", how="left").with_columns(pl.col("made").fill_null(0))
    calm = found.filter(pl.col("preemptions") == 0)
    assert (calm["made"] == calm["output_tokens"] - 1).all()
    # After a preemption the next token comes with the last chunk, as the first one does.
    again = found.filter(pl.col("preemptions") > 0)
    assert (again["made"] <= again["output_tokens"] - 1).all()
    assert (again["made"] >= again["output_tokens"] - 1 - again["preemptions"]).all()
    computed = log.filter("is_prefill").group_by("request").agg(pl.col("tokens").sum())
    calm = calm.join(computed, on="request")
    assert (calm["tokens"] == calm["input_tokens"] - calm["cached_tokens"]).all()
    assert (found.join(computed, on="request").select(pl.col("tokens") >= 1)).to_series().all()


def test_steps_follow_each_other_and_fill_the_stages(played: Played) -> None:
    steps = played.step_log.unique("step").sort("step")
    ends = steps["time"] + pl.Series(steps["duration_ms"] * 1000).cast(pl.Duration("us"))
    gaps_us = (steps["time"][1:] - ends[:-1]).dt.total_microseconds()
    assert gaps_us.min() >= -2  # times are rounded to microseconds
    requests = played.requests.filter(pl.col("preemptions") == 0)
    assert requests["queue_ms"].min() >= 0
    assert requests["prefill_ms"].min() > 0
    # While a request decodes, it is in every step: its stage is the sum of their lengths.
    decoded = played.step_log.filter(~pl.col("is_prefill")).group_by("request").agg(pl.col("duration_ms").sum())
    found = played.requests.with_row_index("request").join(decoded, on="request").filter(pl.col("preemptions") == 0)
    assert found.height > 100
    assert (found["decode_ms"] - found["duration_ms"]).abs().max() < 1e-6


def test_no_step_has_more_tokens_or_sequences_than_are_allowed() -> None:
    set_up = replace(ROOMY, step_tokens=512, max_sequences=16)
    log = play(crowd(300, 20.0), STEPS, set_up).step_log
    steps = log.group_by("step").agg(pl.col("tokens").sum(), pl.len())
    assert steps["tokens"].max() == 512
    assert steps["len"].max() == 16


def test_the_cache_is_never_overfull_and_preempts_when_it_would_be() -> None:
    played = play(crowd(300, 20.0), STEPS, TIGHT)
    assert 0.9 < played.scrapes["kv_cache_usage_ratio"].max() <= 1.0
    # A sequence holds the blocks of its context in every step that it decodes in.
    held = pl.col("context_tokens") + pl.when("is_prefill").then("tokens").otherwise(0)
    blocks = played.step_log.group_by("step").agg(((held - 1) // BLOCK_TOKENS + 1).sum().alias("blocks"))
    assert blocks["blocks"].max() <= TIGHT.kv_capacity_tokens // BLOCK_TOKENS
    assert played.requests["preemptions"].sum() == played.scrapes["num_preemptions_total"][-1] > 0


def test_prompts_are_computed_first_come_first_served(played: Played) -> None:
    begun = played.requests["time"] + pl.Series(played.requests["queue_ms"] * 1000).cast(pl.Duration("us"))
    assert (begun[1:] - begun[:-1]).dt.total_microseconds().min() >= -2


def test_without_prefix_caching_a_preempted_sequence_computes_all_again() -> None:
    caching = play(crowd(300, 20.0), STEPS, TIGHT)
    without = play(crowd(300, 20.0), STEPS, replace(TIGHT, prefix_caching=False))
    computed = [one.step_log.filter("is_prefill")["tokens"].sum() for one in (caching, without)]
    asked = int((caching.requests["input_tokens"] - caching.requests["cached_tokens"]).sum())
    assert asked < computed[0] < computed[1]


def test_scrapes_add_up_to_what_was_asked(played: Played) -> None:
    last, requests = played.scrapes[-1], played.requests
    assert last["prompt_tokens_total"].item() == requests["input_tokens"].sum()
    assert last["generation_tokens_total"].item() == requests["output_tokens"].sum()
    assert last.select("num_requests_running", "num_requests_waiting", "kv_cache_usage_ratio").row(0) == (0, 0, 0.0)
    assert played.scrapes["num_requests_waiting"].min() >= 0
    assert (played.scrapes["time"].diff().drop_nulls() == timedelta(seconds=15)).all()


def test_equal_inputs_give_equal_outputs_and_another_seed_other_noise() -> None:
    one, same, other = (play(crowd(100, 20.0), STEPS, replace(TIGHT, seed=seed)) for seed in (1, 1, 2))
    assert one.step_log.equals(same.step_log)
    assert one.requests.equals(same.requests)
    assert one.scrapes.equals(same.scrapes)
    assert not one.step_log.equals(other.step_log)


def test_what_cannot_be_served_is_refused() -> None:
    with pytest.raises(ValueError, match="arrival 1 asks for 10 tokens from 7000"):
        play(arrivals((0.0, 10, 0, 1), (1.0, 7000, 0, 10)), STEPS, TIGHT)
    with pytest.raises(ValueError, match="in order of time"):
        play(arrivals((1.0, 10, 0, 1), (0.0, 10, 0, 1)), STEPS, ROOMY)
    with pytest.raises(ValueError, match="more tokens a step than sequences"):
        Batching(kv_capacity_tokens=1000, max_sequences=64, step_tokens=64)
