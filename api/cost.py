"""What it cost: the bill, what became of it, and what one of something costs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from analytics.cost.advice_jobs import cost_advice
from analytics.cost.allocation import DIMENSIONS, cost_by
from analytics.cost.csv_text import csv_text
from analytics.cost.focus import TIME_FORMAT, focus_rows
from analytics.cost.forecast import Forecast, NoForecast, Total, daily_totals, month_of
from analytics.cost.jobs import (
    Costs,
    budget_statuses,
    costs_of,
    spend_forecast,
    spend_variance,
    unit_costs_of,
)
from analytics.cost.opencost import opencost_allocation
from analytics.cost.unit_costs import UNIT_DIMENSIONS
from api.context import Given
from api.problems import invalid_field
from api.times import Moment, WindowQuestion, window_between
from api.traffic import split_list
from domain.cost import NANOUSD
from domain.window import Window
from storage.cost_hours import whole_hours

router = APIRouter(prefix="/api/v1/cost", tags=["cost"])

USER_HOURS_MAX = 48
DAYS_MAX = 92
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
    format: Literal["json", "csv"] = Field("json", description="json, or the rows alone as csv")


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
    hours: int = Field(description="hours of the window")
    known_hours: int = Field(description="hours in which a GPU was heard of; what the others cost is not known")
    unsettled_hours: int = Field(description="hours that hold data, wait to be settled, and are on no bill yet")
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
    "hours": 1,
    "known_hours": 1,
    "unsettled_hours": 0,
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
def get_cost(given: Given, question: Annotated[CostQuestion, Query()]) -> Any:
    """The bill of a window of whole hours, split over requests, idle time by its cause, and overhead, exactly.

    Raises:
        Problem: for a question by user over more than 48 hours.
    """
    window = _bounded(question.window(given.now()))
    by_user = "user" in question.by
    if by_user and window.seconds > USER_HOURS_MAX * 3600:
        raise invalid_field("by", f"cost by user is told over at most {USER_HOURS_MAX} hours; shorten the window")
    costs = costs_of(given.store, window, given.pricing(), by_user=by_user)
    if question.format == "csv":
        rows = _frame(given, costs, question.by)
        shown = rows.select(name for name in (*question.by, *CostRow.model_fields) if name in rows.columns)
        return Response(csv_text(shown), media_type="text/csv")
    prices = set(costs.allocation["price"].drop_nulls())
    return {
        "from": costs.window.start,
        "to": costs.window.end,
        "by": question.by,
        "currency": "USD",
        "uses_list_prices": bool(prices & given.pricing().book.list_prices),
        "hours": costs.hours,
        "known_hours": costs.known_hours,
        "unsettled_hours": costs.unsettled_hours,
        "bill": {**asdict(costs.bill), "attributed_ratio": costs.bill.attributed_ratio},
        "rows": list(_rows(given, costs, question.by)),
    }


def _rows(given: Given, costs: Costs, by: tuple[str, ...]) -> Sequence[dict[str, Any]]:
    rows = _frame(given, costs, by).iter_rows(named=True)
    return [{"labels": {name: row[name] for name in by}, **row} for row in rows]


def _frame(given: Given, costs: Costs, by: tuple[str, ...]) -> pl.DataFrame:
    if all(name in UNIT_DIMENSIONS for name in by):
        return unit_costs_of(given.store, costs, given.objectives(), by)
    kept = tuple("tenant" if name == "user" else name for name in by)
    frame = cost_by(costs.allocation, kept).with_columns(
        (pl.col("cost_nanousd") / NANOUSD).round(9).alias("cost_usd"),
        (pl.col("gpu_seconds") / 3600).alias("gpu_hours"),
    )
    return frame.rename({"tenant": "user"} if "user" in by else {})


class TotalDocument(BaseModel):
    """Spend of a whole period."""

    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    median_usd: float
    lower_usd: dict[str, float] = Field(description="by level of the interval, e.g. 0.8; empty without an interval")
    upper_usd: dict[str, float]


class KnownSpendDocument(BaseModel):
    """Spend of the hours that are known, and how many of how many those are."""

    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    known_hours: int
    hours: int
    usd: float = Field(description="of the known hours; what the others cost is not known, and in no sum")


class ForecastPoint(BaseModel):
    """One hour to come."""

    time: Moment
    median_usd: float
    lower_80_usd: float | None = Field(description="null without an interval")
    upper_80_usd: float | None
    lower_95_usd: float | None
    upper_95_usd: float | None


class ForecastAnswer(BaseModel):
    """What will be spent; all but `reason` is null or empty where there is no forecast."""

    reason: str | None = Field(description="why there is no forecast; null when there is one")
    model: str | None = Field(description="what it is made with")
    chosen_because: str | None = Field(description="why with that")
    rests_on: KnownSpendDocument | None = Field(description="the hours that it is made from")
    tries: int | None = Field(description="how many forecasts the backtest is of")
    no_interval: str | None = Field(description="why there are no intervals; null where there are")
    mase: dict[str, float | None] = Field(description="each candidate's mean absolute scaled error in the backtest")
    errors_usd: dict[str, float] = Field(description="each candidate's mean absolute error there, dollars an hour")
    coverage: dict[str, float] = Field(description="by level: the share of the backtest's hours within the interval")
    month_so_far: KnownSpendDocument | None = Field(description="of the month in which the forecast begins")
    month_rest: TotalDocument | None = Field(description="from where the forecast begins to the month's end")
    month_end: TotalDocument | None = Field(description="both together; null while too little of the month is known")
    month_end_unknown: str | None = Field(description="why the month's end is null; null where it is not")
    days: list[TotalDocument]
    hours: list[ForecastPoint]


class AdviceDocument(BaseModel):
    """One thing to do, with what it is worth."""

    kind: str
    about: str
    title: str
    saves_usd_per_month: tuple[float, float] = Field(description="least and most")
    expected_usd_per_month: float
    confidence: float = Field(description="how likely the saving lies in that range")
    why: list[str]
    assumptions: list[str]
    how: list[str]
    breaks_if: list[str]


class AdviceGapDocument(BaseModel):
    """Advice that cannot be given."""

    kind: str
    about: str
    missing: str
    remedy: str


class LatencyWorthDocument(BaseModel):
    """What sooner answers of a service are worth, by the elasticity that was configured."""

    service: str
    indicator: str = Field(description="the time that it is about: ttft or latency")
    source: str = Field(description="who says how much is lost with latency")
    usd_per_month_of_100_ms: tuple[float, float] = Field(description="least and most")
    median_ms: float | None = Field(description="of the last seven days; null without requests")
    median_before_ms: float | None = Field(description="of the seven days before")
    change_usd_per_month: tuple[float, float] | None = Field(
        description="what the difference is worth; negative where answers come later"
    )


class LatencyValueDocument(BaseModel):
    """What sooner answers are worth."""

    reason: str | None = Field(description="why nothing can be told: not configured; else null")
    services: list[LatencyWorthDocument]


class AdviceAnswer(BaseModel):
    """Advice, greatest expected saving first."""

    at: Moment
    expected_usd_per_month: float = Field(description="of advice about the same model or pool only the best counts")
    advice: list[AdviceDocument]
    gaps: list[AdviceGapDocument]
    latency_value: LatencyValueDocument


_FORECAST_EXAMPLE = {
    "reason": None,
    "model": "median",
    "chosen_because": "no single one was clearly better in the backtest",
    "rests_on": {
        "from": "2026-10-19T03:00:00Z",
        "to": "2026-11-23T03:00:00Z",
        "known_hours": 838,
        "hours": 840,
        "usd": 165060.2,
    },
    "tries": 14,
    "no_interval": None,
    "mase": {"seasonal_naive": 1.0, "ets": 0.81, "gradient_boosted": 0.83, "median": 0.79},
    "errors_usd": {"seasonal_naive": 5.2, "ets": 4.21, "gradient_boosted": 4.32, "median": 4.11},
    "coverage": {"0.5": 0.51, "0.8": 0.79, "0.95": 0.94},
    "month_so_far": {
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-11-23T03:00:00Z",
        "known_hours": 531,
        "hours": 531,
        "usd": 104587.2,
    },
    "month_rest": {
        "from": "2026-11-23T03:00:00Z",
        "to": "2026-12-01T00:00:00Z",
        "median_usd": 36623.3,
        "lower_usd": {"0.8": 35282.9},
        "upper_usd": {"0.8": 38056.8},
    },
    "month_end_unknown": None,
    "month_end": {
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-12-01T00:00:00Z",
        "median_usd": 141210.5,
        "lower_usd": {"0.8": 139870.1},
        "upper_usd": {"0.8": 142644.0},
    },
    "days": [],
    "hours": [
        {
            "time": "2026-11-23T03:00:00Z",
            "median_usd": 196.9,
            "lower_80_usd": 190.2,
            "upper_80_usd": 203.5,
            "lower_95_usd": 186.0,
            "upper_95_usd": 209.9,
        }
    ],
}
_ADVICE_EXAMPLE = {
    "at": "2026-11-23T03:00:00Z",
    "expected_usd_per_month": 7420.0,
    "advice": [
        {
            "kind": "release",
            "about": "serving",
            "title": "Give back 2 NVIDIA H100 80GB HBM3 of pool serving: paid for, and without a model.",
            "saves_usd_per_month": [8986.0, 9880.0],
            "expected_usd_per_month": 7420.0,
            "confidence": 0.79,
            "why": ["2.2 GPUs without pod or model on average, never fewer than 2, over 168 hours."],
            "assumptions": ["The GPUs can be given back, or lent to other work, at what they cost."],
            "how": ["Check that no reservation or commitment holds them.", "Drain the nodes and return them."],
            "breaks_if": ["A rise of load that needs them: see the warm pool."],
        }
    ],
    "gaps": [],
    "latency_value": {
        "reason": None,
        "services": [
            {
                "service": "chat",
                "indicator": "ttft",
                "source": "test with slowed users, October 2026",
                "usd_per_month_of_100_ms": [400.0, 1600.0],
                "median_ms": 310.0,
                "median_before_ms": 350.0,
                "change_usd_per_month": [160.0, 640.0],
            }
        ],
    },
}
_VARIANCE_EXAMPLE = {
    "from": "2026-11-16T00:00:00Z",
    "to": "2026-11-23T00:00:00Z",
    "before_from": "2026-11-09T00:00:00Z",
    "before_to": "2026-11-16T00:00:00Z",
    "by": "model",
    "known_hours": 168,
    "hours": 168,
    "before_known_hours": 168,
    "before_hours": 168,
    "before_usd": 1.0,
    "after_usd": 2.4,
    "difference_usd": 1.4,
    "parts": {
        "price": 0.666667,
        "volume": 1.116667,
        "mix": 0.0,
        "efficiency": -0.383333,
        "idle": 0.0,
        "overhead": 0.0,
        "unattributed": 0.0,
    },
    "groups": [
        {"group": "llama-70b", "before_usd": 1.0, "after_usd": 2.4, "difference_usd": 1.4, "price_usd": 0.666667}
    ],
}
_BUDGETS_EXAMPLE = {
    "at": "2026-11-23T03:00:00Z",
    "budgets": [
        {
            "name": "whole fleet",
            "amount_usd": 150000.0,
            "period": "month",
            "service": None,
            "tenant": None,
            "state": "met",
            "from": "2026-11-01T00:00:00Z",
            "to": "2026-12-01T00:00:00Z",
            "spent_usd": 104120.0,
            "spent_ratio": 0.6941,
            "forecast": None,
            "forecast_ratio": None,
        }
    ],
}
_FOCUS_EXAMPLE = {"focus_version": "1.2", "rows": [{"BilledCost": 12.31, "ServiceName": "chat"}]}
_OPENCOST_EXAMPLE = {"code": 200, "data": [{"chat": {"name": "chat", "gpuHours": 24.0, "totalCost": 147.72}}]}


@router.get(
    "/forecast",
    summary="What will be spent until the month is over",
    response_model=ForecastAnswer,
    responses={200: {"content": {"application/json": {"example": _FORECAST_EXAMPLE}}}},
)
def get_forecast(given: Given) -> dict[str, Any]:
    """Hourly spend to come with intervals, what it rests on, and how well it would have been known before."""
    return forecast_document(spend_forecast(given.store, given.now(), given.pricing()))


def forecast_document(found: Forecast | NoForecast) -> dict[str, Any]:
    """A forecast as `ForecastAnswer` has it."""
    if isinstance(found, NoForecast):
        lists: dict[str, Any] = {"mase": {}, "errors_usd": {}, "coverage": {}, "days": [], "hours": []}
        return dict.fromkeys(ForecastAnswer.model_fields) | lists | {"reason": found.reason}
    month, first, last = month_of(found), found.history["time"][0], found.history["time"][-1]
    has_interval = found.no_interval is None
    bounds = [name for name in found.hours.columns if name.startswith(("lower_", "upper_"))]
    hours = found.hours if has_interval else found.hours.with_columns(pl.lit(None).alias(name) for name in bounds)
    return {
        "reason": None,
        "model": str(found.model),
        "chosen_because": found.chosen_because,
        "rests_on": _known_spend(first, last + timedelta(hours=1), found.history),
        "tries": found.tries,
        "no_interval": found.no_interval,
        "mase": {str(name): value for name, value in found.mase.items()},
        "errors_usd": {str(name): value for name, value in found.errors_usd.items()},
        "coverage": {str(level): value for level, value in found.coverage.items()} if has_interval else {},
        "month_so_far": _known_spend(month.start, month.rest.start, found.history),
        "month_rest": _total(month.rest),
        "month_end": None if month.whole is None else _total(month.whole),
        "month_end_unknown": month.not_whole,
        "days": [_total(one) for one in daily_totals(found)],
        "hours": hours.to_dicts(),
    }


def _known_spend(start: datetime, end: datetime, history: pl.DataFrame) -> dict[str, Any]:
    inside = history.filter(pl.col("time") >= start, pl.col("time") < end)
    usd, hours = float(inside["cost_usd"].sum()), (end - start) // timedelta(hours=1)
    return {"from": start, "to": end, "known_hours": inside.height, "hours": hours, "usd": usd}


@router.get(
    "/recommendations",
    summary="What could be saved, in dollars a month",
    response_model=AdviceAnswer,
    responses={200: {"content": {"application/json": {"example": _ADVICE_EXAMPLE}}}},
)
def get_recommendations(given: Given) -> dict[str, Any]:
    """Advice judged by the last seven days, with the range of its saving and how sure it is, and what is missing."""
    now = given.now()
    found = cost_advice(given.store, now, given.pricing(), given.objectives())
    return {
        "at": now,
        "expected_usd_per_month": found.expected_usd_per_month,
        "advice": [asdict(one) | {"expected_usd_per_month": one.expected_usd_per_month} for one in found.advice],
        "gaps": [asdict(one) for one in found.gaps],
        "latency_value": {
            "reason": None if found.latency_value else "not configured",
            "services": [asdict(one) for one in found.latency_value],
        },
    }


class VarianceQuestion(WindowQuestion):
    """Which two windows, by what."""

    before_start: Moment | None = Field(
        None, alias="before_from", description="start of the earlier window; as long before `from` when not given"
    )
    before_end: Moment | None = Field(None, alias="before_to", description="its end; `from` when not given")
    by: Literal["model", "tenant", "service", "version", "pool"] = Field("model", description="groups")


class VarianceAnswer(BaseModel):
    """Why the bill of one window differs from that of another; the parts add up to the difference, to the cent."""

    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    before_start: Moment = Field(alias="before_from")
    before_end: Moment = Field(alias="before_to")
    by: str
    known_hours: int = Field(
        description="hours of the window that are compared: of windows as long, those that are known in both"
    )
    hours: int = Field(description="hours of the window")
    before_known_hours: int = Field(description="hours of the earlier window that are compared")
    before_hours: int = Field(description="hours of the earlier window")
    before_usd: float
    after_usd: float
    difference_usd: float
    parts: dict[str, float] = Field(description="price, volume, mix, efficiency, idle, overhead, unattributed")
    groups: list[dict[str, str | float | None]] = Field(description="the same of each group, greatest difference first")


@router.get(
    "/variance",
    summary="Why the bill differs from that of an earlier time",
    response_model=VarianceAnswer,
    responses={200: {"content": {"application/json": {"example": _VARIANCE_EXAMPLE}}}},
)
def get_variance(given: Given, question: Annotated[VarianceQuestion, Query()]) -> dict[str, Any]:
    """The difference of two bills as price, volume, mix, efficiency and idle time, whatever comes first (Shapley)."""
    window = _bounded(question.window(given.now()))
    end = question.before_end or window.start
    before = _bounded(window_between(question.before_start or end - (window.end - window.start), end, given.now()))
    found = spend_variance(given.store, before, window, given.pricing(), question.by)
    before_known, known = found.known_hours
    amounts = [name for name in found.groups.columns if name.endswith("_nanousd")]
    groups = [
        {"group": row["group"], **{name.replace("_nanousd", "_usd"): int(row[name]) / NANOUSD for name in amounts}}
        for row in found.groups.iter_rows(named=True)
    ]
    return {
        "from": window.start,
        "to": window.end,
        "before_from": before.start,
        "before_to": before.end,
        "by": question.by,
        "known_hours": known,
        "hours": int(whole_hours(window).seconds // 3600),
        "before_known_hours": before_known,
        "before_hours": int(whole_hours(before).seconds // 3600),
        "before_usd": found.before_nanousd / NANOUSD,
        "after_usd": found.after_nanousd / NANOUSD,
        "difference_usd": (found.after_nanousd - found.before_nanousd) / NANOUSD,
        "parts": {part.value: amount / NANOUSD for part, amount in found.parts.items()},
        "groups": groups,
    }


class BudgetDocument(BaseModel):
    """Where a budget stands."""

    name: str
    amount_usd: float
    period: str
    service: str | None
    tenant: str | None
    state: str = Field(description="met, at_risk (will be overspent), missed (is overspent) or no_data")
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    spent_usd: float | None
    spent_ratio: float | None
    forecast: TotalDocument | None = Field(description="of the whole period; null where there is no forecast")
    forecast_ratio: float | None


class BudgetsAnswer(BaseModel):
    """All budgets, worst first."""

    at: Moment
    budgets: list[BudgetDocument]


@router.get(
    "/budgets",
    summary="Where each budget stands",
    response_model=BudgetsAnswer,
    responses={200: {"content": {"application/json": {"example": _BUDGETS_EXAMPLE}}}},
)
def get_budgets(given: Given) -> dict[str, Any]:
    """What is spent of each budget of the configuration, and what will be when its period is over."""
    now = given.now()
    budgets = [
        asdict(one.budget)
        | {
            "state": one.state,
            "from": one.start,
            "to": one.end,
            "spent_usd": one.spent_usd,
            "spent_ratio": one.spent_ratio,
            "forecast": None if one.forecast is None else _total(one.forecast),
            "forecast_ratio": one.forecast_ratio,
        }
        for one in budget_statuses(given.store, now, given.pricing())
    ]
    return {"at": now, "budgets": budgets}


class FocusQuestion(WindowQuestion):
    """Which window, in which form."""

    every: Literal["hour", "day"] = Field("hour", description="a row an hour, or a day")
    format: Literal["json", "csv"] = Field("json", description="json, or csv as billing tools read it")


class FocusAnswer(BaseModel):
    """Rows of FOCUS 1.2."""

    focus_version: str
    rows: list[dict[str, Any]]


@router.get(
    "/focus",
    summary="The bill as FOCUS 1.2 rows",
    response_model=FocusAnswer,
    responses={200: {"content": {"application/json": {"example": _FOCUS_EXAMPLE}}}},
)
def get_focus(given: Given, question: Annotated[FocusQuestion, Query()]) -> Any:
    """The bill in the columns of the FinOps Open Cost and Usage Specification; idle time and overhead are rows too."""
    pricing = given.pricing()
    costs = costs_of(given.store, _bounded(question.window(given.now())), pricing)
    rows = focus_rows(costs.allocation, pricing.book, pricing.account, costs.window, every=question.every)
    if question.format == "csv":
        return Response(csv_text(rows, TIME_FORMAT), media_type="text/csv")
    return {"focus_version": "1.2", "rows": json.loads(rows.write_json())}


class OpenCostQuestion(WindowQuestion):
    """Which window, summed by what."""

    aggregate: Annotated[tuple[str, ...], BeforeValidator(split_list), WithJsonSchema({"type": "string"})] = Field(
        ("service",), description="as OpenCost has it: service, node, pod, label:model, label:tenant, …"
    )


class OpenCostAnswer(BaseModel):
    """The answer of OpenCost's /allocation."""

    code: int
    data: list[dict[str, Any]]


@router.get(
    "/opencost",
    summary="The bill as OpenCost's allocations",
    response_model=OpenCostAnswer,
    responses={200: {"content": {"application/json": {"example": _OPENCOST_EXAMPLE}}}},
)
def get_opencost(given: Given, question: Annotated[OpenCostQuestion, Query()]) -> dict[str, Any]:
    """The bill as tools that read OpenCost know it.

    Raises:
        Problem: for something that the bill is not summed by.
    """
    costs = costs_of(given.store, _bounded(question.window(given.now())), given.pricing())
    try:
        return opencost_allocation(costs.allocation, costs.window, question.aggregate)
    except ValueError as error:
        raise invalid_field("aggregate", str(error)) from None


def _bounded(window: Window) -> Window:
    """The window, which one answer can bear.

    Raises:
        Problem: for one of more than 92 days.
    """
    if window.seconds > DAYS_MAX * 86_400:
        raise invalid_field("from", f"cost is told over at most {DAYS_MAX} days at once; ask for several windows")
    return window


def _total(total: Total) -> dict[str, Any]:
    return {
        "from": total.start,
        "to": total.end,
        "median_usd": total.median_usd,
        "lower_usd": {} if total.no_interval else {str(level): value for level, value in total.lower_usd.items()},
        "upper_usd": {} if total.no_interval else {str(level): value for level, value in total.upper_usd.items()},
    }
