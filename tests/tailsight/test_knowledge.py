from pathlib import Path

import pytest

from analytics.knowledge import KnowledgeError, Sign, shipped_knowledge
from domain.cause import CauseKind
from tailsight.knowledge import read_own_knowledge

SIGNAL = (
    "our_errors: {title: Errors, layer: fabric, entity: port, unit: 1/s, worse: up, floor: 0.1, metrics: [a_total]}"
)
CAUSE = """
network_link_fault:
  title: Bad link
  entity: port
  requires: [{signal: our_errors}]
  summary: "{entity}: {signal} {before} → {during} {unit}"
  absent: none
  next_steps: [Swap it.]
"""


def written(tmp_path: Path, signals: str | None, causes: str | None) -> tuple[Path | None, Path | None]:
    files = []
    for name, text in (("our-signals.yaml", signals), ("our-causes.yaml", causes)):
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        files.append(file if text is not None else None)
    return files[0], files[1]


def test_both_files_are_read_beside_what_is_known(tmp_path: Path) -> None:
    known = read_own_knowledge(*written(tmp_path, SIGNAL, CAUSE))
    assert known.patterns[CauseKind.NETWORK_LINK_FAULT].requires == (Sign("our_errors"),)
    assert known.patterns.keys() == shipped_knowledge().patterns.keys()
    assert known.signals["our_errors"].metrics == ("a_total",)


def test_either_file_may_stand_alone(tmp_path: Path) -> None:
    signals, _ = written(tmp_path, SIGNAL, None)
    assert "our_errors" in read_own_knowledge(signals, None).signals
    _, causes = written(tmp_path, None, CAUSE.replace("our_errors", "symbol_errors"))
    assert read_own_knowledge(None, causes).patterns[CauseKind.NETWORK_LINK_FAULT].supports == ()


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    assert read_own_knowledge(*written(tmp_path, text, text)) == shipped_knowledge()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("unit", "units"), "our_errors: unknown field units"),
        (("port", "cable"), "our_errors: 'cable' is not a valid EntityKind"),
        (("[a_total]", "a_total"), "our_errors: metrics is 'a_total'; expected a list of names"),
        (("[a_total]", "[1]"), "our_errors: metrics is .*; expected a list of names"),
        (("floor: 0.1", 'floor: "0.1"'), "our_errors: floor is '0.1'; expected a number"),
        (("floor: 0.1", "floor: 0"), "our_errors: floor is 0; expected the least change that matters, above 0"),
        (("floor: 0.1", "floor: .nan"), "our_errors: floor is nan"),
        (("floor: 0.1", "floor: yes"), "our_errors: floor is True; expected a number"),
        (("title: Errors", "title: 5"), "our_errors: title is 5; expected text"),
        (("floor", "labels: {mode: idle}, floor"), "our_errors: labels is .*; expected lists of values by label"),
        (("floor", "bounds: [1, 0], floor"), "our_errors: bounds is .*; expected two numbers, the lesser first"),
        (("floor", "bounds: [1], floor"), "our_errors: bounds is .*; expected two numbers, the lesser first"),
        ((", metrics: [a_total]", ""), "our_errors: metrics is missing"),
        (("port", "service"), "our_errors: entity is service, which no metric is of; valid are replica, gpu, node"),
        (("floor", "transform: utilisation, floor"), "our_errors: capacity is missing; transform utilisation needs it"),
        (("floor", "transform: count, floor"), "our_errors: transform is count, which is of requests; rate tells"),
        (("floor", "transform: slope, floor"), "our_errors: transform is 'slope'; valid are level, rate"),
        (("floor", "transform: codes, floor"), "our_errors: codes is missing"),
        (("floor", "transform: bits, floor"), "our_errors: bits is missing"),
        (("our_errors", "queue_time"), "queue_time: metrics and entity cannot be changed: .* requests, by replica"),
        (("our_errors:", "our_errors: {"), "no YAML"),
        ((SIGNAL, "[errors]"), "expected a mapping of names to mappings"),
        ((SIGNAL, "errors: soon"), "expected a mapping of names to mappings"),
    ],
)
def test_a_fault_in_a_signal_is_told_with_its_file_entry_and_field(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    signals, _ = written(tmp_path, SIGNAL.replace(*change), None)
    with pytest.raises(KnowledgeError, match=rf"our-signals\.yaml[,:] {told}"):
        read_own_knowledge(signals, None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("network_link_fault", "optics_failing"), "optics_failing: 'optics_failing' is not a valid CauseKind"),
        (("network_link_fault", "unknown"), "unknown: unknown is what is said when nothing else explains a spike"),
        (("our_errors", "mood"), "network_link_fault: unknown signal 'mood'"),
        (("entity: port", "entity: gpu"), "network_link_fault: requires our_errors, a signal of a port, but .* gpu"),
        (("[{signal: our_errors}]", "[]"), "network_link_fault: requires is empty"),
        (("[{signal: our_errors}]", "our_errors"), "network_link_fault: requires is 'our_errors'; expected a list of"),
        (("our_errors}", "our_errors, times: twice}"), "network_link_fault: requires: times is 'twice'"),
        (("[Swap it.]", "Swap it."), "network_link_fault: next_steps is 'Swap it.'; expected a list of sentences"),
        (
            ("{before}", "{usual}"),
            r"network_link_fault: summary cannot be filled in \(KeyError\('usual'\)\); valid are",
        ),
        (("absent: none", 'absent: "{"'), "network_link_fault: absent cannot be filled in"),
        (("title", "weight: 2\n  title"), "network_link_fault: weight is 2; expected more than 0, at most 1"),
        (("title", "reach: [afar]\n  title"), "network_link_fault: reach is 'afar'; valid are own"),
    ],
)
def test_a_fault_in_a_cause_is_told_with_its_file_entry_and_field(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    files = written(tmp_path, SIGNAL, CAUSE.replace(*change))
    with pytest.raises(KnowledgeError, match=rf"our-causes\.yaml, {told}"):
        read_own_knowledge(*files)


def test_a_signal_in_place_of_ours_must_still_fit_the_causes_that_require_it(tmp_path: Path) -> None:
    signals, _ = written(tmp_path, SIGNAL.replace("our_errors", "symbol_errors").replace("port", "node"), None)
    with pytest.raises(KnowledgeError, match=r"our-signals\.yaml, network_link_fault: requires symbol_errors"):
        read_own_knowledge(signals, None)


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "signals.yaml").write_bytes(b"errors: \xff\xfe")
    with pytest.raises(KnowledgeError, match="is no text in UTF-8"):
        read_own_knowledge(tmp_path / "signals.yaml", None)
