"""Apprise: whatever else it knows a URL for (https://github.com/caronc/apprise), as a title and a text."""

from pydantic import Field, SecretStr

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, ReceiverSettings
from alerts.receivers.messages import AppriseMessage, facts, links, status
from alerts.titles import heading, title


class AppriseSettings(ReceiverSettings):
    """The service behind a URL."""

    url: SecretStr = Field(description="a URL of Apprise, as in tgram://token/chat or mmost://host/token")


def message(notification: Notification, _: GlobalSettings) -> AppriseMessage:
    """What matters of each alert."""
    settings = notification.integration.settings
    assert isinstance(settings, AppriseSettings)  # noqa: S101  # by the table of receivers
    parts = []
    for alert in notification.alerts:
        lines = [heading(alert)]
        lines += [f"{name}: {text}" for name, text in facts(alert.annotations)]
        lines += [f"{words}: {url}" for words, url in links(alert.annotations)]
        parts.append("\n".join(lines))
    kind = "failure" if status(notification) == "firing" else "success"
    return AppriseMessage(settings.url.get_secret_value(), title(notification), "\n\n".join(parts), kind)
