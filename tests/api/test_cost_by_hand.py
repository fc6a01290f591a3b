"""The example of docs/cost.md, worked by hand there: one H100, two requests."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from analytics.cost import jobs
from analytics.cost.jobs import Pricing, settle
from analytics.cost.price_book import price_book_of
from analytics.cost.step_models import StepModel
from analytics.knowledge import shipped_knowledge
from reports.weekly import WeeklyFacts, weekly_document
from storage.store import Store
from tests.api.clock import NOW

START = NOW - timedelta(hours=1)
STEPS = StepModel(d0=10.0, d1=0.0, d2=0.0, p0=0.0, p1=0.1, p2=0.0)
MODEL = "NVIDIA H100 80GB HBM3"


def pricing() -> Pricing:
    price = {"name": "ours", "usd_per_gpu_hour": 3.6, "mode": "reserved", "source": "contract", "as_of": "2026-11-01"}
    return Pricing(price_book_of({"prices": [price], "matches": [{"price": "ours"}]}))


@pytest.fixture
def fleet(clean_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A GPU that is busy for the first 20 minutes of the hour, and its engine."""
    monkeypatch.setattr(jobs, "step_model_for", lambda *_: STEPS)
    gpu = {"job": "dcgm", "instance": "n1:9400", "node": "n1", "gpu": "GPU-1", "replica": "chat-0", "attributes": MODEL}
    engine = {"job": "vllm", "instance": "chat-0:8000", "node": "n1", "replica": "chat-0", "service": "chat"}
    told = {
        ("dcgm_fi_prof_gr_engine_active", 1): (gpu, lambda minute: 1.0 if minute < 20 else 0.0),
        ("dcgm_fi_dev_gpu_util", 2): (gpu, lambda minute: 100.0 if minute < 20 else 0.0),
        ("dcgm_fi_dev_fb_used", 3): (gpu, lambda _: 70_000.0),
        ("vllm:num_requests_running", 4): (engine | {"model": "llama"}, lambda minute: 1.0 if minute < 20 else 0.0),
    }
    series, samples = [], []
    for (metric, number), (owner, value) in told.items():
        known = dict.fromkeys(("node", "gpu", "port", "replica", "service", "model"), "") | owner
        names = {"names": ["modelName"], "texts": [known.pop("attributes", "")]}
        seen = {"first_seen": START, "last_seen": NOW}
        series.append({"metric": metric, "series_id": number, **known, "attributes": names, **seen})
        for minute in range(60):
            moment = START + timedelta(minutes=minute)
            samples.append({"metric": metric, "series_id": number, "time": moment, "value": value(minute)})
    unsigned = {"series_id": pl.UInt64}
    clean_store.insert("tailsight_series", pl.DataFrame(series, schema_overrides=unsigned))
    clean_store.insert("tailsight_samples", pl.DataFrame(samples, schema_overrides=unsigned))
    clean_store.insert("tailsight_sample_hours", pl.DataFrame({"hour": [START], "samples": [len(samples)]}))
    rows = [
        request("acme", START + timedelta(minutes=1), 100.0, 1000.0, 1000, 101),
        request("blue", START + timedelta(minutes=2), 400.0, 2000.0, 4000, 201),
    ]
    clean_store.insert("tailsight_requests", pl.DataFrame(rows))
    settle(clean_store, NOW + timedelta(minutes=30), pricing())
    return clean_store


def request(
    tenant: str, time: datetime, prefill_ms: float, decode_ms: float, tokens_in: int, tokens_out: int
) -> dict[str, Any]:
    row = {"time": time, "service": "chat", "model": "llama", "replica": "chat-0", "tenant": tenant, "user": tenant}
    row |= {"is_error": False, "latency_ms": prefill_ms + decode_ms, "queue_ms": 0.0, "prefill_ms": prefill_ms}
    return row | {"decode_ms": decode_ms, "input_tokens": tokens_in, "output_tokens": tokens_out}


def test_the_api_says_what_the_hand_worked_out(make_asker: Any, fleet: Store) -> None:
    asker = make_asker(pricing=pricing)
    hour = {"from_": START.isoformat(), "to": NOW.isoformat()}
    answer = asker.get("/api/v1/cost", **hour, by="tenant").json()

    bill = answer["bill"]
    assert (bill["bill_usd"], bill["requests_usd"], bill["idle_usd"]) == (3.6, 1.2, 2.4)
    acme, blue = (next(row for row in answer["rows"] if row["labels"]["tenant"] == who) for who in ("acme", "blue"))
    assert acme["cost_usd"] == pytest.approx(0.377143, abs=5e-7)
    assert blue["cost_usd"] == pytest.approx(0.822857, abs=5e-7)
    assert acme["cost_per_million_input_tokens_usd"] == pytest.approx(34.285714, abs=5e-6)
    assert acme["cost_per_million_output_tokens_usd"] == pytest.approx(3394.625, abs=5e-4)
    assert acme["full_cost_usd"] == pytest.approx(1.131429, abs=5e-7)
    idle = asker.get("/api/v1/cost", **hour, by="idle_cause").json()
    assert {row["labels"]["idle_cause"]: row["cost_usd"] for row in idle["rows"]} == {
        "loaded_without_traffic": 2.4,
        None: 1.2,
    }


def test_the_weekly_report_says_the_same(fleet: Store) -> None:
    costs = jobs.costs_of(fleet, jobs.Window(START, NOW), pricing())
    week = WeeklyFacts("2026-W48", NOW, (), (), shipped_knowledge(), allocation=costs.allocation)
    cost = weekly_document(week)["cost"]

    assert cost["cost_usd"] == 3.6
    tenants = {row["name"]: row["cost_usd"] for row in cost["tenants"]}
    assert tenants["acme"] == pytest.approx(0.377143, abs=5e-7)
    assert tenants["blue"] == pytest.approx(0.822857, abs=5e-7)
