"""What rings says in one line: the same by every receiver, short enough, and no word cut without a mark."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.config import parse_config
from alerts.dispatch import Dispatcher
from alerts.titles import TITLE_MAX, heading, shortened, title
from domain.alert import Alert
from domain.cause import CauseKind
from domain.entity import GpuPlace, gpu_text
from tests.alerts.test_dispatch import CONFIG, at, delivered
from tests.alerts.test_formats import alerts
from tests.alerts.test_receivers import FULL, NOW, OTHER, RESOLVED, message, notification

FELT = "chat: TTFT p99 4.1 s, usually 540 ms; network_link_fault on gpu-07-03/mlx5_2/1, 93 %"
TITLES: dict[str, Any] = {
    "pagerduty": lambda found: found.document["payload"]["summary"],
    "slack": lambda found: found.document["attachments"][0]["blocks"][0]["text"]["text"],
    "msteamsv2": lambda found: found.document["attachments"][0]["content"]["body"][0]["text"],
    "email": lambda found: found.subject,
    "apprise": lambda found: found.title,
}


def over(alert: Alert, **labels: str) -> Alert:
    """The same, or one of other labels, that is over."""
    return Alert({**alert.labels, **labels}, alert.annotations, alert.starts_at, NOW - timedelta(minutes=1), NOW)


def titled(*group: Alert) -> str:
    return title(notification("webhook", *group))


@pytest.mark.parametrize("kind", TITLES)
def test_every_receiver_shows_the_same_title(kind: str) -> None:
    assert TITLES[kind](message(kind, FULL)) == f"[FIRING:1] {FELT}"


def test_what_a_webhook_has_for_a_title_says_it_too() -> None:
    (one,) = message("webhook", FULL).document["alerts"]
    assert one["annotations"]["summary"] == FELT


def test_of_a_group_it_says_what_comes_first_how_many_fire_and_how_many_are_over() -> None:
    assert titled(FULL, OTHER, OTHER) == f"[FIRING:3] {FELT} (and 2 more)"
    assert titled(FULL, OTHER, RESOLVED) == f"[FIRING:2] {FELT} (and 1 more, 1 resolved)"
    assert titled(RESOLVED, over(FULL)) == "[RESOLVED] SLOBurnRate (and 1 more)"
    assert titled(over(FULL)) == f"[RESOLVED] {FELT}"


def test_a_page_that_fell_to_a_ticket_says_that_the_page_is_over() -> None:
    ticket = Alert(FULL.labels | {"severity": "ticket"}, FULL.annotations, FULL.starts_at, FULL.ends_at, NOW)
    assert titled(over(FULL), ticket) == f"[FIRING:1, page over] {FELT} (1 resolved)"
    assert titled(FULL, over(FULL, service="assist")) == f"[FIRING:1] {FELT} (1 resolved)", "another page goes on"


def test_an_alert_that_says_nothing_is_told_by_its_name() -> None:
    def saying(labels: dict[str, str], summary: str) -> str:
        return heading(Alert(labels, {"summary": summary}, NOW, NOW, NOW))

    assert saying({"alertname": "SLONoData"}, " \n ") == "SLONoData"
    assert saying({}, "") == "alert"
    assert saying({}, "two\nlines") == "two lines"


def test_long_names_lose_their_middle_before_anything_else_is_left_out() -> None:
    service, gpu = "team-inference-eu-central-1-chat-large-production", "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"
    text = f"{service}: TTFT p99 4.1 s, usually 540 ms; gpu_thermal_throttle on {gpu}, 88 %"
    felt = "TTFT p99 4.1 s, usually 540 ms"
    assert shortened(text, 129) == f"team-inferenc…-production: {felt}; gpu_thermal_throttle on {gpu}, 88 %"
    assert shortened(text, 110) == (
        f"team-infere…roduction: {felt}; gpu_thermal_throttle on GPU-5fd4f087-…771313afc50, 88 %"
    )
    assert shortened(text, 90) == (
        "team-infere…roduction: TTFT p99 4.1 … gpu_thermal_throttle on GPU-5fd4f08…1313afc50, 88 %"
    )


def test_of_a_gpu_the_replica_goes_before_its_number_its_node_and_what_ails_it() -> None:
    place = GpuPlace("gke-prod-a100-pool-1-3f2a9c1d-x7k2", 2, "chat-6c9f4b7d5-x2x7k")
    named = gpu_text("GPU-5fd4f087-86f3-7a43-b711-4771313afc50", place)
    text = f"team-inference-chat-production: TTFT p99 4.1 s, usually 540 ms; gpu_thermal_throttle on {named}, 88 %"
    felt = "TTFT p99 4.1 s, usually 540 ms; gpu_thermal_throttle on GPU 2 of"
    assert shortened(text, 140) == (
        f"team-infere…production: {felt} gke-prod-a1…a9c1d-x7k2 (chat-6c9f4b7d5-x2x7k), 88 %"
    )
    assert shortened(text, 125) == f"team-infere…roduction: {felt} gke-prod-a1…a9c1d-x7k2 …, 88 %"


def test_no_kind_of_cause_is_cut() -> None:
    for kind in CauseKind:
        text = f"{'a' * 60}: TTFT p99 4.1 s, usually 540 ms; {kind} on {'b' * 60}, 88 %"
        assert f" {kind} " in shortened(text, 110)


_WORDS = st.lists(st.text("abé漢🔥:/-", min_size=1, max_size=90), max_size=60)


@given(words=_WORDS, most=st.integers(40, TITLE_MAX))
def test_a_text_is_never_too_long_and_what_is_left_out_is_marked(words: list[str], most: int) -> None:
    text = " ".join(words)
    cut = shortened(text, most)
    assert len(cut) <= most
    assert (cut == text) or ("…" in cut and len(text) > most)
    assert all(word in words or "…" in word for word in cut.split())


@settings(max_examples=60, deadline=None)
@given(group=st.lists(alerts(), min_size=1, max_size=8))
def test_a_title_is_short_and_one_line_whatever_an_alert_says(group: list[Alert]) -> None:
    found = titled(*group)
    assert len(found) <= TITLE_MAX
    assert len(found.splitlines()) == 1


def test_a_title_that_changes_leaves_the_group_and_pagerdutys_key_alone() -> None:
    worse = Alert(FULL.labels, FULL.annotations | {"summary": "worse"}, FULL.starts_at, FULL.ends_at, NOW)
    before, after = message("pagerduty", FULL).document, message("pagerduty", worse).document
    assert before["payload"]["summary"] != after["payload"]["summary"]
    assert before["dedup_key"] == after["dedup_key"]
    assert worse.fingerprint == FULL.fingerprint


def test_what_wakes_somebody_leads_its_group_and_an_incident_leads_what_wakes() -> None:
    def firing(now_s: float, **labels: str) -> Alert:
        return Alert({"service": "chat", **labels}, {}, at(now_s), at(9000), at(now_s))

    dispatcher = Dispatcher(parse_config(CONFIG))
    ticket = firing(0, alertname="SLOBudgetSpent", severity="ticket")
    burn = firing(1, alertname="SLOBurnRate", severity="page")
    spike = firing(2, alertname="TailsightLatencySpike", severity="page", incident="inc-1")
    dispatcher.post([ticket, burn, spike], at(2))
    (notified,) = delivered(dispatcher, 12)
    assert [one.labels["alertname"] for one in notified.alerts] == [
        "TailsightLatencySpike", "SLOBurnRate", "SLOBudgetSpent",
    ]  # fmt: skip
