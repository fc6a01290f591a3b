"""The moment at which the clock of the tests stands."""

from datetime import UTC, datetime

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
