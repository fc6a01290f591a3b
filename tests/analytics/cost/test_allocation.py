from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.cost.allocation import apportion, bill_usd, cost_by, rows_of, split

HOUR = datetime(2026, 11, 23, 2, tzinfo=UTC)


@given(
    st.integers(-(10**18), 10**18),
    st.lists(st.floats(0, 1e12, allow_nan=False), min_size=1, max_size=60),
)
def test_parts_add_up_to_the_whole_and_follow_their_weights(total, weights):
    parts = apportion(total, weights)
    assert sum(parts) == total
    if sum(weights) > 0 and abs(total) < 2**50:
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - total * (weight / sum(weights))) <= 1.01


def test_what_is_left_goes_to_the_largest_remainder():
    assert apportion(100, [1, 1, 1]) == [34, 33, 33]
    assert apportion(10, [0.15, 0.25, 0.6]) == [2, 2, 6]  # 1.5, 2.5, 6: of equal remainders the first
    assert apportion(7, [0, 0]) == [4, 3]


def test_weights_that_split_nothing_are_refused():
    for weights in ([], [-1.0], [float("nan")]):
        with pytest.raises(ValueError, match="cannot split 5"):
            apportion(5, weights)


def test_a_bill_is_told_by_its_dimensions_dearest_first():
    allocation = rows_of(
        [
            {"time": HOUR, "use": "requests", "tenant": "acme", "cost_nanousd": 2_000_000_000, "requests": 4},
            {"time": HOUR, "use": "requests", "tenant": "blue", "cost_nanousd": 3_000_000_000, "requests": 1},
            {"time": HOUR, "use": "idle", "idle_cause": "unallocated", "cost_nanousd": 1_500_000_000},
        ]
    )
    assert bill_usd(allocation) == 6.5
    assert cost_by(allocation, ["tenant"]).select("tenant", "cost_nanousd", "requests").rows() == [
        ("blue", 3_000_000_000, 1),
        ("acme", 2_000_000_000, 4),
        (None, 1_500_000_000, 0),
    ]
    with pytest.raises(ValueError, match="cannot tell cost by colour; valid are model, tenant"):
        cost_by(allocation, ["colour"])


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1e9)), min_size=1, max_size=40), st.integers(0, 10**13))
def test_a_frame_is_split_group_by_group_as_apportion_does(rows, total):
    frame = pl.DataFrame(rows, schema={"group": pl.Int64, "weight": pl.Float64}, orient="row")
    parts = split(frame.with_columns(cost_nanousd=pl.lit(total)), ["group"], "weight")
    for (group,), part in parts.group_by("group", maintain_order=True):
        expected = apportion(total, [weight for number, weight in rows if number == group])
        assert sum(part["cost_nanousd"]) == total
        assert part["cost_nanousd"].to_list() == pytest.approx(expected, abs=1)
