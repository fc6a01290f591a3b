"""Money is conserved: random fleets, prices that change in mid-hour, MIG, silent and skewed telemetry, to the cent."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.cost.attribution import REQUEST_HOURS, allocate
from analytics.cost.gpu_time import ENGINE_MINUTES, EXTENTS, GPU_MINUTES, GPU_TIME, STALL_MINUTES, gpu_time, with_gaps
from analytics.cost.price_book import gpu_costs, price_book_of
from domain.cost import NANOUSD
from domain.window import Window

START = datetime(2026, 11, 23, tzinfo=UTC)
HOURS = 3

PRICES = st.lists(
    st.tuples(st.integers(0, HOURS * 60 - 1), st.floats(0.01, 20)), min_size=1, max_size=5, unique_by=lambda one: one[0]
)
MINUTES = st.sets(st.integers(0, HOURS * 60 - 1), max_size=40)
GPU = st.fixed_dictionaries(
    {
        "minutes": MINUTES,
        "slices": st.sampled_from([(1.0,), (1.0,), (3 / 7, 2 / 7), (1 / 7,) * 7, (4 / 7,)]),
        "replica": st.sampled_from(["a", "b", None]),
        "busy": st.one_of(st.none(), st.floats(0, 1)),
        "memory": st.sampled_from([0.0, 50_000.0]),
        "reasons": st.sampled_from([0, 0x40]),
        "skew_s": st.integers(-90, 90),
    }
)
REQUESTS = st.lists(
    st.tuples(st.sampled_from("abx"), st.sampled_from("tuv"), st.floats(0, 1e6), st.integers(0, 2)), max_size=8
)


def minute(number, skew_s=0):
    return START + timedelta(minutes=number, seconds=skew_s)


def frames(gpus):
    rows, seen = [], []
    for number, gpu in enumerate(gpus):
        if not gpu["minutes"]:
            continue
        for place, ratio in enumerate(gpu["slices"]):
            name = f"GPU-{number}" if gpu["slices"] == (1.0,) else f"GPU-{number}/{place}"
            who = {"gpu": name, "node": f"n{number % 2}", "gpu_model": "H100", "slice_ratio": ratio}
            first, last = min(gpu["minutes"]), max(gpu["minutes"])
            seen.append({**who, "first_seen": minute(first, gpu["skew_s"]), "last_seen": minute(last, gpu["skew_s"])})
            rows += [
                {**who, "time": minute(one), "pool": "p", "replica": gpu["replica"], "busy_ratio": gpu["busy"],
                 "memory_used_mib": gpu["memory"], "clock_mhz": 1500.0, "clock_reasons": gpu["reasons"],
                 "is_gone": False}
                for one in gpu["minutes"]
            ]  # fmt: skip
    return pl.DataFrame(rows, schema=GPU_MINUTES), pl.DataFrame(seen, schema=EXTENTS)


def integral_usd(history, time, seconds):
    """Dollars of a whole GPU for so long from a time on, second by second of the price's steps: slow and obvious."""
    steps = [(minute(at), Fraction(round(usd * NANOUSD), NANOUSD)) for at, usd in history]
    end = time + timedelta(microseconds=round(seconds * 1e6))
    total = Fraction(0)
    for place, (begin, usd) in enumerate(steps):
        until = steps[place + 1][0] if place + 1 < len(steps) else end
        inside = (min(until, end) - max(begin, time)) / timedelta(microseconds=1)
        total += usd * Fraction(max(0, round(inside))) / Fraction(3_600_000_000)
    return total


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(PRICES, st.lists(GPU, min_size=1, max_size=5), REQUESTS)
def test_requests_idle_and_overhead_are_the_bill_to_the_cent(prices, gpus, asked):
    history = [(0, 3.0), *sorted(one for one in prices if one[0])]
    price = {"name": "p", "mode": "spot", "source": "-", "as_of": "2026-11-23"}
    book = price_book_of(
        {"prices": [{**price, "history": [[minute(at), usd] for at, usd in history]}], "matches": [{"price": "p"}]}
    )
    told, extents = frames(gpus)
    parts = []
    for hour in range(HOURS):
        window = Window(START + timedelta(hours=hour), START + timedelta(hours=hour + 1))
        inside = told.filter(pl.col("time").is_between(window.start, window.end, closed="left"))
        known = extents.filter((pl.col("last_seen") >= window.start) & (pl.col("first_seen") < window.end))
        nothing = pl.DataFrame(schema=ENGINE_MINUTES), pl.DataFrame(schema=STALL_MINUTES)
        parts.append(gpu_time(inside, *nothing, known, window))
    time = with_gaps(pl.concat(parts)) if parts else pl.DataFrame(schema=GPU_TIME)
    hours = time.group_by("time", "gpu").agg(
        pl.col("seconds").sum(), pl.col("node", "gpu_model", "pool").drop_nulls().first(), pl.col("slice_ratio").max()
    )
    costs = gpu_costs(book, hours)
    counts = {"requests": 1, "input_tokens": 1, "output_tokens": 1, "input_engine_ms": 0.0, "is_error": False}
    rows = [
        {"time": START + timedelta(hours=hour), "replica": replica, "tenant": tenant, "engine_ms": ms, **counts}
        for replica, tenant, ms, hour in asked
    ]
    found = allocate(time, costs, pl.DataFrame(rows, schema=REQUEST_HOURS))

    bill = int(found["cost_nanousd"].sum())
    assert bill == int(costs["cost_nanousd"].sum())
    exact = sum(
        integral_usd(history, row["time"], row["seconds"]) * Fraction(row["slice_ratio"])
        for row in hours.iter_rows(named=True)
    )
    assert abs(Fraction(bill, NANOUSD) - exact) < Fraction(1, 100)
    assert time.is_empty() or hours["seconds"].max() <= 3600 + 1e-6
    assert found["requests"].sum() == len(asked)
