import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from analytics.cost.allocation import ALLOCATION, bill_usd
from analytics.knowledge import shipped_knowledge
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind, GpuPlace
from domain.slo import SloState
from domain.window import Window
from reports.weekly import SCHEMA, WeeklyFacts, first_actions, week_at, week_before, week_of, weekly_document
from tests.own_titles import OWN_TITLES
from tests.reports.test_incident import check_golden
from tests.reports.weekly_sample import SUNDAY_NIGHT, alerts, forecast, incidents, sample_facts, slos

EMPTY = WeeklyFacts(week="2026-W47", read_at=SUNDAY_NIGHT, slos=(), incidents=(), knowledge=shipped_knowledge())


def test_the_document_of_the_sample_is_the_committed_one() -> None:
    document = weekly_document(sample_facts(latency=None))
    check_golden("weekly.json", json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


# -- Weeks ---------------------------------------------------------------------------------------------------------


def test_a_week_goes_from_monday_to_monday() -> None:
    assert week_of("2026-W47") == Window(datetime(2026, 11, 16, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))


def test_a_week_on_the_clock_of_a_place_is_an_hour_shorter_where_summer_begins() -> None:
    week = week_of("2026-W13", "Europe/Prague")
    assert week.start == datetime(2026, 3, 22, 23, tzinfo=UTC)
    assert week.seconds == 167 * 3600


@pytest.mark.parametrize(
    ("week", "told"),
    [
        ("2026-47", "expected a year and an ISO week, e.g. 2026-W47"),
        ("2026-W7", "expected a year"),
        ("last", "'last' is not a week"),
        ("2025-W53", "2025 has the weeks 01 to 52"),
        ("2026-W00", "2026 has the weeks 01 to 53"),
        ("0000-W01", "is not a week"),
        ("9999-W52", "is not a week"),
    ],
)
def test_what_is_no_week_is_refused_with_what_would_be(week: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        week_of(week)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="'Mars/Olympus' is not a time zone; expected"):
        week_of("2026-W47", "Mars/Olympus")


def test_weeks_follow_each_other_over_the_new_year() -> None:
    assert week_before("2026-W01") == "2025-W52"
    assert week_before("2027-W01") == "2026-W53"
    assert week_at(datetime(2026, 11, 22, 23, 30, tzinfo=UTC)) == "2026-W47"
    assert week_at(datetime(2026, 11, 22, 23, 30, tzinfo=UTC), "Europe/Prague") == "2026-W48"


def test_a_week_that_is_not_over_is_said_to_be_incomplete() -> None:
    assert weekly_document(replace(EMPTY, read_at=SUNDAY_NIGHT - timedelta(seconds=1)))["is_complete"] is False
    assert weekly_document(EMPTY)["is_complete"] is True


# -- What is not known ---------------------------------------------------------------------------------------------


def test_of_an_empty_week_nothing_is_made_up() -> None:
    document = weekly_document(EMPTY)
    assert document["schema"] == SCHEMA
    unknown = (
        "cost",
        "forecast",
        "variance",
        "advice",
        "sla",
        "users",
        "alerts",
        "latency",
        "gpus",
        "links",
        "data_gaps",
    )
    assert [document[name] for name in unknown] == [None] * len(unknown)
    assert document["headline"]["state"] is None
    assert [answer["answer"] for answer in document["answers"]] == ["Not known", "Not known", "Nothing is due"]
    assert document["incidents"]["cost_usd"] is None
    assert document["times"]["to_detect"]["median_s"] is None


def test_no_number_of_the_document_is_infinite_or_none_at_all() -> None:
    horizon = [{**point, "upper_usd": math.inf} for point in forecast()["horizon"]]
    document = weekly_document(
        sample_facts(
            slos=[replace(one, burn_rate=math.nan, budget_left_history=(math.nan, 1.0)) for one in slos()],
            incidents=[replace(one, peak_ms_p99=math.nan) for one in incidents()],
            forecast={**forecast(), "mase": math.nan, "horizon": horizon},
        )
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["incidents"]["all"][0]["peak_ms_p99"] is None
    assert document["forecast"]["horizon"][0]["upper_usd"] is None


# -- Objectives ----------------------------------------------------------------------------------------------------


def test_objectives_are_told_worst_first_with_what_the_week_spent() -> None:
    rows = weekly_document(sample_facts())["slos"]
    assert [row["state"] for row in rows] == ["missed", "at_risk", "no_data", "met", "met", "met"]
    ttft = rows[0]
    bad, budget = 9_740_310 - 9_671_000, 0.005 * 41_000_000
    assert ttft["budget_spent_in_week_ratio"] == pytest.approx(bad / budget)
    assert ttft["sli_in_week_ratio"] == pytest.approx(9_671_000 / 9_740_310)
    assert (ttft["state_before"], ttft["budget_left_before_ratio"]) == ("met", 0.54)
    assert rows[2]["budget_spent_in_week_ratio"] is None


def test_the_verdict_is_that_of_the_worst_objective_that_could_be_judged() -> None:
    met, unseen = [one for one in slos() if one.state in (SloState.MET, SloState.NO_DATA)][:1], slos()[-1]
    assert weekly_document(sample_facts())["headline"]["state"] == "missed"
    assert weekly_document(replace(EMPTY, slos=slos()[1:]))["headline"]["state"] == "at_risk"
    assert weekly_document(replace(EMPTY, slos=[*met, unseen]))["headline"]["state"] == "met"
    assert weekly_document(replace(EMPTY, slos=[unseen]))["headline"]["state"] == "no_data"


def test_the_first_answer_says_what_was_missed_and_what_nobody_could_judge() -> None:
    kept = weekly_document(sample_facts())["answers"][0]
    assert kept["answer"] == "Not all: 1 of 5 missed"
    assert "Missed: chat-completions TTFT < 800 ms" in kept["detail"]
    assert "1 objective had no data and is not counted as met." in kept["detail"]
    unseen = weekly_document(replace(EMPTY, slos=[slos()[-1]]))["answers"][0]
    assert unseen["answer"] == "Not known"


# -- Incidents -----------------------------------------------------------------------------------------------------


def test_incidents_are_ranked_by_budget_and_by_dollars_and_unknown_ones_by_neither() -> None:
    told = weekly_document(sample_facts())["incidents"]
    assert (told["count"], told["before_count"], told["open_count"], told["explained_count"]) == (7, 4, 1, 6)
    assert told["by_budget"][:2] == ["inc-9c02be7714", "inc-0f3d9a6e52"]
    assert "inc-2be86c1775" not in told["by_budget"] + told["by_cost"]
    assert (told["cost_usd"], told["cost_unknown_count"]) == (pytest.approx(1073.9), 1)


def test_causes_are_called_as_a_site_calls_them() -> None:
    rows = weekly_document(sample_facts(knowledge=OWN_TITLES))["incidents"]["all"]
    told = [row["cause"] for row in rows if row["cause_kind"] == "network_link_fault"]
    assert told
    assert all(cause.startswith("Dim optics on ") for cause in told)


def test_a_gpu_goes_by_its_node_and_number_and_not_by_its_uuid() -> None:
    (incident, *_) = incidents()
    gpu, place = Entity(EntityKind.GPU, "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"), GpuPlace("gpu-07-03", 2, "chat-5")
    cause = replace(incident.cause, kind=CauseKind.GPU_FAULT, entity=gpu, gpu=place)
    found = replace(incident, explanation=replace(incident.explanation, causes=(cause,)))
    (row, *_) = weekly_document(replace(EMPTY, incidents=(found,)))["incidents"]["all"]
    assert row["cause"] == "GPU fault on GPU 2 of gpu-07-03 (chat-5)"


def test_an_incident_that_spent_a_fifth_of_a_budget_is_due_a_postmortem() -> None:
    policy = weekly_document(sample_facts())["policy"]
    assert [(step["kind"], step["about"]) for step in policy] == [
        ("budget_spent", "chat-ttft"),
        ("postmortem", "inc-9c02be7714"),
    ]
    assert "network" in policy[1]["exemption"]
    at_home = [
        replace(one, explanation=replace(one.explanation, causes=(replace(one.cause, kind=CauseKind.BAD_RELEASE),)))
        for one in incidents()
    ]
    assert weekly_document(sample_facts(incidents=at_home))["policy"][1]["exemption"] is None


def test_what_to_do_names_open_incidents_then_policy_then_savings() -> None:
    actions = weekly_document(sample_facts())["actions"]
    assert [action["kind"] for action in actions] == ["incident", "policy", "policy", "saving", "saving", "saving"]
    assert [action["kind"] for action in first_actions(actions)] == ["incident", "policy", "saving"]
    assert [action["kind"] for action in first_actions(actions[:3])] == ["incident", "policy", "policy"]


# -- Alerts --------------------------------------------------------------------------------------------------------


def test_precision_counts_only_what_somebody_judged() -> None:
    told = weekly_document(sample_facts())["alerts"]
    assert (told["pages_count"], told["tickets_count"], told["judged_count"]) == (5, 9, 12)
    assert told["precision_ratio"] == pytest.approx(4 / 12)
    noisy = [rule for rule in told["rules"] if rule["is_noisy"]]
    assert [(rule["service"], rule["count"]) for rule in noisy] == [("batch-infer", 9)]
    unjudged = weekly_document(sample_facts(alerts=[replace(one, is_useful=None) for one in alerts()]))["alerts"]
    assert unjudged["precision_ratio"] is None


def test_times_to_see_and_to_mend_are_beside_those_of_the_week_before() -> None:
    times = weekly_document(sample_facts())["times"]
    assert (times["to_acknowledge"]["count"], times["to_acknowledge"]["unknown_count"]) == (3, 4)
    assert times["to_detect"]["median_s"] == pytest.approx(109)
    assert times["to_detect"]["median_before_s"] is not None


# -- Cost ----------------------------------------------------------------------------------------------------------


def test_each_split_of_the_bill_adds_up_to_it() -> None:
    facts = sample_facts()
    assert facts.allocation is not None
    cost = weekly_document(facts)["cost"]
    assert cost["cost_usd"] == pytest.approx(bill_usd(facts.allocation), rel=1e-11)
    for split in ("uses", "models", "tenants", "days", "gpu_models"):
        assert sum(row["cost_usd"] for row in cost[split]) == pytest.approx(cost["cost_usd"], rel=1e-10), split
    idle = next(use for use in cost["uses"] if use["name"] == "idle")
    assert sum(row["cost_usd"] for row in cost["idle_causes"]) == pytest.approx(idle["cost_usd"], rel=1e-10)


def test_the_price_of_a_token_holds_idle_time_and_none_is_no_price() -> None:
    cost = weekly_document(sample_facts())["cost"]
    llama = cost["models"][0]
    tokens = llama["input_tokens_count"] + llama["output_tokens_count"]
    assert llama["per_million_tokens_usd"] == pytest.approx(llama["cost_usd"] / tokens * 1e6)
    assert llama["idle_cost_usd"] > 0
    assert cost["models"][-1]["name"] is None
    assert cost["models"][-1]["per_million_tokens_usd"] is None


def test_a_day_of_which_nothing_is_known_costs_nothing_known() -> None:
    facts = sample_facts()
    assert facts.allocation is not None
    holed = facts.allocation.filter(pl.col("time").dt.day() != 18)
    days = weekly_document(replace(facts, allocation=holed))["cost"]["days"]
    assert [day["date"] for day in days if day["cost_usd"] is None] == ["2026-11-18"]
    assert len(days) == 7


def test_days_are_those_of_the_place() -> None:
    facts = sample_facts(time_zone="America/New_York", week="2026-W47")
    days = weekly_document(facts)["cost"]["days"]
    assert [day["date"] for day in days] == [f"2026-11-{number}" for number in range(16, 23)]
    assert days[6]["cost_usd"] < days[0]["cost_usd"]  # its last five hours lie in the next bill


def test_a_bill_without_rows_is_a_bill_of_nothing_and_not_an_error() -> None:
    cost = weekly_document(replace(EMPTY, allocation=pl.DataFrame(schema=ALLOCATION)))["cost"]
    assert (cost["cost_usd"], cost["cost_before_usd"], cost["per_million_tokens_usd"]) == (0.0, None, None)
    assert {day["cost_usd"] for day in cost["days"]} == {None}


def test_of_savings_about_the_same_thing_only_the_best_is_counted_and_named_first() -> None:
    told = [("llama", 900.0), ("llama", 800.0), ("bge", 100.0), ("llama", 50.0)]
    advice = [
        {"about": about, "title": f"{about} {low:g}", "saves_usd_per_month_low": low, "confidence": 0.9}
        for about, low in told
    ]
    document = weekly_document(sample_facts(slos=(), incidents=(), advice=advice))
    assert [action["text"] for action in document["actions"]] == ["llama 900", "bge 100", "llama 800", "llama 50"]
    assert document["answers"][2]["answer"] == "$1,000 a month to save"
