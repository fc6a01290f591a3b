"""Announcements: what a receiver is sent that is no alert, as the weekly report.

Each kind of receiver has its own format; one that wakes people is sent nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alerts.notification import Integration
from alerts.receiver_settings import GlobalSettings, ReceiverSettings, secret
from alerts.receivers.apprise import AppriseSettings
from alerts.receivers.email import EmailSettings, mail
from alerts.receivers.messages import AppriseMessage, Attachment, HttpMessage, MailMessage, Message, http_message
from alerts.receivers.slack import SlackSettings
from alerts.receivers.teams import TeamsSettings
from alerts.receivers.webhook import WebhookSettings


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something to be sent, in each of the formats that receivers take.

    Args:
        title: one line, the subject of a mail.
        lines: plain text.
        slack: the same in Slack's mrkdwn.
        html: the same for mail programs.
        document: the same for machines.
        url: where there is more; empty where that is not known.
        attachments: go with a mail.
    """

    title: str
    lines: tuple[str, ...]
    slack: str
    html: str
    document: Mapping[str, Any]
    url: str = ""
    attachments: tuple[Attachment, ...] = ()

    @property
    def text(self) -> str:
        """The lines, and where there is more."""
        return "\n".join([*self.lines, *([self.url] if self.url and self.url not in self.lines[-1] else [])]) + "\n"


def announces(integration: Integration) -> bool:
    """Is it sent announcements at all: PagerDuty is not, which is there to wake people."""
    return integration.kind in _MESSAGES


def announcement_message(
    integration: Integration, global_settings: GlobalSettings, announcement: Announcement
) -> Message:
    """What is to be sent to one integration.

    Raises:
        OSError: for a file of secrets that cannot be read.
        KeyError: for a kind that is sent none, see `announces`.
    """
    return _MESSAGES[integration.kind](integration.settings, global_settings, announcement)


def _webhook(settings: ReceiverSettings, global_settings: GlobalSettings, announcement: Announcement) -> HttpMessage:
    assert isinstance(settings, WebhookSettings)  # noqa: S101  # by the table below
    document = {
        "title": announcement.title,
        "text": announcement.text,
        "url": announcement.url or None,
        **announcement.document,
    }
    return http_message(secret(settings.url, settings.url_file) or "", document, settings, global_settings)


def _slack(settings: ReceiverSettings, global_settings: GlobalSettings, announcement: Announcement) -> HttpMessage:
    assert isinstance(settings, SlackSettings)  # noqa: S101  # by the table below
    document: dict[str, Any] = {"text": announcement.slack, "unfurl_links": False}
    if settings.channel:
        document["channel"] = settings.channel
    url = secret(settings.api_url, settings.api_url_file) or secret(
        global_settings.slack_api_url, global_settings.slack_api_url_file
    )
    return http_message(url or "", document, settings, global_settings)


_MARKS = str.maketrans({one: f"\\{one}" for one in "\\*_[]"})


def _teams(settings: ReceiverSettings, global_settings: GlobalSettings, announcement: Announcement) -> HttpMessage:
    assert isinstance(settings, TeamsSettings)  # noqa: S101  # by the table below
    title = {"size": "Large", "weight": "Bolder", "text": announcement.title.translate(_MARKS)}
    actions = [{"type": "Action.OpenUrl", "title": "Full report", "url": announcement.url}] if announcement.url else []
    texts = [title, *({"text": line.translate(_MARKS)} for line in announcement.lines)]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "TextBlock", "wrap": True, **text} for text in texts],
        "actions": actions,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    url = secret(settings.webhook_url, settings.webhook_url_file)
    return http_message(url or "", {"type": "message", "attachments": [attachment]}, settings, global_settings)


def _email(settings: ReceiverSettings, global_settings: GlobalSettings, announcement: Announcement) -> MailMessage:
    assert isinstance(settings, EmailSettings)  # noqa: S101  # by the table below
    subject = " ".join(announcement.title.split())
    return mail(
        settings, global_settings, subject, announcement.text, announcement.html, tuple(announcement.attachments)
    )


def _apprise(settings: ReceiverSettings, _: GlobalSettings, announcement: Announcement) -> AppriseMessage:
    assert isinstance(settings, AppriseSettings)  # noqa: S101  # by the table below
    return AppriseMessage(settings.url.get_secret_value(), announcement.title, announcement.text, "info")


_MESSAGES: Mapping[str, Callable[[ReceiverSettings, GlobalSettings, Announcement], Message]] = {
    "webhook": _webhook,
    "slack": _slack,
    "msteamsv2": _teams,
    "email": _email,
    "apprise": _apprise,
}
