from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.cost.allocation import ALLOCATION, cost_by
from analytics.cost.attribution import REQUEST_HOURS, allocate
from analytics.cost.gpu_time import BUSY, GPU_TIME
from domain.cost import IdleCause

HOUR = datetime(2026, 11, 23, 2, tzinfo=UTC)


def gpu_hour(gpu, replica, hour=0, slice_ratio=1.0, node="n1", **seconds):
    row = {"time": HOUR + timedelta(hours=hour), "gpu": gpu, "node": node, "gpu_model": "H100", "pool": "prod"}
    row |= {"replica": replica, "service": "chat", "model": "llama", "slice_ratio": slice_ratio}
    return [{**row, "state": state, "seconds": float(spent)} for state, spent in seconds.items()]


def gpu_hours(*hours):
    return pl.DataFrame([row for hour in hours for row in hour], schema=GPU_TIME)


def costs(gpu_time, nanousd=3_600_000_000, price="p"):
    known = gpu_time.select("time", "gpu").unique(maintain_order=True)
    kinds = {"price": pl.String, "cost_nanousd": pl.Int64}
    return known.with_columns(pl.lit(price).alias("price"), pl.lit(nanousd).alias("cost_nanousd")).cast(kinds)


def requests(replica, tenant, engine_ms, requests=10, hour=0, *, is_error=False):
    row = {"time": HOUR + timedelta(hours=hour), "service": "chat", "model": "llama", "replica": replica}
    row |= {"tenant": tenant, "is_error": is_error, "requests": requests, "input_tokens": 100 * requests}
    return pl.DataFrame(
        [{**row, "output_tokens": 7, "engine_ms": engine_ms, "input_engine_ms": engine_ms / 4}], schema=REQUEST_HOURS
    )


def by(allocation, *dimensions):
    return {row[:-1]: row[-1] for row in cost_by(allocation, dimensions).select(*dimensions, "cost_nanousd").rows()}


def test_a_gpu_hour_is_split_over_its_states_and_the_busy_part_over_the_requests_of_its_replica():
    time = gpu_hours(gpu_hour("GPU-1", "chat-0", busy=1200, loaded_without_traffic=2400))
    found = allocate(
        time, costs(time), pl.concat([requests("chat-0", "acme", 300.0), requests("chat-0", "blue", 900.0)])
    )
    assert by(found, "use", "tenant", "idle_cause") == {
        ("idle", None, "loaded_without_traffic"): 2_400_000_000,
        ("requests", "acme", None): 300_000_000,
        ("requests", "blue", None): 900_000_000,
    }
    acme = found.filter(pl.col("tenant") == "acme").row(0, named=True)
    assert (acme["gpu_seconds"], acme["requests"], acme["node"], acme["price"]) == (300.0, 10, "n1", "p")
    assert acme["input_cost_nanousd"] == 75_000_000


def test_what_nobody_asked_for_is_unattributed():
    time = gpu_hours(gpu_hour("GPU-1", "chat-0", busy=3600), gpu_hour("GPU-2", None, busy=3600))
    found = allocate(time, costs(time), requests("chat-0", "acme", 0.0))
    assert by(found, "use") == {("unattributed",): 7_200_000_000, ("requests",): 0}


def test_a_replica_over_two_nodes_counts_its_requests_once():
    time = gpu_hours(gpu_hour("GPU-1", "chat-0", busy=3600), gpu_hour("GPU-2", "chat-0", node="n2", busy=3600))
    found = allocate(time, costs(time), requests("chat-0", "acme", 5.0, requests=4))
    assert by(found, "node") == {("n1",): 3_600_000_000, ("n2",): 3_600_000_000}
    assert found["requests"].sum() == 4


def test_requests_without_a_known_gpu_are_kept_with_no_dollars():
    time = gpu_hours(gpu_hour("GPU-1", "chat-0", busy=3600))
    found = allocate(time, costs(time, None, None), requests("elsewhere", "acme", 5.0))
    assert found.select("use", "tenant", "cost_nanousd", "requests").rows() == [("requests", "acme", 0, 10)]


def test_failed_requests_are_told_apart():
    time = gpu_hours(gpu_hour("GPU-1", "chat-0", busy=3600))
    asked = pl.concat([requests("chat-0", "acme", 3.0), requests("chat-0", "acme", 1.0, is_error=True)])
    found = allocate(time, costs(time), asked)
    outcomes = found.group_by("outcome").agg(pl.col("cost_nanousd").sum()).sort("outcome").rows()
    assert outcomes == [("error", 900_000_000), ("ok", 2_700_000_000)]


STATES = st.dictionaries(st.sampled_from([BUSY, *IdleCause]), st.floats(0.001, 3600), min_size=1, max_size=4)
GPUS = st.lists(
    st.tuples(st.sampled_from(["chat-0", "chat-1", None]), st.integers(0, 2), st.sampled_from([1.0, 1 / 7, 3 / 7]),
              STATES, st.one_of(st.none(), st.integers(0, 10**13))),
    min_size=1, max_size=12,
)  # fmt: skip
REQUESTS = st.lists(
    st.tuples(st.sampled_from(["chat-0", "chat-1", "elsewhere", None]), st.sampled_from("abc"), st.floats(0, 1e7),
              st.integers(0, 50), st.integers(0, 2)),
    max_size=12,
)  # fmt: skip


@settings(deadline=None)
@given(GPUS, REQUESTS)
def test_all_rows_add_up_to_the_bill_exactly_and_no_request_is_lost(gpus, asked):
    hours, bill = [], {}
    for number, (replica, hour, slice_ratio, states, nanousd) in enumerate(gpus):
        name = f"GPU-{number}"
        hours.append(gpu_hour(name, replica, hour, slice_ratio, f"n{number % 2}", **states))
        bill[name] = nanousd
    time = gpu_hours(*hours)
    priced = time.select("time", "gpu").unique().with_columns(
        pl.col("gpu").replace_strict(bill, return_dtype=pl.Int64).alias("cost_nanousd"), pl.lit("p").alias("price")
    )  # fmt: skip
    rows = [requests(replica, tenant, ms, count, hour) for replica, tenant, ms, count, hour in asked]
    found = allocate(time, priced, pl.concat(rows) if rows else pl.DataFrame(schema=REQUEST_HOURS))
    assert found.schema == pl.Schema(ALLOCATION)
    assert found["cost_nanousd"].sum() == sum(nanousd or 0 for nanousd in bill.values())
    assert found["cost_nanousd"].min() is None or found["cost_nanousd"].min() >= 0
    assert found["requests"].sum() == sum(count for *_, count, _ in asked)
    seconds = sum(ratio * sum(states.values()) for _, _, ratio, states, nanousd in gpus if nanousd is not None)
    assert found["gpu_seconds"].sum() == pytest.approx(seconds)
