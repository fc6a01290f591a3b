import pytest
import yaml

from analytics.yaml_text import RepeatedKeyError, read_yaml, told_without_values


def test_a_key_that_stands_twice_is_told_by_its_lines_and_without_values() -> None:
    with pytest.raises(RepeatedKeyError) as raised:
        read_yaml("store: chdb:///a\nweb: {port: 1}\nstore: {retention: {disk_full_ratio: 0.95}}\n")
    assert told_without_values(raised.value) == "holds the key 'store' twice in one mapping, at lines 1 and 3"


@pytest.mark.parametrize(
    "text", ["a: {b: 1, b: 2}", "- {a: 1, 'a': 2}", "{a: 1, a: 1}", "a: &x {b: 1}\nc: {<<: *x, d: 1, d: 2}"]
)
def test_a_key_is_found_twice_wherever_it_stands(text: str) -> None:
    with pytest.raises(RepeatedKeyError):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("", None),
        ("a: {b: 1}\nc: {b: 2}", {"a": {"b": 1}, "c": {"b": 2}}),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
        ("a: &x {b: 1}\nc: {<<: *x, b: 2}", {"a": {"b": 1}, "c": {"b": 2}}),
    ],
)
def test_what_stands_once_is_read_as_ever(text: str, document: object) -> None:
    assert read_yaml(text) == document


def test_what_is_no_yaml_is_told_by_its_place() -> None:
    with pytest.raises(yaml.YAMLError) as raised:
        read_yaml("a: 1\nb: *secret")
    assert told_without_values(raised.value) == "is no YAML at line 2, column 4"
