"""Who is notified by an alerting configuration, and what is wrong with it: a page without a receiver, a lost secret."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from alerts.catalogue import ALERTS
from alerts.config import AlertingConfig
from alerts.settings import AlertsSettings
from domain.address import shown
from domain.incident import Severity

NOTIFIES_NOBODY = ("nobody is told of any alert", "set alerts.alertmanagers or alerts.config_file")
"""What it means that `notification_channels` is empty, and what to do."""

_OURS = (Severity.PAGE.value, Severity.TICKET.value)
_WORD = re.compile(r"[A-Za-z0-9_-]+")


def notification_channels(settings: AlertsSettings) -> list[str]:
    """By which channels anybody is notified of alerts, in words; empty when nobody is."""
    channels = []
    if settings.alertmanagers:
        places = ", ".join(map(shown, settings.alertmanagers))
        channels.append(f"alerts go to Alertmanager at {places}, whose own routes decide who is told")
    kinds = sorted({one.kind for integrations in settings.config.receivers.values() for one in integrations})
    if kinds:
        channels.append(f"our own router tells by {', '.join(kinds)}")
    return channels


def unnotified_pages(config: AlertingConfig, services: Sequence[str] = ()) -> list[str]:
    """Receivers without an integration that a page would be routed to; and severities that are not ours.

    Args:
        config: of our own router.
        services: those that are known; without any, an alert of a service that no route names.
    """
    unnotified: dict[str, list[str]] = {}
    for service in services or ("",):
        for kind in ALERTS.values():
            if Severity.PAGE not in kind.severities:
                continue
            labels = {"alertname": kind.name, "severity": Severity.PAGE.value} | (
                {"service": service} if service else {}
            )
            receivers = [route.options.receiver for route in config.route.match(labels)]
            if not any(config.receivers[name] for name in receivers):
                of = unnotified.setdefault(", ".join(map(repr, receivers)), [])
                of += [service] if service not in of else []
    warnings = [
        f'a page (severity="page"{_of_services(of)}) goes to the receiver {receivers}, which has nothing to tell by, '
        "and no Alertmanager is set: nobody is told of it"
        for receivers, of in unnotified.items()
    ]
    theirs = _severities(config)
    if theirs and not set(theirs) & set(_OURS):
        warnings.append(f"our severities are {' and '.join(_OURS)}; yours seem to be {', '.join(theirs)}")
    return warnings


def _of_services(services: Sequence[str]) -> str:
    named = [service for service in services if service]
    return f", service={' or '.join(named)}" if named else ""


def _severities(config: AlertingConfig) -> list[str]:
    """The values of `severity` that routes ask for, in their order."""
    found: dict[str, None] = {}
    for route in config.route.walk():
        for matcher in route.matchers:
            if matcher.name == "severity" and matcher.operator == "=":
                found[matcher.value] = None
            elif matcher.name == "severity" and matcher.operator == "=~":
                found |= dict.fromkeys(_WORD.findall(matcher.value))
    return list(found)


def unreadable_secrets(config: AlertingConfig) -> list[str]:
    """The files of receivers and of `global` that cannot be read now, or are empty."""
    places: list[tuple[str, BaseModel]] = [("global", config.global_settings)]
    for name, integrations in config.receivers.items():
        places += [(f"receiver {name}, {one.kind}", one.settings) for one in integrations]
    return [f"{place}: {fault}" for place, settings in places for fault in _unreadable(settings)]


def _unreadable(settings: BaseModel) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from (f"{name}.{fault}" for fault in _unreadable(value))
        elif isinstance(value, Path):
            try:
                if not value.read_bytes().strip():
                    yield f"{name} {value} is empty"
            except OSError as error:
                yield f"{name} {value} cannot be read: {error.strerror}"
