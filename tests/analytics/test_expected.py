"""What the load alone would have brought, by what as much load brought before."""

import numpy as np
import pytest

from analytics.expected import Load, load_of
from domain.window import Window
from tests.analytics.frames import at, requests

REFERENCE = Window(at(0), at(3600))
SPIKE = Window(at(3600), at(4200))


def minutes(rates: list[int], ttft_of: list[float], start_s: int) -> list[dict[str, object]]:
    return [
        {"time": at(start_s + 60 * minute + 60 * number / rate), "ttft_ms": ttft_ms + number % 7, "input_tokens": 100}
        for minute, (rate, ttft_ms) in enumerate(zip(rates, ttft_of, strict=True))
        for number in range(rate)
    ]


def share(usual_rates: list[int], usual_ms: list[float], rate: int, ttft_ms: float) -> Load:
    rows = [*minutes(usual_rates, usual_ms, 0), *minutes([rate] * 10, [ttft_ms] * 10, 3600)]
    return load_of(requests(rows), "ttft_ms", SPIKE, REFERENCE)


VARYING = [30 + (minute * 7) % 31 for minute in range(60)]


def test_a_rise_that_the_same_load_brought_before_is_explained_by_it() -> None:
    steep = [100.0 * np.exp((rate - 45) / 15) for rate in VARYING]
    assert share(VARYING, steep, 60, 100.0 * np.exp(1)).explains == pytest.approx(1.0, abs=0.15)


def test_a_rise_at_a_load_that_brought_none_before_is_not() -> None:
    assert share(VARYING, [100.0] * 60, 58, 800.0).explains == pytest.approx(0.0, abs=0.05)


def test_of_a_load_that_was_never_there_nobody_knows() -> None:
    assert share(VARYING, [100.0] * 60, 150, 800.0) == Load(is_unseen=True)


def test_without_a_past_nobody_knows() -> None:
    assert share([40] * 5 + [0] * 55, [100.0] * 60, 40, 800.0) == Load()
