import string

import pytest

from analytics.knowledge import KnowledgeError, Pattern, Signal, read_knowledge, shipped_knowledge
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
def test_the_required_signs_of_a_cause_are_of_its_own_kind_of_entity(pattern: Pattern) -> None:
    assert {KNOWLEDGE.signals[sign.signal].entity for sign in pattern.requires} == {pattern.entity}


@pytest.mark.parametrize("signal", KNOWLEDGE.signals.values(), ids=lambda signal: signal.name)
def test_every_signal_is_whole(signal: Signal) -> None:
    assert signal.title
    assert signal.unit
    assert signal.floor > 0
    assert signal.layer in {"request", "engine", "gpu", "fabric"}
    assert (signal.capacity is not None) == (signal.transform == "utilisation")
    assert bool(signal.metrics) == (signal.layer != "request")


def test_no_metric_carries_two_signals() -> None:
    carried = [metric for signal in KNOWLEDGE.signals.values() for metric in signal.metrics]
    assert len(carried) == len(set(carried))


@pytest.mark.parametrize(
    ("signals", "causes", "told"),
    [
        (SIGNAL.replace("unit", "units"), CAUSE, "signals.yaml, errors: .*units"),
        (SIGNAL.replace("port", "cable"), CAUSE, "signals.yaml, errors: 'cable' is not a valid EntityKind"),
        (SIGNAL, CAUSE.replace("network_link_fault", "gremlins"), "causes.yaml, gremlins: 'gremlins' is not a valid"),
        (SIGNAL, CAUSE.replace("absent", "absence"), "causes.yaml, network_link_fault: .*absence"),
        (SIGNAL, CAUSE.replace("signal: errors", "signal: mood"), "unknown signal 'mood'; known are errors"),
        (SIGNAL, CAUSE.replace("signal: errors", "metric: errors"), "causes.yaml, network_link_fault: .*metric"),
        (SIGNAL, CAUSE.replace("  supports: []\n", ""), "causes.yaml, network_link_fault: 'supports'"),
        ("[errors]", CAUSE, "signals.yaml: expected a mapping of names to mappings"),
        (SIGNAL, "network_link_fault: soon", "causes.yaml: expected a mapping of names to mappings"),
    ],
)
def test_a_fault_in_a_document_is_told_with_its_file_entry_and_field(signals: str, causes: str, told: str) -> None:
    with pytest.raises(KnowledgeError, match=told):
        read_knowledge(signals, causes)
