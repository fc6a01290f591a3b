"""Service level objectives: what was promised, and where each promise stands."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from analytics.jobs import slo_statuses
from api.context import Given
from api.paging import page_after, page_items
from api.problems import Problem
from api.times import Moment
from domain.incident import Indicator
from domain.slo import Objective, SloState, SloStatus

router = APIRouter(prefix="/api/v1/slos", tags=["slos"])

BURN_WINDOW = "1h"
"""The window of `SloStatus.burn_rate`."""


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


class SlosAnswer(BaseModel):
    """A page of objectives, by name."""

    slos: list[dict[str, Any]] = Field(description="documents of OpenSLO v1, kind SLO")
    next_cursor: str | None = Field(description="null on the last page")


class BurnRate(BaseModel):
    """How many times too fast the budget was spent: 1 spends it exactly in the objective's window."""

    window: Literal["1h"]
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
    return {"slos": [openslo_document(objective) for objective in page], "next_cursor": next_cursor}


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


def openslo_document(objective: Objective) -> dict[str, Any]:
    """An objective as an OpenSLO v1 document: https://github.com/OpenSLO/OpenSLO, version 1.0."""
    measured = {"indicator": objective.indicator.value, "threshold_ms": objective.threshold_ms}

    def source(requests: str) -> dict[str, Any]:
        return {"metricSource": {"type": "tailsight", "spec": {"requests": requests, **measured}}}

    ratio = {"counter": True, "good": source("good"), "total": source("all")}
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": objective.name},
        "spec": {
            "service": objective.service,
            "indicator": {"metadata": {"name": objective.name}, "spec": {"ratioMetric": ratio}},
            "timeWindow": [{"duration": f"{objective.window_days}d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"displayName": objective.name, "target": objective.target_ratio}],
        },
    }


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
        "burn_rates": [{"window": BURN_WINDOW, "burn_rate": status.burn_rate}],
    }


def _known_objective(objectives: Sequence[Objective], name: str) -> Objective:
    found = next((objective for objective in objectives if objective.name == name), None)
    if found is None:
        raise Problem("not-found", f"no objective {name!r}; GET /api/v1/slos lists those there are")
    return found
