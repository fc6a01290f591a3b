"""What the tests of the fabric share: the recorded samples, and readings as plain values."""

from pathlib import Path

import pytest

from collector.fabric.reading import Reading

IB = Path(__file__).parents[4] / "shared" / "data" / "telemetry" / "ib"
FIXTURES = IB / "treydock" / "collectors" / "fixtures"
needs_samples = pytest.mark.skipif(not IB.is_dir(), reason=f"no recorded telemetry in {IB}")

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def values_of(reading: Reading) -> Values:
    """Every sample by name and labels; empty labels are no labels."""
    values = {
        (sample.name, frozenset((name, text) for name, text in sample.labels.items() if text)): sample.value
        for family in reading.families.values()
        for sample in family.samples
    }
    assert len(values) == reading.samples_count, "no series twice"
    return values


def value_of(reading: Reading, name: str, **labels: str) -> float | None:
    """The value of the one series that has these labels; None when there is none."""
    found = [
        value for (own, has), value in values_of(reading).items() if own == name and labels.items() <= dict(has).items()
    ]
    assert len(found) < 2, f"{name} {labels} is not one series"
    return found[0] if found else None
