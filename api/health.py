"""Health: is the process alive, can it do its work, and its own metrics."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field

from api.context import Context, Given, LoaderState
from api.times import Moment
from domain.freshness import known_until
from storage.errors import StoreError
from storage.readers import FRESHNESS_DAYS

router = APIRouter(tags=["health"])


_LOOKED_AT = f"the last {FRESHNESS_DAYS[-1]} days"


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class CheckDocument(BaseModel):
    """One thing that must hold for the process to do its work."""

    name: Literal["store", "loader"]
    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether the process can do its work, and how old the newest data and the newest look at them are."""

    ready: bool
    checks: list[CheckDocument]
    newest_request_at: Moment | None = Field(description=f"null when there was none in {_LOOKED_AT}")
    newest_sample_at: Moment | None = Field(description=f"null when there was none in {_LOOKED_AT}")
    newest_look_at: Moment | None = Field(
        description="when the analysis last looked and all went well; null before that, and where it does not run. An "
        "old one is no reason to be unready, but nothing is found meanwhile"
    )
    data_lag_s: float | None = Field(
        description="age of the newest request or of the newest sample, whichever is older; null when there is "
        "neither. Old data alone is no reason to be unready: senders must still reach us"
    )


_READY_EXAMPLE = {
    "ready": True,
    "checks": [
        {"name": "store", "ok": True, "detail": "answers"},
        {"name": "loader", "ok": True, "detail": "the oldest item waits for 0.8 s"},
    ],
    "newest_request_at": "2026-11-23T02:59:58.120Z",
    "newest_sample_at": "2026-11-23T02:59:45Z",
    "newest_look_at": "2026-11-23T02:59:40.310Z",
    "data_lag_s": 15.0,
}
_UNREADY_EXAMPLE = {
    "ready": False,
    "checks": [
        {"name": "store", "ok": True, "detail": "answers"},
        {"name": "loader", "ok": False, "detail": "has stopped: what is acknowledged is not stored"},
    ],
    "newest_request_at": None,
    "newest_sample_at": None,
    "newest_look_at": None,
    "data_lag_s": None,
}


_METRICS_EXAMPLE = """\
# HELP tailsight_collector_accepted_items_total Spans, data points and log records in the log, by upstream table
# TYPE tailsight_collector_accepted_items_total counter
tailsight_collector_accepted_items_total{table="otel_traces"} 59420.0
"""


@router.get(
    "/healthz",
    summary="Is the process alive",
    response_model=Liveness,
    responses={200: {"content": {"application/json": {"example": {"status": "ok"}}}}},
)
async def get_health() -> dict[str, str]:
    """Answers while the process runs; asks nothing else. Needs no token."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Can the process do its work",
    response_model=Readiness,
    responses={
        200: {"content": {"application/json": {"example": _READY_EXAMPLE}}},
        503: {
            "model": Readiness,
            "description": "Not ready, with the reasons",
            "content": {"application/json": {"example": _UNREADY_EXAMPLE}},
        },
    },
)
async def get_readiness(given: Given, response: Response) -> dict[str, Any]:
    """Whether the store answers and the loader keeps up, and how old the newest data and look are. Needs no token."""
    document = await readiness(given)
    if not document["ready"]:
        response.status_code = 503
    return document


@router.get(
    "/metrics",
    summary="Own metrics in the Prometheus text format",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text format 0.0.4",
            "content": {
                "text/plain": {
                    "schema": {"type": "string"},
                    "example": _METRICS_EXAMPLE,
                }
            },
        }
    },
)
async def get_metrics(given: Given) -> Response:
    """What Tailsight counts of itself."""
    return Response(given.metrics_text(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


async def readiness(given: Context) -> dict[str, Any]:
    """Ask the store and the loader."""
    now = given.now()
    newest: dict[str, datetime | None] = {}
    try:
        newest = await given.freshness.ask(now)
        checks = [{"name": "store", "ok": True, "detail": "answers"}]
    except StoreError as error:
        checks = [{"name": "store", "ok": False, "detail": str(error)}]
    loader, looks = given.health.loader(), given.health.looks()
    if loader is not None:
        checks.append(loader_check(loader, given.settings.loading_lag_seconds_max))
    return {
        "ready": all(check["ok"] for check in checks),
        "checks": checks,
        "newest_request_at": newest.get("requests"),
        "newest_sample_at": newest.get("samples"),
        "newest_look_at": looks.newest_at if looks is not None else None,
        "data_lag_s": data_lag_s(newest, now),
    }


def loader_check(loader: LoaderState, lag_seconds_max: float) -> dict[str, Any]:
    """Whether the loader runs and keeps up."""
    if not loader.has_begun:
        return {"name": "loader", "ok": False, "detail": "begins when the store answers: what is acknowledged waits"}
    if not loader.alive:
        return {"name": "loader", "ok": False, "detail": "has stopped: what is acknowledged is not stored"}
    if loader.lag_seconds is None:
        return {"name": "loader", "ok": True, "detail": "nothing waits"}
    waits = f"the oldest item waits for {loader.lag_seconds:.1f} s"
    if loader.lag_seconds > lag_seconds_max:
        return {"name": "loader", "ok": False, "detail": f"{waits}; at most {lag_seconds_max:g} s are fine"}
    return {"name": "loader", "ok": True, "detail": waits}


def data_lag_s(newest: Mapping[str, datetime | None], now: datetime) -> float | None:
    """Seconds for which some kind of data has not come in; None when none ever did, 0 when all lie ahead of `now`."""
    last = known_until(newest)
    return None if last is None else max(0.0, (now - last).total_seconds())
