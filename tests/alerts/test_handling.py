"""Who was notified, who acknowledged and what was noted: kept beside the incident, each thing once."""

import hashlib
import hmac
import threading
from datetime import UTC, datetime, timedelta

import pytest

from alerts.config import parse_config
from alerts.handling import (
    HookError,
    acknowledge,
    add_note,
    alertmanager_alerts,
    handling_document,
    incident_of,
    is_signed,
    note_notified,
    note_resolved,
    pagerduty_event,
    process_pagerduty_event,
    timeline,
)
from alerts.notification import Notification, Reason
from alerts.receivers.pagerduty import dedup_key
from domain.alert import Alert
from domain.window import rfc3339
from storage.incidents import read_incident_notes
from storage.store import Store
from tests.domain.examples import PAGING, UNEXPLAINED

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
GROUP = '{}:{service="chat"}'


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def notify(store: Store, incident_id: str, now: datetime, kind: str = "pagerduty_configs: [{routing_key: k}]") -> None:
    (integration,) = parse_config(f"route: {{receiver: a}}\nreceivers: [{{name: a, {kind}}}]").receivers["a"]
    alert = Alert(
        {"alertname": "SLOBurnRate"}, {"incident_url": f"http://x/incidents/{incident_id}"}, now, later(99), now
    )
    note_notified(store, Notification(GROUP, {}, "a", 0, integration, (alert,), now, Reason.FIRST), now)


def event(
    kind: str, at: datetime, *, pd: str = "P1", number: str = "1", by: str | None = "Ann", note: str | None = None
) -> object:
    of_incident = {"id": pd, "type": "incident", "incident_key": dedup_key(GROUP)}
    data = {"incident": {"id": pd}, "content": note, "type": "incident_note"} if note is not None else of_incident
    agent = {"type": "user_reference", "summary": by} if by else {"type": "events_api_v2_inbound_integration_reference"}
    told = {"id": number, "event_type": f"incident.{kind}", "occurred_at": rfc3339(at)}
    return {"event": {**told, "agent": agent, "data": data}}


def take(store: Store, *arguments: object, **named: object) -> tuple[str, tuple[str, ...]]:
    answer = process_pagerduty_event(store, pagerduty_event(event(*arguments, **named)), NOW)  # type: ignore[arg-type]
    return answer.done.value, answer.incidents


def test_an_alert_names_its_incident_by_label_or_by_link() -> None:
    assert incident_of({"incident": "inc-1"}, {}) == "inc-1"
    assert incident_of({}, {"incident_url": "https://x.example/incidents/inc%2F2"}) == "inc/2"
    assert incident_of({}, {"incident_url": "https://x.example/slos/inc-2"}) is None
    assert incident_of({}, {}) is None


def test_the_earliest_acknowledgement_counts_in_whatever_order_they_come(clean_store: Store) -> None:
    acknowledge(clean_store, "inc-1", "ben", later(5), NOW)
    acknowledge(clean_store, "inc-1", "ann", later(3), NOW)
    noted = acknowledge(clean_store, "inc-1", "cid", later(9), NOW)
    assert (noted["acknowledged_by"], noted["acknowledged_at"]) == ("ann", rfc3339(later(3)))


def test_the_last_word_that_it_is_over_counts(clean_store: Store) -> None:
    note_resolved(clean_store, "inc-1", "ann", later(9), NOW)
    assert note_resolved(clean_store, "inc-1", "ben", later(5), NOW)["resolved_by"] == "ann"


def test_notes_are_in_order_of_time_and_none_is_taken_twice(clean_store: Store) -> None:
    add_note(clean_store, "inc-1", "ann", "second", later(2), NOW)
    add_note(clean_store, "inc-1", "ben", "first", later(1), NOW, "pagerduty-1")
    noted = add_note(clean_store, "inc-1", "ben", "first", later(1), NOW, "pagerduty-1")
    assert [note["text"] for note in noted["notes"]] == ["first", "second"]


def test_notes_of_many_at_once_are_all_kept(clean_store: Store) -> None:
    writers = [
        threading.Thread(target=add_note, args=(clean_store, "inc-1", "ann", str(number), NOW, NOW))
        for number in range(12)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read_incident_notes(clean_store, ["inc-1"])["inc-1"]["notes"]) == 12


def test_what_was_said_last_is_kept_whoever_looked_at_the_clock_first(clean_store: Store) -> None:
    add_note(clean_store, "inc-1", "ann", "draining", later(1), later(1))
    acknowledge(clean_store, "inc-1", "ben", NOW, NOW)
    noted = read_incident_notes(clean_store, ["inc-1", "inc-2"])
    assert noted.keys() == {"inc-1"}
    assert noted["inc-1"]["acknowledged_by"] == "ben"
    assert [note["text"] for note in noted["inc-1"]["notes"]] == ["draining"]


def test_the_first_receiver_that_took_it_counts_as_notified(clean_store: Store) -> None:
    notify(clean_store, "inc-1", NOW, "webhook_configs: [{url: 'http://x'}]")
    notify(clean_store, "inc-1", later(5))
    assert read_incident_notes(clean_store, ["inc-1"])["inc-1"]["notified_at"] == rfc3339(NOW)


def test_who_acknowledges_in_pagerduty_has_the_incident_in_hand(clean_store: Store) -> None:
    notify(clean_store, "inc-1", NOW)
    assert take(clean_store, "acknowledged", later(4)) == ("acknowledged", ("inc-1",))
    noted = read_incident_notes(clean_store, ["inc-1"])["inc-1"]
    assert (noted["acknowledged_by"], noted["acknowledged_at"]) == ("Ann", rfc3339(later(4)))


def test_a_note_of_pagerduty_finds_the_incident_by_pagerdutys_own_id(clean_store: Store) -> None:
    notify(clean_store, "inc-1", NOW)
    assert take(clean_store, "annotated", later(1), note="too early")[0] == "nothing"
    take(clean_store, "triggered", later(1))
    for _ in range(2):  # PagerDuty sends again what was not answered in time
        assert take(clean_store, "annotated", later(2), number="7", note="draining") == ("noted", ("inc-1",))
    (note,) = read_incident_notes(clean_store, ["inc-1"])["inc-1"]["notes"]
    assert (note["by"], note["text"], note["at"]) == ("Ann", "draining", rfc3339(later(2)))


def test_what_was_said_of_an_earlier_incident_under_the_same_key_is_not_said_of_the_next(clean_store: Store) -> None:
    notify(clean_store, "inc-1", NOW)
    take(clean_store, "acknowledged", later(1))
    notify(clean_store, "inc-2", later(60))
    assert take(clean_store, "acknowledged", later(1)) == ("acknowledged", ("inc-1",))  # sent again
    assert "acknowledged_at" not in read_incident_notes(clean_store, ["inc-2"])["inc-2"]
    assert take(clean_store, "acknowledged", later(61), pd="P2") == ("acknowledged", ("inc-2",))


def test_what_no_person_did_is_no_acknowledgement(clean_store: Store) -> None:
    notify(clean_store, "inc-1", NOW)
    assert take(clean_store, "resolved", later(4), by=None) == ("nothing", ("inc-1",))
    assert "resolved_at" not in read_incident_notes(clean_store, ["inc-1"])["inc-1"]


def test_an_incident_that_is_not_ours_is_left_alone(clean_store: Store) -> None:
    assert take(clean_store, "acknowledged", later(4)) == ("nothing", ())


def test_a_signature_must_fit_the_very_bytes_and_one_of_several_is_enough() -> None:
    body, secret = b'{"event": {}}', "hush"
    right = "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert is_signed(body, right, secret)
    assert is_signed(body, f"v1={'0' * 64}, {right}", secret)
    for wrong in ("", "v1=", right[3:], right.replace("v1", "v0"), "v1=" + right, "é"):
        assert not is_signed(body, wrong, secret)
    assert not is_signed(body + b" ", right, secret)
    assert not is_signed(body, right, "other")


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "event: expected an object"),
        ({"event": 1}, "event: expected an object, found int"),
        ({"event": {"id": "1"}}, "event.event_type: expected text, found None"),
        ({"event": {"id": "1", "event_type": "x", "occurred_at": "today"}}, "event.occurred_at: 'today' is not"),
    ],
)
def test_what_is_no_event_of_pagerduty_is_told(document: object, told: str) -> None:
    with pytest.raises(HookError, match=told):
        pagerduty_event(document)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (1, "expected an object, found int"),
        ({"version": "3"}, "version: expected '4', found '3'"),
        ({"version": "4"}, "alerts: expected a list"),
        ({"version": "4", "alerts": [{"status": "odd"}]}, r"alerts\[0\].status: expected firing or resolved"),
        ({"version": "4", "alerts": [{"status": "firing", "labels": {"a": 1}}]}, r"alerts\[0\].labels: expected"),
        ({"version": "4", "alerts": [{"status": "firing"}]}, r"alerts\[0\].startsAt: 'None' is not"),
    ],
)
def test_what_is_no_document_of_alertmanager_is_told(document: object, told: str) -> None:
    with pytest.raises(HookError, match=told):
        alertmanager_alerts(document)


def test_the_timeline_has_what_happened_in_order_and_who_did_it() -> None:
    noted = {
        "notified_at": "2026-11-23T02:43:00Z",
        "acknowledged_at": "2026-11-23T02:43:00Z",
        "acknowledged_by": "ann",
        "resolved_at": "2026-11-23T02:50:00Z",
        "resolved_by": "ben",
    }
    events = [(one.name, one.by) for one in timeline(UNEXPLAINED, noted)]
    assert events == [
        ("Impact began", None), ("Detected", None), ("Notified", None), ("Acknowledged", "ann"), ("Closed", "ben"),
        ("Mitigated", None),
    ]  # fmt: skip
    assert [one.name for one in timeline(PAGING, {})] == ["Impact began", "Detected"]


def test_handling_is_told_whole_and_what_is_not_known_is_null(clean_store: Store) -> None:
    assert handling_document(PAGING, {}) == {
        "notified_at": None, "acknowledged_at": None, "acknowledged_by": None, "resolved_at": None, "resolved_by": None,
        "to_detect_s": 30.0, "to_notify_s": None, "to_acknowledge_s": None, "to_mitigate_s": None, "notes": [],
    }  # fmt: skip
    acknowledge(clean_store, PAGING.id, "ann", PAGING.detected_at + timedelta(minutes=4), NOW)
    told = handling_document(PAGING, add_note(clean_store, PAGING.id, "ann", "draining", NOW, NOW))
    assert (told["acknowledged_by"], told["to_acknowledge_s"]) == ("ann", 240.0)
    assert told["notes"] == [{"at": "2026-11-23T03:00:00Z", "by": "ann", "text": "draining"}]
