"""Numbers of documents that were checked, as we reckon with them."""

from decimal import Decimal
from typing import Any


def number_or_none(value: Any) -> float | None:
    """A number; None of a field that is missing or empty."""
    return None if value in (None, "") else float(value)


def ratio_of_percent(percent: Any) -> float:
    """The ratio nearest to a percentage: 99.9 is 0.999, which 99.9 / 100 is not."""
    return float(Decimal(str(percent)) / 100)
