from html.parser import HTMLParser

from reports.html import weekly_html
from tests.reports.weekly_formats import EMPTY, NASTY, SAMPLE, hard_document

_VOID = {"meta", "col", "br", "link", "img"}


class _Page(HTMLParser):
    """Which elements there are, whether they close in order, and what they lead to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_from_outside_and_no_script() -> None:
    page = _Page(weekly_html(SAMPLE))
    assert page.open == []
    assert {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object"} == set()
    sources = [attrs["src"] for _, attrs in page.elements if "src" in attrs]
    assert sources == []
    style = weekly_html(SAMPLE).partition("</style>")[0]
    assert "url(data:font/woff2;base64," in style
    assert style.count("url(") == 1


def test_every_chart_says_what_it_shows_to_those_who_cannot_see_it() -> None:
    page = _Page(weekly_html(SAMPLE))
    pictures = [attrs for tag, attrs in page.elements if tag == "svg"]
    ids = {attrs["id"] for _, attrs in page.elements if attrs.get("id")}
    assert len(pictures) == 6
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert set((attrs["aria-labelledby"] or "").split()) <= ids


def test_the_language_and_headings_of_tables_are_declared() -> None:
    page = _Page(weekly_html(SAMPLE))
    assert next(attrs for tag, attrs in page.elements if tag == "html")["lang"] == "en-GB"
    assert {attrs.get("scope") for tag, attrs in page.elements if tag == "th"} == {"col"}


def test_a_hostile_name_stays_a_name() -> None:
    html = weekly_html(hard_document(NASTY))
    page = _Page(html)
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script>alert(1)</script>" in page.text
    assert not [attrs for tag, attrs in page.elements if tag == "a"]  # the address was none of the web
    assert "javascript:" not in html


def test_incidents_lead_to_their_pages() -> None:
    links = {attrs["href"] for tag, attrs in _Page(weekly_html(SAMPLE)).elements if tag == "a"}
    assert "https://tailsight.example.com/incidents/inc-9c02be7714" in links
    assert [tag for tag, _ in _Page(weekly_html(EMPTY)).elements if tag == "a"] == []
