"""Hooks: webhooks of PagerDuty and Alertmanager about our own alerts. Shut until a secret is configured for each."""

import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, Field

from alerts.handling import (
    Done,
    HookAnswer,
    HookError,
    alertmanager_alerts,
    is_signed,
    pagerduty_event,
    process_alertmanager_alerts,
    process_pagerduty_event,
)
from api.auth import ALERTMANAGER_HOOK, PAGERDUTY_HOOK, admits
from api.context import Given
from api.problems import Problem, invalid_field
from domain.alert import fingerprint

router = APIRouter(tags=["alerts"])


class HookDocument(BaseModel):
    """What came of it. The same sent twice answers the same, and changes nothing."""

    done: Done = Field(description="acknowledged, resolved, noted or nothing")
    incidents: list[str] = Field(description="ids of the incidents that it is about")
    why: str | None = Field(description="why nothing was done; null when something was")


class SilencedHookDocument(HookDocument):
    """The same, with the alerts in it that a silence of ours holds."""

    silenced: dict[str, list[str]] = Field(description="ids of our silences, by the fingerprint of an alert")


async def _raw(request: Request) -> bytes:
    return await request.body()


Raw = Annotated[bytes, Depends(_raw)]

_PAGERDUTY_EXAMPLE: dict[str, Any] = {
    "event": {
        "id": "01DEN1HNLDYZ6W2A7Y8ZY2PGRX",
        "event_type": "incident.acknowledged",
        "resource_type": "incident",
        "occurred_at": "2026-11-23T02:47:30Z",
        "agent": {"id": "PLH1HKV", "type": "user_reference", "summary": "Ann"},
        "data": {"id": "PGR0VU2", "type": "incident", "incident_key": "37a95717ea…", "status": "acknowledged"},
    }
}
_ALERTMANAGER_EXAMPLE: dict[str, Any] = {
    "version": "4",
    "receiver": "tailsight",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "TailsightLatencySpike", "incident": "inc-9f2c41d07b", "severity": "page"},
            "annotations": {"summary": "chat: TTFT p99 4.1 s, usually 540 ms; cause unknown"},
            "startsAt": "2026-11-23T02:41:20Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": "f4e3a1b2c3d4e5f6",
        }
    ],
}
_DONE = {"done": "acknowledged", "incidents": ["inc-9f2c41d07b"], "why": None}
_NOTED: dict[str, Any] = {"done": "noted", "incidents": ["inc-9f2c41d07b"], "why": None, "silenced": {}}


def _described(example: dict[str, Any], words: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object", "description": words}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    PAGERDUTY_HOOK,
    summary="What PagerDuty tells of our incidents",
    response_model=HookDocument,
    responses={200: {"content": {"application/json": {"example": _DONE}}}},
    openapi_extra=_described(_PAGERDUTY_EXAMPLE, "an event of a webhook of PagerDuty, version 3"),
)
def post_pagerduty(
    given: Given,
    body: Raw,
    signatures: Annotated[
        str, Header(alias="X-PagerDuty-Signature", description="`v1=` and the HMAC-SHA256 of the body; several: commas")
    ] = "",
) -> dict[str, Any]:
    """Who acknowledged, resolved or annotated an incident that we triggered in PagerDuty."""
    secret = _secret(given.alerting.hooks.secret_of_pagerduty, "alerts.hooks.pagerduty_secret")
    if not is_signed(body, signatures, secret):
        found = "a signature that does not fit the body and our secret" if signatures else "no X-PagerDuty-Signature"
        raise Problem("unauthorized", f"found {found}; give PagerDuty's webhook the secret of alerts.hooks")
    try:
        event = pagerduty_event(_json(body))
    except HookError as error:
        raise invalid_field("body", str(error)) from None
    return _document(process_pagerduty_event(given.store, event, given.now()))


@router.post(
    ALERTMANAGER_HOOK,
    summary="What Alertmanager tells its receivers",
    response_model=SilencedHookDocument,
    responses={200: {"content": {"application/json": {"example": _NOTED}}}},
    openapi_extra=_described(_ALERTMANAGER_EXAMPLE, "the document of a webhook of Alertmanager, version 4"),
)
def post_alertmanager(
    given: Given,
    body: Raw,
    authorization: Annotated[str, Header(description="`Bearer` and the token of alerts.hooks")] = "",
) -> dict[str, Any]:
    """That Alertmanager has notified somebody: the time of notification of each incident in it."""
    token = _secret(given.alerting.hooks.token_of_alertmanager, "alerts.hooks.alertmanager_token")
    if not admits(token)(authorization):
        raise Problem("unauthorized", "no token was sent, or another one than alerts.hooks.alertmanager_token")
    try:
        alerts = alertmanager_alerts(_json(body))
    except HookError as error:
        raise invalid_field("body", str(error)) from None
    posted = {fingerprint(one.labels) for one in alerts}
    silenced = {
        one.alert.fingerprint: list(one.suppressed.silenced_by)
        for one in given.alerting.alerts()
        if one.suppressed.silenced_by and one.alert.fingerprint in posted
    }
    return _document(process_alertmanager_alerts(given.store, alerts, given.now())) | {"silenced": silenced}


def _secret(read: Callable[[], str | None], setting: str) -> str:
    try:
        found = read()
    except OSError as error:
        raise Problem("internal", f"the file of {setting} cannot be read: {error.strerror}") from error
    if not found:
        raise Problem("not-found", f"this hook is off: set {setting}, or {setting}_file")
    return found


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:  # also for what is no text
        raise HookError(f"no JSON: {error}") from None


def _document(answer: HookAnswer) -> dict[str, Any]:
    return {"done": answer.done, "incidents": list(answer.incidents), "why": answer.why}
