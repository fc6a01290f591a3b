import logging
import re

import pytest

from reports.pdf import _Pdf, weekly_pdf
from reports.weekly import weekly_document
from tests.reports.weekly_formats import EMPTY, NASTY, SAMPLE, hard_document
from tests.reports.weekly_sample import SUNDAY_NIGHT, sample_facts


def test_the_document_has_a_title_a_language_bookmarks_and_a_date_that_is_its_own() -> None:
    pdf = weekly_pdf(SAMPLE)
    assert pdf.startswith(b"%PDF-1.")
    assert b"/Lang (en-GB)" in pdf
    assert b"/Title (Weekly cost and SLO report, 2026-W47)" in pdf
    assert b"/CreationDate (D:20261123060000Z" in pdf
    assert len(re.findall(rb"/Parent \d+ 0 R\n(?:/\w+ .*\n)*/Title", pdf)) + pdf.count(b"/Title (") > 8


def test_each_chart_is_a_vector_with_words_for_those_who_cannot_see_it() -> None:
    pdf = weekly_pdf(SAMPLE)
    assert pdf.count(b"/S /Figure") == 6
    assert pdf.count(b"/Alt ") == 6
    assert b"/Subtype /Image" not in pdf


def test_another_reading_time_is_another_document() -> None:
    later = weekly_document(sample_facts(read_at=SUNDAY_NIGHT))
    assert weekly_pdf(later) != weekly_pdf(SAMPLE)


def test_an_empty_week_is_short() -> None:
    assert len(re.findall(rb"/Type /Page\b", weekly_pdf(EMPTY))) <= 2


def test_names_in_letters_that_the_font_lacks_are_marked_and_not_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with _Pdf("") as pdf:
        assert pdf.shown("Škoda Жук 中") == "Škoda Жук ?"
        assert pdf.shown("0.37 → 85.4") == "0.37 to 85.4"
    with caplog.at_level(logging.WARNING):
        assert weekly_pdf(hard_document(NASTY)).startswith(b"%PDF")
    assert caplog.messages == []


def test_no_line_is_wider_than_its_column() -> None:
    with _Pdf("") as pdf:
        pdf.use(9)
        lines = pdf.lines("short words and " + "unbroken" * 40, 30)
        assert max(pdf.get_string_width(line) for line in lines) <= 30
    assert "".join(lines).replace(" ", "") == "shortwordsand" + "unbroken" * 40
