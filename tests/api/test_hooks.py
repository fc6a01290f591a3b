"""POST /api/v1/hooks/…: shut without a secret, open to whoever knows it, the same for what is told twice."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from alerts.config import parse_config
from alerts.decide import incident_alert
from alerts.handling import note_notified
from alerts.notification import Notification, Reason
from alerts.receiver_settings import GlobalSettings
from alerts.receivers import RECEIVERS
from alerts.settings import AlertsSettings, HooksSettings
from domain.alert import Alert
from domain.window import rfc3339
from storage.incidents import write_incidents
from storage.store import Store
from tests.alerts.loopback import restored
from tests.api.clock import NOW
from tests.api.conftest import Asker
from tests.domain.examples import PAGING

PAGERDUTY, ALERTMANAGER = "/api/v1/hooks/pagerduty", "/api/v1/hooks/alertmanager"
SECRET = "hush"
_FOUND = incident_alert(PAGING, "http://127.0.0.1:8080", NOW)
assert _FOUND is not None
PAGE: Alert = _FOUND


def hooked(make_asker: Any, store: Store, **hooks: Any) -> Asker:
    write_incidents(store, [PAGING], NOW)
    settings = AlertsSettings(hooks=HooksSettings(**hooks))
    alerting = restored(store, settings, clock=lambda: NOW)
    asker: Asker = make_asker(store=store, alerting=alerting, token=SecretStr("the token of everything else"))
    return asker


@pytest.fixture
def ask_hooks(make_asker: Any, clean_store: Store) -> Asker:
    return hooked(make_asker, clean_store, pagerduty_secret=SECRET, alertmanager_token=SECRET)


def notes(ask: Asker) -> Any:
    headers = {"Authorization": "Bearer the token of everything else"}
    return ask("GET", f"/api/v1/incidents/{PAGING.id}/notes", headers=headers).json()


def told_pagerduty(store: Store) -> str:
    """The key that PagerDuty has got."""
    text = "route: {receiver: a}\nreceivers: [{name: a, pagerduty_configs: [{routing_key: k}]}]"
    (integration,) = parse_config(text).receivers["a"]
    notification = Notification("{}", {}, "a", 0, integration, (PAGE,), NOW, Reason.FIRST)
    note_notified(store, notification, NOW)
    document = RECEIVERS["pagerduty"].message(notification, GlobalSettings()).document  # type: ignore[union-attr]
    return str(document["dedup_key"])


def post_event(ask: Asker, key: str, *, secret: str = SECRET, **changed: Any) -> httpx.Response:
    event = {
        "id": "01DEN", "event_type": "incident.acknowledged", "resource_type": "incident",
        "occurred_at": rfc3339(NOW + timedelta(minutes=2)),
        "agent": {"id": "PLH", "type": "user_reference", "summary": "Ann"},
        "data": {"id": "PGR", "type": "incident", "incident_key": key},
    }  # fmt: skip
    body = json.dumps({"event": event | changed}).encode()
    signature = "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return ask("POST", PAGERDUTY, content=body, headers={"X-PagerDuty-Signature": signature})


def test_a_hook_without_a_secret_is_off_and_says_how_to_open_it(make_asker: Any, clean_store: Store) -> None:
    shut = hooked(make_asker, clean_store)
    for path, setting in ((PAGERDUTY, "pagerduty_secret"), (ALERTMANAGER, "alertmanager_token")):
        answer = shut("POST", path, json={})
        assert answer.status_code == 404
        assert f"set alerts.hooks.{setting}" in answer.json()["detail"]


def test_pagerduty_acknowledges_without_our_token_and_twice_is_once(ask_hooks: Asker, clean_store: Store) -> None:
    key = told_pagerduty(clean_store)
    first, second = post_event(ask_hooks, key), post_event(ask_hooks, key)
    assert first.status_code == 200
    assert first.json() == second.json() == {"done": "acknowledged", "incidents": [PAGING.id], "why": None}
    noted = notes(ask_hooks)
    assert (noted["acknowledged_by"], noted["acknowledged_at"]) == ("Ann", rfc3339(NOW + timedelta(minutes=2)))
    assert noted["notified_at"] == rfc3339(NOW)


def test_a_note_in_pagerduty_is_a_note_here(ask_hooks: Asker, clean_store: Store) -> None:
    post_event(ask_hooks, told_pagerduty(clean_store))
    data = {"incident": {"id": "PGR"}, "content": "draining", "type": "incident_note"}
    for _ in range(2):
        post_event(ask_hooks, "", id="02", event_type="incident.annotated", data=data)
    assert [note["text"] for note in notes(ask_hooks)["notes"]] == ["draining"]


def test_a_wrong_signature_changes_nothing(ask_hooks: Asker, clean_store: Store) -> None:
    key = told_pagerduty(clean_store)
    wrong = post_event(ask_hooks, key, secret="guessed")
    assert wrong.status_code == 401
    assert "signature that does not fit" in wrong.json()["detail"]
    assert ask_hooks("POST", PAGERDUTY, json={}).status_code == 401
    assert notes(ask_hooks)["acknowledged_at"] is None


def test_what_is_no_event_is_told_by_field(ask_hooks: Asker) -> None:
    answer = post_event(ask_hooks, "", occurred_at="today")
    assert answer.status_code == 422
    assert "event.occurred_at: 'today' is not an RFC 3339 time" in answer.json()["detail"]
    signature = "v1=" + hmac.new(SECRET.encode(), b"\xff{", hashlib.sha256).hexdigest()
    broken = ask_hooks("POST", PAGERDUTY, content=b"\xff{", headers={"X-PagerDuty-Signature": signature})
    assert broken.status_code == 422


def post_alerts(ask: Asker, *alerts: Alert, token: str = SECRET, status: str = "firing") -> httpx.Response:
    told = [
        {"status": status, "labels": dict(one.labels), "annotations": dict(one.annotations),
         "startsAt": rfc3339(one.starts_at), "endsAt": "0001-01-01T00:00:00Z", "fingerprint": one.fingerprint}
        for one in alerts
    ]  # fmt: skip
    document = {"version": "4", "receiver": "tailsight", "status": status, "alerts": told}
    return ask("POST", ALERTMANAGER, json=document, headers={"Authorization": f"Bearer {token}"})


def test_alertmanager_says_when_somebody_was_told(ask_hooks: Asker) -> None:
    other = Alert({"alertname": "Other"}, {}, NOW, NOW + timedelta(minutes=4), NOW)
    answer = post_alerts(ask_hooks, PAGE, other).json()
    assert answer == {"done": "noted", "incidents": [PAGING.id], "why": None, "silenced": {}}
    assert notes(ask_hooks)["notified_at"] == rfc3339(NOW)


def test_what_is_over_or_not_ours_is_nothing_to_note(ask_hooks: Asker) -> None:
    assert post_alerts(ask_hooks, PAGE, status="resolved").json()["why"] == "nothing fires any more"
    stranger = Alert({"alertname": "X", "incident": "inc-nobody"}, {}, NOW, NOW + timedelta(minutes=4), NOW)
    assert post_alerts(ask_hooks, stranger).json()["why"] == "no alert names an incident of ours"
    assert notes(ask_hooks)["notified_at"] is None


def test_alertmanager_must_show_its_token(ask_hooks: Asker) -> None:
    assert post_alerts(ask_hooks, PAGE, token="guessed").status_code == 401
    assert ask_hooks("POST", ALERTMANAGER, json={}).status_code == 401
    assert ask_hooks("POST", ALERTMANAGER, json={}, headers={"Authorization": f"Bearer {SECRET}"}).status_code == 422


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Basic"])
def test_the_token_of_a_hook_is_read_as_that_of_everything_else(
    make_asker: Any, clean_store: Store, scheme: str
) -> None:
    token = "hush, é:€"
    ask = hooked(make_asker, clean_store, alertmanager_token=token)
    sent = base64.b64encode(f"alertmanager:{token}".encode()) if scheme == "Basic" else token.encode()
    answer = ask("POST", ALERTMANAGER, json={}, headers={"Authorization": scheme.encode() + b" " + sent})
    assert answer.status_code == 422  # it may come in; what it brings is no document of Alertmanager


def test_a_silence_of_ours_on_what_alertmanager_tells_is_shown(make_asker: Any, clean_store: Store) -> None:
    ask = hooked(make_asker, clean_store, alertmanager_token=SECRET)
    ask.app.state.context.alerting.post([PAGE])
    silence = {
        "matchers": [{"name": "service", "value": "chat"}], "endsAt": rfc3339(NOW + timedelta(hours=1)),
        "createdBy": "ann", "comment": "known",
    }  # fmt: skip
    made = ask(
        "POST", "/api/v1/silences", json=silence, headers={"Authorization": "Bearer the token of everything else"}
    ).json()
    assert post_alerts(ask, PAGE).json()["silenced"] == {PAGE.fingerprint: [made["id"]]}


def test_the_secret_may_lie_in_a_file(make_asker: Any, clean_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    ask = hooked(make_asker, clean_store, pagerduty_secret_file=file)
    assert post_event(ask, "").status_code == 500
    file.write_text(f"{SECRET}\n")
    assert post_event(ask, "").status_code == 200


def test_a_secret_is_given_once() -> None:
    with pytest.raises(ValueError, match="give pagerduty_secret or pagerduty_secret_file, not both"):
        HooksSettings(pagerduty_secret=SecretStr("a"), pagerduty_secret_file=Path("b"))
