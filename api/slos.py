"""Service level objectives: what was promised, and where each promise stands."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from analytics.burn_rates import never_pages
from analytics.jobs.objectives import StoredCounts, backtest, backtest_counts, slo_evidence, slo_statuses
from analytics.slo_backtest import TrialError, backtest_document, tried
from analytics.slo_documents.annotations import period_text
from analytics.slo_documents.checks import OpenSloError
from analytics.slo_documents.objectives import document_of, objective_of
from analytics.slo_documents.openslo_rules import problems_of
from analytics.slo_evidence import evidence_csv
from api.context import Context, Given
from api.paging import page_after, page_items
from api.problems import FieldError, Problem, invalid_field
from api.times import Moment, Step, WindowQuestion
from domain.incident import Indicator
from domain.slo import Counted, Objective, SloState, SloStatus
from storage.documents import SLO_DOCUMENTS, read_document, write_document

router = APIRouter(prefix="/api/v1/slos", tags=["slos"])


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


class BacktestQuestion(WindowQuestion):
    """What is to be tried, and on which time."""

    objective: float | None = Field(None, gt=0, lt=1, description="another target ratio", examples=[0.995])
    threshold_ms: float | None = Field(
        None, alias="threshold", gt=0, description="another threshold in ms", examples=[800]
    )


class EvidenceQuestion(WindowQuestion):
    """Evidence of which time."""

    step_s: Step = Field(60, alias="step", description="a bucket: whole minutes", examples=["1h"])


class EvidenceBucket(BaseModel):
    """Events of one step; those that are excluded are among `total` and `good`."""

    time: Moment
    total: int
    good: int
    excluded_total: int
    excluded_good: int


class EvidenceAnswer(BaseModel):
    """Everything that is needed to work out again how an objective stood."""

    format: str
    slo: dict[str, Any] = Field(description="the objective, a document of OpenSLO v1")
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    step_s: int
    formula: str
    exclusions: list[dict[str, Any]]
    without_excluded: dict[str, Any] = Field(description="`total`, `good`, `sli_ratio`: what counts")
    with_excluded: dict[str, Any] = Field(description="the same as if nothing were excluded")
    sla: dict[str, Any] | None = Field(description="tiers, fee and `credit_usd`; null when the objective has no SLA")
    buckets: list[EvidenceBucket] = Field(description="those that have events")
    sha256: str = Field(description="of this document without this field: keys sorted, no spaces, UTF-8")


class BurnAlertDocument(BaseModel):
    """A page or ticket that would have come. `burn_rate` is that of its long window when it did."""

    severity: str
    window_s: int = Field(description="the long window of the pair that fired")
    burn_rate: float
    started_at: Moment
    ended_at: Moment | None


class BacktestAnswer(BaseModel):
    """The pages and tickets that an objective would have brought."""

    name: str
    target_ratio: float
    threshold_ms: float | None
    pages_count: int
    tickets_count: int
    alerts: list[BurnAlertDocument]


class SlosAnswer(BaseModel):
    """A page of objectives, by name."""

    slos: list[dict[str, Any]] = Field(description="documents of OpenSLO v1, kind SLO")
    next_cursor: str | None = Field(description="null on the last page")


class BurnRate(BaseModel):
    """How many times too fast the budget was spent: 1 spends it exactly in the objective's window."""

    window: str = Field(description="the time before `at` that is looked at", examples=["1h"])
    burn_rate: float | None = Field(description="null when there were no events")


class CountedDocument(BaseModel):
    """Good and all events of a stretch of time; slices of time that count by their ratio may be good in part."""

    sli_ratio: float | None
    good_count: int | float
    total_count: int
    budget_left_ratio: float | None = Field(description="share of the error budget; below 0 it is overspent")


class WindowDocument(CountedDocument):
    """Where an objective stands over one of its windows."""

    window: str = Field(
        description="as in the annotation tailsight.io/more-windows", examples=["1M calendar Europe/Berlin"]
    )
    state: SloState
    coverage_ratio: float


class CreditDocument(BaseModel):
    """What the SLA of an objective costs for this month, without what is excluded; null where nothing is known."""

    month_start: Moment
    month_end: Moment
    sli_ratio: float | None
    credit_usd: float | None = Field(description="what would be due if the month ended now")
    forecast_sli_ratio: float | None = Field(description="at the end of the month, if the last day goes on")
    forecast_usd: float | None = Field(description="what would be due then")


class SloStatusDocument(CountedDocument):
    """Where an objective stands, without what is excluded. Ratios are 0 to 1; null when there were no events."""

    name: str
    service: str
    indicator: Indicator
    target_ratio: float
    threshold_ms: float | None
    tpot_threshold_ms: float | None
    floor_per_s: float | None
    age_max_s: float | None
    selection: dict[str, str] = Field(description="which part of the events counts", examples=[{"tenant": "acme"}])
    window_days: int
    at: Moment
    state: SloState = Field(description="the worst over all `windows`; `no_data` is neither met nor missed")
    burn_rates: list[BurnRate]
    coverage_ratio: float = Field(description="share of the hours of the window in which there were requests")
    exhausted_at: Moment | None = Field(
        description="when the budget will be spent if the last day goes on; null when it will not within the window"
    )
    windows: list[WindowDocument] = Field(description="the objective's own window, whose figures stand above, and more")
    excluded_s: float = Field(description="seconds of the window that are excluded")
    with_excluded: CountedDocument = Field(description="the same as if nothing were excluded")
    credit: CreditDocument | None = Field(description="null when the objective has no SLA")


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
    "tpot_threshold_ms": None,
    "floor_per_s": None,
    "age_max_s": None,
    "selection": {"tenant": "acme"},
    "window_days": 30,
    "at": "2026-11-23T03:00:00Z",
    "state": "at_risk",
    "sli_ratio": 0.9908,
    "good_count": 39512044,
    "total_count": 39878923,
    "budget_left_ratio": 0.08,
    "burn_rates": [{"window": "1h", "burn_rate": 31.2}],
    "coverage_ratio": 0.998,
    "exhausted_at": "2026-11-23T09:40:00Z",
    "windows": [
        {
            "window": "30d rolling",
            "state": "at_risk",
            "sli_ratio": 0.9908,
            "good_count": 39512044,
            "total_count": 39878923,
            "budget_left_ratio": 0.08,
            "coverage_ratio": 0.998,
        }
    ],
    "excluded_s": 3600.0,
    "with_excluded": {
        "sli_ratio": 0.9905,
        "good_count": 39553111,
        "total_count": 39932122,
        "budget_left_ratio": 0.05,
    },
    "credit": {
        "month_start": "2026-11-01T00:00:00Z",
        "month_end": "2026-12-01T00:00:00Z",
        "sli_ratio": 0.9908,
        "credit_usd": 0.0,
        "forecast_sli_ratio": 0.9881,
        "forecast_usd": 1200.0,
    },
}


_BUCKETS_MAX = 50_000
_EVIDENCE_EXAMPLE = {
    "format": "tailsight.slo-evidence/1",
    "slo": _SLO_EXAMPLE,
    "from": "2026-11-23T02:00:00Z",
    "to": "2026-11-23T03:00:00Z",
    "step_s": 3600,
    "formula": "sli_ratio = sum of (good - excluded_good) / sum of (total - excluded_total) over all buckets",
    "exclusions": [],
    "without_excluded": {"total": 61204, "good": 60877, "sli_ratio": 0.99466},
    "with_excluded": {"total": 61204, "good": 60877, "sli_ratio": 0.99466},
    "sla": None,
    "buckets": [
        {"time": "2026-11-23T02:00:00Z", "total": 61204, "good": 60877, "excluded_total": 0, "excluded_good": 0}
    ],
    "sha256": "f4b0a1d2c3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddee",
}
_BACKTEST_EXAMPLE = {
    "name": "chat-ttft",
    "target_ratio": 0.99,
    "threshold_ms": 800.0,
    "pages_count": 1,
    "tickets_count": 0,
    "alerts": [
        {
            "severity": "page",
            "window_s": 3600,
            "burn_rate": 16.2,
            "started_at": "2026-11-23T02:43:00Z",
            "ended_at": "2026-11-23T03:31:00Z",
        }
    ],
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
    return {"slos": [document_of(objective) for objective in page], "next_cursor": next_cursor}


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
    counts = StoredCounts(given.store, given.knowledge)
    (status,) = slo_statuses(given.store, [_known_objective(given.objectives(), name)], at, counts)
    return {"at": at, **status_document(status)}


@router.get(
    "/{name:path}/backtest",
    summary="What an objective would have brought",
    response_model=BacktestAnswer,
    responses={200: {"content": {"application/json": {"example": _BACKTEST_EXAMPLE}}}},
)
def get_backtest(
    given: Given,
    name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])],
    question: Annotated[BacktestQuestion, Query()],
) -> dict[str, Any]:
    """The pages and tickets of a past stretch, had this been the objective and this the threshold.

    Of goodput the threshold is that of the first token.
    """
    try:
        objective = tried(_known_objective(given.objectives(), name), question.objective, question.threshold_ms)
    except TrialError as error:
        raise invalid_field("objective" if error.field == "target" else error.field, str(error)) from None
    window = question.window(given.now())
    counts = backtest_counts(given.store, objective, window, given.knowledge)
    return backtest_document(objective, backtest(given.store, objective, window, counts))


@router.get(
    "/{name:path}/evidence",
    summary="Evidence of how an objective stood",
    response_model=EvidenceAnswer,
    responses={200: {"content": {"application/json": {"example": _EVIDENCE_EXAMPLE}}}},
)
def get_evidence(
    given: Given,
    name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])],
    question: Annotated[EvidenceQuestion, Query()],
) -> Response:
    """Every count that the standing of an objective over a window rests on, with what is excluded, and a SHA-256.

    The same question gives the same bytes as long as nothing was sent, excluded or promised meanwhile.
    """
    text = json.dumps(_evidence(given, name, question), ensure_ascii=False, allow_nan=False)
    return Response(text, media_type="application/json", headers=_as_file(f"{name}.json"))


@router.get(
    "/{name:path}/evidence.csv",
    summary="The same evidence as a table",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": "time,total,good,excluded_total,excluded_good\n2026-11-23T02:00:00Z,61,60,0,0\n",
                }
            }
        }
    },
)
def get_evidence_table(
    given: Given,
    name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])],
    question: Annotated[EvidenceQuestion, Query()],
) -> Response:
    """A line each bucket; what else there is in lines that begin with `#`, the last of which is the SHA-256."""
    text = evidence_csv(_evidence(given, name, question))
    return Response(text, media_type="text/csv", headers=_as_file(f"{name}.csv"))


def _evidence(given: Context, name: str, question: EvidenceQuestion) -> dict[str, Any]:
    objective, window = _known_objective(given.objectives(), name), question.window(given.now())
    slices, step_s = objective.slices, question.step_s
    if step_s % 60:
        raise invalid_field("step", f"{step_s}s; valid are whole minutes")
    if slices is not None and slices.length_s % step_s:
        raise invalid_field("step", f"{step_s}s does not divide the slices of {slices.length_s}s")
    if window.seconds / step_s > _BUCKETS_MAX:
        raise invalid_field("step", f"gives over {_BUCKETS_MAX:,} buckets; ask for a longer step or a shorter window")
    return slo_evidence(given.store, objective, window, given.knowledge, step_s)


def _as_file(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


@router.get(
    "/{name:path}",
    summary="One objective",
    response_model=dict[str, Any],
    responses={200: {"content": {"application/json": {"example": _SLO_EXAMPLE}}}},
)
def get_slo(
    given: Given, name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])]
) -> dict[str, Any]:
    """An objective as an OpenSLO v1 document."""
    return document_of(_known_objective(given.objectives(), name))


@router.put(
    "/{name:path}",
    summary="Promise something",
    response_model=dict[str, Any],
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _SLO_EXAMPLE}}}},
    responses={200: {"content": {"application/json": {"example": _SLO_EXAMPLE}}}},
)
def put_slo(
    given: Given,
    name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])],
    document: Annotated[dict[str, Any], Body(description="OpenSLO v1, kind SLO")],
) -> dict[str, Any]:
    """Keep an objective, in place of one of the same name; judged from the next look on, and over the past as well.

    The answer is the objective as it is kept. Where it will not do what it seems to, `warnings` beside it says why, one
    sentence each.
    """
    _refuse_fixed(given.objectives(), name)
    if name.split("/")[0] == "exclusions":
        raise invalid_field("metadata.name", f"is {name!r}; exclusions are kept there, so no objective bears this name")
    problems = problems_of(document)
    if not problems and document["kind"] != "SLO":
        raise invalid_field("kind", f"is {document['kind']}; only documents of kind SLO are kept")
    try:
        objective = None if problems else objective_of(document)
    except OpenSloError as error:
        problems = list(error.problems)
        objective = None
    if objective is None:
        fields = [FieldError(field=problem.path, detail=problem.told) for problem in problems]
        raise Problem("invalid-request", "; ".join(map(str, problems)), fields)
    if objective.name != name:
        raise invalid_field("metadata.name", f"is {objective.name!r}, but the path says {name!r}")
    write_document(given.store, SLO_DOCUMENTS, name, document, given.now())
    warning = never_pages(objective)
    return document_of(objective) | ({} if warning is None else {"warnings": [warning]})


@router.delete(
    "/{name:path}",
    summary="Take a promise back",
    response_model=dict[str, Any],
    responses={200: {"content": {"application/json": {"example": _SLO_EXAMPLE}}}},
)
def delete_slo(
    given: Given, name: Annotated[str, Path(description="the name of an objective", examples=["chat-ttft"])]
) -> dict[str, Any]:
    """Take an objective away that was put here; those of the configuration and of files stay."""
    _refuse_fixed(given.objectives(), name)
    document: dict[str, Any] | None = read_document(given.store, SLO_DOCUMENTS, name)
    if document is None:
        raise Problem("not-found", f"no objective {name!r} was put here; those of the configuration are changed there")
    write_document(given.store, SLO_DOCUMENTS, name, None, given.now())
    return document


def status_document(status: SloStatus) -> dict[str, Any]:
    """Where an objective stands, as the outside reads it."""
    objective = status.objective
    own = Counted(status.good_count, status.total_count, status.sli_ratio, status.budget_left_ratio)
    return {
        "name": objective.name,
        "service": objective.service,
        "indicator": objective.indicator,
        "target_ratio": objective.target_ratio,
        "threshold_ms": objective.threshold_ms,
        "tpot_threshold_ms": objective.tpot_threshold_ms,
        "floor_per_s": objective.floor_per_s,
        "age_max_s": objective.age_max_s,
        "selection": {name: value for name, value in asdict(objective.selection).items() if value is not None},
        "window_days": objective.window_days,
        "state": status.state,
        **_counted_document(own),
        "burn_rates": [{"window": window, "burn_rate": rate} for window, rate in status.burn_rates.items()],
        "coverage_ratio": status.coverage_ratio,
        "exhausted_at": status.exhausted_at,
        "windows": [
            {
                "window": period_text(one.period),
                "state": one.state,
                **_counted_document(one.counted),
                "coverage_ratio": one.coverage_ratio,
            }
            for one in status.periods
        ],
        "excluded_s": status.excluded_s,
        "with_excluded": _counted_document(status.with_excluded or own),
        "credit": None if status.credit is None else asdict(status.credit),
    }


def _counted_document(counted: Counted) -> dict[str, Any]:
    good = float(counted.good_count)
    return {
        "sli_ratio": counted.sli_ratio,
        "good_count": int(good) if good.is_integer() else good,
        "total_count": counted.total_count,
        "budget_left_ratio": counted.budget_left_ratio,
    }


def _refuse_fixed(objectives: Sequence[Objective], name: str) -> None:
    """What a file says is changed there."""
    found = next((one for one in objectives if one.name == name), None)
    if found is not None and found.file is not None:
        raise Problem("conflict", f"{name!r} stands in the file {found.file}; change it there, and start anew")


def _known_objective(objectives: Sequence[Objective], name: str) -> Objective:
    found = next((objective for objective in objectives if objective.name == name), None)
    if found is None:
        raise Problem("not-found", f"no objective {name!r}; GET /api/v1/slos lists those there are")
    return found
