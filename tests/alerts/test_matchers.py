from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.matchers import Matcher, MatcherError, all_match, parse_matchers, written
from tests.alerts.conformance import cases, needs_cases

DOCUMENT = cases("matcher_cases.json")


@needs_cases
@pytest.mark.parametrize("case", DOCUMENT.get("parse_cases", []), ids=lambda case: case["input"])
def test_text_is_read_as_alertmanager_reads_it(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(MatcherError):
            parse_matchers(case["input"])
    else:
        found = parse_matchers(case["input"])
        assert [{"name": one.name, "op": one.operator, "value": one.value} for one in found] == case["matchers"]


@needs_cases
@pytest.mark.parametrize("case", DOCUMENT.get("match_cases", []), ids=str)
def test_values_match_as_in_alertmanager(case: dict[str, Any]) -> None:
    assert Matcher("name", case["pattern"], case["op"]).matches({"name": case["value"]}) == case["match"]


def test_a_label_that_is_not_there_is_empty_text() -> None:
    assert Matcher("team", "", "=").matches({})
    assert Matcher("team", "fabric", "!=").matches({})
    assert not Matcher("team", ".+", "=~").matches({})


def test_names_in_utf8_are_read_in_quotes() -> None:
    assert parse_matchers('{"team name"="fabric", größe=~"l|xl"}') == (
        Matcher("team name", "fabric"),
        Matcher("größe", "l|xl", "=~"),
    )


def test_no_expression_takes_forever() -> None:
    assert not Matcher("a", "(x+x+)+y", "=~").matches({"a": "x" * 5000})


@pytest.mark.parametrize("text", ['a="b" c="d"', "{a=b", "=b", "a~b", 'a=~"["'])
def test_what_is_no_matcher_is_refused_with_words_that_help(text: str) -> None:
    if text == "{a=b":
        assert parse_matchers(text) == (Matcher("a", "b"),)  # the classic parser takes it
        return
    with pytest.raises(MatcherError, match=r"\w{4}"):
        parse_matchers(text)


names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True)
matchers = st.builds(Matcher, names, st.text(max_size=8), st.sampled_from(["=", "!="]))


@given(st.lists(matchers, max_size=4))
def test_what_is_written_is_read_again(given_matchers: list[Matcher]) -> None:
    wanted = tuple(sorted(given_matchers))
    assert parse_matchers(written(wanted)) == wanted


def test_all_of_none_match() -> None:
    assert all_match((), {"a": "b"})
