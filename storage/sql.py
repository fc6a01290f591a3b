"""The .sql files: found by name, cut into statements, filled in where SQL allows no parameter."""

import re
from collections.abc import Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

_HERE = Path(__file__).parent
_ROWS_MAX = re.compile(r"LIMIT (\d+)\s*$")
_UPSTREAM_NAME = re.compile(r"(?<!tailsight_)otel_(?=traces|logs|metrics)")
_OF_SUMS = re.compile(r"^(.*?) *-- sums only$\n", re.MULTILINE)
_PART = re.compile(r"\{([a-z_]+)\}")  # a parameter of the engine has a type, too
_ONLY = re.compile(r"^(?P<line>.*?)\s*-- only: (?P<profile>\w+)\s*$")


@cache
def query(name: str) -> str:
    """The text of `queries/NAME.sql`. What stands in braces without a type is the text of another one."""
    return _PART.sub(lambda place: query(place[1]), _read(_HERE / "queries" / f"{name}.sql"))


@cache
def rows_max(name: str) -> int | None:
    """The rows that a question's answer is cut at; None when its asker says how many."""
    found = _ROWS_MAX.search(query(name))
    return int(found[1]) if found and int(found[1]) > 1 else None


@cache
def load_statement(name: str) -> str:
    """The text of `load/NAME.sql`; what stands in braces is still to be filled in."""
    return _read(_HERE / "load" / f"{name}.sql")


def schema_steps() -> list[Path]:
    """The numbered schema files in their order."""
    return sorted((_HERE / "schema").glob("[0-9]*.sql"))


@cache
def views() -> Mapping[str, str]:
    """The text of each materialized view by name. They hold no rows, so they change with their text.

    A view comes after those that read what it writes, so that nothing passes by one that is not there yet. A file with
    `{points}` is one view for each kind of point that has a plain value; a line marked `-- sums only` is in that of
    sums.
    """
    found: dict[str, str] = {}
    for path in sorted((_HERE / "views").glob("*.sql")):
        text = path.read_text()
        if "{points}" in text:
            for points, line in (("gauge", ""), ("sum", r"\1\n")):
                found[f"{path.stem}_{points}"] = _OF_SUMS.sub(line, text).replace("{points}", points)
        else:
            found[path.stem] = text
    readers = {
        name: [reader for reader, of_reader in found.items() if re.search(rf"^FROM {_target(text)}\b", of_reader, re.M)]
        for name, text in found.items()
    }
    return {name: found[name] for name in TopologicalSorter(readers).static_order()}


def _target(view: str) -> str:
    """The table that a view writes."""
    found = re.search(r"^CREATE MATERIALIZED VIEW IF NOT EXISTS \w+ TO (\w+)$", view, re.M)
    if found is None:
        raise ValueError(
            "a view begins with CREATE MATERIALIZED VIEW IF NOT EXISTS name TO table, on a line of its own"
        )
    return found[1]


def statements(text: str, profile: str) -> list[str]:
    """Cut into statements; lines marked `-- only: PROFILE` stay only in that profile.

    The profiles of a schema file are those of indexes (lean, upstream); of a view, `view` and `catch_up`.
    """
    kept = []
    for line in text.splitlines():
        marked = _ONLY.match(line)
        if marked is None:
            kept.append(line)
        elif marked["profile"] == profile:
            kept.append(marked["line"])
    return [part.strip() for part in _without_comments("\n".join(kept)).split(";\n") if part.strip()]


def with_prefix(text: str, prefix: str) -> str:
    """SQL with our names for tables in place of the upstream ones."""
    return _UPSTREAM_NAME.sub(f"{prefix}otel_", text)


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """A name of SQL, whatever is in it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _read(path: Path) -> str:
    return _without_comments(path.read_text()).strip()


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")) + "\n"
