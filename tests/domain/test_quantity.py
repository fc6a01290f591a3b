import doctest

import pytest

from domain import entity, quantity
from domain.entity import EntityKind


def test_the_examples_hold() -> None:
    assert doctest.testmod(quantity) == (0, 5)
    assert doctest.testmod(entity) == (0, 6)


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (EntityKind.PORT, "400 → 100 Gb/s"),
        (EntityKind.LINK, "400 → 100 Gb/s"),
        (EntityKind.SWITCH, "400 → 100 Gb/s"),
        (EntityKind.GPU, "50 → 12.5 GB/s"),  # NVLink and PCIe
        (EntityKind.NODE, "50 → 12.5 GB/s"),  # disks
    ],
)
def test_rates_of_networks_are_told_in_bits_and_those_of_nvlink_in_bytes(of: EntityKind, words: str) -> None:
    assert quantity.move_text(5e10, 1.25e10, "B/s", of) == words


@pytest.mark.parametrize(
    ("before", "during", "unit", "words"),
    [
        (7_567.0, 60.0, "MiB", "7.39 GiB → 60 MiB"),
        (512.0, 71_680.0, "MiB", "512 MiB → 70 GiB"),
        (0.0, 71_680.0, "MiB", "0 → 70 GiB"),
        (0.0, 0.0, "MiB", "0 → 0 MiB"),
        (41.0, 2_930.0, "ms", "41 ms → 2.93 s"),
        (50.0, 97.0, "%", "50% → 97%"),
        (0.0, 0.004, "ratio", "0% → 0.4%"),
    ],
)
def test_each_of_two_levels_is_told_in_the_unit_that_suits_it(
    before: float, during: float, unit: str, words: str
) -> None:
    assert quantity.move_text(before, during, unit) == words
    (low, high), told = quantity.levels_text(unit, before, during)
    assert f"{low} → {high} {told}".rstrip() == words, "a sentence and its evidence read the same"


def test_a_range_whose_ends_read_the_same_is_one_figure() -> None:
    assert (quantity.range_text("3", "5"), quantity.range_text("3", "3")) == ("3 to 5", "3")


def test_a_length_of_time_is_no_moment() -> None:
    assert [quantity.is_moment(*told) for told in ((1.8e9, "s"), (1.8e9, "ms"), (30.0, "s"))] == [True, False, False]
