from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from analytics.cost.allocation import bill_usd
from analytics.cost.runaway import Budget
from analytics.knowledge import shipped_knowledge
from domain.slo import CreditTier, Selection, Sla, SloState
from reports.facts import read_facts
from reports.weekly import WeeklyFacts, weekly_document
from storage.store import Store
from tests.contract.request_rows import insert_requests
from tests.emptied import empty
from tests.reports.stored_fortnight import MONDAY, NOW, OBJECTIVES, PRICING, SILENT, fill


@pytest.fixture(scope="module")
def filled_store(store: Store) -> Iterator[Store]:
    empty(store)
    fill(store)
    yield store
    empty(store)


def facts(store: Store, week: str = "2026-W47", **given: Any) -> WeeklyFacts:
    asked: dict[str, Any] = {
        "knowledge": shipped_knowledge(),
        "pricing": PRICING,
        "objectives": OBJECTIVES,
        "read_at": NOW,
    }
    return read_facts(store, week, **(asked | given))


@pytest.fixture(scope="module")
def week(filled_store: Store) -> WeeklyFacts:
    return facts(filled_store, web_url="https://tailsight.example", site="prod")


def test_objectives_stand_as_they_did_at_the_end_of_the_week_and_a_week_earlier(week: WeeklyFacts) -> None:
    # 90 % in time of four an hour, where those of midnight take 900 ms: 28 of 660 are late, as budgeted for 66.
    of = {status.objective.name: status for status in week.slos}
    assert (of["chat-ttft"].total_count, of["chat-ttft"].good_count) == (660, 660 - 28 - 7)
    assert of["chat-ttft"].state is SloState.MET
    before = {status.objective.name: status for status in week.slos_before}
    assert before["chat-ttft"].total_count == 672
    assert week.slo_counts == {"chat-ttft": (625.0, 660), "chat-availability": (653.0, 660)}


def test_incidents_and_alerts_belong_to_the_week_that_they_began_in(week: WeeklyFacts) -> None:
    assert {one.id for one in week.incidents} == {"inc-hot", "inc-port"}
    assert week.incidents_before is not None
    assert {one.id for one in week.incidents_before} == {"inc-earlier"}
    assert week.alerts is not None
    assert week.alerts_before is not None
    told = [one.alert.labels["incident"] for one in week.alerts if "incident" in one.alert.labels]
    assert sorted(told) == ["inc-hot", "inc-port"]
    assert [one.alert.labels.get("incident") for one in week.alerts_before] == ["inc-earlier"]


def test_the_bill_is_gpu_hours_times_price_in_both_weeks(week: WeeklyFacts) -> None:
    assert week.allocation is not None
    assert week.allocation_before is not None
    assert bill_usd(week.allocation) == pytest.approx(4 * 168 * 2.0)
    assert bill_usd(week.allocation_before) == pytest.approx(3 * 168 * 2.0)


def test_the_parts_of_the_change_add_up_and_the_greatest_is_explained(week: WeeklyFacts) -> None:
    assert week.variance is not None
    assert sum(part["cost_usd"] for part in week.variance["parts"]) == pytest.approx(168 * 2.0)
    first = week.variance["groups"][0]
    assert first["name"] == "Nobody's: GPUs without a model, overhead"
    assert first["why"] == "idle +$336: idle GPU-hours 168 → 336"


def test_users_are_those_of_the_last_48_hours_with_their_tenants(week: WeeklyFacts) -> None:
    assert week.users is not None
    assert [(one["user"], one["tenant"], one["requests_count"]) for one in week.users] == [
        ("ann", "acme", 3 * 48),
        ("bob", "globex", 48),
    ]
    served_usd = 48 * 2 * 0.5 * 2.0
    assert sum(one["cost_usd"] for one in week.users) == pytest.approx(served_usd)


def test_what_incidents_were_blamed_on_is_unhealthy_of_those_that_told_of_themselves(week: WeeklyFacts) -> None:
    assert week.gpus is not None
    assert week.links is not None
    assert (week.gpus.count, week.links.count) == (2, 1)
    (hot,), (port,) = week.gpus.rows, week.links.rows
    assert (hot.name, hot.where, hot.is_over) == ("GPU-0", "gpu-01", True)
    assert (port.name, port.where, port.is_over) == ("gpu-01/mlx5_0/1", "gpu-01", False)


def test_hours_without_anything_are_gaps_where_there_was_something_before(week: WeeklyFacts) -> None:
    assert week.data_gaps is not None
    assert [(gap.source, gap.started_at, gap.ended_at) for gap in week.data_gaps] == [
        ("Requests", *SILENT),
        ("Samples", *SILENT),
    ]


def test_a_source_that_has_fallen_silent_is_a_gap_that_goes_on(filled_store: Store) -> None:
    later = facts(filled_store, "2026-W48", read_at=NOW + timedelta(hours=5))
    assert later.data_gaps is not None
    assert [(gap.source, gap.started_at, gap.ended_at) for gap in later.data_gaps] == [
        ("Requests", NOW, None),
        ("Samples", NOW, None),
    ]


def test_p99_is_told_of_every_hour_and_null_where_there_was_no_request(week: WeeklyFacts) -> None:
    assert week.latency is not None
    rows = {time: p99 for time, _, p99 in week.latency.iter_rows()}
    assert len(rows) == 168
    assert rows[SILENT[0]] is None
    assert rows[MONDAY] == pytest.approx(900, rel=0.011)
    assert rows[MONDAY + timedelta(hours=1)] == pytest.approx(200, rel=0.011)


def test_a_forecast_and_advice_are_there_after_a_fortnight(week: WeeklyFacts) -> None:
    assert week.forecast is not None
    assert week.forecast["month_end"]["median_usd"] is None, "a third of the month is not known"
    assert any(note.startswith("What the month will cost is not told: nothing is") for note in week.method_notes)
    assert week.forecast["horizon"][0]["median_usd"] == pytest.approx(4 * 24 * 2.0, rel=0.05)
    assert week.advice
    assert "without a model" in week.advice[0]["title"]


def test_the_months_end_is_held_against_the_least_budget_of_all(filled_store: Store) -> None:
    budgets = (Budget("all", 9_000.0), Budget("board", 7_000.0), Budget("chat", 10.0, service="chat"))
    found = facts(filled_store, pricing=replace(PRICING, budgets=budgets)).forecast
    assert found is not None
    assert found["month_end"]["budget_usd"] == 7_000.0


def test_the_notes_say_how_figures_were_made(week: WeeklyFacts) -> None:
    notes = " ".join(week.method_notes)
    for words in ("within 1 %", "price book", "estimated", "last 48 hours", "GPUs told what they did"):
        assert words in notes, words
    assert "list prices" not in notes


def test_a_week_under_way_is_held_against_the_same_stretch_of_the_week_before(filled_store: Store) -> None:
    under_way = facts(filled_store, "2026-W48")
    assert under_way.allocation is not None
    assert under_way.allocation_before is not None
    assert bill_usd(under_way.allocation) == pytest.approx(8 * 4 * 2.0)
    assert bill_usd(under_way.allocation_before) == pytest.approx(8 * 4 * 2.0)
    assert "same stretch" in " ".join(under_way.method_notes)
    assert not weekly_document(under_way)["is_complete"]


def test_no_hour_is_in_two_weeks_where_a_week_begins_at_half_past(filled_store: Store) -> None:
    of = [facts(filled_store, week, time_zone="Asia/Kolkata").allocation for week in ("2026-W46", "2026-W47")]
    assert all(one is not None for one in of)
    hours = [set(one["time"]) for one in of if one is not None]
    assert not hours[0] & hours[1]
    assert len(hours[1]) == 168


def test_a_week_that_has_not_begun_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="2026-W48 has not begun: it does at 2026-11-23T00:00:00Z"):
        facts(store, "2026-W48", read_at=datetime(2026, 11, 22, 23, tzinfo=UTC))


def test_what_a_contract_gives_back_is_told_of_the_month_so_far(filled_store: Store) -> None:
    contract = Sla(1_000.0, (CreditTier(0.99, 0.1), CreditTier(0.9, 0.3)))
    bought = replace(OBJECTIVES[0], sla=contract, selection=Selection(tenant="globex"))
    kept = replace(OBJECTIVES[1], name="kept", sla=Sla(1_000.0, (CreditTier(0.5, 0.1),)))
    found = facts(filled_store, objectives=(bought, kept))
    assert found.sla is not None
    (row,) = found.sla
    # Of globex is each first request of an hour; those of midnight are late, and those of noon fail.
    assert (row["customer"], row["promised_ratio"], row["credit_usd"]) == ("globex", 0.99, 100.0)
    assert 0.9 < row["achieved_ratio"] < 0.99
    assert facts(filled_store).sla is None


def test_without_anything_in_the_store_nothing_is_known(clean_store: Store) -> None:  # the last: it empties the store
    nothing = facts(clean_store, objectives=OBJECTIVES)
    assert {status.state for status in nothing.slos} == {SloState.NO_DATA}
    for name in ("allocation", "forecast", "variance", "advice", "users", "gpus", "links", "data_gaps"):
        assert getattr(nothing, name) is None, name
    assert nothing.incidents_before is None
    assert nothing.slos_before == ()
    weekly_document(nothing)


def test_a_week_of_requests_alone_is_told(clean_store: Store) -> None:
    began = MONDAY + timedelta(days=1)
    second = np.arange(0, 2 * 3600, 60.0)
    insert_requests(clean_store, began, second, replica=["one"] * len(second), latency_ms=second, ttft_ms=second)
    told = facts(clean_store)
    assert told.data_gaps is not None
    assert [(gap.source, gap.started_at, gap.ended_at) for gap in told.data_gaps] == [
        ("Requests", began + timedelta(hours=2), None)
    ]
    assert told.gpus is None
