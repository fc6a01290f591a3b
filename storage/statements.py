"""What a statement asks for, as far as the gateway must know before the engine does. Pure text in, text out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

# The engine's own lexer, https://github.com/ClickHouse/ClickHouse/blob/master/src/Parsers/Lexer.cpp, as far as words
# must be told from what only looks like them. On bytes, because behind an INSERT any bytes may follow.
_TOKEN = re.compile(
    rb"""
    (?P<skipped> \s+ | -- [^\n]* | \# [\ !] [^\n]* | /\* .*? \*/ )
  | (?P<text>    ' (?: [^'\\] | \\. | '' )* ' )
  | (?P<quoted>  ` (?: [^`\\] | \\. | `` )* ` | " (?: [^"\\] | \\. | "" )* " )
  | (?P<word>    [\w\x80-\xff]+ )
  | (?P<sign>    . )
    """,
    re.DOTALL | re.VERBOSE,
)

READING = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK"})
"""First words of the statements that answer rows."""


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT whose rows come behind it, or from a file: `statement` is all before FORMAT."""

    statement: str
    input_format: str
    rows: bytes | Path


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    depth: int

    def says(self, word: str) -> bool:
        """Whether this is that key word, at the level of the statement itself."""
        return self.kind == "word" and self.depth == 0 and self.text.upper() == word


_END = _Token("sign", "", 0, 0, 0)


def first_word(statement: str) -> str:
    """The first key word in capitals, whatever brackets and comments stand before it; empty when there is none."""
    return next((token.text.upper() for token in _tokens(statement.encode()) if token.kind == "word"), "")


def output_format(statement: str) -> str | None:
    """The format that the statement itself asks for, in its last clause or before SETTINGS."""
    tokens = [token for token in _tokens(statement.encode()) if token.text != ";"]
    for at, (first, second) in enumerate(pairwise(tokens)):
        rest = tokens[at + 2 :]
        if first.says("FORMAT") and second.kind == "word" and (not rest or rest[0].says("SETTINGS")):
            return second.text
    return None


def split_insert(text: bytes) -> Insert | None:
    """An INSERT cut from the rows that follow its FORMAT; None when no rows can follow.

    None for any other statement, and for an INSERT that says where its rows are: VALUES, INFILE, or a SELECT that
    does not read from `input()`.

    Raises:
        UnicodeDecodeError: when the statement before the rows is not UTF-8.
    """
    seen: list[_Token] = []
    for token in _tokens(text):
        if not seen and not token.says("INSERT"):
            return None
        if token.says("VALUES") or token.says("INFILE"):
            return None
        if seen and seen[-1].says("FORMAT") and token.kind == "word" and token.text.upper() not in {"FROM", "AS"}:
            if any(earlier.says("SELECT") for earlier in seen) and not _input_calls(seen):
                return None
            # The rows start on the next line, or behind the blanks when they are on the same one.
            lead = re.compile(rb"[ \t]*;?[ \t]*(?:\r?\n)?").match(text, token.end)
            return Insert(
                statement=text[: seen[-1].start].decode().rstrip(),
                input_format=token.text,
                rows=text[lead.end() if lead else token.end :],
            )
        seen.append(token)
    return None


def reads_input(statement: str) -> bool:
    """Whether an INSERT … SELECT takes its rows through `input('structure')`."""
    return len(_around_input_calls(statement)) > 1


def reading_from(statement: str, source: str) -> str:
    """The statement with `input(` replaced: `source` opens the call that takes the structure as its last argument."""
    return source.join(_around_input_calls(statement))


@lru_cache(maxsize=64)  # the same few statements are run again and again, and cutting a long one takes milliseconds
def _around_input_calls(statement: str) -> tuple[str, ...]:
    """What stands before, between and behind each `input(`."""
    text = statement.encode()
    parts, end = [], 0
    for name, bracket in _input_calls(list(_tokens(text))):
        parts.append(text[end : name.start].decode())
        end = bracket.end
    return (*parts, text[end:].decode())


def forbidden_reading(canonical: str, table_functions: frozenset[str], functions: frozenset[str]) -> str | None:
    """Why a guest may not ask this although it changes no table; None when nothing stands against it.

    Args:
        canonical: one statement as the engine itself writes it, so that no trick of spelling hides a word.
        table_functions: those that reach out of the tables, in lower case. Refused as calls.
        functions: plain ones that do so, in lower case. Refused as names, for `APPLY f` and `arrayMap(f, …)` call too.
    """
    tokens = list(_tokens(canonical.encode()))
    kind = first_word(canonical)
    if kind not in READING - {"CHECK"}:
        return f"{kind or 'an empty statement'} is not allowed; valid are SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS"
    for first, second in pairwise([*tokens, _END]):
        words = f"{first.text} {second.text}".upper() if first.kind == second.kind == "word" else ""
        name = first.text.strip('`"') if first.kind in {"word", "quoted"} else ""
        if words in {"INTO OUTFILE", "PARALLEL WITH"}:
            return f"{words} is not allowed"
        if name.lower() in functions or (second.text == "(" and name.lower() in table_functions):
            return f"the function {name} reaches out of the tables, which is not allowed"
        if second.text == "." and name == "default":
            return "the database default holds the files of the machine, which is not allowed"
        if first.text == ":" and second.text == "Identifier":
            return "a parameter that is a name is not allowed; write the name"
    return None


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "sign"
        if kind == "skipped":
            continue
        sign = match[0].decode(errors="replace")
        depth -= sign == ")"
        yield _Token(kind, sign, match.start(), match.end(), depth)
        depth += sign == "("


def _input_calls(tokens: list[_Token]) -> list[tuple[_Token, _Token]]:
    return [
        (name, bracket)
        for name, bracket in pairwise(tokens)
        if name.kind == "word" and name.text.lower() == "input" and bracket.text == "("
    ]
