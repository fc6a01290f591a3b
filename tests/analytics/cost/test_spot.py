import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.cost.advice import Advice, AdviceGap, AdviceKind
from analytics.cost.allocation import ALLOCATION
from analytics.cost.price_book import price_book_of
from analytics.cost.spot import (
    InterruptibleWork,
    SpotPlan,
    advise,
    events_of,
    interruption_rate,
    spot_plan,
    spot_worth,
)
from domain.cost import NANOUSD
from domain.window import Window

START = datetime(2026, 11, 23, tzinfo=UTC)
PLAN = SpotPlan(
    "batch", gpus=10, on_demand_usd_per_gpu_hour=4.0, spot_usd_per_gpu_hour=(2.0, 2.0),
    interruptions_per_gpu_hour=(0.01, 0.01), lost_work_s=600, reload_s=300, outage_s=(3600, 3600), together_ratio=0.5,
)  # fmt: skip


def test_spot_saves_the_difference_less_what_interruptions_cost():
    # one costs 600 s at 2 $, 300 s at 3 $ (half replaced on demand), and in half of the cases an hour of 2 $ more:
    # (1200 + 900 + 3600) / 3600 = 1.583 $; 10 × 730 × (2 - 0.01 × 1.583)
    worth = spot_worth(PLAN)
    assert worth.usd_per_interruption == pytest.approx((5700 / 3600,) * 2)
    assert worth.saves_usd_per_month == pytest.approx((14484.42,) * 2, abs=0.01)
    assert worth.break_even_per_gpu_hour == pytest.approx((2 / (5700 / 3600),) * 2)


def test_at_the_break_even_rate_nothing_is_saved():
    (rate, _) = spot_worth(PLAN).break_even_per_gpu_hour
    assert spot_worth(replace(PLAN, interruptions_per_gpu_hour=(rate, rate))).saves_usd_per_month == pytest.approx(
        (0, 0)
    )


def test_ranges_give_the_worst_and_the_best():
    wide = replace(
        PLAN, spot_usd_per_gpu_hour=(1.5, 3.0), interruptions_per_gpu_hour=(0.001, 0.02), outage_s=(120, 3600)
    )
    low, high = spot_worth(wide).saves_usd_per_month
    # worst: 1 $ saved, 0.02 × (600·3 + 300·3.5 + 0.5·3600·1) / 3600; best: 2.5 $, 0.001 × (900 + 825 + 150) / 3600
    assert low == pytest.approx(7300 * (1 - 0.02 * 4650 / 3600))
    assert high == pytest.approx(7300 * (2.5 - 0.001 * 1875 / 3600))


def test_spot_is_advised_where_the_worst_case_saves():
    one = advise(PLAN, 168, 1.0)
    assert isinstance(one, Advice)
    assert (one.kind, one.about) == (AdviceKind.SPOT, "batch")
    assert one.title == "Run what may be interrupted of batch (10.0 GPUs) on spot."
    assert one.confidence == pytest.approx(0.95 * 0.875)
    assert "50% of interruptions take a whole zone within three minutes: 10.0 GPUs." in one.why


def test_spot_that_is_as_dear_as_on_demand_in_the_worst_case_is_not_advised():
    same = replace(PLAN, spot_usd_per_gpu_hour=(1.28, 4.0))
    assert advise(same, 168, 1.0) is None
    assert spot_worth(same).break_even_per_gpu_hour[0] == 0
    assert advise(replace(PLAN, interruptions_per_gpu_hour=(0.0, 2.0)), 168, 1.0) is None
    assert advise(replace(PLAN, gpus=0), 168, 1.0) is None


def test_an_interruption_that_costs_nothing_never_stops_to_pay():
    free = replace(PLAN, lost_work_s=0, reload_s=0, outage_s=(0, 0))
    assert spot_worth(free).break_even_per_gpu_hour == (math.inf, math.inf)


def test_without_a_spot_price_the_gap_is_told():
    found = advise(None, 168, 1.0, "batch")
    assert isinstance(found, AdviceGap)
    assert (found.about, found.missing) == (
        "batch",
        "a price of spot for its GPUs, or which of its work may be interrupted",
    )


def test_interruptions_within_three_minutes_are_one_event():
    together = [START + timedelta(seconds=n) for n in (0, 100, 250, 3600)]
    assert events_of(together[::-1]) == 2
    assert events_of([]) == 0
    # two events of sixteen GPUs; Garwood's interval of a count of 2 is 0.2422 to 7.2247
    low, high = interruption_rate(together, gpus_each=8, gpu_hours=1000)
    assert (low, high) == pytest.approx((0.2422 * 16 / 1000, 7.2247 * 16 / 1000), rel=1e-3)


def test_no_interruption_seen_is_not_a_rate_of_nothing():
    low, high = interruption_rate([], gpus_each=8, gpu_hours=1000)
    assert low == 0
    assert high == pytest.approx(3.6889 * 8 / 1000, rel=1e-4)
    with pytest.raises(ValueError, match="a rate needs GPU-hours and GPUs above 0; got 0 and 8"):
        interruption_rate([], 8, 0)


def test_a_plan_that_cannot_be_is_refused():
    for bad in (
        {"gpus": -1},
        {"spot_usd_per_gpu_hour": (3.0, 2.0)},
        {"together_ratio": 1.5},
        {"on_demand_usd_per_gpu_hour": 0},
        {"reload_s": float("nan")},
    ):
        with pytest.raises(ValueError, match="a spot plan has figures that are not negative"):
            replace(PLAN, **bad)


money, rates = st.floats(0.1, 20), st.floats(0, 5)


@given(money, money, st.floats(0, 5), rates, st.floats(0, 5), st.floats(0, 3600), st.floats(0, 3600), st.floats(0, 1))
def test_saving_falls_with_interruptions_and_grows_with_the_price_on_demand(
    on_demand, spot, dearer, rate, more, lost, reload, together
):
    plan = SpotPlan("p", 5, on_demand, (spot, spot), (rate, rate), lost, reload, (60, 600), together)
    base = spot_worth(plan)
    assert base.saves_usd_per_month[0] <= base.saves_usd_per_month[1]
    often = spot_worth(replace(plan, interruptions_per_gpu_hour=(rate, rate + more)))
    assert often.saves_usd_per_month[0] <= base.saves_usd_per_month[0] + 1e-6
    if rate == 0:
        dear = spot_worth(replace(plan, on_demand_usd_per_gpu_hour=on_demand + dearer))
        assert dear.saves_usd_per_month[0] >= base.saves_usd_per_month[0]
    found = advise(plan, 24, 1.0)
    assert found is None or found.saves_usd_per_month[0] > 0


SAID = {"source": "test", "as_of": "2026-11"}
BOOK = price_book_of(
    {
        "prices": [
            {"name": "h100", "usd_per_gpu_hour": 4.0, "mode": "on_demand", **SAID},
            {"name": "spot-a", "mode": "spot", **SAID,
             "history": [[START - timedelta(days=2), 9.0], [START - timedelta(hours=3), 1.5], [START, 2.5]]},
            {"name": "spot-b", "mode": "spot", **SAID, "history": [[START + timedelta(days=1), 8.0]]},
        ],
        "matches": [{"price": "h100"}],
    }
)  # fmt: skip
WORK = InterruptibleWork("batch-*", ("spot-a", "spot-b"), (0.001, 0.01), lost_work_s=600, reload_s=300)


def bill(*rows):
    usual = {"time": START - timedelta(hours=1), "use": "requests", "gpu_model": "H100", "price": "h100"}
    return pl.DataFrame([usual | row for row in rows], schema=ALLOCATION)


def test_a_plan_is_of_the_pools_named_that_are_not_on_spot_yet_at_the_prices_of_the_time():
    window = Window(START - timedelta(hours=2), START + timedelta(hours=2))
    gpu_hour = {"gpu_seconds": 3600.0, "cost_nanousd": 4 * NANOUSD}
    rows = bill(
        {"pool": "batch-1", **gpu_hour},
        {"pool": "batch-2", "use": "idle", "idle_cause": "loaded_without_traffic", **gpu_hour},
        {"pool": "batch-2", **gpu_hour, "price": "spot-a"},
        {"pool": "prod", **gpu_hour},
        {"use": "overhead", "cost_nanousd": NANOUSD, "price": None},
    )
    plan = spot_plan(WORK, rows, BOOK, window)
    assert plan is not None
    assert plan.gpus == pytest.approx(0.5)
    assert plan.on_demand_usd_per_gpu_hour == pytest.approx(4.0)
    assert plan.spot_usd_per_gpu_hour == (1.5, 2.5)
    assert (plan.interruptions_per_gpu_hour, plan.lost_work_s, plan.reload_s) == ((0.001, 0.01), 600, 300)


def test_without_gpus_or_prices_there_is_no_plan():
    window = Window(START - timedelta(hours=2), START)
    rows = bill({"pool": "batch-1", "gpu_seconds": 3600.0, "cost_nanousd": NANOUSD})
    assert spot_plan(replace(WORK, pool="night-*"), rows, BOOK, window) is None
    assert spot_plan(replace(WORK, gpu_model="*A100*"), rows, BOOK, window) is None
    assert spot_plan(replace(WORK, prices=("spot-b",)), rows, BOOK, window) is None
