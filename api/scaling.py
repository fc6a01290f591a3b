"""The scaling signal: how many replicas of a model a pool wants, for KEDA, an HPA or a script."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from analytics.jobs.fleet import engines_now
from analytics.scaling import scaling_signal
from api.context import Given
from api.problems import Problem
from api.times import Moment

router = APIRouter(prefix="/api/v1/scaling", tags=["scaling"])

STALE_S = 60.0
"""Two evaluation steps of 30 s: older data scales nothing."""


class ScalingAnswer(BaseModel):
    """What the engines bear now, and how many replicas that takes. Never 0, and never a guess."""

    model: str
    pool: str
    desired_replicas: int = Field(description="at least 1; as many as there are while the load is neither high nor low")
    replicas: int = Field(description="that told of themselves")
    running: float
    waiting: float | None = Field(description="null where no engine tells it")
    kv_usage_ratio: float | None = Field(description="in the mean; null where no engine tells it")
    pressure_ratio: float = Field(description="1: the replicas are just enough")
    data_age_s: float
    at: Moment


class StaleDocument(BaseModel):
    """Why there is no answer now; whoever scales must leave things as they are."""

    error: str
    data_age_s: float | None = Field(description="null when there is none of the last minutes")


_EXAMPLE = {
    "model": "llama-70b",
    "pool": "serving",
    "desired_replicas": 7,
    "replicas": 6,
    "running": 96.0,
    "waiting": 14.0,
    "kv_usage_ratio": 0.83,
    "pressure_ratio": 1.146,
    "data_age_s": 11.0,
    "at": "2026-11-23T02:41:20Z",
}
_STALE_EXAMPLE = {"error": "stale", "data_age_s": 312.0}


@router.get(
    "/{model:path}/{pool}",
    summary="How many replicas of a model a pool wants",
    response_model=ScalingAnswer,
    responses={
        200: {"content": {"application/json": {"example": _EXAMPLE}}},
        503: {
            "model": StaleDocument,
            "description": "Data is too old to scale by",
            "content": {"application/json": {"example": _STALE_EXAMPLE}},
        },
    },
)
def get_scaling(
    given: Given,
    model: Annotated[str, Path(description="the served model", examples=["llama-70b"])],
    pool: Annotated[str, Path(description="the pool: a namespace", examples=["serving"])],
) -> Any:
    """The signal of one model in one pool; 503 while data is older than a minute, so that nothing scales by it.

    Raises:
        Problem: for a model and pool that no engine was heard of in the last hour.
    """
    now = given.now()
    found = engines_now(given.store, model, pool, now)
    if not found.known:
        known = ", ".join(f"{one}/{place}" for one, place in found.others) or "none"
        raise Problem("not-found", f"no engine of {model!r} in pool {pool!r} in the last hour; heard of: {known}")
    signal = scaling_signal(found.engines)
    if found.data_age_s is None or found.data_age_s > STALE_S or signal is None:
        return JSONResponse({"error": "stale", "data_age_s": found.data_age_s}, status_code=503)
    return {"model": model, "pool": pool, "data_age_s": found.data_age_s, "at": now, **asdict(signal)}
