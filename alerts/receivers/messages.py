"""Messages: what is to be sent, before anything is sent; and the words that all receivers share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, HttpReceiverSettings, HttpSettings


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """A JSON document to POST, and how its receiver is reached."""

    url: str
    document: Any
    headers: Mapping[str, str]
    http: HttpSettings


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a mail."""

    name: str
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class MailMessage:
    """A mail of plain text and HTML, and the server that takes it."""

    smarthost: str
    hello: str
    username: str
    password: str | None
    require_tls: bool
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class AppriseMessage:
    """A title and a text for the service behind a URL of Apprise."""

    url: str
    title: str
    text: str
    kind: str


Message = HttpMessage | MailMessage | AppriseMessage


def http_message(
    url: str, document: Any, settings: HttpReceiverSettings, global_settings: GlobalSettings
) -> HttpMessage:
    """A document for a receiver with these settings.

    Raises:
        OSError: for a file of secrets that cannot be read.
    """
    http = settings.http_config or global_settings.http_config
    return HttpMessage(url, document, http.headers(), http)


def status(notification: Notification) -> str:
    """`firing` as long as any of the group fires, else `resolved`."""
    return "firing" if notification.firing else "resolved"


_FACTS = {
    "impact": "Impact",
    "cause": "Cause",
    "evidence": "Evidence",
    "other_causes": "Or else",
    "next_step": "Next step",
    "since": "Since",
    "promise": "Promised",
    "budget": "Budget",
    "budget_spent": "Budget spent",
    "cost": "Cost",
    "exemplar_traces": "Traces",
}


def facts(annotations: Mapping[str, str]) -> list[tuple[str, str]]:
    """What matters of an alert, in the order of reading at 3 am: (name, text)."""
    found = {name: annotations[name] for name in _FACTS if annotations.get(name)}
    if "cause" in found and annotations.get("cause_confidence"):
        found["cause"] += f" ({annotations['cause_confidence']} sure)"
    return [(_FACTS[name], text) for name, text in found.items()]


def cut(text: str, most: int) -> str:
    """The text, or its beginning when it has more than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


_LINKS = (
    ("incident_url", "Incident"),
    ("slo_url", "SLO"),
    ("cost_url", "Cost"),
    ("data_url", "Data"),
    ("runbook_url", "Runbook"),
    ("silence_url", "Silence"),
)


def links(annotations: Mapping[str, str]) -> list[tuple[str, str]]:
    """Where to go from an alert: (words, URL)."""
    return [(words, annotations[name]) for name, words in _LINKS if annotations.get(name)]
