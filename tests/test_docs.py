"""The documentation says what is true: generated parts are up to date, links lead somewhere, causes are told."""

import os
import re
from pathlib import Path
from typing import Any, cast

import click
import pytest
import typer
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from analytics.knowledge import shipped_knowledge
from collector.cardinality import CardinalityGuard
from collector.settings import CardinalitySettings
from collector.telemetry import Telemetry
from storage.store import Store
from tailsight.cli import app
from tailsight.settings import Settings
from tailsight.upkeep import _UpkeepTelemetry
from tailsight.wiring import _AnalysisTelemetry, _CatchUpTelemetry

_ROOT = Path(__file__).parents[1]
_DOCS = sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\((?!https?:|#|/api)([^)#]+)")


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
        for item in _item_models(inner):
            rows += [row.replace("| `", f"| `{prefix}{name}[].", 1) for row in _rows(item, "")]
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
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        lines += [f"## `tailsight {name}`", "", command.help or "", "", "| option | meaning |", "|---|---|"]
        for parameter in command.params:
            names = ", ".join(f"`{option}`" for option in parameter.opts) if parameter.opts else parameter.name
            lines.append(f"| {names} | {getattr(parameter, 'help', '') or ''} |")
        lines.append("")
    return "\n".join(lines)


def _metrics_page() -> str:
    lines = [
        "# Metrics",
        "",
        "What `tailsight serve` tells of itself at `/metrics`. What to look at first is in [operate.md](operate.md).",
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
    for telemetry in (_UpkeepTelemetry, _AnalysisTelemetry, _CatchUpTelemetry):
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


def test_every_cause_that_is_looked_for_is_documented() -> None:
    text = (_ROOT / "docs" / "causes.md").read_text()
    assert [kind for kind in shipped_knowledge().patterns if f"`{kind}`" not in text] == []


def test_every_decision_is_listed_in_the_architecture() -> None:
    text = (_ROOT / "docs" / "architecture.md").read_text()
    assert [path.name for path in (_ROOT / "docs" / "adr").glob("*.md") if f"adr/{path.name}" not in text] == []
