"""Who has an incident in hand: what its page offers, and what it says that this stops."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from dash import html
from dash.development.base_component import Component

from alerts.decide import incident_alert
from alerts.devices import device_alerts
from alerts.dispatch import Suppressed
from alerts.service import KnownAlert
from analytics.knowledge import shipped_knowledge
from dashboards.freshness import gaps
from dashboards.handling import acknowledged, buttons, layout, silence_link, timeline_list
from dashboards.pages.incidents import nothing_found, table
from domain.freshness import Looks
from domain.incident import Status
from tests.alerts.test_devices import LINK
from tests.dashboards.reading import links, words
from tests.domain.examples import PAGING

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
NOTED = {"acknowledged_at": "2026-11-23T02:47:30Z", "acknowledged_by": "ann"}
OWN_LABELS = 'alertname="TailsightLatencySpike",indicator="ttft",model="llama-70b",service="chat",severity="page"'


def firing(*silenced_by: str) -> list[KnownAlert]:
    alert = incident_alert(PAGING, "http://0.0.0.0:8080", NOW)
    assert alert is not None
    found = [*device_alerts([replace(LINK, incident=PAGING.id)], "", NOW), alert]
    return [KnownAlert(one, ("oncall",), Suppressed(silenced_by, None)) for one in found]


def holding(component: Component, ids: set[str]) -> list[Component]:
    """The components that have all of these ids below them, the outermost first."""
    within = [one for one in component._traverse() if isinstance(one, Component)]
    return [one for one in (component, *within) if ids <= {getattr(inner, "id", None) for inner in one._traverse()}]


def test_the_button_says_that_it_notes_and_stops_nothing() -> None:
    (button,) = buttons(PAGING, {}, None)
    assert words(button) == "Acknowledge"
    assert "acknowledge in PagerDuty too: this stops no repeat and no escalation" in button.title


@pytest.mark.parametrize(
    ("incident", "noted"), [(PAGING, NOTED), (replace(PAGING, status=Status.RESOLVED, ended_at=NOW), {})]
)
def test_what_somebody_has_in_hand_or_is_over_has_no_such_button(incident: Any, noted: dict[str, Any]) -> None:
    assert buttons(incident, noted, None) == []


def test_the_name_stands_beside_the_button_and_is_folded_under_nothing() -> None:
    beside = holding(layout(), {"note-by", "handling-buttons"})
    assert beside[-1].className == "handling-actions"
    assert not any(isinstance(one, html.Details) for one in holding(layout(), {"note-by"}))


def test_the_silence_link_is_a_form_here_that_is_filled_in_with_the_labels_of_the_incidents_own_alert() -> None:
    link = silence_link(firing(), PAGING.id) or ""
    assert urlsplit(link)[:3] == ("", "", "/alerts"), "it leads to the address that the page has"
    assert parse_qs(urlsplit(link).query)["silence"] == [f"{{{OWN_LABELS}}}"]
    assert links(buttons(PAGING, NOTED, link)) == [link]


def test_where_alertmanager_alone_tells_people_the_link_is_the_one_of_the_alert_quiet_here_or_not() -> None:
    own = firing("s-1")[-1]
    assert silence_link([own], PAGING.id, silenced_elsewhere=True) == own.alert.annotations["silence_url"]


def test_there_is_no_silence_link_where_no_alert_fires_or_it_is_quiet() -> None:
    assert silence_link(firing(), "inc-another") is None
    assert silence_link(firing("s-1"), PAGING.id) is None


def test_the_list_says_who_has_an_incident_in_hand_and_since_when() -> None:
    assert acknowledged(NOTED, NOW) == "ann, 02:47"
    assert words(table([PAGING], NOW, {PAGING.id: NOTED}, shipped_knowledge())).endswith("Open ann, 02:47")
    assert words(table([PAGING], NOW, {}, shipped_knowledge())).endswith("Open")


def test_what_is_over_only_for_want_of_requests_may_go_on_and_can_be_taken_in_hand() -> None:
    over = replace(PAGING, status=Status.RESOLVED, ended_at=NOW - timedelta(minutes=7))
    (stale,) = gaps({"requests": NOW - timedelta(minutes=7)}, None, NOW, 120)
    assert "Mitigated 02:53:00 UTC" in words(timeline_list(over, {}, NOW))
    told = words(timeline_list(over, {}, NOW, stale))
    assert told.endswith("Acknowledged by nobody yet Mitigated goes on as of 02:53, no data since")
    assert words(buttons(over, {}, None, stale)) == "Acknowledge"


def test_where_no_receiver_is_configured_nobody_could_be_notified_and_the_line_says_so() -> None:
    told = timeline_list(PAGING, {}, NOW, notifies_nobody=True)
    assert "Notified nobody: no receiver is configured" in words(told)
    assert links(told) == ["/alerts"]
    assert "Notified not by Tailsight" in words(timeline_list(PAGING, {}, NOW))


def test_an_empty_list_tells_until_when_incidents_would_have_been_found() -> None:
    assert words(nothing_found(None)).startswith("No incidents in this time Choose")
    (blind,) = gaps({}, Looks(NOW - timedelta(hours=9), 30, NOW - timedelta(minutes=5)), NOW, 120)
    assert words(nothing_found(blind)).startswith(
        "No incidents in this time as of 02:55, no look since Blind: last look 02:55 UTC. Nothing that happened"
    )
