"""Weekly reports over the API: the format asked for, the same bytes each time, errors that help."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from analytics.knowledge import shipped_knowledge
from reports.service import WeeklyReports
from reports.settings import WeeklySettings
from storage.store import Store
from tests.emptied import empty
from tests.reports.stored_fortnight import NOW, OBJECTIVES, PRICING, fill


@pytest.fixture(scope="module")
def asker(store: Store, make_asker: Callable[..., Any]) -> Any:
    empty(store)
    fill(store)
    reports = WeeklyReports(
        store,
        WeeklySettings(),
        shipped_knowledge(),
        lambda: PRICING,
        lambda: OBJECTIVES,
        lambda: NOW,
        lambda: "https://tailsight.example",
    )
    return make_asker(weekly_reports=reports)


def test_without_a_week_it_is_the_newest_that_is_over(asker: Any) -> None:
    answer = asker.get("/api/v1/reports/weekly")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert (document["week"], document["is_complete"], document["cost"]["cost_usd"]) == ("2026-W47", True, 1344.0)
    assert asker.get("/api/v1/reports/weekly", week="2026-W47").content == answer.content


@pytest.mark.parametrize(
    ("format_", "media_type", "begins"),
    [
        ("html", "text/html; charset=utf-8", b"<!doctype html>"),
        ("pdf", "application/pdf", b"%PDF-"),
        ("md", "text/markdown; charset=utf-8", b"# Weekly"),
        ("csv", "application/zip", b"PK"),
        ("slack", "text/plain; charset=utf-8", b"*Weekly report"),
    ],
)
def test_a_week_is_given_in_every_format_and_always_the_same(
    asker: Any, format_: str, media_type: str, begins: bytes
) -> None:
    first, again = (asker.get("/api/v1/reports/weekly", week="2026-W47", format=format_) for _ in range(2))
    assert first.status_code == 200
    assert first.headers["content-type"] == media_type
    assert first.content.startswith(begins)
    assert first.content == again.content
    assert 'filename="tailsight-2026-W47' in first.headers["content-disposition"]
    assert first.headers["content-security-policy"].startswith("default-src 'none'")


def test_one_table_comes_by_itself(asker: Any) -> None:
    table = asker.get("/api/v1/reports/weekly", week="2026-W47", format="csv", table="cost_models")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    packed = asker.get("/api/v1/reports/weekly", week="2026-W47", format="csv")
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.read("tailsight-2026-W47/cost_models.csv") == table.content


def test_what_was_kept_is_listed(asker: Any) -> None:
    asker.get("/api/v1/reports/weekly", week="2026-W47")
    asker.get("/api/v1/reports/weekly", week="2026-W48")  # under way, so it is not kept
    document = asker.get("/api/v1/reports").json()
    assert (document["week_under_way"], document["week_over"]) == ("2026-W48", "2026-W47")
    assert document["reports"] == [
        {
            "week": "2026-W47",
            "state": "met",
            "read_at": "2026-11-23T08:00:00Z",
            "cost_usd": 1344.0,
            "incidents_count": 2,
        }
    ]
    assert "cost_models" in document["tables"]


@pytest.mark.parametrize(
    ("asked", "field", "told"),
    [
        ({"week": "2026-W49"}, "week", "has not begun: it does at 2026-11-30T00:00:00Z"),
        ({"week": "2026-W54"}, "week", "2026 has the weeks 01 to 53"),
        ({"week": "now"}, "week", "expected a year and an ISO week"),
        ({"format": "docx"}, "format", "'json', 'html', 'pdf', 'md', 'csv' or 'slack'"),
        ({"table": "incidents"}, "table", "goes with format=csv; format is json"),
        ({"format": "csv", "table": "rows"}, "table", "'rows' is no table; valid are objectives, incidents"),
        ({"of": "2026-W47"}, "of", "valid are week, format, table"),
    ],
)
def test_what_cannot_be_given_is_told_by_its_field(asker: Any, asked: dict[str, str], field: str, told: str) -> None:
    answer = asker.get("/api/v1/reports/weekly", **asked)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert told in error["detail"]


def test_a_table_of_what_nobody_set_up_is_not_found(asker: Any) -> None:
    answer = asker.get("/api/v1/reports/weekly", week="2026-W47", format="csv", table="sla")
    assert answer.status_code == 404
    assert "'sla' is not in this report, for nobody set it up" in answer.json()["detail"]
