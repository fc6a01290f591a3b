"""Notifications: what one integration is sent of one group, and why now.

The dispatcher makes them and the receivers put them into words; neither knows the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from alerts.receiver_settings import ReceiverSettings
from domain.alert import Alert


@dataclass(frozen=True, slots=True)
class Integration:
    """One integration of a receiver."""

    kind: str
    settings: ReceiverSettings

    @property
    def send_resolved(self) -> bool:
        """Is it notified when alerts are resolved."""
        return self.settings.send_resolved


class Reason(StrEnum):
    """Why receivers are notified of a group now."""

    FIRST = "first notification"
    NEW_ALERTS = "new alerts in the group"
    ALL_RESOLVED = "all alerts resolved"
    SOME_RESOLVED = "some alerts resolved"
    CAUSE_KNOWN = "the cause is known now"
    REPEAT = "repeat interval passed"
    TEST = "a test"


@dataclass(frozen=True, slots=True)
class Notification:
    """What one integration of one receiver is sent of one group. Resolved alerts have `ends_at` in the past.

    `place` is the index of the integration within its receiver.
    """

    group_key: str
    group_labels: Mapping[str, str]
    receiver: str
    place: int
    integration: Integration
    alerts: tuple[Alert, ...]
    at: datetime
    reason: Reason

    @property
    def is_test(self) -> bool:
        """Is it a test, of no alert that there is."""
        return self.reason is Reason.TEST

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Those that fire."""
        return tuple(alert for alert in self.alerts if alert.is_firing(self.at))

    @property
    def resolved(self) -> tuple[Alert, ...]:
        """Those that are resolved."""
        return tuple(alert for alert in self.alerts if not alert.is_firing(self.at))
