"""Microsoft Teams: an adaptive card a group, by a workflow's webhook."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, model_validator

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, HttpReceiverSettings, secret
from alerts.receivers.messages import HttpMessage, cut, facts, http_message, links, status
from alerts.titles import heading, title

_ALERTS_MAX = 5
_TEXTS_MAX = 4000  # characters, of all texts together: a message may have 28 kB


class TeamsSettings(HttpReceiverSettings):
    """The channel that is notified."""

    webhook_url: SecretStr | None = Field(None, description="the URL of the workflow")
    webhook_url_file: Path | None = Field(None, description="a file that holds it")

    @model_validator(mode="after")
    def _one_of(self) -> "TeamsSettings":
        if (self.webhook_url is None) == (self.webhook_url_file is None):
            raise ValueError("msteamsv2 needs either webhook_url or webhook_url_file")
        return self


def message(notification: Notification, global_settings: GlobalSettings) -> HttpMessage:
    """Title, and of each alert what matters, with links."""
    settings = notification.integration.settings
    assert isinstance(settings, TeamsSettings)  # noqa: S101  # by the table of receivers
    colour = "Attention" if status(notification) == "firing" else "Good"
    body: list[dict[str, Any]] = [
        {"type": "TextBlock", "size": "Large", "weight": "Bolder", "wrap": True, "color": colour,
         "text": title(notification)}
    ]  # fmt: skip
    actions: list[dict[str, Any]] = []
    shown = (notification.firing or notification.alerts)[:_ALERTS_MAX]
    for alert in shown:
        if len(shown) > 1:
            body.append({"type": "TextBlock", "weight": "Bolder", "wrap": True, "separator": True,
                         "text": heading(alert)})  # fmt: skip
        fields = facts(alert.annotations)
        each_max = _TEXTS_MAX // len(shown) // max(len(fields), 1)
        body.append(
            {"type": "FactSet", "facts": [{"title": name, "value": cut(text, each_max)} for name, text in fields]}
        )
        actions += [
            {"type": "Action.OpenUrl", "title": words, "url": url}
            for words, url in links(alert.annotations)
            if url not in {action["url"] for action in actions}
        ]
    left = len(notification.alerts) - len(shown)
    if left:
        body.append({"type": "TextBlock", "isSubtle": True, "text": f"and {left} more alerts"})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions[:6],
    }
    document = {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}],
    }
    return http_message(
        secret(settings.webhook_url, settings.webhook_url_file) or "", document, settings, global_settings
    )
