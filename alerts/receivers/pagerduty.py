"""PagerDuty: one incident a group, through the Events API v2."""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, model_validator

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, HttpReceiverSettings, secret
from alerts.receivers.messages import HttpMessage, facts, http_message, links, status
from alerts.titles import heading, title
from domain.window import rfc3339

_OTHERS_MAX = 20
_SEVERITIES = {"page": "critical", "critical": "critical", "ticket": "warning", "warning": "warning", "info": "info"}


class PagerDutySettings(HttpReceiverSettings):
    """The integration that is woken."""

    routing_key: SecretStr | None = Field(None, description="integration key of the service, 32 letters and digits")
    routing_key_file: Path | None = Field(None, description="a file that holds it")
    url: str | None = Field(None, description="the Events API v2; that of `global` unless said")

    @model_validator(mode="after")
    def _one_of(self) -> "PagerDutySettings":
        if (self.routing_key is None) == (self.routing_key_file is None):
            raise ValueError("pagerduty needs either routing_key or routing_key_file")
        return self


def dedup_key(group_key: str) -> str:
    """Under what key PagerDuty knows a group: its webhooks name it too."""
    return hashlib.sha256(group_key.encode()).hexdigest()


def message(notification: Notification, global_settings: GlobalSettings) -> HttpMessage:
    """A trigger while anything of the group fires, else a resolve, under a key that stays the group's."""
    settings = notification.integration.settings
    assert isinstance(settings, PagerDutySettings)  # noqa: S101  # by the table of receivers
    document: dict[str, Any] = {
        "routing_key": secret(settings.routing_key, settings.routing_key_file),
        "event_action": "trigger" if status(notification) == "firing" else "resolve",
        "dedup_key": dedup_key(notification.group_key),
    }
    if document["event_action"] == "trigger":
        first = notification.firing[0]
        severity = _SEVERITIES.get(first.labels.get("severity", ""), "error")
        document |= {
            "client": "Tailsight",
            "client_url": global_settings.external_url,
            "payload": {
                "summary": title(notification),
                "source": first.labels.get("service") or first.labels.get("node") or "tailsight",
                "severity": severity,
                "component": first.labels.get("slo") or first.labels.get("alertname", ""),
                "timestamp": rfc3339(first.starts_at),
                "group": notification.receiver,
                "class": first.labels.get("alertname", ""),
                "custom_details": _details(notification),
            },
            "links": [{"href": url, "text": words} for words, url in links(first.annotations)],
        }
    return http_message(settings.url or global_settings.pagerduty_url, document, settings, global_settings)


def _details(notification: Notification) -> dict[str, Any]:
    """What matters of the first alert, its labels, and what else fires in the group."""
    first, *others = notification.firing
    details: dict[str, Any] = dict(facts(first.annotations)) | {"Labels": dict(first.labels)}
    if others:
        details["Also firing"] = [heading(alert) for alert in others[:_OTHERS_MAX]]
        if len(others) > _OTHERS_MAX:
            details["Also firing"].append(f"and {len(others) - _OTHERS_MAX} more")
    return details
