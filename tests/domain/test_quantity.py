import doctest

from domain import entity, quantity


def test_the_examples_hold() -> None:
    assert doctest.testmod(quantity) == (0, 4)
    assert doctest.testmod(entity) == (0, 5)


def test_a_range_whose_ends_read_the_same_is_one_figure() -> None:
    assert (quantity.range_text("3", "5"), quantity.range_text("3", "3")) == ("3 to 5", "3")


def test_a_length_of_time_is_no_moment() -> None:
    assert [quantity.is_moment(*told) for told in ((1.8e9, "s"), (1.8e9, "ms"), (30.0, "s"))] == [True, False, False]
