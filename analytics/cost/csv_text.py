"""Frames as CSV that a spreadsheet may open: names come from spans, and whoever sends those may write anything."""

import polars as pl

_RUN = r"^[=+\-@\t\r]"  # what a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)


def csv_text(frame: pl.DataFrame, datetime_format: str | None = None) -> str:
    """The frame as CSV (RFC 4180, with a heading); text that would be run as a formula has an apostrophe before it."""
    text = pl.col(pl.String)
    guarded = pl.when(text.str.contains(_RUN)).then(pl.lit("'") + text).otherwise(text)
    return frame.with_columns(guarded.name.keep()).write_csv(datetime_format=datetime_format)
