"""The page of the alerts: what can be done to one that fires."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.dispatch import Suppressed
from alerts.service import KnownAlert
from dashboards.freshness import gaps
from dashboards.pages.alerts import note, table
from domain.alert import Alert, NotificationStatus
from domain.freshness import Looks
from tests.dashboards.reading import links, words

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
FORM = "https://am.example/#/silences/new?filter=x"


def firing(*silenced_by: str) -> KnownAlert:
    labels = {"alertname": "SLOBurnRate", "severity": "page", "service": "chat"}
    alert = Alert(labels, {"summary": "chat burns", "silence_url": FORM}, NOW, NOW + timedelta(minutes=4), NOW)
    told = NotificationStatus("oncall", "pagerduty", NOW - timedelta(minutes=12))
    return KnownAlert(alert, ("oncall",), Suppressed(silenced_by, None), notification_statuses=(told,))


def test_an_alert_that_we_tell_is_silenced_at_a_click() -> None:
    body = table([firing()], NOW)
    assert "Silence 1 h" in words(body)
    assert FORM not in links(body)
    assert "Silenced" in words(table([firing("s-1")], NOW))


def test_where_alertmanager_tells_people_its_form_silences_and_our_silence_is_told_to_do_nothing() -> None:
    body = table([firing()], NOW, silenced_elsewhere=True)
    assert FORM in links(body)
    assert "Silence 1 h" not in words(body)
    assert "Silenced here only" in words(table([firing("s-1")], NOW, silenced_elsewhere=True))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (NotificationStatus("oncall", "pagerduty", NOW - timedelta(minutes=12)), "oncall by pagerduty 02:48"),
        (NotificationStatus("oncall", "slack", NOW - timedelta(days=1)), "oncall by slack 22 Nov 03:00"),
        (
            NotificationStatus(
                "oncall", "slack", None, "waits for its group (group_wait)", NOW + timedelta(seconds=70)
            ),
            "oncall by slack: not yet, waits for its group (group_wait); next 03:01",
        ),
        (NotificationStatus("oncall", "slack", None, "silenced"), "oncall by slack: not yet, silenced"),
        (NotificationStatus("nobody", None, None, "nothing to tell by"), "nobody: nothing to tell by"),
        (NotificationStatus("http://am:9093", "alertmanager", NOW), "given to Alertmanager 03:00"),
        (
            NotificationStatus("http://am:9093", "alertmanager", None, "not taken: HTTP 503: away"),
            "http://am:9093 by alertmanager: not yet, not taken: HTTP 503: away",
        ),
    ],
)
def test_an_alert_says_when_it_was_told_last_to_whom_or_why_not_yet(status: NotificationStatus, told: str) -> None:
    assert told in words(table([replace(firing(), notification_statuses=(status,))], NOW))


def test_what_a_receiver_answers_at_length_is_told_in_short() -> None:
    long = NotificationStatus("oncall", "slack", None, f"not taken: HTTP 500: {'word ' * 60}end")
    told = words(table([replace(firing(), notification_statuses=(long,))], NOW))
    assert "not taken: HTTP 500:" in told
    assert "… " in told
    assert told.count("word") < 20


def test_an_alert_whose_route_tells_nobody_at_this_time_says_so() -> None:
    late = replace(firing(), is_muted=True)
    assert "Firing, told later" in words(table([late], NOW))
    assert "told later" not in words(table([late], NOW, silenced_elsewhere=True)), "its routes are not asked"


def test_where_nothing_fires_it_says_that_all_is_well_or_what_is_not_seen() -> None:
    assert words(table([], NOW)) == "Nothing fires Budgets burn as they may, and data comes in."
    blind = gaps({}, Looks(NOW - timedelta(minutes=5), 30), NOW, 120)
    assert words(table([], NOW, unseen=blind)) == (
        "Nothing fired as last known, no look since 02:55 "
        "Blind: no look since 02:55 UTC. Nothing that happened since then is found or paged."
    )


def test_what_fires_does_so_as_of_the_last_look() -> None:
    blind = gaps({}, Looks(NOW - timedelta(hours=9), 30, NOW - timedelta(minutes=5)), NOW, 120)
    assert "Firing as of 02:55, no look since" in words(table([firing()], NOW, unseen=blind))
    assert note([firing()], notifies_nobody=False, hidden=blind[0]) == "1 firing as of 02:55, no look since"
    stale = gaps({"requests": NOW - timedelta(minutes=9)}, None, NOW, 120)
    assert "as of" not in words(table([firing()], NOW, unseen=stale)), "the look that kept it firing knew"
