from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import permutations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.cost.allocation import rows_of
from analytics.cost.jobs import Costs, variance_of
from analytics.cost.variance import Part, Variance, shapley_of_product, variance, whole
from domain.window import Window

HOUR = datetime(2026, 11, 23, 2, tzinfo=UTC)
USD = 1_000_000_000
MILLION = 1_000_000


def served(
    model: str | None, tokens: int, gpu_seconds: float, cost_nanousd: int, requests: int = 1
) -> dict[str, object]:
    return {
        "time": HOUR,
        "use": "requests",
        "model": model,
        "gpu_seconds": gpu_seconds,
        "cost_nanousd": cost_nanousd,
        "requests": requests,
        "output_tokens": tokens,
    }


def unserved(use: str, model: str | None, gpu_seconds: float, cost_nanousd: int) -> dict[str, object]:
    return {"time": HOUR, "use": use, "model": model, "gpu_seconds": gpu_seconds, "cost_nanousd": cost_nanousd}


def usd(found: Variance) -> dict[str, float]:
    return {part.value: round(amount / USD, 6) for part, amount in found.parts.items() if amount}


def test_the_worked_example_of_one_model():
    """Twice the tokens, a fifth less GPU time each, half as much again a GPU second: 1 $ becomes 2.40 $.

    With 1, 1, 1 before and 2, 0.8, 1.5 after, volume is (2 - 1) x (1/3 + (0.8 + 1.5) / 6 + 1.2 / 3), and so on.
    """
    before = rows_of([served("llama", MILLION, 1000, USD)])
    after = rows_of([served("llama", 2 * MILLION, 1600, 2_400_000_000)])
    found = variance(before, after)
    assert usd(found) == {"volume": 1.116667, "efficiency": -0.383333, "price": 0.666667}
    assert sum(found.parts.values()) == 1_400_000_000


def test_the_worked_example_of_two_models():
    """A share of 0.2 moves from the model of 1 ms of GPU a token to that of 3 ms: 0.2 $ less and 0.6 $ more.

    Beside it, an hour of an idle GPU more at the same 0.001 $ a second.
    """
    before = rows_of([served("small", 500_000, 500, USD // 2), served("large", 500_000, 1500, 3 * USD // 2)])
    after = rows_of(
        [
            served("small", 300_000, 300, 3 * USD // 10),
            served("large", 700_000, 2100, 21 * USD // 10),
            unserved("idle", "large", 3600, 36 * USD // 10),
        ]
    )
    found = variance(before, after)
    assert usd(found) == {"mix": 0.4, "idle": 3.6}
    assert found.groups.select("group", "mix_nanousd", "idle_nanousd").rows() == [
        ("large", 600_000_000, 3_600_000_000),
        ("small", -200_000_000, 0),
    ]
    large = found.groups.row(0, named=True)
    assert (large["share_before"], large["share_after"]) == (0.5, 0.7)
    assert large["gpu_seconds_per_unit_before"] == pytest.approx(0.003)
    assert large["usd_per_gpu_second_after"] == pytest.approx(0.001)
    assert (large["idle_gpu_seconds_before"], large["idle_gpu_seconds_after"]) == (0, 3600)


def test_a_price_that_rises_is_price_wherever_gpus_stood():
    before = rows_of(
        [
            served("llama", MILLION, 100, USD),
            unserved("idle", "llama", 50, USD // 2),
            unserved("overhead", None, 10, USD // 10),
        ]
    )
    after = before.with_columns(pl.col("cost_nanousd") * 2)
    assert usd(variance(before, after)) == {"price": 1.6}


def test_a_new_and_a_vanished_model_are_mix_when_the_volume_stays():
    before = rows_of([served("old", MILLION, 100, USD)])
    after = rows_of([served("new", MILLION, 300, 3 * USD)])
    found = variance(before, after)
    assert usd(found) == {"mix": 2.0}
    assert found.groups.select("group", "difference_nanousd").rows() == [("new", 3 * USD), ("old", -USD)]
    assert found.groups["gpu_seconds_per_unit_before"].to_list() == [None, pytest.approx(0.0001)]


def test_a_window_without_anything_differs_by_volume_and_idle():
    nothing = rows_of([])
    bill = rows_of([served("llama", MILLION, 100, USD), unserved("idle", None, 10, USD // 10)])
    assert usd(variance(nothing, bill)) == {"volume": 1.0, "idle": 0.1}
    assert usd(variance(nothing, nothing)) == {}


def test_a_window_of_twice_the_length_has_twice_the_volume_and_idle():
    day = rows_of([served("llama", MILLION, 100, USD), unserved("idle", "llama", 10, USD // 10)])
    assert usd(variance(day, pl.concat([day, day]))) == {"volume": 1.0, "idle": 0.1}


def test_requests_without_tokens_cost_efficiency_and_what_has_no_gpu_seconds_stays_where_it_is_billed():
    before = rows_of([served("llama", 0, 100, USD)])
    after = rows_of(
        [
            served("llama", 0, 150, 3 * USD // 2),
            unserved("unattributed", None, 0, USD),
            unserved("overhead", None, 0, USD // 4),
        ]
    )
    found = variance(before, after)
    assert usd(found) == {"efficiency": 0.5, "unattributed": 1.0, "overhead": 0.25}


def test_rows_without_a_price_are_told_apart_and_explain_nothing():
    priced = rows_of([served("llama", MILLION, 100, USD)])
    unpriced = priced.with_columns(pl.lit(None, pl.Int64).alias("cost_nanousd"))
    found = variance(pl.concat([priced, unpriced]), priced)
    assert usd(found) == {}
    assert found.unpriced_gpu_seconds == (100.0, 0.0)


def test_volume_can_be_requests_and_groups_tenants():
    before = rows_of([{**served("llama", 0, 100, USD, requests=10), "tenant": "acme"}])
    after = rows_of([{**served("llama", 0, 200, 2 * USD, requests=20), "tenant": "acme"}])
    found = variance(before, after, by="tenant", volume="requests")
    assert usd(found) == {"volume": 1.0}
    assert found.groups["group"].to_list() == ["acme"]
    with pytest.raises(ValueError, match="cannot tell cost by colour; valid are model, tenant"):
        variance(before, after, by="colour")


fractions = st.fractions(0, 100, max_denominator=50)


@given(st.lists(st.tuples(fractions, fractions), min_size=1, max_size=4))
def test_the_closed_form_is_the_mean_over_all_orders(factors):
    before, after = [a for a, _ in factors], [b for _, b in factors]

    def product(values: list[Fraction]) -> Fraction:
        result = Fraction(1)
        for value in values:
            result *= value
        return result

    orders = list(permutations(range(len(factors))))
    slow = [Fraction(0)] * len(factors)
    for order in orders:
        now = list(before)
        for factor in order:
            was = product(now)
            now[factor] = after[factor]
            slow[factor] += (product(now) - was) / len(orders)
    assert shapley_of_product(before, after) == slow


@given(st.lists(st.fractions(-1000, 1000, max_denominator=60), min_size=1, max_size=6))
def test_rounded_parts_keep_their_sum_their_zeros_and_their_signs_turned(parts):
    parts = [*parts, round(sum(parts)) - sum(parts), Fraction(0)]
    found = whole(parts)
    assert sum(found) == sum(parts)
    assert found[-1] == 0
    assert all(abs(a - b) < 1 for a, b in zip(found, parts, strict=True))
    assert whole([-part for part in parts]) == [-part for part in found]


uses = st.sampled_from(["requests", "requests", "idle", "overhead", "unattributed"])
models = st.sampled_from(["small", "large", "huge", None])
seconds = st.one_of(st.just(0.0), st.floats(1e-3, 1e7, allow_nan=False))


@st.composite
def bills(draw):
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        use = draw(uses)
        tokens = draw(st.integers(0, 10**12)) if use == "requests" else 0
        row = served(draw(models), tokens, draw(seconds), draw(st.integers(0, 10**16)))
        rows.append({**row, "use": use, "requests": 1 if use == "requests" else 0})
    return rows_of(rows)


@settings(deadline=None)
@given(bills(), bills())
def test_the_parts_add_up_to_the_difference_exactly_and_turn_with_it(before, after):
    found = variance(before, after)
    assert found.after_nanousd - found.before_nanousd == after["cost_nanousd"].sum() - before["cost_nanousd"].sum()
    assert sum(found.parts.values()) == found.after_nanousd - found.before_nanousd
    for row in found.groups.iter_rows(named=True):
        assert sum(row[f"{part}_nanousd"] for part in Part) == row["difference_nanousd"]
    turned = variance(after, before)
    assert turned.parts == {part: -amount for part, amount in found.parts.items()}


whole_bills = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 10**6), st.integers(1, 50)),
    min_size=1,
    max_size=3,
    unique_by=lambda row: row[0],
)


def bill_of(rows, *, price=7, tokens=1, efficiency=1, idle=0):
    """Each model's tokens and GPU seconds of each, all at one price; some idle GPU seconds."""
    return rows_of(
        [
            served(
                model, count * tokens, count * tokens * each * efficiency, count * tokens * each * efficiency * price
            )
            for model, count, each in rows
        ]
        + [unserved("idle", "a", idle, idle * price)]
    )


@settings(deadline=None)
@given(whole_bills, st.integers(2, 9))
def test_a_factor_that_did_not_move_has_no_part(rows, times):
    before = bill_of(rows, idle=40)
    moved = {
        Part.PRICE: bill_of(rows, idle=40, price=7 * times),
        Part.VOLUME: bill_of(rows, idle=40, tokens=times),
        Part.EFFICIENCY: bill_of(rows, idle=40, efficiency=times),
        Part.IDLE: bill_of(rows, idle=40 * times),
    }
    for part, after in moved.items():
        found = variance(before, after)
        assert {name for name, amount in found.parts.items() if amount} == {part}


def test_of_two_days_only_the_hours_known_in_both_are_compared():
    day, apart = datetime(2026, 11, 23, tzinfo=UTC), timedelta(days=1)

    def costs(start: datetime, hours: Iterable[int], cost_nanousd: int) -> Costs:
        idle = unserved("idle", "m", 3600.0, cost_nanousd)
        rows = rows_of([idle | {"time": start + timedelta(hours=hour)} for hour in hours])
        return Costs(Window(start, start + apart), rows, 0.0)

    found = variance_of(costs(day - apart, range(4, 24), 2), costs(day, range(20), 3))
    assert found.known_hours == (16, 16)
    assert (found.before_nanousd, found.after_nanousd) == (32, 48)
    assert found.parts == dict.fromkeys(Part, 0) | {Part.PRICE: 16}
