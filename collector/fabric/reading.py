"""What a reader of the fabric brings home."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from collector.errors import ReadingError
from collector.exposition import Family, Sample


@dataclass(slots=True)
class Reading:
    """Families by name, how many values were left out by reason, and what of it failed while the rest went well."""

    families: dict[str, Family] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    failures: list[ReadingError] = field(default_factory=list)

    @property
    def samples_count(self) -> int:
        """Samples that were read."""
        return sum(len(family.samples) for family in self.families.values())

    def add(
        self,
        name: str,
        kind: str,
        description: str,
        labels: Mapping[str, str],
        value: float,
        time_unix_ns: int | None = None,
    ) -> None:
        """Add one sample; without a time it has that of the whole reading."""
        family = self.families.get(name)
        if family is None:
            family = self.families[name] = Family(name, kind, description)
        family.samples.append(Sample(name, labels, value, time_unix_ns))

    def extend(self, others: "Iterable[Reading]") -> None:
        """Add all of these."""
        for other in others:
            self.dropped.update(other.dropped)
            self.failures.extend(other.failures)
            for family in other.families.values():
                own = self.families.setdefault(family.name, Family(family.name, family.kind, family.description))
                own.samples.extend(family.samples)
