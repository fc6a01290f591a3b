import doctest

from domain import wording


def test_the_examples_hold() -> None:
    assert doctest.testmod(wording) == (0, 2)
