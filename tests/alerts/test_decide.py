from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from alerts.decide import burn_alert, exhaustion_alerts, money, page_for, runaway_alert, silence_url
from alerts.matchers import all_match, parse_matchers
from analytics.burn_rates import WINDOWS, BurnAlert
from domain.cause import CauseKind, EntityShare
from domain.entity import Entity, EntityKind
from domain.incident import Indicator, Severity
from domain.slo import Objective, SloState, SloStatus
from tests.domain.examples import PAGING, UNEXPLAINED

URL = "http://127.0.0.1:8080"
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
        "summary": "Time to first token of chat: p99 4.1 s, usual 540 ms",
        "impact": "18,420 slow or failed requests, 31% of all, 41 tenants",
        "cause": PAGING.cause.summary,
        "cause_confidence": "93%",
        "since": "2026-11-23T02:41:00Z",
        "incident_url": "http://127.0.0.1:8080/incidents/inc-0123456789",
        "next_step": "Drain the node from the service.",
        "budget_spent": "3.7% of the error budget",
        "cost": "$312 of GPU time",
        "evidence": "Symbol errors of gpu-07-03/mlx5_2/1: 0.37 → 85.4 1/s; "
        "Time to first token outside queue and prefill of chat-3: none → 1340 ms",
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
    assert page.annotations["impact"].endswith(
        "41 tenants, most of the added time on acme (50%), beta (20%), gamma (10%)"
    )


def test_further_causes_are_told_by_rank() -> None:
    second = replace(
        PAGING.cause, rank=2, kind=CauseKind.TRAFFIC_SURGE, entity=Entity(EntityKind.SERVICE, "chat"), confidence=0.31
    )
    found = replace(PAGING.explanation, causes=(PAGING.cause, second))
    page = page_for(replace(PAGING, explanation=found), URL)
    assert page is not None
    assert page.annotations["other_causes"] == "2. Traffic surge (chat), 31%"


def test_the_silence_link_silences_exactly_this_alert() -> None:
    page = page_for(PAGING, URL)
    assert page is not None
    (text,) = parse_qs(urlsplit(page.annotations["silence_url"]).query)["silence"]
    matchers = parse_matchers(text)
    assert all_match(matchers, page.labels)
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


@dataclass(frozen=True)
class Spending:
    scope: str = "acme"
    started_at: datetime = NOW - timedelta(hours=6)
    total_actual_spend_usd: float = 1500.0
    total_expected_spend_usd: float = 600.0
    total_impact_usd: float = 900.0
    impact_ratio: float | None = 1.5
    dimension: str | None = "tenant"


def test_spending_out_of_hand_says_whose_how_much_and_since_when() -> None:
    found = runaway_alert(Spending(), URL, NOW)
    assert found.labels == {
        "alertname": "TailsightCostRunaway", "severity": "ticket", "scope": "acme", "dimension": "tenant",
    }  # fmt: skip
    assert found.annotations["summary"] == "GPU spending of tenant acme: $900 beyond what was to be expected"
    assert found.annotations["impact"] == "$1,500 spent where $600 was to be expected, 150% more"
    assert (found.starts_at, found.is_firing(NOW)) == (NOW - timedelta(hours=6), True)


def test_where_nothing_was_to_be_expected_no_ratio_is_told() -> None:
    found = runaway_alert(Spending("all", total_expected_spend_usd=0, impact_ratio=None, dimension=None), URL, NOW)
    assert found.annotations["impact"] == "$1,500 spent where $0.00 was to be expected"
    assert "dimension" not in found.labels


def test_spending_that_goes_on_is_the_same_alert() -> None:
    later = runaway_alert(Spending(total_impact_usd=2000.0), URL, NOW + timedelta(hours=1))
    assert later.fingerprint == runaway_alert(Spending(), URL, NOW).fingerprint


@pytest.mark.parametrize(
    ("usd", "told"), [(0, "$0.00"), (0.001, "less than 1 ct"), (4.2, "$4.20"), (312.4, "$312"), (12_345, "$12,345")]
)
def test_money_in_words(usd: float, told: str) -> None:
    assert money(usd) == told
