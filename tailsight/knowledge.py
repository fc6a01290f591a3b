"""Signals and causes of somebody's own: read once at start, and checked for what would only go wrong later."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from analytics.knowledge import Knowledge, KnowledgeError, Pattern, Signal, extended, shipped_knowledge
from domain.cause import CauseKind
from domain.entity import EntityKind

_NUMBER = (int, float)
_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("title", "layer", "unit", "summary", "absent"), (str, "text")),
    **dict.fromkeys(("floor", "relative_floor", "weight", "at_least", "at_most", "times"), (_NUMBER, "a number")),
    **dict.fromkeys(("field_bits", "bits", "replicas_min"), (int, "a whole number")),
}
_LISTS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("metrics", "through", "expects", "supports", "against", "brings", "reach"), (str, "names")),
    "next_steps": (str, "sentences"),
    "codes": (int, "whole numbers"),
    "bounds": (_NUMBER, "two numbers, the lesser first"),
    "requires": (dict, "signs, as in [{signal: symbol_errors}]"),
}
_CARRY_METRICS = (EntityKind.REPLICA, EntityKind.GPU, EntityKind.NODE, EntityKind.PORT)
_NEEDED = {"utilisation": "capacity", "codes": "codes", "bits": "bits"}
_SENTENCE = {"entity": "", "signal": "", "before": "", "during": "", "unit": ""}


def read_own_knowledge(signals: Path | None, causes: Path | None) -> Knowledge:
    """What Tailsight knows, with the signals and causes of these files: an entry of the same name takes ours' place.

    Raises:
        KnowledgeError: naming the file, the entry and the field that cannot be used.
    """
    signals_text, causes_text = ("" if file is None else _text(file) for file in (signals, causes))
    own_signals, own_causes = _entries(signals_text), _entries(causes_text)
    for file, entries in ((signals, own_signals), (causes, own_causes)):
        for name, entry in entries.items():
            _check_types(f"{file}, {name}", entry)
    shipped = shipped_knowledge()
    try:
        known = extended(shipped, signals_text, causes_text)
    except KnowledgeError as error:
        raise KnowledgeError(_in_their_file(str(error), signals, causes)) from error
    for name in own_signals:
        _check_signal(f"{signals}, {name}", known.signals[name], shipped.signals.get(name))
    for name in own_causes:
        _check_pattern(f"{causes}, {name}", known.patterns[CauseKind(name)])
    for pattern in known.patterns.values():  # ours too: a signal of somebody's own may have taken the place of one
        _check_entities(pattern, known, causes if pattern.kind in own_causes else signals)
    return known


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise KnowledgeError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise KnowledgeError(f"{file} is no text in UTF-8: {error}") from None


def _in_their_file(told: str, signals: Path | None, causes: Path | None) -> str:
    """The message with the name of their file for that of ours, and the place once where it stands twice."""
    place, _, rest = told.partition(": ")
    if rest.startswith(f"{place}: "):
        told = rest
    for ours, file in (("signals.yaml", signals), ("causes.yaml", causes)):
        if told.startswith(ours):
            return f"{file}{told.removeprefix(ours)}"
    return told


def _entries(text: str) -> dict[str, dict[str, Any]]:
    """The entries, as they stand; none where `extended` will say what is wrong with the whole."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    entries = document if isinstance(document, dict) else {}
    return entries if all(isinstance(entry, dict) for entry in entries.values()) else {}


def _check_types(place: str, entry: Mapping[str, Any]) -> None:
    """Text where text is meant: YAML takes `metrics: a_total` for a text, which is no list of one."""
    for field, value in entry.items():
        if field in _TYPES and not _is(value, _TYPES[field][0]):
            raise KnowledgeError(f"{place}: {field} is {value!r}; expected {_TYPES[field][1]}")
        if field in _LISTS:
            of, told = _LISTS[field]
            if not isinstance(value, list) or not all(_is(item, of) for item in value):
                raise KnowledgeError(f"{place}: {field} is {value!r}; expected a list of {told}")
    labels = entry.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(values, list) for values in labels.values()):
        raise KnowledgeError(
            f"{place}: labels is {labels!r}; expected lists of values by label, as in {{mode: [idle]}}"
        )
    bounds = entry.get("bounds", [0, 1])
    if len(bounds) != 2 or bounds[0] >= bounds[1]:
        raise KnowledgeError(f"{place}: bounds is {bounds!r}; expected two numbers, the lesser first")
    for sign in entry.get("requires", []):
        _check_types(f"{place}: requires", sign)


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_signal(place: str, signal: Signal, ours: Signal | None) -> None:
    if not signal.floor > 0:
        raise KnowledgeError(f"{place}: floor is {signal.floor}; expected the least change that matters, above 0")
    if ours is not None and not ours.metrics:
        if signal.metrics or signal.entity is not ours.entity:
            raise KnowledgeError(
                f"{place}: metrics and entity cannot be changed: Tailsight works it out from requests, by {ours.entity}"
            )
        return
    if not signal.metrics:
        raise KnowledgeError(f"{place}: metrics is missing; expected the names of the metrics that carry it")
    if signal.entity not in _CARRY_METRICS:
        valid = ", ".join(_CARRY_METRICS)
        raise KnowledgeError(f"{place}: entity is {signal.entity}, which no metric is of; valid are {valid}")
    if signal.transform == "count":
        raise KnowledgeError(
            f"{place}: transform is count, which is of requests; rate tells the events a second of a counter"
        )
    needed = _NEEDED.get(signal.transform)
    if needed is not None and not getattr(signal, needed):
        raise KnowledgeError(f"{place}: {needed} is missing; transform {signal.transform} needs it")


def _check_pattern(place: str, pattern: Pattern) -> None:
    if pattern.kind is CauseKind.UNKNOWN:
        raise KnowledgeError(f"{place}: unknown is what is said when nothing else explains a spike; it has no signs")
    if not pattern.requires:
        raise KnowledgeError(f"{place}: requires is empty; expected a sign at least")
    if not 0 < pattern.weight <= 1:
        raise KnowledgeError(f"{place}: weight is {pattern.weight}; expected more than 0, at most 1")
    for field in ("summary", "absent"):
        try:
            getattr(pattern, field).format(**_SENTENCE)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            valid = ", ".join(f"{{{name}}}" for name in _SENTENCE)
            raise KnowledgeError(f"{place}: {field} cannot be filled in ({error!r}); valid are {valid}") from None


def _check_entities(pattern: Pattern, known: Knowledge, file: Path | None) -> None:
    for sign in pattern.requires:
        entity = known.signals[sign.signal].entity
        if entity not in pattern.entities:
            pinned = ", ".join(pattern.entities)
            raise KnowledgeError(
                f"{file}, {pattern.kind}: requires {sign.signal}, a signal of a {entity}, but entity is {pinned}"
            )
