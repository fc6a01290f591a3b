import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from alerts.decide import (
    budget_alerts,
    burn_alert,
    exhaustion_alerts,
    page_for,
    promise,
    runaway_alert,
    silence_url,
    status_alerts,
)
from alerts.matchers import all_match, parse_matchers
from analytics.burn_rates import WINDOWS, BurnAlert
from analytics.cost.forecast import Total
from analytics.cost.runaway import Budget, BudgetState, BudgetStatus, Mover, Runaway, SpendRunaway
from domain.cause import CauseKind, EntityShare, Explanation
from domain.entity import Entity, EntityKind, GpuPlace
from domain.incident import Incident, Indicator, Severity, Status
from domain.slo import Counted, Objective, Period, PeriodStatus, Selection, SloState, SloStatus
from domain.window import Window
from tests.domain.examples import BAD_LINK, PAGING, UNEXPLAINED

URL = "http://127.0.0.1:8080"
GPU = Entity(EntityKind.GPU, "GPU-5fd4f087-86f3-7a43-b711-4771313afc50")
BAD_GPU = replace(BAD_LINK, kind=CauseKind.GPU_FAULT, entity=GPU)
# What changes while an incident lasts would make Alertmanager take it for another alert.
CHANGING = {"peak_ms_p99": 9000.0, "slow_requests_count": 99_999, "slow_requests_ratio": 0.9, "budget_spent_ratio": 0.5}


def test_nobody_is_told_of_what_is_for_information_only() -> None:
    assert page_for(replace(PAGING, severity=Severity.INFO), URL) is None


def test_what_can_wait_for_the_morning_says_so_in_its_label() -> None:
    page = page_for(replace(PAGING, severity=Severity.TICKET), URL)
    assert page is not None
    assert page.labels["severity"] == "ticket"


def test_a_page_says_what_users_feel_why_since_when_and_what_to_do() -> None:
    page = page_for(PAGING, URL)
    assert page is not None
    assert page.annotations == {
        "summary": "chat: TTFT p99 4.1 s, usually 540 ms; network_link_fault on gpu-07-03/mlx5_2/1, 93 %",
        "impact": "18,420 slow or failed requests, 31% of all, 41 tenants",
        "cause": PAGING.cause.summary,
        "cause_confidence": "93%",
        "since": "2026-11-23T02:41:00Z",
        "incident_url": "http://127.0.0.1:8080/incidents/inc-0123456789",
        "next_step": "Drain the node from the service.",
        "budget_spent": "3.7% of the error budget",
        "cost": "$312 of GPU time",
        "evidence": "Symbol errors of gpu-07-03/mlx5_2/1: 0.37 → 85.4 per second; "
        "Time to first token outside queue and prefill of chat-3: no data → 1.34 s",
        "exemplar_trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "exemplar_traces": "4bf92f3577b34da6a3ce929d0e0e4736, 00f067aa0ba902b7a3ce929d0e0e4736",
        "runbook_url": "http://127.0.0.1:8080/alerts#network_link_fault",
        "silence_url": silence_url(page.labels, URL),
    }
    assert (page.starts_at, page.ends_at) == ("2026-11-23T02:41:00Z", None)


def test_the_labels_are_the_same_for_as_long_as_the_incident_lasts() -> None:
    first = page_for(PAGING, URL)
    later = page_for(replace(PAGING, **CHANGING, ended_at=UNEXPLAINED.ended_at), URL)  # type: ignore[arg-type]
    assert first is not None
    assert later is not None
    assert first.labels == later.labels
    assert first.labels == {
        "alertname": "TailsightLatencySpike",
        "severity": "page",
        "service": "chat",
        "model": "llama-70b",
        "indicator": "ttft",
        "incident": "inc-0123456789",
    }
    assert later.ends_at == "2026-11-23T02:55:00Z"


def test_what_is_not_known_is_left_out_of_the_page() -> None:
    page = page_for(replace(UNEXPLAINED, severity=Severity.PAGE), URL)
    assert page is not None
    told = {"summary", "impact", "cause", "since", "incident_url", "runbook_url", "silence_url"}
    assert set(page.annotations) == told
    assert page.annotations["runbook_url"] == f"{URL}/alerts#TailsightLatencySpike"
    assert "tenants" not in page.annotations["impact"]
    assert "model" not in page.labels


def test_every_label_and_annotation_is_text_as_alertmanager_wants_it() -> None:
    page = page_for(PAGING, URL)
    assert page is not None
    texts = [*page.labels.items(), *page.annotations.items()]
    assert all(isinstance(text, str) and text for pair in texts for text in pair)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (Objective("x", "chat", Indicator.ERRORS, 0.999, 30), "99.9 % of the requests do not fail"),
        (
            Objective("x", "chat", Indicator.TPOT, 0.99, 30, 50.0, selection=Selection(tenant="acme")),
            "99 % of the requests write each further token within 50 ms (tenant acme)",
        ),
        (
            Objective("x", "chat", Indicator.GOODPUT, 0.95, 30, 800.0, tpot_threshold_ms=60.0),
            "95 % of the requests see their first token within 800 ms and each further one within 60 ms",
        ),
        (
            Objective("x", "chat", Indicator.THROUGHPUT, 0.95, 30, floor_per_s=2.5),
            "95 % of the minutes with demand bring 2.5 predictions a second",
        ),
        (
            Objective("x", "fleet", Indicator.GPU_AVAILABILITY, 0.995, 30),
            "99.5 % of the minutes of GPUs are without a fault",
        ),
        (
            Objective("x", "chat", Indicator.DATA_FRESHNESS, 0.99, 30, age_max_s=300.0),
            "99 % of the minutes have requests not older than 5 min",
        ),
    ],
    ids=lambda one: one.indicator.value if isinstance(one, Objective) else "",
)
def test_each_promise_is_told_in_words(objective: Objective, words: str) -> None:
    assert promise(objective) == f"{words}, over 30 days"


def test_a_budget_that_is_spent_in_a_further_window_is_a_ticket_of_how_far() -> None:
    now = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    objective = Objective("x", "chat", Indicator.ERRORS, 0.999, 30, more_periods=(Period(7),))
    own, week = Counted(9999, 10_000, 0.9999, 0.9), Counted(997, 1000, 0.997, -2.0)
    periods = (
        PeriodStatus(Period(30), SloState.MET, own, 1.0),
        PeriodStatus(Period(7), SloState.MISSED, week, 1.0),
    )
    status = SloStatus(objective, SloState.MISSED, 9999, 10_000, 0.9999, 0.9, 0.0, (), periods=periods)
    (alert,) = status_alerts([status], Window(now - timedelta(minutes=30), now), URL, now)
    assert alert.labels["alertname"] == "SLOBudgetSpent"
    assert alert.annotations["budget"] == "200% more than all of it"


@pytest.mark.parametrize(
    ("incident", "summary"),
    [
        (replace(UNEXPLAINED, severity=Severity.PAGE), "embeddings: latency p99 310 ms, usually 80 ms; cause unknown"),
        (
            replace(PAGING, indicator=Indicator.TPOT, peak_ms_p99=160.0, baseline_ms_p99=40.0),
            "chat: time per token p99 160 ms, usually 40 ms; network_link_fault on gpu-07-03/mlx5_2/1, 93 %",
        ),
        (
            replace(PAGING, indicator=Indicator.ERRORS),
            "chat: 31 % of requests fail; network_link_fault on gpu-07-03/mlx5_2/1, 93 %",
        ),
        (
            replace(PAGING, indicator=Indicator.ERRORS, slow_requests_ratio=0.004),
            "chat: 0.4 % of requests fail; network_link_fault on gpu-07-03/mlx5_2/1, 93 %",
        ),
        *(
            (
                replace(PAGING, explanation=Explanation((replace(BAD_GPU, gpu=place),), ())),
                f"chat: TTFT p99 4.1 s, usually 540 ms; gpu_fault on {told}, 93 %",
            )
            for place, told in (
                (GpuPlace("gpu-07-03", 0), "GPU 0 of gpu-07-03"),
                (GpuPlace("gpu-07-03"), f"{GPU.name} of gpu-07-03"),
                (GpuPlace(None, 2), GPU.name),
                (None, GPU.name),
            )
        ),
    ],
)
def test_the_summary_names_the_service_what_users_feel_and_the_cause_on_what(incident: Incident, summary: str) -> None:
    page = page_for(incident, URL)
    assert page is not None
    assert page.annotations["summary"] == summary


def test_the_tenants_that_are_hit_hardest_are_named() -> None:
    where = PAGING.explanation.whereabouts
    assert where is not None
    shares = tuple(
        EntityShare(Entity(EntityKind.TENANT, name), ratio, 0.1)
        for name, ratio in (("beta", 0.2), ("acme", 0.5), ("gamma", 0.1), ("delta", 0.05))
    )
    named = replace(PAGING.explanation, whereabouts=replace(where, shares=(*where.shares, *shares)))
    page = page_for(replace(PAGING, explanation=named), URL)
    assert page is not None
    hit = "acme (50% of the added time), beta (20% of the added time), gamma (10% of the added time)"
    assert page.annotations["impact"].endswith(f"41 tenants; hit hardest: {hit}")


def test_further_causes_are_told_by_rank() -> None:
    second = replace(
        PAGING.cause, rank=2, kind=CauseKind.TRAFFIC_SURGE, entity=Entity(EntityKind.SERVICE, "chat"), confidence=0.31
    )
    found = replace(PAGING.explanation, causes=(PAGING.cause, second))
    page = page_for(replace(PAGING, explanation=found), URL)
    assert page is not None
    assert page.annotations["other_causes"] == "2. Traffic surge on chat"


def test_the_silence_link_silences_this_alert_and_the_next_of_its_kind() -> None:
    page = page_for(PAGING, URL)
    assert page is not None
    (text,) = parse_qs(urlsplit(page.annotations["silence_url"]).query)["silence"]
    matchers = parse_matchers(text)
    assert all_match(matchers, page.labels)
    assert all_match(matchers, page.labels | {"incident": "another"})
    assert not all_match(matchers, page.labels | {"service": "other"})


NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
OBJECTIVE = Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, 2000.0)


def test_a_budget_that_burns_carries_what_is_known_of_the_incident_beside_it() -> None:
    burning = BurnAlert(OBJECTIVE, Severity.PAGE, WINDOWS[0], 31.2, NOW - timedelta(minutes=5), None)
    alert, page = burn_alert(burning, [PAGING], URL, NOW), page_for(PAGING, URL)
    assert page is not None
    for name in (
        "impact",
        "cause",
        "evidence",
        "cost",
        "budget_spent",
        "exemplar_traces",
        "incident_url",
        "runbook_url",
    ):
        assert alert.annotations[name] == page.annotations[name]
    alone = burn_alert(burning, [], URL, NOW)
    felt = "chat: the budget of chat-ttft burns 31.2 times too fast"
    assert alert.annotations["summary"] == f"{felt}; network_link_fault on gpu-07-03/mlx5_2/1, 93 %"
    assert alone.annotations["summary"] == felt, "no incident, no cause: not even an unknown one"
    assert alone.annotations["runbook_url"] == f"{URL}/alerts#SLOBurnRate"
    assert alone.labels == alert.labels


def status(exhausted_in: timedelta | None, left: float | None = 0.2) -> SloStatus:
    exhausted_at = None if exhausted_in is None else NOW + exhausted_in
    return SloStatus(
        OBJECTIVE, SloState.AT_RISK, 98, 100, 0.98, left, 2.0, (), exhausted_at=exhausted_at
    )  # fmt: skip


HORIZON_S = 72 * 3600.0


@pytest.mark.parametrize(
    ("in_hours", "firing", "is_told"),
    [(71, False, True), (73, False, False), (73, True, True), (109, True, False), (None, True, False)],
)
def test_a_budget_that_runs_out_is_a_ticket_that_does_not_waver(
    in_hours: float | None, *, firing: bool, is_told: bool
) -> None:
    known = status(None if in_hours is None else timedelta(hours=in_hours))
    found = exhaustion_alerts([known], HORIZON_S, ["chat-ttft"] if firing else [], URL, NOW)
    assert bool(found) is is_told


def test_a_budget_that_runs_out_says_when_and_what_is_left() -> None:
    (found,) = exhaustion_alerts([status(timedelta(hours=30))], HORIZON_S, [], URL, NOW)
    assert found.labels == {
        "alertname": "SLOBudgetRunsOut", "severity": "ticket", "service": "chat", "slo": "chat-ttft",
    }  # fmt: skip
    assert "20.0% is left" in found.annotations["budget"]
    assert "2026-11-24T09:00:00Z" in found.annotations["budget"]


def test_of_a_budget_that_is_spent_or_unknown_nothing_is_forecast() -> None:
    for left in (0.0, -0.5, None):
        assert exhaustion_alerts([status(timedelta(hours=1), left)], HORIZON_S, [], URL, NOW) == []
    assert exhaustion_alerts([status(timedelta(hours=1))], 0, [], URL, NOW) == []


RAN_AWAY = Runaway(NOW - timedelta(hours=6), NOW - timedelta(hours=5), None, 250.0, 100.0, 1500.0, 600.0, 900.0, 1.5)
SPENDING = SpendRunaway("acme", "tenant", RAN_AWAY)


def test_spending_out_of_hand_says_whose_how_much_and_since_when() -> None:
    found = runaway_alert(SPENDING, URL, NOW)
    assert found.labels == {
        "alertname": "TailsightCostRunaway", "severity": "ticket", "scope": "acme", "dimension": "tenant",
    }  # fmt: skip
    assert found.annotations["summary"] == "GPU spending of tenant acme: $900 more than expected"
    assert found.annotations["impact"] == "$1,500 spent where $600 was to be expected, 150% more"
    assert (found.starts_at, found.is_firing(NOW)) == (NOW - timedelta(hours=6), True)


def test_where_nothing_was_to_be_expected_no_ratio_is_told() -> None:
    of_nothing = replace(RAN_AWAY, total_expected_spend_usd=0.0, impact_ratio=None)
    found = runaway_alert(SpendRunaway("all", None, of_nothing), URL, NOW)
    assert found.annotations["impact"] == "$1,500 spent where $0 was to be expected"
    assert "dimension" not in found.labels


def test_of_a_bill_the_service_that_rose_most_is_told_of_a_service_how_much_dearer_a_request_is() -> None:
    moved = replace(RAN_AWAY, mover=Mover("service", "chat", 40.0, 190.5))
    of_bill = runaway_alert(SpendRunaway("all", None, moved), URL, NOW)
    assert of_bill.annotations["impact"].endswith("150% more; service chat rose most, from $40.00 to $190 an hour")
    for dearer, text in ((2.04, "a request costs 2.0 times as much as before"), (math.inf, "nobody asks it any more")):
        found = runaway_alert(SpendRunaway("chat", "service", RAN_AWAY, dearer), URL, NOW)
        assert found.annotations["impact"] == f"$1,500 spent where $600 was to be expected, 150% more; {text}"


def test_spending_that_goes_on_is_the_same_alert() -> None:
    later = runaway_alert(
        replace(SPENDING, spend=replace(RAN_AWAY, total_impact_usd=2000.0)), URL, NOW + timedelta(hours=1)
    )
    assert later.fingerprint == runaway_alert(SPENDING, URL, NOW).fingerprint


def spending_of(state: BudgetState, spent_usd: float | None, ahead_usd: float | None) -> BudgetStatus:
    budget, start, end = Budget("fleet", 1000.0), datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    ahead = None if ahead_usd is None else Total(start, end, ahead_usd, {}, {})
    return BudgetStatus(budget, state, start, end, spent_usd, None, ahead, None)


def test_a_budget_that_is_or_will_be_overspent_is_a_ticket() -> None:
    (spent,) = budget_alerts([spending_of(BudgetState.MISSED, 1200.0, 1500.0)], URL, NOW)
    assert spent.labels == {"alertname": "TailsightBudgetOverspent", "severity": "ticket", "budget": "fleet"}
    assert spent.annotations["cost"] == "$1,200 of $1,000 spent, $1,500 by its end as it looks"
    assert spent.annotations["summary"] == f"The month's budget fleet is spent: {spent.annotations['cost']}"
    (at_risk,) = budget_alerts([spending_of(BudgetState.AT_RISK, 700.0, 1100.0)], URL, NOW)
    assert at_risk.annotations["summary"].startswith("The month's budget fleet will be overspent: $700 of $1,000")
    assert at_risk.fingerprint == spent.fingerprint
    fine = [spending_of(BudgetState.MET, 10.0, None), spending_of(BudgetState.NO_DATA, None, None)]
    assert budget_alerts(fine, URL, NOW) == []


def test_a_budgets_page_tells_of_what_goes_on_before_what_is_over() -> None:
    burning = BurnAlert(OBJECTIVE, Severity.PAGE, WINDOWS[0], 31.2, NOW - timedelta(minutes=5), None)
    over = replace(
        PAGING, id="inc-aaaaaaaaaa", status=Status.RESOLVED, started_at=NOW - timedelta(minutes=50),
        ended_at=NOW - timedelta(minutes=30), slow_requests_count=10 * PAGING.slow_requests_count,
    )  # fmt: skip
    going_on = replace(PAGING, started_at=NOW - timedelta(minutes=6), ended_at=None, status=Status.OPEN)
    told = burn_alert(burning, [over, going_on], URL, NOW).annotations
    assert told["incident_url"].endswith(PAGING.id)
    assert "next_step" in told
    alone = burn_alert(burning, [over], URL, NOW).annotations
    assert alone["cause"].startswith(f"Over since {over.ended_at:%d %b %H:%M} UTC: ")
    assert alone["summary"].endswith(f"93 %, over since {over.ended_at:%d %b %H:%M} UTC")
    assert "next_step" not in alone
