"""Service level objectives: what was promised, and where each promise stands."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from analytics.burn_rates import BurnAlert
from analytics.jobs import backtest, slo_statuses
from analytics.openslo import OpenSloError, document_of, objective_of, problems_of
from api.context import Given
from api.paging import page_after, page_items
from api.problems import FieldError, Problem, invalid_field
from api.times import Moment, WindowQuestion
from domain.incident import Indicator, Severity
from domain.slo import Objective, SloState, SloStatus
from storage.readers import SLO_DOCUMENTS, read_document, write_document

router = APIRouter(prefix="/api/v1/slos", tags=["slos"])


class SlosQuestion(BaseModel):
    """Which page of the objectives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int | None = Field(None, ge=1, description="most items in one page")
    cursor: str | None = Field(None, description="the `next_cursor` of the page before")


class StatusQuestion(BaseModel):
    """When to look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Moment | None = Field(
        None,
        description="the end of the objective's window, RFC 3339; now when not given",
        examples=["2026-11-23T03:00:00Z"],
    )


class BacktestQuestion(WindowQuestion):
    """What is to be tried, and on which time."""

    objective: float | None = Field(None, gt=0, lt=1, description="another target ratio", examples=[0.995])
    threshold_ms: float | None = Field(
        None, alias="threshold", gt=0, description="another threshold in ms", examples=[800]
    )


class BurnAlertDocument(BaseModel):
    """A page or ticket that would have come. `burn_rate` is that of its long window when it did."""

    severity: str
    window_s: int = Field(description="the long window of the pair that fired")
    burn_rate: float
    started_at: Moment
    ended_at: Moment | None


class BacktestAnswer(BaseModel):
    """The pages and tickets that an objective would have brought."""

    name: str
    target_ratio: float
    threshold_ms: float | None
    pages_count: int
    tickets_count: int
    alerts: list[BurnAlertDocument]


class SlosAnswer(BaseModel):
    """A page of objectives, by name."""

    slos: list[dict[str, Any]] = Field(description="documents of OpenSLO v1, kind SLO")
    next_cursor: str | None = Field(description="null on the last page")


class BurnRate(BaseModel):
    """How many times too fast the budget was spent: 1 spends it exactly in the objective's window."""

    window: str = Field(description="the time before `at` that is looked at", examples=["1h"])
    burn_rate: float | None = Field(description="null when there were no events")


class SloStatusDocument(BaseModel):
    """Where an objective stands. Ratios are 0 to 1; null when there were no events to count."""

    name: str
    service: str
    indicator: Indicator
    target_ratio: float
    threshold_ms: float | None
    window_days: int
    at: Moment
    state: SloState = Field(description="`no_data` is neither met nor missed")
    sli_ratio: float | None
    good_count: int
    total_count: int
    budget_left_ratio: float | None = Field(description="share of the error budget; below 0 it is overspent")
    burn_rates: list[BurnRate]
    coverage_ratio: float = Field(description="share of the hours of the window in which there were requests")
    exhausted_at: Moment | None = Field(
        description="when the budget will be spent if the last day goes on; null when it will not within the window"
    )


_SLO_EXAMPLE = {
    "apiVersion": "openslo/v1",
    "kind": "SLO",
    "metadata": {"name": "chat-ttft"},
    "spec": {
        "service": "chat",
        "indicator": {
            "metadata": {"name": "chat-ttft"},
            "spec": {
                "ratioMetric": {
                    "counter": True,
                    "good": {
                        "metricSource": {
                            "type": "tailsight",
                            "spec": {"requests": "good", "indicator": "ttft", "threshold_ms": 2000.0},
                        }
                    },
                    "total": {
                        "metricSource": {
                            "type": "tailsight",
                            "spec": {"requests": "all", "indicator": "ttft", "threshold_ms": 2000.0},
                        }
                    },
                }
            },
        },
        "timeWindow": [{"duration": "30d", "isRolling": True}],
        "budgetingMethod": "Occurrences",
        "objectives": [{"displayName": "chat-ttft", "target": 0.99}],
    },
}
_STATUS_EXAMPLE = {
    "name": "chat-ttft",
    "service": "chat",
    "indicator": "ttft",
    "target_ratio": 0.99,
    "threshold_ms": 2000.0,
    "window_days": 30,
    "at": "2026-11-23T03:00:00Z",
    "state": "at_risk",
    "sli_ratio": 0.9908,
    "good_count": 39512044,
    "total_count": 39878923,
    "budget_left_ratio": 0.08,
    "burn_rates": [{"window": "1h", "burn_rate": 31.2}],
    "coverage_ratio": 0.998,
    "exhausted_at": "2026-11-23T09:40:00Z",
}


_BACKTEST_EXAMPLE = {
    "name": "chat-ttft",
    "target_ratio": 0.99,
    "threshold_ms": 800.0,
    "pages_count": 1,
    "tickets_count": 0,
    "alerts": [
        {
            "severity": "page",
            "window_s": 3600,
            "burn_rate": 16.2,
            "started_at": "2026-11-23T02:43:00Z",
            "ended_at": "2026-11-23T03:31:00Z",
        }
    ],
}


@router.get(
    "",
    summary="Service level objectives",
    response_model=SlosAnswer,
    responses={200: {"content": {"application/json": {"example": {"slos": [_SLO_EXAMPLE], "next_cursor": None}}}}},
)
def list_slos(given: Given, question: Annotated[SlosQuestion, Query()]) -> dict[str, Any]:
    """The objectives as OpenSLO v1 documents, in pages by name."""
    limit = page_items(question.limit, given.settings)
    page, next_cursor = page_after(given.objectives(), lambda one: one.name, question.cursor, limit)
    return {"slos": [document_of(objective) for objective in page], "next_cursor": next_cursor}


@router.get(
    "/{name:path}/status",
    summary="Where an objective stands",
    response_model=SloStatusDocument,
    responses={200: {"content": {"application/json": {"example": _STATUS_EXAMPLE}}}},
)
def get_slo_status(
    given: Given,
    name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])],
    question: Annotated[StatusQuestion, Query()],
) -> dict[str, Any]:
    """The verdict on an objective over the window that ends at `at`, and how fast its budget goes."""
    at = question.at or given.now()
    (status,) = slo_statuses(given.store, [_known_objective(given.objectives(), name)], at)
    return {"at": at, **status_document(status)}


@router.get(
    "/{name:path}/backtest",
    summary="What an objective would have brought",
    response_model=BacktestAnswer,
    responses={200: {"content": {"application/json": {"example": _BACKTEST_EXAMPLE}}}},
)
def get_backtest(
    given: Given,
    name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])],
    question: Annotated[BacktestQuestion, Query()],
) -> dict[str, Any]:
    """The pages and tickets of a past stretch, had this been the objective and this the threshold."""
    objective = _known_objective(given.objectives(), name)
    if question.objective is not None:
        objective = replace(objective, target_ratio=question.objective)
    if question.threshold_ms is not None:
        if objective.threshold_ms is None:
            raise invalid_field("threshold", "an objective of errors has no threshold: a request fails or it does not")
        objective = replace(objective, threshold_ms=question.threshold_ms)
    alerts = backtest(given.store, objective, question.window(given.now()))
    return {
        "name": name,
        "target_ratio": objective.target_ratio,
        "threshold_ms": objective.threshold_ms,
        "pages_count": sum(one.severity is Severity.PAGE for one in alerts),
        "tickets_count": sum(one.severity is Severity.TICKET for one in alerts),
        "alerts": [_burn_document(one) for one in alerts],
    }


def _burn_document(alert: BurnAlert) -> dict[str, Any]:
    return {
        "severity": alert.severity,
        "window_s": alert.windows.long_s,
        "burn_rate": alert.burn_rate,
        "started_at": alert.started_at,
        "ended_at": alert.ended_at,
    }


@router.get(
    "/{name:path}",
    summary="One objective",
    response_model=dict[str, Any],
    responses={200: {"content": {"application/json": {"example": _SLO_EXAMPLE}}}},
)
def get_slo(
    given: Given, name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])]
) -> dict[str, Any]:
    """An objective as an OpenSLO v1 document."""
    return document_of(_known_objective(given.objectives(), name))


@router.put(
    "/{name:path}",
    summary="Promise something",
    response_model=dict[str, Any],
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _SLO_EXAMPLE}}}},
    responses={200: {"content": {"application/json": {"example": _SLO_EXAMPLE}}}},
)
def put_slo(
    given: Given,
    name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])],
    document: Annotated[dict[str, Any], Body(description="OpenSLO v1, kind SLO")],
) -> dict[str, Any]:
    """Keep an objective, in place of one of the same name; judged from the next look on, and over the past as well."""
    problems = problems_of(document)
    if not problems and document["kind"] != "SLO":
        raise invalid_field("kind", f"is {document['kind']}; only documents of kind SLO are kept")
    try:
        objective = None if problems else objective_of(document)
    except OpenSloError as error:
        problems = list(error.problems)
        objective = None
    if objective is None:
        fields = [FieldError(field=problem.path, detail=problem.told) for problem in problems]
        raise Problem("invalid-request", "; ".join(map(str, problems)), fields)
    if objective.name != name:
        raise invalid_field("metadata.name", f"is {objective.name!r}, but the path says {name!r}")
    write_document(given.store, SLO_DOCUMENTS, name, document, given.now())
    return document_of(objective)


@router.delete(
    "/{name:path}",
    summary="Take a promise back",
    response_model=dict[str, Any],
    responses={200: {"content": {"application/json": {"example": _SLO_EXAMPLE}}}},
)
def delete_slo(
    given: Given, name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])]
) -> dict[str, Any]:
    """Take an objective away that was put here; those of the configuration stay."""
    document: dict[str, Any] | None = read_document(given.store, SLO_DOCUMENTS, name)
    if document is None:
        raise Problem("not-found", f"no objective {name!r} was put here; those of the configuration are changed there")
    write_document(given.store, SLO_DOCUMENTS, name, None, given.now())
    return document


def status_document(status: SloStatus) -> dict[str, Any]:
    """Where an objective stands, as the outside reads it."""
    objective = status.objective
    return {
        "name": objective.name,
        "service": objective.service,
        "indicator": objective.indicator,
        "target_ratio": objective.target_ratio,
        "threshold_ms": objective.threshold_ms,
        "window_days": objective.window_days,
        "state": status.state,
        "sli_ratio": status.sli_ratio,
        "good_count": status.good_count,
        "total_count": status.total_count,
        "budget_left_ratio": status.budget_left_ratio,
        "burn_rates": [{"window": window, "burn_rate": rate} for window, rate in status.burn_rates.items()],
        "coverage_ratio": status.coverage_ratio,
        "exhausted_at": status.exhausted_at,
    }


def _known_objective(objectives: Sequence[Objective], name: str) -> Objective:
    found = next((objective for objective in objectives if objective.name == name), None)
    if found is None:
        raise Problem("not-found", f"no objective {name!r}; GET /api/v1/slos lists those there are")
    return found
