from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from analytics.jobs.objectives import chosen
from analytics.slo_documents.objectives import document_of
from domain.incident import Indicator
from domain.slo import Objective, Period
from tailsight.errors import SettingsError
from tailsight.settings import read_settings

CHAT = Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, 800.0)
RERANK = Objective("rerank", "rerank", Indicator.ERRORS, 0.999, 7)


def kept(folder: Path, name: str, *objectives: Objective) -> Path:
    """A file of these objectives."""
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump_all([document_of(one) for one in objectives]))
    return file


def settings_of(*patterns: object) -> dict[str, str]:
    return {"TAILSIGHT_SLO__FILES": f"[{', '.join(map(str, patterns))}]"}


def test_objectives_of_files_are_promised_beside_those_of_the_configuration(tmp_path: Path) -> None:
    kept(tmp_path / "slos", "a.yaml", CHAT)
    kept(tmp_path / "slos", "b.yaml", RERANK)
    own = "[{name: own, service: chat, indicator: errors, target_ratio: 0.9}]"
    settings = read_settings(None, {**settings_of(tmp_path / "slos" / "*.yaml"), "TAILSIGHT_OBJECTIVES": own})
    assert [(one.name, one.file) for one in settings.promised] == [
        ("own", None),
        ("chat-ttft", str(tmp_path / "slos" / "a.yaml")),
        ("rerank", str(tmp_path / "slos" / "b.yaml")),
    ]


def test_a_file_without_an_objective_that_can_be_judged_is_told_by_its_name(tmp_path: Path) -> None:
    file = kept(tmp_path, "a.yaml", CHAT)
    file.write_text(file.read_text().replace("target: 0.99", "target: 99"))
    with pytest.raises(SettingsError, match=rf"slo: {file}: spec.objectives\[0\].target: is 99"):
        read_settings(None, settings_of(file))
    file.write_text("{")
    with pytest.raises(SettingsError, match=f"slo: {file}: document: is no YAML"):
        read_settings(None, settings_of(file))


def test_a_pattern_that_meets_no_file_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no file .*/none/"):
        read_settings(None, settings_of(tmp_path / "none" / "*.yaml"))


def test_no_window_is_longer_than_requests_are_kept(tmp_path: Path) -> None:
    file = kept(tmp_path, "a.yaml", replace(CHAT, more_periods=(Period(90),)))
    with pytest.raises(SettingsError, match="chat-ttft counts over more days than the 35 that requests are kept"):
        read_settings(None, settings_of(file))


def test_a_name_stands_once(tmp_path: Path) -> None:
    first, second = kept(tmp_path, "a.yaml", CHAT), kept(tmp_path, "b.yaml", CHAT)
    with pytest.raises(SettingsError, match=f"chat-ttft stands in {first} and in {second}"):
        read_settings(None, settings_of(first, second))
    own = "[{name: chat-ttft, service: chat, indicator: errors, target_ratio: 0.9}]"
    with pytest.raises(SettingsError, match="chat-ttft stands twice"):
        read_settings(None, {**settings_of(first), "TAILSIGHT_OBJECTIVES": own})


def test_what_the_api_keeps_stands_in_place_of_the_configuration_but_not_of_a_file() -> None:
    fixed = Objective("fixed", "chat", Indicator.ERRORS, 0.9, 30, file="slos/a.yaml")
    configured = Objective("own", "chat", Indicator.ERRORS, 0.9, 30)
    others = [Objective(name, "chat", Indicator.ERRORS, 0.5, 30) for name in ("fixed", "own", "new")]
    assert {one.name: one.target_ratio for one in chosen([configured, fixed], others)} == {
        "own": 0.5,
        "fixed": 0.9,
        "new": 0.5,
    }
