"""Throughput: requests and tokens a second."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.context import Given
from api.times import Moment
from api.traffic import Point, Row, TrafficQuestion, per_second, read_even_series

router = APIRouter(prefix="/api/v1/throughput", tags=["traffic"])


class ThroughputPoint(BaseModel):
    """One step; all null where there was no traffic."""

    time: Moment = Field(description="start of the step")
    requests_per_s: float | None
    input_tokens_per_s: float | None = Field(description="null also where no request told its tokens")
    output_tokens_per_s: float | None = Field(description="null also where no request told its tokens")


class ThroughputSeries(BaseModel):
    """The points of one combination of the dimensions asked for, one a step."""

    labels: dict[str, str | None]
    points: list[ThroughputPoint]


class ThroughputAnswer(BaseModel):
    """Throughput; `from` and `to` are rounded out to whole steps."""

    service: str
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    step_s: int
    by: list[str]
    series: list[ThroughputSeries]


_EXAMPLE = {
    "service": "chat",
    "from": "2026-11-23T02:00:00Z",
    "to": "2026-11-23T02:02:00Z",
    "step_s": 60,
    "by": [],
    "series": [
        {
            "labels": {},
            "points": [
                {
                    "time": "2026-11-23T02:00:00Z",
                    "requests_per_s": 16.5,
                    "input_tokens_per_s": 19112.4,
                    "output_tokens_per_s": 3488.9,
                },
                {
                    "time": "2026-11-23T02:01:00Z",
                    "requests_per_s": None,
                    "input_tokens_per_s": None,
                    "output_tokens_per_s": None,
                },
            ],
        }
    ],
}


@router.get(
    "",
    summary="Requests and tokens a second",
    response_model=ThroughputAnswer,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
)
def get_throughput(given: Given, question: Annotated[TrafficQuestion, Query()]) -> dict[str, Any]:
    """Requests and tokens a second by step, by the start of the requests."""
    return read_even_series(given, question, throughput_point)


def throughput_point(time: datetime, row: Row | None, lasted_s: float) -> Point:
    """One row of `storage.readers.read_traffic` as a point."""
    return {
        "time": time,
        "requests_per_s": per_second(row["requests"], lasted_s) if row else None,
        # The sums leave out what was not told, and no prompt or answer has zero tokens: a zero sum is not told.
        "input_tokens_per_s": per_second(row["input_tokens"] or None, lasted_s) if row else None,
        "output_tokens_per_s": per_second(row["output_tokens"] or None, lasted_s) if row else None,
    }
