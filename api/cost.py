"""What it cost: the bill, what became of it, and what one of something costs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from analytics.cost.allocation import DIMENSIONS, cost_by
from analytics.cost.jobs import Costs, costs_of, unit_costs_of
from api.context import Given
from api.problems import invalid_field
from api.times import Moment, WindowQuestion
from api.traffic import split_list
from domain.cost import NANOUSD

router = APIRouter(prefix="/api/v1/cost", tags=["cost"])

USER_HOURS_MAX = 48
UNIT_DIMENSIONS = ("service", "model", "tenant", "version", "pool")
_VALID = ("user", *DIMENSIONS)


def _read_dimensions(value: str | Sequence[str]) -> tuple[str, ...]:
    names = split_list(value)
    unknown = [name for name in names if name not in _VALID]
    if unknown:
        raise ValueError(f"cannot tell cost by {', '.join(unknown)}; valid are {', '.join(_VALID)}")
    if "user" in names and "tenant" in names:
        raise ValueError("cannot tell cost by user and tenant at once; choose one")
    return names


class CostQuestion(WindowQuestion):
    """Whose cost, when, told apart by what."""

    by: Annotated[
        tuple[str, ...], BeforeValidator(_read_dimensions), WithJsonSchema({"type": "string", "default": ""})
    ] = Field((), description=f"tell apart by any of {', '.join(_VALID)}", examples=["model,tenant"])


class BillDocument(BaseModel):
    """The bill and what became of it; requests, idle, overhead and unattributed add up to it."""

    bill_usd: float
    requests_usd: float = Field(description="GPU time that served requests")
    idle_usd: float = Field(description="GPU time that served none, for a known cause")
    overhead_usd: float = Field(description="what the price book names beside the GPUs")
    unattributed_usd: float = Field(description="busy GPU time that no request is known of")
    fabric_usd: float = Field(description="of the idle: lost to ports that waited for credits")
    errors_usd: float = Field(description="of the requests: went into those that failed")
    gpu_hours: float
    telemetry_ratio: float | None = Field(description="share of paid GPU time in which the GPU told what it did")
    priced_ratio: float | None = Field(description="share of GPU time that a price is known of; the rest is on no bill")
    attributed_ratio: float | None = Field(description="share of the bill that is not unattributed")


class CostRow(BaseModel):
    """One combination of the dimensions asked for. Null: not known, or nothing to divide by."""

    labels: dict[str, str | None]
    cost_usd: float = Field(description="GPU time that served its requests; of other uses, all of it")
    gpu_hours: float
    requests: int
    input_tokens: int
    output_tokens: int
    idle_usd: float | None = None
    full_cost_usd: float | None = Field(None, description="with its share of all that is nobody's; adds up to the bill")
    errors_usd: float | None = None
    good_requests: int | None = Field(None, description="kept what the objectives of their service promise")
    errors: int | None = None
    users: int | None = None
    cost_per_prediction_usd: float | None = None
    cost_per_good_prediction_usd: float | None = None
    full_cost_per_prediction_usd: float | None = None
    full_cost_per_good_prediction_usd: float | None = None
    cost_per_million_tokens_usd: float | None = None
    cost_per_million_input_tokens_usd: float | None = None
    cost_per_million_output_tokens_usd: float | None = None
    cost_per_active_user_usd: float | None = None


class CostAnswer(BaseModel):
    """Cost of whole hours: `from` and `to` are rounded out to them."""

    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    by: list[str]
    currency: str = Field(examples=["USD"])
    uses_list_prices: bool = Field(description="true where a price is a public list price, not yours")
    bill: BillDocument
    rows: list[CostRow]


_BILL_EXAMPLE = {
    "bill_usd": 196.96,
    "requests_usd": 113.81,
    "idle_usd": 83.15,
    "overhead_usd": 0.0,
    "unattributed_usd": 0.0,
    "fabric_usd": 0.01,
    "errors_usd": 0.2,
    "gpu_hours": 32.0,
    "telemetry_ratio": 1.0,
    "priced_ratio": 1.0,
    "attributed_ratio": 1.0,
}
_EXAMPLE = {
    "from": "2026-11-23T02:00:00Z",
    "to": "2026-11-23T03:00:00Z",
    "by": ["model"],
    "currency": "USD",
    "uses_list_prices": True,
    "bill": _BILL_EXAMPLE,
    "rows": [
        {
            "labels": {"model": "llama-3.1-70b"},
            "cost_usd": 101.49,
            "gpu_hours": 24.0,
            "requests": 5725,
            "input_tokens": 49722236,
            "output_tokens": 1922542,
            "idle_usd": 46.23,
            "full_cost_usd": 168.71,
            "errors_usd": 0.19,
            "good_requests": 5680,
            "errors": 12,
            "users": 310,
            "cost_per_prediction_usd": 0.017728,
            "cost_per_good_prediction_usd": 0.017868,
            "full_cost_per_prediction_usd": 0.029469,
            "full_cost_per_good_prediction_usd": 0.029702,
            "cost_per_million_tokens_usd": 1.965,
            "cost_per_million_input_tokens_usd": 1.225,
            "cost_per_million_output_tokens_usd": 21.1,
            "cost_per_active_user_usd": 0.3274,
        }
    ],
}


@router.get(
    "",
    summary="The bill, what became of it, and what a prediction, a token and a user cost",
    response_model=CostAnswer,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
)
def get_cost(given: Given, question: Annotated[CostQuestion, Query()]) -> dict[str, Any]:
    """The bill of a window of whole hours, split over requests, idle time by its cause, and overhead, exactly.

    Raises:
        Problem: for a question by user over more than 48 hours.
    """
    window = question.window(given.now())
    by_user = "user" in question.by
    if by_user and window.seconds > USER_HOURS_MAX * 3600:
        raise invalid_field("by", f"cost by user is told over at most {USER_HOURS_MAX} hours; shorten the window")
    costs = costs_of(given.store, window, given.pricing(), by_user=by_user)
    prices = set(costs.allocation["price"].drop_nulls())
    return {
        "from": costs.window.start,
        "to": costs.window.end,
        "by": question.by,
        "currency": "USD",
        "uses_list_prices": bool(prices & given.pricing().book.list_prices),
        "bill": {**asdict(costs.bill), "attributed_ratio": costs.bill.attributed_ratio},
        "rows": list(_rows(given, costs, question.by)),
    }


def _rows(given: Given, costs: Costs, by: tuple[str, ...]) -> Sequence[dict[str, Any]]:
    if all(name in UNIT_DIMENSIONS for name in by):
        frame = unit_costs_of(given.store, costs, given.objectives(), by)
    else:
        kept = tuple("tenant" if name == "user" else name for name in by)
        frame = cost_by(costs.allocation, kept).with_columns(
            (pl.col("cost_nanousd") / NANOUSD).round(9).alias("cost_usd"),
            (pl.col("gpu_seconds") / 3600).alias("gpu_hours"),
        )
        frame = frame.rename({"tenant": "user"} if "user" in by else {})
    return [{"labels": {name: row[name] for name in by}, **row} for row in frame.iter_rows(named=True)]
