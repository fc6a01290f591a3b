"""Scores of rankings: hits at the expected rank of ties, and what chance leaves open of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

DATA = Path(__file__).parents[3] / "shared" / "data" / "rca"
_Z = 1.96
RESAMPLES = 10_000
SEED = 20_221_122


@dataclass(frozen=True, slots=True)
class Hits:
    """How often one method named the true cause first, and among the first three: one value in 0-1 a case."""

    at_1: NDArray[np.float64]
    at_3: NDArray[np.float64]

    @classmethod
    def of(cls, scores: Iterable[tuple[Mapping[str, float], Collection[str], str]]) -> "Hits":
        """From the score of each candidate, all candidates, and the true cause, a case; without a score it is 0."""
        pairs = [
            (expected_hit(given, candidates, cause, 1), expected_hit(given, candidates, cause, 3))
            for given, candidates, cause in scores
        ]
        values = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        return cls(values[:, 0], values[:, 1])

    def only(self, chosen: NDArray[np.bool_]) -> "Hits":
        """The hits of some of the cases."""
        return Hits(self.at_1[chosen], self.at_3[chosen])


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. The interval is of `at_1`: 95 %, by resampling the cases; None where chance is exact."""

    method: str
    cases_group: str
    cases: int
    at_1: float
    at_3: float | None
    interval: tuple[float, float] | None


def expected_hit(scores: Mapping[str, float], candidates: Collection[str], cause: str, first: int) -> float:
    """The chance, 0-1, that the cause is among the `first` best when equal scores come in any order."""
    if cause not in candidates:
        raise ValueError(f"the true cause {cause!r} is not among the {len(candidates)} candidates")
    score = scores.get(cause, 0.0)
    better = sum(scores.get(candidate, 0.0) > score for candidate in candidates)
    equal = sum(scores.get(candidate, 0.0) == score for candidate in candidates)
    return min(1.0, max(0.0, (first - better) / equal))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of a mean: Wilson's (1927) where each value is 0 or 1, else of resampled cases (Efron 1979)."""
    if np.isin(values, (0.0, 1.0)).all():
        n, hits = len(values), float(values.mean())
        middle, half = hits + _Z**2 / (2 * n), _Z * np.sqrt(hits * (1 - hits) / n + _Z**2 / (4 * n**2))
        return float((middle - half) / (1 + _Z**2 / n)), float((middle + half) / (1 + _Z**2 / n))
    picks = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def row(method: str, cases_group: str, hits: Hits) -> Row:
    """The line of a method on a group of cases."""
    return Row(
        method, cases_group, len(hits.at_1), float(hits.at_1.mean()), float(hits.at_3.mean()), interval(hits.at_1)
    )


def difference(method: str, cases_group: str, hits: Hits, other: Hits) -> Row:
    """How much more often a method names the cause first than another does on the same cases."""
    apart = hits.at_1 - other.at_1
    return Row(method, cases_group, len(apart), float(apart.mean()), float((hits.at_3 - other.at_3).mean()),
               interval(apart))  # fmt: skip


def as_dict(rows: Sequence[Row]) -> dict[str, float]:
    """All figures by name: `method / group / at_1`, `at_3`, `low`, `high`, `cases`."""
    figures: dict[str, float] = {}
    for line in rows:
        name = f"{line.method} / {line.cases_group}"
        figures[f"{name} / cases"] = line.cases
        figures[f"{name} / at_1"] = line.at_1
        if line.at_3 is not None:
            figures[f"{name} / at_3"] = line.at_3
        if line.interval is not None:
            figures[f"{name} / low"], figures[f"{name} / high"] = line.interval
    return figures


def show(title: str, rows: Sequence[Row], console: Console | None = None) -> None:
    """Print the rows as a table."""
    table = Table("method", "cases", title=title)
    for heading in ("n", "first", "95 %", "first 3"):
        table.add_column(heading, justify="right")
    method = ""
    for line in rows:
        if line.method != method:
            table.add_section()
        between = "" if line.interval is None else f"{line.interval[0]:.2f} to {line.interval[1]:.2f}"
        third = "" if line.at_3 is None else f"{line.at_3:.3f}"
        table.add_row(line.method, line.cases_group, str(line.cases), f"{line.at_1:.3f}", between, third)
        method = line.method
    (console or Console(width=120)).print(table)
