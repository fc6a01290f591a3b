from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.cost.advice import Advice, AdviceGap, AdviceKind
from analytics.cost.consolidation import Fleet, consolidation

START = datetime(2026, 11, 23, tzinfo=UTC)
FLEET = Fleet("chat", replicas=8, gpus_per_replica=2, usd_per_gpu_hour=4.0, sequences=(10, 12), slowdown=(1.0, 1.25))


def demand(by_hour: list[float | None]) -> pl.DataFrame:
    """Six moments an hour, all alike."""
    moments = [(START + timedelta(minutes=10 * n), by_hour[n // 6]) for n in range(6 * len(by_hour))]
    return pl.DataFrame(moments, schema={"time": pl.Datetime("us", "UTC"), "running": pl.Float64()}, orient="row")


def advised(found: object) -> Advice:
    assert isinstance(found, Advice)
    return found


def test_replicas_that_the_peak_does_not_need_are_dollars_saved():
    # 40 at once and a fifth of headroom: 48 / 12 = 4 replicas at best, 48 × 1.25 / 10 = 6 at worst; 5,840 $ each
    one = advised(consolidation(demand([20] * 23 + [40] + [20] * 24), FLEET))
    assert (one.kind, one.about) == (AdviceKind.CONSOLIDATION, "chat")
    assert one.saves_usd_per_month == (2 * 5840, 4 * 5840)
    assert one.title.startswith("Run chat on 6 replicas in place of 8: its peak of 40 requests at once fits")
    assert one.confidence == pytest.approx(25 / 26 * 48 / 72)  # all 24 later hours fit a plan from the first 24


def test_one_moment_of_many_is_no_peak_but_the_worst_hour_is():
    calm = demand([20] * 48)
    moments = pl.concat([calm] * 40).with_columns(
        pl.when(pl.int_range(pl.len()) == 7).then(500.0).otherwise(pl.col("running")).alias("running")
    )
    assert advised(consolidation(moments, FLEET)).saves_usd_per_month == (5 * 5840, 6 * 5840)  # 24 × 1.25 / 10, 24 / 12


def test_a_rise_in_the_second_half_costs_confidence():
    steady = advised(consolidation(demand([40] * 48), FLEET))
    rising = advised(consolidation(demand([20] * 24 + [40] * 24), FLEET))
    assert rising.saves_usd_per_month == steady.saves_usd_per_month
    assert rising.confidence == pytest.approx(1 / 26 * 48 / 72)  # no later hour fits the plan of the first day
    assert steady.confidence == pytest.approx(25 / 26 * 48 / 72)


def test_replicas_that_are_needed_are_left_alone():
    assert consolidation(demand([54] * 48), FLEET) is None  # 8.1 replicas at worst
    assert consolidation(demand([0] * 48), replace(FLEET, replicas=2), replicas_min=2) is None


def test_less_than_a_day_is_a_gap():
    found = consolidation(demand([20] * 20 + [None] * 10), FLEET)
    assert isinstance(found, AdviceGap)
    assert found.missing == "running requests of 20 hours; a peak is known after 24"


def test_a_fleet_or_demand_that_cannot_be_is_refused():
    for fleet in (
        replace(FLEET, replicas=0),
        replace(FLEET, sequences=(12, 10)),
        replace(FLEET, slowdown=(0.5, 1.0)),
        replace(FLEET, usd_per_gpu_hour=float("nan")),
    ):
        with pytest.raises(ValueError, match="a fleet has replicas"):
            consolidation(demand([1] * 48), fleet)
    with pytest.raises(ValueError, match="demand lacks running; it has time"):
        consolidation(demand([1]).select("time"), FLEET)
    for running in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="running requests are finite and not negative"):
            consolidation(demand([running] * 30), FLEET)


@settings(deadline=None)
@given(st.lists(st.floats(0, 200), min_size=24, max_size=60), st.floats(0.1, 20), st.floats(1, 3), st.floats(0, 1))
def test_a_dearer_gpu_saves_more_and_more_headroom_less(by_hour, price, dearer, headroom):
    def saves(usd: float, room: float) -> tuple[float, float]:
        found = consolidation(demand(by_hour), replace(FLEET, usd_per_gpu_hour=usd), room)
        return found.saves_usd_per_month if isinstance(found, Advice) else (0.0, 0.0)

    base = saves(price, headroom)
    assert 0 <= base[0] <= base[1]
    assert all(more >= one for more, one in zip(saves(price * dearer, headroom), base, strict=True))
    assert all(less <= one for less, one in zip(saves(price, headroom + 0.5), base, strict=True))
