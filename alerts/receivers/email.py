"""Email: one mail a group."""

from html import escape
from typing import TYPE_CHECKING

from pydantic import Field

from alerts.receivers.messages import MailMessage, facts, links, title
from alerts.receivers.settings import GlobalSettings, ReceiverSettings, secret
from domain.alert import Alert

if TYPE_CHECKING:
    from alerts.dispatch import Notification


class EmailSettings(ReceiverSettings):
    """Who gets the mail; the server is that of `global` unless said."""

    to: str = Field(min_length=3, description="addresses, with commas between")
    send_resolved: bool = Field(default=False, description="tell when all is well again, too")
    smarthost: str = Field("", description="host:port of the mail server")
    sender: str = Field("", alias="from", description="the sender")


def message(notification: "Notification", given: GlobalSettings) -> MailMessage:
    """What matters of each alert, as text and as HTML."""
    settings = notification.integration.settings
    assert isinstance(settings, EmailSettings)  # noqa: S101  # by the table of receivers
    return MailMessage(
        smarthost=settings.smarthost or given.smtp_smarthost,
        hello=given.smtp_hello,
        username=given.smtp_auth_username,
        password=secret(given.smtp_auth_password, given.smtp_auth_password_file),
        require_tls=given.smtp_require_tls,
        sender=settings.sender or given.smtp_from,
        to=tuple(address.strip() for address in settings.to.split(",")),
        subject=" ".join(title(notification).split()),
        text="\n\n".join(_text(alert) for alert in notification.alerts) + "\n",
        html="".join(_html(alert) for alert in notification.alerts),
    )


def _text(alert: Alert) -> str:
    lines = [alert.annotations.get("summary") or alert.labels.get("alertname", "alert")]
    lines += [f"{name.capitalize()}: {text}" for name, text in facts(alert.annotations)]
    lines += [f"{words}: {url}" for words, url in links(alert.annotations)]
    lines.append(", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items())))
    return "\n".join(lines)


def _html(alert: Alert) -> str:
    heading = escape(alert.annotations.get("summary") or alert.labels.get("alertname", "alert"))
    rows = "".join(
        f"<tr><th align=left valign=top>{escape(name.capitalize())}</th><td>{escape(text)}</td></tr>"
        for name, text in facts(alert.annotations)
    )
    hrefs = " · ".join(f'<a href="{escape(url)}">{escape(words)}</a>' for words, url in links(alert.annotations))
    return f"<h3>{heading}</h3><table cellpadding=4>{rows}</table><p>{hrefs}</p>"
