from reports.markdown import weekly_markdown
from tests.reports.test_incident import check_golden
from tests.reports.weekly_formats import NASTY, SAMPLE, hard_document


def test_the_markdown_of_the_sample_is_the_committed_one() -> None:
    check_golden("weekly.md", weekly_markdown(SAMPLE))


def test_a_bill_that_is_known_of_fewer_hours_says_which_were_compared() -> None:
    partly = weekly_markdown(SAMPLE | {"variance": SAMPLE["variance"] | {"known_hours": 120}})
    assert "Compared are the 120 of 168 hours that are known in both weeks." in partly
    kept_earlier = SAMPLE["variance"].keys() - {"known_hours", "hours", "before_usd", "after_usd"}
    of_then = weekly_markdown(SAMPLE | {"variance": {key: SAMPLE["variance"][key] for key in kept_earlier}})
    assert of_then == weekly_markdown(SAMPLE)


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
