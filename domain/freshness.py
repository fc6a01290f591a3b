"""How far what we know reaches: the newest data of each kind, and the newest look at them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

LATE_AFTER = timedelta(minutes=5)
"""Without new data of a kind for so long somebody is told, and nothing is said to be well; less is a pause."""

_OVERDUE_AFTER = timedelta(minutes=2)
_INTERVALS_MISSED = 3  # where looks are further apart than usual


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks of an analysis that goes on since `began_at`; `newest_at` is the end of the last that went well."""

    began_at: datetime
    interval_s: float
    newest_at: datetime | None = None

    def are_overdue(self, now: datetime) -> bool:
        """Did none go well for two minutes, and for three intervals."""
        allowed = max(_OVERDUE_AFTER, timedelta(seconds=_INTERVALS_MISSED * self.interval_s))
        return now - (self.newest_at or self.began_at) > allowed


def known_until(newest: Mapping[str, datetime | None]) -> datetime | None:
    """Until when data of every kind have come in; kinds that never came do not count, None where none did.

    Args:
        newest: the newest data by kind, as `read_freshness` of `storage.readers` tells it.
    """
    return min((moment for moment in newest.values() if moment is not None), default=None)
