"""What the README says of causes is what the page of figures says: one was made from the other by hand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "causes-figures.md").read_text()


def found_on_the_page(label: str) -> float:
    """The first number that the page's first table has found for a row."""
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {label}"))
    return float(re.findall(r"\d+\.\d+", row.split("|")[3])[0])


def told_in_the_readme(start: str) -> float:
    """The first figure of a row of the README's table of causes."""
    row = next(line for line in README.splitlines() if line.startswith(f"| {start}"))
    return float(row.split("|")[2])


@pytest.mark.parametrize(
    ("start", "label"),
    [
        ("seeded, one cause", "seeded, one cause: kind first"),
        ("the same with confounders", "with confounders and faults of sensors: kind first"),
        ("two causes at once", "two causes at once: both within three, all pairs"),
        ("what the cause is known by", "signals removed"),
        ("of another make", "another make, seed 9"),
        ("the same, seed 10", "another make, seed 10"),
        ("PetShop", "PetShop: first"),
    ],
)
def test_the_readme_says_of_causes_what_the_page_of_figures_says(start: str, label: str) -> None:
    assert told_in_the_readme(start) == pytest.approx(found_on_the_page(label), abs=0.0051)
