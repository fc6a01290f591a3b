import doctest
import string
from dataclasses import replace

import pytest

from analytics import knowledge
from analytics.knowledge import KnowledgeError, Pattern, Sign, Signal, extended, read_knowledge, shipped_knowledge
from domain.cause import CauseKind

KNOWLEDGE = shipped_knowledge()
SIGNAL = (
    "errors: {title: Errors, layer: fabric, entity: port, unit: 1/s, worse: up, floor: 0.1, metrics: [ERRORS_total]}"
)
CAUSE = """
network_link_fault:
  title: Bad link
  entity: port
  requires: [{signal: errors}]
  supports: []
  against: []
  summary: bad
  absent: good
  next_steps: []
"""
PLACEHOLDERS = {"entity", "before", "during", "unit", "signal"}


def test_the_two_documents_are_read() -> None:
    knowledge = read_knowledge(SIGNAL, CAUSE)
    assert knowledge.signals["errors"].metrics == ("errors_total",), "metrics are matched without regard to case"
    assert knowledge.patterns[CauseKind.NETWORK_LINK_FAULT].requires[0].signal == "errors"
    assert knowledge.metrics == ["errors_total"]


@pytest.mark.parametrize("pattern", KNOWLEDGE.patterns.values(), ids=lambda pattern: pattern.kind.value)
def test_every_sentence_of_a_cause_can_be_filled(pattern: Pattern) -> None:
    for template in (pattern.summary, pattern.absent):
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name}
        assert fields <= PLACEHOLDERS
        assert template.format(**dict.fromkeys(PLACEHOLDERS, "x"))
    assert pattern.title
    assert pattern.next_steps
    assert all(step.endswith((".", "!")) for step in pattern.next_steps)


@pytest.mark.parametrize("pattern", KNOWLEDGE.patterns.values(), ids=lambda pattern: pattern.kind.value)
def test_the_required_signs_of_a_cause_are_of_a_kind_of_entity_that_it_is_pinned_on(pattern: Pattern) -> None:
    assert {KNOWLEDGE.signals[sign.signal].entity for sign in pattern.requires} == {pattern.entities[0]}


@pytest.mark.parametrize("pattern", KNOWLEDGE.patterns.values(), ids=lambda pattern: pattern.kind.value)
def test_every_signal_is_spoken_of_with_a_kind_that_the_outside_knows(pattern: Pattern) -> None:
    assert pattern.kind in set(CauseKind) - {CauseKind.UNKNOWN}
    assert pattern.kind not in pattern.brings


def test_every_kind_has_its_signs() -> None:
    assert KNOWLEDGE.patterns.keys() == set(CauseKind) - {CauseKind.UNKNOWN}


def test_every_signal_is_used() -> None:
    used = {name for pattern in KNOWLEDGE.patterns.values() for name in pattern.signals}
    assert KNOWLEDGE.signals.keys() == used


@pytest.mark.parametrize("signal", KNOWLEDGE.signals.values(), ids=lambda signal: signal.name)
def test_every_signal_is_whole(signal: Signal) -> None:
    assert signal.title
    assert signal.unit
    assert signal.floor > 0
    assert signal.layer in {"request", "engine", "gpu", "host", "fabric"}
    assert bool(signal.capacity) == (signal.transform == "utilisation")
    assert bool(signal.metrics) == (signal.layer != "request")


def test_no_two_signals_read_the_same_of_a_metric() -> None:
    read = [
        (metric, signal.transform, signal.codes, signal.bits, str(signal.labels), signal.floor)
        for signal in KNOWLEDGE.signals.values()
        for metric in signal.metrics
    ]
    assert len(read) == len(set(read))


def test_of_a_metric_that_no_signal_reads_whole_the_values_of_a_label_that_some_signal_asks_for_are_known() -> None:
    assert KNOWLEDGE.parts["node_cpu_seconds_total"] == ("mode", {"idle", "steal", "iowait"})
    assert KNOWLEDGE.parts.keys() <= set(KNOWLEDGE.metrics)
    assert "node_load1" not in KNOWLEDGE.parts


def test_a_metric_is_read_whole_when_one_signal_asks_for_no_label_or_two_for_different_ones() -> None:
    def signal(name: str, **labels: str) -> Signal:
        told = tuple((label, frozenset({value})) for label, value in labels.items())
        return replace(KNOWLEDGE.signals["cpu_steal"], name=name, metrics=("m",), labels=told)

    def parts(*signals: Signal) -> dict[str, tuple[str, frozenset[str]]]:
        return replace(KNOWLEDGE, signals={one.name: one for one in signals}).parts

    assert parts(signal("a", mode="idle"), signal("b", mode="user")) == {"m": ("mode", {"idle", "user"})}
    assert parts(signal("a", mode="idle"), signal("b")) == {}
    assert parts(signal("a", mode="idle"), signal("b", cpu="0")) == {}
    assert parts(signal("a", mode="idle", cpu="1"), signal("b", cpu="0")) == {"m": ("cpu", {"0", "1"})}


def test_somebodys_own_entries_stand_beside_ours_and_in_place_of_those_of_the_same_name() -> None:
    own = SIGNAL.replace("errors:", "our_errors:").replace("ERRORS_total", "our_errors_total")
    known = extended(KNOWLEDGE, own, CAUSE.replace("signal: errors", "signal: our_errors"))
    assert known.patterns[CauseKind.NETWORK_LINK_FAULT].requires == (Sign("our_errors"),)
    assert known.patterns.keys() == KNOWLEDGE.patterns.keys()
    assert "our_errors_total" in known.metrics


@pytest.mark.parametrize(
    ("signals", "causes", "told"),
    [
        (SIGNAL.replace("unit", "units"), CAUSE, "signals.yaml, errors: .*units"),
        (SIGNAL.replace("port", "cable"), CAUSE, "signals.yaml, errors: 'cable' is not a valid EntityKind"),
        (SIGNAL, CAUSE.replace("network_link_fault", "gremlins"), "causes.yaml, gremlins: 'gremlins' is not a valid"),
        (SIGNAL, CAUSE.replace("absent", "absence"), "causes.yaml, network_link_fault: .*absence"),
        (SIGNAL, CAUSE.replace("signal: errors", "signal: mood"), "unknown signal 'mood'; known are errors"),
        (SIGNAL, CAUSE.replace("signal: errors", "metric: errors"), "causes.yaml, network_link_fault: .*metric"),
        (SIGNAL, CAUSE.replace("  next_steps: []\n", ""), "causes.yaml, network_link_fault: 'next_steps'"),
        (SIGNAL.replace("fabric", "fabric, transform: slope"), CAUSE, "transform is 'slope'; valid are level, rate"),
        (SIGNAL, CAUSE + "  reach: [afar]\n", "reach is 'afar'; valid are own, service"),
        (SIGNAL, CAUSE + "  summary_from: [mood]\n", "summary_from has mood; valid are signals of requires"),
        (SIGNAL, "{", "causes.yaml: no YAML"),
        ("[errors]", CAUSE, "signals.yaml: expected a mapping of names to mappings"),
        (SIGNAL, "network_link_fault: soon", "causes.yaml: expected a mapping of names to mappings"),
    ],
)
def test_a_fault_in_a_document_is_told_with_its_file_entry_and_field(signals: str, causes: str, told: str) -> None:
    with pytest.raises(KnowledgeError, match=told):
        read_knowledge(signals, causes)


def test_the_examples_of_next_steps_hold() -> None:
    assert doctest.testmod(knowledge) == (0, 2)


def test_signals_and_causes_bear_their_titles_and_what_is_not_known_any_more_is_made_readable() -> None:
    assert KNOWLEDGE.signal_title("symbol_errors") == "Symbol errors"
    assert KNOWLEDGE.signal_title("some_old:signal") == "Some old signal"
    assert KNOWLEDGE.signal_title("engine_start") == "Engine start"
    assert KNOWLEDGE.cause_title(CauseKind.NETWORK_LINK_FAULT) == "Bad link"
    assert KNOWLEDGE.cause_title(CauseKind.UNKNOWN) == "Cause unknown"


@pytest.mark.parametrize("kind", CauseKind)
def test_every_kind_of_cause_has_a_title_of_its_own(kind: CauseKind) -> None:
    assert [KNOWLEDGE.cause_title(other) for other in CauseKind].count(KNOWLEDGE.cause_title(kind)) == 1
