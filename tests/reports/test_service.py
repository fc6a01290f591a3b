import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from alerts.handling import add_note
from analytics.knowledge import shipped_knowledge
from domain.slo import Objective
from reports.service import FORMATS, KIND, TableError, WeekError, WeeklyReports, rendered
from reports.settings import WeeklySettings
from reports.tables import TABLES, weekly_tables
from storage.documents import read_document
from storage.incidents import write_incidents
from storage.store import Store
from tests.reports.stored_fortnight import NOW, OBJECTIVES, OVER, PRICING, fill, incidents
from tests.reports.weekly_formats import EMPTY, SAMPLE

KNOWLEDGE = shipped_knowledge()
Make = Callable[..., WeeklyReports]


@pytest.fixture
def make(clean_store: Store) -> Make:
    fill(clean_store)

    def reports(now: datetime = NOW, objectives: tuple[Objective, ...] = OBJECTIVES) -> WeeklyReports:
        settings = WeeklySettings(site="prod")
        return WeeklyReports(
            clean_store,
            settings,
            KNOWLEDGE,
            lambda: PRICING,
            lambda: objectives,
            lambda: now,
            lambda: "https://tailsight.example",
        )

    return reports


def test_a_week_that_is_over_gives_the_same_bytes_whatever_comes_in_later(clean_store: Store, make: Make) -> None:
    first = {name: make().render("2026-W47", name).body for name in FORMATS}
    write_incidents(clean_store, [replace(incidents()[1], id="inc-late")], NOW)
    add_note(clean_store, incidents()[1].id, "ann", "cable swapped", NOW, NOW)
    later = make(NOW + timedelta(days=3), objectives=OBJECTIVES[:1])
    assert {name: later.render("2026-W47", name).body for name in FORMATS} == first


def test_a_report_that_is_made_anew_tells_what_came_in_later(clean_store: Store, make: Make) -> None:
    assert make().document("2026-W47")["incidents"]["count"] == 2
    write_incidents(clean_store, [replace(incidents()[1], id="inc-late")], NOW)
    add_note(clean_store, "inc-late", "ann", "cable swapped", NOW, NOW)
    assert make().document("2026-W47")["incidents"]["count"] == 2
    again = make().remake("2026-W47")["incidents"]
    assert again["count"] == 3
    (notes,) = [row["notes"] for row in again["all"] if row["id"] == "inc-late"]
    assert [(note["by"], note["text"]) for note in notes] == [("ann", "cable swapped")]
    assert make().document("2026-W47")["incidents"]["count"] == 3


def test_a_report_that_was_kept_before_it_had_notes_is_given_back_as_it_was() -> None:
    added = ("to_acknowledge_s", "resolved_at", "resolved_by", "notes")
    all_rows = SAMPLE["incidents"]["all"]
    assert any(row["acknowledged_at"] for row in all_rows)
    before = [{name: value for name, value in row.items() if name not in added} for row in all_rows]
    kept = SAMPLE | {"incidents": SAMPLE["incidents"] | {"all": before}}
    assert "Who had them in hand" in rendered(SAMPLE, "md").body.decode()
    assert "Who had them in hand" not in rendered(kept, "md").body.decode()
    with zipfile.ZipFile(io.BytesIO(rendered(kept, "csv").body)) as archive:
        assert not [name for name in archive.namelist() if "notes" in name]
        assert "to_acknowledge_s" not in archive.read("tailsight-2026-W47/incidents.csv").decode()


def test_a_week_under_way_is_made_anew_and_not_kept(clean_store: Store, make: Make) -> None:
    reports = make(NOW + timedelta(seconds=42))
    assert reports.document("2026-W48")["read_at"] == "2026-11-23T08:00:00Z"
    assert make(NOW + timedelta(minutes=5)).document("2026-W48")["read_at"] == "2026-11-23T08:05:00Z"
    assert reports.kept() == []
    assert read_document(clean_store, KIND, "2026-W48") is None


def test_a_report_is_kept_once_what_comes_in_late_is_in(clean_store: Store, make: Make) -> None:
    assert make(OVER + timedelta(minutes=14)).document("2026-W47")["is_complete"]
    assert read_document(clean_store, KIND, "2026-W47") is None
    make(OVER + timedelta(minutes=15)).document("2026-W47")
    assert read_document(clean_store, KIND, "2026-W47")["read_at"] == "2026-11-23T00:15:00Z"


def test_what_is_kept_is_listed_the_newest_first(make: Make) -> None:
    reports = make()
    reports.document("2026-W46")
    reports.document("2026-W47")
    newest, older = reports.kept()
    assert (newest.week, older.week) == ("2026-W47", "2026-W46")
    assert (newest.state, newest.read_at, newest.incidents_count) == ("met", NOW, 2)
    assert newest.cost_usd == pytest.approx(4 * 168 * 2.0)


def test_a_report_without_objectives_and_cost_is_listed_with_what_is_not_known(clean_store: Store) -> None:
    clean = WeeklyReports(clean_store, WeeklySettings(), KNOWLEDGE, lambda: PRICING, tuple, lambda: NOW)
    clean.document("2026-W47")
    (kept,) = clean.kept()
    assert (kept.state, kept.cost_usd, kept.incidents_count) == (None, None, 0)


def test_two_who_ask_at_once_get_the_same(clean_store: Store, make: Make) -> None:
    moments = iter([NOW + timedelta(minutes=number) for number in range(100)])
    reports = WeeklyReports(clean_store, WeeklySettings(), KNOWLEDGE, lambda: PRICING, tuple, lambda: next(moments))
    found: list[str] = []
    threads = [Thread(target=lambda: found.append(reports.document("2026-W47")["read_at"])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("week", "told"),
    [
        ("2026-W49", "has not begun: it does at 2026-11-30T00:00:00Z; the newest is 2026-W48"),
        ("2026-W54", "2026 has the weeks 01 to 53"),
        ("last", "expected a year and an ISO week"),
    ],
)
def test_a_week_that_there_is_no_report_of_is_refused(make: Make, week: str, told: str) -> None:
    with pytest.raises(WeekError, match=told):
        make().document(week)


def test_the_weeks_of_now_are_on_the_clock_of_the_place(clean_store: Store) -> None:
    def at(now: datetime) -> tuple[str, str]:
        settings = WeeklySettings(time_zone="Asia/Tokyo")
        reports = WeeklyReports(clean_store, settings, KNOWLEDGE, lambda: PRICING, tuple, lambda: now)
        return reports.week_under_way, reports.week_over

    assert at(datetime(2026, 11, 22, 14, 59, tzinfo=UTC)) == ("2026-W47", "2026-W46")
    assert at(datetime(2026, 11, 22, 15, 0, tzinfo=UTC)) == ("2026-W48", "2026-W47")


def test_tables_come_in_a_zip_or_one_by_one() -> None:
    packed = rendered(SAMPLE, "csv")
    assert (packed.media_type, packed.file_name) == ("application/zip", "tailsight-2026-W47-tables.zip")
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        assert archive.testzip() is None
        texts = {name.removeprefix("tailsight-2026-W47/"): archive.read(name).decode() for name in archive.namelist()}
    assert texts == weekly_tables(SAMPLE)
    one = rendered(SAMPLE, "csv", "incidents")
    assert (one.media_type, one.file_name) == ("text/csv", "tailsight-2026-W47-incidents.csv")
    assert one.body.decode() == texts["incidents.csv"]


def test_every_table_is_named() -> None:
    assert [name.removesuffix(".csv") for name in weekly_tables(SAMPLE)] == list(TABLES)


def test_a_table_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(TableError, match="'rows' is no table; it has objectives, incidents"):
        rendered(SAMPLE, "csv", "rows")
    with pytest.raises(TableError, match="'cost_models' is not in this report, for nobody set it up"):
        rendered(EMPTY, "csv", "cost_models")


def test_each_format_says_what_it_is() -> None:
    made = {name: rendered(SAMPLE, name) for name in FORMATS}
    assert {name: (one.media_type, one.file_name) for name, one in made.items()} == {
        "json": ("application/json", "tailsight-2026-W47.json"),
        "html": ("text/html", "tailsight-2026-W47.html"),
        "pdf": ("application/pdf", "tailsight-2026-W47.pdf"),
        "md": ("text/markdown", "tailsight-2026-W47.md"),
        "csv": ("application/zip", "tailsight-2026-W47-tables.zip"),
        "slack": ("text/plain", "tailsight-2026-W47-slack.txt"),
    }
    assert json.loads(made["json"].body) == SAMPLE
    assert made["pdf"].body.startswith(b"%PDF-")
    address = "https://tailsight.example.com/api/v1/reports/weekly?week=2026-W47&format=html"
    assert f"<{address}|Full report>" in made["slack"].body.decode()
    with pytest.raises(ValueError, match="'docx' is no format of a report; valid are json, html, pdf, md, csv, slack"):
        rendered(SAMPLE, "docx")
