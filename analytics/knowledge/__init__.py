"""What we know, as data: what each metric means, and which signs speak for which cause."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

import yaml

from domain.cause import CauseKind
from domain.entity import EntityKind


class KnowledgeError(ValueError):
    """A knowledge file that cannot be read; the message names file, entry and field."""


Transform = Literal["level", "rate", "count", "utilisation", "codes", "bits", "presence"]
Merge = Literal["sum", "mean", "worst"]
Reach = Literal["own", "service", "lost", "upstream", "version", "work"]


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
    labels: tuple[tuple[str, frozenset[str]], ...] = ()
    relative_floor: float = 0.02
    transform: Transform = "level"
    merge: Merge | None = None
    peers: Literal["compare", "ignore"] = "compare"
    field_bits: int = 32
    capacity: tuple[str, ...] = ()
    codes: frozenset[int] = frozenset()
    bits: int = 0
    bounds: tuple[float, float] | None = None

    @property
    def is_counter(self) -> bool:
        """Does the last value of a step count (of what only grows, or is a code), rather than the mean."""
        return self.transform in ("rate", "utilisation", "codes", "bits")

    @property
    def fullest(self) -> float:
        """Where a counter of this width stops (IBTA: counters stop at all ones and do not wrap)."""
        return float(2**self.field_bits - 1)


@dataclass(frozen=True, slots=True)
class Sign:
    """A signal that moved in its bad direction, how far it must have gone, and what must be measured beside it."""

    signal: str
    at_least: float | None = None
    at_most: float | None = None
    times: float | None = None
    needs: str | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """The signs of one kind of cause. Fields: see causes.yaml."""

    kind: CauseKind
    title: str
    entities: tuple[EntityKind, ...]
    requires: tuple[Sign, ...]
    through: tuple[str, ...]
    expects: tuple[str, ...]
    supports: tuple[str, ...]
    against: tuple[str, ...]
    brings: tuple[CauseKind, ...]
    reach: tuple[Reach, ...]
    summary: str
    absent: str
    next_steps: tuple[str, ...]
    weight: float = 1.0
    replicas_min: int = 1
    alone: bool = False

    @property
    def signals(self) -> tuple[str, ...]:
        """Every signal that it speaks of."""
        required = (name for sign in self.requires for name in (sign.signal, sign.needs) if name is not None)
        return (*required, *self.through, *self.expects, *self.supports, *self.against)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All signals and patterns, by name and kind."""

    signals: Mapping[str, Signal]
    patterns: Mapping[CauseKind, Pattern]

    @property
    def metrics(self) -> list[str]:
        """Every metric that carries a signal, in lower case."""
        return sorted(self.levels | self.counters)

    @property
    def levels(self) -> frozenset[str]:
        """The metrics of which the mean of a step counts, in lower case: what is sampled as it stands."""
        signals = [signal for signal in self.signals.values() if not signal.is_counter]
        names = {metric for signal in signals for metric in signal.metrics}
        return frozenset(names | {metric for signal in self.signals.values() for metric in signal.capacity})

    @property
    def counters(self) -> frozenset[str]:
        """The metrics of which the last sample of a step counts, in lower case: what only grows, and codes."""
        signals = [signal for signal in self.signals.values() if signal.is_counter]
        return frozenset(metric for signal in signals for metric in signal.metrics)

    @property
    def of_replicas(self) -> frozenset[str]:
        """The metrics that tell of replicas, in lower case."""
        signals = [signal for signal in self.signals.values() if signal.entity is EntityKind.REPLICA]
        return frozenset(metric for signal in signals for metric in signal.metrics)

    @property
    def labels(self) -> list[str]:
        """The labels that some signal asks for."""
        return sorted({name for signal in self.signals.values() for name, _ in signal.labels})


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


def extended(knowledge: Knowledge, signals_yaml: str, causes_yaml: str) -> Knowledge:
    """What is known, with somebody's own signals and causes: an entry of the same name takes the place of ours.

    Raises:
        KnowledgeError: for an unknown field, kind, entity or signal.
    """
    own = {name: _signal(name, fields) for name, fields in _entries(signals_yaml, "signals.yaml")}
    signals = {**knowledge.signals, **own}
    patterns = [_pattern(name, fields, signals) for name, fields in _entries(causes_yaml, "causes.yaml")]
    return Knowledge(signals, {**knowledge.patterns, **{pattern.kind: pattern for pattern in patterns}})


def _entries(text: str, file: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise KnowledgeError(f"{file}: no YAML: {error}") from error
    if document is None:
        return []
    if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
        raise KnowledgeError(f"{file}: expected a mapping of names to mappings")
    return list(document.items())


def _signal(name: str, entry: dict[str, Any]) -> Signal:
    try:
        entry = dict(entry)
        _check_fields(entry, Signal, f"signals.yaml, {name}")
        bounds, labels, capacity = entry.pop("bounds", None), entry.pop("labels", None), entry.pop("capacity", ())
        signal = Signal(
            name=name,
            entity=EntityKind(entry.pop("entity")),
            metrics=tuple(metric.lower() for metric in entry.pop("metrics", ())),
            capacity=tuple(metric.lower() for metric in ([capacity] if isinstance(capacity, str) else capacity)),
            labels=tuple((label, frozenset(map(str, values))) for label, values in (labels or {}).items()),
            codes=frozenset(entry.pop("codes", ())),
            bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
            **entry,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise KnowledgeError(f"signals.yaml, {name}: {error}") from error
    for field, valid in (("transform", Transform), ("merge", Merge), ("worse", Literal["up", "down"])):
        value = getattr(signal, field)
        if value is not None and value not in get_args(valid):
            raise KnowledgeError(f"signals.yaml, {name}: {field} is {value!r}; valid are {', '.join(get_args(valid))}")
    return signal


def _pattern(name: str, entry: dict[str, Any], signals: Mapping[str, Signal]) -> Pattern:
    place = f"causes.yaml, {name}"
    try:
        entry = dict(entry)
        entities = entry.pop("entity")
        _check_fields(entry, Pattern, place)
        pattern = Pattern(
            kind=CauseKind(name),
            entities=tuple(EntityKind(one) for one in ([entities] if isinstance(entities, str) else entities)),
            requires=tuple(Sign(**sign) for sign in entry.pop("requires")),
            through=tuple(entry.pop("through", ())),
            expects=tuple(entry.pop("expects", ())),
            supports=tuple(entry.pop("supports", ())),
            against=tuple(entry.pop("against", ())),
            brings=tuple(CauseKind(kind) for kind in entry.pop("brings", ())),
            reach=tuple(entry.pop("reach", ("own",))),
            next_steps=tuple(entry.pop("next_steps")),
            **entry,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise KnowledgeError(f"{place}: {error}") from error
    # A sign that asks for a level may support below it.
    required = {sign.signal for sign in pattern.requires if sign == Sign(sign.signal)}
    if required & set(pattern.supports):
        raise KnowledgeError(f"{place}: {', '.join(sorted(required & set(pattern.supports)))} cannot support itself")
    for signal in pattern.signals:
        if signal not in signals:
            raise KnowledgeError(f"{place}: unknown signal {signal!r}; known are {', '.join(sorted(signals))}")
    for reach in pattern.reach:
        if reach not in get_args(Reach):
            raise KnowledgeError(f"{place}: reach is {reach!r}; valid are {', '.join(get_args(Reach))}")
    return pattern


def _check_fields(entry: Mapping[str, Any], kind: type, place: str) -> None:
    valid = {field.name for field in fields(kind)} - {"name", "kind", "entities"}
    unknown = sorted(entry.keys() - valid)
    if unknown:
        raise KnowledgeError(f"{place}: unknown field {', '.join(unknown)}; valid are {', '.join(sorted(valid))}")
