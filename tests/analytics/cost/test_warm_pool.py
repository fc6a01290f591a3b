import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import prod

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.cost.advice import Advice, AdviceGap, AdviceKind
from analytics.cost.warm_pool import Replica, WarmPool, advise, lognormal_load_s, warm_pool

START = datetime(2026, 11, 23, tzinfo=UTC)
REPLICA = Replica("chat", sequences=10, gpus=1, usd_per_gpu_hour=2.0)  # 1,460 $ a month
MONTH = 730 / 24  # days


def demand(jumps: dict[int, float], days: int = 2) -> pl.DataFrame:
    """Requests at once by the minute: ten, and for an hour from the given hours on as many as is said."""
    minutes = range(days * 24 * 60)
    running = [float(jumps.get(n // 60 % 24, 10.0)) for n in minutes]
    return pl.DataFrame({"time": [START + timedelta(minutes=n) for n in minutes], "running": running})


NOON = demand({12: 40})


def curve(series: pl.DataFrame, usd: float | None = None, load_s: float = 300.0) -> WarmPool:
    found = warm_pool(series, [load_s], REPLICA, 30.0, usd, scale_down_s=0.0)
    assert isinstance(found, WarmPool)
    return found


def test_what_demand_exceeds_until_replicas_are_loaded_is_missed():
    # 30 beyond the replica in place, for the five minutes of a load: 30 × 300 s / 30 s = 300 requests a day
    found = curve(NOON)
    assert [point.missed_requests for point in found.points] == pytest.approx(
        [300 * MONTH, 200 * MONTH, 100 * MONTH, 0]
    )
    assert [point.idle_usd for point in found.points] == [0, 1460, 2920, 4380]
    assert [point.total_usd for point in found.points] == [None] * 4


def test_with_a_price_of_a_missed_request_the_knee_is_the_cheapest_number():
    dear, cheap = curve(NOON, 0.5), curve(NOON, 0.4)
    totals = [point.total_usd for point in dear.points]
    assert totals == pytest.approx([4562.5, 1460 + 3041.667, 2920 + 1520.833, 4380], abs=0.01)
    assert (dear.knee, cheap.knee) == (3, 0)


def test_without_a_price_the_knee_is_where_the_curve_bends():
    # a rise to 20 at six, to 40 at noon: 400, 200, 100, 0 a day; after the first spare a further one brings half
    assert [round(p.missed_requests / MONTH) for p in curve(demand({6: 20, 12: 40})).points] == [400, 200, 100, 0]
    assert curve(demand({6: 20, 12: 40})).knee == 1
    assert curve(NOON).knee == 0  # a straight line has none
    assert curve(demand({})).points[0].missed_requests == 0


def test_replicas_stay_for_the_scale_down_delay():
    saw = demand(dict.fromkeys(range(0, 24, 2), 40))
    quick = warm_pool(saw, [300.0], REPLICA, 30.0, scale_down_s=0.0)
    patient = warm_pool(saw, [300.0], REPLICA, 30.0, scale_down_s=2 * 3600.0)
    assert isinstance(quick, WarmPool)
    assert isinstance(patient, WarmPool)
    assert patient.points[0].missed_requests == 0 < quick.points[0].missed_requests


def test_fewer_spares_are_advised_where_they_cost_more_than_they_spare():
    one = advise(curve(NOON, 0.4), 3, REPLICA, 0.4)
    assert isinstance(one, Advice)
    assert (one.kind, one.about) == (AdviceKind.WARM_POOL, "chat")
    assert one.saves_usd_per_month == pytest.approx((730, 730))  # 4,380 $ of spares against 9,125 requests at 40 cents
    assert one.title == "Keep 0 spare replicas of chat warm in place of 3."
    assert one.confidence == pytest.approx(0.95 * 48 / 72)


def test_more_spares_are_advised_where_missed_requests_cost_more():
    one = advise(curve(NOON, 0.5), 0, REPLICA, 0.5)
    assert isinstance(one, Advice)
    assert one.saves_usd_per_month == pytest.approx((182.5, 182.5))
    assert advise(curve(NOON, 0.5), 3, REPLICA, 0.5) is None


def test_without_a_price_only_spares_that_help_nobody_are_taken_away():
    one = advise(curve(NOON), 5, REPLICA)
    assert isinstance(one, Advice)
    assert one.saves_usd_per_month == pytest.approx((2 * 1460, 2 * 1460))
    assert advise(curve(NOON), 3, REPLICA) is None
    gap = advise(curve(NOON), 1, REPLICA)
    assert isinstance(gap, AdviceGap)
    assert gap.missing == "what a request that waits for a cold start costs: 6,083 a month do"


def test_days_that_differ_widen_the_range_until_nothing_is_advised():
    # without spares day one misses 300 requests, day two none: at 40 cents that is not sure to be cheaper than spares
    uneven = pl.concat([demand({12: 40}, 1), demand({}, 1).with_columns(pl.col("time") + pl.duration(days=1))])
    found = curve(uneven, 0.4)
    assert [row[0] for row in found.days] == pytest.approx([300 * MONTH, 0])
    assert advise(found, 3, REPLICA, 0.4) is None


def test_what_is_missing_is_a_gap():
    for series, loads in ((NOON, []), (demand({}, 1), [300.0]), (NOON.head(0), [300.0])):
        found = warm_pool(series, loads, REPLICA, 30.0)
        assert isinstance(found, AdviceGap)
        assert found.about == "chat"


def test_load_times_follow_a_lognormal():
    loads = lognormal_load_s(22.7, 45.5)  # production loads of base models, GenTD26
    assert prod(loads) ** (1 / 20) == pytest.approx(22.7)
    assert loads == sorted(loads)
    assert loads[-2] < 45.5 < loads[-1]  # 92.5 % and 97.5 %
    for median, p95 in ((0, 5), (5, 4), (1, float("inf"))):
        with pytest.raises(ValueError, match="load times need 0 < median <= p95"):
            lognormal_load_s(median, p95)


def test_input_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="demand lacks running"):
        warm_pool(NOON.select("time"), [1.0], REPLICA, 30.0)
    for series, loads in ((NOON, [-1.0]), (demand({12: float("nan")}), [1.0]), (demand({12: -1.0}), [1.0])):
        with pytest.raises(ValueError, match="finite and not negative"):
            warm_pool(series, loads, REPLICA, 30.0)
    with pytest.raises(ValueError, match="a replica takes a request"):
        warm_pool(NOON, [1.0], replace(REPLICA, sequences=0), 30.0)
    with pytest.raises(ValueError, match="must not be negative"):
        warm_pool(NOON, [1.0], REPLICA, 30.0, -0.5)
    with pytest.raises(ValueError, match="the price of a missed request is the curve's"):
        advise(curve(NOON), 1, REPLICA, 0.5)


days = st.lists(st.floats(0, 120), min_size=48, max_size=48)


@settings(max_examples=25, deadline=None)
@given(days, st.floats(1, 3600), st.floats(0, 3600))
def test_more_spares_miss_less_by_less_and_slower_loads_miss_more(by_hour, load_s, slower):
    series = pl.DataFrame(
        {
            "time": [START + timedelta(minutes=15 * n) for n in range(192)],
            "running": [by_hour[n // 4] for n in range(192)],
        }
    )
    quick, slow = (warm_pool(series, [one], REPLICA, 30.0, 0.1, 0.0) for one in (load_s, load_s + slower))
    assert isinstance(quick, WarmPool)
    assert isinstance(slow, WarmPool)
    missed = [point.missed_requests for point in quick.points]
    falls = [a - b for a, b in itertools.pairwise(missed)]
    assert all(fall >= -1e-6 for fall in falls)
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(falls))
    assert missed[-1] == pytest.approx(0, abs=1e-6)
    assert quick.points[quick.knee].total_usd == min(
        point.total_usd for point in quick.points if point.total_usd is not None
    )
