import doctest

import pytest

from domain import money
from domain.money import usd_change_text, usd_text


def test_the_examples_say_what_is_printed() -> None:
    assert doctest.testmod(money) == (0, 3)


@pytest.mark.parametrize(
    ("usd", "told"),
    [
        (99.994, "$99.99"),
        (99.996, "$100"),
        (0.996, "$1.00"),
        (0.29, "$0.29"),
        (0.0999, "$0.0999"),
        (0.09996, "$0.10"),
        (0.0099996, "$0.01"),
        (0.0110004, "$0.0110"),
        (1e-6, "$0.00000100"),
        (-1e-9, ">−$0.000001"),
        (-41.2, "−$41.20"),
        (1e9, "$1,000,000,000"),
    ],
)
def test_dollars_have_as_many_digits_as_matter(usd: float, told: str) -> None:
    assert usd_text(usd) == told


def test_a_fall_needs_no_second_sign() -> None:
    assert [usd_change_text(usd) for usd in (0.5, -0.5)] == ["+$0.50", "−$0.50"]
