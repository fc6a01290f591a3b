"""The two YAML documents: entries by name, each of whose fields is of the type that is meant."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from analytics.yaml_text import read_yaml

_Types = type | tuple[type, ...]
_NUMBER = (int, float)
_TYPES: Mapping[str, tuple[_Types, str]] = {
    **dict.fromkeys(("title", "layer", "unit", "summary", "absent"), (str, "text")),
    **dict.fromkeys(("floor", "relative_floor", "weight", "at_least", "at_most", "times"), (_NUMBER, "a number")),
    **dict.fromkeys(("field_bits", "bits", "replicas_min"), (int, "a whole number")),
}
_LISTS: Mapping[str, tuple[_Types, str]] = {
    **dict.fromkeys(
        ("metrics", "through", "expects", "supports", "against", "brings", "reach", "summary_from"), (str, "names")
    ),
    "next_steps": (str, "sentences"),
    "codes": (int, "whole numbers"),
    "bounds": (_NUMBER, "two numbers, the lesser first"),
    "requires": (dict, "signs, as in [{signal: symbol_errors}]"),
}


class KnowledgeError(ValueError):
    """Knowledge that cannot be used.

    Attributes:
        place: the file, and the entry in it where the fault is of one.
        told: the field, what it is and what would be valid.
    """

    def __init__(self, place: str, told: str) -> None:
        super().__init__(place, told)
        self.place = place
        self.told = told

    def __str__(self) -> str:
        return f"{self.place}: {self.told}"


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one of the two documents; `file` is what its errors call it."""

    file: str
    text: str

    def entries(self) -> dict[str, dict[str, Any]]:
        """The entries by name; none of an empty document.

        Raises:
            KnowledgeError: when it is no mapping of names to mappings, or a field is of another type than is meant.
        """
        try:
            document = read_yaml(self.text)
        except yaml.YAMLError as error:
            raise KnowledgeError(self.file, f"no YAML: {error}") from error
        entries = {} if document is None else document
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise KnowledgeError(self.file, "expected a mapping of names to mappings")
        for name, entry in entries.items():
            with self.told_of(name):
                _check_types(entry)
        return entries

    @contextmanager
    def told_of(self, entry: str) -> Iterator[None]:
        """What is found wrong inside, by whoever need not know the place, is told as being of this entry.

        Raises:
            KnowledgeError: in place of a TypeError, ValueError or KeyError.
        """
        try:
            yield
        except (TypeError, ValueError, KeyError) as error:
            raise KnowledgeError(f"{self.file}, {entry}", str(error)) from error


def _check_types(entry: Mapping[str, Any], within: str = "") -> None:
    """Text where text is meant: YAML takes `metrics: a_total` for a text, which is no list of one."""
    for field, value in entry.items():
        if field in _TYPES and not _is(value, _TYPES[field][0]):
            raise ValueError(f"{within}{field} is {value!r}; expected {_TYPES[field][1]}")
        if field in _LISTS and not _is_list(value, _LISTS[field][0]):
            raise ValueError(f"{within}{field} is {value!r}; expected a list of {_LISTS[field][1]}")
    labels = entry.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(values, list) for values in labels.values()):
        raise ValueError(f"labels is {labels!r}; expected lists of values by label, as in {{mode: [idle]}}")
    bounds = entry.get("bounds", [0, 1])
    if len(bounds) != 2 or bounds[0] >= bounds[1]:
        raise ValueError(f"bounds is {bounds!r}; expected two numbers, the lesser first")
    for sign in entry.get("requires", []):
        _check_types(sign, "requires: ")


def _is(value: object, kind: _Types) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_list(value: object, of: _Types) -> bool:
    return isinstance(value, list) and all(_is(item, of) for item in value)
