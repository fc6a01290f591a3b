"""What we know, as data: what each metric means, and which signs speak for which cause."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from analytics.knowledge.documents import Document, KnowledgeError
from domain.cause import CauseKind
from domain.entity import EntityKind, names_text
from domain.wording import readable, sentence

__all__ = [
    "Knowledge",
    "KnowledgeError",
    "Pattern",
    "Sign",
    "Signal",
    "extended",
    "read_knowledge",
    "shipped_knowledge",
]

Transform = Literal["level", "rate", "count", "utilisation", "codes", "bits", "presence"]
Merge = Literal["sum", "mean", "worst"]
Reach = Literal["own", "service", "lost", "crashed", "upstream", "version", "work"]

_CARRY_METRICS = (EntityKind.REPLICA, EntityKind.GPU, EntityKind.NODE, EntityKind.PORT)
_NEEDED = {"utilisation": "capacity", "codes": "codes", "bits": "bits"}
_SENTENCE = {"entity": "", "signal": "", "before": "", "during": "", "unit": ""}


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


_REPLICAS_NAMED = 3


def step_text(
    step: str, entity: str, node: str | None = None, replicas: Collection[str] = (), peer: str | None = None
) -> str:
    """A next step with names in it.

    Args:
        step: it may name `{entity}`, the thing, and what follows.
        entity: the thing's name.
        node: `{node}`, that it is on.
        replicas: `{replicas}`, that it carries.
        peer: `{peer}`, the port at the other end of its cable.

    >>> step_text("Drain {replicas}, then reset {entity} on {node}.", "GPU-1", "gpu-07", ["chat-1"])
    'Drain chat-1, then reset GPU-1 on gpu-07.'
    >>> step_text("Drain {replicas} of {node}; look at {peer}.", "GPU-1")
    'Drain its replicas of its node; look at its other end.'
    """
    named = sorted(name for name in replicas if name)
    filled = {
        "{entity}": entity,
        "{node}": node or "its node",
        "{replicas}": names_text(named, _REPLICAS_NAMED) if named else "its replicas",
        "{peer}": peer or "its other end",
    }
    for name, words in filled.items():
        step = step.replace(name, words)
    return step


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
    summary_from: tuple[str, ...] = ()

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

    def metrics_of(self, name: str) -> list[str]:
        """The metrics that tell a signal, and those of its capacity; empty for a signal that is not known."""
        signal = self.signals.get(name)
        return [] if signal is None else [*signal.metrics, *signal.capacity]

    def signal_title(self, name: str) -> str:
        """What a signal is called beside its values; one that is not known any more is made readable."""
        signal = self.signals.get(name)
        return sentence(readable(name)) if signal is None else signal.title

    def cause_title(self, kind: CauseKind) -> str:
        """What a kind of cause is called; one without a pattern is made readable."""
        pattern = self.patterns.get(kind)
        if pattern is not None:
            return pattern.title
        return "Cause unknown" if kind is CauseKind.UNKNOWN else sentence(readable(kind.value))

    @property
    def of_replicas(self) -> frozenset[str]:
        """The metrics that tell of replicas, in lower case."""
        signals = [signal for signal in self.signals.values() if signal.entity is EntityKind.REPLICA]
        return frozenset(metric for signal in signals for metric in signal.metrics)

    @property
    def labels(self) -> list[str]:
        """The labels that some signal asks for."""
        return sorted({name for signal in self.signals.values() for name, _ in signal.labels})

    @property
    def parts(self) -> dict[str, tuple[str, frozenset[str]]]:
        """Of the metrics, in lower case, that no signal reads whole: a label, and all values of it that one asks for.

        A metric whose signals have no label in common is not among them.
        """
        asked: dict[str, list[dict[str, frozenset[str]]]] = {}
        for signal in self.signals.values():
            for metric in {*signal.metrics, *signal.capacity}:
                asked.setdefault(metric, []).append(dict(signal.labels))
        shared = {metric: set.intersection(*map(set, labels)) for metric, labels in asked.items()}
        return {
            metric: (label, frozenset.union(*(one[label] for one in asked[metric])))
            for metric, label in ((metric, min(labels)) for metric, labels in shared.items() if labels)
        }


@cache
def shipped_knowledge() -> Knowledge:
    """What Tailsight knows out of the box."""
    package = resources.files(__name__)
    return read_knowledge((package / "signals.yaml").read_text(), (package / "causes.yaml").read_text())


def read_knowledge(signals_yaml: str, causes_yaml: str) -> Knowledge:
    """Read and check the two documents.

    Raises:
        KnowledgeError: naming the document, the entry and the field that cannot be used.
    """
    signals = _signals(Document("signals.yaml", signals_yaml))
    return Knowledge(signals, _patterns(Document("causes.yaml", causes_yaml), signals))


def extended(
    knowledge: Knowledge,
    signals_yaml: str,
    causes_yaml: str,
    *,
    signals_file: str = "signals.yaml",
    causes_file: str = "causes.yaml",
) -> Knowledge:
    """What is known, with somebody's own signals and causes: an entry of the same name takes the place of ours.

    Args:
        knowledge: what is known.
        signals_yaml: their signals.
        causes_yaml: their causes.
        signals_file: what errors call the document of signals.
        causes_file: what errors call the document of causes.

    Raises:
        KnowledgeError: naming the file, the entry and the field that cannot be used.
    """
    document = Document(signals_file, signals_yaml)
    own = _signals(document)
    for name, signal in own.items():
        with document.told_of(name):
            _check_is_measured(signal, knowledge.signals.get(name))
    signals = {**knowledge.signals, **own}
    patterns = _patterns(Document(causes_file, causes_yaml), signals)
    for kind, pattern in knowledge.patterns.items():  # a signal of theirs may have taken the place of one of its signs
        if kind not in patterns:
            with document.told_of(kind):
                _check_entities(pattern, signals)
    return Knowledge(signals, {**knowledge.patterns, **patterns})


def _signals(document: Document) -> dict[str, Signal]:
    found = {}
    for name, entry in document.entries().items():
        with document.told_of(name):
            found[name] = _signal(name, dict(entry))
    return found


def _patterns(document: Document, signals: Mapping[str, Signal]) -> dict[CauseKind, Pattern]:
    found = {}
    for name, entry in document.entries().items():
        with document.told_of(name):
            pattern = _pattern(name, dict(entry))
            _check_pattern(pattern, signals)
            found[pattern.kind] = pattern
    return found


def _signal(name: str, entry: dict[str, Any]) -> Signal:
    _check_fields(entry, Signal)
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
    for field, valid in (("transform", Transform), ("merge", Merge), ("worse", Literal["up", "down"])):
        value = getattr(signal, field)
        if value is not None and value not in get_args(valid):
            raise ValueError(f"{field} is {value!r}; valid are {', '.join(get_args(valid))}")
    if not signal.floor > 0:  # NaN is not either
        raise ValueError(f"floor is {signal.floor}; expected the least change that matters, above 0")
    return signal


def _pattern(name: str, entry: dict[str, Any]) -> Pattern:
    entities = entry.pop("entity")
    _check_fields(entry, Pattern)
    return Pattern(
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
        summary_from=tuple(entry.pop("summary_from", ())),
        **entry,
    )


def _check_fields(entry: Mapping[str, Any], kind: type) -> None:
    valid = {field.name for field in fields(kind)} - {"name", "kind", "entities"}
    unknown = sorted(entry.keys() - valid)
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}; valid are {', '.join(sorted(valid))}")


def _check_is_measured(signal: Signal, ours: Signal | None) -> None:
    """Does a signal of somebody's own come from metrics, unless it stands for one that we work out from requests."""
    if ours is not None and not ours.metrics:
        if signal.metrics or signal.entity is not ours.entity:
            raise ValueError(
                f"metrics and entity cannot be changed: Tailsight works it out from requests, by {ours.entity}"
            )
        return
    if not signal.metrics:
        raise ValueError("metrics is missing; expected the names of the metrics that carry it")
    if signal.entity not in _CARRY_METRICS:
        raise ValueError(f"entity is {signal.entity}, which no metric is of; valid are {', '.join(_CARRY_METRICS)}")
    if signal.transform == "count":
        raise ValueError("transform is count, which is of requests; rate tells the events a second of a counter")
    needed = _NEEDED.get(signal.transform)
    if needed is not None and not getattr(signal, needed):
        raise ValueError(f"{needed} is missing; transform {signal.transform} needs it")


def _check_pattern(pattern: Pattern, signals: Mapping[str, Signal]) -> None:
    # A sign that asks for a level may support below it.
    required = {sign.signal for sign in pattern.requires if sign == Sign(sign.signal)}
    if required & set(pattern.supports):
        raise ValueError(f"{', '.join(sorted(required & set(pattern.supports)))} cannot support itself")
    for signal in pattern.signals:
        if signal not in signals:
            raise ValueError(f"unknown signal {signal!r}; known are {', '.join(sorted(signals))}")
    shown = {*(sign.signal for sign in pattern.requires), *pattern.supports}
    if untold := sorted(set(pattern.summary_from) - shown):
        raise ValueError(f"summary_from has {', '.join(untold)}; valid are signals of requires and supports")
    for reach in pattern.reach:
        if reach not in get_args(Reach):
            raise ValueError(f"reach is {reach!r}; valid are {', '.join(get_args(Reach))}")
    if pattern.kind is CauseKind.UNKNOWN:
        raise ValueError("unknown is what is said when nothing else explains a spike; it has no signs")
    if not pattern.requires:
        raise ValueError("requires is empty; expected a sign at least")
    if not 0 < pattern.weight <= 1:
        raise ValueError(f"weight is {pattern.weight}; expected more than 0, at most 1")
    _check_sentences(pattern)
    _check_entities(pattern, signals)


def _check_sentences(pattern: Pattern) -> None:
    for field in ("summary", "absent"):
        try:
            getattr(pattern, field).format(**_SENTENCE)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            valid = ", ".join(f"{{{name}}}" for name in _SENTENCE)
            raise ValueError(f"{field} cannot be filled in ({error!r}); valid are {valid}") from None


def _check_entities(pattern: Pattern, signals: Mapping[str, Signal]) -> None:
    for sign in pattern.requires:
        entity = signals[sign.signal].entity
        if entity not in pattern.entities:
            pinned = ", ".join(pattern.entities)
            raise ValueError(f"requires {sign.signal}, a signal of a {entity}, but entity is {pinned}")
