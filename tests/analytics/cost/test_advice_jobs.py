"""Advice over a store: a day and two hours of a model on eight GPUs that hardly anybody asks."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from analytics.cost.advice import AdviceKind
from analytics.cost.advice_jobs import cost_advice
from analytics.cost.attribution import REQUEST_HOURS
from analytics.cost.gpu_time import GPU_TIME
from analytics.cost.jobs import Pricing
from analytics.cost.latency_value import Elasticity, ServiceValue
from analytics.cost.price_book import shipped_prices
from analytics.cost.spot import InterruptibleWork
from domain.cost import PriceMode
from domain.incident import Indicator
from domain.slo import Objective
from storage.cost_hours import settle_hour
from tests.api.clock import NOW

HOURS = 26
START = NOW - timedelta(hours=HOURS)
MODEL = "llama-3.1-70b"
GPU = "NVIDIA H100 80GB HBM3"
PROMISES = (
    Objective("chat-ttft", "chat", Indicator.TTFT, 0.95, 30, 2000.0),
    Objective("chat-tpot", "chat", Indicator.TPOT, 0.95, 30, 60.0),
)
PRICING = Pricing(shipped_prices())


@pytest.fixture
def fleet(clean_store):
    replicas = ("chat-0", "chat-1")
    owner = {
        "node": "n1",
        "gpu_model": GPU,
        "pool": "prod",
        "service": "chat",
        "model": MODEL,
        "slice_ratio": 1.0,
    }
    asked = {
        "service": "chat",
        "model": MODEL,
        "version": "1",
        "pool": "prod",
        "tenant": "acme",
        "node": "n1",
    }
    asked |= {"is_error": False, "requests": 60, "input_tokens": 60_000, "output_tokens": 12_000, "engine_ms": 1e5}
    for hour in range(HOURS):
        time = START + timedelta(hours=hour)
        states = [
            {
                "time": time,
                "gpu": f"GPU-{replica}-{gpu}",
                "replica": replica,
                "state": state,
                "seconds": 1800.0,
                **owner,
            }
            for replica in replicas
            for gpu in range(4)
            for state in ("busy", "loaded_without_traffic")
        ]
        shares = [{"time": time, "replica": replica, "input_engine_ms": 1e4, **asked} for replica in replicas]
        settle_hour(
            clean_store, time, pl.DataFrame(shares, schema=REQUEST_HOURS), pl.DataFrame(states, schema=GPU_TIME),
            requests=120, samples=0, now=NOW,
        )  # fmt: skip
    rows = [
        {"time": START + timedelta(seconds=60 * number), "service": "chat", "model": MODEL, "tenant": "acme",
         "replica": replicas[number % 2], "is_error": False, "latency_ms": 4400.0, "ttft_ms": 400.0, "queue_ms": 1.0,
         "prefill_ms": 390.0, "decode_ms": 4000.0, "input_tokens": 1000, "output_tokens": 201}
        for number in range(60 * HOURS)
    ]  # fmt: skip
    clean_store.insert("tailsight_requests", pl.DataFrame(rows))
    for number, replica in enumerate(replicas):
        series = {"metric": "vllm:num_requests_running", "series_id": number, "job": "vllm", "instance": replica}
        series |= {"node": "n1", "gpu": "", "port": "", "replica": replica, "service": "chat", "model": MODEL}
        series |= {"attributes": {"names": ["a"], "texts": ["b"]}, "first_seen": START, "last_seen": NOW}
        clean_store.insert("tailsight_series", pl.DataFrame([series], schema_overrides={"series_id": pl.UInt64}))
        samples = [
            {"metric": "vllm:num_requests_running", "series_id": number, "value": 1.0 + minute % 2,
             "time": START + timedelta(minutes=minute)}
            for minute in range(60 * HOURS)
        ]  # fmt: skip
        clean_store.insert("tailsight_samples", pl.DataFrame(samples, schema_overrides={"series_id": pl.UInt64}))
    return clean_store


def test_a_quiet_model_is_told_to_run_on_fewer_replicas_and_on_other_gpus(fleet):
    found = cost_advice(fleet, NOW, PRICING, PROMISES)
    kinds = {one.kind for one in found.advice}
    assert AdviceKind.CONSOLIDATION in kinds
    fewer = next(one for one in found.advice if one.kind is AdviceKind.CONSOLIDATION)
    assert "on 1 replica in place of 2" in fewer.title
    month = 4 * 6.155 * 730
    assert fewer.saves_usd_per_month == pytest.approx((month, month))
    assert any("in place of H100 ×4 bf16" in one.title for one in found.advice), [one.title for one in found.advice]


def test_without_an_objective_nothing_else_is_proposed_and_it_is_said_why(fleet):
    found = cost_advice(fleet, NOW, PRICING)
    assert "chat has no objective for times" in {gap.missing for gap in found.gaps}
    assert not {one.kind for one in found.advice} & {AdviceKind.CONSOLIDATION, AdviceKind.GPU_TYPE}


def test_a_promise_to_one_tenant_is_not_a_promise_to_all(fleet):
    mine = tuple(replace(one, selection=replace(one.selection, tenant="acme")) for one in PROMISES)
    assert "chat has no objective for times" in {gap.missing for gap in cost_advice(fleet, NOW, PRICING, mine).gaps}


def test_a_gpu_in_no_table_is_told_as_a_gap(fleet):
    fleet.execute("ALTER TABLE tailsight_gpu_hours DELETE WHERE 1 SETTINGS mutations_sync = 2")
    owner = {
        "node": "n1",
        "gpu_model": "Tesla T4",
        "pool": "prod",
        "service": "chat",
        "model": "tiny",
        "slice_ratio": 1.0,
    }
    state = {"gpu": "GPU-1", "replica": "chat-0", "state": "busy", "seconds": 3600.0, **owner}
    frame = pl.DataFrame([{"time": START, **state}], schema=GPU_TIME)
    settle_hour(fleet, START, pl.DataFrame(schema=REQUEST_HOURS), frame, requests=120, samples=0, now=NOW)
    price = replace(shipped_prices().prices[0], name="t4")
    book = replace(
        shipped_prices(), prices=(price,), matches=(replace(shipped_prices().matches[0], price="t4", gpu_model="*"),)
    )
    found = cost_advice(fleet, NOW, Pricing(book), PROMISES)
    assert (MODEL, "no curve of this model") in {(gap.about, gap.missing) for gap in found.gaps}


def test_spares_are_judged_where_load_times_are_told(fleet):
    found = cost_advice(fleet, NOW, replace(PRICING, load_s=(45.0, 90.0)), PROMISES)
    told = [one for one in (*found.advice, *found.gaps) if one.kind is AdviceKind.WARM_POOL]
    assert len(told) == 1


def test_spot_is_judged_for_the_pools_that_are_named_and_asked_for_where_none_is(fleet):
    shipped = shipped_prices()
    price = replace(shipped.prices[0], name="h100-spot", usd_per_gpu_hour=2.0, mode=PriceMode.SPOT)
    book = replace(shipped, prices=(*shipped.prices, price))
    work = InterruptibleWork("prod", ("h100-spot",), (0.001, 0.01), lost_work_s=60, reload_s=300)
    (advice,) = [
        one
        for one in cost_advice(fleet, NOW, Pricing(book, spot=(work,)), PROMISES).advice
        if one.kind is AdviceKind.SPOT
    ]
    assert "8.0 GPUs" in advice.title
    assert advice.saves_usd_per_month[1] < 8 * 730 * (6.155 - 2.0)
    missing = [gap for gap in cost_advice(fleet, NOW, PRICING, PROMISES).gaps if gap.kind is AdviceKind.SPOT]
    assert "cost.spot" in missing[0].remedy


def test_sooner_answers_are_worth_what_the_settings_say_and_nothing_without_them(fleet):
    assert cost_advice(fleet, NOW, PRICING, PROMISES).latency_value == ()
    value = ServiceValue("chat", Indicator.TTFT, 100_000.0, Elasticity((0.01, 0.02), "our test"))
    (worth,) = cost_advice(fleet, NOW, replace(PRICING, latency=(value,)), PROMISES).latency_value
    assert worth.usd_per_month_of_100_ms == pytest.approx((1_000, 2_000))
    assert worth.median_ms == pytest.approx(400, rel=0.02)
    assert (worth.median_before_ms, worth.change_usd_per_month) == (None, None)
