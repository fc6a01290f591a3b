"""The jobs of cost over a store: hours are settled once, and again when more comes in."""

from datetime import timedelta

import polars as pl
import pytest

from analytics.cost.allocation import rows_of
from analytics.cost.attribution import REQUEST_HOURS
from analytics.cost.gpu_time import GPU_TIME
from analytics.cost.jobs import (
    Costs,
    Pricing,
    SpendWatch,
    budget_statuses,
    costs_of,
    hourly_spend,
    settle,
    spend_forecast,
    unit_costs_of,
)
from analytics.cost.minutes import read_gpus_there
from analytics.cost.price_book import PriceBook, shipped_prices
from analytics.cost.runaway import Budget
from domain.cost import NANOUSD
from domain.window import Window
from simulator.fill import fill
from simulator.run import Simulation
from storage import cost_hours
from storage.cost_hours import Promised, read_gpu_hours, read_outcomes, read_request_hours, read_unsettled_hours
from storage.errors import StoreUnavailableError
from tests.api.clock import NOW

START = NOW - timedelta(hours=2)
BOTH = Window(START, NOW)
PRICING = Pricing(shipped_prices())
LATER = NOW + timedelta(minutes=30)
GPU_METRIC, ENGINE = "dcgm_fi_dev_gpu_util", "vllm:num_requests_running"


@pytest.fixture
def fleet(clean_store):
    fill(clean_store, Simulation(3, START), START, NOW, calls_one_in=1000)
    return clean_store


def rows(frame):
    return frame.with_columns(pl.col("gpu_seconds").round(6)).sort(pl.all()).rows()


def test_the_store_and_the_thinking_agree_on_their_columns():
    assert pl.Schema(cost_hours.REQUEST_HOURS) == pl.Schema(REQUEST_HOURS)
    assert pl.Schema(cost_hours.GPU_HOURS) == pl.Schema(GPU_TIME)


def test_hours_are_settled_once_and_cost_the_same_before_and_after(fleet):
    live = costs_of(fleet, BOTH, PRICING)
    assert settle(fleet, LATER, PRICING) == 2
    assert settle(fleet, LATER, PRICING) == 0
    settled = costs_of(fleet, BOTH, PRICING)
    assert rows(settled.allocation) == rows(live.allocation)
    assert settled.bill.bill_usd > 0


def test_hours_that_wait_to_be_settled_are_on_no_bill_nor_in_what_is_counted_with_it(fleet):
    whole = costs_of(fleet, BOTH, PRICING)
    newest = costs_of(fleet, BOTH, PRICING, live_hours_max=1)
    assert newest.unsettled == (START,)
    assert newest.allocation["time"].unique().to_list() == [START + timedelta(hours=1)]
    settled = settle(fleet, NOW - timedelta(minutes=1), PRICING)  # the first hour
    assert settled == 1
    first = costs_of(fleet, BOTH, PRICING, live_hours_max=0)
    assert first.unsettled == (START + timedelta(hours=1),)
    good = [unit_costs_of(fleet, costs, ())["good_requests"][0] for costs in (whole, first, newest)]
    assert good[0] == good[1] + good[2]
    assert min(good) > 0


def test_an_hour_under_way_waits_until_it_is_over(fleet):
    assert settle(fleet, NOW - timedelta(minutes=1), PRICING) == 1
    assert read_unsettled_hours(fleet, BOTH)["hour"].to_list() == [START + timedelta(hours=1)]


def test_late_requests_settle_an_hour_again_and_the_new_settlement_counts(fleet):
    settle(fleet, LATER, PRICING)
    before = costs_of(fleet, BOTH, PRICING)
    replica = before.allocation.filter(pl.col("use") == "requests")["replica"].drop_nulls()[0]
    late = {"service": "chat", "model": "llama-3.1-70b", "replica": replica, "tenant": "latecomer", "latency_ms": 9e4}
    late |= {"prefill_ms": 400.0, "decode_ms": 8.9e4, "input_tokens": 4000, "output_tokens": 3000, "is_error": False}
    fleet.insert("tailsight_requests", pl.DataFrame([{"time": START + timedelta(minutes=5), **late}]))
    assert settle(fleet, LATER + timedelta(minutes=1), PRICING) == 0  # more may come yet
    assert settle(fleet, LATER + timedelta(minutes=20), PRICING) == 1
    after = costs_of(fleet, BOTH, PRICING)
    assert after.bill.bill_usd == before.bill.bill_usd
    assert after.allocation.filter(pl.col("tenant") == "latecomer")["cost_nanousd"].sum() > 0
    assert after.allocation["requests"].sum() == before.allocation["requests"].sum() + 1
    assert read_request_hours(fleet, BOTH)["requests"].sum() == after.allocation["requests"].sum()


def test_an_hour_whose_requests_are_kept_no_longer_is_not_settled_again_for_a_late_sample(fleet):
    settle(fleet, LATER, PRICING)
    before = read_request_hours(fleet, BOTH).sort(pl.all()).rows()
    assert before
    fleet.execute("TRUNCATE TABLE tailsight_requests")
    late = {"hour": START, "samples": 5, "rolled_up": 0}
    overrides = {"samples": pl.UInt64, "rolled_up": pl.UInt64}
    fleet.insert("tailsight_sample_hours", pl.DataFrame([late], schema_overrides=overrides))
    assert settle(fleet, LATER + timedelta(minutes=20), PRICING) == 0
    assert read_request_hours(fleet, BOTH).sort(pl.all()).rows() == before


def test_a_settlement_that_is_cut_short_leaves_the_bill_as_it_was(fleet, monkeypatch):
    settle(fleet, LATER, PRICING)
    before = costs_of(fleet, BOTH, PRICING)

    def cut_short(table, rows):
        if table != "tailsight_request_hours":
            raise StoreUnavailableError("away")
        inserted(table, rows)

    inserted = fleet.insert
    late = {"time": START + timedelta(minutes=5), "service": "chat", "latency_ms": 9e3, "is_error": False}
    fleet.insert("tailsight_requests", pl.DataFrame([late]))
    with monkeypatch.context() as patched:
        patched.setattr(fleet, "insert", cut_short)
        with pytest.raises(StoreUnavailableError):
            settle(fleet, LATER + timedelta(minutes=20), PRICING)
    fleet.execute("OPTIMIZE TABLE tailsight_request_hours FINAL")
    between = costs_of(fleet, BOTH, PRICING)
    assert (between.unsettled, between.bill.bill_usd) == (before.unsettled, before.bill.bill_usd)
    requests = [one.allocation["requests"].sum() for one in (before, between)]
    assert requests[1] - requests[0] in (0, 1)
    assert settle(fleet, LATER + timedelta(minutes=25), PRICING) == 1


def test_where_no_decode_time_is_told_the_pace_is_that_after_the_first_token(clean_store):
    request = {"time": START, "service": "chat", "is_error": False, "output_tokens": 11, "ttft_ms": 100.0}
    requests = [request | {"latency_ms": 600.0}, request | {"latency_ms": 1600.0}]
    clean_store.insert("tailsight_requests", pl.DataFrame(requests, schema_overrides={"output_tokens": pl.UInt32}))
    outcomes = read_outcomes(clean_store, BOTH, {"chat": Promised(tpot_ms=100.0)})
    assert outcomes.select("requests", "good").rows() == [(2, 1)]


def test_a_window_is_rounded_out_to_whole_hours(fleet):
    settle(fleet, LATER, PRICING)
    inner = costs_of(fleet, Window(START + timedelta(minutes=20), START + timedelta(minutes=40)), PRICING)
    assert inner.window == Window(START, START + timedelta(hours=1))
    whole = costs_of(fleet, BOTH, PRICING)
    later = costs_of(fleet, Window(START + timedelta(hours=1), NOW), PRICING)
    assert inner.bill.bill_usd + later.bill.bill_usd == pytest.approx(whole.bill.bill_usd, abs=1e-9)


def test_every_second_of_every_gpu_is_told(fleet):
    settle(fleet, LATER, PRICING)
    seconds = read_gpu_hours(fleet, BOTH).group_by("time", "gpu").agg(pl.col("seconds").sum())
    # From the first sight to the last: the simulated fleet is first scraped within its first minute.
    assert seconds["seconds"].to_list() == pytest.approx([3600.0] * seconds.height, abs=1e-6)


def test_users_get_the_dollars_of_their_tenants(fleet):
    settle(fleet, LATER, PRICING)
    by_user = costs_of(fleet, BOTH, PRICING, by_user=True)
    whole = costs_of(fleet, BOTH, PRICING)
    assert by_user.bill.requests_usd == pytest.approx(whole.bill.requests_usd, abs=1e-6)
    assert by_user.allocation["tenant"].n_unique() > whole.allocation["tenant"].n_unique()


def test_gpus_without_a_price_are_on_no_bill_and_are_counted(fleet):
    found = costs_of(fleet, BOTH, Pricing(PriceBook()))
    assert found.bill.bill_usd == 0
    assert found.bill.priced_ratio == 0
    assert found.unpriced_gpu_seconds == pytest.approx(32 * 7200, rel=0.01)
    assert found.allocation["requests"].sum() > 0


def test_a_short_past_gives_no_forecast(fleet):
    assert "a forecast needs 72" in spend_forecast(fleet, LATER, PRICING).reason


def test_a_prompt_that_was_cached_costs_less(clean_store):
    prompt = {"service": "chat", "model": "llama-3.1-70b", "replica": "chat-0", "latency_ms": 3000.0, "is_error": False}
    prompt |= {"prefill_ms": 500.0, "decode_ms": 2400.0, "input_tokens": 8000, "output_tokens": 100}
    times = (START + timedelta(minutes=1), START + timedelta(minutes=2))
    rows = [{"time": times[0], "tenant": "new", **prompt}, {"time": times[1], "tenant": "cached", **prompt}]
    frame = pl.DataFrame(rows).with_columns(pl.Series("cached_tokens", [0, 7500]))
    clean_store.insert("tailsight_requests", frame)
    settle(clean_store, LATER, PRICING)
    shares = {row["tenant"]: row for row in read_request_hours(clean_store, BOTH).iter_rows(named=True)}
    assert shares["cached"]["engine_ms"] < 0.8 * shares["new"]["engine_ms"]
    assert shares["cached"]["input_engine_ms"] < 0.3 * shares["new"]["input_engine_ms"]


def test_an_hour_whose_requests_are_kept_no_longer_stays_settled(fleet):
    settle(fleet, LATER, PRICING)
    before = costs_of(fleet, BOTH, PRICING)
    fleet.execute("ALTER TABLE tailsight_requests DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert settle(fleet, LATER + timedelta(minutes=20), PRICING) == 0
    assert rows(costs_of(fleet, BOTH, PRICING).allocation) == rows(before.allocation)


def test_a_gpu_that_is_cut_anew_costs_what_a_gpu_costs(clean_store):
    def part(gpu, ratio, seconds):
        who = {"time": START, "gpu": gpu, "node": "n1", "gpu_model": "NVIDIA H100 80GB HBM3", "slice_ratio": ratio}
        return {**who, "state": "unallocated", "seconds": seconds}

    # Twenty minutes in three parts, then in two: what is left of the GPU is 2/7, then 4/7.
    parts = [part("G/1", 3 / 7, 3600.0), part("G/2", 2 / 7, 1200.0), part("G", 2 / 7, 1200.0), part("G", 4 / 7, 2400.0)]
    nothing = pl.DataFrame(schema=REQUEST_HOURS)
    cost_hours.settle_hour(
        clean_store, START, nothing, pl.DataFrame(parts, schema=GPU_TIME), requests=0, samples=0, now=LATER
    )
    found = costs_of(clean_store, Window(START, START + timedelta(hours=1)), PRICING)
    assert found.bill.bill_usd == pytest.approx(6.155, abs=1e-8)
    assert found.bill.gpu_hours == pytest.approx(1.0)


def long_past(store, hours, tenants):
    """Hours settled of one GPU, each tenant asking until so many hours before the end."""
    for number in range(hours):
        time = NOW - timedelta(hours=hours - number)
        state = {"gpu": "G", "node": "n", "gpu_model": "NVIDIA H100 80GB HBM3", "replica": "r", "service": "chat"}
        state |= {"slice_ratio": 1.0, "state": "busy", "seconds": 3600.0}
        asked = [
            {"time": time, "service": "chat", "tenant": tenant, "replica": "r", "is_error": False, "requests": 1,
             "input_tokens": 1, "output_tokens": 1, "engine_ms": 1.0 + number % 5, "input_engine_ms": 0.0}
            for tenant, ends in tenants.items()
            if number < hours - ends
        ]  # fmt: skip
        shares, gpus = (
            pl.DataFrame(asked, schema=REQUEST_HOURS),
            pl.DataFrame([{"time": time, **state}], schema=GPU_TIME),
        )
        cost_hours.settle_hour(store, time, shares, gpus, requests=1, samples=0, now=NOW)


def test_an_hour_of_which_requests_are_known_and_no_gpu_did_not_cost_nothing():
    seen = {"use": "idle", "gpu_seconds": 3600.0, "cost_nanousd": 4 * NANOUSD}
    asked = {"use": "requests", "gpu_seconds": 0.0, "cost_nanousd": 0, "requests": 3}
    hours = [NOW - timedelta(hours=ago) for ago in (4, 3, 2, 1)]
    rows = [{"time": hours[0], **asked}, {"time": hours[1], **seen}, {"time": hours[2], **asked}]
    costs = Costs(Window(hours[0], NOW), rows_of([*rows, {"time": hours[3], **seen}]), 0.0)
    assert hourly_spend(costs).rows() == [(hours[1], 4.0), (hours[3], 4.0)]
    assert (costs.known_hours, costs.hours, costs.is_whole) == (2, 4, False)


def test_a_budget_of_a_tenant_that_fell_silent_is_still_judged(clean_store):
    long_past(clean_store, 100, {"loud": 0, "quiet": 12})
    budgets = (Budget("quiet", 1e6, tenant="quiet"), Budget("loud", 1e6, tenant="loud"), Budget("all", 1.0))
    found = {
        one.budget.name: one for one in budget_statuses(clean_store, NOW, Pricing(shipped_prices(), budgets=budgets))
    }
    assert {name: one.state.value for name, one in found.items()} == {"quiet": "met", "loud": "met", "all": "missed"}
    assert found["quiet"].spent_usd > 0
    assert found["quiet"].forecast.median_usd < found["loud"].forecast.median_usd


def fleet_that_triples(store, minutes):
    """One GPU from two hours before `NOW` on, and two more from ten minutes after it: all of replica r of chat."""
    series, samples = [], []
    for number, metric, gpu in ((0, GPU_METRIC, "G0"), (1, GPU_METRIC, "G1"), (2, GPU_METRIC, "G2"), (3, ENGINE, "")):
        known = {"metric": metric, "series_id": number, "job": "d", "instance": "i", "node": "n", "gpu": gpu}
        known |= {"port": "", "replica": "r", "service": "chat" if metric == ENGINE else "", "model": ""}
        labels = {"names": ["modelName"], "texts": ["NVIDIA H100 80GB HBM3"]}
        first = 10 if number in (1, 2) else -120
        seen = {"first_seen": NOW + timedelta(minutes=first), "last_seen": NOW + timedelta(minutes=minutes - 1)}
        series.append({**known, "attributes": labels, **seen})
        samples += [
            {"metric": metric, "series_id": number, "time": NOW + timedelta(minutes=minute), "value": 50.0}
            for minute in range(first, minutes)
        ]
    store.insert("tailsight_series", pl.DataFrame(series, schema_overrides={"series_id": pl.UInt64}))
    store.insert("tailsight_samples", pl.DataFrame(samples, schema_overrides={"series_id": pl.UInt64}))


def asked(store, service, minutes, each):
    """So many requests in each of these minutes after `NOW`."""
    row = {"service": service, "tenant": "", "model": "", "version": "", "replica": "r", "measure": "latency"}
    counts = {"bucket": 1, "requests": each, "input_tokens": 1, "output_tokens": 1}
    rows = [{"time": NOW + timedelta(minutes=minute), **row, **counts} for minute in minutes]
    kinds = {"bucket": pl.Int16} | dict.fromkeys(("requests", "input_tokens", "output_tokens"), pl.UInt64)
    store.insert("tailsight_request_rollup", pl.DataFrame(rows, schema_overrides=kinds))


def test_spend_that_doubles_in_mid_hour_is_noticed_within_the_hour_and_told_of_until_it_is_the_usual(clean_store):
    long_past(clean_store, 100, {"loud": 0})
    watch = SpendWatch(clean_store, PRICING)
    assert watch.look(NOW + timedelta(minutes=40)) == []
    assert not watch.is_due(NOW + timedelta(minutes=40))
    assert watch.is_due(NOW + timedelta(minutes=51))
    fleet_that_triples(clean_store, 8 * 60)
    later = [NOW + timedelta(minutes=minute) for minute in (71, 200, 475)]
    looks = [watch.look(later[0]), watch.look(later[1]), SpendWatch(clean_store, PRICING).look(later[2])]
    for found in looks:
        (whole,) = found  # of requests nothing is known: so of the service nothing is told
        assert (whole.scope, whole.spend.began_at) == ("all", NOW + timedelta(minutes=10))
        assert whole.spend.total_impact_usd > 0
        assert whole.spend.mover is not None
        assert (whole.spend.mover.dimension, whole.spend.mover.value) == ("service", "chat")


@pytest.mark.parametrize(("each", "told"), [(20, ["all", "chat"]), (60, ["all"])])
def test_of_a_service_is_told_when_its_requests_did_not_grow_with_its_spend(clean_store, each, told):
    long_past(clean_store, 100, {"loud": 0})
    fleet_that_triples(clean_store, 2 * 60)
    asked(clean_store, "chat", range(-120, 10), 20)
    asked(clean_store, "chat", range(10, 120), each)
    asked(clean_store, "other", range(-120, 120), 500)
    found = SpendWatch(clean_store, PRICING).look(NOW + timedelta(minutes=71))
    assert [one.scope for one in found] == told
    if len(told) > 1:
        assert found[1].dimension == "service"
        assert found[1].dearer_ratio == pytest.approx(3, rel=0.15)


def test_a_gpu_that_is_back_within_half_an_hour_was_there_in_between(clean_store):
    known = {"metric": "dcgm_fi_dev_gpu_util", "series_id": 1, "job": "d", "instance": "i", "node": "n", "gpu": "G"}
    known |= {
        "port": "",
        "replica": "r",
        "service": "",
        "model": "",
        "attributes": {"names": ["modelName"], "texts": ["H100"]},
    }
    minutes = [1, 2, 31, 72]
    seen = {"first_seen": NOW + timedelta(minutes=1), "last_seen": NOW + timedelta(minutes=72)}
    samples = [
        {"metric": known["metric"], "series_id": 1, "time": NOW + timedelta(minutes=minute), "value": 50.0}
        for minute in minutes
    ]
    kinds = {"series_id": pl.UInt64}
    clean_store.insert("tailsight_series", pl.DataFrame([{**known, **seen}], schema_overrides=kinds))
    clean_store.insert("tailsight_samples", pl.DataFrame(samples, schema_overrides=kinds))
    found = read_gpus_there(clean_store, Window(NOW, NOW + timedelta(hours=2)), {}, 600)
    assert found["time"].to_list() == [NOW + timedelta(minutes=minute) for minute in (0, 10, 20, 30, 70)]
    assert set(found["gpu"]) == {"G"}
