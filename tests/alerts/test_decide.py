from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.decide import page_for, promise, status_alerts
from domain.incident import Indicator, Severity
from domain.slo import Counted, Objective, Period, PeriodStatus, Selection, SloState, SloStatus
from domain.window import Window
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
        "exemplar_trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
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
    assert set(page.annotations) == {"summary", "impact", "cause", "since", "incident_url"}
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
