"""Cost over the API, of two simulated hours."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from analytics.cost.forecast import forecast
from analytics.cost.jobs import Pricing, settle
from analytics.cost.price_book import PriceBook, price_book_of
from analytics.cost.runaway import Budget, Period
from domain.incident import Indicator
from domain.slo import Objective
from simulator.fill import fill
from simulator.run import Simulation
from storage.store import Store
from tests.api.clock import NOW
from tests.emptied import empty

START = NOW - timedelta(hours=2)
HOURS = {"from_": START.isoformat(), "to": NOW.isoformat()}
GPUS_USD_AN_HOUR = 4.0


def book() -> PriceBook:
    price = {
        "name": "ours",
        "usd_per_gpu_hour": GPUS_USD_AN_HOUR,
        "mode": "reserved",
        "source": "invoice",
        "as_of": "2026-11-01",
    }
    storage = {"name": "store", "usd_per_hour": 3.0, "source": "invoice", "as_of": "2026-11-01"}
    return price_book_of({"prices": [price], "matches": [{"price": "ours"}], "overheads": [storage]})


@pytest.fixture(scope="module")
def fleet(store: Store) -> Iterator[Any]:
    empty(store)
    simulation = Simulation(9, START)
    fill(store, simulation, START, NOW, calls_one_in=1000)
    settle(store, NOW, Pricing(book()))  # the first hour; the second ended only now
    yield simulation.cloud
    empty(store)


@pytest.fixture(scope="module")
def ask_cost(make_asker: Any, fleet: Any) -> Any:
    promise = Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, 1000.0)
    return make_asker(pricing=lambda: Pricing(book()), objectives=lambda: (promise,))


def test_the_bill_is_what_the_gpus_cost_and_its_parts_add_up_to_it(ask_cost: Any, fleet: Any) -> None:
    answer = ask_cost.get("/api/v1/cost", **HOURS).json()

    bill = answer["bill"]
    assert bill["bill_usd"] == pytest.approx(2 * (len(fleet.gpus) * GPUS_USD_AN_HOUR + 3.0), abs=1e-9)
    assert bill["overhead_usd"] == 6.0
    parts = ("requests_usd", "idle_usd", "overhead_usd", "unattributed_usd")
    assert sum(bill[name] for name in parts) == pytest.approx(bill["bill_usd"], abs=1e-9)
    assert (bill["telemetry_ratio"], bill["priced_ratio"]) == (1.0, 1.0)
    assert answer["uses_list_prices"] is False


@pytest.mark.parametrize("by", ["model", "tenant", "service", "version", "pool", "model,tenant"])
def test_full_costs_of_any_groups_add_up_to_the_bill(ask_cost: Any, by: str) -> None:
    answer = ask_cost.get("/api/v1/cost", **HOURS, by=by).json()

    assert sum(row["full_cost_usd"] for row in answer["rows"]) == pytest.approx(answer["bill"]["bill_usd"], abs=1e-6)
    assert sum(row["cost_usd"] for row in answer["rows"]) == pytest.approx(answer["bill"]["requests_usd"], abs=1e-6)
    assert set(answer["rows"][0]["labels"]) == set(by.split(","))


def test_a_prediction_a_good_one_a_token_and_a_user_have_a_price(ask_cost: Any) -> None:
    rows = ask_cost.get("/api/v1/cost", **HOURS, by="service").json()["rows"]

    chat = next(row for row in rows if row["labels"]["service"] == "chat")
    assert chat["cost_per_prediction_usd"] == pytest.approx(chat["cost_usd"] / chat["requests"])
    assert 0 < chat["good_requests"] < chat["requests"]
    assert chat["cost_per_good_prediction_usd"] > chat["cost_per_prediction_usd"]
    assert chat["cost_per_million_output_tokens_usd"] > chat["cost_per_million_input_tokens_usd"] > 0
    assert chat["users"] > 10


def test_idle_time_is_told_by_its_cause(ask_cost: Any) -> None:
    answer = ask_cost.get("/api/v1/cost", **HOURS, by="idle_cause").json()

    costs = {row["labels"]["idle_cause"]: row["cost_usd"] for row in answer["rows"]}
    assert costs["unallocated"] > 0
    assert costs["loaded_without_traffic"] > 0
    assert sum(costs.values()) == pytest.approx(answer["bill"]["bill_usd"])


def test_users_bear_what_their_tenants_bear(ask_cost: Any) -> None:
    by_user = ask_cost.get("/api/v1/cost", **HOURS, by="user").json()
    whole = ask_cost.get("/api/v1/cost", **HOURS).json()

    assert by_user["bill"]["requests_usd"] == pytest.approx(whole["bill"]["requests_usd"], abs=1e-6)
    assert len(by_user["rows"]) > 10


@pytest.mark.parametrize(
    ("question", "field", "told"),
    [
        ({"by": "colour"}, "by", "valid are user, model"),
        ({"by": "user,tenant"}, "by", "choose one"),
        ({"by": "user", "from_": (NOW - timedelta(days=9)).isoformat()}, "by", "at most 48 hours"),
    ],
)
def test_questions_that_cannot_be_answered_say_why(ask_cost: Any, question: Any, field: str, told: str) -> None:
    answer = ask_cost.get("/api/v1/cost", **question)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert told in error["detail"]


def test_a_time_without_gpus_costs_nothing_and_knows_nothing(ask_cost: Any) -> None:
    day = {"from_": (NOW - timedelta(days=9)).isoformat(), "to": (NOW - timedelta(days=8)).isoformat()}
    bill = ask_cost.get("/api/v1/cost", **day).json()["bill"]

    assert (bill["requests_usd"], bill["gpu_hours"], bill["telemetry_ratio"]) == (0.0, 0.0, None)


def test_the_rows_of_costs_come_as_csv(ask_cost: Any) -> None:
    answer = ask_cost.get("/api/v1/cost", **HOURS, by="model,tenant", format="csv")

    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    bill = ask_cost.get("/api/v1/cost", **HOURS).json()["bill"]["bill_usd"]
    assert sum(float(row["full_cost_usd"]) for row in rows) == pytest.approx(bill, abs=1e-6)
    assert list(rows[0])[:3] == ["model", "tenant", "cost_usd"]


def test_the_bill_comes_as_focus_rows(ask_cost: Any) -> None:
    answer = ask_cost.get("/api/v1/cost/focus", **HOURS, format="csv")

    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    bill = ask_cost.get("/api/v1/cost", **HOURS).json()["bill"]["bill_usd"]
    assert sum(float(row["BilledCost"]) for row in rows) == pytest.approx(bill, abs=1e-9)
    as_json = ask_cost.get("/api/v1/cost/focus", **HOURS).json()
    assert len(as_json["rows"]) == len(rows)


def test_the_bill_comes_as_opencost_allocations(ask_cost: Any) -> None:
    (allocations,) = ask_cost.get("/api/v1/cost/opencost", **HOURS, aggregate="service").json()["data"]

    bill = ask_cost.get("/api/v1/cost", **HOURS).json()["bill"]["bill_usd"]
    assert sum(one["totalCost"] for one in allocations.values()) == pytest.approx(bill, abs=1e-6)
    assert {"chat", "__idle__"} <= set(allocations)
    wrong = ask_cost.get("/api/v1/cost/opencost", **HOURS, aggregate="colour")
    assert wrong.json()["errors"][0]["field"] == "aggregate"


def test_too_short_a_past_gives_a_reason_in_place_of_a_forecast(ask_cost: Any) -> None:
    answer = ask_cost.get("/api/v1/cost/forecast").json()

    assert "a forecast needs 72" in answer["reason"]
    assert (answer["model"], answer["month_end"], answer["hours"]) == (None, None, [])


def test_a_forecast_from_little_says_what_it_rests_on_and_gives_neither_interval_nor_months_end(
    ask_cost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [NOW.replace(minute=0) - timedelta(hours=ago) for ago in range(96, 0, -1)]
    history = pl.DataFrame({"time": times, "cost_usd": [10.0 + moment.hour for moment in times]})
    monkeypatch.setattr("api.cost.spend_forecast", lambda *_: forecast(history, 24 * 9))
    answer = ask_cost.get("/api/v1/cost/forecast").json()

    assert answer["rests_on"]["known_hours"] == answer["rests_on"]["hours"] == 96
    assert answer["tries"] == 3
    assert answer["no_interval"].endswith("an interval needs 4")
    assert answer["hours"][0]["lower_80_usd"] is None
    assert answer["days"][0]["upper_usd"] == answer["coverage"] == {}
    assert answer["month_end"] is None
    assert answer["month_end_unknown"].startswith("nothing is known of ")
    assert answer["month_so_far"]["known_hours"] == 96 < answer["month_so_far"]["hours"]
    assert answer["month_rest"]["median_usd"] > 0
    assert set(answer["errors_usd"]) == set(answer["mase"])


def test_a_bill_says_how_many_of_its_hours_are_known(ask_cost: Any) -> None:
    day = {"from_": (NOW - timedelta(hours=24)).isoformat(), "to": NOW.isoformat()}
    answer = ask_cost.get("/api/v1/cost", **day).json()
    assert (answer["known_hours"], answer["hours"]) == (2, 24)


def test_advice_says_what_is_missing(ask_cost: Any) -> None:
    answer = ask_cost.get("/api/v1/cost/recommendations").json()

    assert answer["advice"] == []
    assert {gap["kind"] for gap in answer["gaps"]} >= {"release", "held_idle", "spot"}
    assert answer["latency_value"] == {"reason": "not configured", "services": []}


def test_the_bill_is_explained_against_the_hour_before(ask_cost: Any) -> None:
    hour = {"from_": (NOW - timedelta(hours=1)).isoformat(), "to": NOW.isoformat()}
    answer = ask_cost.get("/api/v1/cost/variance", **hour, by="service").json()

    assert answer["before_from"] == "2026-11-23T01:00:00Z"
    assert sum(answer["parts"].values()) == pytest.approx(answer["difference_usd"], abs=1e-9)
    assert answer["after_usd"] - answer["before_usd"] == pytest.approx(answer["difference_usd"], abs=1e-9)
    assert {group["group"] for group in answer["groups"]} >= {"chat", "assist"}
    by_group = sum(group["difference_usd"] for group in answer["groups"])
    assert by_group == pytest.approx(answer["difference_usd"], abs=1e-9)


def test_hours_that_are_known_in_one_of_two_days_are_no_difference(ask_cost: Any) -> None:
    day = {"from_": (NOW - timedelta(hours=24)).isoformat(), "to": NOW.isoformat()}
    answer = ask_cost.get("/api/v1/cost/variance", **day).json()
    assert (answer["known_hours"], answer["before_known_hours"]) == (0, 0)
    assert (answer["hours"], answer["before_hours"], answer["difference_usd"]) == (24, 24, 0.0)

    longer = day | {"before_from": (NOW - timedelta(hours=2)).isoformat(), "before_to": NOW.isoformat()}
    as_given = ask_cost.get("/api/v1/cost/variance", **longer).json()
    assert (as_given["known_hours"], as_given["hours"]) == (2, 24)
    assert (as_given["before_known_hours"], as_given["before_hours"]) == (2, 2)
    assert as_given["after_usd"] > as_given["before_usd"] > 0, "storage is paid in all of the 24 hours"


def test_budgets_say_what_is_spent_of_them(make_asker: Any, fleet: Any) -> None:
    budgets = (Budget("all", 500.0), Budget("chat", 10.0, Period.WEEK, service="chat"), Budget("none", 5.0, tenant="x"))
    asker = make_asker(pricing=lambda: Pricing(book(), budgets=budgets))
    found = {one["name"]: one for one in asker.get("/api/v1/cost/budgets").json()["budgets"]}

    assert found["all"]["state"] == "met"
    assert found["all"]["spent_usd"] == pytest.approx(2 * (len(fleet.gpus) * GPUS_USD_AN_HOUR + 3.0), abs=1e-6)
    assert found["chat"]["state"] == "missed"
    assert found["chat"]["spent_ratio"] > 1
    assert found["none"]["state"] == "no_data"
    nothing = make_asker(pricing=lambda: Pricing(book())).get("/api/v1/cost/budgets").json()
    assert nothing["budgets"] == []
