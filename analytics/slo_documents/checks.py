"""What can be wrong with a document, and the rules that documents of every kind are held to.

Every problem of a document is told, with the field it is in.
"""

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analytics.slo_documents.windows import DURATION

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
EMPTY: tuple[object, ...] = (None, "", {}, [])
"""What a field holds that says nothing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document: where, which rule it breaks, and what would be right.

    `rule` is the code that the Go SDK gives it (`required`, `one_of`, `less_than`, …), or one of ours: `document`,
    `type`, `unknown_field`, `duration`, `time_window`, `sla`, `duplicate`, `query`, `unsupported`.
    """

    path: str
    rule: str
    message: str

    @property
    def told(self) -> str:
        """The message, as it is shown beside its field."""
        return self.message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class OpenSloError(ValueError):
    """A document that cannot be used; `problems` are all that were found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class Check:
    """Rules over one document; each that fails is a problem."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def tell(self, path: str, rule: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, rule, message))

    def required(self, where: Mapping[str, Any], path: str, *names: str) -> None:
        """Each of these fields is there and is not empty."""
        for name in names:
            if where.get(name) in EMPTY:
                near = difflib.get_close_matches(name, [str(other) for other in where if other != name], 1, 0.8)
                told = "is missing" + (f"; there is {near[0]}" if near else "")
                self.tell(field_path(path, name), "required", told)

    def fields(self, where: Mapping[str, Any], path: str, valid: Sequence[str]) -> None:
        """No other fields than these."""
        for name in where:
            if name not in valid:
                told = f"is not known{did_you_mean(str(name), valid)}; valid are {', '.join(valid)}"
                self.tell(field_path(path, name), "unknown_field", told)

    def one_of(self, value: Any, path: str, valid: Sequence[str]) -> None:
        """The value is one of these."""
        if value in (None, ""):
            self.tell(path, "required", f"is missing; valid are {', '.join(valid)}")
        elif value not in valid:
            self.tell(path, "one_of", f"is {value!r}{did_you_mean(str(value), valid)}; valid are {', '.join(valid)}")

    def dns_label(self, value: Any, path: str) -> None:
        """The value is a DNS label (RFC 1123)."""
        if not isinstance(value, str) or not _DNS_LABEL.fullmatch(value):
            told = f"is {value!r}; write lower-case letters, digits and dashes within, 63 at most"
            self.tell(path, "string_dns_label", told)

    def name(self, where: Mapping[str, Any], path: str, name: str) -> None:
        """A field that holds the name of a document."""
        if where.get(name) in (None, ""):
            self.required(where, path, name)
        else:
            self.dns_label(where[name], field_path(path, name))

    def texts(self, where: Mapping[str, Any], path: str, *names: str) -> None:
        """Each of these fields is text, where it is there."""
        for name in names:
            if not isinstance(where.get(name), str | None):
                self.tell(field_path(path, name), "type", f"is {type_name(where[name])}; expected text")

    def flags(self, where: Mapping[str, Any], path: str, *names: str) -> None:
        """Each of these fields is true or false, where it is there."""
        for name in names:
            if not isinstance(where.get(name), bool | None):
                self.tell(field_path(path, name), "type", f"is {where[name]!r}; valid are true, false")

    def longest(self, where: Mapping[str, Any], path: str, name: str, most: int) -> None:
        """A text of at most so many characters, where there is one."""
        self.texts(where, path, name)
        value = where.get(name)
        if isinstance(value, str) and len(value) > most:
            self.tell(
                field_path(path, name), "string_max_length", f"has {len(value)} characters; at most {most} are valid"
            )

    def mapping(self, where: Mapping[str, Any], path: str, name: str) -> Mapping[str, Any]:
        """The mapping in a field; empty where there is none."""
        value = where.get(name)
        if not isinstance(value, dict | None):
            self.tell(field_path(path, name), "type", f"is {type_name(value)}; expected a mapping")
        return value if isinstance(value, dict) else {}

    def entries(self, where: Mapping[str, Any], path: str, name: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The mappings in a field that is a list, each with its path."""
        value = where.get(name)
        if not isinstance(value, list | None):
            self.tell(field_path(path, name), "type", f"is {type_name(value)}; expected a list")
            return []
        entries = [(f"{field_path(path, name)}[{number}]", entry) for number, entry in enumerate(value or [])]
        for place, entry in entries:
            if not isinstance(entry, dict):
                self.tell(place, "type", f"is {type_name(entry)}; expected a mapping")
        return [(place, entry) for place, entry in entries if isinstance(entry, dict)]

    def duration(self, where: Mapping[str, Any], path: str, name: str, *, least_count: int = 1) -> None:
        """A duration such as 30d, where there is one (section duration-shorthand)."""
        value = where.get(name)
        if value in (None, ""):
            return
        zero = least_count == 0 and isinstance(value, str) and re.fullmatch(r"0+[mhdwMQY]", value)
        if not zero and not (isinstance(value, str) and DURATION.fullmatch(value)):
            told = f"is {value!r}; write a whole number, {least_count} or more, and one of m h d w M Q Y, as in 30d"
            self.tell(field_path(path, name), "duration", told)

    def number(self, value: Any, path: str, *, least: float | None = None, above: float | None = None,
               below: float | None = None, most: float | None = None) -> None:  # fmt: skip
        """A finite number within bounds."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            self.tell(path, "type", f"is {value!r}; expected a number")
            return
        rules = (
            (least is not None and value < least, "greater_than_or_equal_to", f"at least {least}"),
            (above is not None and value <= above, "greater_than", f"more than {above}"),
            (below is not None and value >= below, "less_than", f"less than {below}"),
            (most is not None and value > most, "less_than_or_equal_to", f"at most {most}"),
        )
        for fails, rule, told in rules:
            if fails:
                self.tell(path, rule, f"is {value}; it must be {told}")


def field_path(path: str, name: Any) -> str:
    """The path of a field of what stands at `path`, which is empty for the document itself."""
    return f"{path}.{name}" if path else str(name)


def did_you_mean(name: str, known: Iterable[Any]) -> str:
    """The known name that is nearest to this one, in brackets; empty when none is near."""
    near = difflib.get_close_matches(name, [str(one) for one in known], 1)
    return f" (did you mean {near[0]}?)" if near else ""


def type_name(value: Any) -> str:
    """What a value is, in words of YAML; the value itself where that is a number or a flag."""
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing"}
    return names.get(type(value), repr(value))


def problems_in(documents: Sequence[Any], problems: Callable[[Any], list[Problem]]) -> list[Problem]:
    """The problems of all documents; where there are several, each with the place of its document."""
    if len(documents) == 1:
        return problems(documents[0])
    return [
        Problem(f"[{number}].{one.path}", one.rule, one.message)
        for number, document in enumerate(documents)
        for one in problems(document)
    ]


def raise_any(problems: Sequence[Problem]) -> None:
    """Refuse what has problems.

    Raises:
        OpenSloError: when there are any.
    """
    if problems:
        raise OpenSloError(problems)
