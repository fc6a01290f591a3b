from reports.markdown import weekly_markdown
from tests.reports.test_incident import check_golden
from tests.reports.weekly_formats import NASTY, SAMPLE, hard_document


def test_the_markdown_of_the_sample_is_the_committed_one() -> None:
    check_golden("weekly.md", weekly_markdown(SAMPLE))


def test_every_row_of_a_table_has_as_many_cells_as_its_heading_whatever_names_hold() -> None:
    lines = weekly_markdown(hard_document(NASTY)).splitlines()
    widths = 0
    rows = 0
    for before, line in zip(["", *lines], lines, strict=False):
        if not line.startswith("|"):
            continue
        cells = line.replace("\\|", "").count("|")
        if not before.startswith("|"):
            widths = cells
        assert cells == widths, line
        rows += 1
    assert rows > 50


def test_a_hostile_name_brings_neither_markup_nor_a_mention() -> None:
    text = weekly_markdown(hard_document(NASTY))
    assert "\\<script\\>" in text
    assert "<script>" not in text
    assert "@all" not in text
    assert "[l](" not in text
