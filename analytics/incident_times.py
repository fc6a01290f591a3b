"""How long it took to see incidents, to take them in hand and to end them: distributions, never a bare mean.

Five moments of an incident: impact began, detected, somebody notified, acknowledged, over. Means of such times are too
noisy to decide anything by (Davidovic, Incident Metrics in SRE, 2021), so a time is told as its count, median, 90th
percentile, and an interval of the median; what is not known of an incident is left out, and counted as such.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from domain.incident import Incident
from domain.window import from_rfc3339

_RESAMPLES, _SEED = 2000, 0  # the same incidents give the same interval


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one kind of time over some incidents; `low_s` to `high_s` holds the median with 95 %.

    `unknown_count` are incidents of which it is not known: still open, or acknowledged by nobody.
    """

    count: int
    unknown_count: int
    median_s: float | None
    p90_s: float | None
    low_s: float | None
    high_s: float | None


@dataclass(frozen=True, slots=True)
class IncidentSeconds:
    """The times of one incident, in seconds; None where it is still open, or nobody told or acknowledged."""

    to_detect_s: float
    to_notify_s: float | None
    to_acknowledge_s: float | None
    to_mitigate_s: float | None


@dataclass(frozen=True, slots=True)
class IncidentTimes:
    """From the beginning of the impact to detection, and to its end; from notification to acknowledgement."""

    to_detect: Times
    to_notify: Times
    to_acknowledge: Times
    to_resolve: Times


def incident_times(incidents: Sequence[Incident], notes: Mapping[str, Mapping[str, Any]]) -> IncidentTimes:
    """The times of these incidents.

    Args:
        incidents: those that began within the time of interest.
        notes: what was noted of each, by id: `notified_at`, `acknowledged_at` (RFC 3339).
    """
    each = [seconds_of(incident, notes.get(incident.id, {})) for incident in incidents]
    return IncidentTimes(
        times([one.to_detect_s for one in each]),
        times([one.to_notify_s for one in each]),
        times([one.to_acknowledge_s for one in each]),
        times([one.to_mitigate_s for one in each]),
    )


def seconds_of(incident: Incident, noted: Mapping[str, Any]) -> IncidentSeconds:
    """The times of one incident, by what was noted of it; acknowledged from when somebody was told, else detected."""
    notified, acknowledged = (
        from_rfc3339(noted[name]) if noted.get(name) else None for name in ("notified_at", "acknowledged_at")
    )
    since = notified or incident.detected_at
    return IncidentSeconds(
        to_detect_s=(incident.detected_at - incident.started_at).total_seconds(),
        to_notify_s=None if notified is None else (notified - incident.detected_at).total_seconds(),
        to_acknowledge_s=None if acknowledged is None else (acknowledged - since).total_seconds(),
        to_mitigate_s=None if incident.ended_at is None else (incident.ended_at - incident.started_at).total_seconds(),
    )


def times(seconds: Sequence[float | None]) -> Times:
    """Count, median, 90th percentile and a bootstrap interval of the median (percentile method, 2,000 resamples)."""
    known = np.array([one for one in seconds if one is not None], dtype=float)
    unknown = len(seconds) - len(known)
    if not len(known):
        return Times(0, unknown, None, None, None, None)
    drawn = np.random.default_rng(_SEED).choice(known, (_RESAMPLES, len(known)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    median, p90 = np.quantile(known, (0.5, 0.9))
    return Times(len(known), unknown, float(median), float(p90), float(low), float(high))
