"""What the collector's own metrics add up to, for people: what came in, what did not and why, and what still waits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

_PREFIX = "tailsight_collector_"


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Everything since this process began.

    Attributes:
        accepted: items in the log, by upstream table.
        loaded: items in the store, by upstream table.
        quarantined: items that could not be decoded, by upstream table.
        refused_requests: requests answered with an error, by signal and reason.
        rejected_items: items taken out of a request, by signal and reason.
        dropped_samples: scraped samples left out, by job and reason.
        points_without_samples: data points that are kept and became no samples, by reason.
        damaged_bytes: bytes of the log that were no whole frame.
        backlog_bytes: bytes in the log that are not loaded.
        waiting_s: age of the oldest of them; 0 when there is none.
    """

    accepted: Mapping[str, int]
    loaded: Mapping[str, int]
    quarantined: Mapping[str, int]
    refused_requests: Mapping[tuple[str, str], int]
    rejected_items: Mapping[tuple[str, str], int]
    dropped_samples: Mapping[tuple[str, str], int]
    points_without_samples: Mapping[str, int]
    damaged_bytes: int
    backlog_bytes: int
    waiting_s: float


def ingest_report(registry: CollectorRegistry) -> IngestReport:
    """The report of the collector whose metrics are in that registry."""
    samples = [sample for family in registry.collect() for sample in family.samples]

    def counts(name: str, *labels: str) -> dict[tuple[str, ...], int]:
        added: Counter[tuple[str, ...]] = Counter()
        for sample in samples:
            if sample.name == _PREFIX + name and sample.value:
                added[tuple(sample.labels[label] for label in labels)] += int(sample.value)
        return dict(added)

    def by_table(name: str) -> dict[str, int]:
        return {table: count for (table,), count in counts(name, "table").items()}

    def by_reason(name: str, of: str) -> dict[tuple[str, str], int]:
        return {(key, reason): count for (key, reason), count in counts(name, of, "reason").items()}

    def value(name: str) -> float:
        return sum(sample.value for sample in samples if sample.name == _PREFIX + name)

    return IngestReport(
        accepted=by_table("accepted_items_total"),
        loaded=by_table("loaded_items_total"),
        quarantined=by_table("quarantined_items_total"),
        refused_requests=by_reason("refused_requests_total", "signal"),
        rejected_items=by_reason("rejected_items_total", "signal"),
        dropped_samples=by_reason("dropped_samples_total", "job"),
        points_without_samples={reason: n for (reason,), n in counts("points_without_samples_total", "reason").items()},
        damaged_bytes=int(value("wal_damaged_bytes_total")),
        backlog_bytes=int(value("wal_backlog_bytes")),
        waiting_s=value("waiting_seconds"),
    )
