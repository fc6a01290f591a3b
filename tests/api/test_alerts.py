"""GET /api/v1/alerts, silences, and the acknowledgement of incidents."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.service import Alerting
from alerts.settings import AlertsSettings
from domain.alert import Alert
from domain.window import rfc3339
from storage.incidents import write_incidents
from storage.store import Store
from tests.alerts.loopback import receiving, restored, runs, settings_of
from tests.api.clock import NOW
from tests.api.conftest import Asker
from tests.domain.examples import PAGING

LABELS = {"alertname": "SLOBurnRate", "severity": "page", "service": "chat", "slo": "chat-ttft"}
SILENCE = {
    "matchers": [{"name": "service", "value": "chat"}],
    "endsAt": rfc3339(NOW + timedelta(hours=1)),
    "createdBy": "ann",
    "comment": "firmware",
}


@pytest.fixture
def alerting(clean_store: Store) -> Alerting:
    return restored(clean_store, AlertsSettings(), clock=lambda: NOW)


@pytest.fixture
def ask_alerts(make_asker: Any, clean_store: Store, alerting: Alerting) -> Asker:
    asker: Asker = make_asker(store=clean_store, alerting=alerting)
    return asker


def fire(alerting: Alerting, **labels: str) -> None:
    alerting.post([Alert(LABELS | labels, {"summary": "slow"}, NOW, NOW + timedelta(minutes=4), NOW)])


def test_what_fires_is_listed_with_its_receivers(ask_alerts: Asker, alerting: Alerting) -> None:
    fire(alerting)
    answer = ask_alerts.get("/api/v1/alerts").json()
    (alert,) = [one for one in answer["alerts"] if one["labels"]["service"] == "chat"]
    assert alert["receivers"] == [{"name": "nobody"}]
    assert alert["status"]["state"] == "active"
    assert alert["told"] == [
        {"receiver": "nobody", "integration": None, "at": None, "whyNot": "nothing to tell by", "nextAt": None}
    ]


def test_when_each_alert_was_told_is_listed_or_why_not_yet_and_when_it_will_be(
    make_asker: Any, clean_store: Store, tmp_path: Path
) -> None:
    with receiving() as receiver:
        text = f"""
route: {{receiver: a, group_by: [slo], group_wait: 0s, routes: [{{matchers: [slo=late], group_wait: 10m}}]}}
receivers: [{{name: a, webhook_configs: [{{url: '{receiver.url}'}}]}}]
"""
        alerting = restored(clean_store, settings_of(tmp_path, text), clock=lambda: NOW)
        fire(alerting)
        fire(alerting, slo="late")
        assert runs(alerting, lambda: bool(alerting.last_delivered_at()))
        asker: Asker = make_asker(store=clean_store, alerting=alerting)
        alerts = asker.get("/api/v1/alerts").json()["alerts"]
    told = {"receiver": "a", "integration": "webhook", "at": rfc3339(NOW), "whyNot": None, "nextAt": None}
    waits = {"at": None, "whyNot": "waits for its group (group_wait)", "nextAt": rfc3339(NOW + timedelta(minutes=10))}
    assert {one["labels"]["slo"]: one["told"] for one in alerts} == {"chat-ttft": [told], "late": [told | waits]}


def test_a_silence_keeps_an_alert_quiet_until_it_is_taken_away(ask_alerts: Asker, alerting: Alerting) -> None:
    fire(alerting)
    made = ask_alerts("POST", "/api/v1/silences", json=SILENCE).json()
    assert made["status"] == {"state": "active"}
    assert made["id"] in [one["id"] for one in ask_alerts.get("/api/v1/silences").json()["silences"]]
    (alert,) = [one for one in ask_alerts.get("/api/v1/alerts").json()["alerts"] if one["labels"] == LABELS]
    assert alert["status"] == {"state": "suppressed", "silencedBy": [made["id"]], "inhibitedBy": []}
    assert ask_alerts("DELETE", f"/api/v1/silences/{made['id']}").status_code == 200
    assert ask_alerts("DELETE", f"/api/v1/silences/{made['id']}").status_code == 404


def test_a_silence_as_amtool_prints_it_is_taken_but_for_a_foreign_id(ask_alerts: Asker) -> None:
    printed = SILENCE | {
        "startsAt": "2026-11-23T02:00:00.000Z",
        "status": {"state": "active"},
        "updatedAt": "2026-11-23T01:59:58.123Z",
    }
    made = ask_alerts("POST", "/api/v1/silences", json=printed)
    assert made.status_code == 200, made.text
    again = ask_alerts("POST", "/api/v1/silences", json=made.json() | {"comment": "changed"}).json()
    assert (again["id"], again["comment"]) == (made.json()["id"], "changed")
    foreign = ask_alerts("POST", "/api/v1/silences", json=printed | {"id": "c4f3f0f0-8d5c-4f2b-9a53-3f0d7b9e0a11"})
    assert foreign.status_code == 404


def test_silences_come_in_pages_by_id_and_the_document_says_so(ask_alerts: Asker) -> None:
    made = {ask_alerts("POST", "/api/v1/silences", json=SILENCE).json()["id"] for _ in range(5)}
    first = ask_alerts.get("/api/v1/silences", limit=3).json()
    second = ask_alerts.get("/api/v1/silences", limit=3, cursor=first["next_cursor"]).json()
    assert [one["id"] for one in first["silences"] + second["silences"]] == sorted(made)
    schema = ask_alerts.get("/api/openapi.json").json()["components"]["schemas"]["SilencesAnswer"]
    assert schema["description"] == "A page of silences, by id."


def test_silences_survive_a_restart(clean_store: Store, ask_alerts: Asker) -> None:
    made = ask_alerts("POST", "/api/v1/silences", json=SILENCE | {"comment": "kept"}).json()
    again = restored(clean_store, AlertsSettings(), clock=lambda: NOW)
    assert made["id"] in {one.id for one in again.silences()}
    ask_alerts("DELETE", f"/api/v1/silences/{made['id']}")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"matchers": []}, "needs at least one"),
        ({"matchers": [{"name": "a", "value": ".*", "isRegex": True}]}, "empty text"),
        ({"matchers": [{"name": "a", "value": "[", "isRegex": True}]}, "regular expression"),
        ({"endsAt": "2001-01-01T00:00:00Z"}, "not after startsAt"),
        ({"comment": " "}, "comment is missing"),
    ],
)
def test_a_silence_that_would_do_harm_is_refused(ask_alerts: Asker, change: dict[str, Any], told: str) -> None:
    answer = ask_alerts("POST", "/api/v1/silences", json=SILENCE | change)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]


def test_the_first_acknowledgement_counts_and_notes_add_up(ask_alerts: Asker, clean_store: Store) -> None:
    write_incidents(clean_store, [PAGING], NOW)
    path = f"/api/v1/incidents/{PAGING.id}/ack"
    first = ask_alerts("POST", path, json={"by": "ann", "note": "draining"}).json()
    second = ask_alerts("POST", path, json={"by": "bob", "note": "cable swapped"}).json()
    assert (first["acknowledged_by"], second["acknowledged_by"]) == ("ann", "ann")
    assert second["acknowledged_at"] == rfc3339(NOW)
    assert [note["text"] for note in second["notes"]] == ["draining", "cable swapped"]
    assert ask_alerts("POST", "/api/v1/incidents/inc-none/ack", json={"by": "ann"}).status_code == 404
