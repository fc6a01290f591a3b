"""Requests put into a store as the view would leave them, with what a test does not say filled in."""

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from storage.store import Store

_USUAL: dict[str, pl.Expr] = {
    "service": pl.lit("chat"),
    "model": pl.lit("llama-70b"),
    "version": pl.lit("1"),
    "node": pl.lit(""),
    "tenant": pl.lit(""),
    "user": pl.lit(""),
    "is_error": pl.lit(value=False),
    "input_tokens": pl.lit(1000, dtype=pl.UInt32),
    "output_tokens": pl.lit(60, dtype=pl.UInt32),
}


def insert_requests(store: Store, began: datetime, second: NDArray[np.float64], **columns: Any) -> None:
    """A request at each of these seconds after a moment; `columns` are values a request."""
    given = {
        "time": pl.Series((began.timestamp() * 1e6 + second * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC")),
        "trace_id": [f"{number:032x}" for number in range(len(second))],
    }
    unsaid = {name: value for name, value in _USUAL.items() if name not in columns}
    store.insert("tailsight_requests", pl.DataFrame(given | columns).with_columns(**unsaid))
