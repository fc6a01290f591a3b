import doctest

from domain import slo


def test_an_sli_just_below_its_target_does_not_read_as_the_target() -> None:
    assert doctest.testmod(slo) == (0, 1)


def test_an_sli_of_few_digits_is_not_rounded_below_itself() -> None:
    assert slo.sli_percent(0.57, 0.5) == "57.00"
