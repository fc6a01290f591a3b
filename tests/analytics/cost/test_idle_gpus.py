from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.cost.advice import Advice, AdviceGap, AdviceKind
from analytics.cost.allocation import rows_of
from analytics.cost.idle_gpus import held_idle, release, repair
from domain.cost import NANOUSD

START = datetime(2026, 11, 23, tzinfo=UTC)
PRICE = 4  # dollars a GPU-hour


def row(hour: int, gpus: float, cause: str | None, **named: Any) -> dict[str, Any]:
    """An hour of some GPUs: idle of a cause, or busy with requests."""
    return {
        "time": START + timedelta(hours=hour),
        "use": "idle" if cause else "requests",
        "idle_cause": cause,
        "gpu_seconds": 3600.0 * gpus,
        "cost_nanousd": round(gpus * PRICE * NANOUSD),
        **named,
    }


def advised(found: list[Advice | AdviceGap]) -> Advice:
    (one,) = found
    assert isinstance(one, Advice)
    return one


def test_gpus_free_in_every_hour_can_be_given_back():
    # three always, a fourth in every other hour; 4 $ × 730 h = 2,920 $ a month each
    bill = rows_of(
        [row(h, 3 + (h % 2 == 0), "unallocated", pool="train", gpu_model="NVIDIA H100") for h in range(48)]
        + [row(h, 4, None, pool="train", replica="a") for h in range(48)]
    )
    one = advised(release(bill))
    assert (one.kind, one.about) == (AdviceKind.RELEASE, "train")
    assert one.saves_usd_per_month == pytest.approx((3 * 2920, 3.5 * 2920))
    assert one.title == "Give back 3 NVIDIA H100 of pool train: paid for, and without a model."
    assert one.confidence == pytest.approx(48 / 72)  # both halves alike, all with telemetry


def test_gpus_that_are_free_now_and_then_may_save_nothing():
    bill = rows_of([row(h, 2, "no_model" if h < 12 else None, pool="train") for h in range(48)])
    one = advised(release(bill))
    assert one.saves_usd_per_month == pytest.approx((0, 0.5 * 2920))  # 12 of 48 hours
    assert one.confidence == 0  # the second day had none


def test_what_has_no_telemetry_lowers_confidence_and_is_not_called_free():
    bill = rows_of(
        [row(h, 1, "unallocated", pool="p") for h in range(48)] + [row(h, 3, "no_telemetry") for h in range(48)]
    )
    one = advised(release(bill))
    assert one.saves_usd_per_month == pytest.approx((2920, 2920))
    assert one.confidence == pytest.approx(48 / 72 / 4)


def quiet_nights(replicas: int, cause: str = "loaded_without_traffic") -> pl.DataFrame:
    """Two days of a model of two GPUs a replica, without traffic from midnight to noon."""
    return rows_of(
        [
            row(h, 2, cause if h % 24 < 12 else None, model="chat", replica=f"chat-{n}")
            for n in range(replicas)
            for h in range(48)
        ]
    )


def test_quiet_hours_of_a_loaded_replica_are_saved_less_a_load_after_each_spell():
    # a replica: 24 hours of 8 $ and two spells: 192 - 2 × 8 × 540/3600 = 189.60 slowly, 191.84 fast
    one = advised(held_idle(quiet_nights(2)))
    assert (one.kind, one.about) == (AdviceKind.HELD_IDLE, "chat")
    assert one.saves_usd_per_month == pytest.approx((189.6 * 730 / 48, 2 * (192 - 16 * 35 / 3600) * 730 / 48))
    assert one.title == (
        "Scale chat down when quiet: 2 of its replicas hold GPUs without traffic for 12.0 hours a day."
    )
    assert one.confidence == pytest.approx(48 / 72)


def test_the_only_replica_may_have_to_stay():
    low, high = advised(held_idle(quiet_nights(1))).saves_usd_per_month
    assert low == 0 < high


def test_short_quiet_and_other_causes_are_not_held_idle():
    assert held_idle(quiet_nights(2), hours_a_day=12.5) == []
    assert held_idle(quiet_nights(2, "warm_by_policy")) == []
    busy = [row(h, 0.2, None, model="chat", replica="a") for h in range(48)]
    gaps = [row(h, 1.8, "loaded_without_traffic", model="chat", replica="a") for h in range(48)]
    assert held_idle(rows_of(busy + gaps)) == []  # a tenth of the time busy: no quiet hour


def test_a_load_that_costs_more_than_the_quiet_hour_saves_nothing():
    one = advised(held_idle(quiet_nights(2), load_s=(0.0, 50_000.0)))
    assert one.saves_usd_per_month == pytest.approx((0, 2 * 192 * 730 / 48))


def test_idle_that_names_no_replica_is_a_gap():
    bill = rows_of([row(h, 2, "loaded_without_traffic", model="chat") for h in range(48)])
    (gap,) = held_idle(bill)
    assert isinstance(gap, AdviceGap)
    assert gap.missing == "$384 without traffic are not told by replica"


def test_time_lost_to_throttling_is_worth_whole_gpus_at_least():
    bill = rows_of(
        [row(h, 1.5, "throttled", pool="serve", node="n7") for h in range(48)]
        + [row(h, 0.5, "throttled", pool="serve", node="n1") for h in range(48)]
        + [row(h, 0.25, "hung", pool="serve", node="n2") for h in range(48)]
    )
    throttled, hung = repair(bill)
    assert isinstance(throttled, Advice)
    assert isinstance(hung, Advice)
    assert throttled.saves_usd_per_month == pytest.approx((2 * 2920, 2 * 2920))
    assert throttled.title == "Find out why GPUs of pool serve run below their clocks: 2.0 GPUs' worth of time is lost."
    assert throttled.why[1] == "Most of it on n7, n1."
    assert hung.saves_usd_per_month == pytest.approx((0, 730))


def test_less_than_a_day_of_the_bill_is_a_gap():
    bill = rows_of([row(h, 1, "unallocated") for h in range(23)])
    for question in (release, held_idle, repair):
        (gap,) = question(bill)
        assert isinstance(gap, AdviceGap)
        assert gap.missing == "23 hours of it; 24 tell a day's course"


def test_hours_and_loads_that_cannot_be_are_refused():
    for hours, load in ((25.0, (1.0, 2.0)), (4.0, (2.0, 1.0)), (4.0, (-1.0, 1.0))):
        with pytest.raises(ValueError, match="hours a day are 0 to 24"):
            held_idle(quiet_nights(1), hours, load)


causes = st.sampled_from(["unallocated", "no_model", "loaded_without_traffic", "throttled", "hung", None])


@settings(deadline=None)
@given(st.lists(st.tuples(causes, st.floats(0, 8), st.sampled_from(["a", "b"])), min_size=24, max_size=80))
def test_savings_are_never_negative_nor_more_than_the_idle_dollars(rows):
    bill = rows_of(
        [row(n % 30, gpus, cause, model="m", replica=name, pool=name) for n, (cause, gpus, name) in enumerate(rows)]
    )
    hours = bill["time"].n_unique()
    idle = bill.filter(pl.col("use") == "idle")["cost_nanousd"].sum() / NANOUSD / hours * 730
    found = [*release(bill), *held_idle(bill), *repair(bill)]
    savings = [one.saves_usd_per_month for one in found if isinstance(one, Advice)]
    assert all(0 <= low <= high for low, high in savings)
    assert sum(high for _, high in savings) <= idle * (1 + 1e-6) + 1e-3
