"""Inhibition: an alert that is suppressed while another one fires (Alertmanager, inhibit/inhibit.go)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.matchers import Labels, Matcher, MatcherError, all_match, matched_text
from alerts.routing import matcher_list


class InhibitionError(ValueError):
    """A rule that cannot be used; the message names the place and what is valid."""


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """While an alert that matches `source` fires, those that match `target` and agree in `equal` are left out.

    A label that neither has is equal. An alert that matches both sides is not inhibited by one that does so too.
    """

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()

    def inhibits(self, source: Labels, target: Labels) -> bool:
        """Does the one, firing, leave the other out."""
        if not all_match(self.target, target) or not all_match(self.source, source):
            return False
        if any(source.get(name, "") != target.get(name, "") for name in self.equal):
            return False
        return not (all_match(self.source, target) and all_match(self.target, source))


class Inhibitor:
    """The rules, with the alerts that fire now arranged by what they can inhibit."""

    def __init__(self, rules: Sequence[InhibitRule], firing: Iterable[Labels]) -> None:
        self._rules = rules
        self._sources: list[dict[tuple[str, ...], list[Labels]]] = [{} for _ in rules]
        for labels in firing:
            for rule, sources in zip(rules, self._sources, strict=True):
                if all_match(rule.source, labels):
                    sources.setdefault(tuple(labels.get(name, "") for name in rule.equal), []).append(labels)

    def inhibitor_of(self, target: Labels) -> Labels | None:
        """The labels of an alert that inhibits one of these labels; None without one."""
        for rule, sources in zip(self._rules, self._sources, strict=True):
            if not all_match(rule.target, target):
                continue
            for source in sources.get(tuple(target.get(name, "") for name in rule.equal), ()):
                if rule.inhibits(source, target):
                    return source
        return None


_FIELDS = (
    *(f"{side}_{how}" for side in ("source", "target") for how in ("match", "match_re", "matchers")),
    "equal",
)


def parse_inhibit_rule(document: dict[str, Any], place: str) -> InhibitRule:
    """Read one entry of `inhibit_rules`.

    Raises:
        InhibitionError: naming the place and the field.
    """
    if not isinstance(document, dict):
        raise InhibitionError(f"{place}: expected a mapping, found {type(document).__name__}")
    unknown = sorted(document.keys() - {*_FIELDS, "name"})
    if unknown:
        raise InhibitionError(f"{place}: unknown field {', '.join(unknown)}; valid are {', '.join(_FIELDS)}")
    try:
        return InhibitRule(_side(document, "source"), _side(document, "target"), tuple(document.get("equal") or ()))
    except MatcherError as error:
        raise InhibitionError(f"{place}: {error}") from None


def _side(document: dict[str, Any], side: str) -> tuple[Matcher, ...]:
    found = matcher_list(document.get(f"{side}_matchers"))
    for name, value in (document.get(f"{side}_match") or {}).items():
        found.append(Matcher(str(name), matched_text(value)))
    for name, value in (document.get(f"{side}_match_re") or {}).items():
        found.append(Matcher(str(name), matched_text(value), "=~"))
    return tuple(sorted(found))
