"""The configuration of alerting, in the YAML of Alertmanager: route, receivers, inhibit_rules, time_intervals.

What Alertmanager knows and we do not is refused with its name, never ignored: a page that goes nowhere is worse than a
start that fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ValidationError

from alerts.inhibition import InhibitionError, InhibitRule, parse_inhibit_rule
from alerts.receivers import RECEIVERS
from alerts.receivers.settings import GlobalSettings, ReceiverSettings
from alerts.routing import Route, RouteError, duration_s, parse_route
from alerts.time_intervals import TimeInterval, TimeIntervalError, parse_time_interval

_RESOLVE_TIMEOUT_S = 300.0
_FIELDS = ("global", "route", "receivers", "inhibit_rules", "time_intervals", "mute_time_intervals")


class AlertingError(ValueError):
    """A configuration that cannot be used; the message names the place, what was found and what is valid."""


@dataclass(frozen=True, slots=True)
class Integration:
    """One way to tell one receiver."""

    kind: str
    settings: ReceiverSettings

    @property
    def send_resolved(self) -> bool:
        """Is it told when all is well again."""
        return self.settings.send_resolved


@dataclass(frozen=True, slots=True)
class AlertingConfig:
    """Who is told what, and when."""

    route: Route
    receivers: Mapping[str, tuple[Integration, ...]]
    inhibit_rules: tuple[InhibitRule, ...] = ()
    time_intervals: Mapping[str, tuple[TimeInterval, ...]] = field(default_factory=dict)
    given: GlobalSettings = field(default_factory=GlobalSettings)
    resolve_timeout_s: float = _RESOLVE_TIMEOUT_S


def parse_config(text: str) -> AlertingConfig:
    """Read a configuration.

    Raises:
        AlertingError: naming the place.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise AlertingError(f"no YAML{place_of(error)}") from None
    if not isinstance(document, dict):
        raise AlertingError(f"expected a mapping with {', '.join(_FIELDS)}; found {type(document).__name__}")
    unknown = sorted(document.keys() - set(_FIELDS))
    if unknown:
        hint = "; templates are not read: what a receiver is told is fixed" if "templates" in unknown else ""
        raise AlertingError(f"unknown field {', '.join(unknown)}; valid are {', '.join(_FIELDS)}{hint}")
    if not document.get("route"):
        raise AlertingError("route is missing: say at least `route: {receiver: NAME}`")
    try:
        route = parse_route(document["route"])
        rules = [
            parse_inhibit_rule(one, f"inhibit_rules[{number}]")
            for number, one in enumerate(document.get("inhibit_rules") or [])
        ]
    except (RouteError, InhibitionError) as error:
        raise AlertingError(str(error)) from None
    given, resolve_timeout_s = _global(document.get("global") or {})
    config = AlertingConfig(
        route=route,
        receivers=_receivers(document.get("receivers") or []),
        inhibit_rules=tuple(rules),
        time_intervals=_time_intervals(document),
        given=given,
        resolve_timeout_s=resolve_timeout_s,
    )
    _check_names(config)
    return config


def place_of(error: yaml.YAMLError) -> str:
    """` at line 3, column 7`: where a text stops to be YAML, without quoting it, for a secret may stand there."""
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"


def _global(document: dict[str, Any]) -> tuple[GlobalSettings, float]:
    rest = dict(document)
    try:
        timeout_s = duration_s(str(rest.pop("resolve_timeout", "5m")))
    except ValueError as error:
        raise AlertingError(f"global.resolve_timeout: {error}") from None
    try:
        return GlobalSettings(**rest), timeout_s
    except ValidationError as error:
        raise AlertingError(f"global.{_told(error)}") from None


def _receivers(documents: Any) -> dict[str, tuple[Integration, ...]]:
    if not isinstance(documents, list) or not all(isinstance(one, dict) for one in documents):
        raise AlertingError("receivers: expected a list of mappings, each with a name")
    found: dict[str, tuple[Integration, ...]] = {}
    for number, document in enumerate(documents):
        name = document.get("name")
        if not name or not isinstance(name, str):
            raise AlertingError(f"receivers[{number}]: name is missing")
        if name in found:
            raise AlertingError(f"receivers[{number}]: the name {name!r} is taken")
        found[name] = tuple(_integrations(document, f"receivers[{number}] ({name})"))
    return found


def _integrations(document: dict[str, Any], place: str) -> list[Integration]:
    integrations = []
    for key, entries in document.items():
        if key == "name":
            continue
        kind = key.removesuffix("_configs")
        if kind not in RECEIVERS or kind == key:
            valid = ", ".join(f"{one}_configs" for one in RECEIVERS)
            hint = "; a service of another kind may have a URL of Apprise: apprise_configs"
            raise AlertingError(f"{place}: {key} is not known here; valid are {valid}{hint}")
        if not isinstance(entries, list):
            raise AlertingError(f"{place}.{key}: expected a list, found {type(entries).__name__}")
        for number, entry in enumerate(entries):
            try:
                integrations.append(Integration(kind, RECEIVERS[kind].settings(**(entry or {}))))
            except ValidationError as error:
                raise AlertingError(f"{place}.{key}[{number}].{_told(error)}") from None
            except TypeError as error:
                raise AlertingError(f"{place}.{key}[{number}]: {error}") from None
    return integrations


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where or 'settings'}: {first['msg'].removeprefix('Value error, ')}"


def _time_intervals(document: dict[str, Any]) -> dict[str, tuple[TimeInterval, ...]]:
    found: dict[str, tuple[TimeInterval, ...]] = {}
    for key in ("time_intervals", "mute_time_intervals"):
        for number, entry in enumerate(document.get(key) or []):
            name = entry.get("name") if isinstance(entry, dict) else None
            if not name:
                raise AlertingError(f"{key}[{number}]: name is missing")
            if name in found:
                raise AlertingError(f"{key}[{number}]: the name {name!r} is taken")
            try:
                found[name] = tuple(parse_time_interval(one) for one in entry.get("time_intervals") or ())
            except TimeIntervalError as error:
                raise AlertingError(f"{key}[{number}] ({name}): {error}") from None
    return found


def _check_names(config: AlertingConfig) -> None:
    """Every name that a route says must be one that is told."""
    for route in config.route.walk():
        place = f"route {route.key}"
        if not route.options.receiver:
            raise AlertingError(f"{place}: receiver is missing")
        if route.options.receiver not in config.receivers:
            known = ", ".join(config.receivers) or "none"
            raise AlertingError(f"{place}: there is no receiver {route.options.receiver!r}; known are {known}")
        for name in (*route.options.mute_time_intervals, *route.options.active_time_intervals):
            if name not in config.time_intervals:
                known = ", ".join(config.time_intervals) or "none"
                raise AlertingError(f"{place}: there is no time interval {name!r}; known are {known}")
    for name, integrations in config.receivers.items():
        for integration in integrations:
            if integration.kind == "slack" and not _has_any(integration, config.given, "api_url", "slack_api_url"):
                raise AlertingError(f"receiver {name}: slack needs api_url, or slack_api_url under global")
            if integration.kind == "email" and not _has_any(integration, config.given, "smarthost", "smtp_smarthost"):
                raise AlertingError(f"receiver {name}: email needs smarthost, or smtp_smarthost under global")


def _has_any(integration: Integration, given: GlobalSettings, own: str, common: str) -> bool:
    """Is it said in the integration or under `global`, as it stands or as a file."""
    settings = integration.settings
    names = ((settings, own), (settings, f"{own}_file"), (given, common), (given, f"{common}_file"))
    return any(getattr(where, name, None) for where, name in names)
