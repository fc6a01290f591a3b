"""What we know, as data: what each metric means, and which signs speak for which cause."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from domain.cause import CauseKind
from domain.entity import EntityKind


class KnowledgeError(ValueError):
    """A knowledge file that cannot be read; the message names file, entry and field."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What a metric, or a number from the request records, says of an entity. Fields: see signals.yaml."""

    name: str
    title: str
    layer: str
    entity: EntityKind
    unit: str
    worse: Literal["up", "down"]
    floor: float
    metrics: tuple[str, ...] = ()
    relative_floor: float = 0.02
    transform: Literal["level", "rate", "count", "utilisation"] = "level"
    capacity: str | None = None
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """A signal that moved in its bad direction, and how far it must have gone."""

    signal: str
    at_least: float | None = None
    at_most: float | None = None
    times: float | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """The signs of one kind of cause. Fields: see causes.yaml."""

    kind: CauseKind
    title: str
    entity: EntityKind
    requires: tuple[Sign, ...]
    supports: tuple[str, ...]
    against: tuple[str, ...]
    summary: str
    absent: str
    next_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All signals and patterns, by name and kind."""

    signals: Mapping[str, Signal]
    patterns: Mapping[CauseKind, Pattern]

    @property
    def metrics(self) -> list[str]:
        """Every metric that carries a signal, in lower case."""
        names = {metric.lower() for signal in self.signals.values() for metric in signal.metrics}
        names |= {signal.capacity.lower() for signal in self.signals.values() if signal.capacity}
        return sorted(names)

    @property
    def levels(self) -> frozenset[str]:
        """The metrics of which the mean of a step counts, in lower case: what is sampled as it stands."""
        names = {metric for signal in self.signals.values() if signal.transform == "level" for metric in signal.metrics}
        return frozenset(names | {signal.capacity.lower() for signal in self.signals.values() if signal.capacity})

    @property
    def counters(self) -> frozenset[str]:
        """The metrics of which the last sample of a step counts, in lower case: what only grows."""
        signals = [signal for signal in self.signals.values() if signal.transform != "level"]
        return frozenset(metric for signal in signals for metric in signal.metrics)


@cache
def shipped_knowledge() -> Knowledge:
    """What Tailsight knows out of the box."""
    package = resources.files(__name__)
    return read_knowledge((package / "signals.yaml").read_text(), (package / "causes.yaml").read_text())


def read_knowledge(signals_yaml: str, causes_yaml: str) -> Knowledge:
    """Read and check the two documents.

    Raises:
        KnowledgeError: for an unknown field, kind, entity or signal.
    """
    signals = {name: _signal(name, fields) for name, fields in _entries(signals_yaml, "signals.yaml")}
    patterns = [_pattern(name, fields, signals) for name, fields in _entries(causes_yaml, "causes.yaml")]
    return Knowledge(signals, {pattern.kind: pattern for pattern in patterns})


def _entries(text: str, file: str) -> list[tuple[str, dict[str, Any]]]:
    document = yaml.safe_load(text)
    if not isinstance(document, dict) or not all(isinstance(fields, dict) for fields in document.values()):
        raise KnowledgeError(f"{file}: expected a mapping of names to mappings")
    return list(document.items())


def _signal(name: str, fields: dict[str, Any]) -> Signal:
    try:
        fields = dict(fields)
        bounds = fields.pop("bounds", None)
        return Signal(
            name=name,
            entity=EntityKind(fields.pop("entity")),
            metrics=tuple(metric.lower() for metric in fields.pop("metrics", ())),
            bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
            **fields,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise KnowledgeError(f"signals.yaml, {name}: {error}") from error


def _pattern(name: str, fields: dict[str, Any], signals: Mapping[str, Signal]) -> Pattern:
    try:
        fields = dict(fields)
        pattern = Pattern(
            kind=CauseKind(name),
            entity=EntityKind(fields.pop("entity")),
            requires=tuple(Sign(**sign) for sign in fields.pop("requires")),
            supports=tuple(fields.pop("supports")),
            against=tuple(fields.pop("against")),
            next_steps=tuple(fields.pop("next_steps")),
            **fields,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise KnowledgeError(f"causes.yaml, {name}: {error}") from error
    required = {sign.signal for sign in pattern.requires}
    if required & set(pattern.supports):
        raise KnowledgeError(
            f"causes.yaml, {name}: {', '.join(sorted(required & set(pattern.supports)))} cannot support itself"
        )
    for signal in [sign.signal for sign in pattern.requires] + [*pattern.supports, *pattern.against]:
        if signal not in signals:
            raise KnowledgeError(
                f"causes.yaml, {name}: unknown signal {signal!r}; known are {', '.join(sorted(signals))}"
            )
    return pattern
