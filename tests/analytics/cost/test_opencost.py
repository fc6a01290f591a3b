import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.cost.allocation import rows_of
from analytics.cost.opencost import AGGREGATES, opencost_allocation
from domain.cost import NANOUSD
from domain.window import Window

TWO = datetime(2026, 11, 23, 2, tzinfo=UTC)
FIELDS = re.findall(
    r"\w+",
    """
    name properties window start end minutes cpuCores cpuCoreRequestAverage cpuCoreLimitAverage
    cpuCoreUsageAverage cpuCoreHours cpuCost cpuCostAdjustment cpuCostIdle cpuEfficiency gpuCount gpuHours
    gpuCost gpuCostAdjustment gpuCostIdle gpuEfficiency networkTransferBytes networkReceiveBytes networkCost
    networkCrossZoneCost networkCrossRegionCost networkInternetCost networkCostAdjustment loadBalancerCost
    loadBalancerCostAdjustment pvBytes pvByteHours pvCost pvs pvCostAdjustment ramBytes ramByteRequestAverage
    ramByteLimitAverage ramByteUsageAverage ramByteHours ramCost ramCostAdjustment ramCostIdle ramEfficiency
    externalCost sharedCost totalCost totalEfficiency lbAllocations gpuAllocation
    """,
)
"""Those that OpenCost's AllocationJSON always writes."""


def at(hours=0.0):
    return TWO + timedelta(hours=hours)


def served(hours=0, **other):
    usual = {
        "use": "requests",
        "service": "chat",
        "model": "llama",
        "tenant": "acme",
        "node": "n1",
        "replica": "chat-0",
    }
    return {**usual, "time": at(hours), "gpu_seconds": 1800.0, "cost_nanousd": NANOUSD, **other}


def idle(hours=0, **other):
    return {
        "time": at(hours),
        "use": "idle",
        "idle_cause": "hung",
        "gpu_seconds": 3600.0,
        "cost_nanousd": NANOUSD,
    } | other


def told(*rows, aggregate=("model",), window=None):
    answer = opencost_allocation(rows_of(list(rows)), window or Window(at(), at(4)), aggregate)
    assert answer.keys() == {"code", "data"}
    assert answer["code"] == 200
    (data,) = json.loads(json.dumps(answer))["data"]
    return data


def test_an_allocation_tells_hours_and_dollars_of_what_is_aggregated_by():
    found = told(served(), served(2, tenant="blue"), served(model="qwen"), aggregate=["model"])
    assert found.keys() == {"llama", "qwen"}
    known = {name: value for name, value in found["llama"].items() if value}
    assert known == {
        "name": "llama",
        "properties": {"labels": {"model": "llama"}},
        "window": {"start": "2026-11-23T02:00:00Z", "end": "2026-11-23T06:00:00Z"},
        "start": "2026-11-23T02:00:00Z",
        "end": "2026-11-23T05:00:00Z",
        "minutes": 180.0,
        "gpuCount": pytest.approx(1 / 3),
        "gpuHours": 1.0,
        "gpuCost": 2.0,
        "totalCost": 2.0,
    }


def test_idle_and_overhead_are_allocations_of_their_own():
    overhead = {"time": at(), "use": "overhead", "price": "support", "cost_nanousd": 3 * NANOUSD}
    found = told(served(), idle(model="llama"), idle(1), overhead)
    assert list(found) == ["__shared__", "__idle__", "llama"]  # the dearest first
    assert (found["__idle__"]["gpuCost"], found["__idle__"]["gpuHours"], found["__idle__"]["properties"]) == (2, 2, {})
    shared = found["__shared__"]
    assert (shared["sharedCost"], shared["gpuCost"], shared["totalCost"], shared["gpuHours"]) == (3, 0, 3, 0)


def test_what_lacks_the_property_is_unallocated():
    found = told(served(tenant=None), {**idle(), "use": "unattributed", "idle_cause": None}, aggregate=["label:tenant"])
    assert {name: row["totalCost"] for name, row in found.items()} == {"__unallocated__": 2.0}
    assert found["__unallocated__"]["properties"] == {}


def test_several_aggregates_make_one_name():
    found = told(served(), served(service=None), aggregate=["service", "node", "pod", "label:tenant", "label:model"])
    assert found.keys() == {"chat/n1/chat-0/acme/llama", "__unallocated__/n1/chat-0/acme/llama"}
    assert found["chat/n1/chat-0/acme/llama"]["properties"] == {
        "node": "n1",
        "pod": "chat-0",
        "services": ["chat"],
        "labels": {"tenant": "acme", "model": "llama"},
    }


def test_every_field_of_opencost_is_there():
    assert set(told(served())["llama"]) == set(FIELDS)


def test_only_the_window_is_told_and_it_bounds_the_last_hour():
    found = told(served(-1), served(), served(1), served(2), window=Window(at(), at(1.5)))
    assert (found["llama"]["totalCost"], found["llama"]["end"]) == (2.0, "2026-11-23T03:30:00Z")
    assert told(served(9)) == {}


@pytest.mark.parametrize(
    ("aggregate", "what"),
    [(["colour", "model"], "colour"), ([], "nothing"), ("model", "'model'"), (["tenants"], "tenants")],
)
def test_what_the_bill_is_not_told_by_is_refused(aggregate, what):
    with pytest.raises(ValueError, match=f"cannot aggregate by {what}; valid are service, node, pod, label:model"):
        told(served(), aggregate=aggregate)


@given(
    st.lists(
        st.builds(
            lambda make, hours, model, node, nanousd: make(hours, model=model, node=node, cost_nanousd=nanousd),
            st.sampled_from([served, idle]),
            st.integers(0, 3),
            st.sampled_from([None, "llama", "qwen"]),
            st.sampled_from([None, "n1"]),
            st.integers(0, 10**13),
        ),
        max_size=12,
    ),
    st.lists(st.sampled_from(sorted(AGGREGATES)), min_size=1, max_size=3),
)
def test_total_costs_and_gpu_hours_add_up_to_the_bill(rows, aggregate):
    found = told(*rows, aggregate=aggregate).values()
    assert sum(row["totalCost"] for row in found) == pytest.approx(sum(row["cost_nanousd"] for row in rows) / NANOUSD)
    assert sum(row["gpuHours"] for row in found) == pytest.approx(sum(row["gpu_seconds"] for row in rows) / 3600)
