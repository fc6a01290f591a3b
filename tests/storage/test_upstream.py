"""Dialects as text; what they answer is in tests/contract/test_existing_tables.py."""

import pytest

from storage.settings import IdentitySettings
from storage.sql import views
from storage.store import Store
from storage.upstream import OURS, Dialect, is_ours

_JSON = Dialect(json=frozenset({"Labels"}))
_APOSTROPHE = r"Labels.values[indexOf(Labels.keys, 'it\'s')]"
_BACKSLASH = r"Labels.values[indexOf(Labels.keys, 'b\\')]"


@pytest.mark.parametrize(
    ("keys", "lookup"),
    [
        ((), "''"),
        (("a",), "Labels.values[indexOf(Labels.keys, 'a')]"),
        (
            ("it's", "b\\"),
            f"multiIf({_APOSTROPHE} != '', {_APOSTROPHE}, {_BACKSLASH} != '', {_BACKSLASH}, '')",
        ),
    ],
)
def test_a_list_is_the_first_entry_that_is_not_empty(keys: tuple[str, ...], lookup: str) -> None:
    assert OURS.fill("{keys of Labels} AS x, {other}", {"keys": keys}) == f"{lookup} AS x, {{other}}"


def test_a_list_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError, match="keys"):
        OURS.fill("{keys of Labels}", {})


def test_an_attribute_of_json_is_text_whatever_type_it_has() -> None:
    assert _JSON.fill("{'a.b' of Labels}, {'a.b' of Others}", {}) == (
        "ifNull(toString(Labels.`a.b`), ''), Others.values[indexOf(Others.keys, 'a.b')]"
    )


def test_all_attributes_are_a_map_in_either_kind() -> None:
    assert OURS.fill("{all of Labels}", {}) == "Labels"
    assert _JSON.fill("{all of Labels}", {}) == "mapFromArrays(JSONAllPaths(Labels), JSONAllValues(Labels))"


def test_a_column_that_may_be_absent_has_something_in_its_place() -> None:
    assert OURS.fill("{Flags or 0}", {}) == "Flags"
    assert Dialect(absent=frozenset({"Flags"})).fill("{Flags or 0}", {}) == "0"


@pytest.mark.parametrize("name", views())
def test_parameters_of_a_statement_are_left_as_they_are(name: str) -> None:
    text = OURS.fill(views()[name] + "{start:DateTime64(6, 'UTC')}", IdentitySettings().model_dump())
    assert text.endswith("{start:DateTime64(6, 'UTC')}")


def test_a_table_that_is_not_there_was_not_made_by_us(store: Store) -> None:
    assert not is_ours("otel_profiles", store.otel_tables())
