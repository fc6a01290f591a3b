from dataclasses import replace

import numpy as np
import pytest

from simulator.workload import (
    ASSIST_WORKLOAD,
    CHAT_WORKLOAD,
    DAY_S,
    HOUR_S,
    describe_arrivals,
    hour_of_arrivals,
    tenant_shares,
    traffic_factor,
)

MONDAY_S = 1_795_392_000  # 2026-11-23T00:00:00Z


def test_an_hour_is_the_same_each_time_and_differs_from_the_next() -> None:
    hour = MONDAY_S // HOUR_S
    once, again = (hour_of_arrivals(CHAT_WORKLOAD, (1,), hour, 6, 12) for _ in range(2))
    assert once.tobytes() == again.tobytes()
    assert hour_of_arrivals(CHAT_WORKLOAD, (1,), hour + 1, 6, 12)["trace_id_low"][0] != once["trace_id_low"][0]


def test_a_week_of_traffic_has_the_mean_rate_and_a_daily_and_weekly_swing() -> None:
    moments_s = MONDAY_S + np.arange(0, 7 * DAY_S, 600.0)
    factor = traffic_factor(moments_s)
    assert factor.mean() == pytest.approx(1.0, abs=0.001)
    by_day = factor.reshape(7, -1)
    assert by_day.argmax(axis=1).tolist() == [15 * 6] * 7
    assert by_day[5:].max() < by_day[:5].max()


def test_arrivals_come_at_the_rate_of_the_hour() -> None:
    hour = MONDAY_S // HOUR_S + 15
    arrivals = hour_of_arrivals(replace(ASSIST_WORKLOAD, requests_per_s=20.0), (3,), hour, 4, 12)
    expected = 20.0 * HOUR_S * traffic_factor(np.array([hour * HOUR_S + 1800.0]))[0]
    assert len(arrivals) == pytest.approx(expected, rel=0.02)
    gaps_s = np.diff(arrivals["arrived_at"])
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1.0, abs=0.02)  # Poisson


def test_assist_asks_and_answers_as_long_as_the_azure_conversation_trace() -> None:
    arrivals = describe_arrivals(np.zeros(200_000), ASSIST_WORKLOAD, np.random.default_rng(1), 4, 12)
    prompts = np.quantile(arrivals["prompt_tokens"], [0.5, 0.9, 0.99])
    outputs = np.quantile(arrivals["output_tokens"], [0.5, 0.9, 0.99])
    assert prompts == pytest.approx([1020, 2735, 4142], rel=0.02)
    assert outputs == pytest.approx([129, 424, 601], rel=0.02)


def test_chat_asks_like_the_mooncake_conversation_trace_up_to_its_window() -> None:
    arrivals = describe_arrivals(np.zeros(200_000), CHAT_WORKLOAD, np.random.default_rng(1), 6, 12)
    prompts, cached = arrivals["prompt_tokens"], arrivals["cached_tokens"]
    assert prompts.max() <= 32_768
    assert arrivals["output_tokens"].mean() == pytest.approx(343, rel=0.03)
    # The trace's quantiles of what fits into 32k (93.1 % of it).
    assert np.quantile(prompts, [0.25 / 0.9312, 0.5 / 0.9312]) == pytest.approx([2306, 6909], rel=0.03)
    assert cached.sum() / prompts.sum() == pytest.approx(0.37, abs=0.02)
    assert (cached < prompts).all()


def test_tenants_follow_zipf() -> None:
    shares = tenant_shares(12)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] / shares[3] == pytest.approx(4.0)


def test_the_two_choices_of_the_router_are_never_the_same_replica() -> None:
    arrivals = describe_arrivals(np.zeros(5_000), CHAT_WORKLOAD, np.random.default_rng(1), 6, 12)
    assert (arrivals["first_choice"] != arrivals["second_choice"]).all()
    assert set(arrivals["second_choice"].tolist()) == set(range(6))
