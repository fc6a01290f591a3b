"""Who is told by an alerting configuration, and what it would regret: a page unheard, a secret that cannot be read."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from alerts.catalogue import ALERTS
from alerts.config import AlertingConfig
from alerts.settings import AlertsSettings
from domain.address import shown
from domain.incident import Severity

TELLS_NOBODY = ("nobody is told of any alert", "set alerts.alertmanagers or alerts.config_file")
"""What it means that `who_is_told` is empty, and what to do."""

_OURS = (Severity.PAGE.value, Severity.TICKET.value)
_WORD = re.compile(r"[A-Za-z0-9_-]+")


def who_is_told(settings: AlertsSettings) -> list[str]:
    """Who hears of alerts, in words; empty when nobody does."""
    told = []
    if settings.alertmanagers:
        places = ", ".join(map(shown, settings.alertmanagers))
        told.append(f"alerts go to Alertmanager at {places}, whose own routes decide who is told")
    kinds = sorted({one.kind for integrations in settings.config.receivers.values() for one in integrations})
    if kinds:
        told.append(f"our own router tells by {', '.join(kinds)}")
    return told


def unheard_pages(config: AlertingConfig, services: Sequence[str] = ()) -> list[str]:
    """Where a page would go by these routes, if nobody is told there; and severities that are not ours.

    Args:
        config: of our own router.
        services: those that are known; without any, an alert of a service that no route names.
    """
    unheard: dict[str, list[str]] = {}
    for service in services or ("",):
        for kind in ALERTS.values():
            if Severity.PAGE not in kind.severities:
                continue
            labels = {"alertname": kind.name, "severity": Severity.PAGE.value} | (
                {"service": service} if service else {}
            )
            receivers = [route.options.receiver for route in config.route.match(labels)]
            if not any(config.receivers[name] for name in receivers):
                of = unheard.setdefault(", ".join(map(repr, receivers)), [])
                of += [service] if service not in of else []
    told = [
        f'a page (severity="page"{_of_services(of)}) goes to the receiver {receivers}, which has nothing to tell by, '
        "and no Alertmanager is set: nobody is told of it"
        for receivers, of in unheard.items()
    ]
    theirs = _severities(config)
    if theirs and not set(theirs) & set(_OURS):
        told.append(f"our severities are {' and '.join(_OURS)}; yours seem to be {', '.join(theirs)}")
    return told


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
    places: list[tuple[str, BaseModel]] = [("global", config.given)]
    for name, integrations in config.receivers.items():
        places += [(f"receiver {name}, {one.kind}", one.settings) for one in integrations]
    return [f"{place}: {told}" for place, settings in places for told in _unreadable(settings)]


def _unreadable(settings: BaseModel) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from (f"{name}.{told}" for told in _unreadable(value))
        elif isinstance(value, Path):
            try:
                if not value.read_bytes().strip():
                    yield f"{name} {value} is empty"
            except OSError as error:
                yield f"{name} {value} cannot be read: {error.strerror}"
