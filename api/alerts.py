"""Alerts: what fires, its receivers, what suppresses it, and what no receiver took."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from alerts.service import KnownAlert
from alerts.silences import SilenceError, new_silence, silence_document
from api.context import Given
from api.paging import page_after, page_items
from api.problems import Problem, invalid_field
from api.times import Moment
from domain.window import rfc3339

router = APIRouter(prefix="/api/v1", tags=["alerts"])

SilenceId = Annotated[str, Path(description="the `id` of a silence", examples=["5f0c1a52-3a3e-4c1c-9d3e-0d6f4f0a8a11"])]


class PageQuestion(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int | None = Field(None, ge=1, description="most items in one page")
    cursor: str | None = Field(None, description="the `next_cursor` of the page before")


class Named(BaseModel):
    """Something by its name."""

    name: str


class AlertStatus(BaseModel):
    """Whether an alert is active, or what suppresses it."""

    state: str = Field(description="active or suppressed")
    silencedBy: list[str] = Field(description="ids of the silences that hold it")  # noqa: N815  # as Alertmanager has it
    inhibitedBy: list[dict[str, str]] = Field(description="labels of the alert that says it already")  # noqa: N815


class NotificationStatusDocument(BaseModel):
    """When an integration was notified of an alert last, or why not yet."""

    receiver: str = Field(description="its name; of an Alertmanager its URL")
    integration: str | None = Field(
        description="pagerduty, slack, …; alertmanager: it was given the alert, and tells by its own routes; null of a "
        "receiver that has nothing to tell by"
    )
    at: Moment | None = Field(description="when it took a notification last in which the alert fires; null: not yet")
    whyNot: str | None = Field(  # noqa: N815  # as its neighbours
        description="silenced, inhibited, muted by …, active only in …, waits for its group (group_wait or "
        "group_interval), being sent, not taken: …, nothing to tell by; null once it was told"
    )
    nextAt: Moment | None = Field(description="when it is tried next, where that is known")  # noqa: N815


class AlertDocument(BaseModel):
    """An alert in the fields of Alertmanager's API v2, and who was notified when."""

    labels: dict[str, str]
    annotations: dict[str, str]
    startsAt: Moment  # noqa: N815
    endsAt: Moment  # noqa: N815
    updatedAt: Moment  # noqa: N815
    fingerprint: str
    receivers: list[Named]
    status: AlertStatus
    told: list[NotificationStatusDocument] = Field(
        description="one for each integration of its receivers, and for each Alertmanager; where Alertmanager alone "
        "tells, for those only"
    )
    generatorURL: str  # noqa: N815


class AlertsAnswer(BaseModel):
    """A page of alerts, and how many notifications no receiver took."""

    alerts: list[AlertDocument]
    dead_letters_count: int = Field(description="notifications that no receiver took")
    next_cursor: str | None = Field(description="null on the last page")


class SilenceMatcher(BaseModel):
    """One condition of a silence."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, examples=["service"])
    value: str = Field(examples=["chat"])
    isRegex: bool = False  # noqa: N815
    isEqual: bool = True  # noqa: N815


class NewSilence(BaseModel):
    """What is to be kept quiet, until when, by whom and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "matchers": [{"name": "service", "value": "chat"}],
                "endsAt": "2026-11-23T05:00:00Z",
                "createdBy": "ann",
                "comment": "firmware of leaf-01 is being changed",
            }
        },
    )

    id: str | None = Field(None, description="of a silence that is to be changed; none for a new one")
    matchers: list[SilenceMatcher]
    startsAt: Moment | None = Field(None, description="now when not given")  # noqa: N815
    endsAt: Moment  # noqa: N815
    createdBy: str = Field(examples=["ann"])  # noqa: N815
    comment: str = Field(examples=["firmware of leaf-01 is being changed"])
    status: Any = Field(None, exclude=True, description="not read: it is there in what GET and amtool print")
    updatedAt: Any = Field(None, exclude=True, description="not read, as `status`")  # noqa: N815


class SilenceDocument(BaseModel):
    """A silence in the fields of Alertmanager's API v2."""

    id: str
    matchers: list[SilenceMatcher]
    startsAt: Moment  # noqa: N815
    endsAt: Moment  # noqa: N815
    createdBy: str  # noqa: N815
    comment: str
    updatedAt: Moment  # noqa: N815
    status: dict[str, str] = Field(description="`state`: pending, active or expired")


class SilencesAnswer(BaseModel):
    """A page of silences, by id."""

    silences: list[SilenceDocument]
    next_cursor: str | None = Field(description="null on the last page")


_ALERT: dict[str, Any] = {
    "labels": {
        "alertname": "SLOBurnRate",
        "severity": "page",
        "service": "chat",
        "slo": "chat-ttft",
        "indicator": "ttft",
    },
    "annotations": {
        "summary": "chat: the budget of chat-ttft burns 31.2 times too fast; "
        "network_link_fault on gpu-07-03/mlx5_2/1, 93 %",
        "cause": "gpu-07-03/mlx5_2/1 has a bad link: symbol errors 0.37 → 85.4 per second",
    },
    "startsAt": "2026-11-23T02:43:00Z",
    "endsAt": "2026-11-23T03:04:00Z",
    "updatedAt": "2026-11-23T03:00:00Z",
    "fingerprint": "f4e3a1b2c3d4e5f6",
    "receivers": [{"name": "oncall"}],
    "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
    "told": [
        {
            "receiver": "oncall",
            "integration": "pagerduty",
            "at": "2026-11-23T02:43:31Z",
            "whyNot": None,
            "nextAt": None,
        },
        {
            "receiver": "oncall",
            "integration": "slack",
            "at": None,
            "whyNot": "not taken: HTTP 403: invalid_token",
            "nextAt": "2026-11-23T03:03:31Z",
        },
    ],
    "generatorURL": "http://127.0.0.1:8080/slos/chat-ttft",
}
_SILENCE: dict[str, Any] = {
    "id": "5f0c1a52-3a3e-4c1c-9d3e-0d6f4f0a8a11",
    "matchers": [{"name": "service", "value": "chat", "isRegex": False, "isEqual": True}],
    "startsAt": "2026-11-23T03:00:00Z",
    "endsAt": "2026-11-23T05:00:00Z",
    "createdBy": "ann",
    "comment": "firmware of leaf-01 is being changed",
    "updatedAt": "2026-11-23T03:00:00Z",
    "status": {"state": "active"},
}


def _example(document: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": document}}}}


@router.get(
    "/alerts",
    summary="Alerts that fire",
    response_model=AlertsAnswer,
    responses=_example({"alerts": [_ALERT], "dead_letters_count": 0, "next_cursor": None}),
)
def list_alerts(given: Given, question: Annotated[PageQuestion, Query()]) -> dict[str, Any]:
    """What fires now, in pages by fingerprint: its receivers, when each was notified, and what suppresses it."""
    limit = page_items(question.limit, given.settings)
    page, next_cursor = page_after(given.alerting.alerts(), lambda one: one.alert.fingerprint, question.cursor, limit)
    return {
        "alerts": [_alert_document(one) for one in page],
        "dead_letters_count": len(given.alerting.dead_letters()),
        "next_cursor": next_cursor,
    }


def _alert_document(known: KnownAlert) -> dict[str, Any]:
    """An alert in the fields of Alertmanager's API v2 (gettableAlert), and who was notified when."""
    alert, suppressed = known.alert, known.suppressed
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": rfc3339(alert.ends_at),
        "updatedAt": rfc3339(alert.updated_at),
        "fingerprint": alert.fingerprint,
        "receivers": [{"name": name} for name in known.receivers],
        "status": {
            "state": "suppressed" if suppressed else "active",
            "silencedBy": list(suppressed.silenced_by),
            "inhibitedBy": [dict(suppressed.inhibited_by)] if suppressed.inhibited_by is not None else [],
        },
        "told": [
            {
                "receiver": one.receiver,
                "integration": one.integration,
                "at": None if one.notified_at is None else rfc3339(one.notified_at),
                "whyNot": one.why_not or None,
                "nextAt": None if one.next_at is None else rfc3339(one.next_at),
            }
            for one in known.notification_statuses
        ],
        "generatorURL": alert.generator_url,
    }


@router.get(
    "/silences",
    summary="Silences",
    response_model=SilencesAnswer,
    responses=_example({"silences": [_SILENCE], "next_cursor": None}),
)
def list_silences(given: Given, question: Annotated[PageQuestion, Query()]) -> dict[str, Any]:
    """All silences, in pages by id, those that are over too."""
    limit = page_items(question.limit, given.settings)
    page, next_cursor = page_after(given.alerting.silences(), lambda one: one.id, question.cursor, limit)
    now = given.now()
    documents = [{**silence_document(one), "status": {"state": one.state(now)}} for one in page]
    return {"silences": documents, "next_cursor": next_cursor}


@router.post("/silences", summary="Keep alerts quiet", response_model=SilenceDocument, responses=_example(_SILENCE))
def post_silence(given: Given, silence: NewSilence) -> dict[str, Any]:
    """A new silence, or another one in place of that of the same id."""
    now = given.now()
    try:
        made = new_silence(silence.model_dump(mode="json", exclude_none=True), now)
    except SilenceError as error:
        raise invalid_field("silence", str(error)) from None
    if silence.id is not None and silence.id not in {one.id for one in given.alerting.silences()}:
        raise Problem("not-found", f"no silence {silence.id!r}; GET /api/v1/silences lists those there are")
    given.alerting.set_silence(made)
    return {**silence_document(made), "status": {"state": made.state(now)}}


@router.delete(
    "/silences/{silence_id}",
    summary="Let alerts be told again",
    response_model=Named,
    responses=_example({"name": _SILENCE["id"]}),
)
def delete_silence(given: Given, silence_id: SilenceId) -> dict[str, Any]:
    """Delete a silence; of what it held its receivers are notified at the next flush of its group."""
    if not given.alerting.delete_silence(silence_id):
        raise Problem("not-found", f"no silence {silence_id!r}; GET /api/v1/silences lists those there are")
    return {"name": silence_id}
