"""What the frames of all questions have in common."""

from typing import Any

import polars as pl

from domain.window import Window

TIME = pl.Datetime("us", "UTC")

Schema = dict[str, pl.DataType | type[pl.DataType]]
"""Columns of a frame, in order."""


def bounds(window: Window) -> dict[str, Any]:
    """A window as parameters of a question."""
    return {"start": window.start, "end": window.end}


def known(frame: pl.DataFrame) -> pl.DataFrame:
    """Empty text means not known, and that is null."""
    return frame.with_columns(pl.col(pl.String).replace("", None))
