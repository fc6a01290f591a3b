"""Latency: percentiles of requests and of first tokens, each with what it rests on and how exact it is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from api.context import Given
from api.times import ROLLUP_STEP_S, Moment, widened_to_steps
from api.traffic import Point, Row, TrafficQuestion, answer, labels, read_rows, split_list
from storage.readers import read_latency

router = APIRouter(prefix="/api/v1/latency", tags=["traffic"])

QUANTILES: Mapping[float, str] = {0.5: "p50", 0.95: "p95", 0.99: "p99"}
"""The quantiles that the store answers, with the names of their columns."""

ERROR_BOUND_RATIO = 0.01
"""The buckets are 2^(1/36) wide: their geometric middle is within 1 % of any value in them (docs/adr/0004)."""

_ONE_STEP_S = ROLLUP_STEP_S * ((2**32 - 1) // ROLLUP_STEP_S)
"""Steps count from 1970, so the longest one that the store takes (until 2106) holds any window whole."""


def read_quantiles(value: str | Sequence[str]) -> tuple[float, ...]:
    """Read a list of quantiles.

    Raises:
        ValueError: naming those that the store does not answer.
    """
    texts = split_list(value)
    valid = f"valid are {', '.join(str(quantile) for quantile in QUANTILES)}"
    try:
        quantiles = tuple(dict.fromkeys(float(text) for text in texts))
    except ValueError:
        raise ValueError(f"{', '.join(texts)} is no list of numbers; {valid}") from None
    unknown = [str(quantile) for quantile in quantiles if quantile not in QUANTILES]
    if unknown or not quantiles:
        raise ValueError(f"the store keeps no quantile {', '.join(unknown) or 'of that list'}; {valid}")
    return quantiles


class LatencyQuestion(TrafficQuestion):
    """Which percentiles of whose traffic; without a step, one value for the whole window."""

    quantiles: Annotated[
        tuple[float, ...],
        BeforeValidator(read_quantiles),
        WithJsonSchema({"type": "string", "default": ",".join(map(str, QUANTILES))}),
    ] = Field(
        tuple(QUANTILES),
        description=f"any of {', '.join(map(str, QUANTILES))}, with commas",
        examples=["0.5,0.95,0.99"],
    )


class Percentile(BaseModel):
    """A quantile of a duration, and how far to trust it."""

    quantile: float
    value_ms: float | None = Field(description="null when there was nothing to measure")
    n: int = Field(description="requests it rests on")
    error_bound_ratio: float = Field(description="the true value is within this share of it")


class LatencyPoint(BaseModel):
    """The percentiles of one step, or of the whole window."""

    time: Moment = Field(description="start of the step")
    requests: int
    errors: int = Field(description="failed requests: their latency counts nowhere")
    latency_ms: list[Percentile]
    ttft_ms: list[Percentile]


class LatencySeries(BaseModel):
    """The points of one combination of the dimensions asked for; steps without traffic have none."""

    labels: dict[str, str | None]
    points: list[LatencyPoint]


class LatencyAnswer(BaseModel):
    """Latency; `from` and `to` are rounded out to whole steps, without a step to 15 s."""

    service: str
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    step_s: int | None = Field(description="null: one value for the whole window")
    by: list[str]
    series: list[LatencySeries]


_EXAMPLE = {
    "service": "chat",
    "from": "2026-11-23T02:00:00Z",
    "to": "2026-11-23T03:00:00Z",
    "step_s": None,
    "by": ["version"],
    "series": [
        {
            "labels": {"version": "2026.11.2"},
            "points": [
                {
                    "time": "2026-11-23T02:00:00Z",
                    "requests": 59420,
                    "errors": 313,
                    "latency_ms": [{"quantile": 0.99, "value_ms": 8120.4, "n": 59107, "error_bound_ratio": 0.01}],
                    "ttft_ms": [{"quantile": 0.99, "value_ms": 4100.2, "n": 52310, "error_bound_ratio": 0.01}],
                }
            ],
        }
    ],
}


@router.get(
    "",
    summary="Percentiles of latency and of time to first token",
    response_model=LatencyAnswer,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
)
def get_latency(given: Given, question: Annotated[LatencyQuestion, Query()]) -> dict[str, Any]:
    """Percentiles of the requests that did not fail, for the whole window or by step.

    They come from counts that add up, so those of a long window or of all replicas are as exact as those of one.
    """
    window = widened_to_steps(question.window(given.now()), question.step or ROLLUP_STEP_S)
    groups = read_rows(given, question, window, question.step or _ONE_STEP_S, read_latency)
    series = [
        {
            "labels": labels(question.by, names),
            "points": [
                latency_point(row["time"] if question.step else window.start, row, question.quantiles) for row in rows
            ],
        }
        for names, rows in groups.items()
    ]
    return answer(question, window, question.step, series)


def latency_point(time: datetime, row: Row, quantiles: tuple[float, ...]) -> Point:
    """One row of `storage.readers.read_latency` as a point."""
    measured = {"latency_ms": row["requests"] - row["errors"], "ttft_ms": row["ttft_requests"]}
    percentiles = {
        name: [
            {
                "quantile": quantile,
                "value_ms": row[f"{name}_{QUANTILES[quantile]}"],
                "n": n,
                "error_bound_ratio": ERROR_BOUND_RATIO,
            }
            for quantile in quantiles
        ]
        for name, n in measured.items()
    }
    return {"time": time, "requests": row["requests"], "errors": row["errors"], **percentiles}
