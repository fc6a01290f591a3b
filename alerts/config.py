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
from alerts.notification import Integration
from alerts.receiver_settings import GlobalSettings
from alerts.receivers import RECEIVERS
from alerts.routing import Route, RouteError, RouteOptions, duration_s, parse_route
from alerts.settings_faults import explained
from alerts.time_intervals import TimeInterval, TimeIntervalError, parse_time_interval
from analytics.yaml_text import read_yaml, told_without_values

_RESOLVE_TIMEOUT_S = 300.0
_FIELDS = ("global", "route", "receivers", "inhibit_rules", "time_intervals", "mute_time_intervals")


class AlertingError(ValueError):
    """A configuration that cannot be used; the message names the place, what was found and what is valid."""


@dataclass(frozen=True, slots=True)
class AlertingConfig:
    """Routes, receivers, inhibit rules and time intervals."""

    route: Route
    receivers: Mapping[str, tuple[Integration, ...]]
    inhibit_rules: tuple[InhibitRule, ...] = ()
    time_intervals: Mapping[str, tuple[TimeInterval, ...]] = field(default_factory=dict)
    global_settings: GlobalSettings = field(default_factory=GlobalSettings)
    resolve_timeout_s: float = _RESOLVE_TIMEOUT_S


def parse_config(text: str) -> AlertingConfig:
    """Read a configuration.

    Raises:
        AlertingError: with every fault, one a line, each naming its place.
    """
    try:
        document = read_yaml(text)
    except yaml.YAMLError as error:
        raise AlertingError(f"the text {told_without_values(error)}") from None
    if not isinstance(document, dict):
        raise AlertingError(f"expected a mapping with {', '.join(_FIELDS)}; found {type(document).__name__}")
    faults: list[str] = []
    unknown = sorted(document.keys() - set(_FIELDS))
    if unknown:
        hint = "; templates are not read: what a receiver is told is fixed" if "templates" in unknown else ""
        faults.append(f"unknown field {', '.join(unknown)}; valid are {', '.join(_FIELDS)}{hint}")
    faults_of_global: list[str] = []
    global_settings, resolve_timeout_s = _global(document.get("global") or {}, faults_of_global)
    faults += faults_of_global
    config = AlertingConfig(
        route=_route(document, faults),
        receivers=_receivers(document.get("receivers") or [], faults),
        inhibit_rules=_inhibit_rules(document, faults),
        time_intervals=_time_intervals(document, faults),
        global_settings=global_settings,
        resolve_timeout_s=resolve_timeout_s,
    )
    # Of what could not be read, nothing more is said: it would only be the same fault again.
    if config.route is not _NO_ROUTE:
        faults += _unknown_names(config)
    if not faults_of_global:
        faults += _lacking_of_global(config)
    if faults:
        raise AlertingError("\n".join(faults))
    return config


_NO_ROUTE = Route("{}", 0, (), continues=False, options=RouteOptions())


def _route(document: dict[str, Any], faults: list[str]) -> Route:
    if not document.get("route"):
        faults.append("route is missing: say at least `route: {receiver: NAME}`")
        return _NO_ROUTE
    try:
        return parse_route(document["route"])
    except RouteError as error:
        faults.append(str(error))
        return _NO_ROUTE


def _inhibit_rules(document: dict[str, Any], faults: list[str]) -> tuple[InhibitRule, ...]:
    rules = []
    for number, one in enumerate(_list(document, "inhibit_rules", faults)):
        try:
            rules.append(parse_inhibit_rule(one, f"inhibit_rules[{number}]"))
        except InhibitionError as error:
            faults.append(str(error))
    return tuple(rules)


def _list(document: dict[str, Any], key: str, faults: list[str]) -> list[Any]:
    found = document.get(key) or []
    if isinstance(found, list):
        return found
    faults.append(f"{key}: expected a list, found {type(found).__name__}")
    return []


def _global(document: Any, faults: list[str]) -> tuple[GlobalSettings, float]:
    if not isinstance(document, dict):
        faults.append(f"global: expected a mapping, found {type(document).__name__}")
        return GlobalSettings(), _RESOLVE_TIMEOUT_S
    rest = dict(document)
    timeout_s = _RESOLVE_TIMEOUT_S
    try:
        timeout_s = duration_s(str(rest.pop("resolve_timeout", "5m")))
    except ValueError as error:
        faults.append(f"global.resolve_timeout: {error}")
    try:
        return GlobalSettings(**rest), timeout_s
    except ValidationError as error:
        faults += explained(error, GlobalSettings, within="global", noun="field")
        return GlobalSettings(), timeout_s


def _receivers(documents: Any, faults: list[str]) -> dict[str, tuple[Integration, ...]]:
    found: dict[str, tuple[Integration, ...]] = {}
    if not isinstance(documents, list) or not all(isinstance(one, dict) for one in documents):
        faults.append("receivers: expected a list of mappings, each with a name")
        return found
    for number, document in enumerate(documents):
        name = document.get("name")
        if not name or not isinstance(name, str):
            faults.append(f"receivers[{number}]: name is missing")
            continue
        if name in found:
            faults.append(f"receivers[{number}]: the name {name!r} is taken")
        found[name] = tuple(_integrations(document, f"receivers[{number}] ({name})", faults))
    return found


def _integrations(document: dict[str, Any], place: str, faults: list[str]) -> list[Integration]:
    integrations = []
    for key, entries in document.items():
        if key == "name":
            continue
        kind = str(key).removesuffix("_configs")
        if kind not in RECEIVERS or kind == key:
            valid = ", ".join(f"{one}_configs" for one in RECEIVERS)
            hint = "; a service of another kind may have a URL of Apprise: apprise_configs"
            faults.append(f"{place}: {key} is not known here; valid are {valid}{hint}")
            continue
        if not isinstance(entries, list):
            faults.append(f"{place}.{key}: expected a list, found {type(entries).__name__}")
            continue
        for number, entry in enumerate(entries):
            settings, within = RECEIVERS[kind].settings, f"{place}.{key}[{number}]"
            try:
                integrations.append(Integration(kind, settings.model_validate(entry or {})))
            except ValidationError as error:
                faults += explained(error, settings, within=within, noun="field")
    return integrations


def _time_intervals(document: dict[str, Any], faults: list[str]) -> dict[str, tuple[TimeInterval, ...]]:
    found: dict[str, tuple[TimeInterval, ...]] = {}
    for key in ("time_intervals", "mute_time_intervals"):
        for number, entry in enumerate(_list(document, key, faults)):
            name = entry.get("name") if isinstance(entry, dict) else None
            if not name:
                faults.append(f"{key}[{number}]: name is missing")
                continue
            if name in found:
                faults.append(f"{key}[{number}]: the name {name!r} is taken")
            found[name] = ()
            try:
                found[name] = tuple(parse_time_interval(one) for one in entry.get("time_intervals") or ())
            except TimeIntervalError as error:
                faults.append(f"{key}[{number}] ({name}): {error}")
    return found


def _unknown_names(config: AlertingConfig) -> list[str]:
    """Every name that a route says must be defined."""
    faults = []
    for route in config.route.walk():
        place = f"route {route.key}"
        if not route.options.receiver:
            faults.append(f"{place}: receiver is missing")
        elif route.options.receiver not in config.receivers:
            known = ", ".join(config.receivers) or "none"
            faults.append(f"{place}: there is no receiver {route.options.receiver!r}; known are {known}")
        for name in (*route.options.mute_time_intervals, *route.options.active_time_intervals):
            if name not in config.time_intervals:
                known = ", ".join(config.time_intervals) or "none"
                faults.append(f"{place}: there is no time interval {name!r}; known are {known}")
    return faults


def _lacking_of_global(config: AlertingConfig) -> list[str]:
    """What an integration does not say itself must stand under `global`."""
    faults = []
    for name, integrations in config.receivers.items():
        for integration in integrations:
            if integration.kind == "slack" and not _has_any(
                integration, config.global_settings, "api_url", "slack_api_url"
            ):
                faults.append(f"receiver {name}: slack needs api_url, or slack_api_url under global")
            if integration.kind == "email" and not _has_any(
                integration, config.global_settings, "smarthost", "smtp_smarthost"
            ):
                faults.append(f"receiver {name}: email needs smarthost, or smtp_smarthost under global")
    return faults


def _has_any(integration: Integration, global_settings: GlobalSettings, own: str, common: str) -> bool:
    """Is it said in the integration or under `global`, as it stands or as a file."""
    settings = integration.settings
    names = ((settings, own), (settings, f"{own}_file"), (global_settings, common), (global_settings, f"{common}_file"))
    return any(getattr(where, name, None) for where, name in names)
