"""Dollars in words, in one form wherever they are shown."""

import math

from domain.quantity import range_text

_LEAST_USD = 1e-6


def usd_text(usd: float) -> str:
    """Dollars with as many digits as matter.

    Whole dollars from 100 on, cents from ten cents on, and three significant digits of what is less: no more than cents
    of whole cents.

    >>> [usd_text(usd) for usd in (12_345.4, 3.7, 0.814, 0.05, 0.01768, 0.011, 0, -240.2, 1e-9)]
    ['$12,345', '$3.70', '$0.81', '$0.05', '$0.0177', '$0.0110', '$0', '−$240', '<$0.000001']
    """
    size = abs(usd)
    if size >= 99.995 or size == 0:
        text = f"${size:,.0f}"
    elif size >= 0.09995:
        text = f"${size:.2f}"
    elif size >= _LEAST_USD:
        digits = f"{size:.{2 - math.floor(math.log10(size))}f}"
        is_whole_cents = not digits[len("0.00") :].strip("0")
        text = f"${digits[: len('0.00')] if is_whole_cents else digits}"
    else:
        return f"<${_LEAST_USD:.6f}" if usd > 0 else f">−${_LEAST_USD:.6f}"
    return f"−{text}" if usd < 0 else text


def usd_range_text(low_usd: float, high_usd: float) -> str:
    """A range of dollars; one figure where both read the same.

    >>> [usd_range_text(10, 12.5), usd_range_text(108_673.1, 108_673.2)]
    ['$10.00 to $12.50', '$108,673']
    """
    return range_text(usd_text(low_usd), usd_text(high_usd))


def usd_change_text(usd: float) -> str:
    """By how many dollars something moved.

    >>> [usd_change_text(usd) for usd in (240, -1_120, 0)]
    ['+$240', '−$1,120', '$0']
    """
    return f"+{usd_text(usd)}" if usd > 0 else usd_text(usd)
