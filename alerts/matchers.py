"""Matchers: which labels a route, a silence or an inhibition is about, written and read as Alertmanager does.

Two parsers are in use (prometheus/alertmanager, pkg/labels and matcher/parse): the classic one, which takes nearly any
text for a value, and that of 0.27 and later, which knows every label name in UTF-8 and wants odd values in quotes.
What both read, but differently, is read the classic way, as Alertmanager does by default.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

import re2

Operator = Literal["=", "!=", "=~", "!~"]
Labels = Mapping[str, str]

_CLASSIC = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*(.*?)\s*", re.DOTALL)
_PLAIN_WORD = re.compile(r"""[^{}!=~,\\"'`\s]+""")
_QUOTED_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_OPERATOR = re.compile(r"=~|!~|!=|=")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"'}


class MatcherError(ValueError):
    """Text that is no matcher; the message says what was found and how one is written."""


@lru_cache(maxsize=4096)
def _anchored(pattern: str) -> Any:
    """The expression, as the whole value must be (RE2, so that no pattern takes forever)."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise MatcherError(f"{pattern!r} is no regular expression (RE2): {reason}") from None


@dataclass(frozen=True, slots=True, order=True)
class Matcher:
    """One condition on one label; a label that is not there is empty text."""

    name: str
    value: str
    operator: Operator = field(default="=")

    def __post_init__(self) -> None:
        if self.operator not in get_args(Operator):
            raise MatcherError(f"{self.operator!r} is no operator; valid are {', '.join(get_args(Operator))}")
        if self.operator in ("=~", "!~"):
            _anchored(self.value)

    def matches(self, labels: Labels) -> bool:
        """Does it hold for these labels."""
        value = labels.get(self.name, "")
        if self.operator == "=":
            return value == self.value
        if self.operator == "!=":
            return value != self.value
        return (_anchored(self.value).fullmatch(value) is not None) == (self.operator == "=~")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        name = self.name if re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", self.name) else f'"{self.name}"'
        return f'{name}{self.operator}"{escaped}"'


def all_match(matchers: tuple[Matcher, ...], labels: Labels) -> bool:
    """Do all of them hold; of none, yes."""
    return all(matcher.matches(labels) for matcher in matchers)


def written(matchers: tuple[Matcher, ...]) -> str:
    """As Alertmanager writes them in a route's key: `{a="b",c!~"d"}`, by name."""
    return "{" + ",".join(map(str, sorted(matchers))) + "}"


def matched_text(value: Any) -> str:
    """The text to match of what YAML has instead of it, as Go writes it.

    Raises:
        MatcherError: for nothing, a list and a mapping.
    """
    if value is None or isinstance(value, dict | list):
        raise MatcherError(f"a value to match must be text, found {value!r}")
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read `{severity="page", team=~"inference|fabric"}`, or the same without braces.

    Raises:
        MatcherError: for text that neither parser reads.
    """
    try:
        classic = _parse_classic(text)
    except MatcherError as error:
        try:
            return _parse_utf8(text)
        except MatcherError:
            raise error from None
    return classic


# -- the classic parser ------------------------------------------------------------------------------------------------


def _parse_classic(text: str) -> tuple[Matcher, ...]:
    inner = text.removeprefix("{").removesuffix("}")
    return tuple(_classic_matcher(token) for token in _comma_separated(inner))


def _comma_separated(text: str) -> Iterator[str]:
    """The parts between commas that stand in no quotes; the last one only if there is something in it."""
    token, is_quoted, is_escaped = "", False, False
    for letter in text:
        if letter == "," and not is_quoted:
            yield token
            token = ""
            continue
        if letter == '"' and not is_escaped:
            is_quoted = not is_quoted
        is_escaped = letter == "\\" and not is_escaped
        token += letter
    if token.strip():
        yield token.strip()


def _classic_matcher(token: str) -> Matcher:
    found = _CLASSIC.fullmatch(token)
    if found is None:
        raise MatcherError(f'{token!r} is no matcher; write name="value" with one of = != =~ !~')
    name, operator, raw = found.groups()
    return Matcher(name, _classic_value(raw), operator)  # type: ignore[arg-type]  # the pattern allows these alone


def _classic_value(raw: str) -> str:
    is_quoted = raw.startswith('"')
    text = raw[1:] if is_quoted else raw
    if is_quoted and (len(text) == 0 or not _ends_in_quote(text)):
        raise MatcherError(f"the value {raw} contains a double quote that is not escaped")
    inner = text[:-1] if is_quoted else text
    value, rest = "", iter(range(len(inner)))
    for at in rest:
        letter = inner[at]
        if letter == '"':
            raise MatcherError(f"the value {raw} contains a double quote that is not escaped")
        if letter != "\\" or at == len(inner) - 1:
            value += letter
            continue
        following = inner[next(rest)]
        value += {"n": "\n", '"': '"', "\\": "\\"}.get(following, f"\\{following}")
    return value


def _ends_in_quote(text: str) -> bool:
    """Does it end in a double quote with an even number of backslashes before it."""
    if not text.endswith('"'):
        return False
    before = text[:-1]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0


# -- the parser of 0.27 and later --------------------------------------------------------------------------------------


def _parse_utf8(text: str) -> tuple[Matcher, ...]:
    inner = text.strip()
    if inner.startswith("{") != inner.endswith("}"):
        raise MatcherError(f"{text!r} has an opening or closing brace alone")
    inner = (inner[1:-1] if inner.startswith("{") else inner).strip()
    matchers: list[Matcher] = []
    while inner:
        name, inner = _word(inner, text)
        operator = _OPERATOR.match(inner)
        if operator is None:
            raise MatcherError(f"{text!r}: expected one of = != =~ !~ after {name!r}, found {inner[:10]!r}")
        value, inner = _word(inner[operator.end() :].lstrip(), text)
        matchers.append(Matcher(name, value, operator.group()))  # type: ignore[arg-type]  # as above
        if inner and not inner.startswith(","):
            raise MatcherError(f"{text!r}: expected a comma, found {inner[:10]!r}")
        inner = inner[1:].lstrip()
    return tuple(matchers)


def _word(text: str, whole: str) -> tuple[str, str]:
    """The name or value that the text begins with, and what follows it."""
    if quoted := _QUOTED_WORD.match(text):
        word = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found.group(1), found.group()), quoted.group()[1:-1])
        return word, text[quoted.end() :].lstrip()
    if plain := _PLAIN_WORD.match(text):
        return plain.group(), text[plain.end() :].lstrip()
    raise MatcherError(f"{whole!r}: expected a name or value, found {text[:10]!r}; put odd ones in double quotes")
