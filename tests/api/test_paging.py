"""Pages follow each other without gap or overlap, also while the list grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.paging import page_after, page_items, read_cursor, write_cursor
from api.problems import Problem
from api.settings import ApiSettings


@given(names=st.sets(st.text(min_size=1)), limit=st.integers(1, 5))
def test_the_pages_together_are_the_sorted_list(names: set[str], limit: int) -> None:
    names = {name for name in names if name.isprintable()}
    found: list[str] = []
    cursor = None
    while True:
        page, cursor = page_after(sorted(names), str, cursor, limit)
        found += page
        if cursor is None:
            break

    assert found == sorted(names)


def test_a_name_that_comes_in_before_the_cursor_shifts_nothing() -> None:
    _, cursor = page_after(["b", "c", "d"], str, None, 2)

    assert page_after(["a", "b", "c", "d"], str, cursor, 2) == (["d"], None)


@pytest.mark.parametrize("cursor", ["!", "é", "_w", "a"])
def test_a_cursor_that_we_did_not_write_is_refused(cursor: str) -> None:
    with pytest.raises(Problem, match="expected the `next_cursor` of the page before"):
        read_cursor(cursor)


@given(st.text())
def test_a_cursor_carries_any_name(name: str) -> None:
    assert read_cursor(write_cursor(name)) == name


def test_a_limit_over_the_most_is_refused_with_the_most() -> None:
    with pytest.raises(Problem, match="valid are 1 to 50"):
        page_items(51, ApiSettings(page_items_max=50))


def test_the_usual_page_is_never_longer_than_the_longest() -> None:
    assert page_items(None, ApiSettings(page_items_default=100, page_items_max=50)) == 50
