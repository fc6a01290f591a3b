"""Weekly reports: cost and promises of a week, in the format that is asked for."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.context import Given
from api.problems import Problem, invalid_field
from api.times import Moment

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])

# A report needs nothing from anywhere, so what somebody smuggled into it gets nothing either.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; font-src data:; img-src data:"


class WeeklyQuestion(BaseModel):
    """Which week, in which format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    week: str | None = Field(
        None, description="year and ISO week; the newest that is over when not given", examples=["2026-W47"]
    )
    format: Literal["json", "html", "pdf", "md", "csv", "slack"] = Field(
        "json", description="json, html, pdf, md (Markdown), csv (a zip of tables, or one table), slack (a digest)"
    )
    table: str | None = Field(None, description="with format=csv: this table alone, as `tables` of the list names it")


class ReportLine(BaseModel):
    """A report that was kept: its week is over, and it gives the same bytes each time it is asked for."""

    week: str
    state: str | None = Field(description="met, at_risk, missed or no_data; null without objectives")
    read_at: Moment = Field(description="when it was made")
    cost_usd: float | None = Field(description="the bill; null where cost is not known")
    incidents_count: int


class ReportsAnswer(BaseModel):
    """What was kept, the newest week first, and what can be asked for beside it."""

    reports: list[ReportLine]
    week_under_way: str = Field(description="its report is made anew each time")
    week_over: str = Field(description="the newest week that is over")
    tables: list[str] = Field(description="tables that a report may have")


_LIST_EXAMPLE = {
    "reports": [
        {
            "week": "2026-W47",
            "state": "at_risk",
            "read_at": "2026-11-23T08:00:00Z",
            "cost_usd": 11384.2,
            "incidents_count": 9,
        }
    ],
    "week_under_way": "2026-W48",
    "week_over": "2026-W47",
    "tables": ["objectives", "incidents", "cost_models"],
}
_EXAMPLE = {
    "schema": "tailsight.weekly/1",
    "week": "2026-W47",
    "from": "2026-11-16T00:00:00Z",
    "to": "2026-11-23T00:00:00Z",
    "read_at": "2026-11-23T08:00:00Z",
    "is_complete": True,
    "headline": {"state": "at_risk", "met_count": 4, "at_risk_count": 1, "missed_count": 0, "no_data_count": 1},
}
_TEXT = {"schema": {"type": "string"}}
_BYTES = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "",
    summary="Weekly reports that were kept",
    response_model=ReportsAnswer,
    responses={200: {"content": {"application/json": {"example": _LIST_EXAMPLE}}}},
)
def list_reports(given: Given) -> dict[str, Any]:
    """The reports of weeks that are over and were asked for, or made by the schedule."""
    reports = given.reports
    return {
        "reports": [
            {
                "week": one.week,
                "state": one.state,
                "read_at": one.read_at,
                "cost_usd": one.cost_usd,
                "incidents_count": one.incidents_count,
            }
            for one in reports.kept()
        ],
        "week_under_way": reports.week_under_way,
        "week_over": reports.week_over,
        "tables": reports.tables,
    }


@router.get(
    "/weekly",
    summary="The cost and SLO report of a week",
    response_class=Response,
    responses={
        200: {
            "description": "The report",
            "content": {
                "application/json": {"schema": {"type": "object"}, "example": _EXAMPLE},
                "text/html": _TEXT | {"example": '<!doctype html>\n<html lang="en">…'},
                "application/pdf": _BYTES | {"example": "%PDF-1.4 …"},
                "text/markdown": _TEXT | {"example": "# Weekly cost and SLO report\n…"},
                "application/zip": _BYTES | {"example": "PK …"},
                "text/csv": _TEXT | {"example": "name,cost_usd\r\nllama-3.1-70b,6021.44\r\n"},
                "text/plain": _TEXT | {"example": "*Weekly report · 16 to 22 November 2026*\n…"},
            },
        }
    },
)
def get_weekly_report(given: Given, question: Annotated[WeeklyQuestion, Query()]) -> Response:
    """A report of a week that is over is kept when it is first made: it gives the same bytes from then on.

    Raises:
        Problem: for a week that is none or has not begun, or a table that there is not.
    """
    reports = given.reports
    week = question.week or reports.week_over
    try:
        reports.check(week)
    except ValueError as error:
        raise invalid_field("week", str(error)) from None
    if question.table is not None:
        _check_table(question, reports.tables)
    try:
        found = reports.render(week, question.format, question.table)
    except LookupError as error:
        raise Problem("not-found", str(error)) from None
    headers = {
        "Content-Disposition": f'inline; filename="{found.file_name}"',
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    return Response(found.body, media_type=found.media_type, headers=headers)


def _check_table(question: WeeklyQuestion, tables: tuple[str, ...]) -> None:
    if question.format != "csv":
        raise invalid_field("table", f"goes with format=csv; format is {question.format}")
    if question.table not in tables:
        raise invalid_field("table", f"{question.table!r} is no table; valid are {', '.join(tables)}")
