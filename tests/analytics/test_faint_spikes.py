"""What a few requests show only together is found, from when it began, and chance is not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.faint_spikes import Rise, find_faint_spikes, rises
from analytics.spikes import SpikeSettings, find_spikes
from domain.incident import Indicator

START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(seconds=15)
SETTINGS = SpikeSettings()
HOUR = 240  # buckets


def found(hits: Sequence[int], of: Sequence[int]) -> list[Rise]:
    return list(rises([START + i * STEP for i in range(len(hits))], hits, of, SETTINGS))


def drawn(shares: Sequence[tuple[int, float]], a_bucket: float, seed: int) -> tuple[list[int], list[int]]:
    """Hits and requests of so many buckets with such a share each."""
    randomness = np.random.default_rng(seed)
    share = np.concatenate([np.full(buckets, one) for buckets, one in shares])
    of = 1 + randomness.poisson(a_bucket - 1, len(share))
    return randomness.binomial(of, share).tolist(), of.tolist()


def test_one_replica_of_many_that_fails_is_told_soon_and_from_when_it_began() -> None:
    began, told, ended = [], [], []
    for seed in range(20):
        hits, of = drawn([(HOUR, 0.0005), (44, 0.07), (HOUR, 0.0005)], 12, seed)
        (rise,) = found(hits, of)
        began.append(abs(rise.first - HOUR))
        told.append(rise.told - HOUR)
        ended.append(abs(rise.last - (HOUR + 43)))
    assert np.median(began) <= 1
    assert max(began) <= 12
    assert max(told) <= 12
    assert max(ended) <= 6


def test_chance_is_seldom_a_rise() -> None:
    buckets = 40_000
    hits, of = drawn([(buckets, 0.01)], 12, seed=3)
    assert len(found(hits, of)) <= buckets / 1e4


def test_what_was_always_so_is_no_rise() -> None:
    assert not found([3] * 1000, [30] * 1000)


def test_what_calms_and_comes_again_is_a_second_rise() -> None:
    hits, of = drawn([(HOUR, 0.001), (40, 0.2), (60, 0.0), (40, 0.2), (60, 0.0)], 12, seed=5)
    assert [one.ended for one in found(hits, of)] == [True, True]


@pytest.mark.parametrize("share", [0.03, 0.04, 0.06, 0.1])
def test_a_steady_rise_is_one(share: float) -> None:
    for seed in range(10):
        hits, of = drawn([(2 * HOUR, 0.0005), (160, share), (2 * HOUR, 0.0005)], 12, seed)
        within = [rise for rise in found(hits, of) if rise.last >= 2 * HOUR and rise.first < 2 * HOUR + 160]
        assert len(within) == 1


def test_a_rise_to_what_is_nobodys_incident_hides_none_that_follows() -> None:
    hidden = 0
    for seed in range(10):
        hits, of = drawn([(HOUR, 0.0), (2 * HOUR, 0.008), (40, 0.08), (HOUR, 0.008)], 12, seed)
        hidden += not any(abs(rise.first - 3 * HOUR) <= 12 for rise in found(hits, of))
    assert hidden <= 1


def test_a_rise_is_over_when_traffic_stops_for_long() -> None:
    hits, of = [0] * HOUR + [6] * 10 + [2], [12] * (HOUR + 11)
    times = [START + i * STEP for i in range(HOUR + 10)]
    (rise,) = rises([*times, times[-1] + timedelta(hours=10)], hits, of, SETTINGS)
    assert rise == Rise(HOUR, HOUR, HOUR + 9, ended=True)


_STRETCHES = st.lists(
    st.tuples(st.integers(10, 60), st.sampled_from([0.0, 0.01, 0.05, 0.3]), st.sampled_from([0, 1, 60])),
    min_size=1,
    max_size=4,
)


@given(stretches=_STRETCHES, seed=st.integers(0, 1000), cut=st.integers(0, 300))
def test_rises_are_in_order_and_apart_and_what_a_bucket_tells_never_depends_on_later_ones(
    stretches: list[tuple[int, float, int]], seed: int, cut: int
) -> None:
    hits, of = drawn([(40, 0.002), *((buckets, share) for buckets, share, _ in stretches)], 12, seed)
    gaps = np.repeat(np.cumsum([0, *(gap for _, _, gap in stretches)]), [40, *(buckets for buckets, *_ in stretches)])
    times = [START + (i + int(gap)) * STEP for i, gap in enumerate(gaps)]
    whole = list(rises(times, hits, of, SETTINGS))
    assert all(one.first <= one.told and one.first <= one.last for one in whole)
    assert all(one.last < other.first for one, other in pairwise(whole))
    part = list(rises(times[:cut], hits[:cut], of[:cut], SETTINGS))
    assert [(one.first, one.told) for one in part] == [(one.first, one.told) for one in whole if one.told < cut]


def test_failures_that_no_bucket_shows_are_a_spike() -> None:
    hits, of = drawn([(2 * HOUR, 0.0005), (44, 0.05)], 12, seed=1)
    quiet = {"latency_slow": 0, "latency_long": 0, "latency_count": 1, "ttft_count": 0, "tpot_count": 0}
    series = pl.DataFrame(
        {"time": [START + i * STEP for i in range(len(hits))], "requests": of, "errors": hits}
    ).with_columns(
        pl.lit("chat").alias("service"),
        pl.lit("llama").alias("model"),
        *(pl.lit(0).alias(f"{name}_{what}") for name in ("ttft", "tpot") for what in ("slow", "long")),
        *(pl.lit(value).alias(name) for name, value in quiet.items()),
        *(pl.lit(800.0).alias(f"{name}_ms_p99") for name in ("latency", "ttft", "tpot")),
    )
    until = START + len(hits) * STEP
    (spike,) = find_faint_spikes(series, until, SETTINGS)
    assert spike.indicator is Indicator.ERRORS
    assert spike.ongoing
    assert abs(spike.window.start - (START + 2 * HOUR * STEP)) <= 4 * STEP
    assert spike.baseline_ms_p99 == 800.0
    assert not spike.faint, "failures take no plain cause"
    assert not find_spikes(series, until, SETTINGS)
