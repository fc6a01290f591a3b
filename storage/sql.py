"""The .sql files: found by name, cut into statements, filled in where SQL allows no parameter."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_ROWS_MAX = re.compile(r"LIMIT (\d+)\s*$")
_LOOKUP = re.compile(r"\{(?P<list>\w+) of (?P<column>\w+)\}")
_ONLY = re.compile(r"^(?P<line>.*?)\s*-- only: (?P<profile>\w+)\s*$")


@cache
def query(name: str) -> str:
    """The text of `queries/NAME.sql`."""
    return _read(_HERE / "queries" / f"{name}.sql")


@cache
def rows_max(name: str) -> int | None:
    """The rows that a question's answer is cut at; None when its asker says how many."""
    found = _ROWS_MAX.search(query(name))
    return int(found[1]) if found and int(found[1]) > 1 else None


@cache
def load_statement(name: str) -> str:
    """The text of `load/NAME.sql`, with the shared attribute functions filled in; `{source}` is still open."""
    functions = _without_comments((_HERE / "load" / "attribute_functions.sql").read_text())
    return _read(_HERE / "load" / f"{name}.sql").replace("{attribute_functions}", functions.strip())


def schema_steps() -> list[Path]:
    """The numbered schema files in their order."""
    return sorted((_HERE / "schema").glob("[0-9]*.sql"))


def views() -> dict[str, str]:
    """The text of each materialized view by name. They hold no rows, so they are replaced when their text changes.

    A view on a view's target comes after it: the requests before their rollup. A file with `{points}` is one view for
    each kind of point that has a plain value.
    """
    found: dict[str, str] = {}
    for path in sorted((_HERE / "views").glob("*.sql"), key=lambda path: (path.stem == "request_rollup", path.stem)):
        text = path.read_text()
        if "{points}" in text:
            found |= {f"{path.stem}_{points}": text.replace("{points}", points) for points in ("gauge", "sum")}
        else:
            found[path.stem] = text
    return found


def statements(text: str, index_profile: str = "upstream") -> list[str]:
    """Cut into statements; lines marked `-- only: PROFILE` stay only in that profile."""
    kept = []
    for line in text.splitlines():
        marked = _ONLY.match(line)
        if marked is None:
            kept.append(line)
        elif marked["profile"] == index_profile:
            kept.append(marked["line"])
    return [part.strip() for part in _without_comments("\n".join(kept)).split(";\n") if part.strip()]


def fill_lookups(text: str, lists: Mapping[str, Sequence[str]]) -> str:
    """Replace each `{list of Column}` by the first entry of a map column, by the list's keys, that is not empty.

    Written out, because a view's definition takes no parameters, and a loop over keys costs several times as much.

    Raises:
        KeyError: for a list that there is not.
    """

    def first_of(match: re.Match[str]) -> str:
        entries = [f"{match['column']}[{quoted(key)}]" for key in lists[match["list"]]]
        if len(entries) < 2:
            return entries[0] if entries else "''"
        return f"multiIf({''.join(f'{entry} != {quoted(str())}, {entry}, ' for entry in entries)}'')"

    return _LOOKUP.sub(first_of, text)


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _read(path: Path) -> str:
    return _without_comments(path.read_text()).strip()


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")) + "\n"
