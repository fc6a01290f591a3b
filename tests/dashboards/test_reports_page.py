"""The page of reports: what was kept, what is to be made, what went wrong."""

from datetime import UTC, datetime

from dashboards.pages.reports import problems, table
from reports.service import KeptReport
from tests.dashboards.asking import Asker
from tests.dashboards.reading import links, words

_KEPT = (
    KeptReport("2026-W47", "at_risk", datetime(2026, 11, 23, 8, tzinfo=UTC), 11_384.2, 9),
    KeptReport("2026-W44", None, datetime(2026, 11, 2, 8, tzinfo=UTC), None, 0),
)


class _Reports:
    """Weeks that stand still."""

    week_under_way = "2026-W48"
    week_over = "2026-W47"

    def kept(self) -> tuple[KeptReport, ...]:
        return _KEPT


def _rows(reports: _Reports, kept: tuple[KeptReport, ...]) -> list[str]:
    body = table(reports, kept).children.children[1]
    return [words(row) for row in body.children]


def test_a_kept_report_is_a_row_with_its_headline_and_every_format() -> None:
    _, newest, older = _rows(_Reports(), _KEPT)
    assert newest == "At risk 16 to 22 Nov 2026 2026-W47 $11,384 9 23 Nov 2026, 08:00 HTML PDF Markdown CSV JSON"
    assert (
        older == "No objectives 26 Oct to 1 Nov 2026 2026-W44 not known 0 2 Nov 2026, 08:00 HTML PDF Markdown CSV JSON"
    )
    addresses = links(table(_Reports(), _KEPT))
    assert "/api/v1/reports/weekly?week=2026-W47&format=pdf" in addresses


def test_the_week_under_way_can_be_made_now() -> None:
    first = _rows(_Reports(), _KEPT)[0]
    assert first.startswith("Under way 23 to 29 Nov 2026 2026-W48 — — made anew each time Make now")
    assert links(table(_Reports(), _KEPT))[0] == "/api/v1/reports/weekly?week=2026-W48&format=html"


def test_the_newest_week_that_is_over_is_offered_where_nobody_had_it_made() -> None:
    assert "Not made yet" in _rows(_Reports(), _KEPT[1:])[1]
    assert not any("Not made yet" in row for row in _rows(_Reports(), _KEPT))


def test_what_went_wrong_is_told_in_a_sentence() -> None:
    (told,) = problems(["the report of 2026-W47: team (slack) was not told: HTTP 404: no"])
    assert words(told) == "The report of 2026-W47: team (slack) was not told: HTTP 404: no"


def test_a_process_that_makes_none_says_so(pages: Asker) -> None:
    answer = pages.callback(
        "reports-problems.children", "reports-table.children", url__pathname="/reports", tick__n_intervals=1
    )
    assert words(answer["reports-table"]["children"]) == "This process makes no reports"
    assert answer["reports-problems"]["children"] == []
