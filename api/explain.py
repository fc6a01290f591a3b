"""Explain: why one window of one service was slow."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.causes import EXPLANATION_EXAMPLE, ExplanationDocument
from api.context import Given
from api.problems import Problem, invalid_field
from api.times import Moment, window_between
from domain.incident import Indicator, explanation_to_document
from storage.readers import read_services

router = APIRouter(prefix="/api/v1/explain", tags=["incidents"])


class ExplainQuestion(BaseModel):
    """The window to explain."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "service": "chat",
                "from": "2026-11-23T02:41:00Z",
                "to": "2026-11-23T02:56:00Z",
                "indicator": "ttft",
            }
        },
    )

    service: str = Field(min_length=1)
    start: Moment = Field(alias="from", description="RFC 3339")
    end: Moment = Field(alias="to", description="RFC 3339, not included")
    indicator: Literal["ttft", "latency", "tpot", "errors"] | None = Field(
        None, description="what was slow, or errors; when not given, ttft where the service tells it, else latency"
    )


@router.post(
    "",
    summary="Explain a window",
    response_model=ExplanationDocument,
    responses={200: {"content": {"application/json": {"example": EXPLANATION_EXAMPLE}}}},
)
def explain_window(given: Given, question: ExplainQuestion) -> dict[str, Any]:
    """The causes of what happened to a service in a window, by rank, and what was ruled out.

    When nothing explains it, the first cause is `unknown`.
    """
    window = window_between(question.start, question.end, given.now())
    longest_s = given.settings.explain_seconds_max
    if window.seconds > longest_s:
        raise invalid_field("from", f"a window of {window.seconds:.0f} s; at most {longest_s} s are explained at once")
    if question.service not in read_services(given.store, window)["service"]:
        raise Problem("not-found", f"no request of service {question.service!r} in this window; GET /api/v1/services")
    indicator = Indicator(question.indicator) if question.indicator else None
    return explanation_to_document(given.explain(given.store, question.service, window, indicator))
