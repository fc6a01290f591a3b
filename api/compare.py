"""Side by side: two releases of a service, and the replicas of one."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from analytics.jobs.fleet import compared_releases, imbalance_of
from api.context import Given
from api.times import ROLLUP_STEP_S, Moment, WindowQuestion, widened_to_steps

router = APIRouter(prefix="/api/v1", tags=["compare"])


class ReleasesQuestion(WindowQuestion):
    """Which two releases of which service."""

    service: str = Field(min_length=1, description="the service", examples=["chat"])
    a: str = Field(min_length=1, description="the version compared with, as a rule the older one", examples=["1.4.2"])
    b: str = Field(min_length=1, description="the version asked about", examples=["1.5.0"])


class ImbalanceQuestion(WindowQuestion):
    """Which service's replicas."""

    service: str = Field(min_length=1, description="the service", examples=["chat"])


class DifferenceDocument(BaseModel):
    """A quantile of b less that of a. Null where there are too few requests to say."""

    measure: str = Field(description="latency_ms, ttft_ms or tpot_ms")
    quantile: float
    a_ms: float | None
    b_ms: float | None
    difference_ms: float | None
    low_ms: float | None = Field(description="the difference lies between low and high by 95 % (bootstrap)")
    high_ms: float | None
    a_count: int
    b_count: int
    verdict: str = Field(description="slower, faster, same or unknown: b against a")


class ErrorsDocument(BaseModel):
    """Failures of both."""

    a_errors: int
    a_count: int
    b_errors: int
    b_count: int
    chance: float | None = Field(description="of such a difference if there is none (Fisher's exact test)")
    verdict: str = Field(description="more, fewer, same or unknown: b against a")


class ReleasesAnswer(BaseModel):
    """Two releases at the same time."""

    service: str
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    a: str
    b: str
    differences: list[DifferenceDocument]
    errors: ErrorsDocument
    one_in: int = Field(description="counts are of one request in so many: of very many a sample is compared")
    a_input_tokens_mean: float | None = Field(description="prompts that differ much make times differ")
    b_input_tokens_mean: float | None


class ReplicaLoad(BaseModel):
    """One replica, busiest first."""

    replica: str
    requests: int
    errors: int
    tokens: int
    load_ratio: float | None = Field(description="its tokens over the mean of all replicas; 1 is even")
    latency_ms_p99: float | None
    ttft_ms_p99: float | None


class ImbalanceAnswer(BaseModel):
    """How unevenly the replicas of a service were loaded."""

    service: str
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    imbalance_ratio: float | None = Field(
        description="the busiest one's load over the mean, less 1; null with one only"
    )
    variation_ratio: float | None = Field(description="standard deviation of the loads over their mean")
    replicas: list[ReplicaLoad]


_RELEASES_EXAMPLE = {
    "service": "chat",
    "from": "2026-11-23T02:00:00Z",
    "to": "2026-11-23T03:00:00Z",
    "a": "1.4.2",
    "b": "1.5.0",
    "differences": [
        {
            "measure": "ttft_ms",
            "quantile": 0.95,
            "a_ms": 640.2,
            "b_ms": 1210.9,
            "difference_ms": 570.7,
            "low_ms": 498.1,
            "high_ms": 661.0,
            "a_count": 5210,
            "b_count": 1188,
            "verdict": "slower",
        }
    ],
    "errors": {"a_errors": 12, "a_count": 5222, "b_errors": 3, "b_count": 1191, "chance": 0.74, "verdict": "same"},
    "one_in": 1,
    "a_input_tokens_mean": 1840.1,
    "b_input_tokens_mean": 1822.7,
}
_IMBALANCE_EXAMPLE = {
    "service": "chat",
    "from": "2026-11-23T02:00:00Z",
    "to": "2026-11-23T03:00:00Z",
    "imbalance_ratio": 0.31,
    "variation_ratio": 0.17,
    "replicas": [
        {
            "replica": "chat-3",
            "requests": 1210,
            "errors": 2,
            "tokens": 9120441,
            "load_ratio": 1.31,
            "latency_ms_p99": 9120.4,
            "ttft_ms_p99": 2210.0,
        }
    ],
}


@router.get(
    "/releases/compare",
    summary="Two releases of a service, side by side",
    response_model=ReleasesAnswer,
    responses={200: {"content": {"application/json": {"example": _RELEASES_EXAMPLE}}}},
)
def compare_releases(given: Given, question: Annotated[ReleasesQuestion, Query()]) -> dict[str, Any]:
    """Quantiles of both versions over the same window with the interval of their difference, and their failures."""
    window = question.window(given.now())
    found = compared_releases(given.store, question.service, window, question.a, question.b)
    return {
        "service": question.service,
        "from": window.start,
        "to": window.end,
        "a": question.a,
        "b": question.b,
        "differences": [asdict(one) | {"verdict": one.verdict} for one in found.differences],
        "errors": asdict(found.errors) | {"verdict": found.errors.verdict},
        "one_in": found.one_in,
        "a_input_tokens_mean": found.a_input_tokens_mean,
        "b_input_tokens_mean": found.b_input_tokens_mean,
    }


@router.get(
    "/imbalance",
    summary="How unevenly the replicas of a service are loaded",
    response_model=ImbalanceAnswer,
    responses={200: {"content": {"application/json": {"example": _IMBALANCE_EXAMPLE}}}},
)
def get_imbalance(given: Given, question: Annotated[ImbalanceQuestion, Query()]) -> dict[str, Any]:
    """The load of each replica over the mean of all, busiest first."""
    window = widened_to_steps(question.window(given.now()), ROLLUP_STEP_S)
    found = imbalance_of(given.store, question.service, window)
    return {
        "service": question.service,
        "from": window.start,
        "to": window.end,
        "imbalance_ratio": found.imbalance_ratio,
        "variation_ratio": found.variation_ratio,
        "replicas": found.replicas.to_dicts(),
    }
