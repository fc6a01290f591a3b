from datetime import UTC, datetime

import polars as pl
import pytest

from analytics.cost.allocation import rows_of
from analytics.cost.unit_costs import bill_of, unit_costs

HOUR = datetime(2026, 11, 23, 2, tzinfo=UTC)
USD = 1_000_000_000


def allocation():
    served = {"time": HOUR, "use": "requests", "service": "chat", "model": "llama", "gpu_seconds": 1800.0}
    return rows_of(
        [
            {**served, "tenant": "acme", "outcome": "ok", "cost_nanousd": 6 * USD, "input_cost_nanousd": 2 * USD,
             "requests": 100, "input_tokens": 1_000_000, "output_tokens": 500_000},
            {**served, "tenant": "blue", "outcome": "error", "cost_nanousd": 2 * USD, "requests": 20,
             "output_tokens": 500_000},
            {"time": HOUR, "use": "idle", "idle_cause": "stalled_on_fabric", "service": "chat", "model": "llama",
             "cost_nanousd": 2 * USD, "gpu_seconds": 3600.0},
            {"time": HOUR, "use": "idle", "idle_cause": "no_telemetry", "cost_nanousd": 3 * USD, "gpu_seconds": 1800.0},
            {"time": HOUR, "use": "overhead", "cost_nanousd": 4 * USD},
            {"time": HOUR, "use": "unattributed", "cost_nanousd": 3 * USD, "gpu_seconds": 1800.0},
        ]
    )  # fmt: skip


def outcomes(*rows, by=("tenant",)):
    counts = dict.fromkeys(("requests", "good", "errors", "users"), pl.UInt64)
    return pl.DataFrame(rows, schema=dict.fromkeys(by, pl.String) | counts, orient="row")


def test_a_bill_says_what_became_of_it():
    bill = bill_of(allocation(), unpriced_gpu_seconds=10_800.0 / 4)
    assert (bill.bill_usd, bill.requests_usd, bill.idle_usd, bill.overhead_usd, bill.unattributed_usd) == (
        20.0, 8.0, 5.0, 4.0, 3.0
    )  # fmt: skip
    assert (bill.fabric_usd, bill.errors_usd, bill.gpu_hours) == (2.0, 2.0, 3.0)
    assert bill.telemetry_ratio == pytest.approx(1 - 1800 / 10_800)
    assert bill.priced_ratio == pytest.approx(0.8)
    assert bill.attributed_ratio == pytest.approx(0.85)


def test_one_prediction_one_token_and_one_user_cost_what_they_cost():
    found = unit_costs(allocation(), outcomes((120, 80, 20, 4), by=())).row(0, named=True)
    assert found["cost_usd"] == 8.0
    assert found["idle_usd"] == 5.0
    assert found["full_cost_usd"] == 20.0
    assert found["errors_usd"] == 2.0
    assert found["cost_per_prediction_usd"] == pytest.approx(8 / 120)
    assert found["cost_per_good_prediction_usd"] == pytest.approx(8 / 80)
    assert found["full_cost_per_prediction_usd"] == pytest.approx(20 / 120)
    assert found["cost_per_million_tokens_usd"] == pytest.approx(4.0)
    assert found["cost_per_million_input_tokens_usd"] == pytest.approx(2.0)
    assert found["cost_per_million_output_tokens_usd"] == pytest.approx(6.0)
    assert found["cost_per_active_user_usd"] == pytest.approx(2.0)


def test_full_costs_of_all_groups_add_up_to_the_bill():
    by_tenant = unit_costs(allocation(), outcomes(("acme", 100, 90, 0, 3)), ["tenant"])
    assert by_tenant.select("tenant", "cost_usd", "idle_usd", "full_cost_usd").rows() == [
        ("acme", 6.0, 0.0, 15.0),
        ("blue", 2.0, 0.0, 5.0),
    ]
    by_model = unit_costs(allocation(), outcomes(by=("model",)), ["model"])
    assert by_model.select("model", "cost_usd", "idle_usd", "full_cost_usd", "gpu_hours").rows() == [
        ("llama", 8.0, 2.0, 20.0, 2.0)
    ]


def test_what_is_not_known_of_a_group_is_null_and_never_zero():
    found = unit_costs(allocation(), outcomes(("acme", 100, 90, 0, 3)), ["tenant"])
    blue = found.filter(pl.col("tenant") == "blue").row(0, named=True)
    assert blue["good_requests"] is None
    assert blue["cost_per_good_prediction_usd"] is None
    assert blue["cost_per_active_user_usd"] is None
    assert blue["cost_per_million_input_tokens_usd"] is None
    nothing = unit_costs(rows_of([]), outcomes(by=()), []).row(0, named=True)
    assert nothing["cost_per_prediction_usd"] is None
    assert nothing["full_cost_usd"] == 0.0


def test_idle_time_alone_is_a_row_of_its_own():
    idle = {
        "time": HOUR,
        "use": "idle",
        "idle_cause": "loaded_without_traffic",
        "service": "spare",
        "cost_nanousd": USD,
    }
    found = unit_costs(rows_of([idle]), outcomes(by=("service",)), ["service"])
    assert found.select("service", "cost_usd", "idle_usd", "full_cost_usd").rows() == [("spare", 0.0, 1.0, 1.0)]


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="cannot tell unit costs by node; valid are service, model"):
        unit_costs(allocation(), outcomes(by=()), ["node"])
