"""The documentation says what is true: generated parts are up to date, links lead somewhere, causes are told."""

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, cast, get_args

import click
import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from alerts.service import _Telemetry as _AlertingTelemetry
from alerts.sources import SourceFailures
from analytics.knowledge import Pattern, Reach, Sign, Signal, extended, shipped_knowledge
from collector.cardinality import CardinalityGuard
from collector.settings import CardinalitySettings
from collector.telemetry import Telemetry
from domain.cause import CauseKind
from reports.delivery import _Telemetry as _WeeklyTelemetry
from storage.store import Store
from tailsight.cli import app
from tailsight.settings import KnowledgeSettings, Settings
from tailsight.telemetry import AnalysisTelemetry, BuildTelemetry, CatchUpTelemetry, UpkeepTelemetry
from tests.documents import yaml_blocks

_ROOT = Path(__file__).parents[1]
_DOCS = sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def _settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "Every key of the configuration file. As an environment variable, `collector.otlp_http.port` is",
        "`TAILSIGHT_COLLECTOR__OTLP_HTTP__PORT`.",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    return "\n".join(lines + _rows(Settings, "")) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            rows += _rows(inner, f"{prefix}{name}.")
            continue
        default = "" if field.is_required() else f"`{_shown(field.get_default(call_default_factory=True))}`"
        rows.append(f"| `{prefix}{name}` | {default} | {(field.description or '').replace('|', chr(92) + '|')} |")
        within = "." if type(None) in getattr(inner, "__args__", ()) else "[]."
        for item in _item_models(inner):
            rows += _rows(item, f"{prefix}{name}{within}")
    return rows


def _item_models(annotation: Any) -> list[type[BaseModel]]:
    arguments = getattr(annotation, "__args__", ())
    return [one for one in arguments if isinstance(one, type) and issubclass(one, BaseModel)]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return "none" if value is None else str(value)


def _cli_page() -> str:
    lines = ["# Commands", "", "Exit status: 0 fine, 1 found trouble, 2 wrong use.", ""]
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    for name, command in _commands("", group):
        lines += [f"## `tailsight {name}`", "", command.help or "", "", "| option | meaning |", "|---|---|"]
        for parameter in command.params:
            names = ", ".join(f"`{option}`" for option in parameter.opts) if parameter.opts else parameter.name
            lines.append(f"| {names} | {getattr(parameter, 'help', '') or ''} |")
        lines.append("")
    return "\n".join(lines)


def _commands(prefix: str, group: Any) -> list[tuple[str, Any]]:
    """Every command by its words, those of a group after it."""
    found = []
    for name, command in sorted(group.commands.items()):
        found.append((prefix + name, command))
        if hasattr(command, "commands"):
            found += _commands(f"{prefix}{name} ", command)
    return found


def _metrics_page() -> str:
    lines = [
        "# Metrics",
        "",
        "What `tailsight serve` tells of itself at `/metrics`, beside the usual `process_*` (memory, CPU time, files).",
        "What to look at first is in [operate.md](operate.md).",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in sorted(own_metrics(), key=lambda metric: metric._name):
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(f"| `{name}` | {metric._type} | {labels} | {metric._documentation} |")
    return "\n".join(lines) + "\n"


def own_metrics() -> list[Any]:
    """Every metric of the product's own."""
    registry = CollectorRegistry()
    Telemetry(registry)
    CardinalityGuard(cast("Store", None), CardinalitySettings(), registry)
    SourceFailures(registry)
    wired = (BuildTelemetry, UpkeepTelemetry, AnalysisTelemetry, CatchUpTelemetry)
    for telemetry in (*wired, _AlertingTelemetry, _WeeklyTelemetry):
        telemetry(registry)
    return list(registry._collector_to_names)


@pytest.mark.parametrize(
    ("page", "render"), [("settings.md", _settings_page), ("commands.md", _cli_page), ("metrics.md", _metrics_page)]
)
def test_generated_pages_are_up_to_date(page: str, render: Any) -> None:
    path = _ROOT / "docs" / page
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(render())
    assert path.read_text() == render(), (
        f"docs/{page} is out of date: UPDATE_DOCS=1 pytest tests/test_docs.py writes it"
    )


@pytest.mark.parametrize("document", _DOCS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    missing = [link for link in _LINK.findall(document.read_text()) if not (document.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("document", _DOCS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_nothing_is_left_to_fill_in(document: Path) -> None:
    assert "@@" not in document.read_text()


def _kinds_table() -> dict[str, list[str]]:
    """The rows of the table of kinds: pinned on, known by, speaks against it, confused with."""
    _, table = (_ROOT / "docs" / "causes.md").read_text().split("## The kinds", 1)
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", table.split("\n## ", 1)[0], re.MULTILINE)
    return {kind: [cell.strip() for cell in cells.split("|")] for kind, cells in rows}


def test_every_kind_of_cause_has_a_row_and_no_row_is_of_another() -> None:
    assert list(_kinds_table()) == [*shipped_knowledge().patterns, CauseKind.UNKNOWN]


@pytest.mark.parametrize("pattern", shipped_knowledge().patterns.values(), ids=lambda pattern: pattern.kind.value)
def test_the_row_of_a_kind_says_what_its_pattern_says(pattern: Pattern) -> None:
    pinned_on, known_by, against, confused = _kinds_table()[pattern.kind]
    assert pinned_on.split(", ") == list(pattern.entities)
    assert known_by.split(", ") == [_sign(sign) for sign in pattern.requires]
    named = re.findall(r"`(\w+)`", against)
    assert [signal for signal in named if signal not in pattern.against] == []
    assert bool(named) == bool(pattern.against)
    others = set(re.findall(r"`(\w+)`", confused))
    assert others
    assert others <= shipped_knowledge().patterns.keys() - {pattern.kind}


def _sign(sign: Sign) -> str:
    levels = ((" ≥ ", sign.at_least), (" ≤ ", sign.at_most), (" × ", sign.times))
    return f"`{sign.signal}`" + "".join(f"{mark}{level:g}" for mark, level in levels if level is not None)


def test_every_module_of_analytics_has_its_place_in_the_architecture() -> None:
    text = (_ROOT / "docs" / "architecture.md").read_text()
    modules = [path.name for path in (_ROOT / "analytics").glob("*.py") if path.name != "__init__.py"]
    assert [name for name in modules if f"`{name}`" not in text and f"`analytics/{name}`" not in text] == []


def test_every_decision_is_listed_in_the_architecture() -> None:
    text = (_ROOT / "docs" / "architecture.md").read_text()
    assert [path.name for path in (_ROOT / "docs" / "adr").glob("*.md") if f"adr/{path.name}" not in text] == []


def test_every_alert_about_tailsight_itself_has_a_row_that_says_where_to_look() -> None:
    rules = yaml.safe_load((_ROOT / "deploy/prometheus/tailsight.rules.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    _, section = (_ROOT / "docs" / "operate.md").read_text().split("## Paged about Tailsight itself\n", 1)
    assert re.findall(r"^\| `(\w+)` \|", section.split("\n## ", 1)[0], re.MULTILINE) == alerts


def test_the_example_of_a_cause_of_ones_own_can_be_read_as_it_stands() -> None:
    signals, causes, settings = yaml_blocks("adding-a-cause.md")
    known, shipped = extended(shipped_knowledge(), signals, causes), shipped_knowledge()
    ((name, _),) = yaml.safe_load(signals).items()
    ((kind, _),) = yaml.safe_load(causes).items()
    assert known.signals.keys() - shipped.signals.keys() == {name}
    ours, theirs = shipped.patterns[kind], known.patterns[kind]
    assert set(theirs.requires) - set(ours.requires) == {Sign(name)}
    assert (theirs.through, theirs.supports, theirs.brings) == (ours.through, ours.supports, ours.brings)
    assert yaml.safe_load(settings).keys() <= Settings.model_fields.keys()
    assert set(yaml.safe_load(settings)["knowledge"]) == set(KnowledgeSettings.model_fields)


def test_every_field_of_a_signal_and_of_a_cause_is_explained() -> None:
    text = (_ROOT / "docs" / "adding-a-cause.md").read_text()
    rows = "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))
    of_signals = {field.name for field in fields(Signal)} - {"name"}
    of_causes = {field.name for field in fields(Pattern)} - {"kind", "entities"} | {"entity"}
    of_signs = {field.name for field in fields(Sign)} - {"signal"}
    assert {field for field in of_signals | of_causes if f"`{field}`" not in rows} == set()
    assert {one for one in (*get_args(Reach), *of_signs) if f"`{one}`" not in text} == set()
