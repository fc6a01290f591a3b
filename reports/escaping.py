"""Words as they are, in Markdown (GitHub's): nothing that a name from telemetry holds becomes markup."""

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#@])")
_ADDRESS = re.compile(r"(https?://[^\s<>\"'`|\\]*[\w/=#-])")

_BEGINS_BLOCK = re.compile(r"^(\d*)([-+=.)])")


def escaped(text: str) -> str:
    """Words on one line, without markup, links or mentions that a name might bring; also in a table."""
    return _escaped(" ".join(text.split()))


def _escaped(line: str) -> str:
    plain = _SPECIAL.sub(r"\\\1", line)
    return plain.replace("\\@", "@\u200b").replace("://", ":\u200b//")


def paragraph(text: str) -> str:
    r"""The same at the beginning of a line, where a name could begin a list or underline what is above it.

    >>> print(paragraph("1. gpu"), paragraph("- gpu"), paragraph("gpu-1"))
    1\. gpu \- gpu gpu-1
    """
    return _BEGINS_BLOCK.sub(r"\1\\\2", escaped(text))


def linked(text: str) -> str:
    """The same of what people wrote, where addresses of the web stay links."""
    parts = _ADDRESS.split(" ".join(text.split()))
    return "".join(f"<{part}>" if number % 2 else _escaped(part) for number, part in enumerate(parts))


def code(name: str) -> str:
    """A name as code, to be copied as it is. Not in a table, where a bar would end the cell.

    >>> code("gpu-07-03/mlx5_2/1"), code("a`b")
    ('`gpu-07-03/mlx5_2/1`', '``a`b``')
    """
    plain = " ".join(name.split())
    ticks = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{ticks}{space}{plain}{space}{ticks}"


def table_lines(rows: Sequence[Sequence[str]], numbers: Sequence[bool] = ()) -> list[str]:
    """A table of words: the first row is its heading.

    Args:
        rows: as long as the first.
        numbers: which columns stand on the right; the rest stand on the left.
    """
    told = [f"| {' | '.join(map(escaped, cells))} |" for cells in rows]
    sides = [*numbers, *[False] * (len(rows[0]) - len(numbers))]
    return [told[0], "|" + "|".join("---:" if is_number else "---" for is_number in sides) + "|", *told[1:]]
