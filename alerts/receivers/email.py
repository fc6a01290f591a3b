"""Email: one mail a group."""

from html import escape

from pydantic import Field

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, ReceiverSettings, secret
from alerts.receivers.messages import Attachment, MailMessage, facts, links
from alerts.titles import heading, title
from domain.alert import Alert


class EmailSettings(ReceiverSettings):
    """Who gets the mail; the server is that of `global` unless said."""

    to: str = Field(min_length=3, description="addresses, with commas between")
    send_resolved: bool = Field(default=False, description="tell when all is well again, too")
    smarthost: str = Field("", description="host:port of the mail server")
    sender: str = Field("", alias="from", description="the sender")


def message(notification: Notification, global_settings: GlobalSettings) -> MailMessage:
    """What matters of each alert, as text and as HTML."""
    settings = notification.integration.settings
    assert isinstance(settings, EmailSettings)  # noqa: S101  # by the table of receivers
    text = "\n\n\n".join(_text(alert) for alert in notification.alerts) + "\n"
    return mail(settings, global_settings, title(notification), text, _document(notification))


def mail(
    settings: EmailSettings,
    global_settings: GlobalSettings,
    subject: str,
    text: str,
    html: str,
    attachments: tuple[Attachment, ...] = (),
) -> MailMessage:
    """A mail to whom the settings name, by their mail server or that of all receivers."""
    return MailMessage(
        smarthost=settings.smarthost or global_settings.smtp_smarthost,
        hello=global_settings.smtp_hello,
        username=global_settings.smtp_auth_username,
        password=secret(global_settings.smtp_auth_password, global_settings.smtp_auth_password_file),
        require_tls=global_settings.smtp_require_tls,
        sender=settings.sender or global_settings.smtp_from,
        to=tuple(address.strip() for address in settings.to.split(",")),
        subject=subject,
        text=text,
        html=html,
        attachments=attachments,
    )


def _text(alert: Alert) -> str:
    lines = [heading(alert), ""]
    lines += [f"{name}: {text}" for name, text in facts(alert.annotations)]
    lines += ["", *(f"{words}: {url}" for words, url in links(alert.annotations)), ""]
    lines.append(_labels(alert))
    return "\n".join(lines)


def _labels(alert: Alert) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))


# Mail programs know neither style sheets nor much of CSS: tables, and a style on each element.
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_COLOURS = {"page": "#b42318", "ticket": "#b54708"}
_OVER = "#067647"


def _document(notification: Notification) -> str:
    cards = "".join(_card(alert, is_firing=alert.is_firing(notification.at)) for alert in notification.alerts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>'
        f"{escape(title(notification))}</title></head>"
        f'<body style="margin:0;padding:24px 12px;background:#f4f5f7;color:#1d2939;{_FONT}">'
        f"{cards}"
        '<p style="max-width:640px;margin:12px auto 0;font-size:12px;color:#667085">'
        f"Sent by Tailsight to {escape(notification.receiver)}: {escape(notification.reason.value)}.</p></body></html>"
    )


def _card(alert: Alert, *, is_firing: bool) -> str:
    severity = alert.labels.get("severity", "alert")
    colour = _COLOURS.get(severity, "#344054") if is_firing else _OVER
    word = severity.capitalize() if is_firing else f"{severity.capitalize()}, resolved"
    rows = "".join(
        '<tr><th align="left" valign="top" style="padding:5px 16px 5px 0;font-size:13px;line-height:20px;'
        f'font-weight:600;color:#667085;white-space:nowrap">{escape(name)}</th>'
        '<td valign="top" style="padding:5px 0;font-size:14px;line-height:20px;overflow-wrap:anywhere;'
        f'{_weight(name)}">'
        f"{_lines(name, text)}</td></tr>"
        for name, text in facts(alert.annotations)
    )
    hrefs = "".join(
        f'<a href="{escape(url)}" style="display:inline-block;margin:0 8px 8px 0;padding:7px 14px;border-radius:6px;'
        f"font-size:13px;font-weight:600;text-decoration:none;{_button(is_first=not place)}"
        f'">{escape(words)}</a>'
        for place, (words, url) in enumerate(links(alert.annotations))
    )
    return (
        '<table role="presentation" cellpadding="0" cellspacing="0" width="100%" style="max-width:640px;margin:0 auto '
        f'16px;background:#ffffff;border:1px solid #e4e7ec;border-top:4px solid {colour};border-radius:8px">'
        '<tr><td style="padding:20px 24px">'
        f'<div style="font-size:12px;font-weight:700;letter-spacing:.02em;color:{colour}">{escape(word)}</div>'
        f'<h1 style="margin:6px 0 12px;font-size:19px;line-height:1.35">{escape(heading(alert))}</h1>'
        f'<table cellpadding="0" cellspacing="0" style="border-collapse:collapse">{rows}</table>'
        f'<div style="margin:16px 0 4px">{hrefs}</div>'
        '<div style="font-size:12px;line-height:1.5;color:#667085;overflow-wrap:anywhere">'
        f"{escape(_labels(alert))}</div></td></tr></table>"
    )


def _weight(name: str) -> str:
    return "font-weight:600" if name == "Next step" else ""


def _lines(name: str, text: str) -> str:
    """What is a list, one a line."""
    if name in ("Evidence", "Or else"):
        return "<br>".join(escape(part) for part in text.split("; "))
    if name == "Traces":
        return "<br>".join(f'<code style="font-size:12px">{escape(part)}</code>' for part in text.split(", "))
    return escape(text)


def _button(*, is_first: bool) -> str:
    return "background:#1d2939;color:#ffffff" if is_first else "background:#f2f4f7;color:#344054"
