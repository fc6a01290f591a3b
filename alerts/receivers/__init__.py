"""Receivers: the format of each kind of receiver.

Each file has the settings of its kind (as Alertmanager's configuration has them) and a plain function from a
notification to the message that says it; `alerts/deliver.py` sends messages. A new kind is one file, one line in
`RECEIVERS`, one test file and one heading in docs/alerts.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, ReceiverSettings
from alerts.receivers import apprise, email, pagerduty, slack, teams, webhook
from alerts.receivers.messages import Message


@dataclass(frozen=True, slots=True)
class ReceiverKind:
    """The settings of a kind of receiver, and the message that it is sent."""

    settings: type[ReceiverSettings]
    message: Callable[[Notification, GlobalSettings], Message]


RECEIVERS: Mapping[str, ReceiverKind] = {
    "webhook": ReceiverKind(webhook.WebhookSettings, webhook.message),
    "pagerduty": ReceiverKind(pagerduty.PagerDutySettings, pagerduty.message),
    "slack": ReceiverKind(slack.SlackSettings, slack.message),
    "msteamsv2": ReceiverKind(teams.TeamsSettings, teams.message),
    "email": ReceiverKind(email.EmailSettings, email.message),
    "apprise": ReceiverKind(apprise.AppriseSettings, apprise.message),
}
"""By the name before `_configs` in the configuration."""
