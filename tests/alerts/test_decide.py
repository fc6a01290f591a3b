from dataclasses import replace

from alerts.decide import page_for
from domain.incident import Severity
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
