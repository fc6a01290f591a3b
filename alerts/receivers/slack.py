"""Slack: one message a group, by an incoming webhook."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, HttpReceiverSettings, secret
from alerts.receivers.messages import HttpMessage, cut, facts, http_message, links, status
from alerts.titles import heading, title
from domain.alert import Alert

_ALERTS_MAX = 5  # shown in full; the rest is a count
_TEXT_MAX, _FIELD_MAX = 2900, 1900  # Slack's limits: 3,000 and 2,000; a title has less than its 150 of a header
_SIDE_BY_SIDE = ("Since", "Promised", "Budget", "Budget spent", "Cost")


class SlackSettings(HttpReceiverSettings):
    """The channel that is notified."""

    api_url: SecretStr | None = Field(None, description="incoming webhook; that of `global` unless said")
    api_url_file: Path | None = Field(None, description="a file that holds it")
    channel: str | None = Field(None, description="another channel than the webhook's own, where Slack allows it")
    send_resolved: bool = Field(default=False, description="tell when all is well again, too")


def message(notification: Notification, global_settings: GlobalSettings) -> HttpMessage:
    """Title, and of each alert what matters, with links."""
    settings = notification.integration.settings
    assert isinstance(settings, SlackSettings)  # noqa: S101  # by the table of receivers
    shown = (notification.firing or notification.alerts)[:_ALERTS_MAX]
    blocks: list[dict[str, Any]] = [{"type": "header", "text": {"type": "plain_text", "text": title(notification)}}]
    for place, alert in enumerate(shown):
        blocks += [{"type": "divider"}, *_blocks(alert)] if place else _blocks(alert, says_what=len(shown) > 1)
    left = len(notification.alerts) - len(shown)
    if left:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"and {left} more alerts"}]})
    document: dict[str, Any] = {
        "text": title(notification),
        "attachments": [{"color": "danger" if status(notification) == "firing" else "good", "blocks": blocks}],
    }
    if settings.channel:
        document["channel"] = settings.channel
    url = secret(settings.api_url, settings.api_url_file) or secret(
        global_settings.slack_api_url, global_settings.slack_api_url_file
    )
    return http_message(url or "", document, settings, global_settings)


def _blocks(alert: Alert, *, says_what: bool = True) -> list[dict[str, Any]]:
    """What it is and why; what is short, side by side; where to go; its labels."""
    fields = facts(alert.annotations)
    lines = [f"*{_escaped(heading(alert))}*"] if says_what else []
    lines += [f"*{name}:* {_escaped(text)}" for name, text in fields if name not in _SIDE_BY_SIDE]
    blocks: list[dict[str, Any]] = []
    if lines:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": cut("\n".join(lines), _TEXT_MAX)}})
    short = [
        {"type": "mrkdwn", "text": cut(f"*{name}*\n{_escaped(text)}", _FIELD_MAX)}
        for name, text in fields
        if name in _SIDE_BY_SIDE
    ]
    if short:
        blocks.append({"type": "section", "fields": short})
    # Not buttons: Slack warns whoever presses one that no app behind a webhook takes part.
    hrefs = "  ·  ".join(f"<{url}|{words}>" for words, url in links(alert.annotations))
    if hrefs:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": hrefs[:_TEXT_MAX]}})
    labels = ", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": cut(_escaped(labels), _FIELD_MAX)}]})
    return blocks


def _escaped(text: str) -> str:
    """As Slack wants its three control characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
