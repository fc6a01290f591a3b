"""Names and words as they are, read again by a parser of Markdown."""

import doctest

import pytest
from markdown_it import MarkdownIt

from reports import escaping
from reports.escaping import code, escaped, linked, paragraph, table_lines
from tests.reports.weekly_formats import NASTY

_GITHUB = MarkdownIt("gfm-like", {"linkify": False})
NAMES = (
    NASTY,
    "a|b",
    "a\\|b",
    "`",
    "``x`",
    " - x",
    "1. y",
    "+ z",
    "==",
    "# h",
    "<b>",
    "a_b_c",
    "~~s~~",
    "![i](x)",
    "é\\",
)


def _shown(markdown: str) -> list[tuple[str, str]]:
    """Kind and content of each piece of text."""
    return [
        (piece.type, piece.content)
        for block in _GITHUB.parse(markdown)
        if block.type == "inline"
        for piece in block.children or ()
    ]


def _plain(text: str) -> str:
    return " ".join(text.split())


def test_the_examples_hold() -> None:
    assert doctest.testmod(escaping) == (0, 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("before", ["", "- ", "# ", "> "])
def test_a_name_is_shown_as_it_is_wherever_it_stands(name: str, before: str) -> None:
    shown = _shown(before + paragraph(name))
    assert {kind for kind, _ in shown} <= {"text", "text_special"}
    assert "".join(text for _, text in shown).replace("\u200b", "") == _plain(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_as_code_is_copied_as_it_is(name: str) -> None:
    assert _shown(f"it is {code(name)}") == [("text", "it is "), ("code_inline", _plain(name))]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_in_its_cell(name: str) -> None:
    cells = [
        block
        for block in _GITHUB.parse("\n".join(table_lines([("what", "of"), (name, name)])))
        if block.type == "inline"
    ]
    assert len(cells) == 4
    told = "".join(piece.content for piece in cells[3].children or ())
    assert told.replace("\u200b", "") == _plain(name)


def test_an_address_that_somebody_wrote_leads_there_and_the_words_around_it_are_as_they_are() -> None:
    shown = _shown(linked("see https://wiki/drain_it?a=1&b=2, *now* (http://x/y)."))
    assert [text for kind, text in shown if kind == "text" and text.startswith("http")] == [
        "https://wiki/drain_it?a=1&b=2",
        "http://x/y",
    ]
    assert "em_open" not in {kind for kind, _ in shown}
    assert "link_open" not in {kind for kind, _ in _shown(escaped("https://wiki"))}
