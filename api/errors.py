"""Errors: failed requests, and their share."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.context import Given
from api.times import Moment
from api.traffic import Point, Row, TrafficQuestion, read_even_series

router = APIRouter(prefix="/api/v1/errors", tags=["traffic"])


class ErrorsPoint(BaseModel):
    """One step; all null where there was no traffic."""

    time: Moment = Field(description="start of the step")
    requests: int | None
    errors: int | None
    error_ratio: float | None = Field(description="0 to 1")


class ErrorsSeries(BaseModel):
    """The points of one combination of the dimensions asked for, one a step."""

    labels: dict[str, str | None]
    points: list[ErrorsPoint]


class ErrorsAnswer(BaseModel):
    """Errors; `from` and `to` are rounded out to whole steps."""

    service: str
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    step_s: int
    by: list[str]
    series: list[ErrorsSeries]


_EXAMPLE = {
    "service": "chat",
    "from": "2026-11-23T02:00:00Z",
    "to": "2026-11-23T02:02:00Z",
    "step_s": 60,
    "by": ["version"],
    "series": [
        {
            "labels": {"version": "2026.11.2"},
            "points": [
                {"time": "2026-11-23T02:00:00Z", "requests": 990, "errors": 5, "error_ratio": 0.00505},
                {"time": "2026-11-23T02:01:00Z", "requests": None, "errors": None, "error_ratio": None},
            ],
        }
    ],
}


@router.get(
    "",
    summary="Failed requests and their share",
    response_model=ErrorsAnswer,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
)
def get_errors(given: Given, question: Annotated[TrafficQuestion, Query()]) -> dict[str, Any]:
    """Failed requests and their share of all by step, by the start of the requests."""
    return read_even_series(given, question, errors_point)


def errors_point(time: datetime, row: Row | None, _lasted_s: float) -> Point:
    """One row of `storage.readers.read_traffic` as a point."""
    if row is None:
        return {"time": time, "requests": None, "errors": None, "error_ratio": None}
    requests, errors = row["requests"], row["errors"]
    return {"time": time, "requests": requests, "errors": errors, "error_ratio": errors / requests}
