"""Slack: one message a group, by an incoming webhook."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr

from alerts.receivers.messages import HttpMessage, facts, links, status, title
from alerts.receivers.settings import GlobalSettings, ReceiverSettings, secret
from domain.alert import Alert

if TYPE_CHECKING:
    from alerts.dispatch import Notification

_ALERTS_MAX = 5  # told in full; the rest is a count
_TEXT_MAX = 2900  # of a section, which takes 3,000


class SlackSettings(ReceiverSettings):
    """The channel that is told."""

    api_url: SecretStr | None = Field(None, description="incoming webhook; that of `global` unless said")
    api_url_file: Path | None = Field(None, description="a file that holds it")
    channel: str | None = Field(None, description="another channel than the webhook's own, where Slack allows it")
    send_resolved: bool = Field(default=False, description="tell when all is well again, too")


def message(notification: "Notification", given: GlobalSettings) -> HttpMessage:
    """Title, and of each alert what matters, with links."""
    settings = notification.integration.settings
    assert isinstance(settings, SlackSettings)  # noqa: S101  # by the table of receivers
    shown = (notification.firing or notification.alerts)[:_ALERTS_MAX]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title(notification)[:150]}}
    ]
    blocks += [{"type": "section", "text": {"type": "mrkdwn", "text": _words(alert)[:_TEXT_MAX]}} for alert in shown]
    left = len(notification.alerts) - len(shown)
    if left:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"and {left} more alerts"}]})
    document: dict[str, Any] = {
        "text": title(notification),
        "attachments": [{"color": "danger" if status(notification) == "firing" else "good", "blocks": blocks}],
    }
    if settings.channel:
        document["channel"] = settings.channel
    url = secret(settings.api_url, settings.api_url_file) or secret(given.slack_api_url, given.slack_api_url_file)
    return HttpMessage(url or "", document, {})


def _words(alert: Alert) -> str:
    lines = [f"*{_escaped(alert.annotations.get('summary') or alert.labels.get('alertname', 'alert'))}*"]
    lines += [f"*{name.capitalize()}:* {_escaped(text)}" for name, text in facts(alert.annotations)]
    lines.append("  ".join(f"<{url}|{words}>" for words, url in links(alert.annotations)))
    return "\n".join(line for line in lines if line)


def _escaped(text: str) -> str:
    """As Slack wants its three control characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
