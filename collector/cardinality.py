"""Too many series: which metric has them, and which label makes them.

Asked of the store once in a while, not of each point at the door: what came in stays in the upstream tables as it was
sent. A metric with more series than it may have is told by name with the label at fault, and only its first series are
rolled up.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from prometheus_client import CollectorRegistry, Gauge

from collector.settings import CardinalitySettings
from storage.readers import read_most_varied_label, read_request_key_values, read_series_counts
from storage.store import Store

log = logging.getLogger(__name__)

_METRICS_TOLD_MAX = (
    10  # looking for a label takes up to a second of CPU a metric; who has mended these is told the next
)


@dataclass(frozen=True, slots=True)
class Excess:
    """More than there may be.

    Args:
        of: a metric in lower case, `all metrics`, or `requests`.
        metric: whose series are told: that metric, or the one with the most; None for requests.
        count: series, or values of the key of requests, alive in the sliding window.
        limit: how many there may be.
        label: the label with the most values among the new series, or the key of requests; None when no label differs.
        values_count: how many values it has.
        example: one of them.
    """

    of: str
    metric: str | None
    count: int
    limit: int
    label: str | None
    values_count: int
    example: str

    def __str__(self) -> str:
        """In words, with what to do."""
        many = f"{self.of}: {self.count:,} {'series' if self.metric else 'values'}, more than {self.limit:,}"
        whose = f" of {self.metric}" if self.metric not in (None, self.of) else ""
        if self.label is None:
            return f"{many}; no label{whose} tells them apart"
        return (
            f"{many}; the label {self.label!r}{whose} has {self.values_count:,} values, e.g. {self.example!r}: "
            "take it out at its source, or raise collector.cardinality"
        )


def find_excesses(store: Store, settings: CardinalitySettings, now: datetime) -> list[Excess]:
    """What has more series, or values, than it may have; metrics first, the worst of them before the others.

    Raises:
        StoreError: when the store cannot be asked.
    """
    since = now - timedelta(seconds=settings.window_s)
    return _excesses(store, settings, since, _series_counts(store, since))


def _series_counts(store: Store, since: datetime) -> list[tuple[str, int]]:
    return [(str(metric), int(count)) for metric, count in read_series_counts(store, since).iter_rows()]


def _excesses(
    store: Store, settings: CardinalitySettings, since: datetime, counts: Sequence[tuple[str, int]]
) -> list[Excess]:
    total = sum(count for _, count in counts)
    limit = settings.series_per_metric_max
    crowded = [(metric, metric, count, limit) for metric, count in counts[:_METRICS_TOLD_MAX] if count > limit]
    if total > settings.series_max:
        crowded.append(("all metrics", counts[0][0], total, settings.series_max))
    found = []
    for of, metric, count, limit in crowded:
        fault = read_most_varied_label(store, metric, since) or (None, 0, "")
        found.append(Excess(of, metric, count, limit, *fault))
    limit = settings.request_key_values_max
    keys = read_request_key_values(store, since).filter(pl.col("values_count") > limit)
    return found + [Excess("requests", None, count, limit, key, count, example) for key, count, example in keys.rows()]


class CardinalityGuard:
    """Looks for excesses and tells of each twice: when it begins, and when it is over."""

    def __init__(self, store: Store, settings: CardinalitySettings, registry: CollectorRegistry) -> None:
        self._store = store
        self._settings = settings
        self._found: dict[tuple[str, str | None], Excess] = {}
        self._crowded_metrics: Sequence[str] = ()
        self._series = Gauge(
            "tailsight_cardinality_excess_series",
            "Series of a metric (or values of a key of requests) that are too many, with the label at fault",
            ["of", "label"],
            registry=registry,
        )

    def look(self, now: datetime) -> Sequence[Excess]:
        """Find excesses, and tell of those that begin or end.

        Raises:
            StoreError: when the store cannot be asked; what was found last stands.
        """
        since = now - timedelta(seconds=self._settings.window_s)
        counts = _series_counts(self._store, since)
        limit = self._settings.series_per_metric_max
        found = {(one.of, one.label): one for one in _excesses(self._store, self._settings, since, counts)}
        self._tell(found)
        self._found = found
        self._crowded_metrics = [metric for metric, count in counts if count > limit]
        return list(found.values())

    @property
    def crowded_metrics(self) -> Sequence[str]:
        """All metrics that had too many series at the last look, also those that were too many to tell of."""
        return self._crowded_metrics

    def _tell(self, found: Mapping[tuple[str, str | None], Excess]) -> None:
        for key, excess in found.items():
            if key not in self._found:
                log.warning("%s", excess)
            self._series.labels(excess.of, excess.label or "").set(excess.count)
        for of, label in self._found.keys() - found.keys():
            log.warning("%s: no more than there may be again (label %r)", of, label)
            self._series.remove(of, label or "")
