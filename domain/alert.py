"""Pages: what an on-call engineer is told, now or in the morning."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """One notification about one incident, in the shape of an Alertmanager alert.

    `labels` identify the alert (a value that changes belongs in `annotations`).
    """

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str | None
