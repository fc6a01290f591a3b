"""Dollars in words, in one form wherever they are shown."""

import math

_LEAST_USD = 1e-6


def usd_text(usd: float) -> str:
    """Dollars with as many digits as matter.

    Whole dollars from 100 on, cents from ten cents on, and three significant digits of what is less.

    >>> [usd_text(usd) for usd in (12_345.4, 3.7, 0.814, 0.05, 0.01768, 0, -240.2, 1e-9)]
    ['$12,345', '$3.70', '$0.81', '$0.05', '$0.0177', '$0', '−$240', '<$0.000001']
    """
    size = abs(usd)
    if size >= 99.995 or size == 0:
        text = f"${size:,.0f}"
    elif size >= 0.09995:
        text = f"${size:.2f}"
    elif size >= _LEAST_USD:
        text = f"${size:.{2 - math.floor(math.log10(size))}f}".rstrip("0")
    else:
        return f"<${_LEAST_USD:.6f}" if usd > 0 else f">−${_LEAST_USD:.6f}"
    return f"−{text}" if usd < 0 else text


def usd_change_text(usd: float) -> str:
    """By how many dollars something moved.

    >>> [usd_change_text(usd) for usd in (240, -1_120, 0)]
    ['+$240', '−$1,120', '$0']
    """
    return f"+{usd_text(usd)}" if usd > 0 else usd_text(usd)
