import pytest

from reports.digest import LINES_MAX, weekly_digest
from tests.reports.test_incident import check_golden
from tests.reports.weekly_formats import EMPTY, NASTY, SAMPLE, hard_document

URL = "https://tailsight.example.com/reports/2026-W47"


def test_the_digest_of_the_sample_is_the_committed_one() -> None:
    check_golden("weekly_digest.txt", weekly_digest(SAMPLE, report_url=URL))


@pytest.mark.parametrize("form", ["plain", "slack"])
@pytest.mark.parametrize("name", [NASTY, "n" * 500])
def test_the_digest_has_at_most_fifteen_lines_whatever_the_week(form: str, name: str) -> None:
    for document in (EMPTY, SAMPLE, hard_document(name)):
        told = weekly_digest(document, "slack" if form == "slack" else "plain", URL)
        assert len(told.splitlines()) <= LINES_MAX
        assert max(map(len, told.splitlines())) < 260
        assert told.count(URL) == 1


def test_the_digest_is_read_in_twenty_seconds() -> None:
    words = weekly_digest(SAMPLE).split()
    assert len(words) <= 140  # seven words a second is how fast a headline is skimmed


def test_a_hostile_name_mentions_nobody_in_slack() -> None:
    told = weekly_digest(hard_document("<!channel> *b* _i_ `c` a_b"), "slack")
    assert "<!channel>" not in told
    assert "&lt;!channel&gt;" in told
    assert "*b*" not in told
    assert "`" not in told
    assert "a_b" in told  # within a word it marks nothing
