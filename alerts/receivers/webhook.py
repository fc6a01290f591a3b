"""Webhook: the document that Alertmanager sends, version 4."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, model_validator

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, HttpReceiverSettings, secret
from alerts.receivers.messages import HttpMessage, http_message, status
from domain.alert import Alert
from domain.window import rfc3339

_NO_END = "0001-01-01T00:00:00Z"  # of what still fires


class WebhookSettings(HttpReceiverSettings):
    """Where to POST."""

    url: SecretStr | None = Field(None, description="where to POST")
    url_file: Path | None = Field(None, description="a file that holds it")
    max_alerts: int = Field(0, ge=0, description="most alerts in one document; 0 is all")

    @model_validator(mode="after")
    def _one_of(self) -> "WebhookSettings":
        if (self.url is None) == (self.url_file is None):
            raise ValueError("a webhook needs either url or url_file")
        return self


def message(notification: Notification, global_settings: GlobalSettings) -> HttpMessage:
    """The document of a group."""
    settings = notification.integration.settings
    assert isinstance(settings, WebhookSettings)  # noqa: S101  # by the table of receivers
    alerts = notification.alerts[: settings.max_alerts or None]
    document = {
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": len(notification.alerts) - len(alerts),
        "status": status(notification),
        "receiver": notification.receiver,
        "groupLabels": dict(notification.group_labels),
        "commonLabels": _common([alert.labels for alert in notification.alerts]),
        "commonAnnotations": _common([alert.annotations for alert in notification.alerts]),
        "externalURL": global_settings.external_url,
        "alerts": [_alert(alert, notification) for alert in alerts],
    }
    return http_message(secret(settings.url, settings.url_file) or "", document, settings, global_settings)


def _alert(alert: Alert, notification: Notification) -> dict[str, Any]:
    is_firing = alert.is_firing(notification.at)
    return {
        "status": "firing" if is_firing else "resolved",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": _NO_END if is_firing else rfc3339(alert.ends_at),
        "generatorURL": alert.generator_url,
        "fingerprint": alert.fingerprint,
    }


def _common(each: list[Any]) -> dict[str, str]:
    """What all of them say alike."""
    first, rest = each[0], each[1:]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in rest)}
