"""Routing: the tree that says who is notified of an alert, as Alertmanager walks it (dispatch/route.go).

Depth first; the first child that matches wins, unless it says `continue`; where no child matches, the node itself does.
What a node does not say it has from its parent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from alerts.matchers import Labels, Matcher, MatcherError, all_match, matched_text, parse_matchers, written

GROUP_BY_ALL = "..."


class RouteError(ValueError):
    """A route that cannot be used; the message names the place and what is valid."""


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """How a route notifies. Times in seconds; `group_by` of `...` is by all labels, of nothing all in one."""

    receiver: str = ""
    group_by: tuple[str, ...] = ()
    group_wait_s: float = 30.0
    group_interval_s: float = 300.0
    repeat_interval_s: float = 4 * 3600.0
    mute_time_intervals: tuple[str, ...] = ()
    active_time_intervals: tuple[str, ...] = ()

    def group_labels(self, labels: Labels) -> dict[str, str]:
        """The labels of the group that an alert belongs to."""
        if GROUP_BY_ALL in self.group_by:
            return dict(labels)
        return {name: labels[name] for name in self.group_by if name in labels}


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree. `key` is the way to it, as Alertmanager writes it; `index` its place in a walk."""

    key: str
    index: int
    matchers: tuple[Matcher, ...]
    continues: bool
    options: RouteOptions
    labels: tuple[tuple[str, str], ...] = ()
    routes: tuple["Route", ...] = ()

    def match(self, labels: Labels) -> tuple["Route", ...]:
        """The nodes that match an alert of these labels, in order; none where the node itself does not match."""
        if not all_match(self.matchers, labels):
            return ()
        found: list[Route] = []
        for child in self.routes:
            matched = child.match(labels)
            found += matched
            if matched and not child.continues:
                break
        return tuple(found) or (self,)

    def walk(self) -> Iterator["Route"]:
        """The node and all below it, depth first."""
        yield self
        for child in self.routes:
            yield from child.walk()


_FIELDS = (
    "receiver",
    "group_by",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "mute_time_intervals",
    "active_time_intervals",
    "match",
    "match_re",
    "matchers",
    "continue",
    "labels",
    "routes",
)


def parse_route(document: dict[str, Any]) -> Route:
    """Read the tree under `route`.

    Raises:
        RouteError: with every fault, one a line, each naming the node and the field.
    """
    faults: list[str] = []
    root = _node(document, None, "route", iter(range(1_000_000)), faults)
    if root.matchers:
        faults.append("route: the root takes every alert, so it may have no matchers")
    if root.options.mute_time_intervals or root.options.active_time_intervals:
        faults.append("route: the root may have no time intervals: put them on a child")
    if root.continues:
        faults.append("route: the root cannot continue")
    if faults:
        raise RouteError("\n".join(faults))
    return root


def _node(
    document: dict[str, Any], parent: Route | None, place: str, counter: Iterator[int], faults: list[str]
) -> Route:
    """The node and all below it; what is wrong goes to `faults`, so that the rest is looked at too."""
    if not isinstance(document, dict):
        faults.append(f"{place}: expected a mapping, found {type(document).__name__}")
        document = {}
    unknown = sorted(document.keys() - set(_FIELDS))
    if unknown:
        faults.append(f"{place}: unknown field {', '.join(unknown)}; valid are {', '.join(_FIELDS)}")
    inherited = RouteOptions() if parent is None else parent.options
    matchers: tuple[Matcher, ...] = ()
    options = inherited
    try:
        matchers = _matchers_of(document, place)
    except RouteError as error:
        faults.append(str(error))
    try:
        options = _options(document, inherited, place)
    except RouteError as error:
        faults.append(str(error))
    node = Route(
        key="{}" if parent is None else f"{parent.key}/{written(matchers)}",
        index=next(counter),
        matchers=matchers,
        continues=bool(document.get("continue", False)),
        options=options,
        labels=tuple({**dict(parent.labels if parent else ()), **(document.get("labels") or {})}.items()),
    )
    children = document.get("routes") or []
    if not isinstance(children, list):
        faults.append(f"{place}.routes: expected a list, found {type(children).__name__}")
        children = []
    routes = [_node(child, node, f"{place}.routes[{number}]", counter, faults) for number, child in enumerate(children)]
    return replace(node, routes=tuple(routes))


def _matchers_of(document: dict[str, Any], place: str) -> tuple[Matcher, ...]:
    found: list[Matcher] = []
    try:
        for name, value in (document.get("match") or {}).items():
            found.append(Matcher(str(name), matched_text(value)))
        for name, value in (document.get("match_re") or {}).items():
            found.append(Matcher(str(name), f"^(?:{matched_text(value)})$", "=~"))
        found += matcher_list(document.get("matchers"))
    except MatcherError as error:
        raise RouteError(f"{place}: {error}") from None
    return tuple(sorted(found))


def matcher_list(texts: Any) -> list[Matcher]:
    """The matchers of a list of texts, each of one or several.

    Raises:
        MatcherError: for what is no list of texts, or text that is no matcher.
    """
    if texts is None:
        return []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise MatcherError(f"matchers must be a list of texts, found {texts!r}")
    return [matcher for text in texts for matcher in parse_matchers(text)]


def _options(document: dict[str, Any], inherited: RouteOptions, place: str) -> RouteOptions:
    group_by = inherited.group_by if document.get("group_by") is None else tuple(map(str, document["group_by"]))
    if len(set(group_by)) < len(group_by):
        raise RouteError(f"{place}.group_by: a label stands twice in {list(group_by)}")
    if GROUP_BY_ALL in group_by and len(group_by) > 1:
        raise RouteError(f"{place}.group_by: '...' is by all labels, so it stands alone")
    times = {
        f"{name}_s": _seconds(document, name, getattr(inherited, f"{name}_s"), place)
        for name in ("group_wait", "group_interval", "repeat_interval")
    }
    for name in ("group_interval", "repeat_interval"):
        if times[f"{name}_s"] <= 0:
            raise RouteError(f"{place}.{name}: must be more than 0")
    return RouteOptions(
        receiver=str(document.get("receiver") or inherited.receiver),
        group_by=group_by,
        mute_time_intervals=tuple(document.get("mute_time_intervals") or ()),
        active_time_intervals=tuple(document.get("active_time_intervals") or ()),
        **times,
    )


def _seconds(document: dict[str, Any], name: str, inherited: float, place: str) -> float:
    if document.get(name) is None:
        return inherited
    try:
        return duration_s(str(document[name]))
    except ValueError as error:
        raise RouteError(f"{place}.{name}: {error}") from None


_UNITS_S = {"y": 365 * 86400.0, "w": 7 * 86400.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def duration_s(text: str) -> float:
    """Seconds of a duration as Prometheus writes them: `1h30m`, `4900ms`, `2w`, `0`.

    Raises:
        ValueError: for text that is none.
    """
    rest, found, units = text.strip(), 0.0, list(_UNITS_S)
    if rest == "0":
        return 0.0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        unit = next((one for one in ("ms", *_UNITS_S) if rest[digits:].startswith(one)), None)
        if not digits or unit not in units:
            raise ValueError(f"{text!r} is no duration; write whole numbers with y, w, d, h, m, s or ms, as in 1h30m")
        units = units[units.index(unit) + 1 :]
        found += int(rest[:digits]) * _UNITS_S[unit]
        rest = rest[digits + len(unit) :]
    if not text.strip():
        raise ValueError("a duration is empty; write one as in 30s")
    return found
