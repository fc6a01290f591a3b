from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from tailsight.cli import console

GPU = "GPU-1f3c2b1a-77aa-4a4a-9d7e-0123456789ab"
PROSE = "GPU memory is taken by another process, and requests wait for room in the cache"


def shown(width: int, *rows: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(console, "out", Console(file=StringIO(), width=width))
    table = Table("when", "gpu", "what", title="2 alerts")
    for row in rows:
        table.add_row(*row)
    console.say_table(table)
    assert isinstance(console.out.file, StringIO)
    return console.out.file.getvalue()


@pytest.mark.parametrize("width", [30, 60, 61, 80, 81, 82, 100, 120, 400])
def test_no_word_of_a_table_is_cut_or_lost_however_narrow_it_is(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(width, ("02:41:00 UTC", GPU, PROSE), ("03:00:00 UTC", "gpu-1", "short"), monkeypatch=monkeypatch)
    words = told.replace("│", " ").split()
    assert {"when", GPU, *PROSE.split(), "02:41:00", "gpu-1", "short"} <= set(words)
    assert "…" not in told


def test_prose_wraps_before_a_table_becomes_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ("02:41:00 UTC", GPU, PROSE)
    assert max(map(len, shown(80, row, monkeypatch=monkeypatch).splitlines())) == 80
    assert "┃" in shown(80, row, monkeypatch=monkeypatch)
    narrow = shown(62, row, ("02:42:00 UTC", "", "short"), monkeypatch=monkeypatch)
    assert narrow.splitlines()[0].strip() == "2 alerts"
    assert "when 02:42:00 UTC\n  what short\n" in narrow, "what is empty has no line"
    assert f"when 02:41:00 UTC\n  gpu {GPU}\n  what {PROSE}\n" in shown(40, row, monkeypatch=monkeypatch)
